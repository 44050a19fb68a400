"""The learning rate of each step: linear warm-up, then half a cosine; or drops at milestones."""

import math

from designspace.runs import Recipe


def warmup_cosine(
    step: int,
    *,
    total: int,
    warmup: int,
    peak: float,
    start: float | None = None,
    final: float = 0.0,
) -> float:
    """Return the learning rate of a step.

    The cosine would reach `final` one step after the last.

    Args:
        step: Steps taken so far.
        total: Steps of the whole schedule.
        warmup: Steps of the warm-up, the last of which has the peak rate.
        peak: Highest learning rate.
        start: Rate of the first step of the warm-up; None for peak / warmup, a rise from 0.
        final: Rate that the cosine falls to.
    """
    if step < warmup:
        if start is None:
            return peak * (step + 1) / warmup
        return start + (peak - start) * (step / max(1, warmup - 1))
    angle = math.pi * (step - warmup) / max(1, total - warmup)
    return final + 0.5 * (peak - final) * (1 + math.cos(angle))


def step_decay(step: int, total: int, milestones: tuple[float, ...], gamma: float) -> float:
    """Return the ratio of a step's learning rate to the peak.

    Args:
        step: Steps taken so far.
        total: Steps of the whole schedule.
        milestones: Fractions of training after each of which the rate is multiplied by `gamma`.
        gamma: See milestones.
    """
    return gamma ** sum(step / total >= milestone for milestone in milestones)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a training recipe at a step, counted over all epochs."""
    return warmup_cosine(
        step,
        total=recipe.epochs * steps_per_epoch,
        warmup=round(recipe.warmup_epochs * steps_per_epoch),
        peak=recipe.lr,
    )
