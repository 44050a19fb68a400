"""Images for a training loop of your own, as `train` prepares them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from designspace.errors import InputError, check_types
from designspace.runs import Recipe, RecipeLike, load_recipe
from designspace.runs.training_options import check_device, check_seed, check_val, parse_source

if TYPE_CHECKING:
    from torch import Tensor

    from designspace.data.batches import Batches


@dataclass(frozen=True, eq=False)
class Images:
    """Training and validation images of a recipe: cut, augmented and normalized.

    Attributes:
        classes: Class names, in the order of the labels.
        split: Validation images in words, as trials record them.
        recipe: The recipe, with its resolution.
        train_images: Number of training images.
        val_images: Number of validation images.

    Example:
        >>> import designspace as ds
        >>> images = ds.load_images("digits", "quick", resolution=8)
        >>> images.train_images, images.val_images, len(images.classes)
        (1438, 359, 10)
    """

    classes: tuple[str, ...]
    split: str
    recipe: Recipe
    train_images: int
    val_images: int
    _batches: "Batches"

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch; a remainder is left out, and differs between epochs."""
        return self._batches.steps_per_epoch

    def train(self, epoch: int = 0, seed: int = 0) -> "Iterator[tuple[Tensor, Tensor]]":
        """Yield the batches of one epoch, shuffled and augmented by (seed, epoch).

        Label smoothing and mixup of the recipe are left to your loop.

        Yields:
            Images, (batch, channels, side, side) float32, and labels, (batch,) int64, on the
            device.
        """
        check_seed(seed)
        if epoch < 0:
            raise InputError(f"epoch is {epoch}; epochs count from 0", "epoch")
        return self._batches.epoch(seed, epoch)

    def val(self) -> "Iterator[tuple[Tensor, Tensor]]":
        """Yield the validation images in order, without augmentation, as `train` yields them."""
        for images, labels in self._batches.validation():
            labelled = labels >= 0  # on a GPU the last batch is filled up
            yield (images, labels) if labelled.all() else (images[labelled], labels[labelled])


@check_types
def load_images(
    data: str,
    recipe: RecipeLike,
    *,
    resolution: int | None = None,
    channels: int = 3,
    val: str = "held-out",
    device: str = "auto",
    download: bool = False,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Images:
    """Load the images of a data set as `train` would by a recipe, for a loop of your own.

    They are decoded once, and kept in the same cache. Errors on `val()` are comparable with those
    of runs that are trained on the same data and split.

    Args:
        data: As of `designspace.train`.
        recipe: As of `designspace.train`; its batch size, augmentation and resolution count.
        resolution: Side of the images in pixels, unless the recipe has one: that of your models.
        channels: Channels of the images: 1 is grey, 3 is RGB, others are as the files have them.
        val: Validation images: `"held-out"` (of the training images) or `"test"`.
        device: Where the batches are: auto, cpu, cuda, cuda:N or mps.
        download: Fetch the data set if it is missing.
        cache: Folder of decoded images and downloads.
        progress: Show a progress bar on a terminal or in a notebook, lines elsewhere.

    Raises:
        InputError: There is no such data set or recipe, the recipe has another resolution or none
            is passed, or an image can't be read.

    Example:
        >>> import designspace as ds
        >>> model = ds.load_model("RegNetX-200MF").at(resolution=8, classes=10)
        >>> images = ds.load_images("digits", "quick", resolution=8, device="cpu")
        >>> network = model.build()
        >>> batch, labels = next(images.train(epoch=0, seed=0))
        >>> network(batch).shape, labels.shape
        (torch.Size([64, 10]), torch.Size([64]))
    """
    parse_source(data)
    check_val(val)
    check_device(device)
    if channels < 1:
        raise InputError(f"channels is {channels}; it must be at least 1", "channels")
    chosen = load_recipe(recipe)
    side = chosen.resolution if resolution is None else resolution
    if side is None:
        raise InputError(
            f"resolution is missing, and recipe {chosen.name} has none; give the side of your "
            "models' input, such as resolution=32",
            "resolution",
        )
    if chosen.resolution not in (None, side):
        raise InputError(
            f"resolution is {side}, but recipe {chosen.name} trains at {chosen.resolution} pixels",
            "resolution",
        )
    if not 1 <= side <= 8192:
        raise InputError(f"resolution is {side}; it must be from 1 to 8192", "resolution")
    chosen = chosen.at(side)

    import torch

    from designspace.api.progress import Display, progress_bar
    from designspace.data.batches import Batches
    from designspace.data.decode import geometries
    from designspace.data.prepare import prepare_images
    from designspace.training.devices import resolve_devices

    on = torch.device(resolve_devices(device)[0])
    with progress_bar("stopped; the same call resumes", progress) as bar:
        prepared = prepare_images(
            data,
            geometries(chosen, channels),
            None if cache is None else Path(cache),
            val=val,
            download=download,
            observer=Display(bar, silent=not progress),
        )
    return Images(
        classes=prepared.source.classes,
        split=prepared.split.words,
        recipe=chosen,
        train_images=prepared.cache.train_images,
        val_images=prepared.cache.val_images,
        _batches=Batches(prepared.cache, chosen, on),
    )
