"""`designspace derive`: a network of the wanted cost."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from designspace.cli.flags import with_flags
from designspace.cli.options import (
    MODEL_HELP,
    Classes,
    Json,
    MeasureMode,
    MeasurePrecision,
    MeasureTime,
    Threads,
)

if TYPE_CHECKING:
    from designspace.derivation.scale_model import Derivation


def derive(
    context: typer.Context,
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
    latency: Annotated[
        str | None,
        typer.Option(
            help="Target time of a step, such as 10ms: candidates are measured on this machine."
        ),
    ] = None,
    on: Annotated[str, typer.Option(help="Device for --latency: auto, cpu, cuda, mps.")] = "auto",
    threads: Threads = None,
    batch: Annotated[int, typer.Option(help="Images per step, for --latency.")] = 1,
    mode: MeasureMode = "inference",
    precision: MeasurePrecision = None,
    time_limit: MeasureTime = 2.0,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help=f"{MODEL_HELP} Or a folder of `analyze`. Without it: the family's published model "
            "nearest to the target.",
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
        str | None, typer.Option(help="Population of the findings to start from.")
    ] = None,
    imagenet: Annotated[
        bool,
        typer.Option(
            "--imagenet",
            help="Of the parent: 224 pixels, 1000 classes, stem and strides as its block has them "
            "there (RegNets: stem 32, all strides 2).",
        ),
    ] = False,
    resolution: Annotated[
        int | None,
        typer.Option(
            help="Side of the parent's input, in pixels: rules with r (resolution, dr, wr, dwr, "
            "fast) scale it further."
        ),
    ] = None,
    classes: Classes = None,
    memory_batch: Annotated[
        int, typer.Option(help="Images per step, for the predicted memory.")
    ] = 64,
    name: Annotated[str | None, typer.Option(help="Name of the network.")] = None,
    json_: Json = False,
) -> None:
    """Derive a network of a wanted cost from findings or a published model, and print each step.

    Examples:

      designspace derive --family regnety --from RegNetY-128GF --flops 256G --out m.yaml

      designspace derive --family regnety --flops 1.5M --from results/report --out m.yaml

      designspace derive --from results/a:best --scale 4 --rule fast --out big.yaml

      designspace derive --from results/report --flops 1.5M --search 500 --out m.yaml

      designspace derive --family regnetx --latency 10ms --on cpu --threads 1 --out m.yaml
    """
    import json

    import designspace as ds
    from designspace.arch.model_file import check_target

    if not 1 <= memory_batch <= 10**6:
        raise ds.InputError(f"--memory-batch is {memory_batch}; it must be 1 to 1000000")
    check_target(out)
    model = ds.derive(
        family,
        source=source,
        flops=flops,
        params=params,
        acts=acts,
        scale=scale,
        latency=latency,
        on=on,
        threads=threads,
        batch=batch,
        mode=mode,
        precision=precision,
        time_limit=time_limit,
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
    model.save(out)
    derivation = replace(
        model.derivation,
        steps=tuple(with_flags(step, context.command) for step in model.derivation.steps),
        warnings=tuple(with_flags(text, context.command) for text in model.derivation.warnings),
    )
    if json_:
        print(json.dumps(_record(derivation, memory_batch, out)))
    else:
        _show(derivation, memory_batch, out)


def _record(derivation: "Derivation", batch: int, out: Path) -> dict[str, Any]:
    model = derivation.model
    return {
        "out": str(out),
        **model.summary(),
        "regnet": None if model.regnet is None else model.regnet.to_dict(),
        "rule": derivation.rule.name,
        "factor": derivation.factor,
        "steps": list(derivation.steps),
        "warnings": list(derivation.warnings),
        "batch": batch,
        "prediction": derivation.prediction(batch),
        "provenance": dict(model.provenance),
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
        print(f"Warning: {warning}.")
    print(f"\nwritten: {out}")
