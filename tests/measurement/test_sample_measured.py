"""Sampling within budgets of latency and memory, where time is a planted function of costs."""

from dataclasses import replace

import numpy as np
import pytest

import designspace as ds
from designspace.cli.main import main
from designspace.errors import InputError
from designspace.measurement import measure_models
from designspace.space import Budget

ON = {"on": "cpu", "threads": 1, "progress": False}


@pytest.fixture
def machine(monkeypatch):
    """A machine whose latency is 1 ms and 20 ns an activation, within 4 %; a list of its work."""
    measured = []

    def measure_group(models, options, target, autocast):
        records = []
        for model in models:
            measured.append(model.body.id)
            wobble = 1 + 0.04 * np.sin(int(model.body.id, 16) % 1000)
            latency = float((1e-3 + 2e-8 * model.acts) * wobble)
            record = measure_models._record(model, options, target)
            times = {"latency": latency, "low": 0.99 * latency, "high": 1.01 * latency}
            if options.memory:
                times |= {"memory": 4 * model.params + 1000, "memory_method": "planted"}
            records.append(replace(record, **times))
        return records

    monkeypatch.setattr(measure_models, "_measure_group", measure_group)
    return measured


def test_every_model_was_measured_within_the_budget(machine, tmp_path):
    run = ds.sample("RegNetX@32", n=20, latency="3ms±10%", out=tmp_path / "fast", **ON)
    table = run.to_frame()
    assert len(table) == 20
    assert table["latency"].between(0.0027, 0.0033).all()
    sampled = run.space()["sample"]
    assert sampled["refused"]["measured latency"] > 0
    assert sampled["measured"]["setting"]["threads"] == 1
    assert sampled["measured"]["models"]["latency"]["error"] < 0.1
    assert len(run.measurements()) == len(set(machine))


def test_it_is_a_subset_of_the_population_without_that_budget(machine):
    fast = ds.sample("RegNetX@32", n=10, flops="1M:20M", latency="2ms:4ms", **ON)
    whole = ds.sample("RegNetX@32", n=2000, flops="1M:20M")
    positions = [whole.ids.index(id_) for id_ in fast.ids]
    assert positions == sorted(positions)
    assert fast.cost.flops.max() <= 20_000_000


def test_measuring_leaves_other_populations_as_they_were(machine):
    before = ds.sample("RegNetX@32", n=5, flops="1M:20M")
    ds.sample("RegNetX@32", n=5, flops="1M:20M", latency="2ms:4ms", **ON)
    after = ds.sample("RegNetX@32", n=5, flops="1M:20M")
    assert before.ids == after.ids
    assert before.record() == after.record()
    assert "measured" not in before.record()


def test_a_folder_grows_without_measuring_again(machine, tmp_path):
    run = ds.sample("RegNetX@32", n=5, latency="3ms±10%", out=tmp_path / "fast", **ON)
    ids, count = run.population().ids, len(machine)
    run = ds.sample("RegNetX@32", n=5, latency="3ms±10%", out=tmp_path / "fast", **ON)
    assert len(machine) == count
    run = ds.sample("RegNetX@32", n=9, latency="3ms±10%", out=tmp_path / "fast", **ON)
    assert run.population().ids[:5] == ids
    assert len(set(machine)) == len(machine) > count
    with pytest.raises(InputError, match=r"already holds 9 models of this .*sample at least as"):
        ds.sample("RegNetX@32", n=5, latency="3ms±10%", out=tmp_path / "fast", **ON)
    with pytest.raises(InputError, match="holds another population"):
        ds.sample("RegNetX@32", n=9, latency="4ms±10%", out=tmp_path / "fast", **ON)


def test_a_folder_grows_by_the_times_that_it_has_even_noisy_ones(machine, monkeypatch, tmp_path):
    steady = measure_models._measure_group

    def noisy(*arguments):
        return [replace(record, noisy=True) for record in steady(*arguments)]

    monkeypatch.setattr(measure_models, "_measure_group", noisy)
    run = ds.sample("RegNetX@32", n=5, latency="3ms±10%", out=tmp_path / "fast", **ON)
    ids = run.population().ids
    run = ds.sample("RegNetX@32", n=9, latency="3ms±10%", out=tmp_path / "fast", **ON)
    assert run.population().ids[:5] == ids
    assert len(set(machine)) == len(machine)


def test_a_population_in_memory_saves_its_measurements(machine, tmp_path):
    population = ds.sample("RegNetX@32", n=4, latency="3ms±10%", **ON)
    run = population.save(tmp_path / "fast")
    assert run.to_frame()["latency"].between(0.0027, 0.0033).all()


def test_a_budget_of_memory(machine):
    population = ds.sample(
        "RegNetX@32", n=5, memory="1MB:1.2MB", latency="1ms:1s", flops="1M:20M", **ON
    )
    bytes_ = 4 * population.cost.params + 1000
    assert ((bytes_ >= 1e6) & (bytes_ <= 1.2e6)).all()


def test_memory_is_measured_where_only_latency_was(machine, tmp_path):
    run = ds.sample("RegNetX@32", n=4, latency="3ms±10%", out=tmp_path / "fast", **ON)
    assert run.to_frame()["memory"].isna().all()
    ds.measure(run, device="cpu", threads=1, progress=False)
    assert run.to_frame()["memory"].notna().all()


def test_a_latency_that_nothing_reaches_names_the_nearest(machine):
    with pytest.raises(InputError, match=r"only 0 of 5 models .*nearest measured: latency 1[.]"):
        ds.sample("RegNetX@8", n=5, flops="100K:1M", latency="1us:2us", **ON)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("3ms±10%", 0.0027, 0.0033),
        ("500us:2ms", 0.0005, 0.002),
        ("0:1.5s", 0, 1.5),
        ("3 ms +-50%", 0.0015, 0.0045),
    ],
)
def test_units_of_latency(text, low, high):
    budget = Budget.parse("latency", text)
    assert (budget.low, budget.high) == pytest.approx((low, high))


def test_units_of_memory():
    budget = Budget.parse("memory", "100MB:1.5GB")
    assert (budget.low, budget.high) == (1e8, 1.5e9)
    assert str(budget) == "memory 100MB:1.5GB"
    assert str(Budget.parse("latency", "500us:3ms")) == "latency 500us:3ms"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latency": "3"}, "latency is '3'; it must be a range, low:high such as 2ms:3ms"),
        ({"latency": "3±10%"}, "'3' is not a positive number with a unit"),
        ({"latency": "3ms:2ms"}, "the low end must not be above"),
        ({"memory": "3ms±10%"}, r"\(KB, MB, GB\)"),
        ({"latency": "3ms±10%", "on": "tpu"}, "device is 'tpu'"),
        ({"latency": "3ms±10%", "batch": 0}, "batch is 0"),
    ],
)
def test_wrong_budgets_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ds.sample("RegNetX@32", n=2, **{**ON, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": "nodevice"}, "on is 'nodevice'"),
        ({"threads": -3}, "threads is -3"),
        ({"batch": 0}, "batch is 0"),
        ({"mode": "training"}, "mode is 'training'"),
        ({"precision": "x"}, "precision is 'x'"),
        ({"time_limit": -1}, "time_limit is -1"),
    ],
)
def test_options_of_measuring_are_refused_where_nothing_is_measured(options, message, tmp_path):
    idle = f"^{message}, which has no effect without latency"
    with pytest.raises(InputError, match=idle) as error:
        ds.sample("RegNetX@8", n=2, flops="180K:220K", out=tmp_path / "a", **options)
    assert error.value.argument == next(iter(options))
    with pytest.raises(InputError, match=idle):
        ds.derive("regnetx", flops="400M", **options)
    assert not (tmp_path / "a").exists()


def test_the_command_samples_by_latency(machine, tmp_path, capsys):
    arguments = ["-n", "4", "--latency", "3ms±10%", "--on", "cpu", "--threads", "1"]
    with pytest.raises(SystemExit) as end:
        main(["sample", "RegNetX@32", *arguments, "--out", str(tmp_path / "fast")])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "by predicted latency" in text
    assert "acts alone" in text
    assert "4 models in" in text


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"space": "RegNetY@32"}, {"flops": "1M:20M"}, {"latency": "2ms:3ms"}]
)
def test_another_population_is_refused_before_anything_is_measured(machine, tmp_path, changed):
    options = {"space": "RegNetX@32", "latency": "3ms±10%", **ON}
    ds.sample(n=4, out=tmp_path / "fast", **options)
    before = len(machine)
    with pytest.raises(InputError, match="holds another population"):
        ds.sample(n=4, out=tmp_path / "fast", **{**options, **changed})
    assert len(machine) == before


@pytest.mark.parametrize(
    ("latency", "words"),
    [(0.003, "such as '2ms:3ms'"), ((0.003, 0.002), "the first number must not be above")],
)
def test_a_latency_in_seconds_is_a_pair(latency, words):
    with pytest.raises(InputError, match=words):
        ds.sample("RegNetX@32", n=2, latency=latency)
