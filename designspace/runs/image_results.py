"""Which validation images each model classified correctly: one bit an image, in correct.jsonl.

The file is a journal like trials.jsonl: a line per trial with the model's id and index, the number
of images, and the bits (NumPy's `packbits`, big-endian) in base64: 5,000 images are 840 characters,
50,000 are 8,340. It is optional; a run without it lacks only comparisons image by image.
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
# With more validation images, results of single images are kept on request only.
MAX_IMAGES = 50_000
# Percent of error; one of 50,000 images is 0.002.
_ERROR_TOLERANCE = 1e-6
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


def read_correct(run: Path, trials: Sequence[Trial] | None = None) -> dict[int, BoolArray]:
    """Return the images of each model by its index, of several trials the first.

    Args:
        run: The run folder.
        trials: Only the images of these trials: of equal id, seed and error. None for all.

    Raises:
        InputError: A line is damaged, or the numbers of images differ.
    """
    path = run / CORRECT_FILE
    results: dict[int, BoolArray] = {}
    wanted = None if trials is None else {trial.index: trial for trial in trials}
    for number, record in enumerate(journal.read(path, "validation images").records, start=1):
        index, bits = _index(record, path, number), _bits(record, path, number)
        if wanted is None or _is_of(record, bits, wanted.get(index)):
            results.setdefault(index, bits)
    if len({len(bits) for bits in results.values()}) > 1:
        raise InputError(f"validation images: {path}: the models have different numbers of images")
    return results


def _is_of(record: dict[str, Any], bits: BoolArray, trial: Trial | None) -> bool:
    """Whether a record is of a trial: a model killed before its trial was written has several."""
    return (
        trial is not None
        and trial.error is not None
        and (record.get("id"), record.get("seed")) == (trial.id, trial.seed)
        and abs(100.0 * float((~bits).mean()) - trial.error) < _ERROR_TOLERANCE
    )


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
