"""Scores of an evaluation: a journal so that no measurement is repeated, and a summary table."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from designspace.errors import InputError
from designspace.io import journal
from designspace.io.atomic_write import make_folder, write_text

ACCURACY = "top-1 accuracy"
PERCENT = "%"
_TABLE = "scores.json"


class Task(StrEnum):
    """What is measured."""

    KNN = "knn"
    LINEAR = "linear"
    LOWSHOT = "lowshot"
    FINETUNE = "finetune"
    DETECT = "detect"
    FEATURES = "features"
    LABELFREE = "labelfree"


class ScoreKind(StrEnum):
    """Where the weights of a scored network come from."""

    PRETRAINED = "pretrained"
    SUPERVISED = "supervised"
    RANDOM = "random"
    SCRATCH = "scratch"

    @property
    def label(self) -> str:
        """Words for tables and figures."""
        return _LABELS[self]


_LABELS = {
    ScoreKind.PRETRAINED: "pretrained",
    ScoreKind.SUPERVISED: "supervised pretraining",
    ScoreKind.RANDOM: "random trunk",
    ScoreKind.SCRATCH: "supervised from scratch",
}


@dataclass(frozen=True)
class ScoreKey:
    """What a score is about.

    Attributes:
        task: knn, linear, lowshot, finetune, detect or labelfree.
        data: Data set, as the user named it.
        share: Fraction of the labels that was used.
        labels: Number of labelled images; 0 without labels.
        kind: Origin of the weights.
        what: Network and training in words, such as "pretrained, linear".
        images: Number of images that it was measured on.
        split: Validation split in words.
        source: Checkpoint in words.
    """

    task: str
    data: str
    share: float
    labels: int
    kind: ScoreKind
    what: str
    images: int
    split: str
    source: str


@dataclass(frozen=True)
class Score(ScoreKey):
    """One row of an evaluation.

    Attributes:
        metric: top-1 accuracy, box AP, mask AP, RankMe, ...
        values: The metric on the validation images, one value per seed.
        mean: Mean over seeds.
        low: Lower end of the 95 % interval of the mean (Student's t); None with a single seed.
        high: Upper end.
        unit: "%", or "" for a plain number.
    """

    metric: str
    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    unit: str = PERCENT

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "kind": str(self.kind), "values": list(self.values)}

    def __str__(self) -> str:
        if not self.labels:
            interval = "" if self.low is None else f"  [{self.low:.2f}, {self.high:.2f}]"
            metric = f"{self.metric}, {self.unit}" if self.unit else self.metric
            return f"{metric:<32}{self.what:<16}{self.mean:8.2f}{interval}"
        labels = f"{self.labels} labels" + (f" ({100 * self.share:g}%)" if self.share < 1 else "")
        metric = "" if self.metric == ACCURACY else f"{self.metric:<10}"
        interval = "" if self.low is None else f"  [{self.low:.1f}, {self.high:.1f}]"
        return f"{self.task:<9}{labels:<20}{metric}{self.what:<40}{self.mean:6.1f}{interval}"


class ScoreBook:
    """The score journal of a folder; each value is appended as soon as it is measured."""

    def __init__(self, folder: Path, seeds: int, note: Callable[[str], None]) -> None:
        """Read the journal.

        Args:
            folder: Created if missing.
            seeds: Repetitions of each score.
            note: Called with a description of each measurement before it starts.
        """
        self._folder, self._seeds, self._note = make_folder(folder), seeds, note
        self._journal = folder / "scores.jsonl"
        # Older versions stored every metric as "accuracy".
        self._values: dict[str, float | None] = {}  # None: this metric is not defined
        for record in journal.read(self._journal, "scores").records:
            value = record["value"] if "value" in record else record["accuracy"]
            self._values[record["key"]] = None if value is None else float(value)

    def score(
        self,
        key: ScoreKey,
        identity: Sequence[Any],
        measure: Callable[[int], Mapping[str, float]],
        metrics: Sequence[str] | Mapping[str, str] = (ACCURACY,),
    ) -> list[Score]:
        """Return one score per metric that `measure` returns; measure what the journal lacks.

        Args:
            key: What is scored.
            identity: What determines the values besides share, `what` and seed.
            measure: Maps a seed to the value of each metric; it may leave out some.
            metrics: What `measure` returns, in percent unless a map says the unit of each.
        """
        units = metrics if isinstance(metrics, Mapping) else dict.fromkeys(metrics, PERCENT)
        values: dict[str, list[float]] = {metric: [] for metric in metrics}
        for seed in range(self._seeds):
            entries = {m: _journal_key(key, identity, m, seed) for m in metrics}
            if not all(entry in self._values for entry in entries.values()):
                labels = f", {key.labels} labels" if key.labels else ""
                self._note(f"{key.task}: {key.what}{labels}, seed {seed + 1} of {self._seeds}")
                self._append(key, seed, entries, measure(seed))
            for metric, entry in entries.items():
                value = self._values[entry]
                if value is not None:
                    values[metric].append(value)
        complete = {m: each for m, each in values.items() if len(each) == self._seeds}
        return [_score(key, metric, each, units[metric]) for metric, each in complete.items()]

    def _append(
        self, key: ScoreKey, seed: int, entries: Mapping[str, str], values: Mapping[str, float]
    ) -> None:
        self._values |= {entry: values.get(metric) for metric, entry in entries.items()}
        context = {"what": key.what, "seed": seed, "source": key.source}
        journal.append(
            self._journal,
            [
                {"key": entry, "value": values.get(metric), "metric": metric, **context}
                for metric, entry in entries.items()
            ],
        )

    def save_table(self, scores: Sequence[Score]) -> None:
        """Add scores to the folder's table, replacing earlier rows on the same subject.

        Raises:
            InputError: The table there can't be read, so that its rows would be lost.
        """
        # Another process may score the same trunk by another task.
        with journal.exclusive(self._journal):
            self._merge_into_table(scores)

    def _merge_into_table(self, scores: Sequence[Score]) -> None:
        kept = _rows_of_other_versions(self._folder / _TABLE)
        before = {_row_key(row): row for row in read_table(self._folder)}
        rows = (score.to_dict() for score in scores)
        table = before | {_row_key(row): row for row in rows}
        others = {
            row["source"]
            for key, row in before.items()
            if _place(row["source"]) != _place(table[key]["source"])
        }
        for source in sorted(others):
            self._note(
                f"{self._folder / _TABLE}: scores of {source} are replaced by those of this "
                "checkpoint on the same subject; another folder (out) keeps both"
            )
        if table != before:
            text = json.dumps([*table.values(), *kept], indent=1, allow_nan=False)
            write_text(self._folder / _TABLE, text + "\n")


def _rows_of_other_versions(file: Path) -> list[Any]:
    """Return the rows of a table that `read_table` leaves out.

    Raises:
        InputError: The table can't be read, so that its rows would be lost.
    """
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        rows, problem = None, str(error)
    else:
        problem = "it holds no list"
    if not isinstance(rows, list):
        raise InputError(
            f"cannot read {file}: {problem}; repair or delete it, then the same call writes the "
            "scores that were measured"
        )
    return [row for row in rows if not _as_row(row)]


def read_table(folder: Path) -> list[dict[str, Any]]:
    """Return the scores saved in a folder as plain data; empty if there are none."""
    try:
        rows = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [own for row in rows if (own := _as_row(row))] if isinstance(rows, list) else []


def _as_row(row: Any) -> dict[str, Any] | None:
    """Return a row of this or an older version with all fields of a score, or None."""
    if not isinstance(row, dict):
        return None
    kind = {} if "kind" in row else {"kind": _old_kind(row)}
    own = {"unit": PERCENT, **row, **kind}  # older versions measured percentages alone
    return own if set(own) == {field.name for field in fields(Score)} else None


def _old_kind(row: Mapping[str, Any]) -> str:
    """Origin of the weights in tables of versions that stored it only in words."""
    what = str(row.get("what"))
    for kind in (ScoreKind.PRETRAINED, ScoreKind.RANDOM):
        if what.startswith(kind.label):
            return str(kind)
    return str(ScoreKind.SCRATCH)


def _journal_key(key: ScoreKey, identity: Sequence[Any], metric: str, seed: int) -> str:
    task, *rest = identity
    parts = [task, key.share, key.what, seed, *rest]
    return "; ".join(map(str, parts if metric == ACCURACY else [*parts, metric]))


def _row_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("task", "metric", "data", "share", "what", "split"))


def _place(source: str) -> str:
    """Checkpoint in words without the iteration: a pretraining goes on."""
    return source.partition(", iteration ")[0]


def _score(key: ScoreKey, metric: str, values: list[float], unit: str) -> Score:
    mean = statistics.fmean(values)
    low = high = None
    if len(values) > 1:
        from scipy import stats

        quantile = float(stats.t.ppf(0.975, len(values) - 1))
        margin = quantile * statistics.stdev(values) / math.sqrt(len(values))
        low, high = mean - margin, mean + margin
        if unit == PERCENT:
            low, high = max(0.0, low), min(100.0, high)
    own = vars(key)
    return Score(
        **own, metric=metric, values=tuple(values), mean=mean, low=low, high=high, unit=unit
    )


def parse_task(task: str) -> Task:
    """Return the task of that name.

    Raises:
        InputError: There is none.
    """
    try:
        return Task(task)
    except ValueError:
        raise InputError(
            f"task is {task!r}; it must be one of {', '.join(Task)}", argument="task"
        ) from None
