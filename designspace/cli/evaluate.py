"""`designspace evaluate`: what a pretrained trunk has learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from designspace.pretrain.evaluate import Score


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of `designspace pretrain`, or a file of weights.")
    ],
    task: Annotated[str, typer.Option(help="knn, linear, lowshot, finetune or features.")] = "knn",
    data: Annotated[
        str | None,
        typer.Option(help="digits, cifar10, cifar100, folder:PATH or imagenet:PATH."),
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
    out: Annotated[
        Path | None, typer.Option(help="Folder of the scores; for features, the .npz file.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads on the CPU; as many as cores.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the data set when it is missing.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of decoded images and downloads.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a pretrained trunk, beside a random one and supervised training from scratch.

    All three see the same labels. Scores are top-1 accuracy on images that neither saw: the test
    images, or those held out. They are kept in `scores.jsonl`: run again, it goes on where it was.

    Examples:

      designspace evaluate results/mine --task knn

      designspace evaluate results/mine --task lowshot --labels 0.01 --seeds 5

      designspace evaluate trunk.pth --model RegNetY-16GF --task linear --data folder:PATH

      designspace evaluate results/mine --task features --out features.npz
    """
    import json
    import sys

    from designspace.cli.models import resolve_model
    from designspace.errors import InputError
    from designspace.pretrain.evaluate import Evaluation, Options
    from designspace.pretrain.subject import load_subject

    subject = load_subject(checkpoint, resolve_model(model) if model else None, side)
    chosen = data or subject.data
    if chosen is None:
        raise InputError("--data is missing; try digits, or folder:PATH for your own images")
    options = Options(
        task=task,
        data=chosen,
        seeds=seeds,
        shares=tuple(labels) if labels else Options.shares,
        scratch_epochs=scratch_epochs,
        device=device,
        threads=threads,
        download=download,
        home=cache,
    )
    beside = checkpoint if checkpoint.is_dir() else checkpoint.parent
    folder = out if out is not None and task != "features" else beside / "evaluation"

    def told(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    evaluation = Evaluation(subject, options, folder, told, None)
    if task == "features":
        file = out or folder / "features.npz"
        count, width = evaluation.save_features(file)
        made = {"file": str(file), "images": count, "width": width}
        print(json.dumps(made) if json_ else f"{file}: {count} images, {width} features each")
        return
    scores = evaluation.run()
    if json_:
        print(json.dumps([score.to_dict() for score in scores]))
        return
    print(f"{subject.source} on {chosen}: top-1 accuracy in percent")
    for score in scores:
        print(_line(score))


def _line(score: "Score") -> str:
    interval = "" if score.low is None else f"  [{score.low:.1f}, {score.high:.1f}]"
    labels = f"{score.labels} labels" + (f" ({score.share:.0%})" if score.share < 1 else "")
    return f"  {score.task:<9}{labels:<20}{score.what:<40}{score.mean:6.1f}{interval}"
