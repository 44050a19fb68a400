"""What a study says about the figures of the paper: computed from its claims, never stated."""

import json

import pytest
import yaml

import designspace as ds

EQUAL, BETTER, LATER, SAME = "A equals B", "C beats A", "C beats B, long", "A equals B, 40 each"
FEWER = "A equals B, 6 each"
REPORT = {
    "n": 12,
    "populations": ["a", "b", "c"],
    "claims": {
        "claims": [
            {"claim": EQUAL, "kind": "equivalent", "first": "a", "second": "b", "margin": 2.0},
            {"claim": BETTER, "kind": "better", "first": "a", "second": "c"},
        ]
    },
}
LARGE = {
    "n": 40,
    "populations": ["a", "b"],
    "claims": {
        "claims": [
            {"claim": SAME, "kind": "equivalent", "first": "a", "second": "b", "margin": 2.0}
        ]
    },
}
FEW = {
    "n": 6,
    "populations": ["a", "b"],
    "claims": [{"claim": FEWER, "kind": "equivalent", "first": "a", "second": "b", "margin": 2.0}],
}
LONG = {
    "populations": ["b", "long/c"],
    "claims": [
        {"claim": claim, "kind": "better", "first": "b", "second": "c"} for claim in (LATER, BETTER)
    ],
}
STUDY = {
    "name": "figures",
    "data": "digits",
    "n": 40,
    "budget": {"flops": "150K:300K"},
    "populations": {
        "a": {"space": "AnyNetXA@8"},
        "b": {"space": "AnyNetXB@8"},
        "c": {"space": "AnyNetXC@8"},
        "long/c": {"same_as": "c", "epochs": 4},
    },
    "reports": {"report": REPORT, "large/report": LARGE, "few": FEW, "long/report": LONG},
    "figures": [
        {"figure": 5, "shows": "Sharing b costs nothing.", "claims": [[EQUAL, SAME]]},
        {"figure": "7", "shows": "<C> is better.", "claims": [f"report: {BETTER}"]},
        {"figure": "8", "shows": "Both.", "claims": [EQUAL, {"report": BETTER}]},
        {"figure": "9", "shows": "Long.", "claims": [EQUAL, LATER]},
        {"figure": "10", "shows": "Long.", "claims": [LATER]},
        {"figure": "11", "shows": "Sharing b.", "claims": [[EQUAL, FEWER, SAME]]},
        {"figure": "12", "shows": "Time.", "note": "No GPU."},
        {"figure": "13", "shows": "<C> is better.", "claims": [f"long/report: {BETTER}"]},
        {"figure": "14", "shows": "More.", "claims": [EQUAL], "partly": True, "note": "Less."},
    ],
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of which `long/c` was never trained, and c turned out worse than claimed."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    for number, name in enumerate("abc"):
        run = ds.sample(f"AnyNetX{name.upper()}@8", n=12, flops="150K:300K", out=folder / name)
        for i in range(12):
            run.record(i, error=30 + i % 4 + (5 if number == 2 else 0))
    study = ds.Study.load(folder / "study.yaml")
    study.run(only="report", progress=False)
    return study


def test_verdicts_follow_from_the_claims(study):
    answers = study.figures().answers
    assert [answer.verdict for answer in answers] == [
        "shown here",
        "contradicted here",
        "contradicted here",
        "shown in part",
        "not trained yet",
        "shown here",
        "not tried",
        "not trained yet",
        "shown in part",
    ]
    first = answers[0].evidence[0]
    # The claim about 40 models is not judged yet, so that about 12 counts.
    assert (first.claim, first.report, first.n) == (EQUAL, "report", (12, 12))
    # The sentence is also in a report whose models are not trained.
    assert [answers[i].evidence[-1].report for i in (1, 2, 7)] == ["report"] * 2 + ["long/report"]


def test_the_last_judged_of_claims_that_ask_the_same_counts(study):
    (evidence,) = study.figures().answers[5].evidence
    assert (evidence.claim, evidence.n) == (FEWER, (6, 6))


def test_page_and_terminal_show_them(study, cli):
    page = (study.folder / "index.html").read_text()
    assert "&lt;C&gt; is better." in page
    assert '<span class="tag contradicted">contradicted here</span>' in page
    assert page.count("not trained yet") >= 3
    assert (study.folder / "long").exists() is False
    result = cli("study", study.path, "--dry-run")
    assert "12: Time.\n   not tried. No GPU." in result.out
    plan = json.loads(cli("study", study.path, "--dry-run", "--json").out)
    assert plan["figures"][0]["verdict"] == "shown here"


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"figure": "1", "shows": "x", "claims": ["A equal B"]}, "no claim 'A equal B'; did you"),
        (
            {"figure": "1", "shows": "x", "claims": [[BETTER]]},
            "the claim 'C beats A' is in the reports long/report and report; write which one: "
            "'long/report: C beats A'",
        ),
        (
            {"figure": "1", "shows": "x", "claims": [f"few: {BETTER}"]},
            "no claim 'few: C beats A'; did you mean C beats A",
        ),
        ({"figure": "1", "shows": "x", "claims": [{"a": 1, "b": 2}]}, "must be text"),
        ({"figure": "1", "shows": "x"}, "give claims, or a note"),
        ({"figure": "1", "shows": "x", "claims": [[]]}, "an empty list"),
    ],
)
def test_mistakes_are_named(tmp_path, figure, message):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "figures": [figure]}))
    with pytest.raises(ds.InputError, match=message):
        ds.Study.load(file)
