"""Bands with equal local levels: coverage, sharpness where the best models are, and dominance."""

import math
import time

import numpy as np
import pytest
from scipy.stats import norm

from designspace.stats.edf import Edf, edf
from designspace.stats.edf_bands import coverage, edf_difference, equal_levels_band, local_level


def covers_uniform(band):
    """Whether a band contains F(e) = e everywhere: between two errors, the step's edges."""
    after = np.append(band.errors[1:], 1.0)
    start = band.errors[0] <= band.start
    return bool(start and np.all((band.low <= band.errors) & (after <= band.high)))


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bands_cover_the_whole_truth_at_their_level(level):
    rng = np.random.default_rng(0)
    covered = np.mean(
        [covers_uniform(equal_levels_band(edf(rng.random(40)), level)) for _ in range(800)]
    )
    assert covered >= level - 3 * math.sqrt(level * (1 - level) / 800)
    assert covered <= level + 0.08  # a band twice as wide would cover always


def test_half_a_band_does_not_cover():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        band = equal_levels_band(edf(rng.random(40)))
        heights = np.arange(1, 41) / 40
        low, high = (heights + (edge - heights) / 2 for edge in (band.low, band.high))
        after = np.append(band.errors[1:], 1.0)
        covered.append(np.all((low <= band.errors) & (after <= high)))
    assert np.mean(covered) < 0.6


def test_the_band_is_narrow_where_the_best_models_are():
    """Aldor-Noiman et al. 2013: beta quantiles; at height 0.02 of 500, DKW has 0 to 0.081."""
    band = equal_levels_band(edf(np.arange(500.0)))
    assert (band.low[9], band.high[9]) == pytest.approx((0.0056, 0.0490), abs=1e-4)


def test_ties_make_no_band_too_narrow():
    """Errors in steps of a tenth: F at a step is known, and lies within it."""
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(400):
        band = equal_levels_band(edf(np.ceil(rng.random(60) * 10) / 10))
        covered.append(np.all((band.low <= band.errors + 1e-9) & (band.errors <= band.high + 1e-9)))
    assert np.mean(covered) >= 0.95


def test_the_local_level_gives_the_exact_coverage():
    """For two points the probability is an integral over the unit square."""
    low, high = np.array([0.1, 0.3]), np.array([0.6, 0.9])
    # 2 * area of {a < b, a in [.1, .6], b in [.3, .9]}: the rectangle less the part with b < a.
    assert coverage(low, high) == pytest.approx(2 * (0.5 * 0.6 - 0.3**2 / 2))
    assert local_level(1, 0.95) == pytest.approx(0.025)
    rising = [local_level(n, 0.95) for n in (2, 10, 64, 500, 1024, 1025, 50_000)]
    assert rising == sorted(rising, reverse=True)
    # 48 seconds of the same computation gave 0.00029977 for 20,000.
    assert local_level(20_000, 0.95) == pytest.approx(0.00029977, rel=0.03)


def test_the_local_level_is_computed_once():
    local_level(1000, 0.9)
    begin = time.perf_counter()
    for _ in range(100):
        equal_levels_band(edf(np.arange(1000.0)), 0.9)
    assert time.perf_counter() - begin < 2


def covers_difference(n, m, shift, std, repeats, rng):
    """Share of bands of the difference that contain the truth everywhere."""
    grid = np.linspace(-6, 15, 1200)
    truth = norm.cdf(grid, shift, std) - norm.cdf(grid)
    covered = []
    for _ in range(repeats):
        first, second = rng.normal(size=n), rng.normal(shift, std, size=m)
        found = edf_difference(Edf.from_errors(first), Edf.from_errors(second))
        place = np.searchsorted(found.errors, grid, side="right") - 1
        inside = place >= 0
        low, high = found.low[place[inside]], found.high[place[inside]]
        covered.append(np.all((low <= truth[inside]) & (truth[inside] <= high)))
    return np.mean(covered)


@pytest.mark.parametrize(("shift", "std"), [(0, 1), (6, 1)])
def test_the_band_of_a_difference_covers(shift, std):
    covered = covers_difference(64, 64, shift, std, 200, np.random.default_rng(3))
    assert covered >= 0.95 - 3 * 0.0154


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(20, 20), (64, 64), (64, 500), (500, 64)])
@pytest.mark.parametrize(("shift", "std"), [(0, 1), (0.3, 1), (1, 1), (0, 2), (6, 1), (9, 1)])
def test_the_band_of_a_difference_covers_at_any_overlap(sizes, shift, std):
    covered = covers_difference(*sizes, shift, std, 1000, np.random.default_rng(4))
    assert covered >= 0.95 - 3 * 0.0069


def test_the_region_of_dominance_is_where_the_difference_is():
    """The second has fewer bad models only: its best are no better."""
    rng = np.random.default_rng(5)
    first = np.concatenate([rng.uniform(30, 40, 100), rng.uniform(60, 70, 100)])
    second = rng.uniform(30, 40, 200)
    found = edf_difference(Edf.from_errors(first), Edf.from_errors(second))
    assert {region.better for region in found.regions} == {"second"}
    assert 30 < found.regions[0].low < 37
    assert 60 < found.regions[-1].high < 70
    reverse = edf_difference(Edf.from_errors(second), Edf.from_errors(first))
    assert {region.better for region in reverse.regions} == {"first"}
    same = edf_difference(Edf.from_errors(first), Edf.from_errors(first))
    assert same.regions == ()


def test_crossing_curves_dominate_in_different_regions():
    rng = np.random.default_rng(6)
    narrow, wide = rng.normal(50, 1, 150), rng.normal(50, 5, 150)
    found = edf_difference(Edf.from_errors(narrow), Edf.from_errors(wide))
    assert [region.better for region in found.regions] == ["second", "first"]
