"""Parameters of any size and names of any kind, in tables, on axes and in legends."""

import html
import warnings
from dataclasses import replace

import numpy as np
import pytest
from analysis.populations import made_up
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from designspace.analysis.findings import analyze
from designspace.errors import InputError
from designspace.report.draw_on_axes import _scale_parameter_axis
from designspace.report.model_table import model_table
from designspace.report.plot import plot_best_of_k, plot_differences, plot_edf, plot_trade_off
from designspace.report.report_figures import report_figures
from designspace.report.verdict_cards import verdict_cards
from designspace.report.write_report import write_report


def test_parameters_are_shown_in_four_digits():
    columns = {"lr": [0.00312], "decay": [5.0e-05], "w": [123.456], "images": [123456.0]}
    findings = analyze([made_up([30.0], parameters=columns)])
    assert model_table(findings)["rows"][0][-1] == "lr=0.00312 decay=5e-05 w=123.5 images=123456"


@pytest.mark.parametrize(
    ("name", "values", "scale", "base"),
    [
        ("b", [1, 2, 4], "log", 2),
        ("g3", [1, 2, 64], "log", 2),
        ("w_0", [8, 32, 200], "log", 2),
        ("w2", [8, 32, np.nan], "log", 2),
        ("w_m", [1.5, 2, 3], "linear", None),
        ("d", [4, 20, 60], "linear", None),
        ("weight_decay", [1e-5, 1e-4, 1e-3], "log", 10),
        ("weight_decay", [0, 1e-4, 1e-3], "linear", None),
        ("lr", [0.001, 0.01, 0.1], "log", 10),
        ("lr", [0.01, 0.02, 0.1], "linear", None),
        ("batch_size", [32, 64, 128], "log", 2),
        ("growth", [1, 2, 3], "linear", None),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_parameter_has_the_axis_that_its_values_ask_for(name, values, scale, base):
    ax = Figure().add_subplot()
    _scale_parameter_axis(ax, name, np.array(values, float))
    assert ax.get_xscale() == scale
    assert getattr(ax.xaxis.get_transform(), "base", None) == base


def of_part_of_the_models():
    """The first parameter is known of 12 of 40 models, the second of all."""
    rng = np.random.default_rng(0)
    some = np.where(np.arange(40) < 12, rng.random(40), np.nan)
    return made_up(rng.normal(50, 1, 40), parameters={"few": some, "all": rng.random(40)})


def test_too_few_models_of_one_parameter_are_said_of_that_one(tmp_path):
    findings = analyze([of_part_of_the_models()])
    (caption,) = [f.caption for f in report_figures(findings) if f.section == "bootstrap"]
    assert "range of the best of 10 models in redraws" in caption
    assert " of 40 models carry 95 % of the weight." in caption
    page = write_report(findings, tmp_path, figures=("svg",)).read_text()
    assert '"warning">few: 12 models are too few for this range to say anything.<' in page
    few = made_up([30.0, 31, 32], parameters={"x": [1, 2, 3], "y": [3, 1, 2]})
    page = write_report(analyze([few]), tmp_path, figures=("svg",)).read_text()
    assert '"warning">3 models are too few for these ranges to say anything.<' in page


def of_costs(name, shift=0.0, n=40):
    rng = np.random.default_rng(0)
    flops = np.linspace(1e6, 2e6, n)
    return made_up(rng.normal(50 + shift, 1, n), name, costs={"flops": flops})


def test_names_that_begin_with_an_underscore_are_in_every_legend(tmp_path):
    findings = analyze([of_costs("_one"), of_costs("_two", 1)], against="flops")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes = [
            plot(findings, ax=Figure().add_subplot()) for plot in (plot_best_of_k, plot_trade_off)
        ]
        index = write_report(findings, tmp_path, figures=("svg",))
    for ax in axes:
        words = [text.get_text().strip() for text in ax.get_legend().get_texts()]
        assert words == ["_one", "_two"]
    figure = (index.parent / "figures" / "best_of_k.svg").read_text()
    assert ">_one<" in html.unescape(figure).replace("> ", ">")


def test_curves_without_names_have_no_legend():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = plot_best_of_k([30.0, 31.0, 32.0], Figure().add_subplot())
    assert ax.get_legend() is None


@pytest.mark.parametrize("kind", [tuple, list, np.array])
def test_any_sequence_of_labels_and_colors_is_one_for_each_curve(kind):
    errors = {"a": [30.0, 31.0], "b": [32.0, 33.0]}
    for plot in (plot_edf, plot_best_of_k):
        ax = plot(errors, Figure().add_subplot(), label=kind(["A", "B"]), color=kind(["r", "b"]))
        words = [text.get_text()[-1] for text in ax.get_legend().get_texts()]
        assert words == ["A", "B"]
        curves = [line for line in ax.lines if str(line.get_gid()).startswith("curve-")]
        assert [line.get_color() for line in curves] == ["r", "b"]
    with pytest.raises(InputError, match="label needs 2, one for each population; found 3"):
        plot_edf(errors, Figure().add_subplot(), label=kind(["A", "B", "C"]))


@pytest.mark.parametrize("color", [(1.0, 0.0, 0.5), ("red", 0.5), "0.5"])
def test_numbers_are_one_color_and_a_tuple_is_one_line_style(color):
    errors = {name: [30.0, 31.0] for name in "abc"}
    ax = plot_edf(errors, Figure().add_subplot(), color=color, linestyle=(0, (1, 2)))
    curves = [line for line in ax.lines if str(line.get_gid()).startswith("curve-")]
    assert [line.get_color() for line in curves] == [color] * 3
    assert {line.get_linestyle() for line in curves} == {"--"}


def test_differences_take_any_sequence_of_labels_and_one_color():
    findings = analyze([made_up([30.0, 31.0], "a"), made_up([32.0, 33.0], "b")])
    for label in ("mine", ("mine",), np.array(["mine"])):
        ax = plot_differences(findings, Figure().add_subplot(), label=label, color="crimson")
        assert [text.get_text() for text in ax.get_yticklabels()] == ["mine"]
    with pytest.raises(InputError, match="color is 'crimsn'"):
        plot_differences(findings, Figure().add_subplot(), color="crimsn")


def test_the_card_of_a_trade_off_names_a_cost_within_which_there_is_an_error():
    """Half of the range of cost holds 3 of 40 models: too few for a search over 3."""
    flops = np.append([1e6, 1.1e6, 1.2e6], np.linspace(3e6, 4e6, 37))
    results = replace(of_costs("a"), costs={"flops": flops})
    card = next(c for c in verdict_cards(analyze([results], against="flops")) if "ithin" in c.title)
    assert card.title.startswith("Within multiply-adds 3.")
    assert "too few" not in card.title
    one = made_up([50.0, 51.0], costs={"flops": [1e6, 2e6]})
    titles = [card.title for card in verdict_cards(analyze([one], against="flops"))]
    assert not any("too few models" in title for title in titles)


def test_a_trade_off_whose_leader_is_not_shown_to_lead_says_that_alone():
    """b is shown to be better than a; the lead of c is not shown."""
    shifts = {"a": 0.0, "b": -4.0, "c": -4.01}
    populations = [of_costs(name, shift) for name, shift in shifts.items()]
    findings = analyze(populations, against="flops")
    (trade_off,) = findings.trade_offs
    pairs = [replace(p, p=1.0) if "c" in (p.first, p.second) else p for p in trade_off.pairs]
    findings = replace(findings, trade_offs=(replace(trade_off, pairs=tuple(pairs)),))
    titles = [card.title for card in verdict_cards(findings)]
    assert "c's lead against multiply-adds is not shown" in titles


def test_the_card_of_the_best_model_leaves_out_unknown_costs():
    results = made_up([30.0, 31.0], costs={"flops": [np.nan, 1e6], "params": [2e5, 3e5]})
    card = verdict_cards(analyze([results]))[1]
    assert card.sentence == "Model 0 of 2: 200K params."


def test_a_band_goes_on_below_the_lowest_error():
    """Further models of the space may be better than all of these."""
    errors = np.random.default_rng(0).normal(50, 2, 12)
    ax = Figure().add_subplot()
    plot_edf(errors, ax)
    (band,) = ax.collections
    corners = band.get_paths()[0].vertices
    below = corners[corners[:, 0] < errors.min()]
    # Of 12 models, none of which is below: by a binomial bound alone, with no others to hold.
    assert below[:, 1].max() > 1 - 0.025 ** (1 / 12)
    assert below[:, 1].min() == 0
    assert ax.get_xlim()[0] > errors.min() - 1


def test_long_names_of_parameters_have_room_in_the_figure_of_importance():
    rng = np.random.default_rng(0)
    names = ["b", "stem_channels_of_the_stage"]
    of = made_up(rng.normal(50, 1, 40), parameters={name: rng.random(40) for name in names})
    figures = {figure.key: figure for figure in report_figures(analyze([of]))}
    figure = figures["importance"]
    longest = TextPath((0, 0), names[1], size=8.5).get_extents().width / 72
    assert figure.left > longest
    assert figure.size[0] - figure.left > 2
