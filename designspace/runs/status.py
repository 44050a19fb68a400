"""How far a run is: every model of it accounted for, from its files alone."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from designspace.io import journal
from designspace.runs.heartbeat import Heartbeat, read_heartbeat
from designspace.runs.run import Run
from designspace.runs.trial import Trial, TrialState


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes:
        name: Of the run folder.
        n: Models in the population.
        trials: The standing trial of each model that has one.
        live: What the driver says of itself, or None where none is at work.
        torn: Whether the journal's last line is torn: its model is trained again.
    """

    name: str
    n: int
    trials: tuple[Trial, ...]
    live: Heartbeat | None
    torn: bool = False

    def count(self, state: TrialState) -> int:
        """Return how many models ended so."""
        return sum(trial.state is state for trial in self.trials)

    @property
    def errors(self) -> list[float]:
        """Errors of complete and diverged trials, ascending, in percent."""
        return sorted(trial.error for trial in self.trials if trial.error is not None)

    @property
    def failures(self) -> list[Trial]:
        """Trials that failed."""
        return [trial for trial in self.trials if trial.state is TrialState.FAILED]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as `status --json` prints it."""
        live, errors, now = self.live, self.errors, time.time()
        running = sorted(live.running.items()) if live else []
        return {
            "name": self.name,
            "n": self.n,
            **{state.value: self.count(state) for state in TrialState},
            "running": len(running),
            "waiting": self.n - len(self.trials) - len(running),
            "at_work": live is not None,
            "torn_line": self.torn,
            "models_per_hour": live.per_hour if live else None,
            "seconds_left": live.seconds_left if live else None,
            "seconds_trained": round(sum(trial.seconds for trial in self.trials), 3),
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


def read_status(folder: Run) -> RunStatus:
    """Read how far a run is.

    Raises:
        InputError: A file of the run is damaged.
    """
    n = len(folder.population())
    live, trials = read_heartbeat(folder), folder.trials()
    if live is not None:
        # A model may have been finished since the driver last spoke.
        done = {trial.index for trial in trials if trial.state is not TrialState.FAILED}
        running = {index: since for index, since in live.running.items() if index not in done}
        live = Heartbeat(live.total, live.per_hour, live.seconds_left, running, live.written)
    # A driver at work may be writing that line just now.
    torn = live is None and journal.read(folder.trials_file, "trials").torn_line is not None
    return RunStatus(folder.name, n, trials, live, torn)
