"""What a worker does with a task; the driver, which only names it, does not import torch."""

from designspace.training.trial_task import Outcome, TrialTask


def train_task(task: TrialTask) -> Outcome:
    """Train one model as `run_task.run_task` does; torch is imported in the worker alone."""
    from designspace.training.run_task import run_task

    return run_task(task)


def import_trainer() -> None:
    """Import what `train_task` needs, in a worker that has no task yet."""
    import designspace.training.run_task  # noqa: F401
    from designspace.networks import numba_loops

    numba_loops.available()
