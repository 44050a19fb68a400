"""Alarms in plain words: what an epoch's numbers say is going wrong, and the known remedies."""

import math
from typing import Any

from designspace.pretrain.recipe import SwavRecipe
from designspace.pretrain.schedule import warmup_iterations

# Below ln K by less than this the loss has learned nothing.
_STUCK = 0.02
# Share of prototypes that must be nearest to some image.
_USED = 0.05
# Spread of features, 1 where they fill the sphere evenly.
_SPREAD = 0.1
# Share of a step's time that goes into making crops.
_STARVED = 0.5


def alarms(
    recipe: SwavRecipe, per_epoch: int, iteration: int, record: dict[str, Any]
) -> dict[str, str]:
    """Return what a person should know of an epoch that was trained: a name and words for each.

    Args:
        recipe: How it is trained.
        per_epoch: Iterations an epoch.
        iteration: Iterations done.
        record: loss, prototypes_used, feature_std and crop_share of the epoch.
    """
    found: dict[str, str] = {}
    settled = max(warmup_iterations(recipe, per_epoch), recipe.freeze_prototypes) + per_epoch
    late = iteration >= settled
    chance = math.log(recipe.prototypes)
    if late and record["loss"] > chance - _STUCK:
        found["stuck"] = (
            f"the loss is {record['loss']:.3f} and stays at ln {recipe.prototypes} = {chance:.3f}: "
            "codes carry nothing yet. Known remedies: a larger lr (small batches above all), "
            "sinkhorn.epsilon 0.03, longer freeze_prototypes, no BatchNorm in the head, a shorter "
            "or later queue"
        )
    if late and record["prototypes_used"] < max(2, _USED * recipe.prototypes):
        found["prototypes"] = (
            f"only {record['prototypes_used']} of {recipe.prototypes} prototypes are nearest to "
            "any image: clusters are collapsing. Known remedies: sinkhorn.epsilon 0.03, longer "
            "freeze_prototypes, fewer prototypes"
        )
    if late and record["feature_std"] < _SPREAD:
        found["spread"] = (
            f"embeddings are nearly all the same (spread {record['feature_std']:.3f}; 1 is even): "
            "the representation is collapsing. Known remedies: a smaller lr, a longer warm-up"
        )
    if record["crop_share"] > _STARVED:
        found["starved"] = (
            f"{record['crop_share']:.0%} of the time goes into making crops: the trunk waits for "
            "data. A smaller `record`, no blur, or more threads help"
        )
    return found


def not_finite(iteration: int, epoch: int, rate: float) -> str:
    """Say what a non-finite loss means."""
    return (
        f"the loss became non-finite at iteration {iteration + 1} (epoch {epoch + 1}, learning "
        f"rate {rate:.4g}); the checkpoint before it is kept. Known causes: too large an lr or too "
        "short a warm-up; start again with a smaller --lr"
    )


def advice(recipe: SwavRecipe) -> list[str]:
    """Return what a person should know of a recipe before it runs."""
    asked = recipe.batch_size + (recipe.queue.length if recipe.queue else 0)
    if asked >= recipe.prototypes:
        return []
    return [
        f"{recipe.prototypes} prototypes share {asked} embeddings an iteration: fewer embeddings "
        "than prototypes leave most codes to chance. A queue, a larger batch or fewer prototypes "
        "help"
    ]
