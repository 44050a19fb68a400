"""One model to several libraries: write, prove, and say what could not be done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.arch import Model, require_bottleneck
from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.export import onnx_graph
from designspace.export import verify as proof
from designspace.export.identifiers import describe
from designspace.export.target import Target, differences
from designspace.export.targets import ONNX, OURS
from designspace.export.verify import Proof
from designspace.export.weights import Weights, converted, read_weights, write_safetensors
from designspace.io.atomic_write import make_folder, write_text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Options:
    """How to export.

    Attributes:
        verify: True proves with every library or refuses, False proves nothing, None proves with
            those that are installed.
        nearest: Write the nearest model where a library can't represent the exact one.
        outputs: Compare outputs: True always, False never, None up to 100 million parameters.
        weights: A checkpoint to convert, or None.
    """

    verify: bool | None = None
    nearest: bool = False
    outputs: bool | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class Exported:
    """What came of one model.

    Attributes:
        model: What was exported.
        folder: Where its files lie.
        files: All files written.
        proofs: One for each target that was proved.
        notes: What a reader must know, such as a nearest model's distance.
        refused: Why a target was not written, by target.
    """

    model: Model
    folder: Path
    files: tuple[Path, ...]
    proofs: tuple[Proof, ...]
    notes: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "model": self.model.summary(),
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
            "proofs": [made.to_dict() for made in self.proofs],
            "notes": list(self.notes),
            "refused": self.refused,
        }


def export(
    model: Model,
    targets: Sequence[Target],
    folder: Path,
    options: Options | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write a model's files for each target, model.yaml always, and prove them.

    A target that can't be written is reported in `refused`; the others are written all the same.

    Raises:
        InputError: The folder or the checkpoint is at fault, or the block is not RegNet's.
        RuntimeError: A proof failed: a mistake of our own.
    """
    require_bottleneck(model.body.block, f"{model.name}: export")
    job = _Job(model, make_folder(folder), options or Options(), say)
    write_model(model, folder / "model.yaml")
    job.files.append(folder / "model.yaml")
    for target in targets:
        try:
            job.run(target)
        except InputError as error:
            job.refused[target.name] = str(error)
    return Exported(
        model, folder, tuple(job.files), tuple(job.proofs), tuple(job.notes), job.refused
    )


class _Job:
    """One export under way: what was written, and weights that several targets share."""

    def __init__(
        self, model: Model, folder: Path, options: Options, say: Callable[[str], None]
    ) -> None:
        self.model, self.folder, self.options, self.say = model, folder, options, say
        self.files: list[Path] = []
        self.proofs: list[Proof] = []
        self.notes: list[str] = []
        self.refused: dict[str, str] = {}
        self.weights: Weights | None = None
        if options.weights is not None:
            self.weights = read_weights(options.weights, model)
            self.notes += _weight_notes(self.weights)
        self._fresh: dict[str, torch.Tensor] | None = None

    def run(self, target: Target) -> None:
        """Write and prove one target."""
        if self.options.verify:
            proof.require(target)
        if target is OURS:
            self._write_weights(target, self.folder)
            return
        if target is ONNX:
            self._onnx()
            return
        made = self._representable(target)
        folder = make_folder(self.folder / target.name)
        for name, text in target.files(self.model).items():
            write_text(folder / name, text)
            self.files.append(folder / name)
        if made is not self.model:
            write_model(made, folder / "model.yaml")
            self.files.append(folder / "model.yaml")
        if self.weights is not None:
            self._write_weights(target, folder)
        if self.options.verify is not False:
            self._prove(target, made, folder)

    def _representable(self, target: Target) -> Model:
        made = target.made(self.model)
        changed = differences(self.model, made)
        if not changed:
            return self.model
        listed = "; ".join(changed)
        if not self.options.nearest:
            raise InputError(
                f"{target.name} can't represent {self.model.name}: {listed}. --nearest writes the "
                "nearest model that it can"
            )
        if self.weights is not None:
            raise InputError(
                f"{target.name}: --weights fit {self.model.name}, not the nearest model ({listed})"
            )
        ratios = ", ".join(
            f"{getattr(made, key) / getattr(self.model, key):.4g} times the {key}"
            for key in ("flops", "params", "acts")
        )
        self.notes.append(
            f"{target.name}: nearest model instead of {self.model.name}: {listed}; {ratios}"
        )
        origin = (*made.provenance, ("nearest to", self.model.name))
        return replace(made, provenance=origin)

    def _write_weights(self, target: Target, folder: Path) -> None:
        if self.weights is None:
            return
        if target.keys is None or target.weights is None:
            self.notes.append(f"{target.name}: weights are not converted to it")
            return
        path = folder / target.weights(self.model)
        state = converted(self.weights, self.model, target.keys)
        write_safetensors(state, path, describe(self.model))
        self.files.append(path)
        dropped = len(self.weights.state) - len(state)
        if dropped:
            self.notes.append(f"{target.name}: its trunks have no classifier; fc was left out")

    def _prove(self, target: Target, model: Model, folder: Path) -> None:
        if target.package is not None and not proof.installed(target.package):
            self.notes.append(
                f"{target.name}: written but not verified, {target.package} is not installed"
            )
            return
        self.say(f"verifying {target.name}")
        if target.package is None:
            self.proofs.append(proof.check_keys(target, model, folder))
            return
        theirs = proof.rebuild(target, model, folder)
        made = proof.prove(target, model, theirs, folder)
        reason = self._why_no_outputs(model)
        if reason:
            made = replace(made, skipped=(reason,))
        else:
            found = proof.compare_outputs(target, model, theirs, self._state(model))
            made = replace(made, checks=(*made.checks, found))
        self.proofs.append(made)

    def _why_no_outputs(self, model: Model) -> str | None:
        if self.options.outputs is False:
            return "outputs, as asked"
        free = self.options.outputs is None and self.weights is None
        if free and model.params > proof.OUTPUT_PARAMS:
            size = 4 * model.params / 1e9
            return f"outputs: {size:.1f} GB of weights; --outputs compares them too"
        return None

    def _state(self, model: Model) -> "dict[str, torch.Tensor]":
        """Weights for comparing outputs: the checkpoint's, else seeded ones, made once."""
        if model is not self.model:
            return proof.fresh_state(model)
        if self.weights is not None:
            return _completed(self.weights, model)
        if self._fresh is None:
            self._fresh = proof.fresh_state(model)
        return self._fresh

    def _onnx(self) -> None:
        onnx_graph.check_size(self.model, self.weights is not None)
        folder = make_folder(self.folder / ONNX.name)
        self.say("writing the ONNX graph")
        network = proof.our_network(self.model, self._state(self.model))
        written = onnx_graph.write_onnx(self.model, network, folder)
        self.files += written
        if self.weights is None:
            self.notes.append("onnx: the graph holds random weights (seed 0); see --weights")
        if self.options.verify is False:
            return
        if not proof.installed("onnxruntime"):
            self.notes.append("onnx: written but not verified, onnxruntime is not installed")
            return
        self.say("verifying onnx")
        self.proofs.append(_onnx_proof(self.model, network, written[0]))


def _onnx_proof(model: Model, network: Any, path: Path) -> Proof:
    import torch

    image = torch.randn(
        3, 3, *(model.skeleton.resolution,) * 2, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        ours = network(image)
    found = proof.same_values(ours, onnx_graph.run_onnx(path, image), "onnx")
    convolutions = sorted(
        (module.out_channels, module.groups)
        for module in network.modules()
        if isinstance(module, torch.nn.Conv2d)
    )
    if onnx_graph.graph_layers(path) != convolutions:
        raise RuntimeError(f"{path}: its convolutions are not those of {model.name}")
    checks = (f"{len(convolutions)} convolutions with their channels and groups", found)
    return Proof("onnx", f"onnxruntime {proof._version('onnxruntime')}", checks)


def _completed(weights: Weights, model: Model) -> "dict[str, torch.Tensor]":
    """Add what a trunk's checkpoint lacks: a classifier, and BatchNorm's step counters."""
    import torch

    from designspace.networks import build

    state = dict(weights.state)
    for key, expected in build(model, device="meta").state_dict().items():
        if key not in state:
            state[key] = torch.full(expected.shape, 0.01, dtype=expected.dtype)
    return state


def _weight_notes(weights: Weights) -> list[str]:
    notes = [f"weights: {weights.path} read as {weights.style}"]
    if not weights.classifier:
        notes.append("weights: a trunk, without classifier")
    if weights.heads:
        notes.append("weights: its pretraining heads are no part of the trunk and were left out")
    return notes
