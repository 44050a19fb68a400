"""`designspace spaces`: what can be sampled."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from designspace.space import Space


def spaces(
    space: Annotated[
        str | None,
        typer.Argument(help="A space to show whole: a name, a .yaml file, or either @8."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the design spaces: dimensions, size, parent, and why each was narrowed.

    The size stands as the paper counts it (ties ignored) and exactly. Any space goes with a setting
    for small images, such as AnyNetXD@16 or mine.yaml@32.

    Examples:

      designspace spaces

      designspace spaces RegNetX@16

      designspace spaces --json
    """
    import json

    from designspace.arch import BOTTLENECK, installed_blocks
    from designspace.errors import printable
    from designspace.space import load_space, shipped_settings, shipped_spaces

    if space is not None:
        found = load_space(space)
        if json_:
            print(json.dumps([_record(found, whole=True)], indent=2))
        else:
            _show(found)
        return
    listed = [load_space(name) for name in shipped_spaces()]
    if json_:
        print(json.dumps([_record(one) for one in listed], indent=2))
        return
    _table(listed)
    print(f"\nSettings for small images: {', '.join('@' + name for name in shipped_settings())}.")
    print("`designspace spaces NAME` shows one whole; your own space is a YAML file like it.")
    usable, problems = installed_blocks()
    brought = [block for block in usable if block != BOTTLENECK]
    if brought:
        print(f"Blocks of other packages, for `block:` in a space: {', '.join(brought)}.")
    for problem in problems:
        print(printable(f"Can't be used: {problem}"))


def _record(space: "Space", whole: bool = False) -> dict[str, Any]:
    record = {
        "name": space.name,
        "parent": space.parent,
        "reason": space.reason,
        "family": space.family,
        "dimensions": space.dimensions,
        "size": space.paper_size,
        "exact_size": space.exact_size,
        "resolution": space.skeleton.resolution,
        "hash": space.hash,
    }
    return {**record, "space": space.source} if whole else record


def _table(listed: "list[Space]") -> None:
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    print(f"{'space':<28}{'dims':>5}{'size (paper)':>14}{'size (exact)':>14}  parent")
    for one in listed:
        print(
            f"{one.name:<28}{one.dimensions:>5}{one.paper_size:>14.2g}{one.exact_size:>14.3g}"
            f"  {one.parent or '-'}"
        )
        print(textwrap.fill(one.reason, width, initial_indent="    ", subsequent_indent="    "))


def _show(space: "Space") -> None:
    from designspace.io.yaml_files import dump_yaml

    header = (
        f"{space.dimensions} dimensions; size as the paper counts {space.paper_size:.2g}, exactly "
        f"{space.exact_size:,}; hash {space.hash}"
    )
    print(dump_yaml(dict(space.source), header), end="")
