"""`designspace pretrain`: SwAV on a trunk."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import Cache, Device, Download, Threads


def pretrain(
    model: Annotated[
        str,
        typer.Argument(
            help="A model.yaml, a published name, or a model of a run (RUN:INDEX, RUN:best)."
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option(help="quick, swav, swav-small-batch, seer-256gf, …, or a .yaml file."),
    ] = "quick",
    data: Annotated[
        str | None,
        typer.Option(help="digits, cifar10, cifar100, folder:PATH or imagenet:PATH."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Override the recipe's.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Override the recipe's; rates follow in proportion.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Override the recipe's peak.")] = None,
    shard: Annotated[
        bool | None,
        typer.Option(
            "--shard/--no-shard",
            help="Split parameters, gradients and momentum over the processes (FSDP2), or keep "
            "them whole in each (DDP); as the recipe says.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and crops.")] = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files to OUT/tensorboard.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    download: Download = False,
    cache: Cache = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")
    ] = False,
    images: Annotated[
        int | None, typer.Option(help="Images an epoch, for --dry-run without --data.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs, for --dry-run.")] = None,
    teraflops: Annotated[
        float | None, typer.Option(help="Sustained arithmetic of a GPU, for --dry-run.")
    ] = None,
    print_recipe: Annotated[
        bool,
        typer.Option("--print-recipe", help="Print the recipe with all its keys, and stop."),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Pretrain a trunk without labels, by SwAV.

    Interrupt it as you like: the same command goes on where it was, bit for bit on the CPU. Labels
    are used for one thing, the k-NN accuracy that is shown now and then; training doesn't see them.

    Examples:

      designspace pretrain model.yaml --data digits --recipe quick --out results/mine

      designspace pretrain RegNetY-256GF --recipe seer-256gf --dry-run

      designspace pretrain model.yaml --recipe swav --print-recipe > mine.yaml

      torchrun --nproc-per-node 2 -m designspace pretrain model.yaml --data digits --out results/two

    Several processes write their checkpoints together, each its own part (`checkpoint/` in place of
    `checkpoint.pt`); another number of processes goes on from either, to rounding.
    """
    import json
    import sys

    from designspace.cli.models import resolve_model
    from designspace.errors import InputError
    from designspace.pretraining.recipe import load_recipe

    trunk = resolve_model(model, "pretrain")
    chosen = load_recipe(recipe).override(epochs, batch_size, lr, shard)
    if print_recipe:
        from designspace.io.yaml_files import dump_yaml

        print(dump_yaml(chosen.to_dict()), end="")
        return
    if dry_run:
        from designspace.pretraining.cost_plan import plan_pretraining

        if data is not None:
            from designspace.pretraining.images import count_images

            images = count_images(data, cache, download)
        plan = plan_pretraining(trunk, chosen, images, gpus, teraflops)
        print(json.dumps(plan.to_dict()) if json_ else plan)
        return
    if data is None:
        raise InputError("--data is missing; try digits, or folder:PATH for your own images")
    if out is None:
        raise InputError("--out is missing; name the folder of the run")

    from designspace.cli.pretraining import PretrainingDisplay
    from designspace.cli.pretraining_page import update_page
    from designspace.cli.progress import terminal
    from designspace.pretraining.pretrain import Diverged
    from designspace.pretraining.pretrain import pretrain as pretrain_trunk

    try:
        with terminal(f"stopped; the same command goes on in {out} from here") as bar:
            result = pretrain_trunk(
                trunk,
                data=data,
                out=out,
                recipe=chosen,
                seed=seed,
                tensorboard=tensorboard,
                device=device,
                threads=threads,
                download=download,
                cache=cache,
                observer=PretrainingDisplay(bar),
            )
    except Diverged as error:
        print(f"designspace: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if result is None:
        return  # a process other than the first
    page = update_page(out, device, cache)
    print(json.dumps(result.record) if json_ else f"{result}\nreport: {page}")
