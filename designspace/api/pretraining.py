"""Self-supervised pretraining of a trunk, its plan, and its evaluation."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace import arch, runs
from designspace.api.model import load_model
from designspace.errors import Diverged, InputError, check_types, shortened
from designspace.runs.folder_kind import check_weights_path
from designspace.runs.training_options import check_device, check_seed, check_threads, parse_source

if TYPE_CHECKING:
    from designspace.evaluation.cluster_images import Clusters
    from designspace.evaluation.evaluate_trunk import EvaluationResult
    from designspace.pretraining.cost_plan import CostPlan
    from designspace.pretraining.pretrain import PretrainResult
    from designspace.pretraining.recipe import RecipeLike, SwavRecipe
    from designspace.training.metric_logger import LoggerLike

__all__ = [
    "Diverged",
    "cluster",
    "evaluate",
    "load_pretrain_recipe",
    "plan_pretraining",
    "pretrain",
]

ModelLike = arch.Model | str | Path


@check_types
def pretrain(
    model: ModelLike,
    *,
    data: str,
    out: str | Path,
    recipe: "RecipeLike" = "quick",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    shard: bool | None = None,
    accumulate: int | None = None,
    weights: str | Path | None = None,
    compile: bool = False,
    seed: int = 0,
    tensorboard: bool = False,
    log: "Sequence[LoggerLike] | LoggerLike" = (),
    device: str = "auto",
    threads: int | None = None,
    download: bool = False,
    cache: str | Path | None = None,
    progress: bool = True,
) -> "PretrainResult | None":
    """Pretrain a model's trunk without labels, by SwAV.

    Interrupt it at any time: the same call resumes, bit for bit on a CPU. Start it with torchrun to
    train on several GPUs or nodes. Labels serve for one thing, the k-NN accuracy shown during
    training.

    Args:
        model: A model, or anything that `load_model` accepts.
        data: digits, cifar10, cifar100, folder:PATH (train/CLASS/IMAGE, or images at any depth
            without classes), imagenet:PATH, files:LIST (a text file of paths), webdataset:PATTERN
            (tar shards, as in shards/{000..049}.tar) or hf:PATH (saved by Hugging Face's
            datasets).
        out: Folder of the run: trunk.pt, checkpoints, journals and the report.
        recipe: quick, swav, swav-small-batch, seer-256gf, …, a YAML file, a map of its keys, or
            what `load_pretrain_recipe` returned.
        epochs: Overrides the recipe's. More than a finished run has continue it: from there on,
            the learning rate is that of a schedule of so many epochs.
        batch_size: Overrides the recipe's; learning rates scale in proportion.
        lr: Overrides the recipe's peak.
        shard: Shard parameters, gradients and momentum over the processes (FSDP2).
        accumulate: Parts that each batch passes through the network in, to save memory.
        weights: Checkpoint to start from: the folder of a pretraining, or a file of torchvision,
            timm, transformers, VISSL or ClassyVision.
        compile: Compile the trunk with torch.compile.
        seed: Seed of weights, order and crops.
        tensorboard: Write event files to OUT/tensorboard; short for log="tensorboard".
        log: Where else the numbers go: tensorboard, mlflow, wandb, or objects with the methods
            `scalars`, `text` and `close`.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: Threads on the CPU.
        download: Fetch the data set if it is missing.
        cache: Folder of decoded images and downloads.
        progress: Show a progress bar on a terminal or in a notebook, lines elsewhere.

    Returns:
        The run's folder, its trunk's file and the record of the last epoch; None in all processes
        but the first.

    Raises:
        InputError: Model, recipe, data and folder do not go together.
        Diverged: The loss became non-finite.

    Example:
        >>> import designspace as ds
        >>> model = ds.sample("RegNetX@8", n=1, flops="180K:220K")[0]
        >>> options = {"data": "digits", "epochs": 1, "progress": False}
        >>> result = ds.pretrain(model, out="results/trunk", **options)
        >>> result.record["epoch"], result.trunk.name
        (1, 'trunk.pt')
    """
    trunk = load_model(model)
    chosen = load_pretrain_recipe(recipe).override(epochs, batch_size, lr, shard, accumulate)
    parse_source(data)
    check_device(device)
    check_seed(seed)
    check_threads(threads)
    # Importing torch takes seconds: what is wrong above is reported before.
    from designspace.api.progress import PretrainingDisplay, progress_bar
    from designspace.data.stored_source import remember_source
    from designspace.pretraining.pretrain import pretrain as run
    from designspace.training.metric_logger import chosen_loggers

    folder = Path(out)
    remember_source(data, None if cache is None else Path(cache))
    with progress_bar(f"stopped; the same call resumes in {folder}", progress) as bar:
        result = run(
            trunk,
            data=data,
            recipe=chosen,
            out=folder,
            weights=weights,
            compile=compile,
            seed=seed,
            log=chosen_loggers(log, tensorboard),
            device=device,
            threads=threads,
            download=download,
            cache=cache,
            observer=PretrainingDisplay(bar, silent=not progress),
        )
    if result is not None:
        _update_page(folder, device, cache)
    return result


@check_types
def plan_pretraining(
    model: ModelLike,
    recipe: "RecipeLike" = "quick",
    *,
    data: str | None = None,
    images: int | str | None = None,
    gpus: int | None = None,
    teraflops: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    shard: bool | None = None,
    accumulate: int | None = None,
    download: bool = False,
    cache: str | Path | None = None,
) -> "CostPlan":
    """Compute what pretraining a model would cost, without allocating anything.

    Args:
        model: A model, or anything that `load_model` accepts.
        recipe: As of `pretrain`.
        data: Data set, as of `pretrain`, whose images are counted and measured.
        images: Images per epoch (`"1.3M"`), without `data`; by default the recipe's.
        gpus: GPUs; by default the recipe's.
        teraflops: Sustained arithmetic of one GPU.
        epochs: Overrides the recipe's.
        batch_size: Overrides the recipe's.
        shard: Overrides the recipe's.
        accumulate: Overrides the recipe's.
        download: Fetch the data set if it is missing.
        cache: Folder of decoded images and downloads.

    Returns:
        Parameters, iterations, memory per GPU, communication, days, and what the images take.

    Raises:
        InputError: Model, recipe, data and GPUs do not go together.

    Example:
        >>> import designspace as ds
        >>> ds.plan_pretraining("RegNetY-256GF", "seer-256gf").parameters
        1431032042
    """
    trunk = load_model(model, block="a plan of pretraining")
    chosen = load_pretrain_recipe(recipe).override(epochs, batch_size, None, shard, accumulate)
    if data is not None and images is not None:
        raise InputError(f"images is {images}, but {data} has a number of its own", "images")
    from designspace.pretraining.cost_plan import plan_pretraining as plan

    if isinstance(images, str):
        images = round(arch.parse_quantity(images, "images"))
    if data is None:
        return plan(trunk, chosen, images, gpus, teraflops)
    from designspace.pretraining.images import measure_images

    sizes = measure_images(data, None if cache is None else Path(cache), download)
    return plan(trunk, chosen, sizes, gpus, teraflops)


def check_pretraining(
    model: ModelLike,
    recipe: "SwavRecipe",
    weights: str | Path | None,
    seed: int,
    log: "Sequence[LoggerLike]",
    device: str,
    threads: int | None,
) -> None:
    """Check the arguments of `pretrain` that its cost does not depend on.

    Raises:
        InputError: For the first invalid one. Whether this machine has the device is not checked.
    """
    check_device(device)
    check_seed(seed)
    check_threads(threads)
    from designspace.pretraining.initial_weights import load_initial_weights
    from designspace.training.metric_logger import check_loggers

    check_loggers(log)
    if weights is not None:
        load_initial_weights(weights, load_model(model), recipe)


@check_types
def load_pretrain_recipe(recipe: "RecipeLike") -> "SwavRecipe":
    """Load a recipe for pretraining.

    Args:
        recipe: quick, swav, swav-small-batch, seer-256gf, …, a YAML file, or a map of its keys,
            which may name a `parent` and hold what differs from it.

    Raises:
        InputError: There is no such recipe, or its file is wrong.

    Example:
        >>> import designspace as ds
        >>> ds.load_pretrain_recipe("swav").epochs
        400
    """
    from designspace.pretraining.recipe import load_recipe

    return load_recipe(recipe)


@check_types
def evaluate(
    checkpoint: str | os.PathLike[str],
    task: str | None = None,
    *,
    data: str | None = None,
    model: "ModelLike | None" = None,
    out: str | Path | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> "EvaluationResult":
    """Evaluate a pretrained trunk, beside the same trunk with random weights.

    Args:
        checkpoint: Folder of `pretrain`, or a file of weights with `model`.
        task: knn, linear, lowshot, finetune, detect, features or labelfree (RankMe, LiDAR and
            others that need no labels); by default knn, or labelfree without labels.
        data: digits, cifar10, cifar100, folder:PATH, imagenet:PATH, files:LIST,
            webdataset:PATTERN or hf:PATH; for detect coco:PATH or pasted:…; by default the data
            of the pretraining.
        model: For a file of weights: the model.
        out: Folder of the scores; for features, a .npz or .safetensors file.
        device: auto, cpu, cuda, cuda:N or mps.
        cache: Folder of decoded images and downloads.
        progress: Show a progress bar on a terminal or in a notebook, lines elsewhere.
        **options: Of the task: side (of the images in pixels), seeds, labels (fractions for
            lowshot, such as `"1%"`), supervised and scratch_epochs (a network trained from scratch
            beside it), supervised_pretraining (the same trunk pretrained with labels), tune_lr,
            lr, neighbors and temperature (of k-NN), schedule and iterations (of detect), threads,
            download.

    Returns:
        `scores`, each with mean and 95 % interval over seeds; for features, file and shape.

    Raises:
        InputError: Checkpoint, task and data do not go together.

    Example:
        >>> import designspace as ds
        >>> model = ds.sample("RegNetX@8", n=1, flops="180K:220K")[0]
        >>> end = ds.pretrain(model, data="digits", out="results/knn", epochs=1, progress=False)
        >>> result = ds.evaluate("results/knn", "knn", seeds=1, progress=False)
        >>> 10 < result.scores[0].mean < 100
        True
    """
    from designspace.evaluation.scores import parse_task

    path = _weights_path(checkpoint, "checkpoint")
    network = None if model is None else load_model(model)
    if task is not None:
        parse_task(task)
    check_device(device)
    from designspace.api.progress import EvaluationDisplay, progress_bar
    from designspace.evaluation.evaluate_trunk import evaluate_trunk

    with progress_bar("stopped; the same call resumes", progress) as bar:
        result = evaluate_trunk(
            path,
            task,
            data=data,
            model=network,
            out=out,
            device=device,
            cache=cache,
            observer=EvaluationDisplay(bar, silent=not progress),
            **options,
        )
    if result.run is not None:
        _update_page(result.run, device, cache)
    return result


@check_types
def cluster(
    run: str | os.PathLike[str],
    out: str | Path,
    *,
    data: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    download: bool = False,
    cache: str | Path | None = None,
    progress: bool = True,
) -> "Clusters":
    """Sort images by the prototype of a pretraining that they are nearest to.

    Args:
        run: Folder of `pretrain`.
        out: New folder: for each prototype a folder of links to the image files and a contact
            sheet, best images first, and `images.csv`.
        data: Data set; by default that of the pretraining.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: Threads on the CPU.
        download: Fetch the data set if it is missing.
        cache: Folder of decoded images and downloads.
        progress: Show a progress bar on a terminal or in a notebook, lines elsewhere.

    Raises:
        InputError: It is not a pretraining, or `out` has content.

    Example:
        >>> import designspace as ds
        >>> model = ds.sample("RegNetX@8", n=1, flops="180K:220K")[0]
        >>> end = ds.pretrain(model, data="digits", out="results/sorted", epochs=1, progress=False)
        >>> ds.cluster("results/sorted", "clusters", progress=False).images
        1797
    """
    path = _weights_path(run, "run")
    from designspace.api.progress import EvaluationDisplay, progress_bar
    from designspace.evaluation.cluster_images import cluster_images

    with progress_bar("stopped; call it again with a new folder", progress) as bar:
        return cluster_images(
            path,
            out,
            data=data,
            device=device,
            threads=threads,
            download=download,
            cache=cache,
            observer=EvaluationDisplay(bar, silent=not progress),
        )


def _weights_path(source: object, argument: str) -> Path:
    """Return the path of a pretraining or of weights.

    Raises:
        InputError: It is something else, such as the run of a population.
    """
    path = source.path if isinstance(source, runs.Run) else source
    if not isinstance(path, str | os.PathLike):
        raise InputError(
            f"{argument} is {shortened(repr(path))}; it must be the folder of a pretraining or a "
            "file of weights",
            argument,
        )
    check_weights_path(Path(path), argument)
    return Path(path)


def _update_page(run: Path, device: str, cache: str | Path | None) -> Path | None:
    """Write report/index.html of a pretraining, unless it is current.

    Returns:
        The page, or None before the end of the first epoch.
    """
    from designspace.pretraining.collect_findings import collect_findings, report_is_current

    if report_is_current(run):
        return run / "report" / "index.html"
    inputs = collect_findings(run, device, None if cache is None else Path(cache))
    if inputs is None:
        return None

    from designspace.analysis.pretraining_findings import summarize_pretraining
    from designspace.evaluation.scores import read_table
    from designspace.report.pretraining_page import write_pretraining_page

    findings = summarize_pretraining(**inputs, scores=read_table(run / "evaluation"))
    return write_pretraining_page(findings, run / "report")
