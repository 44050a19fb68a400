"""The weights that a pretraining starts from: another pretraining, or another library's trunk."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from designspace.arch import Model
from designspace.errors import InputError
from designspace.export.convert_weights import read_weights
from designspace.pretraining.pretrain_run import PretrainRun, Start
from designspace.pretraining.recipe import SwavRecipe
from designspace.pretraining.swav_network import SwavNetwork, part_of
from designspace.runs.folder_kind import check_weights_path


@dataclass(frozen=True, eq=False)
class InitialWeights:
    """Weights to start from.

    Attributes:
        state: The trunk, and possibly head and prototypes, in the names of `SwavNetwork`.
        source: Checkpoint in words.
        notes: What was converted or left out.
    """

    state: Mapping[str, Tensor]
    source: str
    notes: tuple[str, ...] = ()

    @property
    def start(self) -> Start:
        """What recipe.yaml says about them."""
        return Start(source=self.source, digest=weights_digest(self.state))


def load_initial_weights(path: Path | str, model: Model, recipe: SwavRecipe) -> InitialWeights:
    """Load the weights that a pretraining starts from.

    Of a pretraining, head and prototypes are taken too if their sizes are those of the recipe.

    Args:
        path: Folder of a pretraining, or a file or folder of weights of another library.
        model: The trunk.
        recipe: How it will be trained.

    Raises:
        InputError: There is no checkpoint, or it is of another trunk.
    """
    path = Path(path)
    if path.is_dir():
        check_weights_path(path, "weights")
    run = PretrainRun(path)
    if path.is_dir() and run.started:
        return _from_run(run, model, recipe)
    try:
        read = read_weights(path, model, trunk_only=True)
    except InputError as error:
        text = str(error).removeprefix("weights: ")
        raise InputError(f"weights is {str(path)!r}: {text}", "weights") from None
    state = {f"trunk.{key}": tensor for key, tensor in read.state.items()}
    return InitialWeights(state, f"{path} ({read.style})", read.notes)


def resumed_start(run: PretrainRun, path: Path | str) -> Start | None:
    """Return the weights that a run started from, if it is resumed and they are those of a path.

    Its checkpoint has all that is needed, so that they may have changed or gone since.
    """
    path = Path(path)
    start = run.start() if run.started and run.has_checkpoint else None
    same = start is not None and start.source.startswith((f"{path}, iteration ", f"{path} ("))
    return start if same else None


def _from_run(run: PretrainRun, model: Model, recipe: SwavRecipe) -> InitialWeights:
    state, notes = run.load(torch.device("cpu"))
    if state is None:
        raise InputError(
            f"weights is {str(run.path)!r}, a pretraining without an undamaged checkpoint",
            "weights",
        )
    own = SwavNetwork(model, recipe, device="meta").state_dict()
    network: Mapping[str, Tensor] = state["network"]
    if not _fit(part_of(network, "trunk."), part_of(own, "trunk.")):
        theirs, here = (_describe(one) for one in (run.model(), model))
        raise InputError(
            f"weights is {str(run.path)!r}, a pretraining of another trunk: {theirs}; {here} here",
            "weights",
        )
    source = f"{run.path}, iteration {state['iteration']}"
    if _fit(network, own):
        return InitialWeights(network, source, tuple(notes))
    text = "head and prototypes start from random weights: the recipe's are of other sizes"
    trunk = {key: value for key, value in network.items() if key.startswith("trunk.")}
    return InitialWeights(trunk, source, (*notes, text))


def _describe(model: Model) -> str:
    depths, widths = (" ".join(map(str, v)) for v in (model.body.depths, model.body.widths))
    return f"{model.name} (depths {depths}, widths {widths})"


def _fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in own.items()}


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return a hash of named weights."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode() + weights[key].cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
