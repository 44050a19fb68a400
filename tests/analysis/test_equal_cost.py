"""Unequal cost, controls, noise of images and seeds: what a difference may be instead."""

import numpy as np
import pytest
from analysis.populations import made_up
from marks import quick_share

import designspace as ds
from designspace.analysis import equal_cost
from designspace.analysis.claims import read_claims
from designspace.analysis.equal_cost import match
from designspace.analysis.findings import analyze
from designspace.analysis.headline import narrate
from designspace.analysis.rank_agreement import rank_agreement
from designspace.analysis.summary import summarize
from designspace.errors import InputError
from designspace.report.verdict_cards import verdict_cards
from designspace.report.write_report import write_report
from designspace.runs import Run, Trial, TrialState
from designspace.stats.intervals import Estimate


def sized(rng, name, low, high, gain, n=64, noise=1.0):
    """Error falls by 2 points with each doubling of the cost, and by the population's own gain."""
    flops = np.exp(rng.uniform(np.log(low), np.log(high), n))
    errors = 60 - 2 * np.log2(flops / 1e7) - gain + rng.normal(0, noise, n)
    return made_up(errors, name, {"d": flops / 1e6}, {"flops": flops, "params": flops / 10})


def test_larger_networks_are_warned_about_first_and_compared_at_equal_cost():
    rng = np.random.default_rng(0)
    found = analyze([sized(rng, "a", 9e6, 296e6, 0), sized(rng, "c", 50e6, 900e6, 0)])
    (pair,) = found.comparisons
    assert pair.verdict == "better"
    assert pair.unequal == ("multiply-adds", "parameters")
    equal = pair.at_equal("multiply-adds")
    assert equal.difference.low < 0 < equal.difference.high
    assert pair.explained_by == ("multiply-adds", "parameters")
    first = narrate(found).warnings[0]
    assert first.startswith("The populations differ in cost")
    assert "a 9" in first
    assert "at equal multiply-adds: c against a" in first
    summary = summarize(found).to_dict()
    assert summary["warnings"][0] == first
    assert summary["comparisons"][0]["controls"][0]["explains"] is True
    assert "May be explained by" in summary["verdict"]


def test_the_first_card_counts_spaces_of_equal_cost_alone():
    rng = np.random.default_rng(0)
    small = [sized(rng, name, 1e6, 1.1e6, gain) for name, gain in (("a", 0), ("b", 5))]
    large = [sized(rng, name, 3e6, 3.3e6, gain) for name, gain in (("c", 5), ("d", 20))]
    alone, two, all_equal = (
        verdict_cards(analyze(populations))[0]
        for populations in ([*small, large[1]], [*small, *large], large)
    )
    assert alone.title == "No space is shown to be better"
    assert alone.sentence.startswith("d has the lowest mean (mean error ")
    assert alone.sentence.endswith("; the others differ in cost.")
    assert two.title == all_equal.title == "d is better than c"
    assert two.sentence.endswith("; no other is of equal cost.")
    assert "no other" not in all_equal.sentence
    third = sized(rng, "e", 3e6, 3.3e6, 10)
    several = verdict_cards(analyze([*small, *large, third]))[0]
    assert several.title == "d is better than both others of equal cost"
    assert "over the nearest, e (95 % interval" in several.sentence
    warning = narrate(analyze([*small, *large, third])).warnings[0]
    assert "too far apart to compare at equal multiply-adds: " in warning
    assert "and 3 other pairs" in warning


def test_ranges_that_miss_each_other_are_reported_not_dropped():
    rng = np.random.default_rng(1)
    found = analyze([sized(rng, "a", 1e6, 3e6, 0), sized(rng, "c", 2e8, 9e8, 0)])
    assert found.comparisons[0].at_equal("multiply-adds").method is None
    assert "too far apart to compare at equal multiply-adds: c and a" in narrate(found).warnings[0]


def of_costs(rng, name, flops, params):
    flops, params = np.asarray(flops, float), np.asarray(params, float)
    return made_up(rng.normal(50, 1, len(flops)), name, costs={"flops": flops, "params": params})


def test_too_few_models_are_not_said_to_be_too_far_apart():
    """The ranges are the same; 8 models of each are fewer than the 10 of a regression."""
    rng = np.random.default_rng(1)
    low = 1e6 * np.array([1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 9])
    first, second = of_costs(rng, "a", low, low), of_costs(rng, "c", 10e6 - low, 10e6 - low)
    text = narrate(analyze([first, second])).warnings[0]
    words = "too few models to compare at equal multiply-adds: c and a (8 and 8 in the common range"
    assert f"{words}, 10 needed)." in text
    assert "too far apart" not in text


def test_each_pair_is_compared_at_a_cost_of_its_own():
    rng = np.random.default_rng(1)
    about = np.geomspace(1e6, 4e6, 24)
    first, second = of_costs(rng, "a", about, about), of_costs(rng, "b", 9 * about, 9 * about)
    flops_unknown = of_costs(rng, "c", np.full(24, np.nan), 1.4 * about)
    text = narrate(analyze([first, second, flops_unknown])).warnings[0]
    assert "; at equal parameters: c against a " in text
    assert "; too far apart to compare at equal multiply-adds: b and a;" in text
    assert text.endswith("; too far apart to compare at equal parameters: c and b.")


def test_a_cost_of_zero_is_no_control():
    rng = np.random.default_rng(1)
    ones = np.full(24, 1e6)
    first, second = (of_costs(rng, name, 0 * ones, ones) for name in "ac")
    (pair,) = analyze([first, second]).comparisons
    assert [one.control for one in pair.controls] == ["parameters"]
    some = of_costs(rng, "d", np.append(0.0, ones[1:]), ones)
    assert analyze([some, first]).comparisons[0].unequal == ()


def test_one_budget_is_no_unequal_cost():
    rng = np.random.default_rng(2)
    found = analyze([sized(rng, name, 9e6, 11e6, 0) for name in "ac"])
    assert found.comparisons[0].unequal == ()
    assert not any("differ in cost" in text for text in narrate(found).warnings)


@pytest.mark.parametrize(("low", "method"), [(12e6, "matching"), (80e6, "regression")])
def test_differences_at_equal_cost_cover_the_truth(low, method):
    rng = np.random.default_rng(3)
    covered, methods = [], set()
    for _ in range(80):
        pair = analyze_pair(sized(rng, "a", 10e6, 160e6, 0), sized(rng, "c", low, 16 * low, 1.0))
        methods.add(pair.method)
        if pair.difference is None:
            continue
        covered.append(pair.difference.low <= -1.0 <= pair.difference.high)
    assert method in methods
    assert np.mean(covered) >= 0.95 - 3 * 0.0244


def analyze_pair(first, second):
    from designspace.analysis.equal_cost import controlled_differences
    from designspace.stats.two_sample import compare_arrays

    raw = compare_arrays(first.counted_errors, second.counted_errors, permutations=199).mean
    return controlled_differences(first, second, raw)[0]


def test_matching_pairs_as_many_as_possible():
    pairs = match(np.array([3.0, 1.0, 2.0]), np.array([1.05, 2.2, 9.0]), 0.1)
    assert pairs.tolist() == [[1, 0]]
    assert len(match(np.arange(9.0), np.arange(9.0) + 0.05, 0.1)) == 9


def test_importance_that_cost_explains_is_nothing_at_equal_cost():
    rng = np.random.default_rng(4)
    flops = rng.uniform(1, 2, 200)
    other = rng.uniform(1, 2, 200)
    errors = 50 - 6 * flops - 2 * other + rng.normal(0, 0.3, 200)
    parameters = {"d": flops + rng.normal(0, 0.1, 200), "w": other}
    found = analyze([made_up(errors, "a", parameters, {"flops": flops * 1e6})]).populations[0]
    importance = {trend.name: trend.importance.value for trend in found.trends}
    assert importance["d"] > 0.6
    assert found.at_equal_cost["d"].value < 0.02
    assert found.at_equal_cost["w"].low > 0.03
    assert found.controls[0].control == "multiply-adds"
    assert found.controls[0].importance.value > 0.7


def test_noise_of_few_images_is_stated_next_to_the_spread():
    rng = np.random.default_rng(5)
    few = made_up(30 + rng.normal(0, 3.7, 40), "few", val_images=150)
    many = made_up(30 + rng.normal(0, 3.7, 40), "many", val_images=50_000)
    found = analyze([few, many])
    noise = found.populations[0].noise
    assert noise.half_width == pytest.approx(1.96 * 100 * np.sqrt(0.3 * 0.7 / 150), rel=0.05)
    assert noise.share > 0.8
    (text,) = [text for text in narrate(found).warnings if "images" in text]
    assert "150 images, ±7.2 points per model" in text
    assert "many" not in text


def test_no_headline_names_a_best_population_where_all_is_undecided():
    rng = np.random.default_rng(6)
    found = analyze([made_up(rng.normal(50, 2, 30), name) for name in "ac"])
    assert narrate(found).sentences[0] == "No population is shown to be better than another."


def trained(errors, name, seed):
    return made_up(errors, name, recipe={"name": "r"}, splits=("val",), seeds=(seed, seed + 9))


@pytest.mark.parametrize("repeats", quick_share([60, 300], [60]))
def test_seeds_are_nested_in_models(repeats):
    """Ten trainings of each of ten models are ten models: intervals cover the spaces' means."""
    rng = np.random.default_rng(7)
    covered = []
    for _ in range(repeats):
        models = rng.normal(50, 2, 10)
        runs = [trained(models + rng.normal(0, 0.5, 10), f"s{k}", 100 * k) for k in range(1, 6)]
        found = analyze([*runs, made_up(rng.normal(50, 2, 40), "other")])
        (pair,) = found.comparisons
        covered.append(pair.comparison.mean.low <= 0 <= pair.comparison.mean.high)
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / repeats)
    assert [p.name for p in found.populations] == ["s1", "other"]
    seeds = found.populations[0].seeds
    assert seeds.names == ("s1", "s2", "s3", "s4", "s5")
    assert seeds.repeatability.seed_sd == pytest.approx(0.5, rel=0.4)
    assert found.populations[0].edf.n == 10
    assert summarize(found).to_dict()["populations"][0]["seeds"]["names"][0] == "s1"


def test_runs_of_one_seed_or_of_other_recipes_stay_apart():
    rng = np.random.default_rng(8)
    first = trained(rng.normal(50, 1, 9), "a", 1)
    same = trained(rng.normal(50, 1, 9), "b", 1)
    other = made_up(
        rng.normal(50, 1, 9), "c", recipe={"name": "long"}, splits=("val",), seeds=(7, 8)
    )
    assert len(analyze([first, same, other]).populations) == 3


def test_runs_on_other_images_are_no_seeds_of_one_model():
    rng = np.random.default_rng(8)
    about = {"recipe": {"name": "r"}, "splits": ("val",)}
    runs = [
        made_up(rng.normal(50, 1, 9), name, **about, seeds=(seed, seed + 9), content=content)
        for name, seed, content in (("a", 1, "one"), ("b", 11, "two"), ("c", 21, ""))
    ]
    # c, of before images were recorded, goes with either.
    assert len(analyze(runs[:2]).populations) == 2
    assert [p.name for p in analyze(runs).populations] == ["a", "b"]
    with pytest.raises(InputError, match="needs at least"):  # other images are another schedule
        rank_agreement([run.first(3) for run in runs[:2]])


def test_a_part_of_a_run_is_no_second_seed():
    rng = np.random.default_rng(3)
    about = {"recipe": {"name": "r"}, "splits": ("val",), "seed": 0}
    whole = made_up(rng.normal(50, 1, 9), "whole", **about, seeds=(3, 99))
    part = made_up(whole.errors, "part", **about, seeds=(3, 42))
    assert [p.name for p in analyze([whole, part]).populations] == ["whole", "part"]
    with pytest.raises(InputError, match="whole and part have the same seeds"):
        rank_agreement([whole, part])
    other = made_up(whole.errors + 5, "other", recipe={"name": "r"}, splits=("test",), seeds=(7, 9))
    agreement = rank_agreement([whole, other])
    assert (agreement.seeds, agreement.schedules[0][0]) == (None, "other")


def test_pooled_runs_are_named_with_their_seeds_and_claims_may_name_any(tmp_path):
    rng = np.random.default_rng(9)
    about = {"recipe": {"name": "r"}, "splits": ("val",), "seconds": 60.0}
    models = rng.normal(50, 2, 12)
    runs = [
        made_up(models + rng.normal(0, 0.5, 12), f"x{k}", **about, seeds=(k, k + 9), seed=k)
        for k in (0, 1)
    ]
    other = made_up(rng.normal(40, 2, 12), "y")
    (tmp_path / "claims.yaml").write_text(
        "claims:\n"
        "  - {claim: p, kind: better, first: x1, second: y}\n"
        "  - {claim: q, kind: better, first: x0, second: x1}\n"
    )
    found = analyze([*runs, other], claims=read_claims(tmp_path / "claims.yaml"))
    about_both, of_itself = found.claims.claims
    mean = (runs[0].errors.mean() + runs[1].errors.mean()) / 2
    assert about_both.estimate == pytest.approx(other.errors.mean() - mean)
    assert about_both.verdict == "supported"
    assert of_itself.test.endswith("not testable: x0 and x1 are seeds of the same models")
    words = "x0 is the mean over x0 and x1 (seeds 0, 1)"
    assert f"{words}." in narrate(found).sentences
    assert found.populations[0].results.provenance.seconds == 120
    page = write_report(found, tmp_path / "report", figures=("svg",)).read_text()
    assert f"{words}: errors are means over 2 trainings of each model" in page
    assert f"<dt>note</dt><dd>{words}.</dd>" in page


def test_a_run_of_which_every_model_failed_has_a_report(tmp_path, cli):
    run = ds.sample("RegNetX@8", n=4, flops="180K:220K", out=tmp_path / "run")
    failed = [
        Trial(
            run.population().ids[k], k, TrialState.FAILED, None, (), 1.0, k, reason="out of memory"
        )
        for k in range(4)
    ]
    Run.open(run.path).append_trials(failed)
    found = ds.analyze(run)
    assert [results.name for results in found.without_errors] == ["run"]
    index = found.save(tmp_path / "report", figures=("svg",))
    assert "No model has an error" in index.read_text()
    assert (tmp_path / "report" / "tables" / "models.csv").read_text().count("failed") == 4
    told = cli("analyze", run.path, "--out", tmp_path / "report")
    assert told.code == 0
    assert "all 4 trials failed (failed: out of memory)" in told.out


def test_the_command_prints_warnings_first_and_true_minus_signs(tmp_path, cli):
    for name, shift in (("a", 0.0), ("c", -5.0)):
        run = ds.sample("RegNetX@8", n=8, flops="180K:220K", out=tmp_path / name)
        for k in range(8):
            run.record(k, error=40 + shift + 0.1 * k)
    lines = cli("analyze", tmp_path / "a", tmp_path / "c", "--out", tmp_path / "r").out.split("\n")
    assert lines[0].startswith("warning: Few models: a (8) and c (8).")
    assert "c is better than a (−5.00, 95 % interval −5." in "\n".join(lines)


def test_partners_at_the_very_limit_are_partners_whatever_the_last_digit_of_a_logarithm():
    # A width of 88 is 1.1 times one of 80; of these logarithms some differ by more than log 1.1.
    first = 80.0 * np.arange(1, 201) ** 3
    errors = np.zeros(200), np.ones(200)
    raw = Estimate(1.0, 0.5, 1.5)
    result = equal_cost._controlled("last width", errors, (first, 1.1 * first), raw)
    assert (result.method, result.n) == ("matching", (200,))
