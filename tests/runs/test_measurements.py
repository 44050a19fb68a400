"""The journal of measurements: records, settings that never mix, and columns of the table."""

from dataclasses import replace

import pytest

import designspace as ds
from designspace.errors import InputError
from designspace.runs.measurements import MeasuredSetting, Measurement, read_measurements

CPU = MeasuredSetting("cpu (EPYC)", 1, 1, "fp32", "inference", False, 8, "2.14")
GPU = replace(CPU, device="NVIDIA H200", precision="tf32")


@pytest.fixture
def run(tmp_path):
    return ds.sample("RegNetX@8", n=3, flops="180K:220K", out=tmp_path / "run")


def measured(run, index, latency=0.002, setting=CPU, **more):
    model = run[index]
    body = (model.body.id, model.name, model.flops, model.params, model.acts)
    depth = sum(model.body.depths)
    low, high = (None, None) if latency is None else (latency * 0.99, latency * 1.01)
    return Measurement(*body, depth, setting, latency, low, high, n=9, rounds=3, **more)


def test_a_measurement_comes_back_as_it_was(run):
    written = measured(run, 1, memory=1000, memory_method="tensors", versions={"torch": "2.14"})
    failed = measured(run, 2, None, failure="out of memory")
    run.append_measurements([written, failed])
    assert run.measurements() == (written, failed)
    assert written.images_per_second == 500
    line = run.measurements_file.read_text().splitlines()[0]
    assert all(f'"{key}": ' in line for key in ("device", "threads", "latency", "crc32"))


def test_the_last_measurement_of_a_model_and_setting_counts(run):
    run.append_measurements([measured(run, 0, 0.1), measured(run, 1, 0.2), measured(run, 0, 0.3)])
    assert sorted(m.latency for m in run.measurements()) == [0.2, 0.3]


def test_a_torn_last_line_is_ignored_and_a_damaged_one_named(run):
    run.append_measurements([measured(run, 0), measured(run, 1)])
    whole = run.measurements_file.read_bytes()
    run.measurements_file.write_bytes(whole[:-30])
    assert len(run.measurements()) == 1
    run.measurements_file.write_bytes(whole.replace(b"0.002", b"0.001", 1))
    with pytest.raises(InputError, match=r"measurements.jsonl, line 1: its checksum"):
        run.measurements()


@pytest.mark.parametrize("change", [{"latency": -1.0}, {"latency": None}, {"threads": "two"}])
def test_a_record_with_a_wrong_value_is_refused(run, change):
    record = {**measured(run, 0).to_record(), **change}
    with pytest.raises(InputError, match="record 1"):
        Measurement.from_record(record, "record 1")


def test_measurements_of_one_setting_join_the_table(run):
    assert "latency" not in run.to_frame()
    run.append_measurements([measured(run, 2, memory=500), measured(run, 0, None, failure="full")])
    table = run.to_frame()
    assert table.loc[2, ["latency", "latency_low", "latency_high", "memory"]].tolist() == [
        *(0.002, 0.00198, 0.00202, 500)
    ]
    assert table["latency"].isna().tolist() == [True, True, False]


def test_settings_never_mix(run):
    run.append_measurements([measured(run, 0, 0.1), measured(run, 1, 0.2, GPU)])
    assert "latency" not in run.to_frame()
    with pytest.raises(InputError, match=r"2 settings match .*cpu \(EPYC\), 1 thread.*NVIDIA H200"):
        run.measured()
    assert run.to_frame(device="cpu")["latency"].dropna().tolist() == [0.1]
    assert run.to_frame(device="cuda")["latency"].dropna().tolist() == [0.2]
    assert list(run.measured(precision="tf32")) == [run[1].body.id]
    with pytest.raises(InputError, match=r"no setting matches the choice \(batch=64\)"):
        run.measured(batch=64)
    with pytest.raises(InputError, match="speed is not part of a setting"):
        run.measured(speed=1)


def test_a_run_without_measurements_says_so(run):
    with pytest.raises(InputError, match="no model has been measured"):
        run.measured(device="cpu")


def test_merge_and_gather_keep_measurements(run, tmp_path):
    other = ds.sample("RegNetX@8", n=3, flops="180K:220K", out=tmp_path / "other")
    run.append_measurements([measured(run, 0, 0.1)])
    other.append_measurements([measured(run, 0, 0.4), measured(run, 1, 0.2, GPU)])
    for _ in range(2):
        ds.merge([run, other], tmp_path / "whole")
    whole = ds.load_run(tmp_path / "whole")
    assert sorted(m.latency for m in whole.measurements()) == [0.1, 0.2]
    assert len(whole.measurements_file.read_text().splitlines()) == 2
    for _ in range(2):
        gathered = ds.gather([f"{other.path}:2", f"{other.path}:1"], tmp_path / "gathered")
    assert [m.latency for m in gathered.measurements()] == [0.2]
    assert len(gathered.measurements_file.read_text().splitlines()) == 1


def test_networks_that_differ_in_their_stem_alone_are_measured_apart(tmp_path):
    model = ds.load_model("RegNetX-200MF").at(resolution=32)
    skeleton = replace(model.skeleton, stem_stride=1)
    pair = [model, replace(model, skeleton=skeleton)]
    assert len({(m.body.id, m.params) for m in pair}) == 1
    for _ in range(2):
        rows = ds.measure(pair, device="cpu", out=tmp_path / "measured", time_limit=0.5)
        assert rows.to_frame()["flops"].tolist() == [m.flops for m in pair]
    (journal,) = (tmp_path / "measured").glob("*.jsonl")
    assert len(read_measurements(journal)) == 2  # noisy ones were measured again
