"""Level, power and margin of refine's tests over simulated repeats, and the best model."""

from dataclasses import replace

import numpy as np
import pytest
from marks import quick_share
from scipy.stats import binom

from designspace.analysis.population_results import PopulationResults, Provenance
from designspace.analysis.quantized_linear_fit import fit_quantized_linear
from designspace.arch.parameter_columns import one_group_width, parameters
from designspace.refinement.constraint_tests import evaluate_constraints
from designspace.refinement.distance_regression import regress_on_distance
from designspace.space import Budget, load_space, sample

BUDGET = (Budget.parse("flops", "0.7M:1.5M"),)
SHARED_G = "one g for all stages"


def studied(name, n, budgets=BUDGET):
    """A population of a space whose errors are yet to be made up."""
    space = load_space(name)
    drawn = sample(space, n, budgets, 0).population
    return space, PopulationResults(
        name="run",
        space=name,
        family=space.family,
        ids=drawn.ids,
        states=np.full(n, "complete"),
        errors=np.full(n, 50.0),
        chance=90.0,
        parameters=parameters(drawn.bodies, drawn.regnets),
        costs={},
        bodies=drawn.bodies,
        regnets=drawn.regnets,
        counted=np.ones(n, dtype=bool),
        provenance=Provenance(""),
    )


def proposals(space, results, planted, seed):
    """Verdicts with errors that follow a planted rule and noise."""
    noise = np.random.default_rng(seed).normal(0, 1.2, len(results))
    tested = evaluate_constraints(space, replace(results, errors=50 + planted + noise))
    return {proposal.claim: proposal for proposal in tested}


def most(studies, level):
    """Return how many of so many studies may be wrong at a level: more have chance 0.4 %."""
    return binom.isf(0.004, studies, level)


def decrease(sizes):
    return np.maximum(0, -np.diff(np.log2(sizes), axis=1)).sum(axis=1)


@pytest.mark.parametrize("studies", quick_share([25, 100], [25]))
def test_where_nothing_is_planted_hardly_a_study_is_narrowed(studies):
    space, results = studied("AnyNetXA@16", 100)
    moved = narrowed = 0
    for seed in range(studies):
        tested = proposals(space, results, 0, seed).values()
        shown = [p for p in tested if p.kind == "better" and p.p is not None and p.p < 0.05]
        moved += bool(shown)
        narrowed += any(p.accepted for p in tested if p.kind == "better")
    assert moved <= most(studies, 0.05)  # the family-wise level
    assert narrowed <= most(studies, 0.025)  # those in the direction of the constraint, half


def test_ranges_and_values_are_not_tested_on_what_chose_them():
    space, results = studied("RegNetX@16", 100)
    narrowed = 0
    for seed in range(40):
        tested = proposals(space, results, 0, seed).values()
        narrowed += any(proposal.accepted for proposal in tested)
    assert narrowed <= most(40, 0.05)


@pytest.mark.parametrize("studies", quick_share([15, 60], [15]))
def test_sharing_that_costs_the_margin_is_hardly_ever_called_free_and_a_free_one_is(studies):
    space, results = studied("AnyNetXA@16", 150)
    stages = results.bodies
    octaves = np.log2(stages.group_widths.max(axis=1) / stages.group_widths.min(axis=1))
    octaves[one_group_width(stages)] = 0
    costly = -octaves / octaves[octaves > 0].mean()  # one g costs 1 % against the others
    wrong = sum(proposals(space, results, costly, s)[SHARED_G].accepted for s in range(studies))
    assert wrong <= most(studies, 0.05)
    assert sum(proposals(space, results, 0, s)[SHARED_G].accepted for s in range(10)) >= 7
    dear = proposals(space, results, 4 * costly, 0)[SHARED_G]
    assert (dear.verdict, dear.method) == ("rejected", "line")
    assert 2 < dear.difference.low < dear.difference.high < 6


@pytest.mark.parametrize("n", quick_share([100, 200], [100]))
def test_widths_that_should_not_decrease_are_found_though_few_models_keep_to_it(n):
    space, results = studied("AnyNetXA@16", n)
    claim = "widths that never decrease"
    tested = [
        proposals(space, results, 0.8 * decrease(results.bodies.widths), s)[claim] for s in range(8)
    ]
    assert sum(proposal.accepted for proposal in tested) >= 7
    for proposal in tested:
        assert sum(proposal.n) == n
        assert proposal.best[1] == n // 4
        assert proposal.best[0] / proposal.best[1] > proposal.n[0] / n
        assert proposal.difference.high < 0


def test_one_value_and_a_range_are_found_and_the_file_has_them():
    space, results = studied("RegNetX@16", 200)
    b, depth = results.parameters["b"], results.parameters["d"]
    tested = proposals(space, results, 3.0 * (b != 1) + 0.6 * np.maximum(0, depth - 10), 0)
    assert tested["b = 1"].accepted
    assert tested["b = 1"].change["axes"]["b"]["values"] == [1.0]
    ranges = [p for claim, p in tested.items() if claim.startswith("d from ")]
    assert [p.accepted for p in ranges] == [True]
    axis = ranges[0].change["axes"]["d"]
    assert axis["high"] <= 16
    assert "counted_as" not in axis


def test_a_range_that_leaves_out_little_is_no_constraint():
    space, results = studied("RegNetX@16", 200)
    tested = proposals(space, results, 0, 1)
    wide = [p for p in tested.values() if "nearly the whole range" in p.reason]
    assert wide
    assert {(p.verdict, p.p) for p in wide} == {("rejected", None)}


@pytest.mark.parametrize("n", quick_share([200, 500], [200]))
def test_one_lucky_model_decides_nothing_but_the_best_of_them_do(n):
    """A true constraint, and a lucky model that breaks it: once, n = 500 rejected in 30 %."""
    space, results = studied("RegNetX@16", n)
    b = results.parameters["b"]
    planted = 3.0 * (b != 1)
    planted[int(np.argmax(b == 4))] = -20
    assert proposals(space, results, planted, 0)["b = 1"].accepted
    planted[np.flatnonzero(b == 4)[: n // 20]] = -20
    tested = proposals(space, results, planted, 0)["b = 1"]
    assert not tested.accepted
    space, results = studied("AnyNetXA@16", n)
    falls = decrease(results.bodies.widths)
    planted = 0.8 * falls
    planted[int(np.argmax(falls))] = -8
    assert proposals(space, results, planted, 0)["widths that never decrease"].accepted


def test_the_quantized_linear_rule_is_judged_at_equal_depth():
    space, results = studied("AnyNetXE@16", 120)
    stages, claim = results.bodies, "widths that follow the quantized linear rule"
    depth = 3.0 * np.log2(stages.depths.sum(axis=1))
    fit = fit_quantized_linear(stages.widths, stages.depths).error
    assert proposals(space, results, depth, 0)[claim].verdict == "undecided"
    # What depth does is far more than what the rule does, which shows only once it is taken out.
    assert proposals(space, results, depth + 5 * fit, 0)[claim].accepted
    assert regress_on_distance(fit, depth + 5 * fit, 1.0).p > 0.05


def test_graded_constraints_are_judged_at_an_equal_number_of_stages():
    """Few stages are nearer to every rule between stages, which must not count for the rules."""
    space, results = studied("AnyNetXE-stages@16", 200)
    bodies = results.bodies
    planted = 4.0 * bodies.stage_counts
    claim = "widths that follow the quantized linear rule"
    assert proposals(space, results, planted, 0)[claim].verdict == "undecided"
    fit = fit_quantized_linear(bodies.widths, bodies.depths).error
    assert proposals(space, results, planted + 8 * fit, 0)[claim].accepted


def test_the_line_is_least_squares_and_its_interval_covers():
    rng = np.random.default_rng(0)
    distance, covariate = rng.integers(0, 5, 60).astype(float), rng.normal(0, 1, 60)
    reach = distance[distance > 0].mean()
    covered = 0
    for _ in range(300):
        # Noise that grows with the distance, which plain least squares would be wrong about.
        errors = 0.5 * distance + 2 * covariate + rng.normal(0, 1, 60) * (0.3 + distance)
        line = regress_on_distance(distance, errors, 1.0, covariate)
        covered += line.difference.low <= -0.5 * reach <= line.difference.high
    assert covered >= 273  # 95 % of 300; fewer than 273 has chance 0.1 %
    columns = np.stack([np.ones(60), distance, covariate], axis=1)
    slope = np.linalg.lstsq(columns, errors, rcond=None)[0][1]
    assert line.difference.value == pytest.approx(-slope * reach)
    exact = regress_on_distance(distance, 0.5 * distance, 1.0)
    assert exact.difference.value == pytest.approx(-0.5 * reach)
    assert exact.p == pytest.approx(0, abs=1e-9)


def test_two_distinct_widths_are_not_nearly_a_regnet():
    """By blocks alone, [24, 24, 256, 256] lies near a quantized linear function: e_fit 0.03."""
    depths = np.array([[1, 1, 4, 7], [1, 2, 6, 2]])
    regnet = fit_quantized_linear(np.array([[24, 56, 152, 368], [48, 96, 192, 384]]), depths)
    tied = fit_quantized_linear(np.array([[24, 24, 368, 368], [64, 64, 64, 64]]), depths)
    assert regnet.tied.tolist() == [0, 0]
    assert tied.tied.tolist() == [2, 3]
    assert regnet.error[0] < 0.03
    # The smaller of two tied stages moves by a ratio of 1.5: 1 + 4 of 13 blocks, 1 + 2 + 2 of 11.
    blocks = [
        fit_quantized_linear(np.repeat(w, d)).error[0]
        for w, d in (([24, 24, 368, 368], depths[0]), ([64, 64, 64, 64], depths[1]))
    ]
    extra = np.log(1.5) * np.array([5 / 13, 5 / 11])
    assert tied.error == pytest.approx(blocks + extra)


def test_distinct_widths_are_proposed_where_they_matter_and_the_space_has_them():
    space, results = studied("AnyNetXE@16", 120)
    tied = (np.diff(np.sort(results.bodies.widths, axis=1), axis=1) == 0).sum(axis=1)
    found = proposals(space, results, 1.2 * tied, 0)
    assert found["4 distinct widths"].accepted
    assert found["4 distinct widths"].change == {"distinct": {"w": 4}}
    assert not proposals(space, results, 0, 1)["4 distinct widths"].accepted


def test_evidence_says_what_an_estimate_rests_on():
    space, results = studied("AnyNetXA@16", 120)
    found = proposals(space, results, 0, 0)["one b for all stages"]
    assert 2 <= found.n[0] < 8
    assert found.verdict == "undecided"
    assert found.p is None
    assert f"mean difference of the {found.n[0]} that satisfy it" in found.evidence
    assert "detectable with 80 % power: " in found.evidence
    assert f"satisfied by {found.n[0]} of 120 models, and by " in found.evidence


def test_evidence_says_that_models_are_held_out():
    space, results = studied("RegNetX@16", 120)
    tested = proposals(space, results, 0, 0)
    (value,) = (proposal for claim, proposal in tested.items() if claim.startswith("b = "))
    assert value.held_out
    assert " of the 60 models held out for the test, and by " in value.evidence


def test_a_distance_that_others_explain_is_no_evidence():
    depth = np.arange(1.0, 31.0)
    assert regress_on_distance(3 * depth, np.sin(depth), 1.0, depth) is None
    assert regress_on_distance(3 * depth, np.sin(depth), 1.0, depth**2) is not None
