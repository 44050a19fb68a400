"""Verify that exported files give the same network: rebuild it with the library and compare.

Everything but the outputs is compared on the `meta` device, without memory. To compare outputs,
both networks share one set of weights.
"""

import importlib.metadata
import importlib.util
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.arch import Model
from designspace.errors import InputError, shortened
from designspace.export.read_model import read_model_file
from designspace.export.state_keys import rename
from designspace.export.target import Target, block_ships

if TYPE_CHECKING:
    import torch
    from torch import nn

TOLERANCE = 1e-5
# Outputs of larger networks are compared only on request, or with a checkpoint.
MAX_OUTPUT_PARAMS = 100_000_000
_OUTPUT_SIDE = 224


@dataclass(frozen=True)
class VerificationReport:
    """What was compared for one target.

    Attributes:
        target: Name of the target.
        by: The library and version that rebuilt the network, or how the files were checked.
        checks: What is equal.
        skipped: What was not compared, and why.
    """

    target: str
    by: str
    checks: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        lists = {"checks": list(self.checks), "skipped": list(self.skipped)}
        return {**asdict(self), **lists}


def is_installed(library: str) -> bool:
    """Whether a library can be imported."""
    return importlib.util.find_spec(library) is not None


def require_installed(target: Target) -> None:
    """Raise unless a target's library is installed.

    Raises:
        InputError: It is not installed.
    """
    if target.package is not None and not is_installed(target.package):
        raise InputError(
            f"verify: {target.package} is not installed: pip install 'designspace-regnet[export]'",
            "verify",
        )


def verify_by_reading(target: Target, model: Model, folder: Path) -> VerificationReport:
    """Read a target's file back as the library would, and compare stages, stem and strides.

    Raises:
        RuntimeError: They differ: a bug of ours.
    """
    (name,) = target.files(model)
    read = read_model_file(folder / name)
    ours, theirs = model.skeleton, read.skeleton
    around = replace(theirs, resolution=ours.resolution, classes=ours.classes)
    bodies = [one.body.to_dict() for one in (read, model)]
    # Files hold 1 / b, whose inverse may differ from b in the last bit.
    ratios = [body.pop("bottleneck_ratios") for body in bodies]
    close = all(map(math.isclose, *ratios))
    if not close or bodies[0] != bodies[1] or around != ours:
        raise RuntimeError(f"{folder / name} does not describe {model.name}")
    return VerificationReport(target.name, "reading the file back", (_stages(model),))


def rebuild(target: Target, model: Model, folder: Path) -> "nn.Module":
    """Build the network on `meta` with the target's library, from the written files."""
    import torch

    assert target.rebuild is not None
    with torch.device("meta"):
        return target.rebuild(model, folder)


def verify_structure(
    target: Target, model: Model, theirs: "nn.Module", folder: Path
) -> VerificationReport:
    """Compare a rebuilt network's structure and cost with ours, on `meta`.

    Raises:
        RuntimeError: They differ: a bug of ours.
    """
    from designspace.networks import build_on_meta
    from designspace.networks.count_cost import measure

    size = (model.skeleton.resolution, model.skeleton.channels)
    rebuilt, ours = measure(theirs, *size), measure(build_on_meta(model), *size)
    for name in ("spatial", "layers", "params", "flops", "acts"):
        if getattr(rebuilt, name) != getattr(ours, name):
            values = (shortened(str(getattr(one, name)), 200) for one in (rebuilt, ours))
            raise RuntimeError(
                f"{target.name} rebuilt another network from {folder}: {name} differ "
                f"({', '.join(values)})"
            )
    if (ours.params, ours.flops, ours.acts) != (model.params, model.flops, model.acts):
        raise RuntimeError(f"{model.name}: the built network does not cost what was counted")
    checks = (
        _stages(model),
        f"{rebuilt.params:,} parameters",
        f"{rebuilt.flops:,} multiply-adds",
        f"{rebuilt.acts:,} activations",
    )
    assert target.package is not None
    return VerificationReport(target.name, versioned(target.package), checks)


def compare_outputs(
    target: Target, model: Model, theirs: "nn.Module", state: "dict[str, torch.Tensor]"
) -> str:
    """Run our network and the rebuilt one on the same image with the same weights.

    Args:
        target: The target.
        model: The model.
        theirs: The rebuilt network; it keeps the weights.
        state: Weights in our own names, which both networks share.

    Returns:
        How equal the outputs are.

    Raises:
        RuntimeError: The outputs differ by more than 1e-5 of their largest value.
    """
    import torch

    assert target.keys is not None
    inner = theirs.network if target.name == "transformers" else theirs
    assert isinstance(inner, torch.nn.Module)
    inner.load_state_dict(rename(state, model, target.keys), strict=True, assign=True)
    image = probe_image(model)
    with torch.no_grad():
        ours, output = our_network(model, state)(image), theirs.eval()(image)
    return compare_values(ours, output, target.name)


def our_network(model: Model, state: "dict[str, torch.Tensor]") -> "nn.Module":
    """Build our network around arrays, without copying them."""
    import torch

    from designspace.networks import build

    # A plugin's network may have tensors beside its state, which need values.
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = build(model, device="meta" if block_ships(model) else "cpu")
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def random_state(model: Model) -> "dict[str, torch.Tensor]":
    """Return seeded random weights, with random BatchNorm statistics too.

    A new network's statistics, 0 and 1, would hide mistakes in their conversion.
    """
    import torch

    from designspace.networks import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = dict(build(model).state_dict())
        for key, tensor in state.items():
            # Layer scale, of 3 axes, starts too small for its branch to affect the outputs.
            scale = tensor.ndim in (1, 3) and key.endswith("weight")
            if scale or key.endswith(("running_var", "running_mean")):
                low, high = (-0.1, 0.1) if key.endswith("mean") else (0.5, 1.5)
                tensor.uniform_(low, high)
    return state


def probe_image(model: Model, side: int | None = None, count: int = 2) -> "torch.Tensor":
    """Return seeded images, by default of at most 224 pixels; convolutions accept any size."""
    import torch

    limit = 64 if model.params > MAX_OUTPUT_PARAMS else _OUTPUT_SIDE
    side = side or min(model.skeleton.resolution, limit)
    return torch.randn(
        count, model.skeleton.channels, side, side, generator=torch.Generator().manual_seed(1)
    )


def compare_values(ours: "torch.Tensor", theirs: "torch.Tensor", what: str) -> str:
    """Describe how equal two outputs are.

    Raises:
        RuntimeError: They differ by more than 1e-5 of the largest value.
    """
    scale = float(ours.abs().max()) or 1.0
    distance = float((ours - theirs).abs().max()) / scale
    if not distance <= TOLERANCE:
        raise RuntimeError(f"{what}: outputs differ by {distance:.1e} of the largest value")
    return f"outputs equal to {distance:.0e}" if distance else "outputs equal to the last bit"


def versioned(library: str) -> str:
    """Return a library's name and version."""
    return f"{library} {importlib.metadata.version(library)}"


def _stages(model: Model) -> str:
    body = model.body
    columns = {"depths": body.depths, "widths": body.widths, "group widths": body.group_widths}
    return ", ".join(f"{name} {' '.join(map(str, v))}" for name, v in columns.items())
