"""`designspace measure`: latency, images a second and memory of models on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import MODEL_HELP, Device, Json, Threads


def measure(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL|RUN...", help=f"{MODEL_HELP[:-1]}; or a run folder."),
    ],
    device: Device = "auto",
    threads: Threads = None,
    batch: Annotated[str, typer.Option(help="Images per step, or several: 1,64.")] = "1",
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, tf32, bf16 or fp16; by default fp32 on CPUs, tf32 on GPUs."),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="inference, or training (forward, loss, backward, SGD step).")
    ] = "inference",
    compile_: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    limit: Annotated[
        int | None, typer.Option(help="Only the first so many models of each run.")
    ] = None,
    time_limit: Annotated[
        float, typer.Option(help="Seconds of timing per model and batch size.")
    ] = 5.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for measurements of models outside of runs.")
    ] = None,
    json_: Json = False,
) -> None:
    """Measure latency, images a second and peak memory of models on this machine.

    Models take turns until the 95 % interval of each median is narrower than 2 %. Those of a run
    are recorded in its measurements.jsonl, and join its table; the same command resumes. A machine
    that other processes use, or whose rounds differ, is reported.

    Examples:

      designspace measure RegNetY-400MF EfficientNet-B0 --batch 1,16 --threads 1

      designspace measure results/a --limit 30 --device cpu --mode training

      designspace measure RegNetX-4.0GF ResNet-50 --device cuda --batch 64 --precision bf16
    """
    import json
    import sys

    import designspace as ds

    result = ds.measure(
        list(models),
        device=device,
        threads=threads,
        batch=batch,
        precision=precision,
        mode=mode,
        compile=compile_,
        limit=limit,
        time_limit=time_limit,
        out=out,
    )
    if json_:
        print(json.dumps([record.to_record() for record in result.records]))
    else:
        for line in result.lines():
            print(line)
    for text in result.warnings:
        print(f"warning: {text}", file=sys.stderr)
