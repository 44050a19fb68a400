"""What every export target gives: the files, and the model that its library makes of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.arch import Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Target:
    """A library to export to.

    Attributes:
        name: What people write behind --to; also the folder that its files go to.
        package: Import name of the library that rebuilds the files, or None where it can't be
            installed any more.
        made: The model that the library makes of what `files` writes; it equals its argument
            where that can be represented.
        files: File names and their text.
        rebuild: Build the network with the library from the written files, on the current device;
            None where there is no library.
        check: Hold the written files against the library's documented keys; None where they are
            rebuilt instead.
        keys: Key style of its weights, or None where none are converted.
        weights: File name for converted weights, or None.
    """

    name: str
    package: str | None
    made: Callable[[Model], Model]
    files: Callable[[Model], dict[str, str]]
    rebuild: "Callable[[Model, Path], nn.Module] | None" = None
    check: Callable[[Model, Path], list[str]] | None = None
    keys: str | None = None
    weights: Callable[[Model], str] | None = None


def same(model: Model) -> Model:
    """Return the model: the library represents every one."""
    return model


def differences(wished: Model, made: Model) -> list[str]:
    """Name what would come out otherwise, a stage or a part of the frame each."""
    found = []
    for name in ("stem_stride", "stem_width", "strides", "resolution", "classes"):
        before, after = getattr(wished.skeleton, name), getattr(made.skeleton, name)
        if before != after:
            found.append(f"{name.replace('_', ' ')} {_plain(before)} would be {_plain(after)}")
    if wished.body.num_stages != made.body.num_stages:
        found.append(f"{wished.body.num_stages} stages would be {made.body.num_stages}")
        return found
    columns = {
        "depth": "depths",
        "width": "widths",
        "bottleneck ratio": "bottleneck_ratios",
        "group width": "group_widths",
    }
    for i in range(wished.body.num_stages):
        changed = [
            f"{noun} {getattr(wished.body, key)[i]:g} would be {getattr(made.body, key)[i]:g}"
            for noun, key in columns.items()
            if getattr(wished.body, key)[i] != getattr(made.body, key)[i]
        ]
        if changed:
            found.append(f"stage {i + 1}: {', '.join(changed)}")
    if wished.body.se_ratio != made.body.se_ratio:
        found.append(f"se_ratio {wished.body.se_ratio:g} would be {made.body.se_ratio:g}")
    return found


def _plain(value: int | tuple[int, ...]) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
