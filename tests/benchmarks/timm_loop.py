"""A population trained by timm's parts, put together as timm's own training script does.

The script is not in timm's wheel. Its defaults hold but for what the recipe says (SGD without
Nesterov, the schedule a step at a time, no label smoothing, decay of all weights, pad-4 crop and
flip in place of the random resized crop), and for loader processes, which the caller chooses. A
checkpoint is kept after each epoch, as the script does; there is no AMP on a CPU.
"""

import json
import sys
import tempfile
import time
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

from bench_train import Trained, ask, the_recipe

MEAN, STD = (0.49,) * 3, (0.25,) * 3


def timm_process(images: Path, run: Path, n: int, epochs: int, workers: int, seed: int) -> Trained:
    """Train n models of a run by timm in a process of its own."""
    return ask(__file__, images, run, n, epochs, workers, seed)


def loaders(images: Path, size: int, workers: int):
    """Return timm's loaders of the training and the validation images."""
    import torch
    from timm.data import create_dataset, create_loader
    from timm.data.transforms import ToNumpy
    from torchvision import transforms

    made = []
    for split, training in (("train", True), ("test", False)):
        dataset = create_dataset("", root=str(images), split=split, is_training=training)
        made.append(
            create_loader(
                dataset,
                input_size=(3, 32, 32),
                batch_size=size,
                is_training=training,
                mean=MEAN,
                std=STD,
                crop_pct=1.0,
                num_workers=workers,
                device=torch.device("cpu"),
            )
        )
        if training:
            crop = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
            dataset.transform = transforms.Compose([*crop, ToNumpy()])
    return made


def train_one(network, images: Path, recipe, workers: int, home: Path) -> float:
    """Train one network; return its error after the last epoch, in percent."""
    import torch
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import CheckpointSaver

    train, val = loaders(images, recipe.batch_size, workers)
    optimizer = create_optimizer_v2(
        network,
        opt="momentum",
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        filter_bias_and_bn=False,
    )
    scheduler, epochs = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs,
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=len(train),
    )
    saver = CheckpointSaver(network, optimizer, checkpoint_dir=str(home), recovery_dir=str(home))
    scheduler.step_update(num_updates=0)
    for epoch in range(epochs):
        train_epoch(network, train, optimizer, scheduler, torch.nn.CrossEntropyLoss(), epoch)
        top1 = validate(network, val, torch.nn.CrossEntropyLoss())
        saver.save_checkpoint(epoch, metric=top1)
    return 100 - top1


def train_epoch(network, loader, optimizer, scheduler, criterion, epoch: int) -> None:
    """Take the steps of one epoch, with the averages that the script keeps."""
    from timm.utils import AverageMeter

    losses, network_time = AverageMeter(), AverageMeter()
    updates = epoch * len(loader)
    network.train()
    optimizer.zero_grad()
    began = time.time()
    for inputs, labels in loader:
        loss = criterion(network(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.update(loss.item(), inputs.size(0))
        network_time.update(time.time() - began)
        updates += 1
        scheduler.step_update(num_updates=updates, metric=losses.avg)
        began = time.time()
    if hasattr(optimizer, "sync_lookahead"):
        optimizer.sync_lookahead()


def validate(network, loader, criterion) -> float:
    """Return top-1 accuracy in percent."""
    import torch
    from timm.utils import AverageMeter, accuracy

    losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
    network.eval()
    with torch.inference_mode():
        for inputs, labels in loader:
            outputs = network(inputs)
            first, fifth = accuracy(outputs, labels, topk=(1, 5))
            losses.update(criterion(outputs, labels).item(), inputs.size(0))
            top1.update(first.item(), inputs.size(0))
            top5.update(fifth.item(), inputs.size(0))
    return OrderedDict(loss=losses.avg, top1=top1.avg, top5=top5.avg)["top1"]


def main(images: str, run: str, n: str, epochs: str, workers: str, seed: str) -> None:
    """What that process does."""
    import torch
    from timm.utils import random_seed

    from designspace.networks import build
    from designspace.runs import Run

    torch.backends.cudnn.benchmark = True
    random_seed(int(seed), 0)
    population, recipe = Run.open(run).population(), the_recipe(int(epochs)).at(32)
    seconds, errors = 0.0, []
    for index in range(int(n)):
        began = time.perf_counter()
        network = build(population.model(index).at(classes=10), zero_init_residual=True)
        with tempfile.TemporaryDirectory() as home:
            errors.append(train_one(network, Path(images), recipe, int(workers), Path(home)))
        seconds += time.perf_counter() - began
    print(json.dumps(asdict(Trained(seconds, tuple(errors)))))


if __name__ == "__main__":
    main(*sys.argv[2:])
