"""`designspace derive`: a network of the wished cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from designspace.arch import Model
    from designspace.derivation.derivation import Derivation


def derive(
    out: Annotated[Path, typer.Option(help="The model.yaml to write.")],
    family: Annotated[
        str | None, typer.Option(help="regnetx, or regnety (squeeze-and-excitation).")
    ] = None,
    flops: Annotated[str | None, typer.Option(help="Target multiply-adds, such as 256G.")] = None,
    params: Annotated[str | None, typer.Option(help="Target parameters, such as 20M.")] = None,
    acts: Annotated[str | None, typer.Option(help="Target activations, such as 10M.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Factor of flops, in place of a target.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="A published name, a model.yaml, a model of a run (RUN:INDEX, RUN:best), or a "
            "folder of `designspace analyze`. "
            "Without it: the family's published model nearest to the target.",
        ),
    ] = None,
    rule: Annotated[
        str, typer.Option(help="width, depth, resolution, dw, dr, wr, dwr, or fast (dWr).")
    ] = "width",
    search: Annotated[
        int | None,
        typer.Option(help="Take the best predicted of so many sampled networks of that cost."),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Space for --search; by default that of the findings.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for --search.")] = 0,
    population: Annotated[
        str | None, typer.Option(help="Which population of the findings to start from.")
    ] = None,
    imagenet: Annotated[
        bool, typer.Option("--imagenet", help="224 pixels, 1000 classes, stem 32, all strides 2.")
    ] = False,
    resolution: Annotated[int | None, typer.Option(help="Side of the input, in pixels.")] = None,
    classes: Annotated[int | None, typer.Option(help="Outputs of the classifier.")] = None,
    batch: Annotated[int, typer.Option(help="Images a step, for predicted memory.")] = 64,
    name: Annotated[str | None, typer.Option(help="Name of the network.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Scale findings or a published model to a target, and print each step.

    Examples:

      designspace derive --family regnety --from RegNetY-128GF --flops 256G --out m.yaml

      designspace derive --family regnety --flops 1.5M --from results/report --out m.yaml

      designspace derive --from results/a:best --scale 4 --rule fast --out big.yaml

      designspace derive --from results/report --flops 1.5M --search 500 --out m.yaml
    """
    import json

    from designspace.arch.model_file import check_replaceable, write_model
    from designspace.cli.models import resolve_model
    from designspace.derivation.derive_model import derive_model
    from designspace.errors import InputError
    from designspace.io.atomic_write import make_folder

    if not 1 <= batch <= 10**6:
        raise InputError(f"--batch is {batch}; it must be 1 to 1000000")
    source: Path | Model | None = None
    if from_ is not None:
        source = Path(from_) if Path(from_).is_dir() else resolve_model(from_, "derive")
    derivation = derive_model(
        family,
        source=source,
        flops=flops,
        params=params,
        acts=acts,
        scale=scale,
        rule=rule,
        search=search,
        space=space,
        seed=seed,
        population=population,
        imagenet=imagenet,
        resolution=resolution,
        classes=classes,
        name=name,
    )
    make_folder(out.parent)
    if out.exists():
        check_replaceable(out)
    write_model(derivation.model, out)
    if json_:
        print(json.dumps(_record(derivation, batch, out)))
    else:
        _show(derivation, batch, out)


def _record(derivation: "Derivation", batch: int, out: Path) -> dict[str, Any]:
    regnet = derivation.model.regnet
    return {
        "out": str(out),
        **derivation.model.summary(),
        "regnet": None if regnet is None else regnet.to_dict(),
        "rule": derivation.rule.name,
        "factor": derivation.factor,
        "steps": list(derivation.steps),
        "warnings": list(derivation.warnings),
        "batch": batch,
        "prediction": derivation.prediction(batch),
        "provenance": dict(derivation.model.provenance),
    }


def _show(derivation: "Derivation", batch: int, out: Path) -> None:
    for number, step in enumerate(derivation.steps, start=1):
        print(f"{number}. {step}")
    labels: dict[str, tuple[str, float, str]] = {
        "flops": ("multiply-adds", 1, ",.0f"),
        "params": ("parameters", 1, ",.0f"),
        "acts": ("activations", 1, ",.0f"),
        "memory": (f"training memory, batch {batch}, GB", 1e9, ",.3g"),
    }
    parent = "parent" if len(derivation.parent.name) > 22 else derivation.parent.name
    print(f"\n{derivation.model.name:<36}{'':>18}{parent:>24}{'ratio':>9}")
    for key, values in derivation.prediction(batch).items():
        label, unit, style = labels[key]
        value, before = (format(values[k] / unit, style) for k in ("value", "parent"))
        print(f"  {label:<34}{value:>18}{before:>24}{values['ratio']:>9.4g}")
    for warning in derivation.warnings:
        print(f"Mind: {warning}.")
    print(f"\nwritten: {out}")
