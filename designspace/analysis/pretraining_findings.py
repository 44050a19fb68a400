"""Summarize a pretraining from its journals: curves, scores, images, and sentences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.errors import InputError
from designspace.runs.data_record import source_name
from designspace.stats.arrays import BoolArray, FloatArray, IntArray

# A curve over iterations has this many points at most; more are averaged in bins.
_MAX_POINTS = 400
# Measured after some or all epochs, since a later version.
_MEASURED = ("linear", "rankme", "lidar", "alpha")
_TASKS = ("knn", "linear", "lowshot", "finetune", "detect", "labelfree")
_PICTURES = ("pictures", "neighbours", "same", "prototypes", "sizes", "used", "searched")
_GROUP = ("task", "metric", "data", "share", "images", "split")


@dataclass(frozen=True, eq=False)
class Curves:
    """The journals as arrays, over epochs (fractional for iterations).

    Attributes:
        at: Middle of each bin of iterations, in epochs.
        loss: Mean loss of each bin.
        loss_low: Minimum loss of the bin.
        loss_high: Maximum loss of the bin.
        lr: Mean learning rate of each bin.
        epoch: The finished epochs.
        epoch_loss: Mean loss of each.
        feature_std: Standard deviation of the embeddings after each, scaled: 1 where they cover the
            sphere evenly, 0 where they collapse.
        prototypes_used: Prototypes that are nearest to any image.
        images_per_second: Training speed.
        knn_epoch: Epochs after which k-NN accuracy was measured.
        knn: That accuracy in percent.
        measured: Epochs and values of what else was measured after epochs: linear (accuracy of a
            linear probe in percent), rankme, lidar and alpha; none of earlier versions' runs.
        rank_limit: Largest possible rank of the features, or None.
        prototype_shares: Fraction of the last epoch's images that each prototype is nearest to,
            descending; empty if it wasn't recorded.
    """

    at: FloatArray
    loss: FloatArray
    loss_low: FloatArray
    loss_high: FloatArray
    lr: FloatArray
    epoch: FloatArray
    epoch_loss: FloatArray
    feature_std: FloatArray
    prototypes_used: FloatArray
    images_per_second: FloatArray
    knn_epoch: FloatArray
    knn: FloatArray
    measured: Mapping[str, tuple[FloatArray, FloatArray]]
    rank_limit: int | None
    prototype_shares: FloatArray


@dataclass(frozen=True)
class ScoreRow:
    """One score of a group.

    Attributes:
        what: Network and training in words.
        kind: Origin of the weights: pretrained, supervised, random or scratch.
        labels: Number of labelled images.
        mean: Mean over seeds.
        low: Lower end of its 95 % interval, or None for one seed.
        high: Upper end.
        seeds: Number of seeds.
        source: Checkpoint in words.
        unit: "%", or "" for a plain number.
    """

    what: str
    kind: str
    labels: int
    mean: float
    low: float | None
    high: float | None
    seeds: int
    source: str
    unit: str = "%"


@dataclass(frozen=True)
class ScoreGroup:
    """Comparable scores: one task, metric, data set, fraction of the labels, and split."""

    task: str
    metric: str
    data: str
    share: float
    images: int
    split: str
    rows: tuple[ScoreRow, ...]

    @property
    def data_name(self) -> str:
        """Short name of the data set: `cifar10` of `folder:/data/cifar10`."""
        return source_name(self.data)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images that show what a trunk learned; see `pretraining.neighbor_gallery`.

    Attributes:
        pictures: Images, (n, side, side, 3).
        neighbours: Rows of `pictures`, (queries, 1 + neighbours), the query first.
        same: Whether a neighbour is of the query's class, (queries, neighbours); (queries, 0)
            without labels.
        prototypes: Rows of `pictures`, (prototypes, images); -1 for none.
        sizes: Images nearest to each prototype shown.
        used: Prototypes that any image is nearest to.
        searched: Number of images searched.
    """

    pictures: NDArray[np.uint8]
    neighbours: IntArray
    same: BoolArray
    prototypes: IntArray
    sizes: IntArray
    used: int
    searched: int


@dataclass(frozen=True, eq=False)
class PretrainingFindings:
    """The content of a page about a pretraining.

    Attributes:
        name: Name of the run folder.
        model: Description of the trunk.
        recipe: The resolved recipe.
        data: Training data.
        total: Iterations of the whole run.
        done: Iterations finished.
        per_epoch: Iterations per epoch.
        curves: The journals as arrays.
        scores: Scores of evaluations, by group.
        pictures: Images, or None.
        warnings: What a reader should know first.
        undecodable: Reasons by name of images that could not be decoded.
    """

    name: str
    model: Mapping[str, Any]
    recipe: Mapping[str, Any]
    data: Mapping[str, Any]
    total: int
    done: int
    per_epoch: int
    curves: Curves
    scores: tuple[ScoreGroup, ...]
    pictures: Pictures | None
    warnings: tuple[str, ...]
    undecodable: Mapping[str, str]

    @property
    def chance(self) -> float:
        """The loss of uninformative codes: ln of the number of prototypes."""
        return math.log(self.recipe["prototypes"])


def summarize_pretraining(
    name: str,
    model: Mapping[str, Any],
    recipe: Mapping[str, Any],
    data: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    epochs: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]] = (),
    pictures: Mapping[str, NDArray[Any]] | None = None,
    undecodable: Mapping[str, str] | None = None,
) -> PretrainingFindings:
    """Summarize the journals of a pretraining.

    Args:
        name: Name of the run folder.
        model: Name, parameters, … of the trunk.
        recipe: The resolved recipe as plain data.
        data: Training data: source, images, content, mean, std, seed.
        steps: iteration, loss and lr of each iteration.
        epochs: epoch, loss, prototypes_used, feature_std, images_per_second, alarms and optionally
            knn, linear, rankme, lidar, alpha, rank_limit and prototype_shares of each epoch.
        scores: Scores of evaluations, as `Score.to_dict`.
        pictures: See `Pictures`; arrays of other shapes are ignored.
        undecodable: Reasons by name of images that could not be decoded.

    Raises:
        InputError: There is no epoch yet.
    """
    if not steps or not epochs:
        raise InputError(f"{name}: no epoch of pretraining is finished yet")
    per_epoch = int(data["images"]) // int(recipe["batch_size"])
    total, done = per_epoch * int(recipe["epochs"]), int(steps[-1]["iteration"])
    return PretrainingFindings(
        name=name,
        model=model,
        recipe=recipe,
        data=data,
        total=total,
        done=done,
        per_epoch=per_epoch,
        curves=_curves(steps, epochs, per_epoch),
        scores=_groups(scores),
        pictures=_pictures(pictures),
        warnings=_warnings(done, total, per_epoch, epochs),
        undecodable=undecodable or {},
    )


def _curves(
    steps: Sequence[Mapping[str, Any]], epochs: Sequence[Mapping[str, Any]], per_epoch: int
) -> Curves:
    def column(records: Sequence[Mapping[str, Any]], key: str) -> FloatArray:
        return np.array([record[key] for record in records], float)

    edges = np.linspace(0, len(steps), min(_MAX_POINTS, len(steps)) + 1).astype(int)[:-1]
    sizes = np.diff(np.append(edges, len(steps)))
    columns = {key: column(steps, key) for key in ("iteration", "loss", "lr")}
    mean = {key: np.add.reduceat(values, edges) / sizes for key, values in columns.items()}
    having = {key: [epoch for epoch in epochs if key in epoch] for key in ("knn", *_MEASURED)}
    last = epochs[-1]
    return Curves(
        at=mean["iteration"] / per_epoch,
        loss=mean["loss"],
        loss_low=np.minimum.reduceat(columns["loss"], edges),
        loss_high=np.maximum.reduceat(columns["loss"], edges),
        lr=mean["lr"],
        epoch=column(epochs, "epoch"),
        epoch_loss=column(epochs, "loss"),
        feature_std=column(epochs, "feature_std"),
        prototypes_used=column(epochs, "prototypes_used"),
        images_per_second=column(epochs, "images_per_second"),
        knn_epoch=column(having["knn"], "epoch"),
        knn=column(having["knn"], "knn"),
        measured={
            key: (column(having[key], "epoch"), column(having[key], key))
            for key in _MEASURED
            if having[key]
        },
        rank_limit=int(last["rank_limit"]) if "rank_limit" in last else None,
        prototype_shares=np.sort(np.array(last.get("prototype_shares", ()), float))[::-1],
    )


def _groups(scores: Sequence[Mapping[str, Any]]) -> tuple[ScoreGroup, ...]:
    """Group scores; tasks in the order of the help, shares ascending."""
    rows: dict[tuple[Any, ...], list[ScoreRow]] = {}
    for score in scores:
        names = ("what", "kind", "labels", "mean", "low", "high", "source")
        values = {name: score[name] for name in names} | {"unit": score.get("unit", "%")}
        row = ScoreRow(**values, seeds=len(score["values"]))
        rows.setdefault(tuple(score[name] for name in _GROUP), []).append(row)
    groups = [
        ScoreGroup(**dict(zip(_GROUP, key, strict=True)), rows=tuple(group))
        for key, group in rows.items()
    ]
    order = {task: number for number, task in enumerate(_TASKS)}
    return tuple(sorted(groups, key=lambda g: (order.get(g.task, len(order)), g.data, g.share)))


def _pictures(arrays: Mapping[str, NDArray[Any]] | None) -> Pictures | None:
    if arrays is None or not set(_PICTURES) <= set(arrays):
        return None
    pictures, rows = arrays["pictures"], (arrays["neighbours"], arrays["prototypes"])
    valid = pictures.ndim == 4 and pictures.dtype == np.uint8 and all(r.ndim == 2 for r in rows)
    if not valid or any(r.size and r.max() >= len(pictures) for r in rows):
        return None
    values: dict[str, Any] = {name: arrays[name] for name in _PICTURES}
    return Pictures(**values | {name: int(values[name]) for name in ("used", "searched")})


def _warnings(
    done: int, total: int, per_epoch: int, epochs: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    warnings = []
    if done < total:
        warnings.append(
            f"This pretraining is not finished: {done / per_epoch:.3g} of {total // per_epoch} "
            "epochs are done. The same `designspace pretrain` command resumes it."
        )
    for alarm, text in epochs[-1]["alarms"].items():
        quiet = [i for i, epoch in enumerate(epochs) if alarm not in epoch["alarms"]]
        since = epochs[quiet[-1] + 1 if quiet else 0]["epoch"]
        warnings.append(f"Alarm since epoch {int(since)}: {text}.")
    return tuple(warnings)
