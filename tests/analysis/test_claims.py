"""Claims about a parameter and about pairs: level, power, and what can't be tested."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import yaml
from analysis.populations import made_up

import designspace as ds
from designspace.analysis.claim_tests import paired_differences
from designspace.analysis.claims import judge_claims, read_claims
from designspace.analysis.findings import analyze
from designspace.analysis.trial_accounting import counted_models
from designspace.arch.parameter_columns import parameters
from designspace.errors import InputError
from designspace.space import load_space, sample
from designspace.stats.mean_difference import difference_of_means
from designspace.studies.toggle import toggled

GROUP = "claims:\n  - {claim: x, kind: best_in, population: a, parameter: b, low: 1, high: 1}\n"
TREND = "claims:\n  - {claim: x, kind: trend, population: a, parameter: b, error: rises}\n"


def judged(tmp_path, text, *populations):
    (tmp_path / "claims.yaml").write_text(text)
    path = tmp_path / "claims.yaml"
    return judge_claims(read_claims(path), populations, path).claims


def verdicts(tmp_path, text, effect, repeats, n=64):
    """Verdicts on b = 1 of populations in which each doubling of b costs `effect` points."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(repeats):
        b = rng.choice([1.0, 2.0, 4.0], n)
        errors = 48 + effect * np.log2(b) + rng.normal(0, 1, n)
        found.append(judged(tmp_path, text, made_up(errors, parameters={"b": b}))[0].verdict)
    return [found.count(word) / repeats for word in ("supported", "contradicted")]


@pytest.mark.parametrize("text", [GROUP, TREND])
def test_claims_about_a_parameter_have_power_and_hold_their_level(tmp_path, text):
    """By the range of the best, n = 64 found none of these effects, and contradicted up to 20 %."""
    supported, contradicted = verdicts(tmp_path, text, 0.5, 30)
    assert supported >= 0.6
    assert contradicted == 0
    supported, contradicted = verdicts(tmp_path, text, 0.0, 40)
    assert max(supported, contradicted) <= 0.05 + 3 * 0.034


@pytest.mark.slow
@pytest.mark.parametrize("text", [GROUP, TREND])
def test_claims_about_a_parameter_hold_their_level(tmp_path, text):
    supported, contradicted = verdicts(tmp_path, text, 0.0, 1000)
    assert max(supported, contradicted) <= 0.05 + 3 * 0.0069


def test_what_no_model_varies_can_not_be_tested(tmp_path):
    (claim,) = judged(tmp_path, GROUP, made_up(range(40, 60), parameters={"b": np.ones(20)}))
    assert (claim.verdict, claim.p) == ("undecided", None)
    assert "not testable" in claim.test
    (claim,) = judged(tmp_path, TREND, made_up(range(40, 60), parameters={"b": np.ones(20)}))
    assert claim.p is None


def test_all_claims_share_one_correction(tmp_path):
    rng = np.random.default_rng(1)
    b = np.tile([1.0, 2.0], 32)
    a = made_up(48 + 0.8 * (b - 1) + rng.normal(0, 1, 64), parameters={"b": b})
    alone = judged(tmp_path, GROUP, a)[0]
    c = made_up(rng.normal(48, 1, 64), "c", parameters={"b": b})
    more = GROUP + "  - {claim: y, kind: better, first: a, second: c}\n"
    assert judged(tmp_path, more, a, c)[0].p == pytest.approx(2 * alone.p)


def test_claims_that_can_not_be_tested_yet_count_in_the_correction(tmp_path):
    rng = np.random.default_rng(1)
    b = np.tile([1.0, 2.0], 32)
    a = made_up(48 + 0.8 * (b - 1) + rng.normal(0, 1, 64), parameters={"b": b})
    (alone,) = judged(tmp_path, GROUP, a)
    (among_ten,) = judged(tmp_path, f"untested: 9\n{GROUP}", a)
    assert among_ten.p == pytest.approx(min(1, 10 * alone.p))
    assert among_ten.estimate == alone.estimate


def test_pairs_see_a_switch_that_populations_do_not(tmp_path):
    """Bodies differ by 2 points, the switch changes 0.5, pairs have a noise of 1."""
    rng = np.random.default_rng(2)
    body, b = rng.normal(48, 4, 80), rng.choice([1.0, 2.0], 80)
    first = made_up(body + rng.normal(0, 0.7, 80), "a", parameters={"b": b, "se": np.zeros(80)})
    second = made_up(
        body - 0.5 + rng.normal(0, 0.7, 80), "c", parameters={"b": b, "se": np.full(80, 0.25)}
    )
    text = "claims:\n  - {claim: x, kind: better, first: a, second: c%s}\n"
    unpaired = judged(tmp_path, text % "", first, second)[0]
    paired = judged(tmp_path, text % ", paired: true", first, second)[0]
    assert (unpaired.verdict, paired.verdict) == ("undecided", "supported")
    assert paired.n == (80,)
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 2
    other = made_up(body, "c", parameters={"b": 3 - b, "se": np.full(80, 0.25)})
    with pytest.raises(InputError, match="differ in b, se"):
        judged(tmp_path, text % ", paired: true", first, other)


def sampled(name, population):
    n = len(population)
    results = made_up(
        np.linspace(40, 60, n), name, parameters(population.bodies, population.regnets)
    )
    bodies, regnets, skeleton = population.bodies, population.regnets, population.skeleton
    return replace(results, bodies=bodies, regnets=regnets, skeleton=skeleton)


@pytest.mark.parametrize("space", ["RegNetX@8", "AnyNetXA@8"])
def test_toggled_populations_are_pairs(space):
    toggles = [
        {},
        {"se_ratio": 0.25},
        {"activation": "silu"},
        {"b": 2},
        {"g": 1},
        {"resolution": 16},
    ]
    base = sample(load_space(space), 10).population
    changed = [sampled("x", toggled(base, toggle) if toggle else base) for toggle in toggles]
    for second in changed[1:]:
        assert len(paired_differences(changed[0], second)) == 10
    for (i, first), (j, second) in combinations(enumerate(changed[1:]), 2):
        if {i, j} == {2, 3}:  # b and g are rounded together
            assert len(paired_differences(first, second)) == 10
            continue
        with pytest.raises(InputError, match="not the same bodies with one switch changed"):
            paired_differences(first, second)
    for toggle in ({"d": 2}, {"w": 64}):
        assert len(paired_differences(changed[0], sampled("x", toggled(base, toggle)))) == 10
    # A population of fewer models, of which none has as many stages.
    assert len(paired_differences(changed[0].first(4), changed[1])) == 4


def test_samples_of_two_spaces_are_no_pairs():
    spaces = ("AnyNetXA@8", "RegNetX@8", "AnyNetVA@8")
    one, two, three = (sampled(name, sample(load_space(name), 10).population) for name in spaces)
    for first, second in ((one, two), (two, one), (one, three), (three, two)):
        with pytest.raises(InputError, match=r"not the same bodies with one switch .*d, .*w"):
            paired_differences(first, second)


def test_paired_claims_hold_their_level(tmp_path):
    rng = np.random.default_rng(3)
    text = "claims:\n  - {claim: x, kind: better, first: a, second: c, paired: true}\n"
    wrong = 0
    for _ in range(200):
        body = rng.normal(48, 2, 30)
        a, c = (made_up(body + rng.exponential(1, 30), name) for name in "ac")
        wrong += judged(tmp_path, text, a, c)[0].verdict == "supported"
    assert wrong / 200 <= 0.05 + 3 * 0.0154


def skewed(repeats, bound_by_bootstrap):
    """How often "the second is better" is shown of equal means: skewed errors, 24 against 96."""
    rng = np.random.default_rng(4)
    rejected = 0
    for _ in range(repeats):
        first = rng.exponential(1, 24) * 3 - 3
        second = rng.normal(0, 0.5, 96)
        means = difference_of_means(second, first)
        p = means.p_below_bootstrap(0) if bound_by_bootstrap else means.p_below(0)
        rejected += p < 0.05
    return rejected / repeats


@pytest.mark.slow
def test_the_bootstrap_t_holds_its_level_where_t_does_not():
    assert skewed(1500, False) > 0.08
    assert skewed(1500, True) <= 0.05 + 3 * 0.0056


def test_a_claim_needs_both_tests_and_disagreement_is_flagged(tmp_path):
    rng = np.random.default_rng(5)
    text = "claims:\n  - {claim: x, kind: not_worse, first: a, second: c, margin: 1}\n"
    found = set()
    for _ in range(60):
        a = made_up(rng.normal(50, 0.5, 60))
        c = made_up(50.4 + 3 * (rng.exponential(1, 14) - 1), "c")
        (claim,) = judged(tmp_path, text, a, c)
        assert claim.p >= claim.p_bootstrap
        # Where t alone would support the claim, it is not supported.
        assert not (claim.borderline and claim.verdict == "supported")
        found.add((claim.borderline, claim.verdict))
    assert {(True, "undecided"), (False, "supported"), (False, "undecided")} <= found


BETTER = "  - {claim: %s, kind: better, first: a, second: c, n: %d}\n"


def with_missing(results, missing, all_finished=False):
    """The population with models that have no trial yet."""
    states = results.states.copy()
    states[missing] = "missing"
    errors = np.where(states == "missing", np.nan, results.errors)
    counted = counted_models(states, errors, all_finished)
    return replace(results, states=states, errors=errors, counted=counted)


def apart(n, rng=None):
    """Two populations whose means differ by 4 points, far more than chance."""
    rng = rng or np.random.default_rng(6)
    return made_up(rng.normal(50, 1, n), "a"), made_up(rng.normal(46, 1, n), "c")


def test_a_claim_waits_for_its_first_n_models_whatever_else_is_trained(tmp_path):
    first, second = apart(100)
    text = "claims:\n" + BETTER % ("x", 64)
    (claim,) = judged(tmp_path, text, first, with_missing(second, slice(12, 40)))
    assert (claim.verdict, claim.p, claim.borderline) == ("undecided", None, False)
    assert claim.test.endswith("not judged yet: 12 of 64 models")
    assert claim.n == (64, 12)
    (claim,) = judged(tmp_path, text, first, with_missing(second, slice(64, 70)))
    assert (claim.verdict, claim.n) == ("supported", (64, 64))


@pytest.mark.parametrize(
    ("paired", "n", "models"),
    [("false", 40, (40, 40)), ("true", 40, (40,))],
    ids=["means", "pairs"],
)
def test_of_a_subset_the_first_n_models_with_a_trial_are_judged(tmp_path, paired, n, models):
    first, second = apart(100)
    untrained = np.setdiff1d(np.arange(100), np.arange(1, 100, 2)[:45])
    subset = with_missing(second, untrained, all_finished=True)
    text = "claims:\n" + BETTER.replace("n:", f"paired: {paired}, n:") % ("x", n)
    (claim,) = judged(tmp_path, text, first, subset)
    assert (claim.verdict, claim.n) == ("supported", models)
    (claim,) = judged(tmp_path, text.replace("n: 40", "n: 46"), first, subset)
    assert claim.test.endswith("not judged yet: 45 of 46 models")


def test_claims_that_wait_or_can_not_be_tested_count_in_the_correction(tmp_path):
    rng = np.random.default_rng(1)
    b = np.tile([1.0, 2.0], 32)
    a = made_up(48 + 0.8 * (b - 1) + rng.normal(0, 1, 64), parameters={"b": b})
    c = made_up(rng.normal(40, 1, 64), "c", parameters={"b": b})
    (alone,) = judged(tmp_path, GROUP, a)
    untestable = GROUP.partition("\n")[2].replace("low: 1, high: 1", "low: 7, high: 9")
    claims = judged(tmp_path, GROUP + untestable + BETTER % ("y", 65), a, c)
    assert claims[0].p == pytest.approx(3 * alone.p)
    assert [claim.p for claim in claims[1:]] == [None, None]
    assert [claim.p_bootstrap for claim in claims[1:]] == [None, None]


def test_a_population_that_failed_makes_its_claims_untestable_and_no_others(tmp_path):
    first, second = apart(24)
    states = np.full(24, "failed", dtype="U8")
    failed = replace(
        made_up(np.full(24, np.nan), "d", parameters={"b": np.ones(24)}),
        states=states,
        counted=np.zeros(24, bool),
    )
    text = (
        "claims:\n  - {claim: x, kind: better, first: a, second: c}\n"
        "  - {claim: y, kind: better, first: a, second: d}\n"
        "  - {claim: z, kind: trend, population: d, parameter: b, error: falls}\n"
    )
    (tmp_path / "claims.yaml").write_text(text)
    findings = analyze([first, second, failed], claims=read_claims(tmp_path / "claims.yaml"))
    claims = findings.claims.claims
    assert [claim.verdict for claim in claims] == ["supported", "undecided", "undecided"]
    assert claims[1].test.endswith("not testable: 24 and 0 counted models")
    assert claims[2].test.endswith("not testable: 0 models, of 8 needed")
    (tmp_path / "claims.yaml").write_text(text.replace("parameter: b", "parameter: q"))
    with pytest.raises(InputError, match="d has no parameter 'q'"):
        analyze([first, second, failed], claims=read_claims(tmp_path / "claims.yaml"))


def test_a_trend_says_whether_models_or_variation_are_missing(tmp_path):
    seven = made_up(range(40, 47), parameters={"b": range(7)})
    assert "7 models, of 8 needed" in judged(tmp_path, TREND, seven)[0].test
    same = made_up(range(40, 60), parameters={"b": np.ones(20)})
    assert "not testable: b does not vary" in judged(tmp_path, TREND, same)[0].test
    flat = made_up(np.full(20, 40.0), parameters={"b": range(20)})
    assert "not testable: the error does not vary" in judged(tmp_path, TREND, flat)[0].test


def test_estimates_name_their_unit(tmp_path):
    rises = made_up(np.arange(40.0, 50.0), parameters={"b": range(10)})
    text = judged(tmp_path, TREND, rises)[0].estimate_text
    assert text.startswith("rank correlation +1.00 (")
    a, c = made_up([50.0, 51.0, 52.0]), made_up([46.0, 47.0, 48.0], "c")
    claims = "claims:\n  - {claim: x, kind: better, first: a, second: c}\n"
    # The standard error is (2/3) ** 0.5, t of 4 degrees of freedom 2.776.
    assert judged(tmp_path, claims, a, c)[0].estimate_text == "−4.00 (−6.27 to −1.73) points"
    alone = judged(tmp_path, claims, made_up([50.0]), c)[0]
    assert alone.estimate_text == "–"


def test_claims_are_a_file_or_its_content(tmp_path):
    run = ds.sample("RegNetX@8", n=8, flops="150K:260K", out=tmp_path / "a")
    for i in range(8):
        run.record(i, error=30.0 + i)
    claim = {"claim": "x", "kind": "trend", "population": "a", "parameter": "d", "error": "rises"}
    content = {"claims": [claim]}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(content))
    of_file = ds.analyze(run, claims=tmp_path / "claims.yaml").claims
    assert ds.analyze(run, claims=content).claims == of_file
    for wrong, message in [
        ({"claims": []}, "claims: content: claims: must have at least 1"),
        ({"claims": [{**claim, "kind": "trendy"}]}, "kind is 'trendy'"),
        ({"claims": [{**claim, "parameter": "q"}]}, r"content: claims\[0\]\.parameter: .* 'q'"),
        ({1: 2}, "claims: missing"),
        ([claim], "it must be the path of a YAML file, or its content as a mapping"),
        (5, "claims is 5; it must be the path"),
    ]:
        with pytest.raises(InputError, match=message):
            ds.analyze(run, claims=wrong)
