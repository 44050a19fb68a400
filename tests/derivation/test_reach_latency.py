"""A model of a target latency: candidates are derived and measured until one takes that long."""

import contextlib
from dataclasses import replace

import pytest

import designspace as ds
from designspace.derivation.derive_model import derive_model
from designspace.derivation.reach_latency import TOLERANCE, reach_latency
from designspace.errors import InputError
from designspace.runs.measurements import MeasuredSetting, Measurement

HERE = MeasuredSetting("cpu (here)", 1, 1, "fp32", "inference", False, 224, "2.6")


def timed(seconds):
    """A machine on which a model takes `seconds(model)`, and the sizes that it measured."""
    measured = []

    def measure(derivation):
        model = derivation.model
        time = seconds(model)
        measured.append(model.flops)
        body = (model.body.id, model.name, model.flops, model.params, model.acts)
        return Measurement(*body, sum(model.body.depths), HERE, time, time * 0.99, time * 1.01)

    return measure, measured


def to(flops):
    return derive_model("regnetx", flops=flops)


@pytest.mark.parametrize("target", [0.014, 0.05])
def test_a_few_measurements_reach_the_target(target):
    """Time follows activations and an overhead, as on real machines, not flops."""
    measure, sizes = timed(lambda model: 0.001 + 5e-9 * model.acts + 1e-12 * model.flops)
    result = reach_latency(to(4e8), to, measure, target)
    model = result.model
    reached = 0.001 + 5e-9 * model.acts + 1e-12 * model.flops
    assert reached == pytest.approx(target, rel=TOLERANCE)
    assert len(sizes) <= 7
    assert "95 % interval" in result.steps[-1]
    assert "cpu (here), 1 thread, batch 1" in result.steps[-2]


def test_a_latency_that_nothing_reaches_names_the_nearest():
    measure, sizes = timed(lambda model: 0.010)
    with pytest.raises(InputError, match="none is within 5%; the nearest takes 10ms") as error:
        reach_latency(to(4e8), to, measure, 0.001)
    assert error.value.argument == "latency"
    assert len(sizes) <= 10


def test_a_latency_below_the_reach_of_the_rule_names_no_flops_to_pass():
    small = ds.load_model("RegNetX-200MF").at(resolution=32, classes=10)

    def derive(flops):
        return derive_model(source=small, flops=flops)

    measure, _ = timed(lambda model: 0.07 + 1e-9 * model.flops)
    with pytest.raises(InputError, match="is out of reach of RegNetX-200MF by rule") as error:
        reach_latency(derive(4e6), derive, measure, 0.004)
    assert str(error.value).startswith("latency is 4ms; of ")
    assert "flops=" not in str(error.value)


def test_a_busy_machine_is_a_warning():
    measure, _ = timed(lambda model: 0.01)
    result = reach_latency(to(4e8), to, lambda d: replace(measure(d), noisy=True), 0.01)
    assert "busy" in result.warnings[-1]


@pytest.mark.slow
def test_it_is_measured_on_this_machine():
    options = {"on": "cpu", "threads": 1, "time_limit": 0.1}
    small = ds.load_model("RegNetX-200MF").at(resolution=32)
    long = ds.measure(small, device="cpu", threads=1, time_limit=0.1, progress=False)
    seconds = long.records[0].latency
    # A machine that is too busy to tell may reach no candidate twice alike.
    with contextlib.suppress(InputError):
        model = ds.derive(source=small, latency=seconds * 1.5, **options)
        assert any("95 % interval" in step for step in model.derivation.steps)
    with pytest.raises(InputError, match="the nearest takes"):
        ds.derive(source=small, latency="1us", **options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--latency", "10ms", "--flops", "1G"), "--flops is '1G' beside a latency"),
        (("--latency", "10"), "latency is '10'"),
        (("--latency", "10ms", "--on", "tpu"), "tpu"),
        (("--latency", "10ms", "--mode", "foo"), "--mode is 'foo'"),
        (("--latency", "10ms", "--precision", "fp99"), "--precision is 'fp99'"),
        (("--latency", "10ms", "--time-limit", "0"), "--time-limit is 0"),
        (("--flops", "1G", "--batch", "2"), "--batch is 2, which has no effect"),
    ],
)
def test_wrong_targets_are_explained(refused, tmp_path, words, message):
    family = ("derive", "--family", "regnetx", "--out", tmp_path / "m.yaml")
    assert message in refused(*family, *words)
