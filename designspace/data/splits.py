"""Training and validation images of a data set."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from designspace.data.datasets import Items, Source
from designspace.errors import InputError, MissingLabels, counted
from designspace.runs.training_options import check_val

# Independent of the run's seed, so that errors of runs with other seeds are comparable.
_SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Split:
    """Training and validation images.

    Training images are in a fixed random order, so that adjacent images in the cache are a fair
    sample even when they are read in chunks.

    Attributes:
        train: Training images.
        val: Validation images.
        choice: held-out or test.
        words: The same in words, as each trial records it.
        notes: Messages for the user.
    """

    train: Items
    val: Items
    choice: str
    words: str
    notes: tuple[str, ...] = ()


class NoValidation(InputError):
    """Labelled images leave none to validate on.

    Attributes:
        reason: Why, in words.
    """

    def __init__(self, source: Source, reason: str, advice: str = "") -> None:
        super().__init__(f"data is {source.spec!r}; {reason}{advice}", "data")
        self.reason = reason


def split(source: Source, choice: str) -> Split:
    """Split a data set.

    Args:
        source: The data set.
        choice: `held-out` holds out a stratified part of the training images, so that the test
            images stay unseen; `test` trains on all of them and measures on the test images.

    Raises:
        NoValidation: Validation would have fewer than two classes.
        InputError: There is no such choice, or there are no test images.
    """
    check_val(choice)
    check_labels(source)
    notes = source.notes
    if choice == "test":
        if source.test is None:
            reason = source.no_test or f"data is {source.spec!r}, which has no test images"
            raise InputError(f'{reason}; use val="held-out"', "val")
        train, val, words = source.train, source.test, "test"
    else:
        held_out, notes = _hold_out(source)
        train = source.train.take(np.flatnonzero(~held_out))
        val = source.train.take(np.flatnonzero(held_out))
        words = f"held-out {source.held_out:.0%} of train, seed {_SPLIT_SEED}"
    if len(np.unique(val.labels)) < 2:
        raise NoValidation(
            source,
            f"its {len(val)} validation images are of one class, so that every model would be "
            "right",
            "; add images of other classes",
        )
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(train))
    return Split(train.take(order), val, choice, words, notes)


def check_labels(source: Source) -> None:
    """Raise MissingLabels if the images have none."""
    if source.no_labels:
        raise MissingLabels(
            f"data is {source.spec!r}, images without labels: {source.no_labels}. Without labels "
            "they serve for pretraining, and for the tasks features and labelfree",
            "data",
        )


def split_unseen(source: Source) -> Split:
    """Split for a final measurement: by the test images if there are any, else held-out.

    Images without labels are all training images.

    Raises:
        InputError: As `split`.
    """
    if source.no_labels:
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(source.train))
        none = source.train.take(order[:0])
        return Split(source.train.take(order), none, "none", "no held-out images", source.notes)
    if source.test is not None:
        return split(source, "test")
    parts = split(source, "held-out")
    if not source.no_test:
        return parts
    return replace(parts, notes=(*parts.notes, f"{source.no_test}; held-out images are used"))


def without_labels(source: Source, reason: str) -> Source:
    """Return a data set as one of unlabelled images, its training images, and say why."""
    train = replace(source.train, labels=np.full_like(source.train.labels, -1))
    notes = (*source.notes, f"the labels of {source.spec} are not used: {reason}")
    return Source(source.spec, (), train, None, no_labels=reason, notes=notes)


def _hold_out(source: Source) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return the mask of the held-out images, (n,), and messages.

    Of a class of k images it is round(fraction * k), but at least one of two or more.
    """
    labels, fraction = source.train.labels, source.held_out
    mask = np.zeros(len(labels), dtype=bool)
    single = 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        single += len(rows) == 1
        count = max(round(fraction * len(rows)), min(1, len(rows) - 1))
        generator = np.random.default_rng((_SPLIT_SEED, int(label)))
        mask[generator.permutation(rows)[:count]] = True
    notes = list(source.notes)
    if mask.mean() > 1.5 * fraction:
        notes.append(
            f"{mask.sum()} of {len(mask)} images ({mask.mean():.0%}) are held out, to have at "
            "least one per class"
        )
    if single:
        notes.append(
            f"{counted(single, 'class has', 'classes have')} a single image, which is "
            f"trained on, not validated"
        )
    if not mask.any():
        raise NoValidation(source, "no class has two images, so none can be held out")
    return mask, tuple(notes)
