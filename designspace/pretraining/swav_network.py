"""The network of SwAV: trunk, projection head and prototypes."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from designspace.arch import Model
from designspace.errors import InputError
from designspace.networks import build
from designspace.networks.classifier import remove_classifier
from designspace.pretraining.dtensor import local_tensor
from designspace.pretraining.recipe import Head, SwavRecipe


def trunk_of(model: Model, zero_init_residual: bool = False, device: str = "cpu") -> Any:
    """Build a network without classifier: (n, channels, side, side) to features (n, width).

    Raises:
        InputError: It can't be built, or has no classifier to leave out.
    """
    network = build(model, zero_init_residual, device)
    remove_classifier(network, model)
    return network


def check_stages(trunk: nn.Module, model: Model, purpose: str) -> None:
    """Raise unless a trunk is a stem, stages of blocks and pooling that can run one by one.

    Raises:
        InputError: It is not; the message begins with the purpose.
    """
    if not has_stages(trunk):
        raise InputError(
            f"{purpose} needs a network with the modules stem, trunk_output and avgpool; that of "
            f"{model.body.block} blocks ({model.name}) lacks them"
        )


def has_stages(trunk: nn.Module) -> bool:
    """Return whether a trunk is a stem, stages of blocks and pooling that can run one by one."""
    return all(hasattr(trunk, part) for part in ("stem", "trunk_output", "avgpool"))


def part_of(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries of a state dict under a prefix, which is removed."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def projection(width: int, head: Head) -> nn.Sequential:
    """Build the projection head: linear layers with optional BatchNorm and ReLU between."""
    layers: list[nn.Module] = []
    for hidden in head.hidden:
        layers.append(nn.Linear(width, hidden))
        if head.batch_norm:
            layers.append(nn.BatchNorm1d(hidden))
        layers.append(nn.ReLU(inplace=True))
        width = hidden
    layers.append(nn.Linear(width, head.dim))
    return nn.Sequential(*layers)


class SwavNetwork(nn.Module):
    """Trunk, head and prototypes.

    The trunk runs once per crop size; the head, and so its BatchNorm, sees all crops at once.
    """

    trunk: Any

    def __init__(self, model: Model, recipe: SwavRecipe, device: str = "cpu") -> None:
        """Initialize from torch's global random state; device `meta` allocates nothing."""
        super().__init__()
        check_depth(model, recipe)
        self.trunk = trunk_of(model, recipe.zero_init_residual, device)
        for option, chosen in (
            ("checkpoint_after", recipe.checkpoint_after is not None),
            ("shard", recipe.shard),
        ):
            if chosen:
                check_stages(self.trunk, model, option)
        with torch.device(device):
            self.head = projection(model.output_width, recipe.head)
            self.prototypes = nn.Linear(recipe.head.dim, recipe.prototypes, bias=False)
        self._segments = _segments(model, recipe.checkpoint_after)
        self._compiled: Callable[[Tensor], Tensor] | None = None

    def forward(self, crops: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Embed crops and score them against the prototypes.

        Args:
            crops: One tensor per size, (count * batch, channels, side, side), crop after crop.

        Returns:
            Embeddings of length 1, (crops * batch, dim), and scores, (crops * batch, K), in the
            order of the crops; both float32.
        """
        features = torch.cat([self.features(images) for images in crops])
        embeddings = functional.normalize(self.head(features).float(), dim=1)
        with torch.autocast(embeddings.device.type, enabled=False):
            return embeddings, self.prototypes(embeddings)

    def features(self, images: Tensor) -> Tensor:
        """Return the trunk's pooled features, (n, width)."""
        if self._compiled is not None and torch.is_grad_enabled():
            return self._compiled(images)
        if self._segments is None or not torch.is_grad_enabled():
            return self.trunk(images)  # type: ignore[no-any-return]
        x = self.trunk.stem(images)
        stages = list(self.trunk.trunk_output.children())
        for stage, cuts in zip(stages, self._segments, strict=True):
            blocks = list(stage.children())
            for first, last in zip((0, *cuts[:-1]), cuts, strict=True):
                part = nn.Sequential(*blocks[first:last])
                contexts = partial(_contexts, part)
                x = checkpoint(part, x, use_reentrant=False, context_fn=contexts)
        return torch.flatten(self.trunk.avgpool(x), 1)

    def compile_trunk(self) -> None:
        """Compile the trunk for training, once for each crop size; names of weights stay.

        Raises:
            InputError: Activations are recomputed, which the compiler doesn't support.
        """
        if self._segments is not None:
            raise InputError(
                "compile is True; torch.compile and checkpoint_after exclude each other", "compile"
            )
        # A bound method: a compiled module would be registered, and double the state.
        self._compiled = torch.compile(self.trunk.forward, dynamic=False)

    @torch.no_grad()
    def normalize_prototypes(self) -> None:
        """Normalize every prototype to length 1."""
        weight = local_tensor(self.prototypes.weight)
        weight.copy_(functional.normalize(weight, dim=1))


def total_stride(model: Model) -> int:
    """Return the product of all strides of a trunk."""
    return model.skeleton.stem_stride * math.prod(model.skeleton.strides)


def check_depth(model: Model, recipe: SwavRecipe) -> None:
    """Raise InputError if a trunk reduces the smallest crop to less than a pixel."""
    smallest = min(group.size for group in recipe.crops)
    if smallest < (stride := total_stride(model)):
        raise InputError(
            f"{model.name} is too deep for crops of {smallest} pixels: its strides multiply to "
            f"{stride}; use larger crops, or a trunk with stem_stride 1 or fewer strides of 2"
        )


def _segments(
    model: Model, checkpoint_after: str | list[list[int]] | None
) -> tuple[tuple[int, ...], ...] | None:
    """Ends of the checkpointed segments of blocks in each stage."""
    if checkpoint_after is None:
        return None
    depths = model.body.depths
    if isinstance(checkpoint_after, str):
        return tuple(tuple(range(1, depth + 1)) for depth in depths)
    if len(checkpoint_after) != len(depths):
        raise InputError(
            f"checkpoint_after has {len(checkpoint_after)} lists, {model.name} has {len(depths)} "
            "stages"
        )
    for cuts, depth in zip(checkpoint_after, depths, strict=True):
        if any(not 1 <= cut <= depth for cut in cuts) or sorted(set(cuts)) != cuts:
            raise InputError(
                f"checkpoint_after: {cuts}; it must be rising block numbers from 1 to {depth}"
            )
    return tuple(
        tuple(cuts) if cuts and cuts[-1] == depth else (*cuts, depth)
        for cuts, depth in zip(checkpoint_after, depths, strict=True)
    )


def _contexts(part: nn.Module) -> tuple[Any, Any]:
    """Contexts of a segment's forward pass and of its recomputation."""
    return nullcontext(), _frozen_statistics(part)


@contextmanager
def _frozen_statistics(part: nn.Module) -> Any:
    """Prevent a second update of BatchNorm's running statistics by the same batch."""
    norms = [m for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked for norm in norms]
    kept = [None if count is None else count.clone() for count in counts]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count, old in zip(norms, before, counts, kept, strict=True):
            norm.momentum = momentum
            if count is not None and old is not None:
                count.copy_(old)
