"""Runs of paired populations: their spaces are those of the changed models."""

from pathlib import Path

import pytest
import yaml

import designspace as ds

POPULATIONS = {
    "anynet": {"space": "AnyNetXE-stages@8"},
    "anynet-silu": {"same_as": "anynet", "toggle": {"activation": "silu"}},
    "anynet-b": {"same_as": "anynet", "toggle": {"b": 2}},
    "anynet-d": {"same_as": "anynet", "toggle": {"d": 2}},
    "convnext": {"space": "ConvNeXt-like@8"},
    "convnext-k": {"same_as": "convnext", "toggle": {"k": 3}},
    "regnet": {"space": "RegNetX@8"},
    "regnet-silu": {"same_as": "regnet", "toggle": {"activation": "silu"}},
    "regnet-se": {"same_as": "regnet", "toggle": {"se_ratio": 0.25}},
    "regnet-b": {"same_as": "regnet", "toggle": {"b": 2}},
}
STUDY = {"name": "s", "data": "digits", "n": 16, "budget": {"flops": "60K:300K"}}


def errors_that_grow_with_depth(runs, **options):
    """Record errors in place of training."""
    for run in runs:
        if not run.trials():
            for i, depth in enumerate(run.population().bodies.depths.sum(axis=1)):
                run.record(i, error=float(20 + depth), seed=0, split="held-out")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toggled")
    (folder / "study.yaml").write_text(yaml.safe_dump({**STUDY, "populations": POPULATIONS}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("designspace.studies.train_study.train", errors_that_grow_with_depth)
        ds.Study.load(folder / "study.yaml").run(jobs=1, progress=False)
    return folder


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("anynet-silu", lambda body: body.activation == "silu"),
        ("anynet-b", lambda body: set(body.bottleneck_ratios) == {2.0}),
        ("anynet-d", lambda body: set(body.depths) == {2}),
        ("convnext-k", lambda body: set(dict(body.extras)["k"]) == {3.0}),
        ("regnet-silu", lambda body: body.activation == "silu"),
        ("regnet-se", lambda body: body.se_ratio == 0.25),
    ],
)
def test_networks_of_the_space_have_the_changed_setting(folder: Path, name, read):
    for models in (ds.load_run(folder / name), ds.sample(folder / name / "space.yaml", n=4)):
        assert all(read(model.body) for model in models)


def test_regnets_of_another_b_are_refined_as_anynets_of_a_named_space_only(folder, refused):
    words = ("refine", folder / "regnet-b", "--out", folder / "narrower.yaml")
    message = refused(*words)
    assert "was not sampled from a space (The models of regnet with b = 2.0.)" in message
    assert "such as --space AnyNetXA" in message
    refinement = ds.refine(folder / "regnet-b", space="AnyNetXA@8")
    assert refinement.parent.name == "AnyNetXA@8"
    with pytest.raises(ds.InputError, match="records its own"):
        ds.refine(folder / "regnet", space="AnyNetXA@8")


def test_a_study_that_refines_them_is_refused_at_load(tmp_path):
    entry = {"population": "regnet-b", "findings": "findings", "space": "narrower.yaml"}
    data = {**STUDY, "populations": POPULATIONS, "refinements": [entry]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ds.InputError, match=r"refinements\[0\].population: regnet-b .* no space"):
        ds.Study.load(tmp_path / "study.yaml")


def test_models_named_for_a_run_are_refined_in_a_named_space(tmp_path):
    models = list(ds.sample("AnyNetXA@8", n=3, flops="180K:220K"))
    run = ds.gather(models, out=tmp_path / "gathered")
    for i in range(3):
        run.record(i, error=20.0 + i)
    with pytest.raises(ds.InputError, match="was not sampled from a space"):
        ds.refine(run)
    assert ds.refine(run, space="AnyNetXA@8").space is None
    with pytest.raises(ds.InputError, match="ConvNeXt-like@8 is of convnext blocks, the models"):
        ds.refine(run, space="ConvNeXt-like@8")


@pytest.mark.parametrize(("family", "se_ratio"), [(None, 0.25), ("regnetx", 0), ("regnety", 0.25)])
@pytest.mark.parametrize("search", [None, 20])
def test_findings_of_networks_with_gates_derive_one_with_gates(folder, family, se_ratio, search):
    findings = ds.analyze(folder / "regnet-se")
    model = ds.derive(family, source=findings, flops="250K", search=search)
    assert model.body.se_ratio == se_ratio
    silu = ds.analyze(folder / "regnet-silu")
    assert ds.derive(source=silu, flops="250K", search=search).body.activation == "silu"
