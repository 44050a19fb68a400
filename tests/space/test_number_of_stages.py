"""Spaces whose networks differ in their number of stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import designspace as ds
from designspace.arch import BodyBatch, cost
from designspace.arch.regnet import RegNetParams
from designspace.networks.count_cost import measure
from designspace.space import Budget, sample

NAME = "AnyNetXE-stages@8"
REGNETS = {
    "name": "several",
    "parent": "RegNetX@8",
    "reason": "RegNets of two to five stages.",
    "stages": [2, 3, 4, 5],
    "input": {"strides": [1, 2, 2, 2, 2]},
}


def plain_sample(space: ds.Space, n: int) -> ds.Population:
    return ds.sample(space, n=n, flops="150K:300K", seed=1)


def test_networks_have_the_number_of_stages_that_they_draw() -> None:
    bodies = plain_sample(ds.load_space(NAME), 64).bodies
    assert set(bodies.stage_counts.tolist()) == {3, 4, 5}
    for i, count in enumerate(bodies.stage_counts):
        body = bodies.body(i)
        assert body.num_stages == count
        assert list(body.widths) == sorted(body.widths)
        assert list(body.depths) == sorted(body.depths)
    again = BodyBatch.from_bodies([bodies.body(i) for i in range(len(bodies))])
    for one, other in ((again.depths, bodies.depths), (again.widths, bodies.widths)):
        np.testing.assert_array_equal(one, other)


def test_networks_of_one_number_follow_the_distribution_of_its_own_space() -> None:
    """Given three stages, first depths are those of the space of three stages: not smaller ones."""
    several = ds.load_space(NAME)
    three = several.narrow(name="three", reason="A control.", stages=[3])
    assert three.skeleton.num_stages == 3
    mixed, own = (sample(s, 3000, seed=0).population.bodies for s in (several, three))
    first = mixed.depths[mixed.stage_counts == 3][:, 0]
    share, expected = (np.mean(first == 1), np.mean(own.depths[:, 0] == 1))
    # Two binomial proportions of about 1000 and 3000 models: 4 standard errors.
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) * (1 / 900 + 1 / 3000))


@pytest.mark.parametrize("source", [NAME, REGNETS, "ConvNeXt-like@8"])
def test_cost_is_that_of_the_built_networks(source: str | Mapping[str, Any]) -> None:
    space = ds.load_space(source)
    if source == "ConvNeXt-like@8":
        strides = [*space.skeleton.strides, 2]
        space = space.narrow(
            name="c", reason="Stages.", stages=[2, 4, 5], input={"strides": strides}
        )
    population = sample(space, 24, (Budget.parse("flops", "50K:2M"),), seed=2).population
    counts = population.bodies.stage_counts.tolist()
    assert len(set(counts)) > 1
    for i in {counts.index(count): None for count in counts}:
        model = population.model(i)
        built = measure(ds.Model.of(model).build(), 8, 3, "cpu")
        counted = [int(getattr(population.cost, name)[i]) for name in ("flops", "params", "acts")]
        assert [built.flops, built.params, built.acts] == counted
        assert [model.flops, model.params, model.acts] == counted


def test_regnets_have_the_number_that_follows_from_their_widths() -> None:
    space = ds.load_space(REGNETS)
    assert "stages" not in space.axes
    population = sample(space, 64, seed=0).population
    assert population.regnets is not None
    for i in range(len(population)):
        regnet = population.regnets.regnet(i)
        assert regnet.body() == population.bodies.body(i)
        assert 2 <= regnet.body().num_stages <= 5
    assert len(set(population.bodies.stage_counts.tolist())) > 2
    bodies, fits = population.regnets.bodies(4, np.zeros(64))
    np.testing.assert_array_equal(fits, population.bodies.stage_counts == 4)
    assert cost(bodies, space.skeleton.with_stages(4)).flops.tolist() == (
        population.cost.flops[fits].tolist()
    )
    assert RegNetParams(d=1, w_0=8, w_a=0.0, w_m=2.0).body().num_stages == 1


def test_analysis_and_refine_treat_it_as_a_parameter(tmp_path: Path) -> None:
    """Errors that depend on the number of stages alone: four is the best, and refine says so."""
    run = plain_sample(ds.load_space(NAME), 60).save(tmp_path / "run")
    rng = np.random.default_rng(0)
    for i in range(len(run)):
        stages = run.population().bodies.stage_counts[i]
        run.record(i, error=float(40 + 5 * abs(stages - 4) + rng.normal()))
    frame = run.to_frame()
    assert set(frame["stages"]) == {3, 4, 5}
    assert frame["d4"].isna().sum() == (frame["stages"] == 3).sum()
    findings = ds.analyze([run])
    findings.save(tmp_path / "findings")
    assert findings.populations[0].trends[0].name == "stages"
    shared = {one.name: one.shared for one in findings.populations[0].constraints}
    assert shared["4 stages"]
    assert "w5 ≥ w4" not in shared
    table = (tmp_path / "findings" / "index.html").read_text()
    assert "stages" in table
    refined = ds.refine(findings, run)
    assert refined.space is not None
    assert refined.space.stage_counts == (4,)
    assert len(refined.space.skeleton.strides) == 4
    assert len(ds.sample(refined.space, n=4, flops="150K:300K").bodies.depths[0]) == 4
    derived = ds.derive("regnetx", flops="400K", source=tmp_path / "findings")
    assert derived.body.num_stages in (3, 4, 5)


@pytest.mark.slow
def test_training_pretraining_and_export(tmp_path: Path) -> None:
    run = plain_sample(ds.load_space(NAME), 6).save(tmp_path / "run")
    run.train(data="digits", recipe="quick", epochs=1, progress=False)
    assert all(np.isfinite(run.to_frame()["error"]))
    counts = run.population().bodies.stage_counts.tolist()
    for i in {counts.index(count): None for count in counts}:
        run.model(i).export("onnx", tmp_path / f"export-{i}")
        run.model(i).export("torchvision", tmp_path / f"export-{i}-torchvision")


def test_gathered_models_may_differ_in_stages(tmp_path: Path) -> None:
    population = plain_sample(ds.load_space(NAME), 12)
    counts = population.bodies.stage_counts.tolist()
    models = [population[counts.index(count)] for count in sorted(set(counts))]
    run = ds.gather(models, tmp_path / "run")
    assert run.population().bodies.stage_counts.tolist() == sorted(set(counts))
    assert [run.model(i).flops for i in range(len(models))] == [m.flops for m in models]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([3, 6], "stages: up to 6, but input.strides has 5"),
        ([], "stages: give one or several different numbers"),
        ([4, 4], "stages: give one or several different numbers"),
        ([0, 4], "stages"),
    ],
)
def test_mistakes_are_named(stages: list[int], message: str) -> None:
    with pytest.raises(ds.InputError, match=message):
        ds.load_space(NAME).narrow(name="n", reason="r", stages=stages)
