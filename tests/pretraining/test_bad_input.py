"""What people get wrong with `pretrain` and `evaluate`: one message each, and nothing is begun."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from small import SMALL

from designspace.arch import Body, Model, Skeleton
from designspace.arch.model_file import write_model
from designspace.pretraining.recipe import load_recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    home = tmp_path_factory.mktemp("bad")
    write_model(SMALL, home / "model.yaml")
    deep = Model(
        "deep",
        Body((1,) * 5, (8, 8, 8, 8, 8), (1.0,) * 5, (8,) * 5, 0.0),
        Skeleton(resolution=32, classes=10, stem_width=8, stem_stride=1, strides=(2,) * 5),
    )
    write_model(deep, home / "deep.yaml")
    return home


def words(place, *more, model="model.yaml", data="digits"):
    return [
        "pretrain", place / model, "--data", data, "--cache", place / "cache", "--threads", "1",
        "--epochs", "1", *more,
    ]  # fmt: skip


def recipe(place, name, **changes):
    data = load_recipe("quick").to_dict() | changes
    (place / name).write_text(yaml.safe_dump(data))
    return place / name


def test_a_trunk_too_deep_for_the_crops(place, refused):
    said = refused(*words(place, "--out", place / "x", model="deep.yaml"))
    assert "deep is too deep for crops of 12 pixels: its strides multiply to 32" in said
    assert not (place / "x").exists()


@pytest.fixture(scope="module")
def many(place, command):
    """One epoch of digits with more prototypes than a batch has embeddings: run and told."""
    small = recipe(place, "many.yaml", prototypes=300)
    done = command(*words(place, "--recipe", small, "--out", place / "many"))
    assert done.code == 0, done.err
    return place / "many", done.err


def test_more_prototypes_than_embeddings_are_warned_of_with_the_reason(many):
    assert "300 prototypes share 128 embeddings per iteration: fewer embeddings" in many[1]


def test_a_queue_that_is_no_multiple_of_the_batch(place, refused):
    odd = recipe(place, "odd.yaml", queue={"length": 200, "from_epoch": 0})
    said = refused(*words(place, "--recipe", odd, "--out", place / "x"))
    assert "queue.length is 200; it must be a multiple of batch_size, 128" in said


def test_fewer_images_than_a_batch(place, refused, many):
    said = refused(*words(place, "--batch-size", "2048", "--out", place / "x"))
    assert "--batch-size is 2048; data digits has only 1,438 training images; choose a" in said
    assert not (place / "x").exists()


def test_a_single_image_leaves_no_folder_behind(place, cli, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "one.png")
    (tmp_path / "list.txt").write_text("one.png\n")
    data = f"files:{tmp_path / 'list.txt'}"
    done = cli(*words(place, "--out", tmp_path / "deep" / "x", data=data))
    assert done.code == 2
    assert "has only 1 training image; choose a smaller batch, or add images" in done.err
    assert not (tmp_path / "deep").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    cli(*words(place, "--out", tmp_path / "mine", data=data))
    assert (tmp_path / "mine" / "notes.txt").exists()


@pytest.mark.parametrize(
    ("words_", "said"),
    [
        (("--seed", "-1"), "seed is -1; it must be from 0 to 2**63 - 1"),
        (("--seed", str(2**64)), f"seed is {2**64}; it must be"),
        (("--threads", "0"), "threads is 0; it must be from 1 to 1024"),
        (("--threads", "100000"), "threads is 100000; it must be from 1 to 1024"),
        (("--batch-size", "0"), "--batch-size is 0; it must be at least 2"),
        (("--epochs", "0"), "epochs is 0; it must be at least 1"),
        (("--lr", "inf"), "lr is inf; it must be above 0 and at most 1000"),
        (("--lr", "-1"), "lr is -1; it must be above 0 and at most 1000"),
        (("--accumulate", "3"), "--accumulate is 3; batch_size, 128, must be a multiple of it"),
        (("--gpus", "2"), "--gpus has an effect with --dry-run alone"),
        (("--dry-run", "--images", "9"), "--images is 9, but digits has a number of its own"),
        (("--dry-run", "--from", "nowhere"), "nowhere"),
        (("--dry-run", "--log", "foo"), "--log is 'foo'"),
        (("--dry-run", "--seed", "-1"), "--seed is -1"),
        (("--dry-run", "--device", "foo"), "--device is 'foo'"),
        (("--dry-run", "--threads", "0"), "--threads is 0"),
        (("--dry-run", "--lr", "-1"), "--lr is -1"),
        (("--dry-run", "--gpus", "0"), "gpus is 0; it must be above 0"),
        (("--dry-run", "--teraflops", "0"), "teraflops is 0; it must be above 0"),
    ],
)
def test_options_that_can_not_be_are_named_and_leave_nothing_behind(place, refused, words_, said):
    found = refused(*words(place, *words_, "--out", place / "never"))
    assert said in found
    assert not (place / "never").exists()


def test_mistakes_in_a_recipe_are_named_by_their_place(place, refused):
    for changes, said in (
        ({"crops": [{"count": 2, "size": 1, "scale": [0.1, 1]}]}, ": crops[0].size: must be"),
        ({"checkpoint_after": "blok"}, ": checkpoint_after: must be 'block'"),
        ({"x[y]": 1}, ": x[y]: unknown key"),
    ):
        odd = recipe(place, "odd.yaml", **changes)
        assert said in refused(*words(place, "--recipe", odd, "--out", place / "never"))
    said = refused(*words(place, "--recipe", place, "--out", place / "never"))
    assert "is a folder; name a .yaml file" in said


def test_a_rate_that_ends_above_its_peak(place, refused):
    odd = recipe(place, "rising.yaml", final_lr=1.5)
    said = refused(*words(place, "--recipe", odd, "--out", place / "x"))
    assert "final_lr is 1.5; it must be at most lr, 0.8" in said


def images(root, each=70):
    rng = np.random.default_rng(0)
    for kind in ("a", "b"):
        (root / "train" / kind).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / "train" / kind / f"{i:03}.png")
    return root


def test_corrupt_images_are_counted_and_named(place, cli, tmp_path, many):
    root = images(tmp_path / "data")
    whole = (root / "train" / "a" / "000.png").read_bytes()
    (root / "train" / "a" / "000.png").write_bytes(whole[: len(whole) // 2])
    (root / "train" / "b" / "001.png").write_text("not an image")
    for verb in (
        words(place, "--out", tmp_path / "x", data=f"folder:{root}"),
        ["evaluate", many[0], "--task", "knn", "--data", f"folder:{root}", "--cache",
         place / "cache"],
    ):  # fmt: skip
        done = cli(*verb)
        assert done.code == 2
        said = done.err.splitlines()[-1]
        assert said.startswith("designspace: ")
        assert "2 of 140 images can't be read" in said
        assert "000.png" in said
        assert "001.png (not an image)" in said
        assert "Replace or remove them" in said


def test_a_checkpoint_of_another_model_names_keys_and_shapes(place, refused, tmp_path, many):
    other = Model("other", Body((1, 1), (8, 24), (1.0, 1.0), (8, 8), 0.25), SMALL.skeleton)
    write_model(other, tmp_path / "other.yaml")
    said = refused(
        "evaluate", many[0] / "trunk.pt", "--model", tmp_path / "other.yaml", "--data",
        "digits", "--cache", place / "cache",
    )  # fmt: skip
    assert "does not fit other" in said
    assert (
        "shapes differ: trunk_output.block2.block2-0.proj.0.weight (16, 8, 1, 1) for (24, 8" in said
    )
    said = refused(
        "evaluate", many[0] / "trunk.pt", "--model", place / "deep.yaml", "--data", "digits"
    )
    assert "missing keys: trunk_output.block3.block3-0" in said


def test_another_trunk_in_the_folder(place, refused, tmp_path, many):
    other = Model("other", Body((1, 1), (8, 24), (1.0, 1.0), (8, 8), 0.25), SMALL.skeleton)
    write_model(other, place / "other.yaml")
    small = place / "many.yaml"
    said = refused(*words(place, "--recipe", small, "--out", many[0], model="other.yaml"))
    assert "holds another pretraining (another trunk" in said


def test_torn_checkpoints_are_reported_by_evaluate_too(place, cli, refused, tmp_path, many):
    shutil.copytree(many[0], tmp_path / "torn")
    asked = ["evaluate", tmp_path / "torn", "--cache", place / "cache", "--seeds", "1", "--threads",
             "1", "--scratch-epochs", "1"]  # fmt: skip
    kept = tmp_path / "torn" / "checkpoint.pt"
    whole = kept.read_bytes()
    shutil.copy(kept, tmp_path / "torn" / "checkpoint.before.pt")
    kept.write_bytes(whole[: len(whole) // 2])
    done = cli(*asked)
    assert done.code == 0, done.err
    assert "checkpoint.pt is damaged" in done.err
    (tmp_path / "torn" / "checkpoint.before.pt").write_bytes(b"")
    assert "has no undamaged checkpoint" in refused(*asked)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "tpu"])
def test_no_such_device(place, refused, device, many):
    expected = "it must be auto, cpu" if device == "tpu" else "torch finds no CUDA device here"
    assert expected in refused(*words(place, "--device", device, "--out", place / "x"))
    asked = ("evaluate", many[0], "--device", device, "--cache", place / "cache")
    assert expected in refused(*asked)
    assert expected in refused(*asked, "--task", "detect")
