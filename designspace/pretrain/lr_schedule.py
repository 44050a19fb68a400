"""The learning rate of each iteration: linear warm-up, then half a cosine or none."""

import math

from designspace.pretrain.recipe import SwavRecipe


def warmup_iterations(recipe: SwavRecipe, per_epoch: int) -> int:
    """Return the length of the warm-up."""
    return recipe.warmup_iterations or round(recipe.warmup_epochs * per_epoch)


def learning_rate(recipe: SwavRecipe, iteration: int, per_epoch: int) -> float:
    """Return the rate of an iteration, from 0.

    The warm-up's first iteration has the starting rate and its last the peak; the cosine runs from
    the peak towards the final rate, which it would reach one iteration after the last (as SwAV's).
    """
    warmup = warmup_iterations(recipe, per_epoch)
    if iteration < warmup:
        share = iteration / max(1, warmup - 1)
        return recipe.start_lr + (recipe.lr - recipe.start_lr) * share
    if recipe.decay == "constant":
        return recipe.lr
    rest = recipe.epochs * per_epoch - warmup
    angle = math.pi * (iteration - warmup) / max(1, rest)
    return recipe.final_lr + 0.5 * (recipe.lr - recipe.final_lr) * (1 + math.cos(angle))
