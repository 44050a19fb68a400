"""`designspace export`: write a network for other libraries, and verify it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from designspace.cli.options import (
    MODEL_HELP,
    Classes,
    Json,
    Resolution,
    parse_setting,
    split_commas,
)

if TYPE_CHECKING:
    from designspace.export.export_model import Exported


def export(
    source: Annotated[
        str,
        typer.Argument(help=f"{MODEL_HELP} With --best: a run folder, or a folder of `analyze`."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the files.")],
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="torchvision, timm, transformers, classyvision, vissl, pycls, onnx, torchscript "
            "or model.yaml; several with commas, or repeated. model.yaml and manifest.json are "
            "always written."
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--best", help="Export so many of the best models of a study.")
    ] = None,
    population: Annotated[
        str | None, typer.Option(help="Population of an analysis, for --best.")
    ] = None,
    pareto: Annotated[
        bool,
        typer.Option("--pareto", help="Export each model on a run's Pareto front, by cost."),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            help="Cost for --pareto: flops, params, acts, latency or memory.",
            show_default="flops",
        ),
    ] = None,
    setting: Annotated[
        str | None,
        typer.Option(help="Where several were measured, for --pareto: batch=1,threads=1."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint of torchvision, timm, transformers, VISSL, pycls, mmpretrain or ours."
        ),
    ] = None,
    bgr: Annotated[
        bool,
        typer.Option(
            "--bgr",
            help="The checkpoint expects BGR images, as ImageNet's of pycls and mmpretrain do: "
            "flip its first convolution, so that the network takes RGB.",
        ),
    ] = False,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Rebuild with the library and compare; by default where it is installed.",
        ),
    ] = None,
    outputs: Annotated[
        bool | None,
        typer.Option(
            "--outputs/--no-outputs",
            help="Compare outputs too; by default up to 100 million parameters, or with --weights.",
        ),
    ] = None,
    nearest: Annotated[
        bool,
        typer.Option("--nearest", help="Write the nearest model that a library can represent."),
    ] = False,
    resolution: Resolution = None,
    classes: Classes = None,
    json_: Json = False,
) -> None:
    """Write a network for other libraries, and verify that they rebuild the same one.

    A target that can't represent the network is refused, with the stages that would come out wrong;
    the other targets are written all the same. onnx and torchscript take every network. timm takes
    all blocks but vanilla, where its classes have the same stem and strides: bottleneck and
    linear-bottleneck (RegNet), bottleneck and residual-basic with a conv7_pool stem (ResNet,
    ResNeXt), mbconv (EfficientNet, MobileNetV2) and convnext.

    Examples:

      designspace export m.yaml --to torchvision --out x

      designspace export RegNetY-128GF --to timm --to vissl --out x

      designspace export m.yaml --to timm --weights trunk.safetensors --out x

      designspace export RegNetX-400MF --to timm --weights pycls.pyth --bgr --out x

      designspace export results/NAME --best 5 --to vissl --out y

      designspace export results/NAME --pareto --against acts --to timm --out front
    """
    import json

    import designspace as ds

    targets = split_commas(to)
    several = count is not None or pareto
    if (count is not None) + pareto + (weights is not None) > 1:
        raise ds.InputError(
            "--best, --pareto and --weights exclude each other: a checkpoint fits one model"
        )
    if bgr and weights is None:
        raise ds.InputError("--bgr needs --weights, whose first convolution it flips")
    if population is not None and count is None:
        raise ds.InputError("--population needs --best, whose models are of that population")
    for flag, value in (("--against", against), ("--setting", setting)):
        if value is not None and not pareto:
            raise ds.InputError(f"{flag} needs --pareto, which has a cost")
    how: dict[str, Any] = {"verify": verify, "outputs": outputs, "nearest": nearest}
    size: dict[str, Any] = {"resolution": resolution, "classes": classes}
    if pareto:
        choice = None if setting is None else parse_setting(setting)
        exports = ds.export_pareto(
            source, targets, out, against=against or "flops", setting=choice, **how, **size
        )
    elif count is not None:
        exports = ds.export_best(source, count, targets, out, population=population, **how, **size)
    else:
        model = ds.load_model(source).at(resolution, classes)
        exports = [model.export(targets, out, weights=weights, bgr=bgr, **how)]
    if json_:
        records = [one.to_dict() for one in exports]
        print(json.dumps(records if several else records[0]))
    else:
        for one in exports:
            _show(one)
        print(f"manifest: {out / 'manifest.json'}")
    refused = [reason for one in exports for reason in one.refused.values()]
    if refused:
        raise ds.InputError("not written: " + "; ".join(dict.fromkeys(refused)))


def _show(exported: "Exported") -> None:
    model = exported.model
    print(
        f"{model.name}: {model.flops:,} multiply-adds at {model.skeleton.resolution} pixels, "
        f"{model.params:,} parameters"
    )
    for report in exported.verification:
        print(f"  {report.target}: the same by {report.by}")
        for check in report.checks:
            print(f"    = {check}")
        for skipped in report.skipped:
            print(f"    not compared: {skipped}")
    for note in exported.notes:
        print(f"  note: {note}")
    for path in exported.files:
        print(f"  written: {path}")
