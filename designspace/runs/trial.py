"""A finished trial: one model, trained once."""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from designspace.errors import InputError, check_number

# Split of trials that don't state theirs.
UNSPECIFIED_SPLIT = "val"


class TrialState(StrEnum):
    """How a trial ended.

    Attributes:
        COMPLETE: Trained to the last epoch.
        DIVERGED: The loss became non-finite; counts in the EDF with chance error.
        FAILED: Crashed, or ran out of memory or time; stays visible.
    """

    COMPLETE = "complete"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """One line of trials.jsonl.

    Attributes:
        id: Content hash of the model, as in population.jsonl.
        index: The model's index in the population.
        state: How the trial ended.
        error: Top-1 error in percent on the validation split after the last epoch; chance error for
            a diverged trial, None for a failed one.
        curve: That error after each epoch.
        seconds: Training time, including data loading and validation; of a GPU that trains several
            models at once, the share of this one.
        seed: Seed of initialisation and data order.
        versions: Library versions and device.
        reason: Why it diverged or failed; empty for a complete trial.
        split: Images that the error was measured on.
        recipe: Settings drawn for this model, in place of the run's recipe.
        copied_from: Population of the same study whose training of the same model this is; empty
            for a trial of the run itself.
    """

    id: str
    index: int
    state: TrialState
    error: float | None
    curve: tuple[float, ...]
    seconds: float
    seed: int
    versions: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    split: str = UNSPECIFIED_SPLIT
    recipe: Mapping[str, float] = field(default_factory=dict)
    copied_from: str = ""

    def to_record(self) -> dict[str, Any]:
        """Return plain data, as in trials.jsonl."""
        record: dict[str, Any] = {
            "id": self.id,
            "index": self.index,
            "state": self.state.value,
            "error": self.error,
            "curve": list(self.curve),
            "seconds": round(self.seconds, 3),
            "seed": self.seed,
            "split": self.split,
            "reason": self.reason,
            "versions": self.versions,
        }
        if self.recipe:
            record["recipe"] = dict(self.recipe)
        if self.copied_from:
            record["copied_from"] = self.copied_from
        return record

    @staticmethod
    def from_record(record: dict[str, Any], where: str) -> "Trial":
        """Read one record.

        Raises:
            InputError: A key is missing or a value is out of range; `where` begins the message.
        """
        try:
            state = TrialState(record["state"])
            error = None if record.get("error") is None else float(record["error"])
            trial = Trial(
                id=_text(record["id"]),
                index=int(record["index"]),
                state=state,
                error=error,
                curve=tuple(float(e) for e in record.get("curve") or ()),
                seconds=float(record.get("seconds") or 0.0),
                seed=int(record.get("seed") or 0),
                versions={_text(k): _text(v) for k, v in (record.get("versions") or {}).items()},
                reason=_text(record.get("reason") or ""),
                split=_text(record.get("split") or UNSPECIFIED_SPLIT),
                recipe={_text(k): float(v) for k, v in (record.get("recipe") or {}).items()},
                copied_from=_text(record.get("copied_from") or ""),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error_:
            raise InputError(
                f"{where}: {error_!r}; a trial has id, index, state "
                f"({', '.join(s.value for s in TrialState)}), error, curve, seconds, seed, versions"
            ) from None
        if error is not None and not math.isfinite(error):
            raise InputError(
                f"{where}: error is {error}; record a training that diverged with "
                "state='diverged' and chance error (90 for 10 classes), one without a result with "
                "state='failed' and error=None"
            )
        if not all(map(math.isfinite, (trial.seconds, *trial.curve))):
            raise InputError(f"{where}: seconds and curve must be finite numbers")
        if state is not TrialState.FAILED and (error is None or not 0 <= error <= 100):
            raise InputError(f"{where}: error is {error}; a {state} trial has 0 to 100 percent")
        return trial


def training_seconds(trials: Iterable[Trial]) -> float:
    """Return the time that trials took, in seconds; copies took none."""
    return sum(trial.seconds for trial in trials if not trial.copied_from)


def check_percent(error: object) -> float:
    """Return an error in percent as a float, with a warning below 1, as it may be a fraction.

    Raises:
        InputError: It is no number, nor an array or a tensor of one.
    """
    percent = check_number(error, "error")
    if 0 < percent < 1:
        words = f"error is {percent:g}, which counts as percent; multiply a fraction by 100"
        warnings.warn(words, stacklevel=4)
    return percent


def _text(value: Any) -> str:
    """Replace lone surrogates, which JSON may hold and UTF-8 cannot encode."""
    return str(value).encode("utf-8", errors="replace").decode()
