"""Which validation images each model classified correctly: one bit an image, in correct.jsonl.

The file is a journal like trials.jsonl: a line per trial with the model's id and index, the number
of images, and the bits (NumPy's `packbits`, big-endian) in base64: 5,000 images are 840 characters.
It is optional; a run without it lacks only comparisons image by image.
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from designspace.errors import InputError
from designspace.io import journal
from designspace.runs.trial import Trial

CORRECT_FILE = "correct.jsonl"
BoolArray = NDArray[np.bool_]


def append_correct(run: Path, results: Sequence[tuple[Trial, BoolArray]]) -> None:
    """Append which images each trial's model classified correctly.

    Args:
        run: The run folder.
        results: Trials, each with its images in the order of the validation split, (images,).

    Raises:
        InputError: The file cannot be written.
    """
    records = [
        {
            "id": trial.id,
            "index": trial.index,
            "seed": trial.seed,
            "images": len(correct),
            "correct": base64.b64encode(np.packbits(correct).tobytes()).decode(),
        }
        for trial, correct in results
    ]
    journal.append(run / CORRECT_FILE, records)


def read_correct(run: Path) -> dict[int, BoolArray]:
    """Return the images of each model by its index, of several trials the first.

    Raises:
        InputError: A line is damaged, or the numbers of images differ.
    """
    path = run / CORRECT_FILE
    results: dict[int, BoolArray] = {}
    for number, record in enumerate(journal.read(path, "validation images").records, start=1):
        results.setdefault(_index(record, path, number), _bits(record, path, number))
    if len({len(bits) for bits in results.values()}) > 1:
        raise InputError(f"validation images: {path}: the models have different numbers of images")
    return results


def _index(record: dict[str, Any], path: Path, number: int) -> int:
    index = record.get("index")
    if not isinstance(index, int) or index < 0:
        raise InputError(f"validation images: {path}, line {number}: index is {index!r}")
    return index


def _bits(record: dict[str, Any], path: Path, number: int) -> BoolArray:
    try:
        packed = np.frombuffer(base64.b64decode(record["correct"], validate=True), dtype=np.uint8)
        images = int(record["images"])
        if len(packed) != -(-images // 8):
            raise ValueError(f"{len(packed)} bytes for {images} images")
        return np.unpackbits(packed, count=images).astype(bool)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise InputError(f"validation images: {path}, line {number}: {error!r}") from None
