"""The report as a person gets it: whole, self-contained, honest about what is missing, and safe."""

import csv
import html
import json
import os
import re
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

import designspace
from designspace.errors import InputError
from designspace.runs import Run, Trial, TrialState
from designspace.space import Budget, load_space, sample, sample_record

BUDGET = (Budget.parse("flops", "150K:400K"),)


def run(path, space="AnyNetXA@8", n=12, shift=0.0, states=None, name=None):
    """A run folder with made-up errors, some models in other states."""
    found = load_space(space)
    result = sample(found, n, BUDGET)
    source = {**found.source, "sample": sample_record(found, result, BUDGET, 0)}
    if name is not None:
        source["reason"] = name
    folder = Run.create(path, source, result.population)
    rng = np.random.default_rng(1)
    for i, id_ in enumerate(result.population.ids):
        word = (states or {}).get(i, "complete")
        if word is None:
            continue
        state = TrialState(word)
        error = {"complete": 20 + shift + float(rng.normal()), "diverged": 90.0}.get(state.value)
        folder.append_trials([Trial(id_, i, state, error, (), 2.0, i, {"torch": "2"}, "why")])
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory, whole_png):
    home = tmp_path_factory.mktemp("report")
    a = run(home / "a", n=16)
    b = run(home / "b <script>alert(1)</script>", "RegNetX@8", n=16, shift=-6, name="<b>x</b>")
    from designspace.analysis.findings import analyze
    from designspace.analysis.load_results import load_populations
    from designspace.report.write_report import write_report

    write_report(analyze(load_populations([a, b])), home / "out")
    return home / "out"


def test_the_page_loads_nothing_and_escapes_names(report):
    page = (report / "index.html").read_text()
    assert len(page) < 5_000_000
    assert "<script>alert(1)" not in page
    assert "<b>x</b>" not in page
    assert "&lt;script&gt;alert(1)" in page
    for attribute in re.findall(r"(?:src|href)=\"([^\"]*)\"", page):
        assert not attribute.startswith(("http", "//")), attribute
    assert "default-src 'none'" in page


def test_the_page_is_well_formed_and_pictures_have_alt_text(report):
    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open_tags = []
            self.pictures = 0

        def handle_starttag(self, tag, attrs):
            if tag not in {"meta", "link", "input", "br", "img"}:
                self.open_tags.append(tag)
            if tag == "svg":
                self.pictures += 1
                assert dict(attrs).get("role") == "img"
                assert dict(attrs).get("aria-label") or dict(attrs).get("aria-labelledby")

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    reader = Reader()
    reader.feed((report / "index.html").read_text())
    assert reader.open_tags == []
    assert reader.pictures > 4


def test_the_verdict_is_cards_of_one_sentence(report):
    text = words_of((report / "index.html").read_text())
    head = text[: text.index("How good are random models")]
    assert "script> is better than a" in head
    assert re.search(r"By 6\.\d\d points of mean error \(95 % interval 5\.\d\d to \d\.\d\d\)", head)
    pair = json.loads((report / "summary.json").read_text())["comparisons"][0]
    assert pair["verdict"] == "better"
    assert pair["mean"]["low"] < -6 < pair["mean"]["high"]
    assert pair["p_mean_holm"] < 0.01
    ascii_minus = re.search(r"[ (]-\d.{20}", text)
    assert ascii_minus is None, ascii_minus


def words_of(page):
    """The visible text of a page."""
    body = re.sub(r"<(style|script|title)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


def findings_of(*paths):
    from designspace.analysis.findings import analyze
    from designspace.analysis.load_results import load_populations

    return analyze(load_populations(paths))


def test_the_difference_of_two_distributions_is_drawn_with_its_band(report):
    page = (report / "index.html").read_text()
    figure = page[page.index('id="fig-edf_differences"') :]
    assert re.search(r"shown to be above, script&gt; from \d+\.\d to \d+\.\d %", figure)
    assert (report / "figures" / "edf_differences.svg").is_file()


def test_a_card_names_the_better_of_two_neighbors_first(tmp_path):
    from designspace.report.verdict_cards import verdict_cards

    shifts = {"a": 0, "b": 6, "c": -9}  # b is worse than a, its predecessor
    runs = [run(tmp_path / name, n=20, shift=shift) for name, shift in shifts.items()]
    cards = verdict_cards(findings_of(*runs))
    assert [c.title for c in cards[:2]] == ["c is better than both others", "a is better than b"]
    assert cards[1].sentence.startswith("By 6.00 points (95 % interval ")


def test_cards_say_when_nothing_is_shown(tmp_path):
    from designspace.report.verdict_cards import verdict_cards

    a, b = run(tmp_path / "a", n=8), run(tmp_path / "b", n=8, shift=0.6)
    titles = [card.title for card in verdict_cards(findings_of(a, b))]
    assert titles[0] == "No space is shown to be better"
    assert "The comparison is undecided" in titles
    alone = verdict_cards(findings_of(run(tmp_path / "five", n=5)))
    assert "below" in alone[0].title
    assert "too few models for an interval" in alone[0].sentence


def test_the_matrix_shows_each_pair_twice_with_opposite_verdicts(tmp_path):
    from designspace.report.comparison_matrix import comparison_matrix

    names = {"a": 0, "b": -5, "c": 0.1}
    findings = findings_of(*(run(tmp_path / name, n=24, shift=names[name]) for name in names))
    matrix = comparison_matrix(findings)
    assert [row[i] for i, row in enumerate(matrix)] == [None] * 3
    assert (matrix[1][0].text, matrix[1][0].mark, matrix[1][0].better) == ("−5.0", "✓", True)
    assert (matrix[0][1].text, matrix[0][1].mark, matrix[0][1].better) == ("+5.0", "✗", False)
    assert matrix[2][0].mark in "=?"
    assert matrix[0][1].words == matrix[1][0].words
    assert comparison_matrix(findings_of(tmp_path / "a", tmp_path / "b")) == []


def test_numbers_lie_beside_it(report):
    summary = json.loads((report / "summary.json").read_text())
    first = summary["populations"][0]
    assert {"name", "space", "n", "complete", "diverged", "failed", "min", "mean", "median"} <= set(
        first
    )
    assert {"low", "median", "high", "best"} <= set(summary["bootstrap"]["a"]["d1"])
    rows = list(csv.DictReader((report / "tables" / "models.csv").open()))
    assert len(rows) == 32
    kept = [float(r["error"]) for r in rows if r["population"] == "a"]
    assert min(kept) == pytest.approx(first["min"])
    for name in ("edf", "best_of_k", "widths", "fit_errors"):
        assert (report / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert Image.open(report / "figures" / f"{name}.png").width > 500


def test_unfinished_and_failed_models_are_reported_and_bounded(tmp_path, cli):
    path = run(tmp_path / "part", states={2: "failed", 3: "diverged", 7: None})
    outcome = cli("analyze", path, "--out", tmp_path / "out", "--json")
    found = json.loads(outcome.out)["populations"][0]
    # Read in sampled order: models 8 to 11 are trained, but stand after one that is not.
    assert (found["trained"], found["failed"], found["diverged"], found["counted"]) == (11, 1, 1, 6)
    assert found["mean_best_case"] < found["mean"] < found["mean_worst_case"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "part: 1 failed: why; 1 diverged: why." in page
    assert page.index("This study is not finished") < page.index("How good are random models")


def test_the_same_study_gives_the_same_bytes(tmp_path, cli):
    path = run(tmp_path / "a", n=6)
    for out in ("one", "two"):
        assert cli("analyze", path, "--out", tmp_path / out).code == 0
    for name in ("summary.json", "figures/edf.svg", "index.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    # A report over an earlier one leaves none of its figures, and no file of others is touched.
    (tmp_path / "one" / "figures" / "differences.svg").write_text("old")
    (tmp_path / "one" / "tables" / "comparisons.csv").write_text("old")
    (tmp_path / "one" / "figures" / "mine.svg").write_text("kept")
    assert cli("analyze", run(tmp_path / "b", n=6), "--out", tmp_path / "one").code == 0
    assert not (tmp_path / "one" / "tables" / "comparisons.csv").exists()
    names = {path.name for path in (tmp_path / "one" / "figures").iterdir()}
    assert {"mine.svg", "bootstrap_b.svg"} <= names
    assert not {"differences.svg", "bootstrap_a.svg"} & names


def test_bad_input_to_analyze(tmp_path, refused):
    path = run(tmp_path / "a")
    (tmp_path / "file").write_text("x")
    empty = run(tmp_path / "empty", states=dict.fromkeys(range(12)))
    for words, message in [
        ((tmp_path / "none",), "no run folder"),
        ((path, path), "named twice"),
        ((empty,), "no model has been trained yet (12 missing)"),
        ((path, "--margin", -1), "margin is -1"),
        ((path, "--out", tmp_path / "file"), "in the way"),
    ]:
        out = () if "--out" in words else ("--out", tmp_path / "out")
        second = run(tmp_path / "b") if "--margin" in words else None
        assert message in refused("analyze", *words, *([second] if second else []), *out)


def test_from_python(tmp_path):
    loaded = designspace.load_run(run(tmp_path / "a", states={1: "failed", 3: None}))
    table = loaded.to_frame()
    assert len(table) == 12
    assert list(table["status"][:2]) == ["complete", "failed"]
    assert table["status"].isna().to_list() == [i == 3 for i in range(12)]
    assert table.loc[1, "reason"] == "why"
    assert table["seconds"].sum() == 22
    measured = table.dropna(subset="error")
    assert list(measured.index) == [0, 2, *range(4, 12)]
    interval = designspace.bootstrap(measured["d"], measured["error"])
    assert interval.low <= interval.median <= interval.high
    axes = designspace.plot_edf(measured["error"], label="a")
    assert axes.get_legend().get_texts()[0].get_text().startswith("[")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        designspace.nonsense  # noqa: B018
    with pytest.raises(InputError, match="no run folder"):
        designspace.load_run(tmp_path / "none")


def test_numbers_and_names_in_a_panel_stay_as_they_are():
    from designspace.report.draw_on_axes import draw_edf
    from designspace.report.figure_files import Figure, Panel, render
    from designspace.stats.edf import edf

    name = "lr 0.0125, font: 9px serif, #0d50c0, url(#x) & <b>"

    def draw(ax):
        draw_edf(ax, edf([0.01, 0.02, 0.03]), label=name, color="#0d50c0")
        ax.set_xticks([0.015, 0.025])
        ax.legend()

    rendered = render(Figure("x", "x", "", (Panel(draw, name), Panel(draw, "b"))), ("svg",))
    for panel in rendered.inline:
        words = [html.unescape(word) for word in re.findall(r"<text[^>]*>([^<]+)</text>", panel)]
        assert f"[0.0 | 0.0] {name}" in words
        assert {"0.015", "0.025"} <= set(words)
        assert not re.search(r"<path[^>]* d=\"[^\"]*\d\.\d{3}", panel)
        assert panel.count("#1a1b1c") == 0
        assert re.search(r'data-population="0"[^/]*<path[^>]*stroke: var\(--c0\)', panel)
        clip = re.search(r"clip-path=\"url\(#(\w+)\)", panel)[1]
        assert f'id="{clip}"' in panel
    assert f'aria-label="{html.escape(name, quote=False)}"' in rendered.inline[0]


@pytest.mark.parametrize(("many", "below"), [(4, False), (8, True)])
def test_a_legend_of_many_populations_is_below_the_curves(tmp_path, many, below):
    from matplotlib.figure import Figure

    from designspace.analysis.findings import analyze
    from designspace.analysis.load_results import load_populations
    from designspace.report.palette import rc
    from designspace.report.report_figures import report_figures

    paths = [run(tmp_path / f"a_population_of_name_{i}", n=8) for i in range(many)]
    figures = {f.key: f for f in report_figures(analyze(load_populations(paths)))}
    for figure in (f for f in figures.values() if f.section == "curves"):
        with mpl.rc_context(rc()):
            canvas = Figure(figsize=figure.size)
            low = figure.bottom / figure.size[1]
            ax = canvas.add_axes((0.12, low, 0.84, 1 - low - 0.08))
            figure.panels[0].draw(ax)
            canvas.draw_without_rendering()
        legend = ax.get_legend().get_window_extent()
        assert bool(legend.y1 < ax.bbox.y0) is below
        assert canvas.bbox.containsx(legend.x0)
        assert canvas.bbox.containsx(legend.x1)
        assert legend.y0 >= 0


def test_plots_recolor_line_band_and_legend_together(tmp_path):
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    from designspace.report.plot import plot_best_of_k, plot_edf

    errors = np.random.default_rng(0).normal(50, 3, 40)
    for plot in (plot_edf, plot_best_of_k):
        ax = Figure().add_subplot()
        plot(errors, ax, label="mine", color="#123456", linestyle="--")
        plot(errors + 1, ax, label="yours")
        lines, legend = ax.lines, ax.get_legend().get_lines()
        assert [to_hex(one.get_color()) for one in lines] == [
            to_hex(one.get_color()) for one in legend
        ]
        assert to_hex(lines[0].get_color()) == "#123456"
        assert legend[0].get_linestyle() == "--"
        assert to_hex(ax.collections[0].get_facecolor()[0][:3]) == "#123456"
        assert to_hex(lines[1].get_color()) == to_hex(ax.collections[1].get_facecolor()[0][:3])
        assert to_hex(lines[1].get_color()) != "#0d50c0"  # the second population's color
        assert "mine" in ax.get_legend().get_texts()[0].get_text()
    findings = findings_of(run(tmp_path / "a", n=8), run(tmp_path / "b", n=8))
    ax = plot_edf(findings, Figure().add_subplot(), color=["red", "blue"], band=False)
    assert [one.get_color() for one in ax.lines] == ["red", "blue"]
    assert not ax.collections
    with pytest.raises(InputError, match="label needs 2, one for each population; found 1"):
        plot_edf(findings, Figure().add_subplot(), label=["one"])


def test_every_plot_takes_findings_and_writes_papers_with_embedded_fonts(tmp_path):
    from matplotlib import pyplot

    from designspace.report import plot

    findings = findings_of(run(tmp_path / "a", n=24), run(tmp_path / "b", n=24, shift=1))
    axes = [
        plot.plot_edf(findings, style="paper"),
        plot.plot_best_of_k(findings, style="paper-wide"),
        plot.plot_differences(findings, label=["mine"], color="red"),
    ]
    widths = [ax.figure.get_size_inches()[0] for ax in axes]
    assert widths[:2] == [3.35, 6.9]
    content = plot.save_figure(axes[0].figure, tmp_path / "edf.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    pyplot.close("all")
    with pytest.raises(InputError, match=r"edf.bmp: a figure's file ends with .svg, .png, .pdf"):
        plot.save_figure(axes[0].figure, tmp_path / "edf.bmp")


def test_a_report_can_have_pdf_figures(tmp_path):
    from designspace.report.write_report import write_report

    findings = findings_of(run(tmp_path / "a", n=16))
    (tmp_path / "out" / "figures").mkdir(parents=True)
    (tmp_path / "out" / "figures" / "edf.svg").write_text("of an earlier report")
    index = write_report(findings, tmp_path / "out", figures="pdf")
    assert 'href="figures/edf.png"' not in index.read_text()
    figures = sorted(path.name for path in (tmp_path / "out" / "figures").iterdir())
    assert {"edf.pdf", "best_of_k.pdf", "widths.pdf", "bootstrap_a.pdf"} <= set(figures)
    assert not [name for name in figures if not name.endswith(".pdf")]
    # One column and two columns of a paper, in points.
    for name, width in [("edf", 241.2), ("edf-wide", 496.8), ("bootstrap_a", 496.8)]:
        content = (tmp_path / "out" / "figures" / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in content
        assert float(re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", content)[1]) == pytest.approx(width)
    assert "PDF, two columns" in index.read_text()


def test_plot_draws_runs_without_an_analysis(tmp_path, cli, refused):
    runs = [run(tmp_path / f"space_{i}", n=8, shift=i) for i in range(6)]
    out = tmp_path / "edf.svg"
    few = ("plot", "edf", *runs[:2], "--out", out)
    outcome = cli(*few, "--labels", "mine,yours", "--colors", "gray,#c33c0a")
    assert (outcome.code, outcome.out.strip()) == (0, str(out))
    text = out.read_text()
    assert all(word in text for word in ("] mine<", "] yours<", "#808080", "#c33c0a"))
    assert text.count('id="band-') == 2
    assert cli("plot", "best-of-k", *runs, "--out", out, "--style", "paper-wide").code == 0
    text = out.read_text()
    assert "space_5" in text
    assert 'id="band-' not in text  # six bands would hide each other
    assert "--colors is 'nothing'" in refused(*few, "--colors", "nothing,red")
    assert "--labels needs 2, one for each population; found 1" in refused(*few, "--labels", "mine")
    assert "edf.gif: a figure's file ends with .svg" in refused(*few[:-1], tmp_path / "edf.gif")
    assert "no run folder" in refused("plot", "edf", tmp_path / "none")
    axes = designspace.plot_edf([designspace.load_run(runs[0]), runs[1]])
    drawn = [text.get_text().split("] ")[1] for text in axes.get_legend().get_texts()]
    assert drawn == ["space_0", "space_1"]


def test_too_few_models_for_a_search_have_no_figure_of_it(tmp_path):
    from designspace.report.report_figures import report_figures

    keys = [figure.key for figure in report_figures(findings_of(run(tmp_path / "a", n=5)))]
    assert "edf" in keys
    assert "best_of_k" not in keys


def test_more_populations_than_colors_are_small_multiples(tmp_path):
    from designspace.report.palette import COLORS
    from designspace.report.report_figures import edf_hero, report_figures

    n = len(COLORS) + 1
    findings = findings_of(*(run(tmp_path / f"p{i:02}", n=4, shift=i) for i in range(n)))
    assert edf_hero(findings) == ()
    assert len(next(iter(report_figures(findings))).panels) == n


def test_recipes_and_samples_are_in_words():
    from designspace.report.findings_page import in_words

    assert in_words([{"measure": "flops", "low": 1.8e5, "high": 2.2e5}]) == "flops 180K to 220K"
    assert in_words({"tried": 3, "refused": {"duplicate": 0, "cap": 2}}) == (
        "tried 3, refused duplicate 0, cap 2"
    )
    assert tuple(map(in_words, ([], True, 5e-05, "any"))) == ("none", "yes", "5e-05", "any")


def test_names_of_folders_can_be_anything(tmp_path, cli):
    first = [b"\xff\x1b[1m", "日本 $x^2$ 🙂".encode()]
    places = [tmp_path / os.fsdecode(name) for name in first]
    places += [tmp_path / "one" / "same" / "run", tmp_path / "two" / "same" / "run"]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        run(place, "RegNetX@8", n=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = cli("analyze", *places, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    names = [p["name"] for p in json.loads(outcome.out)["populations"]]
    assert names == ["\ufffd\ufffd[1m", "日本 $x^2$ 🙂", "one/same/run", "two/same/run"]
    drawn = sorted(path.name for path in (tmp_path / "out" / "figures").glob("bootstrap_*.svg"))
    assert drawn == [
        "bootstrap_1m.svg",
        "bootstrap_one-same-run.svg",
        "bootstrap_two-same-run.svg",
        "bootstrap_x-2.svg",
    ]
    for path in (tmp_path / "out" / "figures").glob("*.svg"):
        ElementTree.fromstring(path.read_text())


def test_importing_the_package_loads_nothing_heavy():
    script = (
        "import sys, designspace; "
        "print({'numpy', 'pandas', 'torch', 'matplotlib', 'scipy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_page_of_many_models_stays_small(tmp_path, monkeypatch):
    from designspace.analysis.findings import analyze
    from designspace.analysis.load_results import load_populations
    from designspace.importing.import_results import import_results
    from designspace.report.write_report import write_report

    rng = np.random.default_rng(0)
    rows = [f"{e:.3f},{d},{w}" for e, d, w in rng.normal(50, 5, (20_000, 3))]
    (tmp_path / "many.csv").write_text("\n".join(["error,depth,width", *rows]))
    import_results(tmp_path / "many.csv", tmp_path / "many")
    index = write_report(analyze(load_populations([tmp_path / "many"])), tmp_path / "out")
    assert index.stat().st_size < 2_000_000
    page = index.read_text()
    assert "The table holds the best 5000 models of each population by error; " in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert len(data["rows"]) == 5000
    errors = [row[5] for row in data["rows"]]
    assert errors == sorted(errors)
    assert len((tmp_path / "out" / "tables" / "models.csv").read_text().splitlines()) == 20_001


def test_a_thinned_curve_is_nowhere_off_by_more_than_can_be_seen():
    from matplotlib.figure import Figure

    from designspace.report.draw_on_axes import draw_edf
    from designspace.stats.edf import edf
    from designspace.stats.edf_bands import equal_levels_band

    errors = np.random.default_rng(0).normal(50, 5, 30_000).round(3)
    function = edf(errors)
    ax = Figure().add_subplot()
    draw_edf(ax, function, equal_levels_band(function), color="k")
    x, y = ax.lines[0].get_data()
    assert len(x) < 4100
    at = np.random.default_rng(1).uniform(20, 80, 2000)
    drawn = y[np.maximum(0, np.searchsorted(x, at, side="right") - 1)]
    true = np.array([(errors < e).mean() for e in at])
    inside = at >= x[0]
    assert np.abs(drawn - true)[inside].max() <= 1 / 2000 + 1e-9
    assert y[-1] == 1.0
    few = edf(errors[:500])
    ax = Figure().add_subplot()
    draw_edf(ax, few, color="k")
    assert len(ax.lines[0].get_xdata()) == 2 * len(few.errors) + 1
