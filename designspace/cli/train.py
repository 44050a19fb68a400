"""`designspace train`: every model of a run folder, by one recipe."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    run: Annotated[Path, typer.Argument(help="Run folder that `designspace sample` wrote.")],
    data: Annotated[
        str | None,
        typer.Option(help="digits, cifar10, cifar100, folder:PATH or imagenet:PATH."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="dds, dds-25, dds-100, cifar, quick, or a .yaml file.")
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="held-out (of the training images, default) or test.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run; 0 unless given.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Override the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Override the recipe's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Override the recipe's.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Trials at once; as many as cores.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    only: Annotated[str | None, typer.Option(help="Models to train: 0-249,300.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many of them.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Train failed models again.")] = False,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds after which a trial fails.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Use torch.compile (for long trials on a GPU).")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the data set when it is missing.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of decoded images and downloads.")
    ] = None,
) -> None:
    """Train every model of a run folder that has no trial yet, each by the same recipe.

    Interrupt it as you like: the same command goes on where it was, in the middle of a trial too.
    Run again, it needs no options: data, recipe, split and seed are those of the first time.

    Examples:

      designspace train results/a --data digits --recipe quick

      designspace train results/a --data folder:cifar10 --recipe cifar --jobs 2

      designspace train results/a --only 0-249          (the other half elsewhere; then merge)
    """
    from designspace.cli.progress import training_display
    from designspace.errors import InputError
    from designspace.runs import RunFolder, load_recipe
    from designspace.training.population import (
        Request,
        first_indices,
        parse_indices,
        train_population,
    )

    folder = RunFolder.open(run)
    before, before_data = folder.recipe(), folder.data()
    if recipe is None and before is None:
        raise InputError("--recipe is missing; try dds, or quick for a first look")
    if data is None and before_data is None:
        raise InputError("--data is missing; try digits, or folder:PATH for your own images")
    chosen = load_recipe(recipe) if recipe is not None else before
    assert chosen is not None
    indices = None if only is None else parse_indices(only)
    if limit is not None:
        indices = first_indices(limit, indices, len(folder.population()))
    request = Request(
        data=data or (before_data.source if before_data else ""),
        recipe=chosen.override(epochs, batch_size, lr),
        val=val or (before_data.val if before_data else "held-out"),
        seed=seed if seed is not None else (before_data.seed if before_data else 0),
        indices=indices,
        jobs=jobs,
        device=device,
        retry=retry,
        time_limit=time_limit,
        compiled=compiled,
        download=download,
        home=cache,
    )
    with training_display(run) as display:
        end = train_population(folder, request, display, display.decoded)
        display.end(end)
