"""`designspace cluster`: images sorted by the prototypes of a pretraining."""

from pathlib import Path
from typing import Annotated

import typer

from designspace.cli.options import Cache, Device, Download, Json, Threads


def cluster(
    run: Annotated[Path, typer.Argument(help="Folder of `designspace pretrain`.")],
    out: Annotated[Path, typer.Option(help="New folder of links and contact sheets.")],
    data: Annotated[
        str | None, typer.Option(help="Other images than those of the pretraining.")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    download: Download = False,
    cache: Cache = None,
    json_: Json = False,
) -> None:
    """Sort images by prototype: a folder of links and a contact sheet for each, best first.

    `images.csv` lists file, prototype and cosine similarity of each image. Without --data they are
    the images of the pretraining.

    Examples:

      designspace cluster results/mine --out clusters

      designspace cluster results/mine --data folder:photos --out clusters
    """
    import json

    import designspace as ds

    clusters = ds.cluster(
        run, out, data=data, device=device, threads=threads, download=download, cache=cache
    )
    counts = {"images": clusters.images, "prototypes": len(clusters.sizes)}
    print(json.dumps({"folder": str(clusters.folder), **counts}) if json_ else clusters)
