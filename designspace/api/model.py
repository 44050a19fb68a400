"""Models: load one by name, build it in torch, export it."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace import arch
from designspace.api.idle_options import refuse_idle
from designspace.arch import format_quantity, parse_measured, require_bottleneck
from designspace.errors import InputError, check_types, counted
from designspace.io.atomic_write import POPULATION_FILE, make_folder
from designspace.runs import Run

if TYPE_CHECKING:
    from torch import nn

    from designspace.analysis.findings import Findings
    from designspace.derivation.scale_model import Derivation
    from designspace.export.export_model import Exported
    from designspace.measurement.measure_options import MeasureOptions
    from designspace.runs.measurements import Measurement

# Where a family without a source begins to look for a latency.
_FIRST_FLOPS = 400e6


@dataclass(frozen=True, repr=False)
class Model(arch.Model):
    """One network: its stages, input, cost, and the RegNet parameters behind it, if any.

    Attributes:
        name: Its name.
        body: Depth, width, bottleneck ratio and group width of each stage.
        skeleton: Input, stem, strides and classes.
        regnet: The RegNet parameters that give the body, or None.
        provenance: Where it comes from, as (key, value) pairs.

    Example:
        >>> import designspace as ds
        >>> model = ds.load_model("RegNetX-200MF")
        >>> model.flops, model.params
        (199040872, 2684792)
        >>> model.at(resolution=64).flops
        16587112
    """

    @staticmethod
    def of(model: arch.Model) -> "Model":
        """Return a model of the packages below as a public one."""
        return Model(model.name, model.body, model.skeleton, model.regnet, model.provenance)

    def build(self, zero_init_residual: bool = False) -> "nn.Module":
        """Build the network in torch, with fresh weights from torch's global random state.

        Args:
            zero_init_residual: Start every residual branch at zero.

        Returns:
            A module from images (n, channels, resolution, resolution) to logits (n, classes). Its
            state keys are torchvision's.
        """
        from designspace.networks import build

        network: nn.Module = build(self, zero_init_residual)
        return network

    def export(
        self,
        targets: str | Sequence[str],
        out: str | Path,
        *,
        weights: str | Path | None = None,
        bgr: bool = False,
        verify: bool | None = None,
        outputs: bool | None = None,
        nearest: bool = False,
    ) -> "Exported":
        """Write the model for other libraries, and verify that they rebuild the same network.

        Args:
            targets: torchvision, timm, transformers, classyvision, vissl, pycls, onnx,
                torchscript; one, several or none. model.yaml and manifest.json are always
                written. timm takes RegNets, ResNets, ConvNeXts and networks of mbconv blocks.
            out: Folder of the files; files of an earlier export there are replaced.
            weights: Checkpoint to convert along.
            bgr: The checkpoint expects BGR images, as ImageNet's of pycls and mmpretrain do: flip
                its first convolution, so that the network takes RGB.
            verify: Rebuild with the library and compare; by default where it is installed.
            outputs: Compare outputs too; by default up to 100 million parameters, and with
                `weights` always.
            nearest: Write the nearest model that a library can represent.

        Returns:
            The files written, what was verified, and the targets refused, with reasons.

        Raises:
            InputError: A target is unknown, the checkpoint is invalid, or the folder has a
                model.yaml or manifest.json that no export wrote.
        """
        from designspace.export.export_model import export_model

        names = [targets] if isinstance(targets, str) else list(targets)
        checkpoint = None if weights is None else Path(weights)
        return export_model(
            self,
            names,
            Path(out),
            weights=checkpoint,
            bgr=bgr,
            verify=verify,
            outputs=outputs,
            nearest=nearest,
        )

    def explain(self) -> dict[str, list[str]]:
        """Return where the network comes from and how its stages follow from its parameters."""
        from designspace.derivation.explain import explain

        return {heading: list(lines) for heading, lines in explain(self)}

    def save(self, path: str | Path) -> Path:
        """Write the model to a model.yaml, which `load_model` reads.

        Returns:
            The path.

        Raises:
            InputError: Another kind of file is in the way, or the folder can't be written.
        """
        from designspace.arch.model_file import check_target, write_model

        file = Path(path)
        check_target(file)
        make_folder(file.parent)
        write_model(self, file)
        return file

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, depths={self.body.depths}, "
            f"widths={self.body.widths}, flops={format_quantity(self.flops)}, "
            f"params={format_quantity(self.params)}, resolution={self.skeleton.resolution})"
        )

    def _repr_html_(self) -> str:
        stages = "".join(
            f"<tr><td>{i + 1}</td><td>{d}</td><td>{w}</td></tr>"
            for i, (d, w) in enumerate(zip(self.body.depths, self.body.widths, strict=True))
        )
        return (
            f"<p><b>{escape(self.name)}</b>: {self.flops:,} multiply-adds at "
            f"{self.skeleton.resolution} pixels, {self.params:,} parameters, {self.acts:,} "
            f"activations</p><table><tr><th>stage</th><th>depth</th><th>width</th></tr>{stages}"
            "</table>"
        )


def load_model(name: str | Path | arch.Model, *, block: str | None = None) -> Model:
    """Load a network by name, from a file, or from a run.

    Args:
        name: A published name (`"RegNetY-128GF"`, also as torchvision, timm and transformers spell
            it: `"resnet50.a1_in1k"`, `"facebook/convnext-tiny-224"`), a model.yaml or another
            library's config file, or a model of a run: `"results/a:12"`, `"results/a:best"`.
        block: What the model is for, if that supports RegNet's bottleneck block only; other blocks
            are refused.

    Returns:
        The model.

    Raises:
        InputError: There is no such model, or its file is wrong.

    Example:
        >>> import designspace as ds
        >>> ds.load_model("RegNetY-256GF").body.widths
        (746, 1492, 4103, 10444)
    """
    if not isinstance(name, str | Path | arch.Model):
        raise InputError(
            f"name is {type(name).__name__}; it must be a name, a path or a model, such as one of "
            "a run or population: run[0]",
            "name",
        )
    model = name if isinstance(name, arch.Model) else _load(str(name))
    if block is not None:
        require_bottleneck(model.body.block, f"{name}: {block}")
    return Model.of(model)


def _load(text: str) -> arch.Model:
    from designspace.arch.published_names import published_model
    from designspace.export.read_model import read_model_file

    of_run = re.fullmatch(r"(.+):(best|[0-9]{1,9})", text)
    if of_run and Path(of_run[1]).is_dir():
        return Run.open(of_run[1]).model("best" if of_run[2] == "best" else int(of_run[2]))
    path = Path(text)
    folder = path if path.is_dir() else Path(text.rpartition(":")[0] or text)
    if (folder / POPULATION_FILE).is_file():
        n = len(Run.open(folder).population())
        raise InputError(
            f"{text} is no model, but {folder} is a run of {counted(n, 'model')}; name one: "
            f"{folder}:0 to {folder}:{n - 1}, or {folder}:best"
        )
    if path.is_file() or any((path / name).is_file() for name in ("model.yaml", "config.json")):
        return read_model_file(path)
    if path.is_dir():
        raise InputError(f"{text} is a folder without a model: it has no model.yaml or config.json")
    try:
        return published_model(text)
    except InputError as error:
        if path.suffix in (".yaml", ".yml", ".json"):
            return read_model_file(path)
        raise InputError(
            f"{error} (or the path of a model.yaml, or a model of a run: RUN:INDEX, RUN:best)"
        ) from None


@check_types
def derive(
    family: str | None = None,
    *,
    source: "str | Path | arch.Model | Findings | None" = None,
    flops: str | float | None = None,
    params: str | float | None = None,
    acts: str | float | None = None,
    scale: float | None = None,
    latency: str | float | None = None,
    on: str = "auto",
    threads: int | None = None,
    batch: int = 1,
    mode: str = "inference",
    precision: str | None = None,
    time_limit: float = 2.0,
    rule: str = "width",
    search: int | None = None,
    space: str | None = None,
    seed: int = 0,
    population: str | None = None,
    imagenet: bool = False,
    resolution: int | None = None,
    classes: int | None = None,
    name: str | None = None,
) -> "DerivedModel":
    """Derive a network of a wanted size from findings or from another model.

    Args:
        family: `"regnetx"`, or `"regnety"` (squeeze-and-excitation); with a source, None keeps
            that of the source.
        source: A published name, a file, a model of a run (`RUN:best`), a `Model`, `Findings`, or
            their folder; without it, the family's published model nearest to the target.
        flops: Target multiply-adds, such as `"256G"`; or give `params`, `acts` or `scale`.
        params: Target parameters.
        acts: Target activations.
        scale: Factor of flops, in place of a target.
        latency: Target time of a step, such as "10ms" or seconds, in place of the others:
            candidates are derived and measured on this machine until one is within 5 %.
        on: Device of these measurements: auto, cpu, cuda, cuda:N or mps. This and their other
            options are refused without `latency`.
        threads: Their CPU threads; by default one per core.
        batch: Their images per step.
        mode: inference or training.
        precision: As of `measure`.
        time_limit: Seconds of timing per candidate.
        rule: width, depth, resolution, dw, dr, wr, dwr, or fast (dWr).
        search: Take the best predicted of so many sampled networks of that cost.
        space: Space for `search`; by default that of the findings.
        seed: Seed for `search`.
        population: Which population of the findings to start from.
        imagenet: Of the parent: 224 pixels, 1000 classes, and the stem, strides and head of its
            block there: of RegNets a stem of 32 channels and stride 2 in every stage, of mbconv
            and convnext those of MobileNetV2 and ConvNeXt-T, or its own if it is for 224 pixels
            already. Blocks of your own for smaller images are refused. Rules with r (resolution,
            dr, wr, dwr, fast) scale the resolution further.
        resolution: Side of the parent's input, in pixels; rules with r scale it further.
        classes: Outputs of the classifier.
        name: Name of the network.

    Returns:
        The model, with `derivation`: the steps, warnings and predicted cost.

    Raises:
        InputError: There is no single target, or it is out of reach; of a latency the message has
            the nearest that was measured.

    Example:
        >>> import designspace as ds
        >>> model = ds.derive("regnety", source="RegNetY-128GF", flops="256G")
        >>> model.body.widths, model.body.depths
        ((746, 1492, 4103, 10444), (2, 7, 17, 1))
    """
    from designspace.analysis.findings import Findings
    from designspace.derivation.derive_model import derive_model

    start: arch.Model | Findings | Path | None
    if source is None or isinstance(source, arch.Model | Findings):
        start = source
    else:
        folder = source.path if isinstance(source, Run) else _path(source)
        has_model = any((folder / name).is_file() for name in ("model.yaml", "config.json"))
        is_study = folder.is_dir() and not has_model
        start = folder if is_study else load_model(folder)
    to_target: Callable[..., Derivation] = partial(
        derive_model,
        family,
        source=start,
        rule=rule,
        space=space,
        seed=seed,
        population=population,
        imagenet=imagenet,
        resolution=resolution,
        classes=classes,
        name=name,
    )
    targets = {"flops": flops, "params": params, "acts": acts, "scale": scale, "search": search}
    if latency is None:
        refuse_idle(
            derive,
            "latency",
            on=on,
            threads=threads,
            batch=batch,
            mode=mode,
            precision=precision,
            time_limit=time_limit,
        )
        return DerivedModel.from_derivation(to_target(**targets))
    both = next((key for key, value in targets.items() if value is not None), None)
    if both is not None:
        raise InputError(f"{both} is {targets[both]!r} beside a latency; give one target", both)
    from designspace.measurement.measure_options import MeasureOptions

    options = MeasureOptions(on, threads, batch, precision, mode, False, time_limit, memory=False)  # type: ignore[arg-type]
    text = latency if isinstance(latency, str) else f"{latency}s"
    seconds = parse_measured(text, "latency", f"latency is {latency!r}")
    first = to_target(flops=_FIRST_FLOPS) if start is None else to_target(scale=1.0)
    return DerivedModel.from_derivation(_of_latency(first, to_target, seconds, options))


def _path(source: object) -> Path:
    if isinstance(source, str | os.PathLike):
        return Path(source)
    raise InputError(
        f"source is a {type(source).__name__}; it must be a published name, a file, a Model, "
        "Findings or their folder",
        "source",
    )


def _of_latency(
    first: "Derivation",
    to_target: "Callable[..., Derivation]",
    seconds: float,
    options: "MeasureOptions",
) -> "Derivation":
    """Derive the model that takes a time on this machine, from a first candidate on."""
    from designspace.derivation.reach_latency import reach_latency
    from designspace.measurement.measure_models import measure_models

    def measure(derivation: "Derivation") -> "Measurement":
        results: list[Measurement] = []
        measure_models([derivation.model], options, results.extend)
        return results[0]

    return reach_latency(first, lambda flops: to_target(flops=flops), measure, seconds)


@dataclass(frozen=True, repr=False)
class DerivedModel(Model):
    """A derived network with the derivation behind it.

    Attributes:
        derivation: Parent, rule, factor, steps, warnings and predicted cost.
    """

    derivation: Any = None

    @staticmethod
    def from_derivation(derivation: "Derivation") -> "DerivedModel":
        """Return the result of a derivation as a model."""
        model = derivation.model
        return DerivedModel(
            model.name, model.body, model.skeleton, model.regnet, model.provenance, derivation
        )
