"""Blocks, input sizes and stems of a study's derived models, as far as its file decides them."""

from collections.abc import Callable, Iterator, Mapping

from designspace.arch import BOTTLENECK, Model, Skeleton
from designspace.derivation.scaling_rules import find_rule
from designspace.errors import InputError
from designspace.space import Space
from designspace.studies.study_file import DerivedEntry, StudyFile
from designspace.studies.toggle import skeleton_toggle

# Block, side of the input in pixels, and stem and head in words; None what the file leaves open.
_Shape = tuple[str | None, int | None, str | None]
_UNKNOWN: _Shape = (None, None, None)


def shape_mistakes(
    file: StudyFile, spaces: Mapping[str, Space], load: Callable[[str], Model]
) -> Iterator[str]:
    """Yield a text for each trained model that differs from an earlier one in block, input or stem.

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
    for i, what in enumerate((" blocks", " pixels", "")):
        decided = {name: shapes[name][i] for name in trained if shapes[name][i] is not None}
        for name, value in decided.items():
            first = next(iter(decided))
            if value != decided[first]:
                yield (
                    f"derived.{name}: has {value}{what}, but {first} has {decided[first]}; models "
                    "that are trained make one population: set trained: false for one of them"
                )


def _shapes(
    file: StudyFile, spaces: Mapping[str, Space], load: Callable[[str], Model]
) -> dict[str, _Shape]:
    shapes: dict[str, _Shape] = {}

    def of_source(entry: DerivedEntry) -> _Shape:
        if entry.source is None:
            return BOTTLENECK, Skeleton().resolution, _around(Skeleton())
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
        return model.body.block, model.skeleton.resolution, _around(model.skeleton)

    for name, entry in file.derived.items():
        try:
            block, resolution, around = of_source(entry)
            scaled = entry.search is None and find_rule(entry.rule).resolution > 0
        except InputError:  # reported where the file names it
            shapes[name] = _UNKNOWN
            continue
        if entry.imagenet:  # with stem and head of the block's published networks
            resolution, around = Skeleton().resolution, None
        shapes[name] = block, None if scaled else resolution, around
    return shapes


def _population_shape(name: str, file: StudyFile, spaces: Mapping[str, Space]) -> _Shape:
    space = spaces.get(name)
    if space is None:
        return _UNKNOWN
    parts = space.skeleton.to_dict()
    try:
        skeleton = Skeleton.from_dict({**parts, **skeleton_toggle(file.entry(name).toggle)})
    except InputError:  # reported where the file states the toggle
        return _UNKNOWN
    return space.block, skeleton.resolution, _around(skeleton)


def _around(skeleton: Skeleton) -> str:
    head = f" and a head of {skeleton.head_width}" if skeleton.head_width else ""
    return (
        f"a {skeleton.stem} stem of width {skeleton.stem_width} and stride "
        f"{skeleton.stem_stride}{head}"
    )
