"""The page of a study: units, dashes, and verdicts of claims that two reports share."""

from types import SimpleNamespace

import numpy as np
import pytest
from analysis.populations import made_up

from designspace.analysis.claims import ClaimsFile
from designspace.analysis.findings import analyze
from designspace.report.write_report import write_report
from designspace.studies.collect_study_page import study_page
from designspace.studies.plan import ClaimPlan, StudyPlan
from designspace.studies.sequential_claims import SequentialVerdict

TREND = {"claim": "deeper", "kind": "trend", "population": "a", "parameter": "d", "error": "falls"}
BETTER = {"claim": "better", "kind": "better", "first": "a", "second": "c"}
FLAT = {**TREND, "claim": "flat", "parameter": "b"}


@pytest.fixture
def findings():
    depths = np.arange(10.0)
    first = made_up(50 - depths, "a", parameters={"d": depths, "b": np.ones(10)})
    second = made_up([40.0, 41.0, 42.0], "c")
    return analyze([first, second], claims=ClaimsFile(claims=[BETTER, TREND, FLAT]))


def page(tmp_path, findings, verdicts):
    file = SimpleNamespace(name="s", about="", populations={}, derived={}, exports={})
    plans = [
        ClaimPlan(claim, report, None, None, None, False)
        for report in ("one", "two")
        for claim in ("better", "deeper", "flat")
    ]
    of_reports = dict.fromkeys(("one", "two"), findings)
    return study_page(
        file, tmp_path, StudyPlan((), tuple(plans)), of_reports, verdicts, ()
    ).read_text()


def test_estimates_have_units_and_what_is_not_tested_has_a_dash(tmp_path, findings):
    text = page(tmp_path, findings, {})
    report = write_report(findings, tmp_path / "report", figures=("svg",)).read_text()
    for shown in (text, report):
        assert "<td>−4.50 (" in shown
        assert ") points</td>" in shown
        assert "<td>rank correlation −1.00 (" in shown
        assert "<td>–</td>" in shown
        assert "nan (" not in shown
    assert "one point beyond the margin (half a point where models are paired)" in text


def test_always_valid_verdicts_are_those_of_their_own_report(tmp_path, findings):
    claim = SimpleNamespace(claim="better")
    verdicts = {
        "one": [SequentialVerdict(claim, "supported", 30, -5.0, -1.0)],
        "two": [SequentialVerdict(claim, "undecided", 12, -5.0, 1.0)],
    }
    text = page(tmp_path, findings, verdicts)
    assert text.count("supported, 30 pairs") == 1
    assert text.count("undecided, 12 pairs") == 1
    assert text.index("supported, 30 pairs") < text.index("undecided, 12 pairs")
