"""Write one model for several libraries, verify the files, and report what could not be written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.arch import Model
from designspace.arch.model_file import model_text, write_model
from designspace.errors import InputError, first_line
from designspace.export import onnx_graph, torchscript, verify
from designspace.export.convert_weights import Weights, read_weights, write_safetensors
from designspace.export.identifiers import describe
from designspace.export.manifest import (
    EARLIER,
    check_manifest,
    check_model_file,
    earlier_records,
    file_record,
    remove_earlier_files,
    remove_file,
    write_manifest,
)
from designspace.export.pycls_config import PYCLS
from designspace.export.state_keys import STYLES, classifier_keys, rename
from designspace.export.target import Target, block_ships, differences
from designspace.export.target_registry import MODEL_YAML, ONNX, TARGETS, TORCHSCRIPT, find_target
from designspace.io.atomic_write import make_folder, make_output_folder, write_text

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        model: The exported model.
        folder: Folder of its files.
        files: All files written.
        verification: One report per verified target.
        notes: What to know about the files, such as the distance of a nearest model.
        refused: Why a target was not written, by target.
    """

    model: Model
    folder: Path
    files: tuple[Path, ...]
    verification: tuple[verify.VerificationReport, ...]
    notes: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "model": self.model.summary(),
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
            "verification": [report.to_dict() for report in self.verification],
            "notes": list(self.notes),
            "refused": self.refused,
        }

    def manifest_entry(self, out: Path) -> dict[str, Any]:
        """Return the entry of this model in the manifest of a folder."""
        model = self.model
        return {
            "name": model.name,
            "resolution": model.skeleton.resolution,
            "classes": model.skeleton.classes,
            "flops": model.flops,
            "params": model.params,
            "acts": model.acts,
            **self.to_dict(),
            "files": [file_record(path, out) for path in self.files],
        }


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export; see `export_model`."""

    weights: Path | None = None
    verify: bool | None = None
    outputs: bool | None = None
    nearest: bool = False
    bgr: bool = False

    def __post_init__(self) -> None:
        if self.outputs and self.verify is False:
            raise InputError(
                "outputs=True has no effect without verification; pass outputs=True alone",
                "outputs",
            )


def export_model(
    model: Model,
    targets: Sequence[str],
    out: Path,
    *,
    weights: Path | None = None,
    verify: bool | None = None,
    outputs: bool | None = None,
    nearest: bool = False,
    bgr: bool = False,
) -> Exported:
    """Write a model for each target, with model.yaml and manifest.json, and verify the files.

    A target that can't represent the model is reported in `refused`; the others are written. Files
    of an earlier export to the folder are removed, unless they were changed since, or every target
    is refused.

    Args:
        model: The model.
        targets: torchvision, timm, transformers, classyvision, vissl, pycls, onnx, torchscript or
            model.yaml.
        out: Folder of the files.
        weights: A checkpoint to convert.
        verify: True requires every library, False verifies nothing, None verifies with the
            libraries that are installed.
        outputs: Whether to compare outputs; None does so up to 100 million parameters.
        nearest: Write the nearest model if a library can't represent the exact one.
        bgr: The checkpoint expects BGR images, as ImageNet's of pycls and mmpretrain do; flip its
            first convolution, so that the network takes RGB.

    Returns:
        The files written, what was verified, and the targets refused, with reasons.

    Raises:
        InputError: A target is unknown, the checkpoint is invalid, or the folder has a model.yaml
            or manifest.json that no export wrote.
        RuntimeError: Verification failed: a bug of ours.
    """
    libraries = [find_target(name) for name in dict.fromkeys(targets)]
    options = ExportOptions(weights, verify, outputs, nearest, bgr)
    check_manifest(out)
    exported = write_targets(model, libraries, out, options)
    return finish_exports([exported], [{}], libraries, out, {}, weights)[0]


def finish_exports(
    exports: Sequence[Exported],
    entries: Sequence[Mapping[str, Any]],
    targets: Sequence[Target],
    out: Path,
    about: Mapping[str, Any],
    weights: Path | None = None,
) -> list[Exported]:
    """Remove what an earlier export left in a folder, and write the manifest.

    Args:
        exports: What was written to the folder, at least one.
        entries: What the manifest says of each model besides.
        targets: The targets; if all were refused, the earlier files stay.
        out: The folder.
        about: What is common to all models.
        weights: The checkpoint that was read.

    Returns:
        The exports, the last one with notes on the earlier files.

    Raises:
        InputError: A file can't be removed or written.
    """
    if targets and all(len(exported.refused) == len(targets) for exported in exports):
        about = {**about, EARLIER: list(earlier_records(out))}
    else:
        files = [path for exported in exports for path in exported.files]
        notes = remove_earlier_files(out, files, weights)
        exports = [*exports[:-1], replace(exports[-1], notes=(*exports[-1].notes, *notes))]
    models = [
        {**entry, **exported.manifest_entry(out)}
        for entry, exported in zip(entries, exports, strict=True)
    ]
    write_manifest(out, about, targets, models)
    return list(exports)


def write_targets(
    model: Model, targets: Sequence[Target], folder: Path, options: ExportOptions
) -> Exported:
    """Export as `export_model` does, without a manifest."""
    job = _Job(model, targets, folder, options)  # reads the weights, before anything is written
    check_model_file(folder, model_text(model))
    job.write_model(model, make_output_folder(folder))
    for target in targets:
        written = len(job.files)
        try:
            job.run(target)
        except InputError as error:
            job.refused[target.name] = str(error)
        except Exception as error:
            if block_ships(model):
                raise
            # A plugin's network may do what a file can't hold, such as draw random numbers.
            job.remove(written)
            job.refused[target.name] = (
                f"{target.name}: the file of {model.name} was removed, as its verification "
                f"failed: {first_line(error)}"
            )
    return Exported(
        model, folder, tuple(job.files), tuple(job.reports), tuple(job.notes), job.refused
    )


class _Job:
    """The state of one export: results so far, and weights that the targets share."""

    def __init__(
        self, model: Model, targets: Sequence[Target], folder: Path, options: ExportOptions
    ) -> None:
        self.model, self.folder, self.options = model, folder, options
        self.files: list[Path] = []
        self.reports: list[verify.VerificationReport] = []
        self.notes: list[str] = []
        self.refused: dict[str, str] = {}
        self.weights: Weights | None = None
        if options.weights is None and options.bgr:
            raise InputError(
                "bgr is True without a checkpoint, whose first convolution it flips; weights= "
                "names one",
                "bgr",
            )
        if options.weights is not None:
            keys = [target.keys for target in targets if target.keys is not None]
            trunks = bool(keys) and all(STYLES[key].classifier is None for key in keys)
            traced = ONNX in targets or TORCHSCRIPT in targets
            self.weights = read_weights(
                options.weights, model, trunk_only=trunks and not traced, bgr=options.bgr
            )
            self.notes += _weight_notes(self.weights)
        self._random: dict[str, torch.Tensor] | None = None

    def write_model(self, model: Model, folder: Path) -> None:
        """Write model.yaml."""
        write_model(model, folder / "model.yaml")
        self.files.append(folder / "model.yaml")

    def remove(self, kept: int) -> None:
        """Remove all files but the first ones."""
        for path in self.files[kept:]:
            remove_file(path, self.folder)
        del self.files[kept:]

    def run(self, target: Target) -> None:
        """Write and verify one target."""
        if self.options.verify:
            verify.require_installed(target)
        if target is MODEL_YAML:
            self._check_weights(target, self.folder)
            self._write_weights(target, self.folder)
            return
        if target is ONNX:
            self._write_onnx()
            return
        if target is TORCHSCRIPT:
            self._write_torchscript()
            return
        model = self._representable(target)
        self._check_weights(target, self.folder / target.name)
        files = target.files(self.model)
        folder = make_folder(self.folder / target.name)
        for name, text in files.items():
            write_text(folder / name, text)
            self.files.append(folder / name)
        if model is not self.model:
            self.write_model(model, folder)
        if self.weights is not None:
            self._write_weights(target, folder)
        if self.options.verify is not False:
            self._verify(target, model, folder)

    def _representable(self, target: Target) -> Model:
        if self.model.skeleton.channels != 3 and not target.any_channels:
            others = ", ".join(name for name, other in TARGETS.items() if other.any_channels)
            raise InputError(
                f"{target.name} supports images of 3 channels; {self.model.name} has "
                f"{self.model.skeleton.channels}. These support any number: {others}"
            )
        if not (self.model.is_regnet_network or target.any_network):
            code = "torchvision (as Python code), " if block_ships(self.model) else ""
            raise InputError(
                f"{target.name} supports RegNets: RegNet's block, ReLU, a 3x3 stem and no head; "
                f"{self.model.name} has {_network_kind(self.model)}. {code}onnx, torchscript and "
                "model.yaml support it"
            )
        left_out = self.model.body.se_ratio > 0 and not all(map(all, self.model.squeeze_widths))
        if left_out and target is not PYCLS and self.model.is_regnet_network:
            raise InputError(
                f"{target.name} can't leave out squeeze-and-excitation where its width rounds to "
                f"0, as se_ratio {self.model.body.se_ratio:g} does in {self.model.name}; pycls, "
                "onnx and model.yaml can"
            )
        model = target.represent(self.model)
        changed = differences(self.model, model)
        if not changed:
            return self.model
        listed = "; ".join(changed)
        if not self.options.nearest:
            raise InputError(
                f"{target.name} can't represent {self.model.name}: {listed}. nearest=True writes "
                "the nearest model that it can"
            )
        if self.weights is not None:
            raise InputError(
                f"{target.name}: the weights are those of {self.model.name}, not of the nearest "
                f"model ({listed})"
            )
        ratios = ", ".join(
            f"{getattr(model, key) / getattr(self.model, key):.4g} times the {key}"
            for key in ("flops", "params", "acts")
        )
        self.notes.append(
            f"{target.name}: nearest model instead of {self.model.name}: {listed}; {ratios}"
        )
        origin = (*model.provenance, ("nearest to", self.model.name))
        return replace(model, provenance=origin)

    def _check_weights(self, target: Target, folder: Path) -> None:
        """Raise if a target's weights would replace those that are read."""
        if self.weights is None or target.weights is None:
            return
        path = folder / target.weights(self.model)
        if path.resolve() == self.weights.path.resolve():
            raise InputError(
                f"{target.name}: {path} holds the weights that are read; choose another folder"
            )

    def _write_weights(self, target: Target, folder: Path) -> None:
        if self.weights is None:
            return
        if target.keys is None or target.weights is None:
            self.notes.append(f"{target.name}: weights are not converted")
            return
        path = folder / target.weights(self.model)
        state = rename(self.weights.state, self.model, target.keys)
        write_safetensors(state, path, describe(self.model))
        self.files.append(path)
        if len(state) < len(self.weights.state):
            self.notes.append(f"{target.name}: its trunks have no classifier; fc was left out")

    def _verify(self, target: Target, model: Model, folder: Path) -> None:
        if target.package is None:
            self.reports.append(verify.verify_by_reading(target, model, folder))
            return
        if not verify.is_installed(target.package):
            self.notes.append(
                f"{target.name}: written but not verified, {target.package} is not installed"
            )
            return
        theirs = verify.rebuild(target, model, folder)
        report = verify.verify_structure(target, model, theirs, folder)
        reason = self._outputs_skipped(target, model)
        if reason:
            report = replace(report, skipped=(reason,))
        else:
            outputs = verify.compare_outputs(target, model, theirs, self._state(model))
            report = replace(report, checks=(*report.checks, outputs))
        self.reports.append(report)

    def _outputs_skipped(self, target: Target, model: Model) -> str | None:
        if self.options.outputs is False:
            return "outputs, as requested"
        by_default = self.options.outputs is None and self.weights is None
        if by_default and model.params > verify.MAX_OUTPUT_PARAMS:
            size = 4 * model.params / 1e9
            return f"outputs: {size:.1f} GB of weights; outputs=True compares them"
        return None

    def _state(self, model: Model) -> "dict[str, torch.Tensor]":
        """Weights to compare outputs with: the checkpoint's, else random ones, drawn once."""
        if model is not self.model:
            return verify.random_state(model)
        if self.weights is not None:
            return _complete(self.weights, model)
        if self._random is None:
            self._random = verify.random_state(model)
        return self._random

    def _network(self) -> "nn.Module":
        """Return the network to trace, which has no classifier if the checkpoint has none."""
        from designspace.networks.classifier import remove_classifier

        network = verify.our_network(self.model, self._state(self.model))
        if self._is_trunk:
            remove_classifier(network, self.model)
        return network

    @property
    def _is_trunk(self) -> bool:
        if self.weights is None or self.weights.classifier:
            return False
        return bool(classifier_keys(self.model))

    def _note_outputs(self, target: Target) -> None:
        if self.weights is None:
            self.notes.append(
                f"{target.name}: the network has random weights (seed 0); see weights="
            )
        elif self._is_trunk:
            self.notes.append(
                f"{target.name}: the checkpoint has no classifier; the outputs are features"
            )

    def _write_torchscript(self) -> None:
        folder = make_folder(self.folder / TORCHSCRIPT.name)
        network = self._network()
        path = torchscript.write_torchscript(self.model, network, folder)
        self.files.append(path)
        self._note_outputs(TORCHSCRIPT)
        if self.options.verify is not False:
            self.reports.append(torchscript.verify_torchscript(self.model, network, path))

    def _write_onnx(self) -> None:
        onnx_graph.check_size(self.model, self.weights is not None)
        folder = make_folder(self.folder / ONNX.name)
        network, output = self._network(), "features" if self._is_trunk else "logits"
        files = onnx_graph.write_onnx(self.model, network, folder, output)
        self.files += files
        self._note_outputs(ONNX)
        if self.options.verify is False:
            return
        if not verify.is_installed("onnxruntime"):
            self.notes.append("onnx: written but not verified, onnxruntime is not installed")
            return
        self.reports.append(onnx_graph.verify_onnx(self.model, network, files[0]))


def _network_kind(model: Model) -> str:
    skeleton, body = model.skeleton, model.body
    head = f", a head of {skeleton.head_width}" if skeleton.head_width else ""
    return f"{body.block} blocks, {body.activation}, a {skeleton.stem} stem{head}"


def _complete(weights: Weights, model: Model) -> "dict[str, torch.Tensor]":
    """Add what a checkpoint may lack: a classifier, to compare with, and BatchNorm's counters."""
    import torch

    from designspace.networks import build_on_meta

    state = dict(weights.state)
    for key, expected in build_on_meta(model).state_dict().items():
        if key not in state:
            state[key] = torch.full(expected.shape, 0.01, dtype=expected.dtype)
    return state


def _weight_notes(weights: Weights) -> list[str]:
    notes = [f"weights: {weights.path} read as {weights.style}"]
    if not weights.classifier:
        notes.append("weights: a trunk, without classifier")
    return [*notes, *(f"weights: {note}" for note in weights.notes)]
