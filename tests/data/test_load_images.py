"""Images for a training loop of one's own are those that `train` trains on."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

import designspace as ds
from designspace.runs import load_recipe


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Digits without augmentation."""
    recipe = dataclasses.replace(load_recipe("quick"), augmentation="none")
    folder = tmp_path_factory.mktemp("cache")
    return ds.load_images("digits", recipe, resolution=8, device="cpu", cache=folder)


def test_an_epoch_has_every_image_at_most_once_and_its_order_is_given_by_epoch_and_seed(plain):
    batches = [images for images, _ in plain.train(epoch=3, seed=1)]
    assert len(batches) == plain.steps_per_epoch
    images = torch.cat(batches)
    assert len(images.flatten(1).unique(dim=0)) == len(images)
    again = torch.cat([images for images, _ in plain.train(epoch=3, seed=1)])
    assert torch.equal(images, again)
    assert not torch.equal(images, torch.cat([x for x, _ in plain.train(epoch=4, seed=1)]))
    assert not torch.equal(images, torch.cat([x for x, _ in plain.train(epoch=3, seed=2)]))


def test_images_are_normalized(plain):
    images = torch.cat([images for images, _ in plain.train()])
    assert images.dtype == torch.float32
    assert images.mean((0, 2, 3)).abs().max() < 0.02
    assert (images.std((0, 2, 3)) - 1).abs().max() < 0.02


def test_a_run_that_trains_on_the_split_counts_the_same_validation_images(plain, tmp_path):
    run = ds.sample("RegNetX@8", n=1, flops="180K:220K", out=tmp_path / "run")
    run.train("digits", "quick", epochs=1, jobs=1, device="cpu", progress=False)
    assert run.data().split == plain.split
    assert (
        run.data().val_images == plain.val_images == sum(len(labels) for _, labels in plain.val())
    )


def test_what_fills_up_the_last_batch_on_a_gpu_is_not_validated_on(plain):
    batches = [
        (torch.ones(2, 3, 8, 8), torch.tensor([4, 2])),
        (torch.ones(2, 3, 8, 8), torch.tensor([7, -1])),
    ]
    padded = dataclasses.replace(plain, _batches=SimpleNamespace(validation=lambda: iter(batches)))
    assert [labels.tolist() for _, labels in padded.val()] == [[4, 2], [7]]
    assert [len(images) for images, _ in padded.val()] == [2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "resolution is missing"),
        ({"resolution": 0}, "from 1 to 8192"),
        ({"resolution": 8, "channels": 0}, "channels is 0"),
        ({"resolution": 8, "val": "tst"}, "val is 'tst'"),
        ({"resolution": 8, "device": "gpu"}, "device is 'gpu'"),
        ({"resolution": 8, "recipe": "quik"}, "did you mean quick"),
        ({"resolution": 8, "data": "digit"}, "did you mean digits"),
    ],
)
def test_options_are_checked(options, message):
    chosen = {"data": "digits", "recipe": "quick", **options}
    with pytest.raises(ds.InputError, match=message):
        ds.load_images(**chosen)


def test_a_recipe_of_another_resolution_is_refused():
    recipe = dataclasses.replace(load_recipe("quick"), resolution=32)
    with pytest.raises(ds.InputError, match="trains at 32 pixels"):
        ds.load_images("digits", recipe, resolution=8)


def test_epochs_count_from_zero(plain):
    with pytest.raises(ds.InputError, match="epoch is -1"):
        plain.train(epoch=-1)
