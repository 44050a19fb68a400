"""What a run costs, held against exact figures and against what torch really keeps."""

import json
import math
import tarfile
from dataclasses import replace
from itertools import chain

import pytest
import torch
from PIL import Image
from small import SMALL

import designspace as ds
from designspace.arch import Body, Model, Skeleton, published
from designspace.arch.unit_suffix import format_bytes
from designspace.errors import InputError
from designspace.pretraining.cost_plan import (
    _elements,
    _traced,
    plan_pretraining,
    stored_elements,
)
from designspace.pretraining.images import measure_images
from designspace.pretraining.loader_plan import DECODED_PER_CORE, ImageSizes
from designspace.pretraining.recipe import load_recipe, parse_recipe, shipped_recipes
from designspace.pretraining.swav_network import trunk_of

# Trunks' parameters: own computation on torchvision's parts, SEER's table (facts B).
TRUNKS = {
    "8gf": 37_163_068,
    "16gf": 80_565_140,
    "32gf": 141_333_770,
    "64gf": 276_457_786,
    "128gf": 637_419_894,
    "256gf": 1_272_156_138,
    "10b": 9_323_934_872,
}


def test_seers_256gf_has_exactly_its_parameters(cli):
    done = cli("pretrain", "RegNetY-256GF", "--recipe", "seer-256gf", "--dry-run", "--json")
    made = json.loads(done.out)
    assert made["parameters"] == 1_431_032_042
    assert made["head_parameters"] == 154_779_904
    assert made["prototype_parameters"] == 4_096_000
    # 2 crops of 127.19G... at 224 pixels and 4 at 96: 2 * 254.38 + 4 * 46.87
    assert made["trunk_flops"] / 1e9 == pytest.approx(696.2, abs=0.1)
    assert made["iterations"] == 122_070
    text = cli("pretrain", "RegNetY-256GF", "--recipe", "seer-256gf", "--dry-run").out
    assert "1,431,032,042 parameters" in text


def test_a_plan_for_data_counts_the_images_that_are_trained_on(cli, tmp_path):
    done = cli(
        "pretrain", "RegNetY-400MF", "--recipe", "swav-small-batch", "--data", "digits", "--json",
        "--dry-run", "--epochs", "16", "--cache", tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    made = json.loads(done.out)
    assert (made["images"], made["iterations"]) == (1438, 1438 // 256 * 16)


def test_a_printed_recipe_is_a_file_to_start_from(cli, tmp_path):
    words = ("pretrain", "RegNetY-400MF", "--recipe", "seer-10b", "--print-recipe", "--lr", "4")
    assert json.loads(cli(*words, "--json").out)["lr"] == 4
    done = cli(*words)
    (tmp_path / "mine.yaml").write_text(done.out)
    assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe("seer-10b").override(lr=4)


@pytest.mark.parametrize("size", TRUNKS)
def test_every_seer_recipe_plans_its_trunk(size):
    made = plan_pretraining(published(f"RegNetY-{size.upper()}"), load_recipe(f"seer-{size}"))
    assert made.trunk_parameters == TRUNKS[size]
    assert made.batch_per_gpu == 16


def test_128gf_with_head_is_the_facts_figure():
    made = plan_pretraining(published("RegNetY-128GF"), load_recipe("seer-128gf"))
    assert made.parameters == pytest.approx(771.3e6, rel=1e-4)


def kept_by_torch(model, side, images):
    """Float32 numbers that autograd really keeps for each image."""
    trunk = trunk_of(model).train()
    weights = {t.untyped_storage().data_ptr() for t in (*trunk.parameters(), *trunk.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = trunk(torch.randn(images, 3, side, side))
    assert out.requires_grad
    return sum(kept.values()) / 4 / images


@pytest.mark.parametrize(("name", "side"), [("RegNetY-400MF", 96), ("RegNetX-400MF", 128)])
def test_predicted_activations_are_what_torch_keeps(name, side):
    model = published(name)
    assert stored_elements(model, side) == pytest.approx(kept_by_torch(model, side, 2), rel=0.08)


STAGES = ((1, 2), (8, 16), (1.0, 1.0), (8, 8))
AROUND = Skeleton(32, 10, 8, 1, (1, 2))
EXPANDED = (("t", (1.0, 4.0)), ("k", (3.0, 5.0)))


@pytest.mark.parametrize(
    ("body", "around"),
    [
        (Body(*STAGES, 0.25, "mbconv", EXPANDED, "silu"), replace(AROUND, head_width=32)),
        (Body(*STAGES, 0.0, "convnext", EXPANDED, "gelu"), replace(AROUND, stem="patch")),
        (Body(*STAGES, 0.0, "vanilla"), AROUND),
        (Body(*STAGES), replace(AROUND, stem="conv7_pool", stem_stride=4)),
        (Body(*STAGES, 0.25, activation="gelu"), AROUND),
    ],
    ids=["mbconv", "convnext", "vanilla", "resnet", "gelu"],
)
def test_other_networks_keep_what_is_predicted(body, around):
    model = Model("small", body, around)
    assert stored_elements(model, 32) == pytest.approx(kept_by_torch(model, 32, 8), rel=0.01)


def test_what_a_block_keeps_does_not_depend_on_how_it_is_counted():
    """The blocks of a RegNet, counted and traced, and so its recomputed segments."""
    model = published("RegNetX-200MF")
    counted, traced = _elements(model, 96), _traced(model, 96)
    assert [len(stage) for stage in traced.blocks] == list(model.body.depths)
    for one, other in zip(chain(*counted.blocks), chain(*traced.blocks), strict=True):
        assert one == pytest.approx(other, rel=0.01)
    # The image is in the trace only.
    assert traced.always - counted.always == pytest.approx(3 * 96**2, rel=0.01)


def test_checkpointing_and_sharding_save_memory():
    model = published("RegNetY-10B")
    recipe = load_recipe("seer-10b")
    made = plan_pretraining(model, recipe)
    assert made.memory.activations_checkpointed < made.memory.activations / 2
    assert made.memory.parameters * 496 == pytest.approx(4 * made.parameters, rel=1e-6)
    whole = plan_pretraining(model, recipe.model_copy(update={"shard": False}))
    assert whole.memory.total > 100 * 2**30 > made.memory.total


def test_recipes_are_checked():
    assert {"swav", "swav-small-batch", "quick", "seer-256gf", "seer-10b"} <= set(shipped_recipes())
    data = load_recipe("swav-small-batch").to_dict()
    for change, words in (
        ({"queue": {"length": 3000}}, "multiple of batch_size, 256"),
        ({"crops": [{"count": 1, "size": 32, "scale": [0.1, 1.0]}], "assign": 1}, "one crop"),
        ({"assign": 3}, "assign is 3"),
        ({"lr": -1.0}, "lr"),
        ({"epsilon": 0.1}, "unknown key"),
    ):
        with pytest.raises(InputError, match=words):
            parse_recipe({**data, **change}, "mine.yaml")
    assert parse_recipe(data, "again.yaml") == load_recipe("swav-small-batch")


def test_wrong_plans_are_refused(refused):
    assert "state" in refused("pretrain", "RegNetY-200MF", "--dry-run", "--recipe", "quick")
    words = ("pretrain", "RegNetY-200MF", "--dry-run", "--images")
    assert "too deep for crops of 12 pixels" in refused(*words, "999")
    assert "no pretraining recipe 'seer'" in refused(*words, "9", "--recipe", "seer")
    assert "images: 'many' is not a positive number" in refused(*words, "many")


def test_numbers_of_images_take_units():
    plans = [
        ds.plan_pretraining("RegNetY-256GF", "seer-256gf", images=images)
        for images in (1_300_000, "1.3M", "1.3e6")
    ]
    assert [plan.images for plan in plans] == [1_300_000] * 3


def test_a_billion_images_count_cores_network_and_disk():
    """SEER: 10^9 images of 108 KB are 108 TB; decoded to 256 x 256 x 3 bytes they are 197 TB."""
    plan = plan_pretraining(published("RegNetY-256GF"), "seer-256gf", images=10**9)
    loader = plan.loader
    assert loader.encoded == 108 * 10**12
    assert loader.cached == 10**9 * 256 * 256 * 3
    assert loader.network == pytest.approx(plan.images_per_second * 108_000, rel=1e-6)
    assert loader.cores == math.ceil(plan.images_per_second / DECODED_PER_CORE)
    assert "take 197 TB of disk" in str(loader)
    assert "from 108 TB (at 108 kB an image)" in str(loader)


SMALL_CROPS = parse_recipe(load_recipe("quick").to_dict() | {"batch_size": 32}, "small.yaml")


def test_files_are_measured_and_decoded_once(tmp_path):
    root = tmp_path / "images"
    for i in range(96):
        folder = root / ("train", "test")[i % 2] / ("a", "b")[i // 2 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.png")
    files = sorted((root / "train").glob("*/*.png"))
    sizes = measure_images(f"folder:{root}", tmp_path / "cache")
    assert sizes == ImageSizes(48, sum(f.stat().st_size for f in files) / 48, False, decoded=96)
    (tmp_path / "list.txt").write_text("\n".join(str(file) for file in files[:40]))
    assert measure_images(f"files:{tmp_path / 'list.txt'}", tmp_path / "cache").decoded == 40
    loader = plan_pretraining(SMALL, SMALL_CROPS, sizes).loader
    assert (loader.cores, loader.network) == (0, 0)
    assert loader.encoded == sum(f.stat().st_size for f in files)
    assert loader.cached == 96 * SMALL_CROPS.record_side**2 * 3
    assert "decoded once, from" in str(loader)
    assert " an image, measured) into a cache of" in str(loader)
    assert "stream" not in str(loader)


def test_shards_are_measured_and_streamed(tmp_path):
    for number in range(2):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "a.png")
        with tarfile.open(tmp_path / f"{number}.tar", "w") as archive:
            for image in range(20):
                archive.add(tmp_path / "a.png", f"{image}.png")
    size = sum(file.stat().st_size for file in tmp_path.glob("*.tar"))
    sizes = measure_images(f"webdataset:{tmp_path}/{{0..1}}.tar", tmp_path / "cache")
    assert sizes == ImageSizes(40, size / 40, True)
    text = str(plan_pretraining(SMALL, SMALL_CROPS, sizes).loader)
    assert f"(at {size / 40e3:.3g} kB an image, measured)" in text
    assert "cores decode a stream" in text
    assert "decoded once" not in text
    pipe = f"webdataset:pipe:cat {tmp_path}/{{0..1}}.tar"
    assert measure_images(pipe, tmp_path / "cache") == ImageSizes(40, None, True)


def test_bytes_have_readable_units():
    sizes = (0, 192, 999.4, 999.6, 2130, 21_600_000, 138e9, 108e12, 1e20)
    expected = ("0 B", "192 B", "999 B", "1 kB", "2.13 kB", "21.6 MB", "138 GB", "108 TB")
    assert tuple(map(format_bytes, sizes)) == (*expected, "100,000 PB")


def test_an_override_names_the_argument_that_does_not_divide_the_batch():
    recipe = load_recipe("quick")
    with pytest.raises(InputError, match=r"^accumulate is 3; batch_size, 128, must") as caught:
        recipe.override(accumulate=3)
    assert caught.value.argument == "accumulate"
    with pytest.raises(InputError, match=r"^batch_size is 33; it must be a multiple of acc"):
        recipe.override(accumulate=2).override(batch_size=33)
