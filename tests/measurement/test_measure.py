"""Measuring models: records, resumption, memory, and what is refused."""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

import designspace as ds
from designspace.cli.main import main
from designspace.errors import InputError
from designspace.measurement import measure_models
from designspace.measurement.peak_memory import count_live_bytes
from designspace.measurement.timing import Timing

CPU = {"device": "cpu", "threads": 1, "time_limit": 0.05, "progress": False}


@pytest.fixture
def run(tmp_path):
    return ds.sample("RegNetX@8", n=3, flops="180K:220K", out=tmp_path / "run")


@pytest.fixture
def planted(monkeypatch):
    """Replace timing by 1, 2, 3, … ms; the list has how many models were timed each time."""
    calls = []

    def time_interleaved(turns, time_limit):
        calls.append(len(turns))
        ms = [1e-3 * (i + 1) for i in range(len(turns))]
        return [Timing(t, 0.995 * t, 1.005 * t, 9, 3, 0.01) for t in ms]

    monkeypatch.setattr(measure_models, "time_interleaved", time_interleaved)
    monkeypatch.setattr(measure_models.MachineLoad, "share", lambda self: 0.0)
    return calls


def test_torch_does_not_warn_of_a_missing_gpu(monkeypatch, caplog, tmp_path):
    loaded = [name for name in sys.modules if name.startswith("torch.utils.benchmark")]
    for name in (*loaded, "torch.utils.cpp_extension"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    # Another test may have imported it: then the package would pass on its attribute.
    monkeypatch.delattr(torch.utils, "cpp_extension", raising=False)
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    assert measure_models._turn_of(lambda: None, 1)(0.001)
    assert "torch.utils.cpp_extension" in sys.modules
    assert "No CUDA runtime" not in caplog.text


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_models_of_every_kind_are_measured(mode, run, tmp_path):
    run[1].save(tmp_path / "own" / "model.yaml")
    mobile = ds.load_model("MobileNetV2").at(resolution=32)
    run.record(0, error=50.0)
    result = ds.measure(
        [mobile, tmp_path / "own" / "model.yaml", f"{run.path}:best", run],
        mode=mode,
        batch=2,
        **CPU,
    )
    assert len(result) == 6
    table = result.to_frame()
    assert (table["latency"] > 0).all()
    assert (table["low"] <= table["latency"]).all()
    assert (table["high"] >= table["latency"]).all()
    assert (table["memory"] > 4 * table["params"] * (3 if mode == "training" else 1)).all()
    assert table["images_per_second"].values == pytest.approx(2 / table["latency"].values)
    assert set(table["mode"]) == {mode}
    assert len(run.measurements()) == 3


def test_what_is_measured_is_not_measured_again(run, planted):
    ds.measure(run, limit=2, **CPU)
    ds.measure(run, **CPU)
    result = ds.measure(run, **CPU)
    assert planted == [2, 1]
    assert [record.id for record in result.records] == [run[i].body.id for i in range(3)]
    ds.measure(run, batch=4, **CPU)
    assert planted == [2, 1, 3]
    assert run.to_frame(batch=4)["latency"].tolist() == [0.001, 0.002, 0.003]
    assert run.to_frame(batch=1)["latency"].tolist() == [0.001, 0.002, 0.001]


def test_an_interrupted_measurement_keeps_what_it_measured(run, monkeypatch, planted):
    monkeypatch.setattr(measure_models, "GROUP", 2)
    whole = measure_models.time_interleaved

    def interrupted(turns, time_limit):
        if planted:
            raise KeyboardInterrupt
        return whole(turns, time_limit)

    monkeypatch.setattr(measure_models, "time_interleaved", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ds.measure(run, **CPU)
    assert len(run.measurements()) == 2


def test_models_outside_of_runs_are_kept_in_a_folder(tmp_path, planted):
    model = ds.load_model("RegNetX-200MF").at(resolution=32)
    for _ in range(2):
        result = ds.measure(model, out=tmp_path / "timed", batch="1,2", **CPU)
    assert planted == [1, 1]
    assert [record.setting.batch for record in result.records] == [1, 2]
    assert len((tmp_path / "timed" / "measurements.jsonl").read_text().splitlines()) == 2


def test_a_model_that_is_out_of_memory_fails_and_the_others_go_on(run, planted, monkeypatch):
    prepare = measure_models._prepare

    def small_machine(model, *args):
        if model.body.id == run[1].body.id:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prepare(model, *args)

    monkeypatch.setattr(measure_models, "_prepare", small_machine)
    result = ds.measure(run, **CPU)
    assert [record.failure for record in result.records] == ["", "out of memory", ""]
    assert any("out of memory" in text for text in result.warnings)
    assert np.isnan(run.to_frame()["latency"]).tolist() == [False, True, False]
    monkeypatch.setattr(measure_models, "_prepare", prepare)
    assert not any(record.failure for record in ds.measure(run, **CPU).records)


def test_one_image_can_not_be_trained_where_it_becomes_one_pixel():
    mobile = ds.load_model("MobileNetV2").at(resolution=32)
    with pytest.raises(InputError, match=r"batch is 1; MobileNetV2 .* use at least 2"):
        ds.measure(mobile, mode="training", **CPU)


def test_a_model_larger_than_the_machine_is_not_built(monkeypatch, planted):
    monkeypatch.setattr(measure_models, "_total_memory", lambda: 10_000_000)
    result = ds.measure(["RegNetX-200MF"], **CPU)
    assert result.records[0].failure == "out of memory"


def test_memory_is_that_of_the_tensors():
    """Two linear layers: weights, input and hidden layer, twice for the ReLU."""
    layers = [nn.Linear(100, 200, bias=False), nn.ReLU(), nn.Linear(200, 10, bias=False)]
    network = nn.Sequential(*layers).to("meta")
    images = torch.empty(50, 100, device="meta")
    weights, hidden = 100 * 200 + 200 * 10, 50 * 200
    assert count_live_bytes(network, images, False) == 4 * (weights + 50 * 100 + 2 * hidden)
    least = 4 * (3 * weights + 50 * 100 + hidden)  # weights, gradients, momentum
    assert least < count_live_bytes(network, images, True) < least + 4 * 2 * hidden


def test_memory_on_meta_is_that_on_the_cpu(run):
    network = run[0].build()
    images = torch.rand(4, 3, 8, 8)
    counted = count_live_bytes(network.to("meta"), images.to("meta"), True)
    assert counted == count_live_bytes(run[0].build(), images, True)


def test_the_state_of_the_process_is_restored(run, planted):
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    ds.measure(run, device="cpu", threads=1, progress=False)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_busy_machine_is_reported(run, planted, monkeypatch):
    monkeypatch.setattr(measure_models.MachineLoad, "share", lambda self: 0.4)
    result = ds.measure(run, **CPU)
    assert all(record.noisy for record in result.records)
    assert "other processes used up to 40 % of the machine" in result.warnings[0]


def test_a_noisy_measurement_is_repeated_once_a_call(run, planted, monkeypatch):
    """As the warning advises: a longer time limit may narrow the interval."""

    def timed(turns, time_limit):
        planted.append(len(turns))
        noise = 0.2 if time_limit < 1 else 0.01
        return [Timing(1e-3 * time_limit, 1e-4, 2e-3, 9, 3, noise) for _ in turns]

    narrow = measure_models.time_interleaved
    monkeypatch.setattr(measure_models, "time_interleaved", timed)
    assert all(record.noisy for record in ds.measure(run, limit=2, **CPU).records)
    monkeypatch.setattr(measure_models, "time_interleaved", narrow)
    records = ds.measure(run, **{**CPU, "time_limit": 2.0}).records
    assert [record.noisy for record in records] == [False] * 3
    assert [record.latency for record in records] == [0.001, 0.002, 0.003]
    assert run.to_frame()["latency"].tolist() == [0.001, 0.002, 0.003]
    ds.measure(run, **CPU)
    assert planted == [2, 3]


def test_on_a_gpu_each_step_is_timed_between_events(monkeypatch):
    """A clock in milliseconds that each step moves by 2."""
    now = [0.0]

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = now[0]

        def elapsed_time(self, end):
            return end.at - self.at

    def step():
        now[0] += 2.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    samples = measure_models._event_turn(step)(0.1)
    assert samples == [0.002] * 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "device is 'cuda'; torch finds no CUDA device"),
        ({"device": "gpu"}, "device is 'gpu'; it must be"),
        ({"precision": "bf16"}, "precision is 'bf16'"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"mode": "train"}, "mode is 'train'; did you mean training"),
        ({"batch": "1,x"}, "batch is '1,x'; give whole numbers"),
        ({"batch": 0}, "batch is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"time_limit": 0.0}, "time_limit is 0"),
        ({"out": "folder"}, "out is 'folder', but every model is part of a run"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="device and precision exist on a GPU")
def test_wrong_options_are_refused(run, options, message):
    with pytest.raises(InputError, match=message):
        ds.measure(run, **{**CPU, **options})


def test_a_limit_counts_models_of_runs(planted):
    with pytest.raises(InputError, match="limit is 1, which counts models of runs"):
        ds.measure(["RegNetX-200MF", "ResNet-50"], limit=1, **CPU)


def test_the_command_prints_a_table_or_json(run, planted, capsys):
    main_arguments = ["measure", str(run.path), "--device", "cpu", "--threads", "1"]
    for arguments in (main_arguments, [*main_arguments, "--json"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
    text = capsys.readouterr().out
    table, _, data = text.partition("[{")
    assert "1 thread, batch 1, fp32, inference, 8 pixels" in table
    assert "images/s" in table
    assert [row["latency"] for row in json.loads("[{" + data)] == [0.001, 0.002, 0.003]


def test_many_models_of_a_run_get_a_latency_model(tmp_path, monkeypatch):
    monkeypatch.setattr(measure_models, "_prepare", lambda *_: (None, None, ""))
    run = ds.sample("RegNetX@8", n=24, flops="100K:400K", out=tmp_path / "run")
    acts = iter(run.population().cost.acts.tolist())

    def time_interleaved(turns, time_limit):
        times = [1e-8 * next(acts) for _ in turns]
        return [Timing(t, 0.99 * t, 1.01 * t, 9, 3, 0.01) for t in times]

    monkeypatch.setattr(measure_models, "time_interleaved", time_interleaved)
    result = ds.measure(run, **CPU)
    model = result.latency_model()
    assert model.error < 0.01
    assert "acts alone" in result.lines()[-1]


def test_measuring_leaves_torch_as_it_was(run):
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        ds.measure(run[0], **CPU)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
