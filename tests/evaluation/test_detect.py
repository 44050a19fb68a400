"""Detection: COCO's metrics by hand, pasted scenes, COCO folders good and bad, the whole task."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("pycocotools")

from designspace.arch import Body, Model, Skeleton, published
from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.evaluation.detection import detection_task as task
from designspace.evaluation.detection.average_precision import METRICS, average_precision
from designspace.evaluation.detection.coco_dataset import read_coco
from designspace.evaluation.detection.detector_training import (
    detect,
    published_schedule,
    small_schedule,
    train_detector,
)
from designspace.evaluation.detection.mask_rcnn import Detector, PyramidTrunk, levels, mask_rcnn
from designspace.evaluation.detection.pasted_scenes import PasteOptions, paste_scenes
from designspace.evaluation.detection.scenes import Scenes, decode_mask, encode_mask, targets
from designspace.pretraining.swav_network import trunk_of

SMALL = Model(
    "small",
    Body((1, 1), (8, 16), (1.0, 1.0), (8, 8), 0.25),
    Skeleton(resolution=16, classes=10, stem_width=8, stem_stride=1, strides=(2, 2)),
)


def block(top, left, height, width, side=40):
    mask = np.zeros((side, side), np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def annotation(number, image, mask, kind=1):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
    return {
        "id": number, "image_id": image, "category_id": kind, "iscrowd": 0,
        "bbox": [float(v) for v in box], "area": float(mask.sum()),
        "segmentation": encode_mask(mask),
    }  # fmt: skip


def scenes(*masks):
    """One image of 40 by 40 a list of masks."""
    annotations, number = {}, 0
    for image, found in enumerate(masks):
        annotations[image] = tuple(annotation(number := number + 1, image, m) for m in found)
    images = tuple({"id": i, "height": 40, "width": 40} for i in range(len(masks)))
    return Scenes("made up", "0", ((1, "a"), (2, "b")), images, annotations, lambda row: None)


def found(mask, score, image=0, kind=1):
    made = annotation(1, image, mask, kind)
    return {
        **{k: made[k] for k in ("image_id", "category_id", "bbox", "segmentation")},
        "score": score,
    }


WHOLE = block(0, 0, 25, 25)
OTHER = block(10, 30, 8, 8)


@pytest.mark.parametrize(
    ("truth", "results", "expected"),
    [
        # All found, exactly.
        ([[WHOLE, OTHER]], [found(WHOLE, 0.9), found(OTHER, 0.8)], (100, 100, 100)),
        # One of two: precision is 1 at recalls 0 to 0.5, 51 of COCO's 101 points.
        ([[WHOLE, OTHER]], [found(WHOLE, 0.9)], (100 * 51 / 101,) * 3),
        # IoU 18 / 25 = 0.72: right at five of the ten thresholds, wrong at 0.75.
        ([[WHOLE]], [found(block(0, 0, 18, 25), 0.9)], (50, 100, 0)),
        # A surer wrong one first: precision is 1/2 at every recall.
        ([[WHOLE]], [found(OTHER, 0.9), found(WHOLE, 0.8)], (50, 50, 50)),
        # A less sure wrong one after: every recall is reached before it.
        ([[WHOLE]], [found(WHOLE, 0.9), found(OTHER, 0.8)], (100, 100, 100)),
        # The same object found twice: the second is wrong, and comes after.
        ([[WHOLE], [WHOLE]], [found(WHOLE, 0.9), found(WHOLE, 0.8), found(WHOLE, 0.7, 1)],
         ((51 * 1 + 50 * 2 / 3) / 1.01,) * 3),
        # Of another kind: no object of that kind exists, and kind 1 is missed.
        ([[WHOLE]], [found(WHOLE, 0.9, kind=2)], (0, 0, 0)),
        ([[WHOLE]], [], (0, 0, 0)),
    ],
)  # fmt: skip
def test_average_precision_by_hand(truth, results, expected, capsys):
    made = average_precision(scenes(*truth), results)
    assert list(made) == list(METRICS)
    for kind in ("box", "mask"):
        got = [made[f"{kind} {name}"] for name in ("AP", "AP50", "AP75")]
        assert got == pytest.approx(list(expected)), kind
    assert capsys.readouterr().out == ""


def test_boxes_and_masks_are_measured_apart():
    """An L has the box of the whole square, but 0.72 of its pixels."""
    corner = WHOLE - block(0, 0, 7, 25)
    made = average_precision(
        scenes([WHOLE]), [{**found(corner, 0.9), "bbox": [0.0, 0.0, 25.0, 25.0]}]
    )
    assert (made["box AP"], made["mask AP"]) == pytest.approx((100, 50))


def test_segmentations_of_all_kinds_become_the_same_mask():
    mask = block(3, 5, 10, 20)
    outline = [[5.0, 3.0, 25.0, 3.0, 25.0, 13.0, 5.0, 13.0]]
    flat = mask.T.ravel().tolist()
    runs, last = [0], 0
    for value in flat:
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    for made in (outline, {"size": [40, 40], "counts": runs}, encode_mask(mask)):
        assert np.array_equal(decode_mask(made, 40, 40), mask)
    beyond = [[-900.0, 3.0, 9e9, 3.0, 9e9, 13.0, -900.0, 13.0]]
    assert np.array_equal(decode_mask(beyond, 40, 40), block(3, 0, 10, 40))


def pasted(count=6, seed=0, ink=False, **more):
    generator = np.random.default_rng(3)
    records = generator.integers(0, 255, (7, 16, 16, 3)).astype(np.uint8)
    how = PasteOptions(48, 10, 20, ink=ink, seed=seed, **more)
    return paste_scenes(records, np.arange(7) % 3, ("x", "y", "z"), count, how, 0, "pasted")


def test_pasted_scenes_follow_from_the_seed():
    a, b, c = pasted(), pasted(), pasted(seed=1)
    assert a.content == b.content != c.content
    assert pasted(9).annotations[5] == a.annotations[5]  # more scenes begin with the same
    for row in range(6):
        assert np.array_equal(a.pixels(row), b.pixels(row))
        assert a.objects(row) == b.objects(row)


@pytest.mark.parametrize("ink", [False, True])
def test_pasted_boxes_hold_their_masks_and_pixels_are_the_sources(ink):
    made = pasted(ink=ink)
    assert {len(made.objects(row)) for row in range(6)} <= {1, 2, 3, 4, 5}
    for row in range(6):
        aims = targets(made, row)
        assert (aims.masks.sum(axis=0) <= 1).all()  # what lies in front hides what lies behind
        for mask, box, one in zip(aims.masks, aims.boxes, made.objects(row), strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert box.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert one["area"] == mask.sum() >= 0.7 * 12
            assert 1 <= one["category_id"] <= 3


def coco_folder(root, change=None, **parts):
    """A folder of two parts with two images each, and an object in each image."""
    rng = np.random.default_rng(0)
    for part in ("train2017", "val2017"):
        (root / part).mkdir(parents=True)
        data = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "cat"}]}
        for i in range(2):
            pixels = rng.integers(0, 255, (32, 48, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / part / f"{i}.png")
            data["images"].append(
                {"id": 10 + i, "file_name": f"{i}.png", "height": 32, "width": 48, "license": 1}
            )
            data["annotations"].append(
                {
                    "id": i, "image_id": 10 + i, "category_id": 7, "area": 64, "iscrowd": 0,
                    "bbox": [4, 6, 8, 8], "segmentation": [[4, 6, 12, 6, 12, 14, 4, 14]],
                }
            )  # fmt: skip
        if change is not None and part == "train2017":
            change(data)
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(data))
    return root


def test_a_coco_folder_is_read(tmp_path):
    train, val = read_coco(coco_folder(tmp_path))
    assert (train.name, val.name, len(train)) == ("train2017", "val2017", 2)
    assert train.categories == ((7, "cat"),)
    assert np.array_equal(train.pixels(1), np.asarray(Image.open(tmp_path / "train2017" / "1.png")))
    aims = targets(train, 0)
    assert aims.boxes.tolist() == [[4, 6, 12, 14]]
    assert aims.labels.tolist() == [1]
    assert aims.masks.sum() == 64
    assert aims.masks[0, 6:14, 4:12].all()


def test_crowds_and_boxes_without_area_are_not_trained_on(tmp_path):
    def change(data):
        data["annotations"][0]["iscrowd"] = 1
        data["annotations"][1]["bbox"] = [4, 6, 0, 8]

    train, _ = read_coco(coco_folder(tmp_path, change))
    assert [len(targets(train, row).labels) for row in (0, 1)] == [0, 0]


def first(key, part="annotations"):
    def put(value):
        return lambda data: data[part][0].update({key: value})

    return put


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("images"), "images: missing"),
        (lambda d: d["annotations"][0].pop("bbox"), r"annotations\[0\].bbox: missing"),
        (first("bbox")([1, 2, 3]), r"annotations\[0\].bbox: "),
        (first("bbox")([1, 2, -3, 4]), "annotation 0: bbox is"),
        (first("bbox")("wide"), r"annotations\[0\].bbox: must be .*list"),
        (first("image_id")(99), "annotation 0: there is no image 99"),
        (first("category_id")(99), "annotation 0: there is no category 99"),
        (first("iscrowd")(5), r"annotations\[0\].iscrowd: must be"),
        (first("area")(float("nan")), r"annotations\[0\].area: must be"),
        (
            first("segmentation")([[1, 2, 3, 4]]),
            "0: segmentation has an invalid polygon",
        ),
        (first("segmentation")([[1, 2, 3, 4, 5, "x"]]), "segmentation has an invalid polygon"),
        (first("segmentation")({"size": [32, 48], "counts": [5, 5]}), "not runs of 1536 pixels"),
        (first("segmentation")({"size": [32, 48], "counts": "zzzz"}), "not runs of 1536 pixels"),
        (first("segmentation")({"size": [9, 9], "counts": []}), r"runs with size \[32, 48\]"),
        (first("segmentation")(None), "segmentation must be"),
        (first("id")(1), "annotations has the id 1 twice"),
        (first("id", "images")(11), "images has the id 11 twice"),
        (first("file_name", "images")("../val2017/0.png"), "is not in"),
        (first("file_name", "images")("/etc/passwd"), "is not in"),
        (first("file_name", "images")("none.png"), "1 of 2 images are not in"),
        (first("width", "images")(0), r"images\[0\].width: must be"),
        (first("name", "categories")("dog"), "categories of train2017 and val2017 differ"),
    ],
)
def test_bad_coco_files_get_one_message(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as caught:
        read_coco(coco_folder(tmp_path, change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON: .*line 1"), ("[1]", "must be a map"), ("[" * 10**5, "is not JSON")],
)
def test_files_without_annotations_are_refused(tmp_path, text, message):
    root = coco_folder(tmp_path)
    (root / "annotations" / "instances_val2017.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_coco(root)


def test_folders_that_are_not_cocos(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_coco(tmp_path / "none")
    with pytest.raises(InputError, match=r"0 files annotations/instances_train\*\.json"):
        read_coco(tmp_path)
    root = coco_folder(tmp_path / "a")
    (root / "val2017").rename(root / "other")
    with pytest.raises(InputError, match="describes images in val2017/, which is missing"):
        read_coco(root)


def test_images_that_are_not_as_annotated(tmp_path):
    train, _ = read_coco(coco_folder(tmp_path, first("width", "images")(32)))
    with pytest.raises(InputError, match=r"is 48 by 32 pixels; .* says 32 by 32"):
        train.pixels(0)
    (tmp_path / "train2017" / "1.png").write_text("no image")
    with pytest.raises(InputError, match=r"1\.png is not an image"):
        train.pixels(1)


def test_four_stages_go_out_and_nothing_is_frozen():
    model = published("RegNetY-400MF")
    assert levels(model) == ((0, 4), (1, 8), (2, 16), (3, 32))
    weights = trunk_of(model).state_dict()
    trunk = PyramidTrunk(model, weights, 32).train()
    maps = trunk(torch.randn(2, 3, 64, 64))
    assert {k: tuple(v.shape[1:]) for k, v in maps.items()} == {
        "0": (32, 16, 16), "1": (32, 8, 8), "2": (32, 4, 4), "3": (32, 2, 2), "pool": (32, 1, 1),
    }  # fmt: skip
    assert all(p.requires_grad for p in trunk.parameters())
    assert all(m.training for m in trunk.modules())
    assert torch.equal(trunk.stem[0].weight, weights["stem.0.weight"])
    last = trunk.stages[3].state_dict()["block4-5.f.c.0.weight"]
    assert torch.equal(last, weights["trunk_output.block4.block4-5.f.c.0.weight"])
    # Two stages of one resolution give one level.
    flat = Model("flat", SMALL.body, Skeleton(8, 10, 8, 1, (1, 1)))
    assert levels(flat) == ((1, 1),)


def test_the_published_detector_is_torchvisions():
    """Heads of the same shapes as maskrcnn_resnet50_fpn_v2's plain sibling."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    size = published_schedule().size
    ours = mask_rcnn(published("RegNetY-400MF"), None, size, 90, (0.0,) * 3, (1.0,) * 3)
    for part in ("rpn", "roi_heads"):
        shapes = [
            {k: tuple(v.shape) for k, v in getattr(one, part).state_dict().items()}
            for one in (ours, theirs)
        ]
        assert shapes[0] == shapes[1]
    assert ours.rpn._pre_nms_top_n == theirs.rpn._pre_nms_top_n
    assert ours.rpn.anchor_generator.sizes == theirs.rpn.anchor_generator.sizes
    assert ours.roi_heads.fg_bg_sampler.batch_size_per_image == 512


def test_the_schedule_is_the_published_one():
    made = published_schedule()
    assert [made.learning_rate(i) for i in (0, 50, 100, 59_999, 60_000, 80_000)] == pytest.approx(
        [2e-5, 0.01, 0.02, 0.02, 0.002, 0.0002]
    )
    assert (made.batch, made.weight_decay, made.size.shorter[-1]) == (16, 1e-4, 800)


def tiny():
    size = Detector(16, 16, 1, 16, 8, (16, 16), 10, (48,), 96)
    return small_schedule(48).__class__("tiny", size, 4, 2, 0.01, 1)


def test_training_follows_from_the_seed_and_finds_are_well_formed():
    made, device = pasted(), torch.device("cpu")
    statistics = ((128.0,) * 3, (64.0,) * 3)
    states = [
        train_detector(SMALL, None, made, tiny(), statistics, seed, device, lambda text: None)
        for seed in (0, 0, 1)
    ]
    a, b, c = (network.state_dict() for network in states)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(not torch.equal(a[key], c[key]) for key in a)
    states[0].roi_heads.score_thresh = 0.0
    results = detect(states[0], made, 2, device)
    assert results
    for one in results[:5]:
        assert one["category_id"] in (1, 2, 3)
        assert one["segmentation"]["size"] == [48, 48]
    average_precision(made, results)


def test_autocast_computes_the_trunk_in_16_bits():
    made, device, seen = pasted(), torch.device("cpu"), set()
    network = train_detector(
        *(SMALL, None, made, tiny(), ((128.0,) * 3, (64.0,) * 3), 0, device, lambda text: None),
        autocast=torch.bfloat16,
    )
    conv = next(m for m in network.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    conv.register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    network.roi_heads.score_thresh = 0.0
    assert detect(network, made, 2, device, torch.bfloat16)
    assert seen == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_a_loss_that_is_not_finite_is_reported():
    schedule = tiny().__class__(**{**vars(tiny()), "lr": 1e30})
    with pytest.raises(InputError, match=r"non-finite by iteration .* smaller lr than 1e"):
        train_detector(
            SMALL, None, pasted(), schedule, ((128.0,) * 3, (64.0,) * 3), 0,
            torch.device("cpu"), lambda text: None,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Random weights of a small trunk, as a file."""
    home = tmp_path_factory.mktemp("detect")
    write_model(SMALL, home / "model.yaml")
    torch.manual_seed(0)
    torch.save(trunk_of(SMALL).state_dict(), home / "trunk.pt")
    return home


def words(place, *more):
    return [
        "evaluate", place / "trunk.pt", "--model", place / "model.yaml", "--task", "detect",
        "--threads", "1", "--seeds", "2", "--cache", place / "cache", *more,
    ]  # fmt: skip


def test_detection_is_compared_with_a_random_trunk_and_resumes(place, cli, monkeypatch):
    monkeypatch.setattr(task, "_SCENES", (16, 6))
    more = ("--data", "pasted:digits", "--iterations", "2", "--json")
    done = cli(*words(place, *more))
    assert done.code == 0, done.err
    scores = json.loads(done.out)
    assert [s["metric"] for s in scores] == [*METRICS, *METRICS]
    assert scores[0]["what"] == "pretrained, 2 iterations"
    assert scores[6]["what"].startswith("random trunk (= supervised from scratch)")
    assert all("pasting" in s["split"] and s["data"] == "pasted:digits" for s in scores)
    assert all(len(s["values"]) == 2 for s in scores)
    assert "scaled down: 2 iterations of 8 images, shorter side 48" in done.err
    again = cli(*words(place, *more))
    assert again.out == done.out
    assert "seed" not in again.err
    kept = json.loads((place / "evaluation" / "scores.json").read_text())
    assert kept == scores


def test_coco_data_are_evaluated(place, cli, tmp_path):
    root = coco_folder(tmp_path / "data")
    done = cli(*words(place, "--data", f"coco:{root}", "--iterations", "1", "--seeds", "1"))
    assert done.code == 0, done.err
    assert "box AP" in done.out
    assert "mask AP50" in done.out


def test_wrong_requests_are_refused(place, refused, tmp_path, monkeypatch):
    assert "coco:PATH" in refused(*words(place, "--data", "coco:"))
    assert "no such folder" in refused(*words(place, "--data", f"coco:{tmp_path / 'none'}"))
    assert "schedule is 'long'; it must be one of auto" in refused(
        *words(place, "--data", "digits", "--schedule", "long")
    )
    assert "iterations is 0" in refused(*words(place, "--data", "digits", "--iterations", "0"))
    assert "lr is 0" in refused(*words(place, "--data", "digits", "--lr", "0"))
    assert "'numbers', an unknown data set" in refused(*words(place, "--data", "pasted:numbers"))
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    assert "pip install 'designspace-regnet[detect]'" in refused(*words(place, "--data", "digits"))


@pytest.mark.parametrize("change", [{"iscrowd": 1}, {"bbox": [0.1, 0.1, 0.5, 0.5]}])
def test_images_without_an_object_to_train_on_are_refused(change):
    """Boxes as fractions of the image, and crowds alone."""
    made = scenes([block(2, 3, 10, 12)], [])
    changed = {i: tuple(one | change for one in some) for i, some in made.annotations.items()}
    with pytest.raises(InputError, match="made up: none of 2 training images has an object"):
        train_detector(
            *(SMALL, None, replace(made, annotations=changed), small_schedule(16)),
            *(((0.0,) * 3, (1.0,) * 3), 0, torch.device("cpu"), print),
        )
