"""`designspace export`: a network as the files of other libraries, each with its report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from designspace.export.export_model import Exported


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A model.yaml, a published name, a model of a run (RUN:INDEX, RUN:best), or with "
            "--best a run folder or a folder of `designspace analyze`."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="torchvision, timm, transformers, classyvision, vissl, pycls, onnx or model.yaml; "
            "may be given several times. model.yaml and manifest.json are always written."
        ),
    ] = None,
    best: Annotated[
        int | None, typer.Option(help="Export so many of the best models of a study.")
    ] = None,
    population: Annotated[
        str | None, typer.Option(help="Which population of an analysis, for --best.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of torchvision, timm, transformers, VISSL or ours."),
    ] = None,
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
    resolution: Annotated[int | None, typer.Option(help="Side of the input, in pixels.")] = None,
    classes: Annotated[int | None, typer.Option(help="Outputs of the classifier.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a network for other libraries, and prove that they rebuild the same one.

    A target that can't represent the network is refused, with the stages that would come out wrong;
    the other targets are written all the same.

    Examples:

      designspace export m.yaml --to torchvision --out x

      designspace export RegNetY-128GF --to timm --to vissl --out x

      designspace export m.yaml --to timm --weights trunk.safetensors --out x

      designspace export results/NAME --best 5 --to vissl --out y
    """
    import json

    from designspace.errors import InputError
    from designspace.export.manifest import MANIFEST

    if best is not None:
        from designspace.export.export_best import export_best

        if weights is not None:
            raise InputError("--best and --weights: a checkpoint fits one network")
        exports = export_best(
            Path(source),
            best,
            to or (),
            out,
            population=population,
            verify=verify,
            outputs=outputs,
            nearest=nearest,
            resolution=resolution,
            classes=classes,
        )
    else:
        from designspace.cli.models import resolve_model
        from designspace.export.export_model import export_model

        model = resolve_model(source).at(resolution, classes)
        exports = [
            export_model(
                model,
                to or (),
                out,
                weights=weights,
                verify=verify,
                outputs=outputs,
                nearest=nearest,
            )
        ]
    if json_:
        plain = [exported.to_dict() for exported in exports]
        print(json.dumps(plain if best is not None else plain[0]))
    else:
        for exported in exports:
            _show(exported)
        print(f"manifest: {out / MANIFEST}")
    refused = [reason for exported in exports for reason in exported.refused.values()]
    if refused:
        raise InputError("not written: " + "; ".join(refused))


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
