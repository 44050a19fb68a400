"""Mistakes that a study's steps would meet, maybe days later, are refused when it is loaded."""

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

import designspace as ds
from designspace.arch.parameter_columns import parameters
from designspace.studies.claim_parameters import parameter_names
from designspace.studies.toggle import toggled

BUDGET = {"flops": "180K:220K"}
STUDY = {
    "name": "s",
    "data": "digits",
    "n": 8,
    "budget": BUDGET,
    "populations": {
        "anynetxa": {"space": "AnyNetXA@8"},
        "regnetx": {"space": "RegNetX@8"},
        "vanilla": {"space": "AnyNetVA@8", "budget": {"flops": "600K:700K"}},
        "silu": {"same_as": "regnetx", "toggle": {"activation": "silu"}},
        "again": {"space": "RegNetX@8", "epochs": 2},
    },
    "reports": {"report": {"populations": ["anynetxa", "regnetx", "silu", "again"]}},
}


def changed(data, path, value):
    """Return the data with another value at a path; maps on it are created."""
    first, _, rest = path.partition("/")
    inner = data.get(first, {}) if isinstance(data, dict) else {}
    return {**data, first: changed(inner, rest, value) if rest else value}


def load(folder, path=None, value=None):
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY if path is None else changed(STUDY, path, value)))
    return ds.Study.load(file)


def of(name, **toggle):
    return {"same_as": name, "toggle": toggle}


def claims(*entries):
    return [{"claim": f"claim {i}", **entry} for i, entry in enumerate(entries)]


def best_in(population, parameter):
    about = {"population": population, "parameter": parameter}
    return claims({"kind": "best_in", **about, "low": 1, "high": 2})


def paired(first, second):
    return claims({"kind": "better", "first": first, "second": second, "paired": True})


def searched(source):
    return {"source": source, "flops": "1M", "search": 20}


CLAIMS = "reports/report/claims"
TWICE = [{**claim, "claim": "c"} for claim in paired("regnetx", "silu") * 2]
EPOCHS = {"epochs": {"distribution": "choice", "values": [1, 4]}}
LONG_WARMUP = "name: r\nepochs: 9\nbatch_size: 8\nlr: 0.1\nwarmup_epochs: 3\n"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("data", "digit", "data is 'digit', an unknown data set; did you mean digits?"),
        ("data", "folder:", "data is 'folder:'; add the folder"),
        ("train/device", "gpu", "train.device: device is 'gpu'; it must be auto, cpu, cuda"),
        ("recipe", "cifarr", "recipe: no recipe 'cifarr'; did you mean cifar"),
        ("budget/flops", "200K", "budget: flops is '200K'; it must be a range"),
        ("populations/x/space", "RegNettX@8", "populations.x.space: no space 'RegNettX'; did"),
        (
            "populations/x",
            {"space": "RegNetX@8", "budget": {"params": "9:1"}},
            "populations.x.budget: params is '9:1'; the low end must not be above",
        ),
        ("populations/x", of("vanilla", se_ratio=0.25), "toggle: vanilla blocks have no setting"),
        ("populations/x", of("vanilla", b=2), "populations.x: toggle: vanilla blocks have no set"),
        ("populations/x", of("regnetx", t=2), "bottleneck blocks have no setting 't'"),
        ("populations/x", of("regnetx", activation="swish"), "activation: 'swish' is none of"),
        (
            "populations/x",
            of("regnetx", se_ratio=2),
            "toggle: se_ratio: must be less",
        ),
        ("populations/x", of("regnetx", d=1.5), "toggle: d: must be a whole number; found 1.5"),
        ("populations/x", of("regnetx", b=0.75), "toggle: b: must be 1/n where it is below 1"),
        ("populations/x", of("regnetx", stem_width=0), "toggle: stem_width: input: stem_width:"),
        ("populations/x", of("regnetx", activation="relu"), "has activation = relu already"),
        ("exports/out", {"population": "regnetx", "best": 1, "to": ["tim"]}, "exports.out.to: no "),
        ("derived/m", {"family": "regnetx", "flops": "1M", "export": ["tim"]}, "derived.m.export:"),
        ("derived/m", {"source": "reprot", "flops": "1M"}, "derived.m.source: no published model"),
        ("derived/m", {"source": "regnetx:worst", "flops": "1M"}, "must end in an index or best"),
        (
            "derived/m",
            {"source": "report", "flops": "1M", "population": "vanila"},
            "derived.m.population: report has no population vanila",
        ),
        (
            "derived/m",
            {"source": "report", "flops": "1 MB"},
            "derived.m: flops: '1 MB' is not",
        ),
        ("derived", {"a b": {"source": "report", "scale": 2}}, "derived.a b: "),
        ("derived/m", {"source": "report"}, "derived.m: give one target"),
        ("derived/m", {"source": "report", "scale": 2, "rule": "wide"}, "no scaling rule 'wide'"),
        (
            "populations/x",
            {"same_as": "regnetx", "models": {"random": 20}},
            "populations.x.models: random is 20, but only 8 models take part",
        ),
        (
            "populations/x",
            {"same_as": "regnetx", "models": {"spread": 6, "among": 4}},
            "populations.x.models: spread is 6, but only 4 models take part",
        ),
        (
            "populations/x",
            {"same_as": "regnetx", "models": {"indices": "0-8"}},
            "populations.x.models: indices is '0-8'; model 8 is not in x",
        ),
        (CLAIMS, best_in("regnety", "b"), "'claim 0' is about regnety, which is not among"),
        (CLAIMS, best_in("regnetx", "w0"), "no such parameter; did you mean w_0"),
        (CLAIMS, best_in("regnetx", "b1"), "'b1', but regnetx has no such parameter"),
        (CLAIMS, best_in("anynetxa", "b"), "no such parameter; did you mean b4 or b3 or b2?"),
        (CLAIMS, TWICE, "reports.report.claims: the claim 'c' is there twice"),
        (CLAIMS, paired("anynetxa", "silu"), "anynetxa and silu are not the same bodies"),
        ("steps", [{"populations": ["regnetx", "regnetx"]}], "steps[0]: regnetx is there twice"),
        ("reports/report/populations", ["silu", "silu"], "reports.report: silu is there twice"),
        ("agreements/a.json", ["again", "again"], "agreements.a.json: again is there twice"),
        ("agreements/a.json", ["anynetxa", "regnetx"], "anynetxa and regnetx are not the same mod"),
        ("agreements/a.json", ["regnetx", "silu"], "regnetx and silu are not the same models"),
        ("agreements/report", ["regnetx", "again"], "agreements.report: report is also the place"),
        ("agreements/study.yaml", ["regnetx", "again"], "also the place of the study's file"),
        ("reports/regnetx/populations", ["regnetx"], "regnetx is also the place of populations.re"),
        ("reports/index.html/populations", ["regnetx"], "is also the place of the study's page"),
        (
            "exports/anynetxa",
            {"population": "regnetx", "best": 1, "to": ["model"]},
            "exports.anynetxa: anynetxa is also the place of populations.anynetxa",
        ),
        (
            "reports/one",
            {"populations": ["regnetx", "silu"], "n": 1, "claims": paired("regnetx", "silu")},
            "'claim 0' compares means, which needs two or more models of each population",
        ),
        ("derived/m", searched("regnetx:best"), "derived.m: search fits its predictor to a report"),
        (
            "derived/m",
            {**searched("report"), "imagenet": True},
            "derived.m: search needs flops, params or acts, and no imagenet",
        ),
        (
            "derived/m",
            {**searched("report"), "population": "anynetxa"},
            "search needs a population",
        ),
        ("derived/m", {**searched("report"), "population": "regnetx"}, "needs 12 or more models"),
        (
            "derived/m",
            {**searched("report"), "rule": "depth"},
            "derived.m: rule has no effect with",
        ),
        (
            "derived/m",
            {"source": "regnetx:best", "flops": "1M", "population": "regnetx"},
            "derived.m: population is of a report; source must be one, or leave it out",
        ),
        ("derived/m", {"family": "regnetx", "scale": 2}, "derived.m: give source"),
        ("derived/m", {"source": "regnetx:8", "flops": "1M"}, "regnetx has models 0 to 7"),
        ("derived/m", {"source": "derived/m.yaml", "flops": "1M"}, "no file derived/m.yaml"),
        (
            "derived/m",
            {"source": "vanilla:best", "flops": "1M", "family": "regnety"},
            "derived.m: family is for bottleneck blocks; vanilla has vanilla blocks",
        ),
        ("recipe_axes", {"label_smoothing": {"distribution": "choice", "values": [1.5]}}, "less t"),
        (
            "populations/x",
            {"same_as": "regnetx", "budget": {**BUDGET}},
            "populations.x: budget has no effect beside same_as",
        ),
        (
            "populations/x",
            {"same_as": "regnetx", "recipe_axes": EPOCHS},
            "populations.x: recipe_axes has no effect beside same_as",
        ),
        ("recipe_axes", EPOCHS, "populations.again.epochs: has no effect, as the space draws"),
        (CLAIMS, paired("again", "silu"), "again and silu differ in several settings; compare"),
        ("populations/x", of("regnetx", se_ratio=True), "toggle.se_ratio: found true (YAML reads"),
        ("populations/x", {"space": "RegNetX@8", "n": True}, "populations.x: n: found true (YAML"),
        ("n", True, "n: found true (YAML reads"),
        ("derived_seeds", [False], "derived_seeds[0]: found false (YAML reads"),
        (
            "recipe_axes",
            {"lr": {"distribution": "uniform", "low": False, "high": 1}},
            "low: found false (YAML reads",
        ),
    ],
)
def test_a_mistake_is_refused_with_its_place(tmp_path, path, value, message):
    with pytest.raises(ds.InputError) as error:
        load(tmp_path, path, value)
    assert str(error.value).startswith(f"study: {tmp_path / 'study.yaml'}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data", "folder:where/the/images/are/on/another/machine"),
        ("populations/x", of("regnetx", d=2)),
        ("populations/x", of("regnetx", stem_width=16)),
        ("populations/x", of("vanilla", w=16)),
        ("populations/x", {"same_as": "regnetx", "models": {"random": 8}}),
        ("derived/m", {"source": "regnetx:best", "flops": "1M", "export": ["model", "timm"]}),
        ("derived/m", {"source": "RegNetX-200MF", "scale": 0.5, "rule": "dwr"}),
        (CLAIMS, best_in("regnetx", "w_0")),
        (CLAIMS, best_in("anynetxa", "b2")),
        (CLAIMS, paired("regnetx", "silu")),
        (CLAIMS, paired("again", "regnetx")),
        ("agreements", {"report/again.json": ["regnetx", "again"]}),
        ("reports", {"again/report": {"populations": ["again"]}}),
        ("train", {"exact": True, "compile": False}),
    ],
)
def test_what_works_is_accepted(tmp_path, path, value):
    assert load(tmp_path, path, value).plan().models


def load_or_refuse(folder, data, message):
    """Load a study, which is refused with a message unless it is None."""
    (folder / "study.yaml").write_text(yaml.safe_dump(data))
    with nullcontext() if message is None else pytest.raises(ds.InputError, match=message):
        ds.Study.load(folder / "study.yaml")


@pytest.mark.parametrize(
    ("populations", "message"),
    [
        ({"again": {"seed": 0}}, "regnetx and again have the same epochs and the same seed"),
        (
            {"again": {"epochs": 3, "models": {"random": 4}}},
            "regnetx and again have 4 common models; a rank correlation needs 5 or more",
        ),
        ({"again": {"epochs": 3, "models": {"random": 5}}}, None),
        ({"again": {"seed": 1, "models": {"random": 4}}}, None),
        ({"again": {"epochs": 3}, "third": {"epochs": 3}}, "again and third have the same epochs"),
    ],
)
def test_agreements_that_would_fail_are_refused(tmp_path, populations, message):
    same = {name: {"same_as": "regnetx", **entry} for name, entry in populations.items()}
    data = {
        **STUDY,
        "epochs": 1,
        "populations": STUDY["populations"] | same,
        "agreements": {"a.json": ["regnetx", *same]},
    }
    load_or_refuse(tmp_path, data, message)


def test_models_are_chosen_by_errors_of_no_later_step(tmp_path):
    few = {"same_as": "regnetx", "epochs": 2, "models": {"spread": 5}}
    data = {**STUDY, "populations": {**STUDY["populations"], "few": few}}
    file = tmp_path / "study.yaml"
    for steps in ([], [["few", "regnetx"]], [["regnetx"], ["few"]]):
        file.write_text(yaml.safe_dump({**data, "steps": [{"populations": s} for s in steps]}))
        ds.Study.load(file)
    file.write_text(yaml.safe_dump({**data, "steps": [{"populations": ["few"]}]}))
    with pytest.raises(ds.InputError, match=r"few\.models: spread needs the errors of the first 8"):
        ds.Study.load(file)
    few["models"]["among"] = 5
    steps = [{"populations": ["regnetx", "few"], "n": 5}, {"populations": ["regnetx"]}]
    file.write_text(yaml.safe_dump({**data, "steps": steps}))
    ds.Study.load(file)
    steps[0]["n"] = 4
    file.write_text(yaml.safe_dump({**data, "steps": [*steps, {"populations": ["few"]}]}))
    with pytest.raises(ds.InputError, match=r"errors of the first 5 models of regnetx"):
        ds.Study.load(file)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"epochs": 3}, "epochs: recipe"),
        ({"populations": {"x": {"space": "RegNetX@8", "epochs": 2}}}, "populations.x.epochs: rec"),
        ({"recipe_axes": EPOCHS}, "populations.regnetx: recipe"),
    ],
)
def test_epochs_must_go_with_the_recipe(tmp_path, change, place):
    (tmp_path / "r.yaml").write_text(LONG_WARMUP)
    file = tmp_path / "study.yaml"
    populations = {"regnetx": {"space": "RegNetX@8"}}
    data = {"name": "s", "recipe": "r.yaml", "budget": BUDGET, "populations": populations}
    file.write_text(yaml.safe_dump(data))
    ds.Study.load(file)
    file.write_text(yaml.safe_dump(data | change))
    with pytest.raises(ds.InputError, match=f"{place}.*warmup_epochs is 3"):
        ds.Study.load(file)


def test_a_space_of_a_refinement_need_not_be_there_yet(tmp_path):
    refined = {"population": "regnetx", "findings": "f", "space": "refined.yaml"}
    data = changed(STUDY, "populations/x/space", "refined.yaml")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**data, "refinements": [refined]}))
    assert ds.Study.load(tmp_path / "study.yaml").plan().models


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"source": "regnetx:best", "imagenet": True}, "derived.m2: has 224 pixels, but m1 has 8"),
        ({"source": "vanilla:best"}, "derived.m2: has vanilla blocks, but m1 has bottleneck"),
        ({"family": "regnetx"}, "derived.m2: has 224 pixels, but m1 has 8"),
        ({"source": "RegNetX-200MF"}, "derived.m2: has 224 pixels, but m1 has 8"),
        ({"family": "regnetx", "trained": False}, None),
        ({"source": "derived/m1.yaml"}, None),
        ({"source": "report", "population": "anynetxa"}, None),
    ],
)
def test_derived_models_that_are_trained_make_one_population(tmp_path, second, message):
    models = {"m1": {"source": "regnetx:best"}, "m2": second}
    derived = {name: {**entry, "flops": "400K"} for name, entry in models.items()}
    data = {**STUDY, "derived": derived, "derived_seeds": [0]}
    load_or_refuse(tmp_path, data, message)


def test_several_mistakes_are_listed_together(tmp_path):
    many = {f"x{i}": {"space": f"Unknown{i}"} for i in range(7)}
    with pytest.raises(ds.InputError, match=r"populations\.x4\.space.*; and 2 more$") as error:
        load(tmp_path, "populations", STUDY["populations"] | many)
    assert str(error.value).count(".space: ") == 5


@pytest.mark.parametrize(
    ("space", "budget", "toggle"),
    [
        ("RegNetX@8", "180K:220K", None),
        ("RegNetX@8", "180K:220K", {"b": 2}),
        ("RegNetX@8", "180K:220K", {"se_ratio": 0.25}),
        ("AnyNetXA@8", "180K:220K", None),
        ("AnyNetXC@8", "180K:220K", None),
        ("AnyNetVA@8", "600K:700K", None),
        ("RegNetV@8", "600K:30M", None),
        ("MobileNetV2-like@8", "60K:30M", None),
        ("ConvNeXt-like@8", "60K:30M", None),
    ],
)
def test_the_names_of_parameters_are_those_of_the_results(tmp_path, space, budget, toggle):
    population = ds.sample(space, n=6, flops=budget)
    expected = parameter_names(ds.load_space(space), toggle)
    if toggle is not None:
        population = toggled(population, toggle)
    columns = parameters(population.bodies, population.regnets)
    assert set(columns) <= set(expected)
    assert len(set(expected)) == len(expected)


def test_the_reference_study_loads_without_torch_and_sampling(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("designspace.space.Space.draw", None)
    study = Path(__file__).parents[2] / "results/reference/study.yaml"
    assert len(ds.Study.load(study).file.populations) > 40
