"""How fast pretraining is: `make bench-pretrain`.

1. Crops of a whole batch, against the per-image torchvision pipeline on the same pixels: 3 times.
2. Codes and loss at batch 256 and 3000 prototypes, as a share of the whole step: under 3 %.
3. Images a second of a full step, crops included, against lightly's example loop (its transform in
   a DataLoader with a worker a core, a trunk pass a crop, its loss) on the same trunk and crops:
   1.5 times. Left out, and said, where lightly isn't installed (the extra `dev`).

Sides alternate within a round; reported is the median of n rounds with the least and the greatest.
Images are smooth noise: no part of the work depends on what they show.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rows import Row, report
from torch import nn

from designspace.arch import Body, Model, Skeleton
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.loss import swapped_prediction
from designspace.pretraining.multicrop import CropMaker, draw_crops
from designspace.pretraining.recipe import SwavRecipe, load_recipe, parse_recipe
from designspace.pretraining.sinkhorn import codes
from designspace.pretraining.swav_network import trunk_of
from designspace.pretraining.swav_trainer import SwavTrainer
from designspace.training.device_setup import prepare
from designspace.training.devices import available_cores

MEAN, STD = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
# The network of the project's own pretraining on CIFAR-10.
MODEL = Model(
    "small",
    Body((1, 1, 3, 2), (24, 48, 96, 192), (1.0,) * 4, (8,) * 4, 0.25),
    Skeleton(resolution=32, classes=10, stem_width=24, stem_stride=1, strides=(1, 2, 2, 2)),
)


def recipe(large: int, small: int, record: int, batch: int) -> SwavRecipe:
    """The papers' augmentation on crops of two sizes, 3000 prototypes."""
    data = load_recipe("swav").to_dict()
    crops = [
        {"count": 2, "size": large, "scale": [0.14, 1.0]},
        {"count": 4, "size": small, "scale": [0.05, 0.14]},
    ]
    data |= {"crops": crops, "record": record, "queue": None, "warmup_epochs": 0.0}
    return parse_recipe(data, "benchmark").override(batch_size=batch)


def pictures(n: int, side: int) -> torch.Tensor:
    """Smooth noise, (n, side, side, 3) uint8."""
    coarse = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    made = nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 255)
    return made.permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def seconds(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def pipelines(chosen: SwavRecipe) -> list[Callable]:
    """SwAV's per-image transforms, one for each crop."""
    from torchvision import transforms as tv

    made = []
    for group in chosen.crops:
        one = tv.Compose(
            [
                tv.RandomResizedCrop(group.size, scale=group.scale),
                tv.RandomHorizontalFlip(0.5),
                tv.RandomApply([tv.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
                tv.RandomGrayscale(0.2),
                tv.RandomApply([_PilBlur()], p=0.5),
                tv.ToTensor(),
                tv.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
            ]
        )
        made += [one] * group.count
    return made


class _PilBlur:
    """SwAV's own blur."""

    def __call__(self, image):
        import random

        from PIL import ImageFilter

        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def crops(options) -> list[Row]:
    """Crops at the size of small images and of ImageNet's, on one thread each."""
    from PIL import Image

    rows = []
    torch.set_num_threads(1)
    for large, small, record, n in ((32, 16, 32, 256), (224, 96, 256, 16)):
        chosen, images = recipe(large, small, record, n), pictures(n, record)
        maker, each = CropMaker(chosen, MEAN, STD), pipelines(chosen)
        as_files = [Image.fromarray(image.numpy()) for image in images]

        def ours(maker=maker, images=images, chosen=chosen, record=record, n=n) -> None:
            maker(images, draw_crops(chosen, record, n, 0, 0))

        def theirs(each=each, as_files=as_files) -> None:
            for one in each:
                torch.stack([one(image) for image in as_files])

        ours()
        theirs()
        pairs = [(n / seconds(ours), n / seconds(theirs)) for _ in range(options.rounds)]
        ratios = [a / b for a, b in pairs]
        name = f"crops 2x{large} + 4x{small}, one thread"
        rows += [
            Row(name, "images/s", [a for a, _ in pairs]),
            Row("  torchvision, image by image", "images/s", [b for _, b in pairs]),
            Row("  times as fast", "", ratios, ">= 3", statistics.median(ratios) >= 3),
        ]
    return rows


def loss(options) -> list[Row]:
    """Codes and loss beside the whole step."""
    torch.set_num_threads(available_cores())
    chosen = recipe(32, 16, 32, 256)
    training = SwavTrainer(MODEL, chosen, 100, 0, ProcessGroupInfo(torch.device("cpu")))
    maker, images = CropMaker(chosen, MEAN, STD), pictures(256, 32)
    made = torch.randn(6, 256, 128, generator=torch.Generator().manual_seed(0))
    embeddings = nn.functional.normalize(made, dim=2)
    weight = training.network.prototypes.weight.detach()
    scores = (embeddings @ weight.T).requires_grad_()

    def step() -> None:
        training.step(maker(images, draw_crops(chosen, 32, 256, 0, training.iteration)))

    def part() -> None:
        settings = chosen.sinkhorn
        assigned = [codes(scores[i], settings.epsilon, settings.iterations) for i in range(2)]
        swapped_prediction(scores, torch.stack(assigned), chosen.temperature).backward()
        scores.grad = None

    step()
    part()
    shares = [100 * seconds(part) / seconds(step) for _ in range(options.rounds)]
    name = "codes and loss, backward too: share of a step"
    return [Row(name, "%", shares, "< 3", statistics.median(shares) < 3)]


class _Images(torch.utils.data.Dataset):
    def __init__(self, images, transform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row):
        from PIL import Image

        return self.transform(Image.fromarray(self.images[row].numpy()))


def lightly_difference() -> float:
    """How far our loss of a batch of scores is from lightly's."""
    from lightly.loss import SwaVLoss

    chosen = recipe(32, 16, 32, 128)
    drawn = torch.Generator().manual_seed(0)
    embeddings = nn.functional.normalize(torch.randn(6, 128, 128, generator=drawn), dim=2)
    prototypes = nn.functional.normalize(torch.randn(3000, 128, generator=drawn), dim=1)
    scores, settings = embeddings @ prototypes.T, chosen.sinkhorn
    assigned = [codes(scores[i], settings.epsilon, settings.iterations) for i in range(2)]
    mine = swapped_prediction(scores, torch.stack(assigned), chosen.temperature)
    lightlys = SwaVLoss(chosen.temperature, settings.iterations, settings.epsilon)
    return abs(float(mine) - float(lightlys(list(scores[:2]), list(scores[2:]))))


def whole(options) -> list[Row]:
    """A full step against lightly's example."""
    try:
        from lightly.loss import SwaVLoss
        from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes
        from lightly.transforms.swav_transform import SwaVTransform
    except ImportError:
        print("lightly is not installed: the full step has nothing to stand against")
        return []
    batch, steps = options.batch, options.steps
    chosen, images = recipe(32, 16, 32, batch), pictures(batch * (steps + 1), 32)
    cores = available_cores()
    torch.set_num_threads(cores)
    training = SwavTrainer(MODEL, chosen, 100, 0, ProcessGroupInfo(torch.device("cpu")))
    maker = CropMaker(chosen, MEAN, STD)
    transform = SwaVTransform(crop_sizes=(32, 16), crop_counts=(2, 4))
    loader = torch.utils.data.DataLoader(
        _Images(images, transform), batch_size=batch, shuffle=True, drop_last=True,
        num_workers=cores, persistent_workers=True,
    )  # fmt: skip
    trunk = trunk_of(MODEL)
    head, prototypes = SwaVProjectionHead(192, 2048, 128), SwaVPrototypes(128, 3000)
    criterion = SwaVLoss()
    parts = nn.ModuleList([trunk, head, prototypes])
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-6)

    def ours() -> None:
        for i in range(steps):
            some = images[i * batch : (i + 1) * batch]
            training.step(maker(some, draw_crops(chosen, 32, batch, 0, i)))

    def theirs() -> None:
        for done, views in enumerate(loader):
            if done == steps:
                break
            prototypes.normalize()
            made = [nn.functional.normalize(head(trunk(view)), dim=1) for view in views]
            scores = [prototypes(one) for one in made]
            value = criterion(scores[:2], scores[2:])
            value.backward()
            optimizer.step()
            optimizer.zero_grad()

    ours()
    theirs()
    count = batch * steps
    pairs = [(count / seconds(ours), count / seconds(theirs)) for _ in range(options.rounds)]
    ratios = [a / b for a, b in pairs]
    return [
        Row(f"a full step, batch {batch}, {cores} cores", "images/s", [a for a, _ in pairs]),
        Row("  lightly's example loop", "images/s", [b for _, b in pairs]),
        Row("  times as fast", "", ratios, ">= 1.5", statistics.median(ratios) >= 1.5),
    ]


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps of a round of the full step")
    parser.add_argument("--batch", type=int, default=128, help="images of a full step")
    parser.add_argument("--only", choices=["crops", "loss", "whole"])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/pretrain.json"))
    options = parser.parse_args()
    prepare(torch.device("cpu"))
    parts = {"crops": crops, "loss": loss, "whole": whole}
    rows = [r for key, part in parts.items() if options.only in (None, key) for r in part(options)]
    report(rows, options, {"torch": torch.__version__})


if __name__ == "__main__":
    main()
