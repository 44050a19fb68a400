"""Learning rates of supervised trainings, chosen from one grid for every network alike.

A protocol that is tuned for pretrained trunks leaves others at chance, which flatters them.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from designspace.evaluation.finetune import FinetuneSchedule
from designspace.io import journal

# Peak learning rates of trunk and head at batch size 256: those of the published protocols
# (low-shot with 1 % and with 10 % of the labels, fine-tuning, training from scratch), and one
# between.
RATES = ((0.02, 5.0), (0.01, 0.2), (0.0125, 0.0125), (0.05, 0.05), (0.2, 0.2))
# Fraction of the labelled images that rates are compared on, and of the epochs that it takes.
_HELD_OUT, _EPOCHS = 0.2, 0.25
# Images that a comparison should rest on. Where a fifth of the labels are fewer, other fifths are
# held out in turn: on 100 images, rates that differ by 8 points of accuracy are confused.
_ENOUGH = 1000
_SEED = 0


class LearningRates:
    """The rates that were chosen, kept in a folder so that no comparison is repeated."""

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        """Read the journal `learning_rates.jsonl` of a folder."""
        self._journal, self._note = folder / "learning_rates.jsonl", note
        records = journal.read(self._journal, "learning rates").records
        self._chosen = {record["key"]: (record["trunk"], record["head"]) for record in records}

    def choose(
        self,
        name: str,
        key: str,
        schedule: FinetuneSchedule,
        validate: Callable[[FinetuneSchedule], tuple[float, float]],
    ) -> FinetuneSchedule:
        """Return the schedule with the rates of the grid that validate best.

        Args:
            name: Of the training, for the journal and messages.
            key: What determines the choice.
            schedule: How to train; its own rates are replaced.
            validate: Maps a schedule, of a quarter of the epochs, to error and loss.
        """
        if key not in self._chosen:
            self._note(f"{name}: choosing among {len(RATES)} learning rates")
            short = replace(schedule, epochs=max(1, math.ceil(_EPOCHS * schedule.epochs)))
            results = [validate(_with_rates(short, *rates)) for rates in RATES]
            scores = [(e, loss if math.isfinite(loss) else math.inf) for e, loss in results]
            best = min(range(len(RATES)), key=scores.__getitem__)
            trunk, head = self._chosen[key] = RATES[best]
            record = {"name": name, "trunk": trunk, "head": head, "errors": [e for e, _ in results]}
            journal.append(self._journal, [{**record, "key": key}])
            self._note(f"{name}: rates {trunk:g} of the trunk, {head:g} of the head (batch 256)")
        return _with_rates(schedule, *self._chosen[key])


def _with_rates(schedule: FinetuneSchedule, trunk: float, head: float) -> FinetuneSchedule:
    scale = schedule.batch / 256
    return replace(schedule, trunk_lr=trunk * scale, head_lr=head * scale)


def split_labels(labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the positions to train on and a fifth to validate on, for one or more folds.

    There are as many folds, five at most, as it takes to validate on 1,000 images in all. They are
    stratified where a class has at least two images; a class of one stays in training, unless all
    are such: then a fifth of all is drawn.

    Args:
        labels: Of the labelled images, (n,).
    """
    generator = torch.Generator().manual_seed(_SEED)
    orders = []
    for label in torch.unique(labels):
        own = torch.nonzero(labels == label)[:, 0]
        order = own[torch.randperm(len(own), generator=generator)]
        orders.append((order, min(max(1, round(_HELD_OUT * len(own))), len(own) - 1)))
    if not any(size for _, size in orders):
        n = len(labels)
        orders = [(torch.randperm(n, generator=generator), max(1, round(_HELD_OUT * n)))]
    size = sum(size for _, size in orders)
    folds = min(round(1 / _HELD_OUT), math.ceil(_ENOUGH / size))
    return [_fold(orders, fold, len(labels)) for fold in range(folds)]


def _fold(orders: list[tuple[Tensor, int]], fold: int, n: int) -> tuple[Tensor, Tensor]:
    """Return one fold: of each order, the next `size` positions are held out."""
    mask = torch.zeros(n, dtype=torch.bool)
    for order, size in orders:
        mask[order[(fold * size + torch.arange(size)) % len(order)]] = True
    return torch.nonzero(~mask)[:, 0], torch.nonzero(mask)[:, 0]
