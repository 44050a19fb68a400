"""Studies as files: they run, stop and resume, grow, and state what they can show."""

import json
import shlex
import textwrap

import numpy as np
import pytest
import yaml

import designspace as ds
from designspace.analysis.claims import ClaimsFile
from designspace.runs import DataRecord
from designspace.studies.sequential_claims import judge_sequentially
from designspace.studies.study_file import comparisons
from designspace.studies.toggle import toggled

SMALL = {
    "name": "small",
    "about": "Digits.\n\nIt can say <nothing>.",
    "data": "digits",
    "epochs": 1,
    "n": 4,
    "budget": {"flops": "180K:220K"},
    "populations": {
        "anynetxa": {"space": "AnyNetXA@8"},
        "regnetx": {"space": "RegNetX@8"},
        "se": {"same_as": "regnetx", "toggle": {"se_ratio": 0.25}},
        "long/regnetx": {"same_as": "regnetx", "epochs": 2, "models": {"spread": 5}},
        "trust/regnetx": {"same_as": "regnetx", "seed": 1, "models": {"random": 3}},
    },
    "steps": [
        {"populations": ["anynetxa", "regnetx"], "n": 3},
        {"populations": ["se"], "n": 3},
        {"populations": ["regnetx"], "n": 5},
        {"populations": ["trust/regnetx", "long/regnetx"], "n": 5},
    ],
    "reports": {
        "report": {"populations": ["anynetxa", "regnetx"], "n": 3},
        "se-report": {
            "populations": ["regnetx", "se"],
            "n": 3,
            "claims": {
                "claims": [
                    {
                        "claim": "Gates gain nothing",
                        "kind": "equivalent",
                        "first": "regnetx",
                        "second": "se",
                        "margin": 5.0,
                        "paired": True,
                        "n": 3,
                        "power": 0.9,
                    },
                    {
                        "claim": "Two show it",
                        "kind": "better",
                        "first": "regnetx",
                        "second": "se",
                        "n": 2,
                    },
                ]
            },
        },
    },
    "agreements": {"report/regnetx-long.json": ["regnetx", "long/regnetx"]},
    "derived": {"twice": {"family": "regnetx", "source": "report", "flops": "400K"}},
    "derived_seeds": [0],
    "derived_val": "held-out",
}


def write(folder, data):
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


def pretend_to_train(runs, *, recipe, epochs, seed, val, only, **options):
    """Write errors that depend on the model, the seed and the epochs, in place of training."""
    for run in runs:
        data = DataRecord("digits", val, "held-out", seed, 10, 1, 1, "content")
        run.begin_training(recipe.override(epochs=epochs).at(8), data)
        trained = {trial.index for trial in run.trials()}
        for i in range(len(run)) if only is None else only:
            if i not in trained:
                error = 50 + int(run.population().ids[i], 16) % 97 / 10 + seed - epochs
                run.record(i, error, curve=[error] * epochs, seconds=9, seed=seed, split="held-out")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that was run, and its page."""
    folder = tmp_path_factory.mktemp("study")
    study = ds.Study.load(write(folder, SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("designspace.studies.train_study.train", pretend_to_train)
        return study, study.run(jobs=1, progress=False)


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_study_trains_reports_and_derives_all_that_its_file_states(finished):
    study, page = finished
    trained = {
        name: len(ds.load_run(study.folder / name).trials()) for name in SMALL["populations"]
    }
    assert trained == {"anynetxa": 3, "regnetx": 5, "se": 3, "long/regnetx": 5, "trust/regnetx": 3}
    assert (study.folder / "report" / "index.html").is_file()
    assert len(ds.load_run(study.folder / "derived" / "seed-0").trials()) == 1
    agreement = json.loads((study.folder / "report" / "regnetx-long.json").read_text())
    assert agreement["schedules"][0]["n"] == 5
    assert (agreement["first"], agreement["schedules"][0]["run"]) == ("regnetx", "long/regnetx")
    text = page.read_text()
    assert "It can say &lt;nothing&gt;." in text
    assert "Gates gain nothing" in text
    assert 'href="derived/twice.yaml"' in text


def test_a_finished_study_trains_nothing_and_writes_the_same_bytes_again(finished, monkeypatch):
    study, _ = finished
    before = contents(study.folder)
    monkeypatch.chdir(study.folder.parent)  # nothing depends on the working directory
    monkeypatch.setattr("designspace.studies.train_study.train", None)
    ds.Study.load(f"{study.folder.name}/study.yaml").run(progress=False)
    assert contents(study.folder) == before


def test_a_report_counts_its_first_models_only(finished):
    study, _ = finished
    summary = json.loads((study.folder / "report" / "summary.json").read_text())
    by_name = {population["name"]: population for population in summary["populations"]}
    assert by_name["regnetx"]["counted"] == by_name["regnetx"]["n"] == 3
    assert by_name["regnetx"]["path"] == "../regnetx"
    assert len(summary["best"]["regnetx"]) == 3


def test_a_claim_counts_its_n(finished):
    study, _ = finished
    summary = json.loads((study.folder / "se-report" / "summary.json").read_text())
    first, second = summary["claims"]
    assert first["n"] == [3]  # pairs
    assert second["n"] == [2, 2]


def test_the_plan_counts_models_hours_and_power(finished):
    study, _ = finished
    plan = study.plan()
    assert (plan.models, plan.trained, plan.hours) == (20, 20, 0.0)  # one is derived
    assert [claim.n for claim in plan.claims] == [3, 2]
    assert all(claim.assumed for claim in plan.claims)
    more = study.file.model_copy(update={"steps": [], "n": 10})
    plan = ds.Study(study.path, study.folder, more).plan()
    missing = {p.name: p.models - p.trained for p in plan.populations}
    # The random models are 2, 3 and 4 of five, and 2, 4 and 6 of ten.
    assert missing == {"anynetxa": 7, "regnetx": 5, "se": 7, "long/regnetx": 0, "trust/regnetx": 1}
    assert plan.hours > 0


def test_the_command_prints_the_plan(cli, finished):
    study, _ = finished
    outcome = cli("study", study.path, "--dry-run")
    assert outcome.code == 0
    assert "in all" in outcome.out
    assert "Gates gain nothing (sd assumed)" in outcome.out
    assert json.loads(cli("study", study.path, "--dry-run", "--json").out)["models"] == 20


def test_an_interrupted_study_resumes(tmp_path, monkeypatch):
    from designspace.studies import train_study as training

    reports = {"report": SMALL["reports"]["report"]}
    changes = {"reports": reports, "derived": {}, "derived_seeds": []}
    study = ds.Study.load(write(tmp_path, SMALL | changes))
    calls = []

    def stops(runs, **options):
        calls.append([run.name for run in runs])
        if len(calls) == 2:
            raise KeyboardInterrupt
        pretend_to_train(runs, **options)

    monkeypatch.setattr(training, "train", stops)
    with pytest.raises(KeyboardInterrupt, match=r"^stopped; the same call resumes$"):
        study.run(jobs=1, progress=False)
    assert not (tmp_path / "report").exists()
    study.run(jobs=1, progress=False)
    assert calls == [["anynetxa", "regnetx"], *[["se"]] * 2, *[["regnetx"]] * 3]
    assert study.plan().trained == 19


def test_the_command_that_resumes_has_all_options_of_the_study(cli, tmp_path, monkeypatch):
    passed = {}

    def stops(runs, **options):
        passed.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("designspace.studies.train_study.train", stops)
    block = (
        "import designspace as ds\nB = ds.Block('mine', 'A block.', (), None, lambda *_: None)\n"
    )
    (tmp_path / "block.py").write_text(block)
    monkeypatch.setattr("shutil.which", lambda command: command)  # batch systems are there
    file, out = write(tmp_path, SMALL), tmp_path / "other place"
    options = ["--data", "digits", "--until", "decided", "--jobs", "2", "--device", "cpu"]
    options += ["--retry", "--cluster", "slurm", "--batch-size", "9", "--no-image-results"]
    options += ["--cluster-option", "a=1", "--cluster-option", "b=2"]
    options += ["--plugin", tmp_path / "block.py"]
    outcome = cli("study", file, "--out", out, *options)
    assert outcome.code == 130
    command = outcome.err.partition("stopped; `")[2].partition("` resumes")[0]
    words = shlex.split(command)
    assert words[:3] == ["designspace", "study", str(file)]
    assert sorted(words[3:]) == sorted(map(str, ["--out", out, *options]))
    assert (passed["batch_size"], passed["image_results"]) == (9, False)
    assert "'" in command  # the folder's name has a space
    outcome = cli("study", file)
    assert f"stopped; `designspace study {file}` resumes" in outcome.err


def test_until_decided_extends_the_populations_of_open_claims(tmp_path, monkeypatch):
    monkeypatch.setattr("designspace.studies.train_study.train", pretend_to_train)
    data = {
        "name": "grows",
        "data": "digits",
        "epochs": 1,
        "n": 2,
        "budget": {"flops": "180K:220K"},
        "populations": {"a": {"space": "AnyNetXA@8"}, "x": {"space": "RegNetX@8"}},
        "extension": {"n": 5, "batch": 2},
        "reports": {
            "report": {
                "populations": ["a", "x"],
                "claims": {
                    "claims": [
                        {"claim": "X is better", "kind": "better", "first": "a", "second": "x"}
                    ]
                },
            }
        },
    }
    study = ds.Study.load(write(tmp_path, data))
    page = study.run(jobs=1, progress=False, until="decided")
    assert [len(ds.load_run(tmp_path / name).trials()) for name in ("a", "x")] == [5, 5]
    assert "undecided, 5 pairs" in page.read_text()


def test_claims_are_judged_before_all_populations_of_their_report_are_trained(
    tmp_path, monkeypatch
):
    def all_but_b(runs, **options):
        if [run.path.name for run in runs] != ["b"]:
            pretend_to_train(runs, **options)

    monkeypatch.setattr("designspace.studies.train_study.train", all_but_b)
    names = {"a": "AnyNetXA@8", "b": "AnyNetXB@8", "x": "RegNetX@8"}
    claims = [
        {"claim": f"X beats {name}", "kind": "better", "first": name, "second": "x"}
        for name in ("a", "b")
    ]
    data = {
        "name": "part",
        "data": "digits",
        "epochs": 1,
        "n": 3,
        "budget": {"flops": "180K:220K"},
        "populations": {name: {"space": space} for name, space in names.items()},
        "steps": [{"populations": [name], "n": 3} for name in names],
        "reports": {"report": {"populations": [*names], "claims": {"claims": claims}}},
    }
    study = ds.Study.load(write(tmp_path, data))
    page = study.run(jobs=1, progress=False).read_text()
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert [claim["claim"] for claim in summary["claims"]] == ["X beats a"]
    assert (
        "among them 1 whose models are not trained yet"
        in (tmp_path / "report" / "index.html").read_text()
    )
    assert "The claim is " in (tmp_path / "report" / "index.html").read_text()
    assert '<span class="mark p1"></span>x' in page  # narrow screens have a legend
    assert "X beats b" in page
    assert "not trained yet" in page


@pytest.mark.parametrize("kind", ["better", "not_worse", "equivalent"])
@pytest.mark.parametrize("difference", [-3.0, 0.0, 3.0])
def test_sequential_verdicts_are_right(tmp_path, kind, difference):
    rng = np.random.default_rng(0)
    runs = {}
    for name, shift in (("one", 0.0), ("two", difference)):
        runs[name] = ds.sample("RegNetX@8", n=150, flops="180K:220K", out=tmp_path / name)
        lines = [
            {"id": model_id, "index": i, "state": "complete", "error": error}
            for i, (model_id, error) in enumerate(
                zip(runs[name].population().ids, 50 + shift + rng.normal(0, 1, 150), strict=True)
            )
        ]
        (tmp_path / name / "trials.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    entry = {"claim": "c", "kind": kind, "first": "one", "second": "two", "margin": 2.0}
    claims = comparisons(ClaimsFile(claims=[entry]))
    [verdict] = judge_sequentially(claims, runs, 0.05)
    [of_four] = judge_sequentially(claims, runs, 0.05, declared=4)
    assert judge_sequentially(claims, runs, 0.0125) == [of_four]
    assert of_four.low < verdict.low
    assert verdict.high < of_four.high
    true = {
        "better": difference < -2,
        "not_worse": difference < 2,
        "equivalent": abs(difference) < 2,
    }[kind]
    assert verdict.verdict in ("supported" if true else "contradicted", "undecided")
    if difference:
        assert verdict.verdict != "undecided"


@pytest.mark.parametrize(
    ("toggle", "read"),
    [
        ({"se_ratio": 0.25}, lambda model: model.body.se_ratio == 0.25),
        ({"b": 2}, lambda model: set(model.body.bottleneck_ratios) == {2.0}),
        ({"g": 8}, lambda model: max(model.body.group_widths) <= 8),
        ({"stem_width": 16}, lambda model: model.skeleton.stem_width == 16),
    ],
)
def test_a_toggle_changes_one_setting_of_every_model(toggle, read):
    population = ds.sample("RegNetX@8", n=8, flops="180K:220K")
    changed = toggled(population, toggle)
    for i in range(8):
        assert read(changed.model(i))
        assert changed.model(i).body.depths == population[i].body.depths
        assert changed.cost.params[i] == sum(p.numel() for p in _built(changed.model(i)))


def _built(model):
    from designspace.networks import build

    return build(model).parameters()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"toggle": {"se_ratio": 0}}, "every model has se_ratio = 0 already"),
        ({"toggle": {"se_rato": 0.5}}, "no setting 'se_rato'; did you mean se_ratio"),
        ({"toggle": {"d": 1}}, None),
    ],
)
def test_wrong_toggles_are_refused(change, message):
    population = ds.sample("RegNetX@8", n=4, flops="180K:220K")
    if message is None:
        assert set(toggled(population, change["toggle"]).bodies.depths.ravel()) == {1}
        return
    with pytest.raises(ds.InputError, match=message):
        toggled(population, change["toggle"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"populatons": {}}, "unknown key; did you mean populations"),
        ({"steps": [{"populations": ["anynetza"]}]}, "no population anynetza; did you mean"),
        ({"populations": {"a": {}}}, "give space or same_as"),
        ({"populations": {"a": {"space": "RegNetX@8", "models": {"spread": 2}}}}, "same_as"),
        ({"agreements": {"a.json": ["se"]}}, "compares two or more"),
        (
            {
                "reports": {
                    "r": {
                        "populations": ["se"],
                        "claims": {
                            "claims": [
                                {"claim": "c", "kind": "better", "first": "se", "second": "sf"}
                            ]
                        },
                    }
                }
            },
            "about sf, which is not among se",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(refused, tmp_path, change, message):
    file = write(tmp_path, SMALL | change)
    assert message in refused("study", file, "--dry-run")


def test_wrong_arguments_are_refused(refused, tmp_path):
    file = write(tmp_path, {key: value for key, value in SMALL.items() if key != "data"})
    assert "--data is missing" in refused("study", file)
    assert "--only is 'reports'" in refused("study", file, "--only", "reports")
    assert "--until is 'later'" in refused("study", file, "--until", "later")


@pytest.mark.slow
def test_until_decided_decides_a_claim_on_real_training(tmp_path):
    """Three epochs against one, on the same bodies: decided after some 20 pairs, far from 60."""
    data = {
        "name": "epochs",
        "data": "digits",
        "recipe": "quick",
        "epochs": 1,
        "n": 18,
        "budget": {"flops": "60K:100K"},
        "populations": {
            "short": {"space": "RegNetX@8"},
            "long": {"same_as": "short", "epochs": 3},
        },
        "extension": {"n": 60, "batch": 4},
        "reports": {
            "report": {
                "populations": ["short", "long"],
                "claims": {
                    "claims": [
                        {
                            "claim": "Longer training is better",
                            "kind": "better",
                            "first": "short",
                            "second": "long",
                            "paired": True,
                        }
                    ]
                },
            }
        },
        "figures": [
            {"figure": "1", "shows": "Training helps.", "claims": ["Longer training is better"]}
        ],
    }
    study = ds.Study.load(write(tmp_path, data))
    page = study.run(progress=False, until="decided")
    trained = [len(ds.load_run(tmp_path / name).trials()) for name in ("short", "long")]
    assert trained[0] == trained[1]
    assert 18 < trained[0] < 60
    (verdict,) = study.sequential_verdicts()["report"]
    assert verdict.verdict == "supported"
    assert verdict.high < 0
    assert f"supported, {trained[0]} pairs" in page.read_text()
    assert study.figures().answers[0].verdict == "shown here"


def with_claims(claims):
    """Return the small study with other claims of one report."""
    report = {"populations": ["regnetx", "se"], "n": 3, "claims": claims}
    return {**SMALL, "reports": {"report": report}, "derived": {}, "agreements": {}}


CLAIM = {"claim": "Gates help", "kind": "better", "first": "regnetx", "second": "se"}


def test_claims_of_a_report_may_be_a_plain_list(tmp_path):
    listed = ds.Study.load(write(tmp_path, with_claims([CLAIM]))).claims
    assert listed == ds.Study.load(write(tmp_path, with_claims({"claims": [CLAIM]}))).claims


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ([{**CLAIM, "kind": "bettr"}], "report.claims[0]: kind is 'bettr'; did you mean better"),
        (
            [{**CLAIM, "frst": "se"}],
            "reports.report.claims[0].frst: unknown key; did you mean first",
        ),
        ({"claims": [{"claim": "x"}]}, "reports.report.claims.claims[0]: must have the key 'kind'"),
        (3, "reports.report.claims: must be text or a map of keys to values; found 3"),
    ],
)
def test_mistakes_in_claims_appear_once(refused, tmp_path, claims, message):
    text = refused("study", write(tmp_path, with_claims(claims)), "--dry-run")
    assert text.count("reports.report.claims") == 1
    assert message in text


def test_claims_at_the_top_get_the_place_where_they_belong(refused, tmp_path):
    text = refused("study", write(tmp_path, {**SMALL, "claims": [CLAIM]}), "--dry-run")
    assert "claims: unknown key; it belongs to an entry of reports" in text


def test_study_prints_each_populations_budget_and_each_claims_verdict(cli, finished):
    study, _ = finished
    out = cli("study", study.path, "--dry-run").out
    assert out.count("flops 180K:220K") == len(SMALL["populations"])
    assert "derived/seed-0       1        1" in out
    out = cli("study", study.path, "--only", "report").out
    assert "se-report: Gates gain nothing: undecided (n = 3)\n" in out
    assert "se-report: Two show it: undecided (n = 2)\n" in out


def test_the_file_in_the_help_is_a_study(cli, tmp_path):
    text = cli("study", "--help").out.partition("The least of a file:\n")[2]
    file = tmp_path / "rule.yaml"
    file.write_text(textwrap.dedent(text.partition("\n\n")[0]))
    plan = ds.Study.load(file).plan()
    assert plan.models == 32
    assert len(plan.claims) == 1
