"""Batch augmentation against its slow, obvious twin: one image at a time."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resized_crop

from designspace.data.augmentation import Normalizer, cut, draw
from designspace.data.decode import Geometry


def records(n, side):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("augmentation", ["none", "crop", "crop-flip"])
def test_windows_are_those_cut_one_by_one(augmentation):
    pad = 0 if augmentation == "none" else 2
    images, geometry = records(20, 8 + 2 * pad), Geometry(8, 8, pad)
    drawn = draw(augmentation, geometry, 50, torch.Generator().manual_seed(1))
    rows = torch.arange(50) % 20
    made = cut(images, rows, drawn, 8)
    for k in range(50):
        top, left = drawn.boxes[k, :2].tolist()
        one = images[rows[k], top : top + 8, left : left + 8]
        if drawn.flips is not None and drawn.flips[k]:
            one = one.flip(1)
        assert (made[k] == one).all()


def test_every_shift_and_both_sides_are_drawn():
    drawn = draw("crop-flip", Geometry(8, 8, 2), 2000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn.boxes[:, 0] * 5 + drawn.boxes[:, 1], minlength=25)
    assert (counts > 40).all()
    assert 900 < drawn.flips.sum() < 1100
    assert draw("crop", Geometry(8, 8, 2), 4, torch.Generator()).flips is None


def test_resized_crops_are_torchvisions():
    images = records(6, 16)
    drawn = draw("resized-crop-flip", Geometry(16, 16), 6, torch.Generator().manual_seed(3))
    made = cut(images, torch.arange(6), drawn, 12)
    for k in range(6):
        top, left, height, width = drawn.boxes[k].tolist()
        assert height >= 1
        assert top + height <= 16
        assert left + width <= 16
        one = resized_crop(
            images[k].permute(2, 0, 1).float(),
            top,
            left,
            height,
            width,
            [12, 12],
            InterpolationMode.BILINEAR,
            antialias=False,
        )
        one = one.flip(2) if drawn.flips[k] else one
        assert torch.allclose(made[k], one.permute(1, 2, 0), atol=0.02)


def test_resized_crops_have_the_stated_areas():
    boxes = draw(
        "resized-crop-flip", Geometry(64, 64), 4000, torch.Generator().manual_seed(0)
    ).boxes
    share = (boxes[:, 2] * boxes[:, 3]).float() / 64**2
    assert share.min() > 0.06
    assert share.max() <= 1
    # Uniform from 8 to 100 percent; the largest boxes of uneven sides don't fit and are drawn anew.
    assert abs(share.mean() - 0.5) < 0.06
    aspect = boxes[:, 3] / boxes[:, 2]
    assert aspect.min() > 0.7
    assert aspect.max() < 1.43


def test_a_draw_depends_on_its_generator_alone():
    for augmentation in ("crop-flip", "resized-crop-flip"):
        one, two = (
            draw(augmentation, Geometry(9, 9, 2), 30, torch.Generator().manual_seed(5))
            for _ in range(2)
        )
        assert (one.boxes == two.boxes).all()
        assert (one.flips == two.flips).all()


def test_normalized_images_are_channels_last_with_mean_0():
    images = records(10, 8)
    pixels = images.reshape(-1, 3).double()
    mean, std = tuple(pixels.mean(0).tolist()), tuple(pixels.std(0).tolist())
    made = Normalizer(mean, std, 8, torch.device("cpu"))(images)
    assert made.shape == (10, 3, 8, 8)
    assert made.is_contiguous(memory_format=torch.channels_last)
    expected = (images.double() - torch.tensor(mean)) / torch.tensor(std)
    assert torch.allclose(made.double(), expected.permute(0, 3, 1, 2), atol=1e-5)
