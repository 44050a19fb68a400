"""Multi-crop, batched and one by one, against torchvision: on the same draws, in distribution."""

import dataclasses

import numpy as np
import pytest
import torch
from marks import needs_numba
from PIL import Image, ImageFilter
from scipy import stats
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision import transforms
from torchvision.transforms import functional as tv

from designspace.data.augmentation import cut_resized, resized_boxes
from designspace.pretraining import color_jitter
from designspace.pretraining.color_jitter import ColorDraw, draw_colors
from designspace.pretraining.multicrop import CropMaker, copy_packed, draw_crops, epoch_order
from designspace.pretraining.recipe import Augment, load_recipe, parse_recipe


def pictures(n, side, seed=0):
    """Smooth pictures with strong colors, uint8 (n, side, side, 3)."""
    g = torch.Generator().manual_seed(seed)
    small = torch.rand(n, 3, 5, 5, generator=g) * 255
    big = torch.nn.functional.interpolate(small, side, mode="bicubic").clamp(0, 255)
    return big.permute(0, 2, 3, 1).to(torch.uint8)


@pytest.mark.parametrize(("whole", "side"), [(32, 16), (32, 32), (64, 24)])
def test_cut_is_torchvisions_crop_resize_flip(whole, side):
    images, g = pictures(20, whole), torch.Generator().manual_seed(1)
    boxes = resized_boxes(whole, 20, g, (0.05, 0.5))
    flips = torch.rand(20, generator=g) < 0.5
    made = cut_resized(images, boxes, flips, side).permute(0, 3, 1, 2)
    for i in range(20):
        twin = tv.resized_crop(
            images[i].permute(2, 0, 1).float(), *boxes[i].tolist(), [side, side], antialias=False
        )
        twin = twin.flip(2) if flips[i] else twin
        assert torch.allclose(made[i], twin, atol=0.02), i  # of 255


@needs_numba
@pytest.mark.parametrize("side", [16, 40, 96])
def test_crops_one_by_one_are_those_of_batches(side):
    """The loops of a CPU against torch on whole batches, its twin; boxes down to one pixel."""
    n, recipe = 40, papers(side)
    records, maker = pictures(n, side), CropMaker(recipe, (120.0, 110.0, 100.0), (60.0, 50.0, 70.0))
    for one in draw_crops(recipe, side, n, seed=2, iteration=5):
        boxes = one.boxes.clone()
        boxes[0], boxes[1] = torch.tensor([3, 4, 1, 1]), torch.tensor([side - 1, 0, 1, side])
        boxes[2] = torch.tensor([0, side - 1, side, 1])
        one = dataclasses.replace(one, boxes=boxes)
        made = torch.zeros(2, n, 3, one.size, one.size).unbind()
        made = [m.contiguous(memory_format=torch.channels_last) for m in made]
        maker.batched(records, [one], [made[0]])
        maker.one_by_one(records, one, made[1])
        assert torch.allclose(*made, atol=2e-3)
        assert (made[0] - made[1]).abs().mean() < 2e-5


def test_boxes_are_distributed_as_torchvisions():
    g = torch.Generator().manual_seed(0)
    ours = resized_boxes(96, 4000, g, (0.05, 0.14)).numpy()
    torch.manual_seed(1)
    blank = torch.zeros(3, 96, 96)
    draw = transforms.RandomResizedCrop.get_params
    theirs = np.array([draw(blank, (0.05, 0.14), (3 / 4, 4 / 3)) for _ in range(4000)])
    for what in (
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 2] / b[:, 3],
    ):
        assert stats.ks_2samp(what(ours), what(theirs)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("mine", "theirs", "low", "high"),
    [
        (color_jitter.brightness, tv.adjust_brightness, 0.2, 1.8),
        (color_jitter.contrast, tv.adjust_contrast, 0.2, 1.8),
        (color_jitter.saturation, tv.adjust_saturation, 0.2, 1.8),
        (color_jitter.hue, tv.adjust_hue, -0.5, 0.5),
    ],
)
def test_each_jitter_is_torchvisions(mine, theirs, low, high):
    images = pictures(16, 12).permute(0, 3, 1, 2).float() / 255
    images[0] = 0.5  # no hue at all
    images[1, :2, :3], images[1, 1:, 3:6], images[1, ::2, 6:9] = 0.7, 0.2, 0.4  # equal channels
    images[2, :, :4] = torch.eye(3)[:, None].repeat(1, 1, 4)  # the corners of the circle
    factors = torch.linspace(low, high, 16)
    made = images.clone()
    mine(made, factors)
    for i in range(16):
        assert torch.allclose(made[i], theirs(images[i], factors[i].item()), atol=2e-5), i


def test_grey_is_torchvisions():
    images = pictures(4, 12).permute(0, 3, 1, 2).float() / 255
    assert torch.allclose(
        color_jitter.grey(images)[:, None], tv.rgb_to_grayscale(images), atol=1e-6
    )


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_a_gaussian_with_repeated_edges(sigma):
    images = pictures(3, 40).permute(0, 3, 1, 2).float() / 255
    made = images.clone()
    color_jitter.blur(made, color_jitter.blur_weights(torch.full((3,), sigma), 40))
    padded = torch.nn.functional.pad(images, (8, 8, 8, 8), mode="replicate")
    twin = tv.gaussian_blur(padded, [17, 17], [sigma, sigma])[..., 8:-8, 8:-8]
    assert torch.allclose(made, twin, atol=1e-5)
    picture = Image.fromarray(pictures(3, 40)[0].numpy())
    pil = np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)), np.float32) / 255
    assert np.abs(pil.transpose(2, 0, 1) - made[0].numpy()).max() < 0.03  # PIL's is boxes


def test_order_of_the_jitter_is_each_images_own():
    augment = Augment(blur=0.0, grey=0.0, jitter_share=1.0)
    drawn = draw_colors(augment, 24, torch.Generator().manual_seed(3))
    images = pictures(24, 12).permute(0, 3, 1, 2).float() / 255
    made = images.clone()
    color_jitter.apply_color_ops(made, color_jitter.color_ops(drawn, augment, 12))
    twins = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    for i in range(24):
        twin = images[i]
        for kind in drawn.order[i].tolist():
            twin = twins[kind](twin, drawn.factors[i, kind].item())
        assert torch.allclose(made[i], twin, atol=5e-5), i
    assert len({tuple(order) for order in drawn.order.tolist()}) > 10


def test_draws_have_the_papers_distribution():
    n, augment = 20_000, load_recipe("swav").augment
    drawn = draw_colors(augment, n, torch.Generator().manual_seed(0))
    for share, p in ((drawn.jitter, 0.8), (drawn.grey, 0.2), (drawn.sigma > 0, 0.5)):
        assert abs(share.float().mean().item() - p) < 4 * (p * (1 - p) / n) ** 0.5
    sigma = drawn.sigma[drawn.sigma > 0].numpy()
    assert stats.kstest(sigma, stats.uniform(0.1, 1.9).cdf).pvalue > 1e-3
    torch.manual_seed(0)
    jitter = transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)
    params = [
        jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        for _ in range(4000)
    ]
    for kind in range(4):
        theirs = [p[1 + kind] for p in params]
        assert stats.ks_2samp(drawn.factors[:, kind].numpy(), theirs).pvalue > 1e-3
    first = np.bincount(drawn.order[:, 0].numpy(), minlength=4)
    assert stats.chisquare(first).pvalue > 1e-3


def test_crops_come_by_size_crop_after_crop_and_depend_on_seed_and_iteration_alone():
    recipe = load_recipe("quick")
    records = pictures(6, 16)
    maker = CropMaker(recipe, (120.0, 110.0, 100.0), (60.0, 60.0, 60.0))
    drawn = draw_crops(recipe, 16, 6, seed=1, iteration=7)
    made = maker(records, drawn)
    assert [tuple(m.shape) for m in made] == [(12, 3, 16, 16), (12, 3, 12, 12)]
    again = maker(records, draw_crops(recipe, 16, 6, seed=1, iteration=7))
    other = maker(records, draw_crops(recipe, 16, 6, seed=1, iteration=8))
    assert torch.equal(made[0], again[0])
    assert not torch.equal(made[0], other[0])
    # A process that holds images 2 and 3 of the batch makes the same crops of them.
    part = maker(records[2:4], [one.take(slice(2, 4)) for one in drawn])
    assert torch.allclose(part[0], torch.cat([made[0][2:4], made[0][8:10]]), atol=1e-6)


def test_nothing_drawn_is_the_image_itself_normalised():
    augment = Augment(flip=0.0, jitter_share=0.0, grey=0.0, blur=0.0)
    recipe = load_recipe("quick").model_copy(update={"augment": augment})
    records = pictures(2, 16)
    whole = torch.tensor([[0, 0, 16, 16]] * 2)
    drawn = draw_crops(recipe, 16, 2, 0, 0)[0]
    drawn = type(drawn)(16, whole, drawn.flips, drawn.colors)
    made = CropMaker(recipe, (127.5,) * 3, (51.0,) * 3)(records, [drawn])[0]
    assert torch.allclose(made, (records.permute(0, 3, 1, 2).float() - 127.5) / 51, atol=1e-3)


def papers(side):
    """SwAV's recipe for small images; large crops of 7/8 of a record's side, as in the papers."""
    data = load_recipe("swav").to_dict()
    large = {"count": 2, "size": side * 7 // 8, "scale": [0.14, 1.0]}
    small = {"count": 1, "size": side * 3 // 8, "scale": [0.05, 0.14]}
    return parse_recipe({**data, "crops": [large, small], "record": side}, "test")


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("side", [32, 80])
def test_a_whole_crop_is_torchvisions_on_the_same_draws(side, batched):
    n, recipe = 24, papers(side)
    records, mean, std = pictures(n, side), (120.0, 110.0, 100.0), (60.0, 50.0, 70.0)
    drawn = draw_crops(recipe, side, n, seed=0, iteration=0)
    maker = CropMaker(recipe, mean, std)
    made = [torch.empty(n, 3, one.size, one.size) for one in drawn]
    if batched:
        maker.batched(records, drawn, made)
    else:
        made = [crops for of_size in maker(records, drawn) for crops in of_size.split(n)]
    jitter = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    for one, crops in zip(drawn, made, strict=True):
        size, colors = one.size, one.colors
        for i in range(n):
            image = records[i].permute(2, 0, 1).float() / 255
            box = one.boxes[i].tolist()
            image = tv.resized_crop(image, *box, [size, size], antialias=False)
            image = tv.hflip(image) if one.flips[i] else image
            if colors.jitter[i]:
                for kind in colors.order[i].tolist():
                    image = jitter[kind](image, colors.factors[i, kind].item())
            if colors.grey[i]:
                image = tv.rgb_to_grayscale(image, 3)
            if colors.sigma[i] > 0:
                reach = min(8, size - 1)
                padded = functional.pad(image[None], (reach,) * 4, mode="replicate")[0]
                kernel = [2 * reach + 1] * 2
                image = tv.gaussian_blur(padded, kernel, [colors.sigma[i].item()] * 2)
                image = image[:, reach:-reach, reach:-reach]
            twin = tv.normalize(image, [m / 255 for m in mean], [s / 255 for s in std])
            assert torch.allclose(crops[i], twin, atol=2e-3), i


def measures(crops):
    """What a pipeline may change: brightness, contrast, color, sharpness, left against right."""
    half = crops.shape[-1] // 2
    steps = (crops[..., 1:] - crops[..., :-1]).abs().mean(dim=(1, 2, 3))
    spread = crops.std(dim=(2, 3)).mean(1)
    return {
        "brightness": crops.mean(dim=(1, 2, 3)),
        "contrast": spread,
        "color": (crops[:, 0] - crops[:, 2]).mean(dim=(1, 2)),
        "sharpness": steps / (spread + 0.01),
        "sides": (crops[..., :half].mean(dim=(1, 2, 3)) - crops[..., half:].mean(dim=(1, 2, 3))),
    }


def test_crops_are_distributed_as_the_papers_pipeline():
    """SwAV's per-image transforms, on PIL images, against ours on one picture."""
    n, side, recipe = 2000, 40, papers(40)
    picture = pictures(1, side, seed=5)
    zero, one = (0.0,) * 3, (255.0,) * 3
    drawn = draw_crops(recipe, side, n, seed=3, iteration=0)
    ours = CropMaker(recipe, zero, one)(picture.expand(n, -1, -1, -1), drawn[1:])
    as_file = Image.fromarray(picture[0].numpy())

    def blur(image):
        sigma = float(np.random.default_rng(len(theirs[-1])).uniform(0.1, 2.0))
        return image.filter(ImageFilter.GaussianBlur(sigma))

    theirs: list[list] = []
    torch.manual_seed(0)
    for group in recipe.crops:
        pipeline = transforms.Compose(
            [
                transforms.RandomResizedCrop(group.size, scale=group.scale),
                transforms.RandomHorizontalFlip(0.5),
                transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
                transforms.RandomGrayscale(0.2),
                transforms.RandomApply([blur], p=0.5),
                transforms.ToTensor(),
            ]
        )
        theirs.append([])
        for _ in range(n):
            theirs[-1].append(pipeline(as_file))
    for mine, other in zip(ours, theirs, strict=True):
        a, b = measures(mine), measures(torch.stack(other))
        for name in a:
            assert stats.ks_2samp(a[name].numpy(), b[name].numpy()).pvalue > 1e-3, name


def test_take_keeps_what_belongs_together():
    drawn = draw_colors(Augment(), 5, torch.Generator().manual_seed(0))
    part = drawn.take(slice(1, 3))
    assert isinstance(part, ColorDraw)
    assert torch.equal(part.factors, drawn.factors[1:3])
    assert torch.equal(part.sigma, drawn.sigma[1:3])


class Transfers(TorchDispatchMode):
    """Counts copies from the CPU to `meta`, which stands for a GPU, and forbids mixed operands."""

    def __init__(self):
        super().__init__()
        self.copies = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        inputs = {t.device.type for t in tensors if t.dim()}
        if isinstance(result, torch.Tensor) and inputs == {"cpu"} and result.is_meta:
            self.copies += 1
        assert len(inputs) < 2, f"{func} mixes devices"
        return result


@pytest.mark.parametrize("name", ["swav", "quick"])
def test_random_numbers_reach_a_gpu_in_one_copy_and_nothing_waits_for_it(name):
    """Operations that need values, and so would wait for a GPU, fail on `meta`."""
    recipe, meta = load_recipe(name), torch.device("meta")
    maker = CropMaker(recipe, (1.0,) * 3, (1.0,) * 3, meta)
    side = recipe.record_side
    records = torch.empty(16, side, side, 3, dtype=torch.uint8, device=meta)
    draws = draw_crops(recipe, side, 16, seed=0, iteration=0)
    with Transfers() as transfers:
        crops = maker(records, draws)
    assert transfers.copies == 1
    assert [len(c) for c in crops] == [16 * group.count for group in recipe.crops]


def test_packed_tensors_arrive_as_they_are(monkeypatch):
    tensors = [torch.arange(3), torch.rand(2, 5), torch.tensor([True, False, True]), torch.ones(0)]
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args, **kwargs: self.clone())
    copies = copy_packed(tensors, torch.device("meta"))
    for copy, tensor in zip(copies, tensors, strict=True):
        assert copy.dtype == tensor.dtype
        assert torch.equal(copy, tensor)


def test_an_epoch_shows_every_image_once_and_drops_the_rest():
    order = epoch_order(23, 5, seed=0, epoch=2)
    assert tuple(order.shape) == (4, 5)
    assert len(set(order.flatten().tolist())) == 20
    assert not torch.equal(order, epoch_order(23, 5, seed=0, epoch=3))
