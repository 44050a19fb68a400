"""What a pretraining did, from its journals: curves, scores, pictures, and all that in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.errors import InputError
from designspace.stats.arrays import BoolArray, FloatArray, IntArray

# Points of a curve of iterations; more are averaged in bins.
_POINTS = 400
_TASKS = ("knn", "linear", "lowshot", "finetune", "detect")
_PICTURES = ("pictures", "neighbours", "same", "prototypes", "sizes", "used", "searched")


@dataclass(frozen=True, eq=False)
class Curves:
    """What the journals hold, against epochs (fractions of them for iterations).

    Attributes:
        at: Middle of each bin of iterations, in epochs.
        loss: Mean loss of each bin.
        loss_low: Least loss of the bin.
        loss_high: Greatest loss of the bin.
        rate: Mean learning rate of each bin.
        epoch: Epochs that are through.
        spread: Spread of the embeddings of each, 1 where they fill the sphere evenly.
        used: Prototypes that were nearest to any image.
        speed: Images a second.
        knn_epoch: Epochs after which k-NN accuracy was measured.
        knn: That accuracy in percent.
    """

    at: FloatArray
    loss: FloatArray
    loss_low: FloatArray
    loss_high: FloatArray
    rate: FloatArray
    epoch: FloatArray
    spread: FloatArray
    used: FloatArray
    speed: FloatArray
    knn_epoch: FloatArray
    knn: FloatArray


@dataclass(frozen=True)
class ScoreLine:
    """A score beside which others of its group stand.

    Attributes:
        what: Which trunk, trained how.
        kind: pretrained, random or scratch.
        labels: Number of labelled images.
        mean: Over seeds, in percent.
        low: Lower end of its 95 % interval, or None for one seed.
        high: Upper end.
        seeds: How many.
        source: Where the trunk comes from, in words.
    """

    what: str
    kind: str
    labels: int
    mean: float
    low: float | None
    high: float | None
    seeds: int
    source: str


@dataclass(frozen=True)
class ScoreGroup:
    """Scores that can be compared: one task, one metric, one data set, one share of the labels."""

    task: str
    metric: str
    data: str
    share: float
    images: int
    split: str
    lines: tuple[ScoreLine, ...]

    @property
    def title(self) -> str:
        """What is compared, in words."""
        labels = f" with {self.share:.3g} of the labels" if self.share < 1 else ""
        return f"{self.task}{labels}, {self.metric}"


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images by which to see what a trunk learned; see `pretrain.gallery`.

    Attributes:
        pictures: (n, side, side, 3).
        neighbours: Rows of `pictures`, (queries, 1 + neighbours), the query first.
        same: Whether a neighbour is of the query's class, (queries, neighbours).
        prototypes: Rows of `pictures`, (prototypes, images); -1 for none.
        sizes: Images that are nearest to each prototype shown.
        used: Prototypes that any image is nearest to.
        searched: Images that were looked through.
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
    """All that a page about a pretraining says.

    Attributes:
        name: Of its folder.
        model: What the trunk is, by name of the figure.
        recipe: How it was trained.
        data: On what.
        total: Iterations of the whole run.
        done: Iterations that are done.
        per_epoch: Iterations an epoch.
        curves: See Curves.
        scores: What evaluations found, by group.
        pictures: None where there are none.
        warnings: What a reader should know first.
        sentences: What was found.
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
    sentences: tuple[str, ...]

    @property
    def chance(self) -> float:
        """The loss at which codes carry nothing: ln of the number of prototypes."""
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
) -> PretrainingFindings:
    """Sum up the journals of a pretraining.

    Args:
        name: Of its folder.
        model: Name, parameters, … of the trunk.
        recipe: Of the run, as plain data.
        data: What it was trained on: source, images, content, mean, std, seed.
        steps: iteration, loss and lr of each iteration.
        epochs: epoch, loss, prototypes_used, feature_std, images_per_second, alarms and perhaps knn
            of each epoch.
        scores: What evaluations found, as `Score.to_dict`.
        pictures: See `Pictures`; arrays of other shapes are no pictures.

    Raises:
        InputError: There is no epoch yet.
    """
    if not steps or not epochs:
        raise InputError(f"{name}: no epoch of pretraining is through yet")
    per_epoch = int(data["images"]) // int(recipe["batch_size"])
    total = per_epoch * int(recipe["epochs"])
    curves = _curves(steps, epochs, per_epoch)
    groups = _groups(scores)
    done = int(steps[-1]["iteration"])
    return PretrainingFindings(
        name=name,
        model=model,
        recipe=recipe,
        data=data,
        total=total,
        done=done,
        per_epoch=per_epoch,
        curves=curves,
        scores=groups,
        pictures=_pictures(pictures),
        warnings=_warnings(done, total, per_epoch, epochs),
        sentences=(*_course(recipe, epochs, curves), *map(_compared, _leading(groups))),
    )


def _curves(
    steps: Sequence[Mapping[str, Any]], epochs: Sequence[Mapping[str, Any]], per_epoch: int
) -> Curves:
    columns = {
        key: np.array([step[key] for step in steps], float) for key in ("iteration", "loss", "lr")
    }
    edges = np.linspace(0, len(steps), min(_POINTS, len(steps)) + 1).astype(int)[:-1]
    sizes = np.diff(np.append(edges, len(steps)))
    mean = {key: np.add.reduceat(values, edges) / sizes for key, values in columns.items()}
    by_epoch = {
        key: np.array([epoch[key] for epoch in epochs], float)
        for key in ("epoch", "feature_std", "prototypes_used", "images_per_second")
    }
    measured = [epoch for epoch in epochs if "knn" in epoch]
    return Curves(
        at=mean["iteration"] / per_epoch,
        loss=mean["loss"],
        loss_low=np.minimum.reduceat(columns["loss"], edges),
        loss_high=np.maximum.reduceat(columns["loss"], edges),
        rate=mean["lr"],
        epoch=by_epoch["epoch"],
        spread=by_epoch["feature_std"],
        used=by_epoch["prototypes_used"],
        speed=by_epoch["images_per_second"],
        knn_epoch=np.array([epoch["epoch"] for epoch in measured], float),
        knn=np.array([epoch["knn"] for epoch in measured], float),
    )


def _groups(scores: Sequence[Mapping[str, Any]]) -> tuple[ScoreGroup, ...]:
    found: dict[tuple[Any, ...], ScoreGroup] = {}
    for score in scores:
        about = {k: score[k] for k in ("task", "metric", "data", "share", "images", "split")}
        line = ScoreLine(
            what=score["what"],
            kind=score["kind"],
            labels=score["labels"],
            mean=score["mean"],
            low=score["low"],
            high=score["high"],
            seeds=len(score["values"]),
            source=score["source"],
        )
        group = found.setdefault(tuple(about.values()), ScoreGroup(**about, lines=()))
        found[tuple(about.values())] = replace(group, lines=(*group.lines, line))
    known = {task: number for number, task in enumerate(_TASKS)}
    return tuple(
        sorted(found.values(), key=lambda g: (known.get(g.task, len(known)), g.data, g.share))
    )


def _pictures(arrays: Mapping[str, NDArray[Any]] | None) -> Pictures | None:
    if arrays is None or not set(_PICTURES) <= set(arrays):
        return None
    pictures, rows = arrays["pictures"], (arrays["neighbours"], arrays["prototypes"])
    sound = pictures.ndim == 4 and pictures.dtype == np.uint8 and all(r.ndim == 2 for r in rows)
    if not sound or any(r.size and r.max() >= len(pictures) for r in rows):
        return None
    return Pictures(
        pictures=pictures,
        neighbours=arrays["neighbours"],
        same=arrays["same"],
        prototypes=arrays["prototypes"],
        sizes=arrays["sizes"],
        used=int(arrays["used"]),
        searched=int(arrays["searched"]),
    )


def _warnings(
    done: int, total: int, per_epoch: int, epochs: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    found = []
    if done < total:
        found.append(
            f"This pretraining is not finished: {done / per_epoch:.3g} of {total // per_epoch} "
            "epochs are done. The same `designspace pretrain` command goes on."
        )
    last = epochs[-1]
    for alarm, text in last["alarms"].items():
        since = int(last["epoch"])
        for epoch in reversed(epochs):
            if alarm not in epoch["alarms"]:
                break
            since = int(epoch["epoch"])
        found.append(f"Alarm since epoch {since}: {text}.")
    return tuple(found)


def _course(
    recipe: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]], curves: Curves
) -> list[str]:
    k = int(recipe["prototypes"])
    last = epochs[-1]
    words = [
        f"After {int(last['epoch'])} of {recipe['epochs']} epochs the loss is {last['loss']:.3f}; "
        f"ln {k} = {math.log(k):.3f} is where it stays if codes carry nothing."
    ]
    if len(curves.knn) > 1:
        words.append(
            f"k-NN accuracy on training images went from {curves.knn[0]:.1f} % (epoch "
            f"{curves.knn_epoch[0]:.0f}) to {curves.knn[-1]:.1f} %."
        )
    words.append(
        f"{int(last['prototypes_used'])} of {k} prototypes are in use, and the embeddings' spread "
        f"is {last['feature_std']:.2f} (1 is even, 0 is collapse)."
    )
    return words


def _leading(groups: Sequence[ScoreGroup]) -> list[ScoreGroup]:
    """The first metric of each comparison."""
    seen: dict[tuple[str, str, float], ScoreGroup] = {}
    for group in groups:
        seen.setdefault((group.task, group.data, group.share), group)
    return list(seen.values())


def _compared(group: ScoreGroup) -> str:
    best: dict[str, ScoreLine] = {}
    for line in group.lines:
        if line.kind not in best or line.mean > best[line.kind].mean:
            best[line.kind] = line
    beside = [
        f"{best[kind].mean:.1f} % {words}"
        for kind, words in (("random", "from a random trunk"), ("scratch", "supervised"))
        if kind in best
    ]
    own = f"{best['pretrained'].mean:.1f} %" if "pretrained" in best else "not measured"
    against = f" against {' and '.join(beside)}" if beside else ""
    return f"{group.title[0].upper()}{group.title[1:]} on {group.data}: {own}{against}."
