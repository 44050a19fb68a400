"""COCO's average precision of boxes and masks, by pycocotools."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from designspace.evaluation.detection.scenes import Scenes

# pycocotools' name of each kind and ours, and indices into its statistics: IoU 0.5 to 0.95, 0.5 and
# 0.75, objects of all sizes, 100 detections per image.
_KINDS = (("bbox", "box"), ("segm", "mask"))
_INDICES = (("AP", 0), ("AP50", 1), ("AP75", 2))
METRICS = tuple(f"{ours} {name}" for _, ours in _KINDS for name, _ in _INDICES)


def average_precision(scenes: Scenes, detections: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return each of METRICS in percent.

    Args:
        scenes: Ground truth.
        detections: COCO's results: image_id, category_id, bbox (x, y, width, height), segmentation
            (runs) and score.
    """
    if not detections:
        return dict.fromkeys(METRICS, 0.0)
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):  # it prints
        truth = COCO()
        truth.dataset = _dataset(scenes)
        truth.createIndex()
        result = truth.loadRes([dict(one) for one in detections])
        precision: dict[str, float] = {}
        for kind, name in _KINDS:
            evaluation = COCOeval(truth, result, kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            for suffix, index in _INDICES:
                value = float(evaluation.stats[index])
                precision[f"{name} {suffix}"] = 100.0 * max(0.0, value)
    return precision


def _dataset(scenes: Scenes) -> dict[str, Any]:
    """COCO's data set, copied because pycocotools modifies it."""
    return {
        "info": {},
        "images": [dict(image) for image in scenes.images],
        "categories": [{"id": key, "name": name} for key, name in scenes.categories],
        "annotations": [
            {"iscrowd": 0, **one} for part in scenes.annotations.values() for one in part
        ],
    }
