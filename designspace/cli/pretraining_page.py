"""The page of a pretraining, brought up to date by `pretrain` and `evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from designspace.pretrain.pretrain_run import PretrainRun


def update_page(run: Path, device: str, home: Path | None) -> Path | None:
    """Write report/index.html of a pretraining's folder, unless nothing has changed since.

    Args:
        run: The folder.
        device: Where to look through images, if pictures are missing or of an earlier iteration.
        home: Folder of image caches and downloads, or None for the user's cache folder.

    Returns:
        The page, or None where no epoch is through yet.
    """
    from designspace.pretrain.pretrain_run import PretrainRun

    folder = PretrainRun(run)
    index = run / "report" / "index.html"
    read = [folder.epochs_file, run / "evaluation" / "scores.json"]
    if index.is_file() and all(
        path.stat().st_mtime_ns < index.stat().st_mtime_ns for path in read if path.is_file()
    ):
        return index
    steps, epochs = folder.steps(), folder.epochs()
    if not epochs:
        return None

    from designspace.analysis.pretraining_findings import summarize_pretraining
    from designspace.evaluate.scores import read_table
    from designspace.report.pretraining_page import write_pretraining_page

    trunk = folder.model()
    findings = summarize_pretraining(
        name=run.resolve().name,
        model={"trunk": trunk.name, **trunk.body.to_dict()},
        recipe=folder.recipe().to_dict(),
        data=folder.data().model_dump(),
        steps=steps,
        epochs=epochs,
        scores=read_table(run / "evaluation"),
        pictures=_pictures(folder, steps[-1]["iteration"], device, home),
    )
    return write_pretraining_page(findings, run / "report")


def _pictures(
    folder: "PretrainRun", iteration: int, device: str, home: Path | None
) -> dict[str, Any] | None:
    """Pictures of the newest checkpoint, looked for anew where those that are kept are older."""
    import torch

    from designspace.data.cache import default_home
    from designspace.errors import InputError
    from designspace.pretrain.images import decoded
    from designspace.pretrain.nearest_neighbors import look, read_gallery, save_gallery
    from designspace.training.devices import resolve_devices

    kept = read_gallery(folder)
    if kept is not None and int(kept["iteration"]) >= iteration:
        return kept
    try:
        data = folder.data().source
        cache = decoded(data, folder.recipe(), home or default_home(), False, None)
    except InputError:  # the images have moved: the page says so, and stands without them
        return kept
    found = look(folder, cache, torch.device(resolve_devices(device)[0]))
    if found is not None:
        save_gallery(folder, found)
    return found
