"""The evidence on latency: planted times give the correlations and ratios that they imply."""

from dataclasses import replace

import numpy as np
import pytest
from latency_evidence import PAIRS, PUBLISHED_MS, correlate, lead_of_acts, page, speedups

import designspace as ds
from designspace.arch.catalog import published
from designspace.runs.measurements import MeasuredSetting, Measurement

SETTING = MeasuredSetting("cpu (x)", 2, 4, "fp32", "inference", False, 224, "2.14")


def record(name, costs, latency):
    return Measurement(name, name, *costs, SETTING, latency, 0.99 * latency, 1.01 * latency)


def test_time_that_follows_activations_correlates_with_them():
    rng = np.random.default_rng(0)
    costs = [tuple(rng.integers(100, 1000, 4).tolist()) for _ in range(100)]
    records = [record(f"m{i}", c, 1e-5 * c[2]) for i, c in enumerate(costs)]
    rows = {row.cost: row for row in correlate("A", "inference", records)}
    assert rows["acts"].r == pytest.approx(1)
    assert rows["flops"].low < rows["flops"].r < rows["flops"].high
    assert abs(rows["flops"].r) < 0.3
    assert rows["acts"].n == 100
    lead = lead_of_acts("A", "inference", records)
    assert lead.r == pytest.approx(rows["acts"].r - rows["flops"].r)
    assert 0.5 < lead.low < lead.r < lead.high


def test_the_published_times_give_the_ratios_of_the_paper():
    """EfficientNet-B5 takes 504 ms and RegNetY-8.0GF 113 (DDS table 4): 4.5 times, "up to 5"."""
    records = [
        record(name, (model.flops, model.params, model.acts, 1), PUBLISHED_MS[name] / 1000)
        for name in PUBLISHED_MS
        for model in [published(name)]
    ]
    rows = speedups(records)
    assert [(row.regnet, row.efficientnet) for row in rows] == PAIRS
    assert all(row.here == pytest.approx(row.paper) for row in rows)
    assert rows[-1].paper == pytest.approx(4.46, abs=0.01)
    assert all(row.low < row.here < row.high for row in rows)
    text = page([], [], {}, records, rows, {"device": "x"}, [])
    assert "| RegNetY-8.0GF over EfficientNet-B5 | 4.46 | 4.37 to 4.55 | 4.46 |" in text
    assert "faster beyond the interval in 6 of 6 pairs. No interval excludes" in text
    slower = [replace(row, here=0.9, low=0.8, high=1.1) for row in rows]
    text = page([], [], {}, records, slower, {"device": "x"}, [])
    assert "in 0 of 6 pairs. The advantage is smaller than the paper's for RegNetY-400MF" in text
    assert text.count("| no |") == len(records)


def test_every_published_network_is_one_that_is_built_here():
    assert {ds.load_model(name).name for name in PUBLISHED_MS} == set(PUBLISHED_MS)
