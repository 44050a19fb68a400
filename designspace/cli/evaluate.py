"""`designspace evaluate`: what a pretrained trunk has learned."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import DATA, Cache, Device, Download, Json, Threads, split_commas


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of `designspace pretrain`, or a file of weights.")
    ],
    task: Annotated[
        str | None,
        typer.Option(
            help="knn (default), linear, lowshot, finetune, detect, features, or labelfree, the "
            "default for images without labels."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"{DATA}; for detect coco:PATH, or pasted:digits, pasted:folder:PATH, … (scenes "
            "made by pasting)."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="For a file of weights: a published name, or a model.yaml.")
    ] = None,
    side: Annotated[int | None, typer.Option(help="Side of the images, in pixels.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Repetitions of each score; by default 3.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Share of the labels, for lowshot: 0.01 or 1%; several with commas."),
    ] = None,
    supervised: Annotated[
        bool | None,
        typer.Option(
            "--supervised/--no-supervised",
            help="Train from scratch too, for comparison; by default for all tasks but knn.",
        ),
    ] = None,
    scratch_epochs: Annotated[
        int | None, typer.Option(help="Epochs of supervised training from scratch.")
    ] = None,
    supervised_pretraining: Annotated[
        bool | None,
        typer.Option(
            "--supervised-pretraining",
            help="Compare with the same trunk pretrained with all labels, in as many passes; if it "
            "is trained further, its learning rates are chosen on images whose labels it has seen.",
        ),
    ] = None,
    tune_lr: Annotated[
        bool | None,
        typer.Option(
            "--tune-lr/--no-tune-lr",
            help="Each training takes its learning rates from one grid, chosen on a fifth of its "
            "own labels (default), or from the published protocol.",
        ),
    ] = None,
    neighbors: Annotated[
        int | None, typer.Option(help="For knn; by default 200, fewer in small data sets.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="For knn, of the neighbors' weights; by default 0.1.")
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
    json_: Json = False,
) -> None:
    """Evaluate a pretrained trunk, beside a random one and supervised training from scratch.

    All of them see the same labels. Scores are top-1 accuracy on images that none has seen: the
    test images, or those held out; for detect, COCO's average precision of boxes and masks. They
    are kept in `scores.jsonl`: the same command resumes.

    Task knn classifies by the neighbors among nine tenths of the labelled images, drawn by the
    seed; each votes with exp(cosine similarity / temperature). DINO's tables are of 20 neighbors
    and temperature 0.07.

    Task labelfree needs no labels. On the pretraining's images it measures RankMe and LiDAR
    (effective rank of the features, and of what tells images apart beyond the augmentation; more is
    better), α-ReQ (decay of the eigenvalues; about 1 is good), how often another view of the same
    image is the nearest, and how evenly prototypes are used.

    Examples:

      designspace evaluate results/mine --task knn

      designspace evaluate results/mine --task knn --neighbors 20 --temperature 0.07

      designspace evaluate results/mine --task lowshot --labels 1% --seeds 5

      designspace evaluate trunk.pth --model RegNetY-16GF --task linear --data folder:PATH

      designspace evaluate results/mine --task detect --data pasted:digits

      designspace evaluate results/mine --task features --out features.npz

      designspace evaluate results/mine --task labelfree --data folder:photos
    """
    import json

    import designspace as ds

    result = ds.evaluate(
        checkpoint,
        task,
        data=data,
        model=model,
        out=out,
        side=side,
        seeds=seeds,
        labels=split_commas(labels) or None,
        supervised=supervised,
        scratch_epochs=scratch_epochs,
        supervised_pretraining=supervised_pretraining,
        tune_lr=tune_lr,
        neighbors=neighbors,
        temperature=temperature,
        schedule=schedule,
        iterations=iterations,
        lr=lr,
        device=device,
        threads=threads,
        download=download,
        cache=cache,
    )
    print(json.dumps(result.to_dict()) if json_ else result)
