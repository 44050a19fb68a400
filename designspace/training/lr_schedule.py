"""The learning rate at each iteration."""

import math

from designspace.runs import Recipe


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the rate of a step: linear warm-up, then half a period of a cosine down to 0.

    Args:
        recipe: Peak rate, epochs, epochs of warm-up (may be a fraction).
        step: Steps taken so far, over all epochs.
        steps_per_epoch: Steps of an epoch.
    """
    total = recipe.epochs * steps_per_epoch
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
