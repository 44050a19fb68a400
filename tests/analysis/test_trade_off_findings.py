"""Trade-offs of error and cost: what is compared, what is kept apart, and what the page says."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from analysis.populations import made_up

from designspace.analysis.findings import analyze
from designspace.analysis.headline import narrate
from designspace.analysis.summary import read_summary, summarize, summary_schema
from designspace.analysis.trade_off import format_cost, parse_measures, trade_offs
from designspace.analysis.trade_off_text import trade_off_sentences
from designspace.errors import InputError
from designspace.report.verdict_cards import verdict_cards
from designspace.report.write_report import write_report
from designspace.runs.measurements import MeasuredSetting

HERE = MeasuredSetting("cpu (here)", 1, 1, "fp32", "inference", False, 32, "2.6.0")
THERE = replace(HERE, device="cpu (there)")


def space(name, shift=0.0, n=60, seed=0, **options):
    """A population whose error falls with its cost."""
    rng = np.random.default_rng(seed)
    flops = np.exp(rng.uniform(0, 1, n)) * 1e6
    errors = 40 + shift - 5 * np.log(flops / 1e6) + rng.normal(0, 1, n)
    costs = {"flops": flops, "params": np.full(n, 1000.0), **options.pop("costs", {})}
    return made_up(errors, name, costs=costs, **options)


def measured(results, setting, rows=None):
    """The population with a latency that follows its flops."""
    latency = np.full(len(results), np.nan)
    chosen = slice(None) if rows is None else rows
    latency[chosen] = results.costs["flops"][chosen] * 1e-9
    columns = {"latency": latency, "noisy": np.zeros(len(results))}
    return replace(results, measured={**results.measured, setting: columns})


def test_a_space_that_is_better_at_every_cost_is_shown_to_be():
    (found,) = trade_offs([space("a"), space("b", -4, seed=1)], "flops")
    (pair,) = found.pairs
    assert pair.better == "b"
    assert 2 < pair.hypervolume.low < pair.hypervolume.high < 4  # 0 where no model is cheap enough
    assert {region.better for region in pair.regions} == {"second"}
    assert found.k == 5
    front = found.populations[0]
    assert (np.diff(front.costs) > 0).all()
    assert (np.diff(front.errors) < 0).all()
    assert (front.frequency == 1).all()  # the number of validation images is unknown


def test_a_larger_sample_of_the_same_space_is_not_better():
    """Its front is ahead; what as many random models reach is not."""
    small, large = space("small", n=40), space("large", n=400, seed=1)
    (found,) = trade_offs([small, large], "flops")
    assert found.pairs[0].better is None
    assert found.pairs[0].regions == ()
    assert [part.best.k for part in found.populations] == [3, 3]


def test_noise_of_few_images_makes_the_front_uncertain():
    noisy = space("a", val_images=200)
    (found,) = trade_offs([noisy], "flops")
    assert found.populations[0].frequency.min() < 0.6


def test_measurements_of_several_settings_are_kept_apart():
    a = measured(measured(space("a"), HERE), THERE)
    b, c = measured(space("b", seed=1), HERE), space("c", seed=2)
    here, there = trade_offs([a, b, c], "latency")
    assert (here.setting, there.setting) == (HERE, THERE)
    assert [part.name for part in here.populations] == ["a", "b"]
    assert [part.name for part in there.populations] == ["a"]
    assert here.notes == ("c is left out: none of its models has been measured.",)
    assert there.notes[0].startswith("b is left out: it was measured in another setting")
    assert "cpu (here)" in there.notes[0]


def test_a_partly_measured_population_says_so():
    first, chosen = measured(space("a"), HERE, slice(30)), np.arange(0, 60, 2)
    (found,) = trade_offs([first], "latency")
    assert found.notes == ("a: latency known of 30 of 60 models.",)
    assert found.populations[0].n == 30
    (found,) = trade_offs([measured(space("a"), HERE, chosen)], "latency")
    assert "not the first ones sampled" in found.notes[0]
    few = measured(space("few", seed=3), HERE, slice(5))
    (found,) = trade_offs([first, few], "latency")
    assert "few is left out: latency known of 5 models only" in found.notes[0]


@pytest.mark.parametrize(
    ("against", "words"),
    [
        ("flop", "did you mean flops"),
        ("flops,time", "known: flops, params, acts, latency, memory"),
        ("acts", "unknown of two models of a"),
        ("params", "or all have the same"),
        ("latency", "must have been measured"),
    ],
)
def test_a_cost_that_is_no_choice(against, words):
    with pytest.raises(InputError, match=words) as error:
        trade_offs([space("a")], against)
    assert error.value.argument == "against"


def test_several_costs_once_each():
    assert parse_measures(["flops,acts", "flops"]) == ("flops", "acts")
    assert [format_cost("latency", value) for value in (2, 0.00231, 4e-5)] == [
        "2s",
        "2.31ms",
        "40us",
    ]
    assert format_cost("memory", 12_300_000) == "12.3MB"


@pytest.fixture(scope="module")
def findings():
    a, b = measured(space("a"), HERE), measured(space("b", -4, seed=1), HERE)
    return analyze([a, b], against=["flops", "latency"])


def test_the_summary_has_it_and_a_default_one_does_not(findings, tmp_path):
    folder = write_report(findings, tmp_path, ()).parent
    summary = read_summary(folder / "summary.json")
    flops, latency = summary.trade_offs
    assert (flops.measure, flops.setting) == ("flops", None)
    assert latency.setting["device"] == "cpu (here)"
    assert flops.pairs[0].better == "b"
    assert flops.populations[0].front[0].index == findings.trade_offs[0].populations[0].rows[0]
    without = summarize(replace(findings, trade_offs=()))
    assert "trade_offs" not in without.to_dict()
    assert "trade_offs" in summary_schema()["properties"]
    json.dumps(summarize(findings).to_dict(), allow_nan=False)


def test_the_page_has_figures_tables_and_csv(findings, tmp_path):
    index = write_report(findings, tmp_path, ("svg",))
    page = index.read_text()
    assert page.count('id="fig-trade_off_') == 2
    assert "Measured on cpu (here), 1 thread, batch 1" in page
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"trade_off_flops.svg", "trade_off_latency.svg"} <= names
    fronts = pd.read_csv(tmp_path / "tables/trade_off_fronts.csv")
    assert set(fronts["against"]) == {"flops", "latency"}
    # A report without trade-offs over it leaves none behind.
    write_report(replace(findings, trade_offs=()), tmp_path, ("svg",))
    assert not [*tmp_path.rglob("trade_off*")]
    assert 'id="trade-off"' not in index.read_text()


def test_many_populations_are_small_multiples(tmp_path):
    findings = analyze([space(f"p{i}", seed=i) for i in range(5)], against="flops")
    page = write_report(findings, tmp_path, ("svg",)).read_text()
    assert page.count("among all.") >= 5


def test_the_words_claim_no_more_than_the_intervals(findings):
    card = next(card for card in verdict_cards(findings) if "Against multiply-adds" in card.title)
    assert card.title == "Against multiply-adds, b has more hypervolume than a"
    assert card.tone == "better"
    words = "\n".join(trade_off_sentences(findings.trade_offs[0]))
    assert "b has more hypervolume than a" in words
    assert "b is better within" in words
    same = analyze([space("a"), space("b", seed=1)], against="flops")
    card = next(card for card in verdict_cards(same) if "multiply-adds" in card.title)
    assert card.title == "No space is shown to be better against multiply-adds"
    assert "undecided" in trade_off_sentences(same.trade_offs[0])[-1]
    assert narrate(same).sentences


def slower(name, seed):
    """A population of networks as good as their latency, which is twice that of `space`."""
    results = space(name, seed=seed)
    latency = 2e-9 * results.costs["flops"]
    errors = 40 - 5 * np.log(latency / 1e-3) + np.random.default_rng(seed).normal(0, 0.5, 60)
    results = made_up(errors, name, costs=dict(results.costs))
    columns = {"latency": latency, "noisy": np.zeros(len(results))}
    return replace(results, measured={HERE: columns})


def test_errors_at_equal_latency_are_those_of_one_curve():
    """Both lie on one curve of error against latency; at equal flops the slower looks better."""
    fast, slow = measured(space("fast"), HERE), slower("slow", 1)
    findings = analyze([fast, slow], against=["flops", "latency"])
    by_flops, by_latency = findings.trade_offs
    means = [function.mean for function in by_flops.edfs.edfs]
    assert means[0] - means[1] == pytest.approx(5 * np.log(2), abs=0.8)
    means = [function.mean for function in by_latency.edfs.edfs]
    assert means[0] == pytest.approx(means[1], abs=0.8)
    assert by_latency.edfs.complexity == "latency"
    assert by_latency.edfs.low >= 2e-3
    assert any("mean error at equal latency (2" in s for s in trade_off_sentences(by_latency))
    (pair,) = findings.comparisons
    assert pair.at_equal("latency").explains
    assert not pair.at_equal("multiply-adds").explains


def test_the_report_draws_errors_at_equal_latency(tmp_path):
    findings = analyze(
        [measured(space("fast"), HERE), space("unmeasured", seed=2), slower("slow", 1)],
        against=["flops", "latency"],
    )
    page = write_report(findings, tmp_path / "report").read_text(encoding="utf-8")
    assert 'id="fig-edf_at_latency"' in page
    assert "share at equal latency" in page
    drawn = (tmp_path / "report/figures/edf_at_latency.svg").read_text()
    assert "fast" in drawn
    assert "unmeasured" not in drawn
    record = read_summary(tmp_path / "report/summary.json").trade_offs[1].edfs
    assert set(record.populations) == {"fast", "slow"}
