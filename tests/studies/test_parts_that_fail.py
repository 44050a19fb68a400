"""What one part of a study can't do costs none of the others, and is said before or after them."""

import pytest

import designspace as ds
from designspace.runs import TrialState

ROUND = {"population": "a", "findings": "loop/findings", "space": "loop/r.yaml"}
REPORT = {"r": {"populations": ["a", "x"]}}


def steps(*names):
    return [{"populations": list(group)} for group in names]


@pytest.fixture
def undecided(monkeypatch):
    """Refinements that accept no constraint."""
    nothing = type("Refinement", (), {"space": None})
    monkeypatch.setattr("designspace.studies.study.refine", lambda *_, **options: nothing)


def test_a_refinement_without_a_constraint_leaves_out_what_depends_on_it(
    load, train, undecided, capsys
):
    study = load(
        {"l": {"space": "loop/r.yaml"}},
        steps=steps(["a"], ["l", "x"]),
        refinements=[ROUND],
        derived={
            "m": {"source": "loop/r:best", "scale": 2},
            "n": {"source": "derived/m.yaml", "scale": 2},
            "o": {"source": "s", "population": "l", "flops": "1M"},
        },
        exports={"out": {"population": "loop/r", "best": 1, "to": ["pycls"]}},
        reports={**REPORT, "s": {"populations": ["x", "l"]}},
    )
    assert study.run().name == "index.html"
    assert train.trained == ["a", "x"]
    note = "not trained, as the refinement accepted no constraint: l, loop/r\n"
    assert capsys.readouterr().err == note
    assert (study.folder / "r" / "index.html").is_file()


def test_a_space_of_a_refinement_that_comes_later_is_missed(load, train):
    late = {"l": {"space": "loop/r.yaml"}}
    for order in (steps(["l"], ["a"]), steps(["l", "a"])):
        message = "l.space: loop/r.yaml is written once a is trained; train l in a later entry"
        with pytest.raises(ds.InputError, match=message):
            load(late, steps=order, refinements=[ROUND])
    assert [step.populations for step in load(late, refinements=[ROUND]).file.ordered_steps()] == [
        ["a", "x"],
        ["l"],
    ]


def test_the_page_and_the_other_parts_are_written_before_an_error(load, train, monkeypatch):
    study = load(
        reports={**REPORT, "s": {"populations": ["x"]}},
        derived={"m": {"source": "x:best", "flops": "1"}, "n": {"source": "x:best", "scale": 2}},
    )
    study.run(only="train", progress=False)
    (study.folder / "r").write_text("a file in the way")
    with pytest.raises(ds.InputError) as error:
        study.run(progress=False)
    assert "reports.r: " in str(error.value)
    assert "derived.m: " in str(error.value)
    assert (study.folder / "s" / "index.html").is_file()
    assert (study.folder / "derived" / "n.yaml").is_file()
    assert "<h1" in (study.folder / "index.html").read_text()


def better(first, second, **more):
    return {"claim": "c", "kind": "better", "first": first, "second": second, **more}


def test_a_batch_that_was_interrupted_is_trained_to_its_end(load, train, monkeypatch):
    reports = {"r": {"populations": ["a", "x"], "claims": [better("a", "x")]}}
    study = load(n=4, reports=reports, extension={"n": 8, "batch": 4})
    study.run(only="train", progress=False)
    monkeypatch.setattr(study.__class__, "_targets", lambda self, limits: {"a": 8, "x": 8})

    def stopped(runs, **options):
        for run in runs:
            run.record(4, 50, split="held-out")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("designspace.studies.train_study.train", stopped)
        with pytest.raises(KeyboardInterrupt):
            study.run(only="train", until="decided", progress=False)
    trained = [len(ds.load_run(study.folder / name).trials()) for name in "ax"]
    assert trained == [5, 5]
    study.run(only="train", until="decided", progress=False)
    assert [len(ds.load_run(study.folder / name).trials()) for name in "ax"] == [8, 8]


@pytest.mark.parametrize("failed", [3, 6])
def test_a_failed_model_is_retried_once_a_call(load, train, monkeypatch, failed):
    calls = []
    study = load(steps=[{"populations": ["x"], "n": n} for n in (4, 8, 8)])
    train.states["x", failed] = TrialState.FAILED
    study.run(only="train", progress=False)

    def retried(runs, *, only, retry, **options):
        calls.append((failed in (only or range(8)), retry))

    monkeypatch.setattr("designspace.studies.train_study.train", retried)
    study.run(only="train", retry=True, progress=False)
    assert calls.count((True, True)) == 1


def test_a_part_of_the_derived_models_is_not_trained(load, train):
    derived = {
        name: {"source": "x:best", "flops": flops, "trained": True}
        for name, flops in (("m", "1"), ("n", "400K"))
    }
    study = load(derived=derived, derived_seeds=[0], derived_val="held-out")
    with pytest.raises(ds.InputError, match=r"derived\.m: "):
        study.run(progress=False)
    assert not (study.folder / "derived" / "seed-0").exists()


def test_what_a_toggle_leaves_as_it_is_is_copied_within_a_step_too(load, train):
    study = load({"b1": {"same_as": "x", "toggle": {"b": 1}}})
    study.run(only="train", progress=False)
    plain, toggled = (ds.load_run(study.folder / name) for name in ("x", "b1"))
    same = [i for i in range(8) if plain.population().ids[i] == toggled.population().ids[i]]
    assert same
    assert [trial.index for trial in toggled.trials() if trial.copied_from == "x"] == same
    assert train.trained == ["a", "x", "b1"]


def test_a_verdict_counts_for_the_claim_that_it_was_reached_on(load, train):
    def study(**changes):
        claims = [better("a", "x") | changes]
        return load(reports={"r": {"populations": ["a", "x"], "claims": claims}})

    study().run(progress=False)
    assert study().verdicts()[0].verdict is not None
    assert study(margin=3).verdicts()[0].verdict is None
    assert study(n=7).verdicts()[0].verdict is None
    assert study(first="x", second="a").verdicts()[0].verdict is None


TREND = {"kind": "trend", "population": "s", "error": "falls"}
BEST = {"kind": "best_in", "population": "s"}
SEVERAL = {"s": {"space": "RegNetX@8"}, "b1": {"same_as": "x", "toggle": {"b": 1}}}
SEVERAL |= {
    "d2": {"same_as": "x", "toggle": {"d": 2}},
    "w16": {"same_as": "x", "toggle": {"w": 16}},
}


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({**TREND, "parameter": "activation"}, "the values of activation are names, which have no"),
        ({**BEST, "parameter": "activation", "low": "gelu", "high": "gelu"}, "is relu or silu"),
        (
            {**BEST, "parameter": "activation", "low": 0, "high": 0},
            "low is 0.0; activation is",
        ),
        ({**BEST, "parameter": "d", "low": "one", "high": "one"}, "low is 'one'; d is a number"),
        (better("d2", "w16", paired=True), "d2 and w16 differ in several settings; compare each"),
        (better("b1", "w16", paired=True), None),
        (better("x", "d2", paired=True), None),
    ],
)
def test_claims_that_only_their_report_refused(load, tmp_path, claim, message):
    space = "name: s\nparent: RegNetX@8\nreason: r\nactivation: [relu, silu]\n"
    (tmp_path / "s.yaml").write_text(space)
    populations = {**SEVERAL, "s": {"space": "s.yaml"}}
    reports = {"r": {"populations": ["x", *populations], "claims": [{"claim": "c", **claim}]}}
    if message is None:
        load(populations, reports=reports)
        return
    with pytest.raises(ds.InputError, match=r"reports\.r\.claims: the claim 'c'") as error:
        load(populations, reports=reports)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x", "loop/r"], "x and loop/r are not the same models"),
        (["small", "loop/r"], "small and loop/r are not the same models"),
        (["l", "loop/r"], None),
    ],
)
def test_agreements_with_the_run_of_a_refinement(load, names, message):
    long = {"l": {"space": "loop/r.yaml", "epochs": 2}}
    long["small"] = {**long["l"], "budget": {"flops": "100K:120K"}}
    options = {"refinements": [ROUND], "agreements": {"g.json": names}}
    if message is None:
        load(long, **options)
        return
    with pytest.raises(ds.InputError, match=message):
        load(long, **options)


def test_trained_models_with_different_stems_are_refused(load):
    wide = {"s": {"same_as": "x", "toggle": {"stem_width": 16}}}
    derived = {
        name: {"source": source, "scale": 2, "trained": True}
        for name, source in (("m", "x:best"), ("n", "s:best"))
    }
    with pytest.raises(ds.InputError, match="n: has a conv3 stem of width 16 and stride 1, but m"):
        load(wide, derived=derived, derived_seeds=[0])


def test_the_resolution_of_a_toggle_must_go_with_the_recipe(load, tmp_path):
    (tmp_path / "mine.yaml").write_text("parent: quick\nresolution: 8\n")
    with pytest.raises(ds.InputError, match=r"populations\.y: .*8 pixels"):
        load({"y": {"same_as": "x", "toggle": {"resolution": 16}}}, recipe="mine.yaml")
    with pytest.raises(ds.InputError, match="resolution"):
        load({"y": {"same_as": "x", "toggle": {"resolution": "large"}}})


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("head_width", 64, None),
        ("stem", "patch", None),
        ("stem_width", 16, None),
        ("classes", 5, "no setting 'classes'"),
        ("channels", 1, "no setting 'channels'"),
        ("head_width", 0, "every model has head_width = 0 already"),
    ],
)
def test_parts_of_the_skeleton_are_toggled(load, train, setting, value, message):
    populations = {"t": {"same_as": "x", "toggle": {setting: value}}}
    if message is not None:
        with pytest.raises(ds.InputError, match=message):
            load(populations)
        return
    study = load(populations, n=2)
    study.run(only="train", progress=False)
    skeleton = ds.load_run(study.folder / "t").population().skeleton
    assert getattr(skeleton, setting) == value
