"""`designspace spaces`: the design spaces that can be sampled."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from designspace.cli.options import Json
from designspace.errors import counted

if TYPE_CHECKING:
    from designspace.space import Space


def spaces(
    space: Annotated[
        str | None,
        typer.Argument(help="A space to show in full: a name, a .yaml file, or either @8."),
    ] = None,
    json_: Json = False,
) -> None:
    """List the design spaces: dimensions, size, parent, and why each was narrowed.

    Sizes are given as the paper counts them (ignoring ties) and exactly, or as an upper bound where
    rules of finished networks leave fewer. Every space goes with a setting for small images, such
    as AnyNetXD@16 or mine.yaml@32.

    Examples:

      designspace spaces

      designspace spaces RegNetX@16

      designspace spaces --json
    """
    import json

    import designspace as ds
    from designspace.arch import installed_blocks
    from designspace.errors import printable
    from designspace.space import shipped_settings

    if space is not None:
        chosen = ds.load_space(space)
        print(
            json.dumps([_record(chosen, whole=True)], indent=2) if json_ else _text(chosen), end=""
        )
        return
    listed = ds.list_spaces()
    if json_:
        print(json.dumps([_record(one) for one in listed], indent=2))
        return
    _table(listed)
    print(f"\nSettings for small images: {', '.join('@' + name for name in shipped_settings())}.")
    print("`designspace spaces NAME` shows one in full; your own space is a YAML file like it.")
    usable, problems = installed_blocks()
    print(f"Blocks, for `block:` in a space: {', '.join(usable)}.")
    for problem in problems:
        print(printable(f"Unusable: {problem}"))


def _record(space: "Space", whole: bool = False) -> dict[str, Any]:
    record = {
        "name": space.name,
        "parent": space.parent,
        "reason": space.reason,
        "family": space.family,
        "dimensions": space.dimensions,
        "size": space.paper_size,
        "exact_size": space.exact_size,
        "size_is_bound": space.size_is_bound,
        "resolution": space.skeleton.resolution,
        "hash": space.hash,
    }
    return {**record, "notes": space.notes, "space": space.source} if whole else record


def _table(listed: "list[Space]") -> None:
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    print(f"{'space':<28}{'dims':>5}{'size (paper)':>14}{'size (exact)':>14}  parent")
    for one in listed:
        print(
            f"{one.name:<28}{one.dimensions:>5}{one.paper_size:>14.2g}"
            f"{'<=' * one.size_is_bound + format(one.exact_size, '.3g'):>14}  {one.parent or '-'}"
        )
        print(textwrap.fill(one.reason, width, initial_indent="    ", subsequent_indent="    "))


def _text(space: "Space") -> str:
    from designspace.io.yaml_files import dump_yaml

    header = (
        f"{counted(space.dimensions, 'dimension')}; size as the paper counts "
        f"{space.paper_size:.2g}, {'at most' if space.size_is_bound else 'exactly'} "
        f"{space.exact_size:,}; hash {space.hash}"
    )
    header += "".join(f"\nnote: {note}" for note in space.notes)
    return dump_yaml(dict(space.source), header)
