"""The activation as an axis: names in tables, on the page and in claims; tests without an order."""

import numpy as np
import pytest
from analysis.populations import made_up

import designspace as ds
from designspace.analysis.csv_tables import tables
from designspace.analysis.findings import analyze
from designspace.analysis.importance import parameter_trends
from designspace.arch import ACTIVATIONS
from designspace.arch.parameter_columns import CATEGORIES
from designspace.report.model_table import model_table
from designspace.report.report_figures import report_figures
from designspace.space import load_space, parse_space

NAMES = ("relu", "silu", "gelu")
CLAIM = {"claim": "x", "kind": "best_in", "population": "a", "parameter": "activation"}


@pytest.fixture(scope="module", params=["AnyNetXA@8", "RegNetX@8"])
def run(request, tmp_path_factory):
    """Networks of three activations, of which silu costs 6 points."""
    space = parse_space({**load_space(request.param).source, "activation": list(NAMES)}, "test")
    run = ds.sample(space, n=48, out=tmp_path_factory.mktemp("activation") / "a")
    rng = np.random.default_rng(0)
    for i, name in enumerate(names_of(run)):
        run.record(i, error=float(20 + 6 * (name == "silu") + rng.normal(0, 1.5)))
    return run


def names_of(run):
    return [ACTIVATIONS[code] for code in run.population().bodies.activations]


@pytest.fixture(scope="module")
def findings(run):
    return ds.analyze(run)


def judged(run, **changes):
    (claim,) = ds.analyze(run, claims={"claims": [{**CLAIM, **changes}]}).claims.claims
    return claim


def test_tables_have_names(run):
    assert run.to_frame()["activation"].tolist() == names_of(run)


def test_tables_of_findings_have_names_and_no_range_of_codes(run, findings):
    frame = tables(findings)
    assert frame["models"]["activation"].tolist() == names_of(run)
    assert "activation" not in frame["bootstrap"]["parameter"].tolist()
    (row,) = frame["trends"].query("name == 'activation'").to_dict("records")
    assert row["p"] < 0.001
    assert row["rank_correlation"] is None


def test_an_effect_without_an_order_is_seen(findings):
    trend = findings.populations[0].trends[0]
    assert trend.name == "activation"
    assert trend.p < 0.001
    assert trend.medians.argmax() == NAMES.index("silu")
    assert np.isnan(trend.rank_correlation.value)
    assert not any("activation" in (c.first, c.second) for c in findings.populations[0].correlated)


def test_names_are_compared_whatever_their_order_and_without_effect_seldom_differ():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 3, 60).astype(float)
    errors = 20 + 3 * (codes == 1) + rng.normal(0, 1, 60)
    other = {"d": rng.random(60)}
    one, two = (
        {
            t.name: t
            for t in parameter_trends(
                {"activation": order[codes.astype(int)], **other}, errors, categories=CATEGORIES
            )
        }
        for order in (np.array([0.0, 1, 2]), np.array([1.0, 0, 2]))
    )
    assert one["activation"].p == two["activation"].p < 1e-6
    assert one["activation"].importance.value == pytest.approx(two["activation"].importance.value)
    wrong = sum(
        parameter_trends({"activation": codes}, rng.random(60), categories=CATEGORIES, rng=rng)[0].p
        < 0.05
        for _ in range(40)
    )
    assert wrong / 40 <= 0.05 + 3 * 0.034


def test_another_table_may_have_numbers_under_that_name():
    """As of an import, whose models are no networks that designspace describes."""
    values = np.arange(40.0) % 4
    findings = analyze([made_up(30 + values, parameters={"activation": values})])
    (trend,) = findings.populations[0].trends
    assert trend.rank_correlation.value == pytest.approx(1)


def test_the_page_shows_names(run, findings):
    rows = {row[1]: row[-1] for row in model_table(findings)["rows"]}
    assert [rows[i].split()[-1].removeprefix("activation=") for i in range(48)] == names_of(run)
    (figure,) = [f for f in report_figures(findings) if f.section == "bootstrap"]
    assert figure.caption.endswith("Bars of activation: median errors.")
    (alt,) = [panel.alt for panel in figure.panels if "by activation" in panel.alt]
    assert "relu 20." in alt
    assert ", silu 2" in alt


def test_claims_name_an_activation(run):
    claim = judged(run, low="silu", high="silu")
    assert claim.verdict == "contradicted"
    assert "models with activation = silu against the others" in claim.test
    assert claim.n == (48 - names_of(run).count("silu"), names_of(run).count("silu"))
    assert judged(run, low="relu", high="relu").verdict == "supported"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"low": "swish", "high": "swish"}, "is relu or silu or gelu; found 'swish'"),
        ({"low": "relu6", "high": "relu6"}, "is relu or silu or gelu; found 'relu6'"),
        ({"low": 1, "high": 1}, "is relu or silu or gelu; found 1"),
        ({"low": "relu", "high": "gelu"}, "must be the same name"),
        ({"low": "relu", "high": 2}, "must be the same name"),
        ({"parameter": "d", "low": "relu", "high": "relu"}, "d is a number; found 'relu'"),
        ({"kind": "trend", "error": "rises"}, "kind: the values of activation are names"),
    ],
)
def test_claims_that_names_can_not_have_are_refused(run, changes, message):
    with pytest.raises(ds.InputError, match=message):
        judged(run, **changes)
