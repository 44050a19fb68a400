"""`designspace evaluate`: what a pretrained trunk has learned."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from designspace.cli.options import Cache, Device, Download, Threads

if TYPE_CHECKING:
    from designspace.cli.progress import EvaluationDisplay
    from designspace.evaluate.backbone import Backbone
    from designspace.evaluate.scores import Score

# Options that some tasks alone have.
_ONLY_FOR = {
    "shares": ("lowshot",),
    "scratch_epochs": ("knn", "linear", "lowshot", "finetune"),
    "schedule": ("detect",),
    "iterations": ("detect",),
    "lr": ("detect",),
}


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of `designspace pretrain`, or a file of weights.")
    ],
    task: Annotated[
        str, typer.Option(help="knn, linear, lowshot, finetune, detect or features.")
    ] = "knn",
    data: Annotated[
        str | None,
        typer.Option(
            help="digits, cifar10, cifar100, folder:PATH, imagenet:PATH; for detect coco:PATH, or "
            "pasted:digits, pasted:folder:PATH, … (scenes made by pasting)."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="For a file of weights: a published name, or a model.yaml.")
    ] = None,
    side: Annotated[int | None, typer.Option(help="Side of the images, in pixels.")] = None,
    seeds: Annotated[int, typer.Option(help="Repetitions of each score.")] = 3,
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Share of the labels, for lowshot: 0.01 or 1%; repeat it."),
    ] = None,
    scratch_epochs: Annotated[
        int | None, typer.Option(help="Epochs of supervised training from scratch.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="For detect: small, published, or auto (by data and device; default)."),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="For detect, in place of the schedule's.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="For detect, in place of the schedule's.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the scores; for features, a .npz or .safetensors file."),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    download: Download = False,
    cache: Cache = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a pretrained trunk, beside a random one and supervised training from scratch.

    All three see the same labels. Scores are top-1 accuracy on images that neither saw: the test
    images, or those held out; for detect, COCO's average precision of boxes and masks. They are
    kept in `scores.jsonl`: run again, it goes on where it was.

    Examples:

      designspace evaluate results/mine --task knn

      designspace evaluate results/mine --task lowshot --labels 1% --seeds 5

      designspace evaluate trunk.pth --model RegNetY-16GF --task linear --data folder:PATH

      designspace evaluate results/mine --task detect --data pasted:digits

      designspace evaluate results/mine --task features --out features.npz
    """
    import json

    from designspace.cli.models import resolve_model
    from designspace.cli.pretraining_page import update_page
    from designspace.cli.progress import EvaluationDisplay, terminal
    from designspace.errors import InputError
    from designspace.evaluate.backbone import load_backbone

    subject = load_backbone(checkpoint, resolve_model(model, "evaluate") if model else None, side)
    chosen = data or subject.data
    if chosen is None:
        raise InputError("--data is missing; try digits, or folder:PATH for your own images")
    beside = checkpoint if checkpoint.is_dir() else checkpoint.parent
    folder = out if out is not None and task != "features" else beside / "evaluation"
    common: dict[str, Any] = {
        "data": chosen,
        "seeds": seeds,
        "device": device,
        "threads": threads,
        "download": download,
        "home": cache,
    }
    given = {
        "shares": _shares(labels),
        "scratch_epochs": scratch_epochs,
        "schedule": schedule,
        "iterations": iterations,
        "lr": lr,
    }
    options = common | _of_task(task, given)
    scores: list[Score] = []
    with terminal("stopped; the same command goes on from here") as bar:
        display = EvaluationDisplay(bar)
        for note in subject.notes:
            display.note(note)
        if task == "features":
            made = _features(subject, folder, out, options, display)
        else:
            judge = _detect if task == "detect" else _classify
            scores = judge(subject, folder, options, display)
    if task == "features":
        told = f"{made['file']}: {made['images']} images, {made['width']} features each"
        print(json.dumps(made) if json_ else told)
        return
    if checkpoint.is_dir() and out is None:
        update_page(checkpoint, device, cache)
    if json_:
        print(json.dumps([score.to_dict() for score in scores]))
        return
    print(f"{subject.source} on {scores[0].data}: percent, and the mean's 95 % interval over seeds")
    for score in scores:
        print(_line(score))


def _classify(
    subject: "Backbone", folder: Path, options: dict[str, Any], display: "EvaluationDisplay"
) -> "list[Score]":
    from designspace.evaluate.evaluation import Evaluation, Options

    return Evaluation(subject, Options(**options), folder, display).run()


def _features(
    subject: "Backbone",
    folder: Path,
    out: Path | None,
    options: dict[str, Any],
    display: "EvaluationDisplay",
) -> dict[str, Any]:
    from designspace.evaluate.evaluation import Evaluation, Options
    from designspace.pretrain.features import check_features_file

    file = out or folder / "features.npz"
    if out is not None:
        check_features_file(out)
    made = Evaluation(subject, Options(**options), folder, display)
    count, width = made.save_features(file)
    return {"file": str(file), "images": count, "width": width}


def _detect(
    subject: "Backbone", folder: Path, options: dict[str, Any], display: "EvaluationDisplay"
) -> "list[Score]":
    from designspace.evaluate.detection.detection_task import Detection, DetectOptions

    wanted = DetectOptions(**options)
    return Detection(subject, wanted, folder, display).run()


def _of_task(task: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are a task's own; refuse those that it would silently ignore."""
    from designspace.errors import InputError
    from designspace.evaluate.scores import check_task

    check_task(task)
    for name, value in given.items():
        tasks = _ONLY_FOR[name]
        if value is not None and task not in tasks:
            option = "--labels" if name == "shares" else f"--{name.replace('_', '-')}"
            raise InputError(
                f"{option} means nothing to --task {task}; it is for {', '.join(tasks)}"
            )
    named = {} if task == "detect" else {"task": task}
    return named | {name: value for name, value in given.items() if value is not None}


def _shares(labels: list[str] | None) -> tuple[float, ...] | None:
    """Read shares as people write them: 0.01, or 1%."""
    from designspace.errors import InputError

    found = []
    for text in labels or ():
        number, percent, rest = text.strip().partition("%")
        try:
            found.append(float(number) / (100 if percent else 1))
        except ValueError:
            found.append(math.nan)
        if rest or not math.isfinite(found[-1]):
            raise InputError(f"--labels {text}: it must be a share, such as 0.01 or 1%")
    return tuple(found) or None


def _line(score: "Score") -> str:
    interval = "" if score.low is None else f"  [{score.low:.1f}, {score.high:.1f}]"
    labels = f"{score.labels} labels" + (f" ({score.share:.0%})" if score.share < 1 else "")
    metric = "" if score.metric == "top-1 accuracy" else f"{score.metric:<10}"
    return f"  {score.task:<9}{labels:<20}{metric}{score.what:<40}{score.mean:6.1f}{interval}"
