"""Collect what the report of a pretraining is made from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.errors import InputError
from designspace.pretraining.pretrain_run import PretrainRun

if TYPE_CHECKING:
    from designspace.pretraining.neighbor_gallery import Gallery


def report_is_current(folder: Path | str) -> bool:
    """Whether report/index.html is newer than the journal of epochs and the scores."""
    folder = Path(folder)
    index = folder / "report" / "index.html"
    sources = [PretrainRun(folder).epochs_file, folder / "evaluation" / "scores.json"]
    return index.is_file() and all(
        path.stat().st_mtime_ns < index.stat().st_mtime_ns for path in sources if path.is_file()
    )


def collect_findings(
    folder: Path | str, device: str = "auto", cache: Path | str | None = None
) -> dict[str, Any] | None:
    """Return the arguments of `summarize_pretraining` apart from the scores.

    Args:
        folder: Of the pretraining.
        device: Where to compute nearest neighbors, if those on disk are of an earlier iteration.
        cache: Folder of image caches and downloads; None for the user's cache folder.

    Returns:
        name, model, recipe, data, steps, epochs, undecodable and pictures; None before the end of
        epoch 1.
    """
    run = PretrainRun(Path(folder))
    steps, epochs = run.steps(), run.epochs()
    if not epochs:
        return None
    model = run.model()
    return {
        "name": run.path.resolve().name,
        "model": {"trunk": model.name, **model.body.to_dict()},
        "recipe": run.recipe().to_dict(),
        "data": run.data().model_dump(),
        "steps": steps,
        "epochs": epochs,
        "undecodable": run.undecodable(),
        "pictures": _pictures(run, steps[-1]["iteration"], device, cache),
    }


def _pictures(
    run: PretrainRun, iteration: int, device: str, cache: Path | str | None
) -> "Gallery | None":
    """Nearest neighbors of the newest checkpoint, computed if those on disk are older."""
    import torch

    from designspace.data.stored_source import check_stored_source
    from designspace.pretraining.images import training_sample
    from designspace.pretraining.neighbor_gallery import (
        NUM_SEARCHED,
        nearest_neighbor_gallery,
        read_gallery,
        save_gallery,
    )
    from designspace.training.device_setup import is_out_of_memory
    from designspace.training.devices import resolve_devices

    saved = read_gallery(run)
    if saved is not None and int(saved["iteration"]) >= iteration:
        return saved
    computed_on = torch.device(resolve_devices(device)[0])
    try:
        folder, channels = None if cache is None else Path(cache), run.model().skeleton.channels
        source = run.data().source
        check_stored_source(source, run.path, folder)
        images = training_sample(source, NUM_SEARCHED, run.recipe(), channels, folder, computed_on)
        gallery = nearest_neighbor_gallery(run, *images, computed_on)
    except (InputError, MemoryError, RuntimeError) as error:
        # The images have moved, come from another's command, or need too much memory; the report
        # mentions that pictures are missing.
        if not isinstance(error, InputError) and not is_out_of_memory(error):
            raise
        return saved
    if gallery is not None:
        save_gallery(run, gallery)
    return gallery
