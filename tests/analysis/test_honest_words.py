"""Words, cards, tables and curves of a report don't say more than its numbers."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from populations import made_up

import designspace as ds
from designspace.analysis.csv_tables import tables
from designspace.analysis.findings import analyze
from designspace.analysis.headline import narrate
from designspace.analysis.imported_folder import read_imported
from designspace.analysis.trial_accounting import counted_models
from designspace.errors import InputError
from designspace.report.draw_on_axes import draw_edf
from designspace.report.verdict_cards import verdict_cards
from designspace.report.write_report import write_report
from designspace.stats.edf import edf


def with_states(results, states, all_finished=False):
    states = np.array(states, dtype="U8")
    errors = np.where(np.isin(states, ("failed", "missing")), np.nan, results.errors)
    counted = counted_models(states, errors, all_finished)
    return replace(results, states=states, errors=errors, counted=counted)


def test_a_curve_ends_at_the_end_of_the_axis():
    """The page's script maps the last corner of a curve to that error."""
    function = edf([30.0, 40.0, 50.0, 90.0])
    ax = Figure().add_subplot()
    draw_edf(ax, function, until=56.0, color="k")
    x, y = ax.lines[0].get_data()
    assert (x[-1], y[-1]) == (56.0, 0.75)
    ax = Figure().add_subplot()
    draw_edf(ax, function, color="k")
    assert ax.lines[0].get_xdata()[-1] == 90.0


def test_different_images_and_sizes_are_named():
    rng = np.random.default_rng(0)
    first, second = (made_up(40 + rng.random(40), name, content=name) for name in "ab")
    words = " ".join(narrate(analyze([first, second])).warnings)
    assert "trained on different images" in words
    same = replace(second, provenance=first.provenance)
    assert "different images" not in " ".join(narrate(analyze([first, same])).warnings)
    sized = replace(first, resolution=16), replace(same, resolution=32)
    assert "(16 pixels and 32 pixels)" in " ".join(narrate(analyze(sized)).warnings)


def test_gaps_that_are_counted_are_named_and_nothing_is_always_valid(tmp_path):
    rng = np.random.default_rng(0)
    states = ["complete"] * 30 + ["missing"] + ["complete"] * 9
    first, second = (made_up(40 + rng.random(40), name) for name in "ab")
    in_order = analyze([with_states(first, states), second])
    gaps = analyze([with_states(first, states, all_finished=True), second])
    bias, valid = "models that finish first are biased", "Valid whenever the training was stopped"
    assert [p.accounting.with_gaps for p in gaps.populations] == [True, False]
    assert "All finished trials of a count" in (text := " ".join(narrate(gaps).warnings))
    assert bias in text
    assert valid not in narrate(gaps).paragraph
    assert valid in narrate(in_order).paragraph
    assert "but here all finished trials count" in write_report(gaps, tmp_path).read_text()
    assert "but here all finished trials count" not in write_report(in_order, tmp_path).read_text()


def test_images_of_a_part_of_the_models_are_said_to_be_so():
    rng = np.random.default_rng(0)
    populations = []
    for name in "ab":
        correct = {i: rng.random(200) < 0.6 for i in range(40)}
        errors = [100 * (1 - bits.mean()) for bits in correct.values()]
        own = made_up(errors, name, content="images", val_images=200)
        populations.append(replace(own, correct=correct))
    whole = narrate(analyze(populations)).paragraph
    assert "With the draw of the 200 validation images as well" in whole
    assert "whose single images are recorded" not in whole
    fewer = replace(populations[1], correct=dict(list(populations[1].correct.items())[:30]))
    part = narrate(analyze([populations[0], fewer])).paragraph
    assert "(of the 30 and 40 models whose single images are recorded)" in part


def test_an_interval_that_contains_zero_shows_it():
    """Verdicts are by permutation and bootstrap, intervals by Welch: they may disagree."""
    rng = np.random.default_rng(0)
    findings = analyze(
        [made_up(mean + rng.random(40), name) for mean, name in ((41, "a"), (40, "b"))]
    )
    (pair,) = findings.comparisons
    assert pair.verdict == "better"
    assert "95 % interval 0." in verdict_cards(findings)[0].sentence
    mean = replace(pair.comparison.mean, value=-0.78, low=-1.57, high=0.01)
    wide = replace(pair, comparison=replace(pair.comparison, mean=mean))
    text = verdict_cards(replace(findings, comparisons=(wide,)))[0].sentence
    assert "0.78 points" in text
    assert "95 % interval \N{MINUS SIGN}0.01 to 1.57" in text


def test_few_models_have_no_interval_in_words(tmp_path):
    words = narrate(analyze([made_up([30.0, 31.0, 33.0])])).paragraph
    assert "(too few models for an interval)" in words
    assert "inf" not in words
    two = analyze([made_up([30.0, 31.0, 33.0]), made_up([30.5, 31.5, 32.0], "b")])
    text = write_report(two, tmp_path).read_text()
    assert "needs more pairs" in text
    assert "+inf" not in text


def test_csv_tables_have_the_numbers_of_models():
    rng = np.random.default_rng(0)
    costs = {"flops": rng.integers(100, 200, 40)}
    first, second = (made_up(40 + rng.random(40), n, {"d": costs["flops"]}, costs) for n in "ab")
    frames = tables(analyze([first, second]))
    matched = frames["controls"][frames["controls"]["method"] == "matching"]
    assert len(matched)
    assert matched["n_first"].notna().all()
    assert not [name for name in frames["trends"] if name.endswith(("_first", "_second"))]


HEADER = "id,state,error\na,complete,30\nb,complete,31\n"


def test_a_table_written_by_hand_counts_what_diverged(tmp_path):
    (tmp_path / "import.yaml").write_text("name: mine\nchance: 90\n")
    file = tmp_path / "models.csv"
    file.write_text(HEADER + "c,diverged,\nd,failed,\n")
    results = read_imported(tmp_path)
    assert results.errors[:3].tolist() == [30, 31, 90]
    assert results.counted.tolist() == [True, True, True, False]
    file.write_text(HEADER + "c,failed,12\nd,complete,\n")
    with pytest.raises(
        InputError, match=r"line 4: a failed model has no error.*line 5: a complete"
    ):
        read_imported(tmp_path)


def test_the_command_names_options_and_python_arguments(tmp_path, cli, refused, monkeypatch):
    run = ds.sample("RegNetX@8", n=8, flops="150K:260K", out=tmp_path / "gaps")
    for i in (0, 1, 3, 4, 5):
        run.record(i, error=10.0 + i)
    failed = ds.sample("RegNetX@8", n=2, flops="150K:260K", seed=1, out=tmp_path / "failed")
    for i in range(2):
        failed.record(i, error=None, state="failed")
    monkeypatch.setattr("designspace.report.write_report.write_report", lambda *_: tmp_path)
    words = ("analyze", run.path, failed.path)
    printed = cli(*words).out
    assert "3 of gaps. --all-finished includes them." in printed
    assert "train again with --retry." in printed
    assert "=True" not in printed
    text = " ".join(narrate(ds.analyze([run, failed])).warnings)
    assert "3 of gaps. all_finished=True includes them." in text
    assert "--" not in text
    assert "gaps: [10.0 | 10.5] n = 2 of 2" in cli(*words, "--first", 2).out
    assert "--first is 0; it must be at least 1" in refused(*words, "--first", 0)
