"""Which constraints the best models share: far more of the best keep them than of the others."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from designspace.arch import BOTTLENECK, BodyBatch
from designspace.arch.parameter_columns import one_group_width
from designspace.stats.arrays import BoolArray, FloatArray, IntArray
from designspace.stats.comparison import Estimate, holm


@dataclass(frozen=True)
class SharedConstraint:
    """A constraint, and how many models keep it.

    Attributes:
        name: The constraint in words.
        best: Share of the best models that keep it, with its interval.
        others: Share of the other models that keep it, with its interval.
        n: Number of the best and of the others.
        p: Fisher's exact test of equal shares, corrected by Holm's method over the constraints.
    """

    name: str
    best: Estimate
    others: Estimate
    n: tuple[int, int]
    p: float

    @property
    def shared(self) -> bool:
        """Whether the best models are shown to keep it more often than the others."""
        return self.p < 0.05 and self.best.value > self.others.value


def shared_constraints(
    bodies: BodyBatch, errors: FloatArray, share: float = 0.25, level: float = 0.95
) -> tuple[SharedConstraint, ...]:
    """Return the constraints that some models keep and some don't, the most telling first.

    Args:
        stages: The bodies, (n, stages).
        errors: Their errors, (n,).
        share: Share of the models that are the best.
        level: Level of the intervals.
    """
    from scipy.stats import fisher_exact

    n = len(errors)
    size = max(1, int(n * share))
    if n < 8:
        return ()
    best = np.zeros(n, dtype=bool)
    best[np.argsort(errors, kind="stable")[:size]] = True
    kept = [(name, keeps) for name, keeps in _constraints(bodies) if 0 < keeps.sum() < n]
    tables = [
        np.array([[(keeps & side).sum(), (~keeps & side).sum()] for side in (best, ~best)])
        for _, keeps in kept
    ]
    p = holm([float(fisher_exact(table).pvalue) for table in tables])
    found = [
        SharedConstraint(
            name=name,
            best=proportion(int(table[0, 0]), size, level),
            others=proportion(int(table[1, 0]), n - size, level),
            n=(size, n - size),
            p=adjusted,
        )
        for (name, _), table, adjusted in zip(kept, tables, p, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (one.p, -one.best.value + one.others.value)))


def proportion(hits: int, n: int, level: float) -> Estimate:
    """Return a share with Wilson's interval (1927)."""
    from scipy.stats import norm

    z = float(norm.ppf((1 + level) / 2))
    share = hits / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(share, max(0.0, center - reach), min(1.0, center + reach))


def _constraints(bodies: BodyBatch) -> Iterator[tuple[str, BoolArray]]:
    """Yield each constraint of the papers that a body may keep, (n,)."""
    axes: tuple[tuple[str, str, IntArray | FloatArray], ...] = (
        ("widths", "w", bodies.widths),
        ("depths", "d", bodies.depths),
    )
    count = bodies.num_stages
    for words, letter, values in axes:
        rises = np.asarray(np.diff(values, axis=1) >= 0)
        yield f"{words} never decrease", np.asarray(rises.all(axis=1))
        if count > 2:
            but_last = np.asarray(rises[:, :-1].all(axis=1))
            yield f"{words} never decrease but in the last stage", but_last
        for i in range(count - 1):
            yield f"{letter}{i + 2} ≥ {letter}{i + 1}", rises[:, i]
    ours = bodies.block == BOTTLENECK
    for letter, kind in ({"b": bodies.bottleneck_ratios} if ours else bodies.extras).items():
        yield f"one {letter} for all stages", np.asarray(np.ptp(kind, axis=1) == 0)
        if ours:
            yield "one g for all stages", one_group_width(bodies)
        for value in np.unique(kind):
            yield f"{letter} = {value:g} in all stages", np.asarray(np.all(kind == value, axis=1))
