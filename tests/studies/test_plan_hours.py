"""The hours of a study's plan: of cores, of GPUs, or of both."""

from dataclasses import replace

import pytest

from designspace.arch import BodyBatch, Population, Skeleton, cost
from designspace.arch.body import Body
from designspace.runs import Run, Trial, TrialState
from designspace.studies.plan import PopulationPlan, StudyPlan, _measure

SKELETON = Skeleton(resolution=8, classes=10, stem_width=8, stem_stride=1, strides=(1, 2))


def plan(*gpus):
    """Populations of three models, of which one is trained in an hour."""
    return StudyPlan(
        tuple(
            PopulationPlan(
                name=f"p{i}",
                models=3,
                trained=1,
                seconds=None if gpu is None else 3600.0,
                errors={},
                budget={},
                gpu=gpu,
            )
            for i, gpu in enumerate(gpus)
        ),
        (),
    )


@pytest.mark.parametrize(
    ("gpus", "unit"),
    [
        pytest.param((False, None), "core-hours", id="cpu"),
        pytest.param((None, None), "core-hours", id="nothing"),
        pytest.param((True, None, True), "GPU-hours", id="gpu"),
        pytest.param((True, False), "hours", id="both"),
    ],
)
def test_the_plan_says_of_which_devices_its_hours_are(gpus, unit):
    assert plan(*gpus).to_dict()["unit"] == unit
    assert f"  {unit + ' left':>15}  budget" in plan(*gpus).text().splitlines()[0]


@pytest.mark.parametrize(
    ("versions", "gpu"),
    [
        pytest.param({"device": "cpu (AMD EPYC)"}, False, id="cpu"),
        pytest.param({"device": "NVIDIA H200"}, True, id="cuda"),
        pytest.param({"device": "mps (Apple M3)"}, True, id="mps"),
        pytest.param({}, False, id="a training loop of one's own"),
    ],
)
def test_the_device_is_that_of_the_trials(tmp_path, versions, gpu):
    bodies = BodyBatch.from_bodies([Body((1, 1), (8, 8), (1.0, 1.0), (8, 8))])
    population = Population(SKELETON, bodies, cost(bodies, SKELETON))
    sample = {"n": 1, "budget": [], "seed": 0, "hash": "one"}
    space = {"name": "one", "family": "anynet", "input": SKELETON.to_dict(), "sample": sample}
    run = Run.create(tmp_path / "run", space, population)
    assert _measure(run.path, None)[-1] is None
    trial = Trial(population.ids[0], 0, TrialState.COMPLETE, 10.0, (20.0, 10.0), 1800.0, 0)
    run.append_trials([replace(trial, versions=versions)])
    assert _measure(run.path, None)[-1] is gpu
