"""Diagnose a pretraining, before and while it runs: symptoms and known remedies."""

import math
from typing import Any

from designspace.errors import counted
from designspace.pretraining.lr_schedule import warmup_iterations
from designspace.pretraining.recipe import SwavRecipe

# A loss within this distance of ln K is no better than chance.
_STUCK = 0.02
# Fraction of prototypes that must be nearest to some image.
_MIN_USED = 0.05
# Std of the embeddings, which is 1 if they are uniform on the sphere.
_MIN_STD = 0.1
# Below this epsilon exp(-1 / epsilon) underflows in float32.
_MIN_EPSILON = 0.01
# Fraction of the largest possible rank, min(n, d), that RankMe of the features must reach.
_MIN_RANK = 0.05
# Iterations of free training before alarms: an epoch, but of long epochs this many or this fraction
# of the whole training, as SEER has one epoch alone.
_LATE_ITERATIONS, _LATE_FRACTION = 1000, 0.1
# Fraction of the time of an iteration that goes into crops.
_MAX_CROP_SHARE = 0.5


def training_alarms(
    recipe: SwavRecipe, per_epoch: int, iteration: int, record: dict[str, Any]
) -> dict[str, str]:
    """Return the alarms of an epoch so far: messages by name.

    Args:
        recipe: How it is trained.
        per_epoch: Iterations per epoch.
        iteration: Iterations done.
        record: loss, prototypes_used, feature_std and crop_share of the epoch so far; where the
            spectrum was measured also rankme and rank_limit.
    """
    alarms: dict[str, str] = {}
    begun = max(warmup_iterations(recipe, per_epoch), recipe.freeze_prototypes)
    free = max(_LATE_ITERATIONS, round(_LATE_FRACTION * per_epoch * recipe.epochs))
    late = iteration >= begun + min(per_epoch, free)
    chance = math.log(recipe.prototypes)
    if late and record["loss"] > chance + _STUCK:
        alarms["above"] = (
            f"the loss is {record['loss']:.3f}, above ln {recipe.prototypes} = {chance:.3f} that "
            "uniform guessing reaches: predictions are overconfident. Known remedies: a smaller "
            "lr, a longer warm-up; early in training, patience"
        )
    elif late and record["loss"] > chance - _STUCK:
        alarms["stuck"] = (
            f"the loss is {record['loss']:.3f}, no better than ln {recipe.prototypes} = "
            f"{chance:.3f} of uniform guessing: nothing has been learned yet. Known remedies: "
            "a larger lr (for small batches above all), sinkhorn.epsilon 0.03, longer "
            "freeze_prototypes, no BatchNorm in the head, a shorter or later queue"
        )
    if late and record["prototypes_used"] < max(2, _MIN_USED * recipe.prototypes):
        alarms["prototypes"] = (
            f"only {record['prototypes_used']} of {recipe.prototypes} prototypes are nearest to "
            "any image: clusters are collapsing. Known remedies: sinkhorn.epsilon 0.03, longer "
            "freeze_prototypes, fewer prototypes"
        )
    if late and record["feature_std"] < _MIN_STD:
        alarms["spread"] = (
            f"embeddings are nearly identical (std {record['feature_std']:.3f}; 1 is uniform): "
            "the representation is collapsing. Known remedies: a smaller lr, a longer warm-up"
        )
    limit = record.get("rank_limit", 0)
    if late and record.get("rankme", limit) < max(2, _MIN_RANK * limit) <= limit:
        alarms["rank"] = (
            f"features span {record['rankme']:.1f} of {limit} dimensions (RankMe, below "
            f"{_MIN_RANK:.0%}): the representation is collapsing in rank. Known remedies: a "
            "smaller lr, a smaller weight_decay, more prototypes, stronger augmentation"
        )
    if record["crop_share"] > _MAX_CROP_SHARE:
        alarms["starved"] = (
            f"{record['crop_share']:.0%} of the time goes into crops: the trunk waits for data. A "
            "smaller `record`, no blur, or more threads help"
        )
    return alarms


def non_finite_message(what: str, iteration: int, epoch: int, rate: float, saved: bool) -> str:
    """Return the error message for a non-finite loss, or for non-finite weights.

    Args:
        what: loss or weights.
        iteration: Iteration at which it was noticed, from 1.
        epoch: Its epoch, from 1.
        rate: Its learning rate.
        saved: Whether there is a checkpoint.
    """
    kept = "the checkpoint before it is kept" if saved else "there is no checkpoint before it"
    return (
        f"the {what} became non-finite at iteration {iteration} (epoch {epoch}, learning "
        f"rate {rate:.4g}); {kept}. Usual causes: too large an lr or too short a warm-up; start "
        "again with a smaller lr"
    )


def recipe_warnings(recipe: SwavRecipe, per_epoch: int, channels: int = 3) -> list[str]:
    """Return warnings about parts of a recipe that will have no effect, or can't work.

    Args:
        recipe: How it will be trained.
        per_epoch: Iterations per epoch.
        channels: Of the images.
    """
    total, queue = per_epoch * recipe.epochs, recipe.queue
    warnings = []
    if channels != 3 and (recipe.augment.grey or any(recipe.augment.jitter[2:])):
        warnings.append(
            f"images of {channels} channels have no color: saturation, hue and grayscale are "
            "skipped. Brightness, contrast, blur and flips apply"
        )
    parts = recipe.accumulate
    embeddings = recipe.batch_size // parts + (queue.length if queue else 0)
    if embeddings < recipe.prototypes:
        each = "iteration" if parts == 1 else f"part (accumulate is {parts})"
        warnings.append(
            f"{recipe.prototypes} prototypes share {embeddings} embeddings per {each}: fewer "
            "embeddings than prototypes leave most codes to chance. A queue, a larger batch, "
            f"{'' if parts == 1 else 'fewer parts '}or fewer prototypes help"
        )
    if (warmup := warmup_iterations(recipe, per_epoch)) >= total:
        reached = "reached only at the end" if warmup == total else "never reached"
        warnings.append(
            f"the warm-up takes {counted(warmup, 'iteration')} and training has {total}: lr is "
            f"{reached}. A "
            "shorter warm-up or more epochs help"
        )
    if recipe.freeze_prototypes >= total:
        warnings.append(
            f"prototypes are frozen for {counted(recipe.freeze_prototypes, 'iteration')} and "
            "training has "
            f"{total}: they are never trained. A smaller freeze_prototypes or more epochs help"
        )
    if queue is not None:
        full = queue.from_epoch * per_epoch + queue.length // recipe.batch_size
        if full >= total:
            warnings.append(
                f"the queue would be full after iteration {full} and training has {total}: it is "
                "never used. A shorter queue, an earlier queue.from_epoch or more epochs help"
            )
    if recipe.sinkhorn.epsilon < _MIN_EPSILON:
        warnings.append(
            f"sinkhorn.epsilon {recipe.sinkhorn.epsilon:g} is so small that codes come from "
            "rounding: of similarities that differ by 1, exp(-1 / epsilon) is 0 in float32. The "
            "papers use 0.03 to 0.05"
        )
    return warnings
