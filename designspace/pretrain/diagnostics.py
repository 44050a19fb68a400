"""Plain words on how a pretraining goes, or would: what is going wrong, and the known remedies."""

import math
from typing import Any

from designspace.pretrain.lr_schedule import warmup_iterations
from designspace.pretrain.recipe import SwavRecipe

# Nearer to ln K than this the loss has learned nothing.
_STUCK = 0.02
# Share of prototypes that must be nearest to some image.
_USED = 0.05
# Spread of features, 1 where they fill the sphere evenly.
_SPREAD = 0.1
# Sinkhorn's epsilon below which exp(-1 / epsilon) is 0 in float32.
_SHARPEST = 0.01
# Share of a step's time that goes into making crops.
_STARVED = 0.5


def alarms(
    recipe: SwavRecipe, per_epoch: int, iteration: int, record: dict[str, Any]
) -> dict[str, str]:
    """Return what a person should know of an epoch, whole or begun: a name and words for each.

    Args:
        recipe: How it is trained.
        per_epoch: Iterations an epoch.
        iteration: Iterations done.
        record: loss, prototypes_used, feature_std and crop_share of the epoch so far.
    """
    found: dict[str, str] = {}
    settled = max(warmup_iterations(recipe, per_epoch), recipe.freeze_prototypes) + per_epoch
    late = iteration >= settled
    chance = math.log(recipe.prototypes)
    if late and record["loss"] > chance + _STUCK:
        found["above"] = (
            f"the loss is {record['loss']:.3f}, above ln {recipe.prototypes} = {chance:.3f} that "
            "guessing evenly would reach: predictions are surer than right. Known remedies: a "
            "smaller lr, a longer warm-up; with few iterations yet, patience"
        )
    elif late and record["loss"] > chance - _STUCK:
        found["stuck"] = (
            f"the loss is {record['loss']:.3f}, no better than ln {recipe.prototypes} = "
            f"{chance:.3f} that guessing evenly reaches: codes carry nothing yet. Known remedies: "
            "a larger lr (small batches above all), sinkhorn.epsilon 0.03, longer "
            "freeze_prototypes, no BatchNorm in the head, a shorter or later queue"
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


def advice(recipe: SwavRecipe, per_epoch: int) -> list[str]:
    """Return what a person should know of a recipe before it runs.

    Each of these makes a part of the recipe idle, or hopeless, and none is an error by itself.

    Args:
        recipe: How it will be trained.
        per_epoch: Iterations an epoch.
    """
    total, queue = per_epoch * recipe.epochs, recipe.queue
    found = []
    asked = recipe.batch_size + (queue.length if queue else 0)
    if asked < recipe.prototypes:
        found.append(
            f"{recipe.prototypes} prototypes share {asked} embeddings an iteration: fewer "
            "embeddings than prototypes leave most codes to chance. A queue, a larger batch or "
            "fewer prototypes help"
        )
    if (warmup := warmup_iterations(recipe, per_epoch)) >= total:
        found.append(
            f"the warm-up takes {warmup} iterations and training has {total}: lr "
            f"{'is never passed' if warmup == total else 'is never reached'}. A shorter warm-up or "
            "more epochs help"
        )
    if recipe.freeze_prototypes >= total:
        found.append(
            f"prototypes are frozen for {recipe.freeze_prototypes} iterations and training has "
            f"{total}: they are never trained. A smaller freeze_prototypes or more epochs help"
        )
    if queue is not None:
        full = queue.from_epoch * per_epoch + queue.length // recipe.batch_size
        if full >= total:
            found.append(
                f"the queue would be full after iteration {full} and training has {total}: it is "
                "never used. A shorter queue, an earlier queue.from_epoch or more epochs help"
            )
    if recipe.sinkhorn.epsilon < _SHARPEST:
        found.append(
            f"sinkhorn.epsilon {recipe.sinkhorn.epsilon:g} is so small that codes come from "
            "rounding: of similarities that differ by 1, exp(-1 / epsilon) is 0 in float32. The "
            "papers use 0.03 to 0.05"
        )
    return found
