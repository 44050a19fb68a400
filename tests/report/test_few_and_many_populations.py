"""Cards, matrix and headline of pages whose populations are not all compared with each other."""

import numpy as np
import pytest
from analysis.populations import made_up

from designspace.analysis.findings import analyze
from designspace.analysis.headline import narrate
from designspace.report.comparison_matrix import comparison_matrix
from designspace.report.verdict_cards import verdict_cards
from designspace.report.write_report import write_report


def spaces(means, n=24, noise=1.0):
    """Populations with exactly these means, by name."""
    spread = noise * np.linspace(-1, 1, n)
    rng = np.random.default_rng(0)
    return [made_up(mean + rng.permutation(spread), name) for name, mean in means.items()]


def test_a_lead_that_is_not_shown_is_no_reason_to_say_that_nothing_is():
    """Two scattered models have the lowest mean; b is shown to be better than a."""
    few = made_up([30.0, 60.0], "few")
    card = verdict_cards(analyze([*spaces({"a": 50, "b": 46}), few]))[0]
    assert (card.title, card.tone) == ("few's lead is not shown", "undecided")
    assert "its lead over the 2 others is not shown" in card.sentence
    alike = analyze(spaces({"a": 50, "b": 50.1}, noise=9))
    assert verdict_cards(alike)[0].title == "No space is shown to be better"


def test_a_single_model_is_not_the_best_population():
    findings = analyze([*spaces({"a": 50, "b": 45}), made_up([20.0], "lucky")])
    card = verdict_cards(findings)[0]
    assert card.title == "b is better than a"
    words = "b has the lowest mean error of the populations with two models or more, 45.0 % over"
    assert narrate(findings).sentences[0].startswith(words)
    alone = analyze([made_up([20.0], "lucky")])
    assert "The best model has 20.0 % error" in [card.title for card in verdict_cards(alone)]


def test_of_many_populations_the_best_is_better_than_its_neighbors_alone():
    means = {f"p{i:02}": 50 + abs(i - 8) for i in range(18)}
    findings = analyze(spaces(means))
    assert len(findings.comparisons) == 17
    card = verdict_cards(findings)[0]
    assert card.title == "p08 is better than its 2 neighbors (the only ones compared)"
    assert comparison_matrix(findings) == []
    level = analyze(spaces(means | {"p07": 50.01, "p09": 50.01}))
    card = verdict_cards(level)[0]
    assert card.title.endswith("'s lead is not shown")
    assert "its lead over its 2 neighbors (the only ones compared) is not shown." in card.sentence


@pytest.fixture
def with_a_single_model():
    means = {"a": 50, "b": 48, "c": 46, "d": 44}
    first, *others = spaces(means)
    return analyze([first, made_up([20.0], "lucky"), *others])


def test_a_single_model_leaves_the_matrix_of_the_others(with_a_single_model, tmp_path):
    matrix = comparison_matrix(with_a_single_model)
    assert [[cell and cell.text for cell in row] for row in matrix] == [
        [None, "+2.0", "+4.0", "+6.0"],
        ["−2.0", None, "+2.0", "+4.0"],
        ["−4.0", "−2.0", None, "+2.0"],
        ["−6.0", "−4.0", "−2.0", None],
    ]
    card = verdict_cards(with_a_single_model)[0]
    assert card.title == "d is better than all 3 others that could be compared"
    page = write_report(with_a_single_model, tmp_path, figures=("svg",)).read_text()
    assert "Holm's correction cover all 6 pairs" in page
    assert "compared with its predecessor alone" not in page
    assert "lucky has a single counted model, and is not compared." in page
    # The mark of d is that of its curve.
    assert '<span class="mark p4"></span>4 d</th>' in page
    # b follows a, among those that are compared.
    assert "b against a: −2.00 points" in page


def test_a_page_of_many_populations_says_what_is_compared(tmp_path):
    means = {f"p{i:02}": 50 + i for i in range(17)}
    page = write_report(analyze(spaces(means, n=8)), tmp_path, figures=("svg",)).read_text()
    assert "Of so many populations, each is compared with its predecessor alone" in page
