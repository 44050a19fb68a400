"""Importance, trends, shared constraints, bands at equal complexity, claims: what they promise."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from marks import quick_share
from scipy.stats import binom

from designspace.analysis.claims import judge_claims, read_claims
from designspace.analysis.csv_tables import tables, to_csv
from designspace.analysis.findings import analyze
from designspace.analysis.headline import narrate
from designspace.analysis.importance import (
    bins_of,
    correlated_parameters,
    importances,
    parameter_trends,
)
from designspace.analysis.load_results import load_results
from designspace.analysis.normalized_edf import normalized_edfs
from designspace.analysis.shared_constraints import shared_constraints
from designspace.analysis.summary import summarize, summary_schema
from designspace.analysis.summary_schema import Summary
from designspace.arch import BodyBatch
from designspace.errors import InputError
from designspace.io.serialization import plain
from designspace.runs import Run, Trial, TrialState
from designspace.space import Budget, load_space, sample, sample_record
from designspace.stats.edf import edf, normalized_band, normalized_weights
from designspace.stats.intervals import proportion, quantile_interval
from designspace.stats.two_sample import superiority

BUDGET = (Budget.parse("flops", "150K:400K"),)


def study(path, space, errors, states=None):
    """PopulationResults of a run whose model i has errors[i]."""
    found = load_space(space)
    drawn = sample(found, len(errors), BUDGET)
    record = sample_record(found, drawn, BUDGET, 0)
    folder = Run.create(path, {**found.source, "sample": record}, drawn.population)
    word = states or {}
    folder.append_trials(
        [
            Trial(id_, i, TrialState(word.get(i, "complete")), float(errors[i]), (), 1.0, i)
            for i, id_ in enumerate(drawn.population.ids)
        ]
    )
    return load_results(path)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    home = tmp_path_factory.mktemp("three")
    rng = np.random.default_rng(0)
    shifts = {"a": ("AnyNetXA@8", 0.0), "b": ("AnyNetXA@8", 0.0), "c": ("RegNetX@8", -3.0)}
    return tuple(
        study(home / name, space, 40 + shift + rng.normal(0, 1, 40))
        for name, (space, shift) in shifts.items()
    )


@pytest.mark.parametrize("repeats", quick_share([60, 300], [60]))
def test_importance_covers_the_truth_and_is_nothing_under_the_null(repeats):
    rng = np.random.default_rng(1)
    levels = np.array([0, 1, 2, 0, 1]) * 0.8
    truth = levels.var() / (levels.var() + 1.5**2)
    covered, null = [], []
    for _ in range(repeats):
        place = rng.integers(0, 5, 200)
        (found,) = importances([place], levels[place] + rng.normal(0, 1.5, 200), 0.95, rng)
        covered.append(found.low <= truth <= found.high)
        (nothing,) = importances([place], rng.normal(0, 1, 200), 0.95, rng)
        null.append(nothing.low == 0)
    lowest = 0.95 - 3 * np.sqrt(0.95 * 0.05 / repeats)
    assert np.mean(covered) >= lowest
    assert np.mean(null) >= lowest


@pytest.mark.parametrize("n", [8, 12, 16])
def test_few_models_do_not_make_every_parameter_explain_all(n):
    """With a bin for each of 8 models the importance was 1.00, interval 1.00 to 1.00."""
    rng = np.random.default_rng(n)
    null = []
    for _ in range(200):
        columns = {"x": rng.random(n), "y": rng.choice([1.0, 2.0, 4.0, 8.0], n)}
        null += [t.importance.low > 0 for t in parameter_trends(columns, rng.random(n), rng=rng)]
    assert np.mean(null) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(null))


def test_bins_have_three_models_each_or_more_and_are_never_one():
    assert np.bincount(bins_of(np.arange(8.0))).tolist() == [4, 4]
    assert np.bincount(bins_of(np.arange(12.0))).tolist() == [3, 3, 3, 3]
    assert np.bincount(bins_of(np.arange(64.0))).tolist() == [8] * 8
    # More than half of the models have the largest value.
    assert bins_of(np.array([1.0, 2, 4, 4, 4, 4, 4, 4])).tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_the_parameter_that_matters_comes_first():
    rng = np.random.default_rng(2)
    columns = {name: rng.integers(1, 30, 120).astype(float) for name in ("x", "y", "z")}
    found = parameter_trends(
        {**columns, "same": np.ones(120)}, 0.5 * columns["y"] + rng.normal(0, 1, 120)
    )
    assert found[0].name == "y"
    assert {trend.name for trend in found} == {"x", "y", "z"}
    assert found[0].importance.low > 0.6
    assert found[0].rank_correlation.low > 0.9
    assert found[0].p < 1e-6
    assert (np.diff(found[0].medians) > 0).all()
    assert found[0].counts.sum() == 120


@pytest.mark.parametrize("repeats", quick_share([80, 400], [80]))
def test_trends_hold_their_level(repeats):
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(repeats):
        columns = {str(k): rng.random(40) for k in range(6)}
        wrong += any(t.p < 0.05 for t in parameter_trends(columns, rng.random(40), rng=rng))
    assert wrong / repeats <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_bins_keep_equal_values_together():
    values = np.repeat(np.arange(30.0), [1, 40, *[1] * 28])
    place = bins_of(values)
    for value in np.unique(values):
        assert len(set(place[values == value])) == 1
    assert set(place) == set(range(place.max() + 1))
    assert bins_of(np.array([4.0, 1.0, 4.0])).tolist() == [1, 0, 1]


def test_pairs_among_the_best_are_found_and_budgets_are_not():
    rng = np.random.default_rng(4)
    n = 400
    x, y = rng.random(n), rng.random(n)
    budget = 1 - x + rng.normal(0, 0.05, n)  # goes with x in all models
    found = correlated_parameters({"x": x, "y": y, "budget": budget}, np.abs(x - y))
    assert (found[0].first, found[0].second) == ("x", "y")
    assert found[0].p == 0.001  # of 999 permutations
    assert found[0].best > 0.9
    assert next(p for p in found if (p.first, p.second) == ("x", "budget")).p > 0.05


@pytest.mark.slow
def test_strongly_correlated_parameters_hold_the_level_of_the_test():
    """Correlation 0.95 among all models: with Fieller's variance 8.9 % would be rejected."""
    rng = np.random.default_rng(12)
    rejected = 0
    for _ in range(2000):
        x = rng.normal(size=100)
        columns = {"x": x, "y": 0.95 * x + np.sqrt(0.0975) * rng.normal(size=100)}
        rejected += correlated_parameters(columns, rng.random(100))[0].p < 0.05
    assert rejected / 2000 <= 0.05 + 3 * 0.0049


@pytest.mark.slow
def test_pairs_of_parameters_that_do_not_matter_are_not_found():
    """With normal theory, 10.7 % of such studies had a pair."""
    rng = np.random.default_rng(13)
    found = 0
    for _ in range(800):
        columns = {str(k): rng.random(64) for k in range(5)}
        found += correlated_parameters(columns, rng.random(64))[0].p < 0.05
    assert found / 800 <= 0.05 + 3 * 0.0077


def test_the_constraint_that_the_best_share_is_found():
    rng = np.random.default_rng(5)
    n = 300
    widths = 8 * rng.integers(1, 20, (n, 4))
    ones = np.ones((n, 4))
    stages = BodyBatch(rng.integers(1, 6, (n, 4)), widths, ones, ones.astype(np.int64), np.zeros(n))
    falls = (np.diff(widths[:, :3], axis=1) < 0).any(axis=1)
    found = shared_constraints(stages, 3.0 * falls + rng.normal(0, 1, n))
    assert found[0].name == "widths never decrease but in the last stage"
    assert found[0].shared
    assert not any(one.shared for one in found if "depths" in one.name)
    assert not any("one b" in one.name for one in found)  # all models keep it


def test_constraints_of_b_and_g_are_those_of_every_block_that_has_them():
    names = {}
    for space in ("AnyNetXA@8", "AnyNetZA@8", "AnyNetVA@8"):
        bodies = sample(load_space(space), 400, (), 0).population.bodies
        constraints = shared_constraints(bodies, np.arange(400.0))
        names[space] = {one.name.partition(" =")[0] for one in constraints}
    own = {"b", "one b for all stages", "one g for all stages"}
    assert own <= names["AnyNetXA@8"]
    assert own <= names["AnyNetZA@8"]
    assert not own & names["AnyNetVA@8"]


def test_wilsons_interval_covers():
    intervals = [proportion(hits, 25, 0.95) for hits in range(26)]
    covers = np.array([one.low <= 0.1 <= one.high for one in intervals])
    assert binom.pmf(np.arange(26), 25, 0.1)[covers].sum() >= 0.93


def test_bands_at_equal_complexity_cover_the_whole_truth():
    """Errors are complexity plus noise, both uniform; cheap models are three times as many."""
    rng = np.random.default_rng(7)
    grid = np.linspace(0, 2, 81)
    # The sum of two uniform numbers: the truth when complexity is uniform.
    truth = np.where(grid < 1, grid**2 / 2, 1 - (2 - grid) ** 2 / 2)
    covered, plain_covered = [], []
    for _ in range(200):
        complexity = np.concatenate([rng.random(90) / 2, 0.5 + rng.random(30) / 2])
        errors = rng.random(120) + complexity
        function = edf(errors, normalized_weights(complexity, 2, 0, 1))
        band = normalized_band(errors, complexity, 2, 0, 1, rng=rng, repeats=300)
        covered.append(np.all(np.abs(function.at(grid) - truth) <= band.half_width))
        plain_covered.append(np.all(np.abs(edf(errors).at(grid) - truth) <= band.half_width))
    assert np.mean(covered) >= 0.95 - 3 * 0.0154
    assert np.mean(plain_covered) < 0.6


def test_no_model_at_the_common_complexity_is_no_comparison_at_equal_complexity(three):
    a, b, c = (replace(one, costs={"flops": np.linspace(10, 20, 40)}) for one in three)
    assert normalized_edfs([a, b, c]) is not None
    b = replace(b, costs={"flops": np.where(np.arange(40) < 20, 1.0, 100.0)})
    assert normalized_edfs([a, b, c]) is None


def test_area_under_an_edf_is_the_integral():
    rng = np.random.default_rng(8)
    function = edf(rng.uniform(20, 60, 50))
    grid = np.linspace(10, 50, 40_001)
    assert function.area(10, 50) == pytest.approx(function.at(grid).mean(), abs=1e-3)


def test_a_quantile_too_far_out_has_no_end():
    found = quantile_interval(np.arange(1.0, 11), 0.05)
    assert found.low == -np.inf
    assert np.isfinite(found.high)
    assert plain(found)["low"] is None


def test_superiority_intervals_cover_and_the_ends_are_honest():
    rng = np.random.default_rng(9)
    covered = []
    for _ in range(400):
        found = superiority(rng.normal(0, 1, 30), rng.normal(-0.7405, 1, 40))
        covered.append(found.low <= 0.7 <= found.high)  # P(b < a) = Phi(0.7405 / sqrt 2)
    assert np.mean(covered) >= 0.95 - 3 * 0.011
    apart = superiority(rng.random(20) + 5, rng.random(20))
    assert (apart.value, apart.high) == (1.0, 1.0)
    assert apart.low < 0.9


def judged(folder, populations):
    """Verdicts on the claims of a folder's claims.yaml."""
    path = folder / "claims.yaml"
    return judge_claims(read_claims(path), populations, path)


CLAIMS = """
claims:
  - {claim: A second sample is as good, kind: equivalent, first: a, second: b, margin: 1.5}
  - {claim: RegNets are better, kind: better, first: a, second: c}
  - {claim: RegNets are better by ten, kind: better, first: a, second: c, margin: 10}
  - {claim: RegNets are worse, kind: better, first: c, second: a}
  - {claim: RegNets are not worse, kind: not_worse, first: a, second: c, margin: 0.5}
  - {claim: AnyNets are not worse, kind: not_worse, first: c, second: a, margin: 0.5}
  - {claim: RegNets are as good, kind: equivalent, first: a, second: c, margin: 0.5}
  - {claim: Any b will do, kind: best_in, population: c, parameter: b, low: 0, high: 99}
  - {claim: b is large, kind: best_in, population: c, parameter: b, low: 90, high: 99}
"""


def test_claims_get_the_verdict_that_the_data_have(three, tmp_path):
    (tmp_path / "claims.yaml").write_text(CLAIMS)
    found = judged(tmp_path, three)
    assert [claim.verdict for claim in found.claims] == [
        "supported",
        "supported",
        "contradicted",
        "contradicted",
        "supported",
        "contradicted",
        "contradicted",
        # All models are inside, or none: there is no other group to compare with.
        "undecided",
        "undecided",
    ]
    assert found.claims[1].estimate == pytest.approx(-3, abs=1)
    assert found.claims[1].n == (40, 40)


def test_claims_are_rarely_supported_or_contradicted_wrongly(tmp_path):
    rng = np.random.default_rng(10)
    (tmp_path / "claims.yaml").write_text(
        "claims:\n"
        "  - {claim: x, kind: better, first: a, second: b}\n"
        "  - {claim: y, kind: equivalent, first: a, second: c, margin: 1}\n"
    )
    base = study(tmp_path / "base", "AnyNetXA@8", np.full(25, 40.0))
    wrong = 0
    for _ in range(60):
        same = [
            replace(base, name=name, errors=40 + shift + rng.normal(0, 1.5, 25))
            for name, shift in (("a", 0), ("b", 0), ("c", 1.0))
        ]
        found = judged(tmp_path, same).claims
        wrong += found[0].verdict != "undecided" or found[1].verdict == "supported"
    assert wrong / 60 <= 0.10 + 3 * 0.039  # two families of errors at 5 % each


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims: []", "claims"),
        ("claims:\n  - {claim: x, kind: best}", "kind"),
        ("claims:\n  - {claim: x, kind: better, first: a, second: d}", "no population 'd'"),
        ("claims:\n  - {claim: x, kind: equivalent, first: a, second: b}", "margin: missing"),
        (
            "claims:\n  - {claim: x, kind: best_in, population: c, parameter: q, low: 1, high: 2}",
            "no parameter 'q'",
        ),
        (
            "claims:\n  - {claim: x, kind: best_in, population: c, parameter: b, low: 2, high: 1}",
            "low is 2, above high, 1",
        ),
        (
            "claims:\n  - {claim: ' ', kind: better, first: a, second: b}",
            "claim: must not be empty",
        ),
        ("claims:\n  - {claim: x, first: a, second: b}", r"claims\[0\]: must have the key 'kind'"),
        ("claims:\n  - {claim: x, kind: better, first: a}", "second: missing"),
        ("claims:\n  - {claim: x, kind: better, first: a, second: a}", "both a; they must differ"),
        ("claims:\n  - {claim: x, kind: better, first: a, second: 2024}", "no population '2024'"),
        *(
            (
                f"claims:\n  - {{claim: x, kind: {kind}, first: a, second: b, margin: {margin}}}",
                r"claims\[0\].margin: must be .*; found",
            )
            for kind in ("better", "equivalent", "not_worse")
            for margin in (".nan", ".inf", "-1", "yes", "'1'", "101")
        ),
        ("alpha: .nan\nclaims:\n  - {claim: x}", "alpha: must be"),
    ],
)
def test_a_wrong_claims_file_is_reported(three, tmp_path, text, message):
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        judged(tmp_path, three)


def test_the_summary_keeps_to_its_written_schema(three, tmp_path):
    (tmp_path / "claims.yaml").write_text(CLAIMS)
    found = analyze(three, claims=read_claims(tmp_path / "claims.yaml"))
    data = json.loads(json.dumps(summarize(found).to_dict(), allow_nan=False))
    assert Summary.model_validate(data).to_dict() == data
    assert set(summary_schema()["properties"]) == {*data, "trade_offs"}
    assert data["normalized"]["bins"] >= 2
    assert data["verdict"].startswith("c has the lowest mean error")
    assert [pair["verdict"] for pair in data["comparisons"]] == ["equivalent", "better", "better"]
    frames = tables(found)
    empty = {name for name, frame in frames.items() if not len(frame)}
    assert all(name.startswith("trade_off") for name in empty)
    assert frames["comparisons"]["mean_low"].tolist() == [
        pair["mean"]["low"] for pair in data["comparisons"]
    ]
    means = [p["mean"] for p in data["populations"]]
    assert [f"{mean:.12g}" for mean in found.to_frame()["mean"]] == [f"{m:.12g}" for m in means]
    assert all(len(str(mean).replace(".", "")) <= 12 for mean in means)  # equal on any CPU
    assert found.models_frame().groupby("population").size().to_dict() == dict.fromkeys("abc", 40)


def test_no_cell_becomes_a_formula():
    text = to_csv(pd.DataFrame({"=a": ["=cmd()", "@x", -1.5, "plain"]}))
    assert text == "'=a\n'=cmd()\n'@x\n-1.5\nplain\n"


def test_words_say_what_limits_the_study(tmp_path):
    rng = np.random.default_rng(11)
    states = {0: "diverged", 1: "diverged", 2: "diverged"}
    small = study(tmp_path / "small", "AnyNetXA@8", 40 + rng.random(12), states)
    words = " ".join(narrate(analyze([small])).warnings)
    assert "Few models: small (12)" in words
    assert "3 of 12 models of small diverged" in words
