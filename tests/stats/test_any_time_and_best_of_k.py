"""The mean at any time, and what a new search may find."""

import numpy as np
import pytest

from designspace.stats.best_of_k import best_of_k
from designspace.stats.sequential import compare_sequentially, mean_sequence


def ever_wrong(draw, repeats, n):
    return np.mean([_misses(mean_sequence(draw(n))) for _ in range(repeats)])


def _misses(found):
    return bool(((found.low > 0) | (found.high < 0)).any())


def test_the_sequence_of_means_covers_at_all_times_at_once():
    rng = np.random.default_rng(0)
    assert ever_wrong(lambda n: rng.normal(0, 3, n), 400, 300) <= 0.05 + 3 * 0.011


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "diverged", "skewed"])
def test_the_sequence_of_means_holds_its_level(kind):
    rng = np.random.default_rng(1)
    draws = {
        "normal": lambda n: rng.normal(0, 3, n),
        "diverged": lambda n: (
            rng.normal(0, 2, n) + 40 * ((rng.random(n) < 0.05) - 1.0 * (rng.random(n) < 0.05))
        ),
        "skewed": lambda n: rng.exponential(1, n) - rng.exponential(1, n),
    }
    assert ever_wrong(draws[kind], 1500, 500) <= 0.05 + 3 * 0.0056


def test_the_sequence_decides_on_means_of_a_few_points():
    """Bounds of 0 to 100 % needed hundreds of pairs for 3 points at a standard deviation of 2."""
    rng = np.random.default_rng(2)
    found = compare_sequentially(rng.normal(50, 2, 64), rng.normal(47, 2, 64))
    assert found.better is True
    assert found.decided_at <= 30


def test_wins_are_not_called_better():
    """The second wins more pairs, but 8 % of its models diverge: its mean is higher."""
    rng = np.random.default_rng(3)
    first = rng.normal(50, 1, 300)
    second = np.where(rng.random(300) < 0.08, 90.0, rng.normal(48.9, 1, 300))
    assert second.mean() > first.mean() + 1
    found = compare_sequentially(first, second)
    assert found.wins is True
    assert found.better is not True


def covered_by_new_searches(k, n, repeats, rng):
    """Share of new searches, of k models each, that end within the range of n models."""
    inside = []
    for _ in range(repeats):
        found = best_of_k(rng.normal(50, 2, n), [k])
        best = rng.normal(50, 2, (20, k)).min(axis=1)
        inside.append(np.mean((found.low[0] <= best) & (best <= found.high[0])))
    return np.mean(inside)


@pytest.mark.parametrize("k", [1, 8, 32, 64])
def test_new_searches_end_in_the_range(k):
    """By redraws of the same 64 models: 93, 86, 62 and 43 %."""
    assert covered_by_new_searches(k, 64, 300, np.random.default_rng(k)) >= 0.95 - 0.02


def test_the_curve_ends_where_the_best_of_all_would_decide():
    assert best_of_k(np.arange(64.0)).k.max() == 8
    assert best_of_k(np.arange(64.0), [64]).k.tolist() == [64]
    assert best_of_k([40.0]).k.tolist() == [1]
    wide = best_of_k(np.arange(400.0), [1, 50])
    assert np.isfinite([wide.low[0], wide.high[0]]).all()
    assert (wide.low[1], np.isfinite(wide.high[1])) == (-np.inf, True)


@pytest.mark.slow
def test_the_sequence_of_means_errs_as_often_as_its_docstring_says():
    rng = np.random.default_rng(1)
    one = ever_wrong(lambda n: rng.exponential(1, n) - 1, 1500, 500)
    both = ever_wrong(lambda n: rng.exponential(2, n) - 2 + rng.normal(0, 1, n), 1500, 500)
    assert one == pytest.approx(0.08, abs=3 * 0.007)
    assert both <= 0.05 + 3 * 0.0056
