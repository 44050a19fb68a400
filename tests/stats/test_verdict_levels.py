"""Level and power of the tests behind verdicts, for normal and for skewed errors.

Run with DESIGNSPACE_PRINT=1 … -s to see the table: each test alone, and both.
"""

import os
from dataclasses import replace

import numpy as np
import pytest

from designspace.stats.mean_difference import difference_of_means, two_sided
from designspace.stats.two_sample import compare_arrays


def normal(rng, n, std):
    return rng.normal(0, std, n)


def skewed(rng, n, std):
    return std * (rng.exponential(1, n) - 1)


POPULATIONS = {
    "normal": ((normal, 4), (normal, 4)),
    "both skewed": ((skewed, 4), (skewed, 4)),
    "one skewed": ((skewed, 4), (normal, 2)),
}
# The highest rate of one-sided errors at .05, of both tests together, in 600 simulations each.
HIGHEST = {24: 0.075, 64: 0.07, 96: 0.07}
REPEATS = 600


def simulate(kind, n):
    """Rejections at .05 by the first test, the bootstrap-t, and both: (what, 3)."""
    rng = np.random.default_rng(n)
    (first, std), (second, other) = POPULATIONS[kind]
    margin = 3.5 * np.hypot(std, other) / np.sqrt(n)
    rows = []
    for _ in range(REPEATS):
        a, b = first(rng, n, std), second(rng, n, other)
        means = difference_of_means(a, b)
        # Shifting a population moves the difference and nothing else.
        worse, better = (replace(means, value=means.value + s * margin) for s in (1, -1))
        far = replace(means, value=means.value - 0.8 * margin)
        p = [
            (worse.p_below(margin), worse.p_below_bootstrap(margin)),
            (better.p_above(-margin), better.p_above_bootstrap(-margin)),
            (permutations(a, b, rng), means.p_zero_bootstrap()),
            (
                max(means.p_below(margin), means.p_above(-margin)),
                max(means.p_below_bootstrap(margin), means.p_above_bootstrap(-margin)),
            ),
            (permutations(a, b - 0.8 * margin, rng), far.p_zero_bootstrap()),
        ]
        rows.append([[p < 0.05, q < 0.05, max(p, q) < 0.05] for p, q in p])
    return np.mean(rows, axis=0)


def permutations(a, b, rng):
    return compare_arrays(a, b, rng=rng, permutations=299).p_mean


@pytest.mark.slow
@pytest.mark.parametrize("n", HIGHEST)
@pytest.mark.parametrize("kind", POPULATIONS)
def test_verdicts_hold_their_level_and_keep_their_power(kind, n):
    rates = simulate(kind, n)
    if os.environ.get("DESIGNSPACE_PRINT"):
        print(f"\n{kind}, n = {n}: not worse, not better, differ; power: equal, differ")
        print("\n".join(" ".join(f"{rate:.3f}" for rate in row) for row in rates.T))
    error = np.sqrt(0.05 * 0.95 / REPEATS)
    level = 0.05 if kind == "normal" else HIGHEST[n]
    assert (rates[:2, 2] <= level + 3 * error).all()
    assert rates[2, 2] <= 0.05 + 3 * error
    # Not by losing what the first test, which decided alone before, would show.
    assert rates[3, 2] >= (0.9 if kind == "normal" else 0.8)
    assert rates[4, 2] >= 0.7
    assert rates[3, 2] >= rates[3, 0] - 0.1
    assert rates[4, 2] >= rates[4, 0] - 0.05


@pytest.mark.slow
def test_one_test_alone_errs_where_the_other_does_not():
    """Why a verdict needs both."""
    assert simulate("one skewed", 24)[1, 0] > 0.08
    assert simulate("both skewed", 24)[2, 1] > 0.06


def test_p_values_of_both_tests():
    rng = np.random.default_rng(0)
    means = difference_of_means(rng.normal(50, 2, 40), rng.normal(49.8, 2, 40))
    assert means.p_within(2) == max(
        means.p_below(2),
        means.p_above(-2),
        means.p_below_bootstrap(2),
        means.p_above_bootstrap(-2),
    )
    assert means.p_beyond(2) > 0.9
    assert means.p_zero_bootstrap() == two_sided(
        means.p_below_bootstrap(0), means.p_above_bootstrap(0)
    )


def test_of_very_many_models_the_bootstrap_is_t():
    rng = np.random.default_rng(1)
    means = difference_of_means(rng.normal(50, 2, 1200), rng.normal(49.8, 2, 1200))
    assert means.p_below_bootstrap(0) == pytest.approx(means.p_below(0), abs=5e-4)
    assert means.p_above_bootstrap(-0.3) == pytest.approx(means.p_above(-0.3), abs=5e-4)
