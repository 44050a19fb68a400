"""The models that the reports of a study judge: those that its file states, and no others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from designspace.analysis.load_results import distinct_names, load_populations
from designspace.analysis.population_results import MISSING, PopulationResults
from designspace.errors import counted
from designspace.runs import Run
from designspace.studies.study_file import StudyFile
from designspace.studies.subset import choose_models, is_subset


def load_stated(
    file: StudyFile,
    folder: Path,
    names: Sequence[str],
    first: int | None = None,
    all_finished: bool = False,
) -> tuple[PopulationResults, ...]:
    """Read populations of a study, each as far as its file states it.

    Models that populations were extended by are left out, as a test at a number of models that
    earlier verdicts chose would not keep its level. So are trials of models that `models` does not
    choose; a note has their number.

    Args:
        file: The study.
        folder: Its results.
        names: The populations.
        first: Only the first so many models of each.
        all_finished: Count also trials behind the first model without one, as of a population of
            which only some models are chosen.

    Raises:
        InputError: One of them can't be read, or has no error yet.
    """
    shown = shown_names(folder, names)
    loaded = [_load(file, folder, name, first, all_finished) for name in names]
    return tuple(replace(run, name=shown[n]) for run, n in zip(loaded, names, strict=True))


def shown_names(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return what reports call populations of a study: their last names, longer where needed."""
    last_parts = [name.rpartition("/")[2] for name in names]
    places = [folder.resolve() / name for name in names]
    return dict(zip(names, distinct_names(last_parts, places), strict=True))


def _load(
    file: StudyFile, folder: Path, name: str, first: int | None, all_finished: bool
) -> PopulationResults:
    run, size = Run.open(folder / name), file.size(name)
    if len(run.population()) > size:
        first = min(first or size, size)
    chosen = is_subset(file, name)
    (results,) = load_populations(run, all_finished=all_finished or chosen, first=first)
    return _only(results, choose_models(file, name, folder)) if chosen else results


def _only(results: PopulationResults, chosen: Sequence[int]) -> PopulationResults:
    """Return the results without the trials of models that are not chosen."""
    others = results.states != MISSING
    others[[index for index in chosen if index < len(results)]] = False
    number = int(others.sum())
    if not number:
        return results
    trials = counted(number, "trial is", "trials are")
    note = f"{trials} left out: of models that the study's file does not choose."
    return replace(
        results,
        states=np.where(others, MISSING, results.states),
        errors=np.where(others, np.nan, results.errors),
        counted=results.counted & ~others,
        correct={index: bits for index, bits in results.correct.items() if not others[index]},
        provenance=replace(results.provenance, notes=(*results.provenance.notes, note)),
    )
