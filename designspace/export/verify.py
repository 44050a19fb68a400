"""Proofs that written files give the same network: rebuilt with the library, measured, compared.

All but the outputs is compared on `meta`, without memory. For the outputs both networks share one
set of weights, so that they are held once.
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.arch import Model
from designspace.errors import InputError
from designspace.export.state_keys import key_map
from designspace.export.target import Target

if TYPE_CHECKING:
    import torch
    from torch import nn

TOLERANCE = 1e-5
# Outputs of larger networks are compared only when asked for, or when weights are given.
OUTPUT_PARAMS = 100_000_000
_OUTPUT_SIDE = 224


@dataclass(frozen=True)
class Proof:
    """What was compared for one target, and what came out.

    Attributes:
        target: The target.
        by: The library and version that rebuilt it, or what it was held against.
        checks: What was found equal, a phrase each.
        skipped: What was not compared, and why.
    """

    target: str
    by: str
    checks: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "target": self.target,
            "by": self.by,
            "checks": list(self.checks),
            "skipped": list(self.skipped),
        }


def installed(library: str) -> bool:
    """Whether a library can be imported."""
    return importlib.util.find_spec(library) is not None


def check_keys(target: Target, model: Model, folder: Path) -> Proof:
    """Hold a target's files against its library's documented keys.

    Raises:
        InputError: A key or value is not one of them.
    """
    assert target.check is not None
    return Proof(target.name, "its documented keys", tuple(target.check(model, folder)))


def rebuild(target: Target, model: Model, folder: Path) -> "nn.Module":
    """Build the network on `meta` with the target's library, from the written files."""
    import torch

    assert target.rebuild is not None
    with torch.device("meta"):
        return target.rebuild(model, folder)


def prove(target: Target, model: Model, theirs: "nn.Module", folder: Path) -> Proof:
    """Compare a rebuilt network's structure and cost with ours, on `meta`.

    Raises:
        RuntimeError: They differ: a failure of our own.
    """
    from designspace.export.network_structure import measure
    from designspace.networks import build

    side = model.skeleton.resolution
    rebuilt, ours = measure(theirs, side), measure(build(model, device="meta"), side)
    for name in ("blocks", "layers", "params", "flops", "acts"):
        if getattr(rebuilt, name) != getattr(ours, name):
            raise RuntimeError(
                f"{target.name} rebuilt another network from {folder}: {name} differ "
                f"({_short(getattr(rebuilt, name))}, {_short(getattr(ours, name))})"
            )
    if (ours.params, ours.flops, ours.acts) != (model.params, model.flops, model.acts):
        raise RuntimeError(f"{model.name}: the built network does not cost what was counted")
    depths = " ".join(str(depth) for depth, _ in rebuilt.stages())
    widths = " ".join(str(block.width) for _, block in rebuilt.stages())
    groups = " ".join(str(block.group_width) for _, block in rebuilt.stages())
    checks = (
        f"depths {depths}, widths {widths}, group widths {groups}",
        f"{rebuilt.params:,} parameters",
        f"{rebuilt.flops:,} multiply-adds",
        f"{rebuilt.acts:,} activations",
    )
    assert target.package is not None
    return Proof(target.name, f"{target.package} {_version(target.package)}", checks)


def compare_outputs(
    target: Target, model: Model, theirs: "nn.Module", state: "dict[str, torch.Tensor]"
) -> str:
    """Run our network and the rebuilt one on the same image with the same weights.

    Args:
        target: A target whose library rebuilds it.
        model: The network.
        theirs: The rebuilt network; it keeps the weights.
        state: Weights in our own names; both networks use these very arrays.

    Returns:
        What was found, in words.

    Raises:
        RuntimeError: The outputs differ by more than 1e-5 of their largest value.
    """
    import torch

    assert target.keys is not None
    skeleton = model.skeleton
    mapping = key_map(model.body, skeleton.strides, skeleton.stem_width, "torchvision", target.keys)
    renamed = {mapping[key]: tensor for key, tensor in state.items()}
    inner = theirs.network if target.name == "transformers" else theirs
    assert isinstance(inner, torch.nn.Module)
    inner.load_state_dict(renamed, strict=True, assign=True)
    return _same_output(theirs, our_network(model, state), model, target.name)


def our_network(model: Model, state: "dict[str, torch.Tensor]") -> "nn.Module":
    """Build our network around given arrays, without copying them."""
    from designspace.networks import build

    network: nn.Module = build(model, device="meta")
    network.load_state_dict(state, strict=True, assign=True)
    network.eval()
    return network


def fresh_state(model: Model) -> "dict[str, torch.Tensor]":
    """Return seeded weights with BatchNorm statistics that are not those of a new network.

    A new network's statistics (0 and 1) would hide a mistake in their conversion.
    """
    import torch

    from designspace.networks import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = dict(build(model).state_dict())
        for key, tensor in state.items():
            if key.endswith(("running_var", "running_mean")) or _is_norm_scale(key, tensor):
                low, high = (-0.1, 0.1) if key.endswith("mean") else (0.5, 1.5)
                tensor.uniform_(low, high)
    return state


def probe_image(model: Model) -> "torch.Tensor":
    """Return a seeded image; large inputs are cut to 224 pixels, which convolutions don't mind."""
    import torch

    side = min(model.skeleton.resolution, _OUTPUT_SIDE)
    if model.params > OUTPUT_PARAMS:
        side = min(side, 64)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, side, side, generator=generator)


def _same_output(theirs: "nn.Module", ours: "nn.Module", model: Model, what: str) -> str:
    import torch

    image = probe_image(model)
    with torch.no_grad():
        first, second = ours(image), theirs.eval()(image)
    return same_values(first, second, what)


def same_values(ours: "torch.Tensor", theirs: "torch.Tensor", what: str) -> str:
    """Say how far two outputs are apart.

    Raises:
        RuntimeError: By more than 1e-5 of the largest value.
    """
    scale = float(ours.abs().max()) or 1.0
    away = float((ours - theirs).abs().max()) / scale
    if not away <= TOLERANCE:
        raise RuntimeError(f"{what}: outputs differ by {away:.1e} of the largest value")
    return f"outputs equal to {away:.0e}" if away else "outputs equal to the last bit"


def require(target: Target) -> None:
    """Refuse to verify with a library that is not there.

    Raises:
        InputError: It is not installed.
    """
    if target.package is not None and not installed(target.package):
        raise InputError(
            f"--verify: {target.package} is not installed: pip install 'designspace-regnet[export]'"
        )


def _is_norm_scale(key: str, tensor: "torch.Tensor") -> bool:
    return tensor.ndim == 1 and key.endswith("weight")


def _version(library: str) -> str:
    return importlib.metadata.version(library)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:197] + "..."
