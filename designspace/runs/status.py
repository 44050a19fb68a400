"""The status of a run: every model accounted for, from its files alone."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from designspace.errors import counted
from designspace.runs.heartbeat import Heartbeat
from designspace.runs.trial import Trial, TrialState, training_seconds


@dataclass(frozen=True)
class RunStatus:
    """The status of a run.

    Attributes:
        name: Name of the run folder.
        n: Models in the population.
        trials: The current trial of each model that has one.
        heartbeat: Progress of the process that trains the run, or None if there is none.
        torn: Whether the last line of the journal is incomplete; its model is trained again.
        path: The run folder.
        begun: Whether a recipe is stored, so that training resumes without options.
        checkpoints: Indices of the unfinished models that have a checkpoint in the folder.
    """

    name: str
    n: int
    trials: tuple[Trial, ...]
    heartbeat: Heartbeat | None
    torn: bool = False
    path: Path = Path()
    begun: bool = False
    checkpoints: tuple[int, ...] = ()

    @property
    def running(self) -> bool:
        """Whether a process is training the run now."""
        return self.heartbeat is not None

    def count(self, state: TrialState) -> int:
        """Return the number of trials in a state."""
        return sum(trial.state is state for trial in self.trials)

    @property
    def counts(self) -> str:
        """Number of models, and how many are in each state, as text."""
        data = self.to_dict()
        parts = [f"{data['complete']} complete"]
        states = ("diverged", "failed", "running", "waiting")
        parts += [f"{data[state]} {state}" for state in states if data[state]]
        return f"{counted(self.n, 'model')}: {', '.join(parts)}"

    @property
    def errors(self) -> list[float]:
        """Errors of complete and diverged trials in percent, ascending."""
        return sorted(trial.error for trial in self.trials if trial.error is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        live, errors, now = self.heartbeat, self.errors, time.time()
        running = sorted(live.running.items()) if live else []
        return {
            "name": self.name,
            "n": self.n,
            **{state.value: self.count(state) for state in TrialState},
            "running": len(running),
            # A failed model that is trained again has a trial and is running.
            "waiting": self.n - len({t.index for t in self.trials} | {i for i, _ in running}),
            "copied": sum(bool(trial.copied_from) for trial in self.trials),
            "at_work": live is not None,
            "torn_line": self.torn,
            "checkpoints": len(self.checkpoints),
            "lost_devices": live.lost if live else {},
            "models_per_hour": live.per_hour if live else None,
            "seconds_left": live.seconds_left if live else None,
            "seconds_trained": round(training_seconds(self.trials), 3),
            "error": {
                "min": errors[0] if errors else None,
                "mean": float(np.mean(errors)) if errors else None,
                "median": float(np.median(errors)) if errors else None,
                "max": errors[-1] if errors else None,
            },
            "in_flight": [
                {"index": index, "seconds": max(0.0, round(now - since, 1))}
                for index, since in running
            ],
            "failures": [
                {"index": t.index, "id": t.id, "state": t.state.value, "reason": t.reason}
                for t in self.trials
                if t.state is not TrialState.COMPLETE
            ],
        }


def unfinished_checkpoints(folder: Path, finished: set[int]) -> tuple[int, ...]:
    """Return the indices of the models with a checkpoint, other than finished ones."""
    names = (re.fullmatch(r"([0-9]{5,9})\.pt", path.name) for path in folder.glob("*.pt"))
    return tuple(sorted({int(name[1]) for name in names if name} - finished))
