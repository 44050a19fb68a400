"""`designspace pretrain`: SwAV on a trunk."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from designspace.cli.options import Cache, Device, Download, Threads

if TYPE_CHECKING:
    from designspace.pretrain.cost_plan import Plan
    from designspace.pretrain.pretrain import Request


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
    from designspace.pretrain.recipe import load_recipe

    trunk = resolve_model(model, "pretrain")
    chosen = load_recipe(recipe).override(epochs, batch_size, lr, shard)
    if print_recipe:
        from designspace.io.files import dump_yaml

        print(dump_yaml(chosen.to_dict()), end="")
        return
    if dry_run:
        from designspace.pretrain.cost_plan import DEFAULT_TERAFLOPS, plan

        if data is not None:
            from designspace.pretrain.images import count

            images = count(data, cache, download)
        rate = DEFAULT_TERAFLOPS if teraflops is None else teraflops
        made = plan(trunk, chosen, images, gpus, rate)
        print(json.dumps(made.to_dict()) if json_ else _described(made))
        return
    if data is None:
        raise InputError("--data is missing; try digits, or folder:PATH for your own images")
    if out is None:
        raise InputError("--out is missing; name the folder of the run")

    from designspace.cli.pretraining_page import update_page
    from designspace.pretrain.pretrain import Diverged, Request

    request = Request(
        model=trunk,
        recipe=chosen,
        data=data,
        seed=seed,
        device=device,
        threads=threads,
        download=download,
        home=cache,
    )
    try:
        end = _pretrained(out, request, tensorboard)
    except Diverged as error:
        print(f"designspace: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if not end:
        return  # a process other than the first
    page = update_page(out, device, cache)
    if json_:
        print(json.dumps(end))
    else:
        print(f"{out}: loss {end['loss']:.4f} after {end['epoch']} epochs; trunk in {out}/trunk.pt")
        print(f"report: {page}")


def _pretrained(out: Path, request: "Request", tensorboard: bool) -> dict[str, Any]:
    from designspace.cli.pretraining import PretrainingDisplay
    from designspace.cli.progress import terminal
    from designspace.pretrain.pretrain import pretrain_trunk
    from designspace.pretrain.tensorboard import PretrainTensorBoard

    board = PretrainTensorBoard(out / "tensorboard") if tensorboard else None
    with terminal(f"stopped; the same command goes on in {out} from here") as bar:
        return pretrain_trunk(out, request, PretrainingDisplay(bar, board))


def _described(made: "Plan") -> str:
    from designspace.arch.quantity import format_quantity

    memory = made.memory
    again = "activations computed again" if made.checkpointed else "activations all kept"
    lines = [
        f"{made.model} by {made.recipe}",
        f"  trunk              {made.trunk_parameters:>18,} parameters",
        f"  head               {made.head_parameters:>18,}",
        f"  prototypes         {made.prototype_parameters:>18,}",
        f"  in pretraining     {made.parameters:>18,} parameters",
        f"  an image           {format_quantity(made.trunk_flops):>18} multiply-adds forward "
        f"in the trunk, all crops ({format_quantity(made.flops)} with the head)",
        f"  iterations         {made.iterations:>18,} of {made.batch_size:,} images; "
        f"{made.images:,} images an epoch",
        f"  GPUs               {made.gpus:>18,} with {made.batch_per_gpu} images each, "
        f"{made.precision} precision, {again}{', sharded' if memory.gathered else ''}",
        "  memory a GPU (GiB)",
        f"    parameters       {_gib(memory.parameters)}",
        f"    gradients        {_gib(memory.gradients)}",
        f"    momentum         {_gib(memory.optimizer)}",
        f"    gathered         {_gib(memory.gathered)}" if memory.gathered else "",
        f"    activations      {_gib(memory.activations)}   all kept",
        f"                     {_gib(memory.activations_checkpointed)}   computed again",
        f"    in all           {_gib(memory.total)}   (activations "
        f"{'computed again' if made.checkpointed else 'all kept'})",
        f"  sent an iteration  {_gib(made.communicated)}   GiB by each GPU",
        f"  at {made.teraflops:g} Tflop/s a GPU: "
        f"{format_quantity(made.images_per_second)} images/s, {made.days:.2f} days "
        "(--teraflops states another rate)",
    ]
    return "\n".join(line for line in lines if line)


def _gib(size: int) -> str:
    return f"{size / 2**30:>18.2f}"
