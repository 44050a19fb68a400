"""Pareto fronts, best error within a cost, hypervolume: twins, and coverage by simulation."""

from itertools import combinations

import numpy as np
import pytest

from designspace.stats.best_within_cost import best_difference, best_within_cost, search_size
from designspace.stats.hypervolume import (
    Box,
    expected_hypervolume,
    hypervolume,
    hypervolume_difference,
)
from designspace.stats.pareto import front_frequency, pareto_front


def ties(n, rng):
    """Costs and errors with many ties."""
    return rng.integers(1, 8, n).astype(float), rng.integers(30, 38, n).astype(float)


def beaten_by(costs, errors, i):
    """The obvious twin: how many models are no worse than model i, and better in something."""
    no_worse = (costs <= costs[i]) & (errors <= errors[i])
    return int((no_worse & ((costs < costs[i]) | (errors < errors[i]))).sum())


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_nobody_beats(seed):
    costs, errors = ties(40, np.random.default_rng(seed))
    twin = [beaten_by(costs, errors, i) == 0 for i in range(40)]
    assert pareto_front(costs, errors).tolist() == twin


def test_frequency_without_noise_follows_from_the_number_of_better_models():
    rng = np.random.default_rng(0)
    costs, errors = rng.uniform(1, 9, 30), rng.normal(40, 3, 30)
    frequency = front_frequency(costs, errors, rng=rng, repeats=8000)
    # Given that a model is drawn at least once, none of k others is: by counting.
    n, k = 30, np.array([beaten_by(costs, errors, i) for i in range(30)])
    absent = (1 - k / n) ** n - (1 - (k + 1) / n) ** n
    np.testing.assert_allclose(frequency, absent / (1 - (1 - 1 / n) ** n), atol=0.025)


def test_noise_makes_the_front_uncertain():
    """Two models of nearly equal error: by the noise, the cheaper is on the front in any case."""
    costs, errors = np.array([1.0, 2.0]), np.array([40.0, 39.99])
    rng = np.random.default_rng(0)
    assert front_frequency(costs, errors, rng=rng).tolist() == [1.0, 1.0]
    noisy = front_frequency(costs, errors, 1.0, rng=rng, repeats=4000)
    assert noisy[0] == 1.0
    assert noisy[1] == pytest.approx(0.5 + 0.5 * 1 / 3, abs=0.03)  # alone in a third of the samples


@pytest.mark.parametrize("k", [1, 2, 4])
def test_expected_hypervolume_is_the_mean_over_all_searches(k):
    rng = np.random.default_rng(k)
    costs, errors, box = rng.uniform(1, 10, 9), rng.normal(30, 3, 9), Box(1.5, 9.0, 33.0)
    every = [list(chosen) for chosen in combinations(range(9), k)]
    twin = np.mean([hypervolume(costs[c], errors[c], box) for c in every])
    result = expected_hypervolume(costs, errors, k, box)
    assert result.value == pytest.approx(twin)
    left_out = [
        expected_hypervolume(np.delete(costs, j), np.delete(errors, j), k, box).value
        for j in range(9)
    ]
    assert result.error == pytest.approx(np.sqrt(8 * np.var(left_out)))


def test_hypervolume_of_a_staircase():
    """10 points below the reference over half of the logarithmic axis, 20 over the other half."""
    box = Box(1.0, 100.0, 50.0)
    assert hypervolume(np.array([1.0, 10.0]), np.array([40.0, 30.0]), box) == pytest.approx(15)
    # Cheaper models count from the start, models beyond the reference point not at all.
    costs, errors = np.array([0.1, 10.0, 200.0, 2.0]), np.array([40.0, 30.0, 1.0, 60.0])
    assert hypervolume(costs, errors, box) == pytest.approx(15)


def planted(kind, n, rng):
    """Costs and errors of a space: one in which dearer models are better, or not, and so on."""
    x = rng.normal(0, 1, n)
    costs = np.exp(0.7 * x)
    if kind == "independent":
        return costs, 30 + rng.gamma(2, 1.5, n)
    if kind == "ties":
        return np.exp(0.7 * np.round(2 * x) / 2), np.round(30 - 3 * x + rng.normal(0, 1, n))
    errors = 30 - 3 * x + (rng.gamma(1, 0.3, n) if kind == "strong" else rng.normal(0, 1, n))
    return costs, np.where(rng.random(n) < 0.1, 90.0, errors) if kind == "diverged" else errors


def coverage(kind, n, repeats, seed):
    """Coverage of band, hypervolume, and the differences between two samples of one space."""
    rng = np.random.default_rng(seed)
    costs, errors = planted(kind, 150_000, rng)
    limits = np.geomspace(*np.quantile(costs, [0.02, 0.98]), 24)
    box = Box(limits[0], limits[-1], float(np.quantile(errors[errors < 80], 0.98)))
    k = search_size(n)
    share = 1 - 0.5 ** (1 / k)
    truth = np.array(
        [
            np.quantile(np.where(costs <= c, errors, np.inf), share, method="inverted_cdf")
            for c in limits
        ]
    )
    searches = [slice(i * k, (i + 1) * k) for i in range(min(20_000, 150_000 // k))]
    volume = np.mean([hypervolume(costs[s], errors[s], box) for s in searches])
    finite, hits, before = np.isfinite(truth), [], None
    for _ in range(repeats):
        sample = planted(kind, n, rng)
        best = best_within_cost(*sample, limits, k, rng=rng)
        estimated = expected_hypervolume(*sample, k, box)
        interval = estimated.estimate()
        hit = [
            bool(((best.low <= truth) & (truth <= best.high))[finite].all()),
            interval.low <= volume <= interval.high,
        ]
        if before is not None:
            difference, _ = hypervolume_difference(before[1], estimated)
            hit += [
                not best_difference(before[0], best).regions,
                difference.low <= 0 <= difference.high,
            ]
            hits.append(hit)
        before = best, estimated
    return np.mean(hits, axis=0)


KINDS = ("trade-off", "strong", "independent", "ties", "diverged")


def test_bands_and_intervals_cover_in_small_samples():
    band, volume, regions, difference = coverage("trade-off", 48, 80, 0)
    assert min(band, regions) >= 0.95 - 3 * 0.025
    assert min(volume, difference) >= 0.93 - 3 * 0.027


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [30, 64, 200])
def test_bands_and_intervals_cover(kind, n):
    """Measured over all of these: bands 95 to 99 %, hypervolumes 90 to 97 %, differences 92 %."""
    band, volume, regions, difference = coverage(kind, n, 400, n)
    print(f"{kind} n={n}: {band:.3f} {volume:.3f} {regions:.3f} {difference:.3f}")
    assert band >= 0.95 - 3 * 0.011
    assert regions >= 0.95 - 3 * 0.011
    assert volume >= 0.93 - 3 * 0.013
    assert difference >= 0.93 - 3 * 0.013


def test_the_band_is_open_where_the_sample_cannot_tell():
    rng = np.random.default_rng(0)
    costs, errors = planted("trade-off", 40, rng)
    limits = np.geomspace(costs.min() / 2, costs.max(), 10)
    best = best_within_cost(costs, errors, limits, search_size(40), rng=rng)
    assert np.isinf(best.errors[0])
    assert np.isinf(best.high[0])
    assert np.isfinite([best.low[-1], best.errors[-1], best.high[-1]]).all()
    assert (np.diff(best.errors[np.isfinite(best.errors)]) <= 0).all()
    # Searches over as many models as there are have no lower end.
    assert best_within_cost(costs, errors, limits, 40, rng=rng).low.max() == -np.inf


def test_a_better_space_is_shown_where_it_is_better():
    rng = np.random.default_rng(1)
    limits = np.geomspace(0.5, 3, 24)
    first, second = planted("trade-off", 200, rng), planted("trade-off", 200, rng)
    better = second[0], second[1] - np.where(second[0] < 1.2, 0.0, 4.0)
    curves = [best_within_cost(*one, limits, 16, rng=rng) for one in (first, better)]
    regions = best_difference(*curves).regions
    assert {region.better for region in regions} == {"second"}
    assert regions[-1].high == pytest.approx(3)
    assert min(region.low for region in regions) >= 1.2
