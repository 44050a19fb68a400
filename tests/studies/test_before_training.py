"""What would fail after days of training fails before it, or doesn't fail at all."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from scipy.stats import ttest_ind

import designspace as ds
from designspace.analysis.claim_tests import paired, unpaired
from designspace.analysis.population_results import Provenance
from designspace.runs import TrialState
from designspace.studies.plan import DEFAULT_PAIR_SD, DEFAULT_SD

DATA = {
    "name": "s",
    "data": "digits",
    "epochs": 1,
    "n": 8,
    "budget": {"flops": "180K:220K"},
    "populations": {"a": {"space": "AnyNetXA@8"}, "x": {"space": "RegNetX@8"}},
}
FAILED, DIVERGED = TrialState.FAILED, TrialState.DIVERGED


def load(folder, **changes):
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(DATA | changes, sort_keys=False))
    return ds.Study.load(file)


POPULATIONS = DATA["populations"]


def gates(ratio=None):
    """Return a population of the models of x, with or without squeeze-and-excitation."""
    return {"gates": {"same_as": "x", **({"toggle": {"se_ratio": ratio}} if ratio else {})}}


def better(first, second, **more):
    return [{"claim": "c", "kind": "better", "first": first, "second": second, **more}]


class Errors:
    """What claims read of a population whose models are all counted."""

    def __init__(self, errors):
        self.errors = self.counted_errors = errors
        self.counted = np.ones(len(errors), bool)
        self.parameters, self.bodies, self.skeleton = {}, None, None
        self.provenance = Provenance("")

    def __len__(self):
        return len(self.errors)


@pytest.mark.parametrize("base", ["a", "x"])
def test_bodies_with_two_values_of_b_are_pairs(tmp_path, train, base):
    # Another b rounds widths and group widths too.
    toggles = {f"b{b}": {"same_as": base, "toggle": {"b": b}} for b in (1, 2)}
    reports = {"r": {"populations": [*toggles], "claims": better("b2", "b1", paired=True)}}
    study = load(tmp_path, populations=DATA["populations"] | toggles, reports=reports)
    study.run(progress=False)
    assert study.verdicts()[0].n == (8,)


def test_subsets_are_reported_and_paired_by_what_was_chosen(tmp_path, train):
    subsets = {
        "some": {"same_as": "x", "models": {"indices": "2-6"}},
        "gates": {"same_as": "x", "toggle": {"se_ratio": 0.25}, "models": {"random": 5}},
    }
    claims = [*better("x", "some"), *better("x", "gates", paired=True, claim="d")]
    reports = {"r": {"populations": ["x", *subsets], "claims": claims}}
    study = load(tmp_path, populations=DATA["populations"] | subsets, reports=reports)
    study.run(progress=False)
    assert [verdict.n for verdict in study.verdicts()] == [(8, 5), (5,)]


def test_claims_name_populations_in_folders_by_whole_or_last_names(tmp_path, train):
    letters = {"one/a": "XA", "two/a": "XB", "a": "XC"}
    spaces = {name: {"space": f"AnyNet{letter}@8"} for name, letter in letters.items()}
    spaces["x/x"] = {"space": "RegNetX@8"}
    reports = {
        "alike": {"populations": ["one/a", "two/a"], "claims": better("one/a", "two/a")},
        "whole": {"populations": ["one/a", "x/x"], "claims": better("one/a", "x/x", claim="d")},
        "last": {"populations": ["two/a", "x/x"], "claims": better("a", "x", claim="e")},
    }
    changes = {"populations": spaces, "n": 3, "extension": {"n": 5, "batch": 2}}
    study = load(tmp_path, **changes, reports=reports)
    study.run(progress=False, until="decided")
    # All four were trained; only those of claims grow, and `a` is not the `a` of any.
    trained = {name: len(ds.load_run(tmp_path / name).trials()) for name in spaces}
    assert trained == {"one/a": 5, "two/a": 5, "a": 3, "x/x": 5}
    assert [verdict.verdict for verdict in study.verdicts()] == ["undecided"] * 3
    reports["alike"]["claims"] = better("a", "one/a")
    with pytest.raises(ds.InputError, match="'a', the last name of one/a and of two/a"):
        load(tmp_path, **changes, reports=reports)


def test_failed_and_diverged_models_do_not_stop_a_study(tmp_path, train):
    train.states.update({("x", 0): FAILED, ("x", 3): DIVERGED})
    few = {"few": {"same_as": "x", "seed": 1, "models": {"spread": 4}}}
    study = load(tmp_path, populations=DATA["populations"] | few)
    study.run(progress=False)
    chosen = {trial.index for trial in ds.load_run(tmp_path / "few").trials()}
    assert len(chosen) == 4
    assert 0 not in chosen
    assert 3 in chosen  # the largest error
    plan = study.plan()
    assert (plan.models, plan.trained, plan.hours) == (20, 20, 0)


def test_too_many_failures_for_a_spread_are_reported(tmp_path, train):
    train.states.update({("x", i): FAILED for i in range(5)})
    few = {"few": {"same_as": "x", "seed": 1, "models": {"spread": 4}}}
    study = load(tmp_path, populations=DATA["populations"] | few)
    with pytest.raises(ds.InputError, match="3 of the first 8 models have an error, but 4 of"):
        study.run(progress=False)


@pytest.mark.parametrize("paired", [False, True])
def test_a_claim_about_failed_models_is_undecided(tmp_path, train, paired):
    train.states.update({("gates", i): FAILED for i in range(7)})
    gates = {"gates": {"same_as": "x", "toggle": {"se_ratio": 0.25}}}
    claims = [*better("x", "gates", paired=paired), *better("a", "x", claim="d")]
    reports = {"r": {"populations": ["a", "x", "gates"], "claims": claims}}
    study = load(tmp_path, populations=DATA["populations"] | gates, reports=reports)
    study.run(progress=False)
    first, second = study.verdicts()
    assert (first.verdict, first.n) == ("undecided", (1,) if paired else (8, 1))
    assert second.n == (8, 8)
    assert "not testable: " in (tmp_path / "r" / "index.html").read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        {"space": "RegNetX@8", "budget": {"flops": "1:2"}},
        {"space": "RegNetX@8", "budget": {"params": "1:2"}},
    ],
)
def test_populations_that_cannot_be_sampled_are_refused_before_training(tmp_path, train, wrong):
    steps = [{"populations": ["a", "x"]}, {"populations": ["wrong"]}]
    study = load(tmp_path, populations=DATA["populations"] | {"wrong": wrong}, steps=steps)
    with pytest.raises(ds.InputError, match=r"^populations\.wrong: "):
        study.run(progress=False)
    assert train.trained == []


@pytest.mark.parametrize(
    "changes",
    [
        {"populations": {**DATA["populations"], "t": {"same_as": "x", "val": "test"}}},
        {"derived": {"m": {"source": "x:best", "flops": "400K"}}, "derived_seeds": [0]},
    ],
)
def test_missing_test_images_are_reported_before_training(tmp_path, train, changes):
    with pytest.raises(ds.InputError, match="no test images"):
        load(tmp_path, **changes).run(progress=False)
    assert train.trained == []


def test_data_may_lie_beside_the_study(tmp_path, train, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "designspace.studies.train_study.train",
        lambda runs, **options: seen.append(options["data"]),
    )
    (tmp_path / "study" / "images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    load(tmp_path / "study", data="folder:images").run(progress=False)
    shutil.rmtree(tmp_path / "study" / "images")
    load(tmp_path / "study", data="folder:images").run(progress=False)
    assert seen == [f"folder:{tmp_path / 'study' / 'images'}", "folder:images"]


def test_a_model_is_derived_from_a_population_by_whole_or_last_name(tmp_path, train):
    populations = {"one/x": {"space": "RegNetX@8"}}
    reports = {"r": {"populations": ["one/x"]}}
    derived = {
        name: {"source": "r", "population": population, "flops": "400K"}
        for name, population in (("whole", "one/x"), ("last", "x"))
    }
    load(tmp_path, populations=populations, reports=reports, derived=derived).run(progress=False)
    models = [ds.load_model(tmp_path / "derived" / f"{name}.yaml") for name in derived]
    assert models[0].body == models[1].body


def test_until_decided_without_a_comparison_is_refused(tmp_path, train):
    trend = {"kind": "trend", "population": "x", "parameter": "d", "error": "falls"}
    reports = {"r": {"populations": ["x"], "claims": [{"claim": "c", **trend}]}}
    study = load(tmp_path, reports=reports)
    with pytest.raises(ds.InputError, match="claims about two populations, and there are none"):
        study.run(until="decided", progress=False)
    with pytest.raises(ds.InputError, match="only='report' trains nothing"):
        study.run(until="decided", only="report", progress=False)
    assert train.trained == []


@pytest.mark.parametrize(
    ("options", "words", "message"),
    [
        ({"jobs": -4}, "--jobs -4", "--jobs is -4"),
        ({"device": "nodev"}, "--device nodev", "--device is 'nodev'"),
        ({"precision": "fp99"}, "--precision fp99", "precision: must be"),
        ({"data": "folder:none"}, "--data folder:none", "there is no folder none"),
        ({"backend": "zz"}, "--backend zz", "--backend is 'zz'"),
        ({"cluster_options": ["a=b"]}, "--cluster-option a=b", "--cluster-option needs cluster"),
        ({"retry": True}, "--retry --only report", "--only report trains nothing, but --retry"),
        ({"only": "nonsense"}, "--only nonsense", "--only is 'nonsense'"),
        ({"until": "never"}, "--until never", "--until is 'never'"),
    ],
)
def test_options_are_checked_also_where_nothing_is_trained(
    tmp_path, refused, options, words, message
):
    study = load(tmp_path)
    with pytest.raises(ds.InputError):
        study.run(progress=False, **{"only": "report", **options})
    assert message in refused("study", study.path, "--dry-run", *words.split())
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize("options", [{"lr": -1.0}, {"time_limit": -1}, {"log": "paper"}])
def test_arguments_without_a_flag_are_checked_too(tmp_path, options):
    with pytest.raises(ds.InputError, match=next(iter(options))):
        load(tmp_path).run(only="report", progress=False, **options)


@pytest.mark.parametrize("options", [{"jbos": 1}, {"limit": 1}, {"epochs": 2}])
def test_arguments_that_a_study_does_not_have_are_refused(tmp_path, options):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{next(iter(options))}'"):
        load(tmp_path).run(only="report", progress=False, **options)


def test_options_in_place_of_the_file_reach_the_training(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "designspace.studies.train_study.train", lambda runs, **options: seen.append(options)
    )
    study = load(tmp_path, train={"jobs": 3, "device": "cpu"})
    study.run(progress=False, only="train", jobs=2, retry=True, image_results=False, lr=0.1)
    stated = {"jobs": 2, "device": "cpu", "retry": True, "image_results": False, "lr": 0.1}
    assert stated.items() <= seen[0].items()
    assert "precision" not in seen[0]


def test_the_power_of_a_claim_counts_all_claims_of_its_report(tmp_path):
    trend = {"kind": "trend", "population": "x", "parameter": "d", "error": "falls"}
    powers = []
    for others in (0, 9):
        claims = better("a", "x") + [{"claim": f"c{i}", **trend} for i in range(others)]
        reports = {"r": {"populations": ["a", "x"], "claims": claims}}
        powers.append(load(tmp_path, n=40, reports=reports).plan().claims[0].power)
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1.5, (20_000, 40)), rng.normal(1, 1.5, (20_000, 40))
    p = ttest_ind(a, b, axis=1, alternative="less").pvalue
    assert powers == pytest.approx([(p < 0.05).mean(), (p < 0.005).mean()], abs=0.015)


@pytest.mark.parametrize(
    ("entry", "true"),
    [
        ({"kind": "better"}, -1.0),
        ({"kind": "better", "margin": 1.0}, -2.0),
        ({"kind": "not_worse", "margin": 1.0}, 0.0),
        ({"kind": "equivalent", "margin": 1.0}, 0.0),
        ({"kind": "better", "paired": True}, -0.5),
        ({"kind": "not_worse", "margin": 0.6, "paired": True}, 0.0),
    ],
)
def test_the_power_of_a_claim_is_how_often_it_is_supported(tmp_path, entry, true):
    n = 16
    claim = {"claim": "c", "first": "x", "second": "y", **entry}
    reports = {"r": {"populations": ["x", "y"], "claims": [claim]}}
    populations = {**DATA["populations"], "y": {"same_as": "x", "toggle": {"se_ratio": 0.25}}}
    plan = load(tmp_path, n=n, reports=reports, populations=populations).plan()
    rng, supported = np.random.default_rng(n), []
    margin, kind = entry.get("margin", 0.0), entry["kind"]
    for _ in range(200):
        if entry.get("paired"):
            difference = true + rng.normal(0, DEFAULT_PAIR_SD, n)
            first, second = np.zeros(n), difference
            test = paired
        else:
            first, second = rng.normal(0, DEFAULT_SD, n), rng.normal(true, DEFAULT_SD, n)
            test = unpaired
        result = test(Errors(first), Errors(second), margin, kind, "")
        supported.append(max(result.p, result.p_bootstrap) < 0.05)
    assert np.mean(supported) == pytest.approx(plan.claims[0].power, abs=0.1)


@pytest.fixture
def refined(monkeypatch):
    """Spaces without half of the values of d, in place of tested constraints; the calls."""
    calls = []

    def narrow(run, *, name, **options):
        calls.append((run.name, options))
        parent = ds.load_space(str(run / "space.yaml"))
        depths = [value for value in parent.axes["d"].values if value <= 12 - 2 * len(calls)]
        space = parent.narrow(name=name, reason="r", d=[int(d) for d in depths])
        text = yaml.safe_dump(dict(space.source))
        return SimpleNamespace(space=space, save=lambda path: path.write_text(text))

    monkeypatch.setattr("designspace.studies.study.refine", narrow)
    return calls


def test_rounds_of_refinements_keep_budget_and_schedule_of_their_population(
    tmp_path, train, refined
):
    own = {"budget": {"flops": "150K:300K"}, "epochs": 2, "seed": 5, "n": 6}
    rounds = [
        {"population": "own", "findings": "f1", "space": "one.yaml"},
        {"population": "one", "findings": "f2", "space": "two.yaml", "n": 3},
    ]
    reports = {"r": {"populations": ["one", "two"], "claims": better("one", "two")}}
    populations = DATA["populations"] | {"own": {"space": "RegNetX@8", **own}}
    study = load(tmp_path, populations=populations, refinements=rounds, reports=reports)
    assert study.plan().claims[0].n == 3
    study.run(progress=False)
    options = [{"first": n, "all_finished": False} for n in (6, 3)]
    assert refined == [("own", options[0]), ("one", options[1])]
    for name, n in (("one", 6), ("two", 3)):
        run = ds.load_run(tmp_path / name)
        (limits,) = run.space()["sample"]["budget"]
        assert (limits["low"], limits["high"]) == (150_000, 300_000)
        assert (len(run.trials()), run.recipe().epochs, run.data().seed) == (n, 2, 5)
    assert study.verdicts()[0].n == (6, 3)
    study.run(progress=False, only="report")
    changed = populations | {"own": {**populations["own"], "budget": {"flops": "1M:2M"}}}
    study = load(tmp_path, populations=changed, refinements=rounds, reports=reports)
    with pytest.raises(ds.InputError, match=r"/one was sampled with another budget .*/two was sam"):
        study.run(progress=False, only="report")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"refinements": [{"population": "one", "findings": "f", "space": "one.yaml"}]},
            "one is the run of this or a later refinement",
        ),
        (
            {"refinements": [{"population": "a", "findings": "f", "space": "one.yaml", "n": 9}]},
            "n: 9, but a has 8 models",
        ),
        (
            {
                "refinements": [{"population": "a", "findings": "f", "space": "one.yaml"}],
                "populations": {**DATA["populations"], "again": {"same_as": "one", "seed": 1}},
            },
            r"again.same_as: one is the run of a refinement; write space: one\.yaml",
        ),
    ],
)
def test_refinements_that_cannot_be_trained_are_refused_at_load(tmp_path, changes, message):
    with pytest.raises(ds.InputError, match=message):
        load(tmp_path, **changes)


def test_a_report_of_the_first_models_waits_for_the_chosen_ones_among_them(tmp_path, train):
    few = {"few": {"same_as": "x", "seed": 1, "models": {"indices": "1,3,6"}}}
    reports = {"r": {"populations": ["few"], "n": 4}}
    study = load(tmp_path, populations=DATA["populations"] | few, reports=reports)
    study.run(progress=False)
    assert (
        json.loads((tmp_path / "r" / "summary.json").read_text())["populations"][0]["counted"] == 2
    )
    reports["r"]["n"] = 1
    with pytest.raises(ds.InputError, match="none of the first 1 models of few is chosen"):
        load(tmp_path, populations=DATA["populations"] | few, reports=reports)


def test_a_step_without_n_trains_the_populations_own_number(tmp_path, train):
    steps = [{"populations": ["a"], "n": 2}, {"populations": ["a"]}]
    study = load(tmp_path, n=4, steps=steps)
    study.run(progress=False)
    plan = study.plan().populations[0]
    assert (plan.name, plan.models, plan.trained) == ("a", 4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2}, r"/a was trained with other options .*: epochs: 1, 2\..*/x was trained"),
        ({"recipe": "cifar"}, "augmentation: crop, crop-flip"),
        ({"val": "test", "derived_val": "held-out"}, "val: held-out, test"),
        ({"data": "cifar10"}, "trained on digits, and data is cifar10 now"),
        ({"populations": {**DATA["populations"], "x": {"space": "RegNetX@8", "seed": 3}}}, "seed:"),
        ({"budget": {"flops": "150K:220K"}}, "/a was sampled with another budget .*/gates was"),
        ({"seed": 4}, "/x was sampled with another seed than the file states; restore it, or wri"),
        ({"populations": {"x": {"space": "RegNetY@8"}}}, "/x was sampled with another space than"),
        ({"populations": POPULATIONS | gates(0.5)}, "/gates was sampled with another toggle than"),
        ({"populations": POPULATIONS | gates()}, "/gates was sampled with another toggle than"),
        ({"derived": {"m": {"source": "x:best", "flops": "500K"}}}, "m.yaml was derived with tar"),
        (
            {"derived": {"m": {"source": "x:0", "flops": "400K"}}},
            "m.yaml was derived with source x:best, and the file states x:0; restore",
        ),
        (
            {"derived": {"m": {"source": "x:best", "flops": "400K", "family": "regnety"}}},
            "m.yaml was derived without family, and the file states regnety",
        ),
        (
            {"exports": {"out": {"population": "x", "best": 2, "to": ["model"]}}},
            "1 best, and the file",
        ),
        (
            {"exports": {"out": {"population": "x", "best": 1, "to": ["pycls"]}}},
            "states pycls",
        ),
    ],
)
def test_a_file_that_no_longer_states_what_was_trained_is_refused(
    tmp_path, train, changes, message
):
    before = {
        "populations": POPULATIONS | gates(0.25),
        "derived": {"m": {"source": "x:best", "flops": "400K"}},
        "derived_seeds": [0],
        "derived_val": "held-out",
        "exports": {"out": {"population": "x", "best": 1, "to": ["model"]}},
    }
    load(tmp_path, **before).run(progress=False)
    load(tmp_path, **before).run(progress=False)
    for only in (None, "report"):
        with pytest.raises(ds.InputError, match=message):
            load(tmp_path, **(before | changes)).run(progress=False, only=only)


def test_a_derived_model_of_an_earlier_version_is_kept_by_its_target_and_rule(tmp_path, train):
    model = {"source": "x:best", "flops": "400K"}
    load(tmp_path, derived={"m": model}).run(progress=False)
    file = tmp_path / "derived" / "m.yaml"
    data = yaml.safe_load(file.read_text())
    del data["provenance"]["study entry"]
    file.write_text(yaml.safe_dump(data))
    model["source"] = "x:0"
    load(tmp_path, derived={"m": model}).run(progress=False)
    data["provenance"]["study entry"] = "x"
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(ds.InputError, match=r"m\.yaml: provenance\.study entry was edited"):
        load(tmp_path, derived={"m": model}).run(progress=False)
    del data["provenance"]["study entry"]
    file.write_text(yaml.safe_dump(data))
    model["flops"] = "500K"
    with pytest.raises(
        ds.InputError, match=r"derived with target 400K .*, and the file states 500K"
    ):
        load(tmp_path, derived={"m": model}).run(progress=False)


def test_whether_a_model_is_trained_or_exported_may_change(tmp_path, train):
    model = {"source": "x:best", "flops": "400K"}
    load(tmp_path, derived={"m": model}).run(progress=False)
    load(tmp_path, derived={"m": {**model, "trained": False, "export": ["model"]}}).run(
        progress=False
    )
    assert (tmp_path / "exported" / "m" / "model.yaml").is_file()


def test_training_alone_leaves_the_page_of_the_reports(tmp_path, train):
    study = load(tmp_path, reports={"r": {"populations": ["a", "x"]}})
    page = study.run(only="train", progress=False)
    before = page.read_bytes()
    assert study.run(progress=False).read_bytes() != before
    after = page.read_bytes()
    assert study.run(only="train", progress=False).read_bytes() == after


def test_a_report_keeps_its_n_once_populations_are_extended(tmp_path, train):
    reports = {"r": {"populations": ["a", "x"], "n": 4, "claims": better("a", "x")}}
    study = load(tmp_path, n=4, reports=reports, extension={"n": 7, "batch": 3})
    study.run(progress=False, until="decided")
    assert [len(ds.load_run(tmp_path / name).trials()) for name in ("a", "x")] == [7, 7]
    assert [verdict.pairs for verdict in study.sequential_verdicts()["r"]] == [7]
    assert study.verdicts()[0].n == (4, 4)
