"""What an export target provides: files, and the model that its library makes of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.arch import BOTTLENECK, Body, Model, is_shipped

if TYPE_CHECKING:
    from torch import nn


def unchanged(model: Model) -> Model:
    """Return the model: the library represents every one."""
    return model


@dataclass(frozen=True)
class Target:
    """A library to export to.

    Attributes:
        name: The name of the target, and of the folder of its files.
        files: Returns file names and their text.
        package: Import name of the library that rebuilds the files; None if it can't be installed
            any more, so that the files are read back instead.
        represent: Returns the model that the library makes of `files`; equal to its argument if
            the library can represent it.
        rebuild: Builds the network with the library from the files, on the current device.
        keys: Key style of its weights, or None if none are converted.
        weights: Returns the file name of converted weights.
        any_channels: Whether its images may have other than 3 channels.
        any_network: Whether its networks may be others than RegNets (`Model.is_regnet_network`).
    """

    name: str
    files: Callable[[Model], dict[str, str]]
    package: str | None = None
    represent: Callable[[Model], Model] = unchanged
    rebuild: "Callable[[Model, Path], nn.Module] | None" = None
    keys: str | None = None
    weights: Callable[[Model], str] | None = None
    any_channels: bool = False
    any_network: bool = False


def block_ships(model: Model) -> bool:
    """Return whether a model's block comes with this package; others may be any code."""
    return model.body.block == BOTTLENECK or is_shipped(model.body.block)


def differences(model: Model, other: Model) -> list[str]:
    """List how two models differ, one entry per stage or part of the skeleton."""
    result = []
    around = ("stem", "stem_stride", "stem_width", "strides", "head_width", "resolution", "classes")
    for name in around:
        before, after = getattr(model.skeleton, name), getattr(other.skeleton, name)
        if before != after:
            result.append(f"{name.replace('_', ' ')} {_text(before)} would be {_text(after)}")
    if model.body.num_stages != other.body.num_stages:
        result.append(f"{model.body.num_stages} stages would be {other.body.num_stages}")
        return result
    before_stages, after_stages = _columns(model.body), _columns(other.body)
    for i in range(model.body.num_stages):
        changed = [
            f"{noun} {values[i]:g} would be {after_stages[noun][i]:g}"
            for noun, values in before_stages.items()
            if noun in after_stages and values[i] != after_stages[noun][i]
        ]
        if changed:
            result.append(f"stage {i + 1}: {', '.join(changed)}")
    for name in ("block", "activation"):
        before, after = getattr(model.body, name), getattr(other.body, name)
        if before != after:
            result.append(f"{name} {before} would be {after}")
    if model.body.se_ratio != other.body.se_ratio:
        result.append(f"se_ratio {model.body.se_ratio:g} would be {other.body.se_ratio:g}")
    return result


def _columns(body: Body) -> dict[str, tuple[float, ...]]:
    """Return what each stage has, by its name in messages; another block's axes by their own."""
    return {
        "depth": body.depths,
        "width": body.widths,
        "bottleneck ratio": body.bottleneck_ratios,
        "group width": body.group_widths,
        **dict(body.extras),
    }


def _text(value: int | tuple[int, ...]) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
