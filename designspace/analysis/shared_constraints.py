"""Constraints that the best models satisfy more often than the others."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from designspace.arch import BodyBatch, body_axes
from designspace.arch.parameter_columns import one_group_width
from designspace.errors import counted
from designspace.stats.arrays import BoolArray, FloatArray, IntArray
from designspace.stats.intervals import Estimate, proportion
from designspace.stats.multiple_testing import holm

_MIN_MODELS = 8


@dataclass(frozen=True)
class SharedConstraint:
    """A constraint, and how many models satisfy it.

    Attributes:
        name: The constraint in words.
        best: Fraction of the best models that satisfy it, with its interval.
        others: Fraction of the other models that satisfy it, with its interval.
        n: Number of the best and of the others.
        p: Fisher's exact test of equal fractions, with Holm's correction over the constraints.
    """

    name: str
    best: Estimate
    others: Estimate
    n: tuple[int, int]
    p: float

    @property
    def shared(self) -> bool:
        """Whether the best models are shown to satisfy it more often than the others."""
        return self.p < 0.05 and self.best.value > self.others.value


def shared_constraints(
    bodies: BodyBatch, errors: FloatArray, share: float = 0.25, level: float = 0.95
) -> tuple[SharedConstraint, ...]:
    """Return the constraints that some models satisfy and some don't, most significant first.

    Args:
        bodies: The bodies, (n, stages).
        errors: Their errors, (n,).
        share: Fraction of the models that count as the best.
        level: Level of the intervals.
    """
    from scipy.stats import fisher_exact

    n = len(errors)
    if n < _MIN_MODELS:
        return ()
    size = int(n * share)
    best = np.zeros(n, dtype=bool)
    best[np.argsort(errors, kind="stable")[:size]] = True
    satisfied = [(name, mask) for name, mask in _constraints(bodies) if 0 < mask.sum() < n]
    hits = [(int((mask & best).sum()), int((mask & ~best).sum())) for _, mask in satisfied]
    p = holm(
        [float(fisher_exact(np.array([[a, size - a], [b, n - size - b]])).pvalue) for a, b in hits]
    )
    constraints = [
        SharedConstraint(
            name=name,
            best=proportion(a, size, level),
            others=proportion(b, n - size, level),
            n=(size, n - size),
            p=adjusted,
        )
        for (name, _), (a, b), adjusted in zip(satisfied, hits, p, strict=True)
    ]
    return tuple(sorted(constraints, key=lambda one: (one.p, -one.best.value + one.others.value)))


def _constraints(bodies: BodyBatch) -> Iterator[tuple[str, BoolArray]]:
    """Yield each constraint of the papers that a body may satisfy, (n,)."""
    axes: tuple[tuple[str, str, IntArray], ...] = (
        ("widths", "w", bodies.widths),
        ("depths", "d", bodies.repeated_depths),
    )
    counts = bodies.stage_counts
    last = np.arange(1, bodies.num_stages) == counts[:, None] - 1
    for noun, letter, values in axes:
        rises = np.asarray(np.diff(values, axis=1) >= 0)
        yield f"{noun} never decrease", np.asarray(rises.all(axis=1))
        if bodies.num_stages > 2:
            but_last = np.asarray((rises | last).all(axis=1))
            yield f"{noun} never decrease but in the last stage", but_last
        for i in range(counts.min() - 1):
            yield f"{letter}{i + 2} ≥ {letter}{i + 1}", rises[:, i]
    for count in np.unique(counts):
        yield counted(int(count), "stage"), np.asarray(counts == count)
    present = body_axes(bodies.block)
    if "g" in present:
        yield "one g for all stages", one_group_width(bodies)
    shared_axes = {"b": bodies.bottleneck_ratios} if "b" in present else {}
    shared_axes |= bodies.extras
    for letter, columns in shared_axes.items():
        yield f"one {letter} for all stages", np.asarray(np.ptp(columns, axis=1) == 0)
        for value in np.unique(columns):
            yield f"{letter} = {value:g} in all stages", np.asarray((columns == value).all(axis=1))
