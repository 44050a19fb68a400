"""Which images a run trains on, and which it measures its errors on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from designspace.data.sources import Items, Source
from designspace.errors import InputError
from designspace.runs.options import check_val

# The split stays the same when a run is repeated with another seed: errors stay comparable.
_SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Split:
    """The two sets of images, the choice that made them, and the same in words.

    The training images stand in a random order that never changes: images that lie side by side in
    the cache are a fair sample, also where they are read in chunks.
    """

    train: Items
    val: Items
    choice: str
    words: str


def split(source: Source, choice: str) -> Split:
    """Split a data set.

    Args:
        source: The data set.
        choice: `held-out` keeps a stratified share of the training images for validation, so that
            the test set stays unseen; `test` trains on all of them and measures on the test set.

    Raises:
        InputError: There is no such choice, no test set, or too few images.
    """
    check_val(choice)
    if choice == "test":
        if source.test is None:
            raise InputError(f"data {source.spec} has no test images; use --val held-out")
        return Split(_shuffled(source.train), source.test, choice, "test")
    out = _stratified(source.train.labels, source.held_out)
    if not 2 <= out.sum() <= len(out) - 2:
        raise InputError(
            f"data {source.spec}: {len(out)} training images are too few to hold out "
            f"{source.held_out:.0%} of them"
        )
    return Split(
        train=_shuffled(source.train.take(np.flatnonzero(~out))),
        val=source.train.take(np.flatnonzero(out)),
        choice=choice,
        words=f"held-out {source.held_out:.0%} of train, seed {_SPLIT_SEED}",
    )


def split_unseen(source: Source) -> Split:
    """Split for training whose end is measured, not chosen by: by the test images, where any are.

    Raises:
        InputError: As `split`.
    """
    return split(source, "test" if source.test is not None else "held-out")


def _shuffled(items: Items) -> Items:
    return items.take(np.random.default_rng(_SPLIT_SEED).permutation(len(items)))


def _stratified(labels: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Mask of the images held out: of each class of k images, round(share * k)."""
    out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        generator = np.random.default_rng((_SPLIT_SEED, int(label)))
        out[generator.permutation(rows)[: round(share * len(rows))]] = True
    return out
