"""Blocks and input sizes of a study's derived models, as far as its file decides them."""

from collections.abc import Callable, Iterator, Mapping

from designspace.arch import BOTTLENECK, Model, Skeleton
from designspace.derivation.scaling_rules import find_rule
from designspace.errors import InputError
from designspace.space import Space
from designspace.studies.study_file import DerivedEntry, StudyFile

# Block and side of the input in pixels, None where the file does not decide it.
_Shape = tuple[str | None, int | None]
_UNKNOWN: _Shape = (None, None)


def shape_mistakes(
    file: StudyFile, spaces: Mapping[str, Space], load: Callable[[str], Model]
) -> Iterator[str]:
    """Yield a text for each trained model that differs from an earlier one in block or input size.

    The models that are trained make one population, of one block and one skeleton.

    Args:
        file: The study.
        spaces: The spaces that can be loaded, by population.
        load: Loads a source that is none of the study's own.
    """
    if not file.derived_runs:
        return
    shapes = _shapes(file, spaces, load)
    trained = [name for name, entry in file.derived.items() if entry.trained]
    for i, what in enumerate(("blocks", "pixels")):
        decided = {name: shapes[name][i] for name in trained if shapes[name][i] is not None}
        for name, value in decided.items():
            first = next(iter(decided))
            if value != decided[first]:
                yield (
                    f"derived.{name}: has {value} {what}, but {first} has {decided[first]}; models "
                    "that are trained make one population: set trained: false for one of them"
                )


def _shapes(
    file: StudyFile, spaces: Mapping[str, Space], load: Callable[[str], Model]
) -> dict[str, _Shape]:
    shapes: dict[str, _Shape] = {}

    def of_source(entry: DerivedEntry) -> _Shape:
        if entry.source is None:
            return BOTTLENECK, Skeleton().resolution
        name = entry.source.partition(":")[0]
        report = file.reports.get(entry.source)
        if report is not None:
            chosen = report.by_claim_name.get(entry.population or "")
            names = [chosen] if chosen else report.populations
            alike = {_population_shape(one, file, spaces) for one in names}
            return alike.pop() if len(alike) == 1 else _UNKNOWN
        if name in file.runs:
            return _population_shape(name, file, spaces)
        if any(name == refinement.findings for refinement in file.refinements):
            return _UNKNOWN
        other = name.removeprefix("derived/").removesuffix(".yaml")
        if name == f"derived/{other}.yaml" and other in shapes:
            return shapes[other]
        model = load(entry.source)
        return model.body.block, model.skeleton.resolution

    for name, entry in file.derived.items():
        try:
            block, resolution = of_source(entry)
            scaled = entry.search is None and find_rule(entry.rule).resolution > 0
        except InputError:  # reported where the file names it
            shapes[name] = _UNKNOWN
            continue
        resolution = Skeleton().resolution if entry.imagenet else resolution
        shapes[name] = block, None if scaled else resolution
    return shapes


def _population_shape(name: str, file: StudyFile, spaces: Mapping[str, Space]) -> _Shape:
    space = spaces.get(name)
    if space is None:
        return _UNKNOWN
    toggled = (file.entry(name).toggle or {}).get("resolution", space.skeleton.resolution)
    return space.block, int(toggled)
