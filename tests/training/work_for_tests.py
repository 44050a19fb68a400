"""What workers do in tests: importable by worker processes."""

import os
import signal
import time
from pathlib import Path

from designspace.runs import Trial, TrialState
from designspace.training.trial_task import Outcome


def at_once(task):
    """Be through at once, telling which process it was."""
    trial = Trial(
        task.id,
        task.index,
        TrialState.COMPLETE,
        10.0,
        (),
        0.0,
        task.seed,
        versions={"process": str(os.getpid()), "device": task.device},
    )
    return Outcome(trial)


def dies_once(task):
    """Model 0 kills its process the first time; the others take a moment."""
    if task.index == 0:
        flag = Path(task.checkpoint).with_suffix(".died")
        if not flag.exists():
            flag.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.5)
    return at_once(task)


def hangs(task):
    """Model 0 never comes back."""
    if task.index == 0:
        Path(task.checkpoint).with_suffix(".hangs").write_text("")
        time.sleep(600)
    return at_once(task)
