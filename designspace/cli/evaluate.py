"""`designspace evaluate`: what a pretrained trunk has learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from designspace.cli.options import Cache, Device, Download, Threads

if TYPE_CHECKING:
    from designspace.cli.progress import Display
    from designspace.pretrain.scores import Score
    from designspace.pretrain.subject import Subject


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
        list[float] | None, typer.Option(help="Share of the labels, for lowshot; repeat it.")
    ] = None,
    scratch_epochs: Annotated[
        int | None, typer.Option(help="Epochs of supervised training from scratch.")
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="For detect: small, published, or auto (by data and device).")
    ] = "auto",
    iterations: Annotated[
        int | None, typer.Option(help="For detect, in place of the schedule's.")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="For detect, in place of the schedule's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the scores; for features, the .npz file.")
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

      designspace evaluate results/mine --task lowshot --labels 0.01 --seeds 5

      designspace evaluate trunk.pth --model RegNetY-16GF --task linear --data folder:PATH

      designspace evaluate results/mine --task detect --data pasted:digits

      designspace evaluate results/mine --task features --out features.npz
    """
    import json

    from designspace.cli.models import resolve_model
    from designspace.cli.pretraining_page import update_page
    from designspace.cli.progress import Display, terminal
    from designspace.errors import InputError
    from designspace.pretrain.subject import load_subject

    subject = load_subject(checkpoint, resolve_model(model, "evaluate") if model else None, side)
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
    scores: list[Score] = []
    with terminal("stopped; the same command goes on from here") as bar:
        display = Display(bar)
        for note in subject.notes:
            display.note(note)
        if task == "features":
            file = out or folder / "features.npz"
            made = _features(subject, folder, file, common, display)
        elif task == "detect":
            rest = {"schedule": schedule, "iterations": iterations, "lr": lr}
            scores = _detect(subject, folder, {**common, **rest}, display)
        else:
            shares = {"shares": tuple(labels)} if labels else {}
            rest = {"task": task, "scratch_epochs": scratch_epochs}
            scores = _classify(subject, folder, {**common, **shares, **rest}, display)
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
    subject: "Subject", folder: Path, options: dict[str, Any], display: "Display"
) -> "list[Score]":
    from designspace.pretrain.evaluate import Evaluation, Options

    return Evaluation(subject, Options(**options), folder, display.note, display.decoded).run()


def _features(
    subject: "Subject", folder: Path, file: Path, options: dict[str, Any], display: "Display"
) -> dict[str, Any]:
    from designspace.pretrain.evaluate import Evaluation, Options

    wanted = Options(task="features", **options)
    made = Evaluation(subject, wanted, folder, display.note, display.decoded)
    count, width = made.save_features(file)
    return {"file": str(file), "images": count, "width": width}


def _detect(
    subject: "Subject", folder: Path, options: dict[str, Any], display: "Display"
) -> "list[Score]":
    from designspace.pretrain.detection.task import Detection, DetectOptions

    wanted = DetectOptions(**options)
    return Detection(subject, wanted, folder, display.note, display.decoded).run()


def _line(score: "Score") -> str:
    interval = "" if score.low is None else f"  [{score.low:.1f}, {score.high:.1f}]"
    labels = f"{score.labels} labels" + (f" ({score.share:.0%})" if score.share < 1 else "")
    metric = "" if score.metric == "top-1 accuracy" else f"{score.metric:<10}"
    return f"  {score.task:<9}{labels:<20}{metric}{score.what:<40}{score.mean:6.1f}{interval}"
