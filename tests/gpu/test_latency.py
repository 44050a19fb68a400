"""Latencies on one GPU, in about three minutes; what is measured goes to results/latency/gpu."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import designspace as ds
from designspace.measurement import measure_models

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device; `make gpu` needs one GPU"
)
ROOT = Path(__file__).parents[2]
ON = {"device": "cuda", "progress": False, "time_limit": 1.0}


def test_events_agree_with_a_clock_that_waits():
    """Multiplications of some 10 ms: the events and the host's clock agree within 10 percent."""
    matrix = torch.rand(8192, 8192, device="cuda")

    def step():
        return matrix @ matrix

    turn = measure_models._event_turn(step)
    turn(0.5)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(20):
        step()
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / 20
    assert statistics.median(turn(0.5)) == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_models_are_measured_in_every_precision(mode, precision):
    model = ds.load_model("RegNetY-400MF")
    [record] = ds.measure(model, batch=64, mode=mode, precision=precision, **ON).records
    assert record.latency > 0
    assert record.memory > 4 * record.params * (3 if mode == "training" else 1)


def test_a_batch_that_does_not_fit_fails_and_smaller_ones_go_on():
    result = ds.measure("RegNetY-16GF", batch=[1, 100_000], mode="inference", **ON)
    assert [record.failure for record in result.records] == ["", "out of memory"]


def test_evidence(record):
    out = ROOT / "results" / "latency" / "gpu"
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "latency_evidence.py")]
    command += ["--device", "cuda", "--models", "30", "--batch", "256", "--published-batch", "64"]
    subprocess.run([*command, "--out", str(out)], check=True)
    evidence = json.loads((out / "evidence.json").read_text(encoding="utf-8"))
    for row in evidence["correlations"]:
        record("correlation of time with a cost", **row)
    for row in evidence["speedups"]:
        record("RegNet against EfficientNet", **row)
