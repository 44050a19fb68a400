"""Claims about a parameter and about pairs: level, power, and what can't be tested."""

import numpy as np
import pytest
from analysis.populations import made_up

from designspace.analysis.claims import judge_claims, read_claims
from designspace.errors import InputError
from designspace.stats.mean_difference import difference_of_means

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
