"""Bounds on what failed models hide, levels over many tests at once, and obvious twins."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marks import quick_share
from scipy.stats import binom

from designspace.analysis.compare_pairs import compare_pairs
from designspace.analysis.population_results import PopulationResults, Provenance
from designspace.analysis.quantized_linear_fit import fit_quantized_linear, width_trend
from designspace.analysis.trial_accounting import account, counted_models
from designspace.errors import InputError
from designspace.stats.best_of_k import best_of_k
from designspace.stats.edf import edf, normalized_weights
from designspace.stats.equivalence import equivalent
from designspace.stats.mean_difference import difference_of_means
from designspace.stats.sequential import compare_sequentially, decision
from designspace.stats.two_sample import compare

CHANCE = 90.0
STATES = ("complete", "diverged", "failed", "missing")


def results(errors, states=None, name="a", all_finished=False):
    """A population with these errors, without networks."""
    errors = np.asarray(errors, dtype=np.float64)
    words = np.array(states or ["complete"] * len(errors))
    return PopulationResults(
        name=name,
        space="made-up",
        family="anynet",
        ids=tuple(map(str, range(len(errors)))),
        states=words,
        errors=errors,
        chance=CHANCE,
        parameters={},
        costs={},
        bodies=None,
        regnets=None,
        counted=counted_models(words, errors, all_finished),
        provenance=Provenance(path=""),
    )


@given(
    states=st.lists(st.sampled_from(STATES), min_size=1, max_size=30).filter(
        lambda words: words[0] == "complete"
    ),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_any_errors_of_failed_models_are_within_the_bounds(states, seed):
    rng = np.random.default_rng(seed)
    drawn = {"complete": lambda: rng.uniform(20, CHANCE), "diverged": lambda: CHANCE}
    errors = np.array([drawn.get(word, lambda: np.nan)() for word in states])
    found = account(results(errors, states))
    read = states.index("missing") if "missing" in states else len(states)
    assert found.trained + found.missing == found.n == len(states)
    assert found.counted == sum(word in ("complete", "diverged") for word in states[:read])
    failed = states[:read].count("failed")
    assert found.finished == ("missing" not in states)
    assert found.set_aside == sum(w in ("complete", "diverged") for w in states[read:])
    # Had the failed ones ended anywhere between the best model and chance:
    counted = errors[:read][np.isfinite(errors[:read])]
    hidden = rng.uniform(counted.min(), CHANCE, failed)
    for guess in (hidden, np.full_like(hidden, counted.min()), np.full_like(hidden, CHANCE)):
        whole = np.concatenate([counted, guess])
        assert found.mean_best_case - 1e-9 <= whole.mean() <= found.mean_worst_case + 1e-9


def test_failed_models_after_a_gap_are_bounded_where_all_trials_count():
    errors, states = [40.0, np.nan, 50.0, np.nan], ["complete", "missing", "complete", "failed"]
    assert account(results(errors, states)).mean_worst_case == 40
    found = account(results(errors, states, all_finished=True))
    assert found.counted == 2
    assert (found.mean_best_case, found.mean_worst_case) == pytest.approx((130 / 3, 60))


@given(
    st.lists(
        st.tuples(st.sampled_from([31.0, 40.0, 40.5, 90.0]), st.floats(0, 1)),
        min_size=2,
        max_size=30,
    )
)
@settings(max_examples=80, deadline=None)
def test_an_edf_rises_from_0_to_1_at_equal_complexity_too(models):
    errors, complexity = np.array(models).T
    complexity[:2] = 0.0, 1.0
    weights = normalized_weights(complexity, 2, 0.0, 1.0)
    assert weights.sum() == pytest.approx(1)
    assert weights[complexity < 0.5].sum() == pytest.approx(0.5)
    function = edf(errors, weights)
    heights = function.at(np.array([-np.inf, 0.0, *np.unique(errors), 95.0, np.inf]))
    assert (heights[:2] == 0).all()
    assert (heights[-2:] == 1).all()
    assert (np.diff(heights) >= 0).all()
    assert function.at(40.5) == pytest.approx(weights[errors < 40.5].sum())


def test_the_range_of_the_best_of_k_is_what_searches_find():
    rng = np.random.default_rng(1)
    errors = rng.normal(50, 5, 80)
    found = best_of_k(errors, [5, 20])
    for i, k in enumerate((5, 20)):
        best = errors[rng.integers(0, 80, (20_000, k))].min(axis=1)
        assert np.mean(best < found.low[i]) <= 0.025 + 0.004
        assert np.mean(best > found.high[i]) <= 0.025 + 0.004
        assert best.mean() == pytest.approx(found.expected[i], abs=0.1)


def test_permutation_tests_are_what_all_permutations_give():
    first, second = np.array([1.0, 2.5, 3.0, 9.0]), np.array([4.0, 5.5, 8.0, 12.0, 2.0])
    pooled = np.concatenate([first, second])

    def statistics(a, b):
        spread = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        return np.array([abs(a.mean() - b.mean()) / spread, abs(np.median(a) - np.median(b))])

    observed = statistics(first, second)
    every = [
        statistics(pooled[list(rows)], np.delete(pooled, rows))
        for rows in combinations(range(9), 4)
    ]
    exact = np.mean([found >= observed - 1e-9 for found in every], axis=0)
    found = compare(first, second, permutations=20_000)
    assert (found.p_mean, found.p_median) == pytest.approx(tuple(exact), abs=0.012)


def test_intervals_of_a_comparison_cover():
    rng = np.random.default_rng(2)
    covered = np.zeros(3)
    for _ in range(400):
        found = compare(
            rng.normal(50, 2, 25), rng.normal(49, 2, 40), rng=rng, permutations=199, level=0.9
        )
        intervals = ((found.mean, -1), (found.median, -1), (found.hedges_g, -0.5))
        covered += [one.low <= truth <= one.high for one, truth in intervals]
    assert (covered / 400 >= 0.9 - 3 * 0.015).all()
    assert (covered / 400 <= 0.98).all()


@pytest.mark.parametrize("studies", quick_share([40, 160], [40]))
def test_no_space_of_several_alike_is_called_better_too_often(studies):
    """Three alike: any verdict but undecided or equivalent is wrong; margins are rarely denied."""
    rng = np.random.default_rng(3)
    wrong, denied = 0, 0
    for _ in range(studies):
        pairs = compare_pairs([results(rng.normal(50, 4, 30), name=name) for name in "abc"], 0.1)
        wrong += any(pair.verdict in ("better", "worse") for pair in pairs)
        denied += any(pair.equal == "contradicted" for pair in pairs)
    assert max(wrong, denied) <= binom.isf(0.002, studies, 0.05)  # more have a chance of 0.2 %


def test_verdicts_of_planted_differences():
    rng = np.random.default_rng(4)
    base = rng.normal(50, 2, 200)
    made = {"a": base, "same": rng.permutation(base), "worse": base + 3, "better": base - 3}
    pairs = {
        (pair.first, pair.second): pair
        for pair in compare_pairs([results(errors, name=name) for name, errors in made.items()], 1)
    }
    assert pairs["a", "same"].verdict == "equivalent"
    assert pairs["a", "worse"].verdict == "worse"
    assert pairs["a", "better"].verdict == "better"
    assert pairs["a", "better"].equal == "contradicted"
    assert (pairs["a", "same"].better, pairs["a", "same"].equal) == ("undecided", "supported")
    assert pairs["worse", "better"].sequential.better is True


def test_a_test_against_a_margin_and_its_opposite_never_both_speak():
    rng = np.random.default_rng(5)
    for shift in (0.0, 0.5, 1.0, 4.0):
        a, b = rng.normal(0, 1, 60), rng.normal(shift, 1, 60)
        found = difference_of_means(a, b)
        assert not (found.p_within(1.0) < 0.05 and found.p_beyond(1.0) < 0.05)
        assert (found.p_beyond(1.0) < 0.05) == (shift == 4.0)
        interval = found.estimate(0.9)
        assert (equivalent(a, b, 1.0).p < 0.05) == (interval.low > -1 and interval.high < 1)


def test_peeking_fools_a_plain_test_and_not_the_sequential_one():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(6)
    plain, ours = [], []
    for _ in range(60):
        a, b = rng.normal(50, 5, (2, 120))
        looks = range(10, 121, 5)
        plain.append(any(ttest_ind(a[:n], b[:n]).pvalue < 0.05 for n in looks))
        ours.append(compare_sequentially(a, b).decided_at is not None)
    assert np.mean(plain) > 0.12
    assert np.mean(ours) <= 0.05 + 3 * 0.028


def test_what_was_decided_early_is_what_an_early_look_gives():
    rng = np.random.default_rng(7)
    a, b = rng.normal(50, 4, 300), rng.normal(45, 4, 300)
    whole = compare_sequentially(a, b)
    assert whole.decided_at is not None
    early = compare_sequentially(a[: whole.decided_at], b[: whole.decided_at])
    assert (early.decided_at, early.better) == (whole.decided_at, True)
    before = compare_sequentially(a[: whole.decided_at - 1], b[: whole.decided_at - 1])
    assert before.decided_at is None
    np.testing.assert_array_equal(early.mean.low, whole.mean.low[: whole.decided_at])


def test_many_networks_at_once_are_fitted_as_one_by_one():
    rng = np.random.default_rng(8)
    depths, widths = rng.integers(1, 6, (12, 4)), 8 * rng.integers(1, 60, (12, 4))
    together = fit_quantized_linear(widths, depths)
    alone = [
        fit_quantized_linear(np.repeat(w, d)).error[0] for w, d in zip(widths, depths, strict=True)
    ]
    assert together.error.tolist() == alone
    assert (together.w_0 % 8 == 0).all()


def test_a_fit_is_no_worse_than_a_full_grid():
    from designspace.arch import quantized_widths

    rng = np.random.default_rng(9)
    grid = [
        axis.ravel()
        for axis in np.meshgrid(
            np.arange(8, 200, 8), np.geomspace(4, 256, 20), np.linspace(1.5, 3, 12)
        )
    ]
    for _ in range(15):
        # Narrow at first and steep: where w_0 has no room below.
        widths = np.sort(8 * rng.integers(1, 120, 4))
        blocks = np.repeat(widths, rng.integers(1, 6, 4))
        predicted = quantized_widths(np.full(len(grid[0]), len(blocks)), *grid)
        by_grid = np.abs(np.log(predicted / blocks)).mean(axis=1).min()
        assert fit_quantized_linear(blocks).error[0] <= by_grid + 0.005


def test_the_papers_line_is_found():
    # DDS §3.3: the best models' block widths follow 48 (j + 1).
    depths = np.ones((5, 6), dtype=np.int64)
    line = 48 * np.arange(1, 7)
    found = width_trend(depths, np.tile(line, (5, 1)))
    assert (found.slope, found.error, found.models) == (pytest.approx(48), pytest.approx(0), 5)


def test_the_order_of_the_rows_changes_no_error_based_number():
    rng = np.random.default_rng(10)
    a, b = rng.normal(50, 3, 40), rng.normal(49, 3, 30)
    one, two = compare(a, b), compare(rng.permutation(a), rng.permutation(b))
    for name in ("p_ks", "p_minimum", "ks", "minimum"):
        assert getattr(one, name) == pytest.approx(getattr(two, name))
    assert one.mean.value == pytest.approx(two.mean.value)
    assert one.superiority.low == pytest.approx(two.superiority.low)
    back = compare(b, a)
    assert (back.mean.low, back.mean.high) == pytest.approx((-one.mean.high, -one.mean.low))
    assert back.superiority.value == pytest.approx(1 - one.superiority.value)


def test_failed_models_are_left_out_of_comparisons():
    a = results([40.0, 41.0, 42.0, np.nan], ["complete", "complete", "complete", "failed"], "a")
    (pair,) = compare_pairs([a, replace(a, name="b", errors=a.errors + 1)], 1.0)
    assert pair.comparison.n == (3, 3)
    assert pair.comparison.mean.value == pytest.approx(1)
    assert compare_pairs([a, results([40.0], name="one")], 1.0) == ()


def test_a_decision_waits_for_every_run_in_sampled_order():
    rng = np.random.default_rng(1)
    a, b, c = (dict(enumerate(rng.normal(mean, 2, 60))) for mean in (50, 40, 60))
    words = decision({"a": a, "b": b, "c": c})
    assert words.startswith(
        "may stop, at level 0.95: the mean error of b is lower than that of a, decided by "
    )
    assert "; the mean error of c is higher than that of a, decided by " in words
    # Runs that are alike are never told apart; a gap in sampled order ends what may be used.
    assert decision({"a": a, "b": b, "d": a}) is None
    assert decision({"a": a, "b": {i: e for i, e in b.items() if i != 2}}) is None
    # Failed trials leave their pairs out.
    assert decision({"a": {**a, 0: None}, "b": b}) is not None
    assert decision({"a": {}, "b": b}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[24, 56]], [[1, 1.7]]), "depths must be whole numbers; found 1.7"),
        (([[24, 56]], [[1, float("nan")]]), "depths must be whole numbers; found nan"),
        (([24, "x"],), "widths must be numbers"),
        (([[24, 56], [24]], [[1, 1]]), "widths must be numbers, as many in each row"),
        (([[24, 56]], [[1, 1], [1]]), "depths must be numbers, as many in each row"),
        (([[24, 56]], [[1, 0.0], [1, 1]]), "depths must be at least 1"),
        (([[]], [[]]), "depths must be at least 1"),
        ((24, 1), "depths must be at least 1"),
    ],
)
def test_widths_and_depths_that_can_not_be_fitted(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        fit_quantized_linear(*arguments)
    assert error.value.argument == message.partition(" ")[0]
