"""The trials of a run's journal, checked against its population."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from designspace.errors import InputError
from designspace.io import journal
from designspace.runs.trial import Trial, TrialState


def read_trials(path: Path, ids: Sequence[str]) -> list[Trial]:
    """Read every trial of a journal, superseded ones too; a missing file has none.

    Args:
        path: The journal.
        ids: The population's models, in sampled order.

    Raises:
        InputError: A line is damaged, or belongs to another population.
    """
    trials = []
    for number, record in enumerate(journal.read(path, "trials").records, start=1):
        where = f"{path}, record {number}"
        trial = Trial.from_record(record, where)
        if not 0 <= trial.index < len(ids):
            raise InputError(f"{where}: index {trial.index} is not in the population of {len(ids)}")
        if trial.id != ids[trial.index]:
            raise InputError(
                f"{where}: the trial of model {trial.index} is of {trial.id}, the population "
                f"has {ids[trial.index]} there: it is of another population"
            )
        trials.append(trial)
    return trials


def current_trials(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the current trial of each model that has one, in sampled order.

    A later trial supersedes a failed one, and nothing else.
    """
    current: dict[int, Trial] = {}
    for trial in trials:
        before = current.get(trial.index)
        if before is None or before.state is TrialState.FAILED:
            current[trial.index] = trial
    return tuple(current[index] for index in sorted(current))
