"""Average precision as COCO defines it, by pycocotools."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from designspace.evaluation.detection.scenes import Scenes

# What pycocotools calls the kinds, what we call the metrics, and which of its numbers they are: at
# IoU 0.5 to 0.95, at 0.5 and at 0.75, over objects of all sizes, 100 detections an image.
_KINDS = (("bbox", "box"), ("segm", "mask"))
_NUMBERS = (("AP", 0), ("AP50", 1), ("AP75", 2))
METRICS = tuple(f"{ours} {name}" for _, ours in _KINDS for name, _ in _NUMBERS)


def average_precision(scenes: Scenes, found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return each of METRICS in percent.

    Args:
        scenes: What there is.
        found: What was detected, as COCO's results: image_id, category_id, bbox (x, y, width,
            height), segmentation (runs) and score.
    """
    if not found:
        return dict.fromkeys(METRICS, 0.0)
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):  # it talks
        truth = COCO()
        truth.dataset = _dataset(scenes)
        truth.createIndex()
        result = truth.loadRes([dict(one) for one in found])
        measured: dict[str, float] = {}
        for theirs, ours in _KINDS:
            run = COCOeval(truth, result, theirs)
            run.evaluate()
            run.accumulate()
            run.summarize()
            for name, place in _NUMBERS:
                measured[f"{ours} {name}"] = 100.0 * max(0.0, float(run.stats[place]))
    return measured


def _dataset(scenes: Scenes) -> dict[str, Any]:
    """All that is annotated, copied: pycocotools writes into it."""
    return {
        "info": {},
        "images": [dict(image) for image in scenes.images],
        "categories": [{"id": key, "name": name} for key, name in scenes.categories],
        "annotations": [
            {"iscrowd": 0, **one} for part in scenes.annotations.values() for one in part
        ],
    }
