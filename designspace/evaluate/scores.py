"""Scores of an evaluation: a journal that spares repeated work, and the table of what was found."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from designspace.errors import InputError
from designspace.io import journal
from designspace.io.files import make_folder, write_text

TASKS = ("knn", "linear", "lowshot", "finetune", "detect", "features")
ACCURACY = "top-1 accuracy"
PRETRAINED, RANDOM, SCRATCH = "pretrained", "random trunk", "supervised from scratch"
# Of detection, which trains a random trunk with the labels: it has no other training from scratch.
UNTRAINED = f"{RANDOM} (= {SCRATCH})"
_TABLE = "scores.json"

# Called with the words of what comes next.
Told = Callable[[str], None]


def check_task(task: str) -> None:
    """Refuse what is no task of `designspace evaluate`."""
    if task not in TASKS:
        raise InputError(f"--task {task}: no such task; it is {', '.join(TASKS)}")


class Observer(Protocol):
    """Who is told how an evaluation goes; the command line draws it."""

    def note(self, text: str) -> None:
        """What comes next, in words."""

    def decoded(self, done: int, total: int) -> None:
        """So many images are in the cache."""

    def epochs(self, done: int, total: int) -> None:
        """So many epochs of a supervised training are done."""


@dataclass(frozen=True)
class Score:
    """One line of an evaluation.

    Attributes:
        task: knn, linear, lowshot, finetune or detect.
        metric: What is measured, in percent: top-1 accuracy, box AP, mask AP, …
        data: Which data, as a person named it.
        share: Share of the labels that was used.
        labels: Number of labelled images.
        what: Which trunk, trained how.
        values: The metric on the validation images, of each seed.
        mean: Their mean.
        low: Lower end of the mean's 95 % interval over seeds (Student's t); None for one seed.
        high: Its upper end.
        images: Number of validation images.
        split: Which they are, in words.
        source: Where the trunk comes from, in words.
    """

    task: str
    metric: str
    data: str
    share: float
    labels: int
    what: str
    values: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None
    images: int
    split: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "values": list(self.values)}


@dataclass(frozen=True)
class Line:
    """What a score is of; see Score for the attributes that are not told here.

    Attributes:
        identity: What decides the score beside the seed: equal lines are measured once.
    """

    task: str
    data: str
    share: float
    labels: int
    what: str
    images: int
    split: str
    source: str
    identity: tuple[Any, ...]


class ScoreBook:
    """The journal of scores of one folder: each is written as soon as it is known."""

    def __init__(self, folder: Path, seeds: int, told: Told) -> None:
        """Read what is known.

        Args:
            folder: Made when missing.
            seeds: Repetitions of each score.
            told: Told what is measured next.
        """
        self._folder, self._seeds, self._told = make_folder(folder), seeds, told
        self._journal = folder / "scores.jsonl"
        self._known = {
            r["key"]: float(r["accuracy"]) for r in journal.read(self._journal, "scores").records
        }

    def score(
        self,
        line: Line,
        one: Callable[[int], Mapping[str, float]],
        metrics: Sequence[str] = (ACCURACY,),
    ) -> list[Score]:
        """Return the scores of a line, one a metric, measuring those that aren't known.

        Args:
            line: What is scored.
            one: Measures one seed: the value of each metric, in percent.
            metrics: What it measures.
        """
        found: dict[str, list[float]] = {metric: [] for metric in metrics}
        for seed in range(self._seeds):
            keys = {metric: _key(line, metric, seed) for metric in metrics}
            if not all(key in self._known for key in keys.values()):
                self._told(f"{line.task}: {line.what}, {line.labels} labels, seed {seed}")
                values = one(seed)
                self._known |= {key: values[metric] for metric, key in keys.items()}
                about = {"what": line.what, "seed": seed, "source": line.source}
                journal.append(
                    self._journal,
                    [
                        {"key": key, "accuracy": values[metric], "metric": metric, **about}
                        for metric, key in keys.items()
                    ],
                )
            for metric, key in keys.items():
                found[metric].append(self._known[key])
        return [_summed(line, metric, values) for metric, values in found.items()]

    def keep(self, scores: Sequence[Score]) -> None:
        """Put scores into the folder's table, in place of what it said of the same lines."""
        before = {_place(score): score for score in read_table(self._folder)}
        table = before | {_place(score): score.to_dict() for score in scores}
        if table != before:
            text = json.dumps(list(table.values()), indent=1, allow_nan=False)
            write_text(self._folder / _TABLE, text + "\n")


def read_table(folder: Path) -> list[dict[str, Any]]:
    """Return the scores that were kept in a folder, as plain data; none where there are none."""
    try:
        found = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    lines = found if isinstance(found, list) else []
    return [line for line in lines if isinstance(line, dict) and set(line) == set(_FIELDS)]


_FIELDS = tuple(Score.__dataclass_fields__)


def _key(line: Line, metric: str, seed: int) -> str:
    what, *identity = line.identity
    told = [what, line.share, line.what, seed, *identity]
    if metric != ACCURACY:
        told.append(metric)
    return "; ".join(map(str, told))


def _place(score: Score | dict[str, Any]) -> tuple[Any, ...]:
    """What two scores of one line of the table have in common."""
    told = score.to_dict() if isinstance(score, Score) else score
    return tuple(told[name] for name in ("task", "metric", "data", "share", "what", "split"))


def _summed(line: Line, metric: str, values: list[float]) -> Score:
    mean, margin = statistics.fmean(values), _margin(values)
    return Score(
        task=line.task,
        metric=metric,
        data=line.data,
        share=line.share,
        labels=line.labels,
        what=line.what,
        values=tuple(values),
        mean=mean,
        low=None if margin is None else max(0.0, mean - margin),
        high=None if margin is None else min(100.0, mean + margin),
        images=line.images,
        split=line.split,
        source=line.source,
    )


def _margin(values: list[float]) -> float | None:
    """Half the width of the mean's 95 % interval, or None for one value."""
    if len(values) < 2:
        return None
    from scipy import stats

    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))
