"""`designspace pretrain`: SwAV on a trunk."""

from pathlib import Path
from typing import Annotated, Any

import typer

from designspace.cli.options import (
    DATA,
    MODEL_HELP,
    Cache,
    Device,
    Download,
    Json,
    Log,
    Threads,
    split_commas,
)


def pretrain(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    recipe: Annotated[
        str, typer.Option(help="quick, swav, swav-small-batch, seer-256gf, …, or a .yaml file.")
    ] = "quick",
    data: Annotated[
        str | None,
        typer.Option(help=f"{DATA}. A folder has classes, or images at any depth."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Start from a checkpoint: a pretraining, or a file of torchvision, timm, VISSL, …",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Overrides the recipe's; more than a finished run has continue it."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Overrides the recipe's; learning rates scale with it.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Overrides the recipe's peak.")] = None,
    shard: Annotated[
        bool | None,
        typer.Option(
            "--shard/--no-shard",
            help="Shard parameters, gradients and momentum over the processes (FSDP2), or keep "
            "them whole in each (DDP); by default as the recipe says.",
        ),
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Parts that each batch is processed in, to save memory.")
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the trunk (for long runs on a GPU).")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and crops.")] = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files to OUT/tensorboard.")
    ] = False,
    log: Log = None,
    device: Device = "auto",
    threads: Threads = None,
    download: Download = False,
    cache: Cache = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")
    ] = False,
    images: Annotated[
        str | None,
        typer.Option(help="Images per epoch, such as 1.3M, for --dry-run without --data."),
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs, for --dry-run.")] = None,
    teraflops: Annotated[
        float | None, typer.Option(help="Sustained arithmetic of a GPU, for --dry-run.")
    ] = None,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print the recipe with all its keys, and stop.")
    ] = False,
    json_: Json = False,
) -> None:
    """Pretrain a trunk without labels, by SwAV.

    Interrupt it at any time: the same command resumes, bit for bit on a CPU. Labels serve for one
    thing, the k-NN accuracy shown during training. Several processes write their checkpoints
    together, each its own part (`checkpoint/` in place of `checkpoint.pt`); any number of processes
    resumes from either, up to rounding. A finished run continues with more --epochs: from there on
    the learning rate is that of a schedule of so many epochs. Exits with 1 if the loss diverges.

    Examples:

      designspace pretrain model.yaml --data digits --recipe quick --out results/mine

      designspace pretrain model.yaml --data digits --from results/mine --out results/further

      designspace pretrain RegNetY-256GF --recipe seer-256gf --dry-run

      designspace pretrain model.yaml --recipe swav --print-recipe > mine.yaml

      torchrun --nproc-per-node 2 -m designspace pretrain model.yaml --data digits --out results/two
    """
    import json
    import sys

    import designspace as ds

    changes: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "shard": shard}
    changes["accumulate"] = accumulate
    source: dict[str, Any] = {"download": download, "cache": cache}
    planned: dict[str, Any] = {"images": images, "gpus": gpus, "teraflops": teraflops}
    if print_recipe and dry_run:
        raise ds.InputError("--print-recipe and --dry-run exclude each other; pass one")
    for name, value in planned.items():
        if value is not None and not dry_run:
            raise ds.InputError(f"--{name} has an effect with --dry-run alone; omit it")
    if print_recipe:
        from designspace.io.yaml_files import dump_yaml

        chosen = ds.load_pretrain_recipe(recipe).override(**changes, lr=lr)
        plain = chosen.to_dict()
        print(json.dumps(plain) if json_ else dump_yaml(plain).rstrip())
        return
    if dry_run:
        # The options of a pretraining stay valid when --dry-run is added to them.
        from designspace.api.pretraining import check_pretraining
        from designspace.training.metric_logger import chosen_loggers

        chosen = ds.load_pretrain_recipe(recipe).override(**changes, lr=lr)
        loggers = chosen_loggers(split_commas(log), tensorboard)
        check_pretraining(model, chosen, weights, seed, loggers, device, threads)
        plan = ds.plan_pretraining(model, recipe, data=data, **planned, **changes, **source)
        print(json.dumps(plan.to_dict()) if json_ else plan)
        return
    if data is None:
        raise ds.InputError("--data is missing; try digits, or folder:PATH for your own images")
    if out is None:
        raise ds.InputError("--out is missing; name the folder of the run")
    try:
        result = ds.pretrain(
            model,
            data=data,
            out=out,
            recipe=recipe,
            lr=lr,
            **changes,
            weights=weights,
            compile=compile,
            seed=seed,
            tensorboard=tensorboard,
            log=split_commas(log),
            device=device,
            threads=threads,
            **source,
        )
    except ds.Diverged as error:
        print(f"designspace: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if result is None:
        return  # a process other than the first
    page = out / "report" / "index.html"
    print(json.dumps(result.record) if json_ else f"{result}\nreport: {page}")
