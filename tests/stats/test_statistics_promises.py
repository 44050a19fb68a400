"""Statistics by what they promise, over simulated repeats; clever code beside its obvious twin."""

import warnings

import numpy as np
import pytest
from analysis.populations import made_up
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from designspace.analysis.compare_pairs import compare_pairs
from designspace.analysis.quantized_linear_fit import fit_quantized_linear
from designspace.analysis.trial_accounting import counted_models
from designspace.arch import RegNetParams
from designspace.errors import InputError
from designspace.stats.best_of_k import best_of_k
from designspace.stats.edf import edf, normalized_weights
from designspace.stats.equivalence import equivalent
from designspace.stats.intervals import quantile_interval, spearman_interval
from designspace.stats.mean_difference import difference_of_means, mean_of_pairs, sign_flip_test
from designspace.stats.multiple_testing import holm
from designspace.stats.power import (
    detectable_difference,
    difference_power,
    equivalence_power,
    models_for_difference,
)
from designspace.stats.range_of_best import best_weights, bootstrap
from designspace.stats.sequential import compare_sequentially, confidence_sequence
from designspace.stats.two_sample import compare, minimum_test

ERRORS = st.lists(st.sampled_from([30.0, 31.5, 40.0, 40.5, 55.0, 90.0]), min_size=1, max_size=40)


@given(ERRORS)
@settings(max_examples=100, deadline=None)
def test_an_edf_is_the_share_strictly_below(errors):
    function = edf(errors)
    for error in {*errors, 0.0, 35.0, 100.0}:
        assert function.at(error) == pytest.approx(np.mean(np.array(errors) < error))
    assert function.cumulative[-1] == pytest.approx(1.0)
    assert (np.diff(function.cumulative) > 0).all()
    assert function.minimum == min(errors)
    assert function.mean == pytest.approx(np.mean(errors))


def test_the_legend_is_minimum_and_mean():
    assert edf([39.04, 49.0, 59.0]).legend == "[39.0 | 49.0]"


def test_quantile_intervals_cover():
    rng = np.random.default_rng(1)
    covered = [
        found.low <= 0.5 <= found.high
        for found in (quantile_interval(rng.random(41), 0.5) for _ in range(500))
    ]
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("ties", [False, True])
def test_the_closed_form_bootstrap_is_what_resampling_tends_to(ties):
    rng = np.random.default_rng(2)
    n, draws, repeats = 40, 10, 60_000
    errors = rng.integers(30, 40, n).astype(float) if ties else rng.random(n)
    picked = rng.integers(0, n, (repeats, draws))
    drawn = errors[picked]
    is_best = drawn == drawn.min(axis=1, keepdims=True)
    # Of several equal best, each is taken equally often.
    mass = is_best / is_best.sum(axis=1, keepdims=True)
    resampled = np.bincount(picked.ravel(), mass.ravel(), minlength=n) / repeats
    weights = best_weights(errors, draws)
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(weights, resampled, atol=0.006)


def test_few_models_carry_the_weight_at_500():
    # Facts, own computation: at n = 500 and m = 125 the best 15 models carry 97.8 % of the weight.
    weights = np.sort(best_weights(np.arange(500.0), 125))[::-1]
    assert weights[:15].sum() == pytest.approx(0.978, abs=5e-4)


def test_the_bootstrap_finds_a_planted_best_value():
    rng = np.random.default_rng(3)
    depth = rng.integers(4, 40, 300).astype(float)
    found = bootstrap(depth, np.abs(depth - 20) + rng.normal(0, 1, 300))
    assert found.low <= 20 <= found.high
    assert found.high - found.low < 10


def test_expected_best_of_k_against_all_subsets():
    from itertools import combinations, product

    errors = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    found = best_of_k(errors, [1, 2, 3])
    for i, k in enumerate((1, 2, 3)):
        without = np.mean([min(errors[list(c)]) for c in combinations(range(5), k)])
        with_ = np.mean([min(errors[list(c)]) for c in product(range(5), repeat=k)])
        assert found.unbiased[i] == pytest.approx(without)
        assert found.expected[i] == pytest.approx(with_)


def test_normalized_weights_balance_the_bins_and_empty_bins_are_reported():
    complexity = np.array([1.0, 1.5, 1.8, 3.5])
    assert normalized_weights(complexity, 2, 1.0, 4.0).tolist() == pytest.approx(
        [1 / 6] * 3 + [0.5]
    )
    with pytest.raises(InputError, match="bin"):
        normalized_weights(complexity, 4, 1.0, 4.0)


def test_tests_hold_their_level_under_the_null_and_see_a_difference():
    rng = np.random.default_rng(4)
    null = [
        compare(rng.gamma(4, 2, 30), rng.gamma(4, 2, 30), rng=rng, permutations=199)
        for _ in range(300)
    ]
    for name in ("p_mean", "p_median", "p_minimum", "p_ks"):
        assert np.mean([getattr(c, name) <= 0.05 for c in null]) < 0.05 + 3 * 0.0126, name
    assert np.mean([c.mean.low <= 0 <= c.mean.high for c in null]) > 0.95 - 3 * 0.0126
    seen = compare(rng.gamma(4, 2, 60), rng.gamma(4, 2, 60) + 4, rng=rng)
    assert max(seen.p_mean, seen.p_median, seen.p_ks) < 0.01
    assert seen.superiority.value < 0.3


def test_the_minimum_test_is_exact():
    from itertools import permutations

    first, second = [3.0, 7.0, 8.0], [5.0, 6.0]
    observed = abs(min(second) - min(first))
    pooled = first + second
    shares = [abs(min(p[3:]) - min(p[:3])) >= observed for p in permutations(pooled)]
    assert minimum_test(np.array(first), np.array(second)) == pytest.approx(np.mean(shares))


def test_equivalence_never_calls_a_margin_sized_difference_equal_too_often():
    rng = np.random.default_rng(5)
    margin = 1.0
    wrong = [
        equivalent(rng.normal(0, 2, 50), rng.normal(margin, 2, 50), margin).p < 0.05
        for _ in range(4000)
    ]
    assert np.mean(wrong) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
    right = [
        equivalent(rng.normal(0, 2, 400), rng.normal(0, 2, 400), margin).p < 0.05
        for _ in range(100)
    ]
    assert np.mean(right) > 0.95


def test_power_is_what_simulation_gives():
    rng = np.random.default_rng(6)
    n = models_for_difference(1.0, (2.0, 2.0))
    assert difference_power(1.0, (2.0, 2.0), n) >= 0.8 > difference_power(1.0, (2.0, 2.0), n - 1)
    # However far out in its tails, the distribution has a number.
    for far in (0.1, 1.0, 5.0, 90.0):
        for models in (2, 30, 100, 500, 10_000):
            powers = [difference_power(far, (0.1, 0.1), models, alpha) for alpha in (0.001, 0.05)]
            assert 0 <= powers[0] <= powers[1] <= 1
    simulated = [
        equivalent(rng.normal(0, 2, 60), rng.normal(0, 2, 60), 1.2).p < 0.05 for _ in range(800)
    ]
    assert np.mean(simulated) == pytest.approx(equivalence_power(1.2, (2.0, 2.0), 60), abs=0.06)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.9, 0.8]) == (1.0, 1.0)


def test_the_sequential_comparison_holds_its_level_under_peeking():
    rng = np.random.default_rng(7)
    fooled = [
        compare_sequentially(rng.normal(50, 5, 150), rng.normal(50, 5, 150)).decided_at is not None
        for _ in range(150)
    ]
    assert np.mean(fooled) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    found = compare_sequentially(rng.normal(50, 5, 400), rng.normal(46, 5, 400))
    assert found.better is True
    assert found.decided_at < 400


def test_a_confidence_sequence_covers_at_all_times_at_once():
    rng = np.random.default_rng(8)
    covered = []
    for _ in range(150):
        found = confidence_sequence(rng.beta(2, 5, 200))
        covered.append(bool(np.all((found.low <= 2 / 7) & (found.high >= 2 / 7))))
    assert np.mean(covered) >= 0.93


@given(
    d=st.integers(8, 30),
    w_0=st.integers(2, 20).map(lambda v: 8 * v),
    w_a=st.floats(8, 60),
    w_m=st.floats(1.8, 3),
)
@settings(max_examples=25, deadline=None)
def test_a_network_on_the_rule_is_fitted_well(d, w_0, w_a, w_m):
    body = RegNetParams(d, w_0, round(w_a, 1), round(w_m, 2), 1.0, 8).body()
    found = fit_quantized_linear(np.repeat(body.widths, body.depths))
    # Not zero: the fit's grid is finite. The most over 4,000 random ones was 0.018.
    assert found.error[0] < 0.03


def test_widths_that_go_down_are_no_line():
    rising = fit_quantized_linear(np.repeat([48, 96, 192, 384], [2, 4, 6, 3])).error[0]
    falling = fit_quantized_linear(np.repeat([384, 192, 96, 48], [2, 4, 6, 3])).error[0]
    assert falling > 5 * rising


def test_unfinished_populations_are_read_in_sampled_order():
    states = np.array(["complete", "failed", "diverged", "missing", "complete"])
    errors = np.array([10.0, np.nan, 90.0, np.nan, 5.0])
    assert counted_models(states, errors).tolist() == [True, False, True, False, False]
    assert counted_models(states, errors, all_finished=True).tolist() == [
        True,
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("bad", [[], [np.nan], [1.0, np.inf], ["x"], [[1.0]]])
def test_values_that_are_no_errors_are_refused(bad):
    with pytest.raises(InputError):
        edf(bad)


def test_few_tied_errors_are_compared_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare([0.7, 1.1, 0.8, 2.0, 1.1], [2.3, 0.5, 1.1, 1.6, 1.0])
    assert 0 < found.p_ks <= 1


def test_constant_errors_that_are_equal_up_to_rounding_do_not_differ():
    """Each is 0.3 in one of the ways that floats write it; p was 0.0005."""
    first, second = np.full(20, 0.3), np.full(33, 0.1 + 0.2)
    assert first[0] != second[0]
    equal = compare(first, second)
    assert (equal.p_mean, equal.p_median, equal.p_minimum, equal.p_ks) == (1, 1, 1, 1)
    assert (equal.mean.value, equal.superiority.value, equal.hedges_g.value) == (0, 0.5, 0)
    means = difference_of_means(first, second)
    assert means.p_zero_bootstrap() == 1
    assert mean_of_pairs(second[:20] - first).p_zero_bootstrap() == 1
    assert sign_flip_test(second[:20] - first) == 1
    (pair,) = compare_pairs([made_up(first, "a"), made_up(second, "b")])
    assert (pair.verdict, pair.edf_difference.regions) == ("equivalent", ())
    assert pair.sequential.decided_at is None
    # A difference of two hundredths of a point is one.
    assert compare(first, second + 0.02).p_mean < 0.001


@pytest.mark.parametrize(("n", "correlation"), [(5, 0.8), (5, 0.95), (8, 0.95), (10, 0.9)])
def test_the_interval_of_few_ranks_covers_strong_correlations(n, correlation):
    """Five pairs with a correlation of 0.95 often rank alike, which is no certainty."""
    rng, covered, studies = np.random.default_rng(2), 0, 1000
    truth = 6 / np.pi * np.arcsin(correlation / 2)
    noise = np.sqrt(1 - correlation**2)
    for _ in range(studies):
        x = rng.normal(size=n)
        y = correlation * x + noise * rng.normal(size=n)
        interval = spearman_interval(float(spearmanr(x, y).statistic), n)
        covered += interval.low <= truth <= interval.high
        assert interval.low <= interval.value <= interval.high
    assert covered / studies > 0.93


def test_a_comparison_takes_a_seed_and_few_permutations():
    a, b = np.arange(10.0), np.arange(10.0) + 1
    assert compare(a, b, rng=0, permutations=50).permutations == 50
    assert compare(a, b, rng=0) == compare(a, b, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="rng is -1; a seed must be at least 0"):
        compare(a, b, rng=-1)
    with pytest.raises(InputError, match="permutations is 0"):
        compare(a, b, permutations=0)


def test_equal_errors_are_no_certainty():
    superiority = compare(np.full(5, 90.0), np.full(7, 90.0)).superiority
    assert superiority.value == 0.5
    assert superiority.low == pytest.approx(1 - superiority.high)
    # Wilson's interval of 2.5 of 5.
    assert superiority.low == pytest.approx(0.17, abs=0.005)


def test_a_difference_is_detectable_however_few_models():
    difference = detectable_difference((1.0, 0.0), 2, power=0.9)
    assert difference_power(difference, (1.0, 0.0), 2) == pytest.approx(0.9)
