"""The learning rate of a pretraining at each iteration."""

from designspace.pretraining.recipe import SwavRecipe
from designspace.training.lr_schedule import warmup_cosine


def warmup_iterations(recipe: SwavRecipe, per_epoch: int) -> int:
    """Return the length of the warm-up."""
    return recipe.warmup_iterations or round(recipe.warmup_epochs * per_epoch)


def learning_rate(recipe: SwavRecipe, iteration: int, per_epoch: int) -> float:
    """Return the learning rate of an iteration, from 0: linear warm-up, then a cosine or constant.

    As in SwAV, the cosine would reach final_lr one iteration after the last.
    """
    return warmup_cosine(
        iteration,
        total=recipe.epochs * per_epoch,
        warmup=warmup_iterations(recipe, per_epoch),
        peak=recipe.lr,
        start=recipe.start_lr,
        final=recipe.final_lr if recipe.decay == "cosine" else recipe.lr,
    )
