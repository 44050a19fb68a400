"""Distributions by what they promise; the exact monotone sampler against plain enumeration."""

import itertools

import numpy as np
import pytest

from designspace.space.axis import Axis, choice, log_uniform, monotone_count, uniform


def test_log_uniform_has_a_log_linear_distribution_function():
    axis = log_uniform(8, 1024, 8)
    assert axis.values.tolist() == list(range(8, 1025, 8))
    # pycls: the continuous variable starts at low - min(step, low / 2) = 4.
    expected = np.log(axis.values / 4) / np.log(1024 / 4)
    np.testing.assert_allclose(np.cumsum(axis.probabilities), expected, atol=1e-12)


def test_steps_give_clean_decimals():
    values = log_uniform(1.5, 3, 0.001).values
    assert len(values) == 1501
    assert values[740] == 2.24


def test_uniform_draws_every_value_equally():
    axis = uniform(4, 63, 1)
    drawn = axis.draw(np.random.default_rng(0).random(60_000))
    counts = np.bincount(drawn.astype(int), minlength=64)[4:]
    assert counts.min() > 800
    assert counts.max() < 1200


@pytest.mark.parametrize("decreasing", [False, True])
def test_monotone_draws_are_the_distribution_conditioned_on_order(decreasing):
    axis = log_uniform(1, 5, 1)
    exact = {}
    for sequence in itertools.product(range(5), repeat=3):
        ordered = sequence[::-1] if decreasing else sequence
        if list(ordered) == sorted(ordered):
            exact[tuple(axis.values[list(sequence)])] = np.prod(axis.probabilities[list(sequence)])
    total = sum(exact.values())
    n = 200_000
    drawn = axis.draw_monotone(np.random.default_rng(1).random((n, 3)), decreasing)
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(exact) == monotone_count(5, 3) == len(found)
    for sequence, count in zip(map(tuple, found.tolist()), counts, strict=True):
        share = exact[sequence] / total
        assert abs(count / n - share) < 5 * np.sqrt(share * (1 - share) / n)


def test_draws_stay_in_range_at_the_ends_of_the_unit_interval():
    axis = choice([1, 2, 4])
    ends = np.array([[0.0, 0.0], [np.nextafter(1, 0), np.nextafter(1, 0)]])
    assert axis.draw(ends).tolist() == [[1, 1], [4, 4]]
    assert axis.draw_monotone(ends).tolist() == [[1, 1], [4, 4]]


@pytest.mark.parametrize(
    "axis",
    [
        log_uniform(8, 1024, 8),
        log_uniform(1, 16, 1),
        choice([1, 2, 4]),
        choice([7]),
        uniform(1.5, 3, 0.001),
        uniform(1, 50_000, 1),  # more values than the guide table has parts
        Axis(np.arange(3.0), np.array([0.0, 1e-9, 1 - 1e-9])),
    ],
    ids=lambda axis: f"{len(axis)} values",
)
def test_drawing_by_the_guide_table_is_bisection(axis):
    cumulated = np.cumsum(axis.probabilities)
    edges = np.concatenate([cumulated[:-1], np.arange(4096) / 4096])
    near = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 1), [1 - 2**-53]])
    uniforms = np.concatenate(
        [near[(near >= 0) & (near < 1)], np.random.default_rng(0).random(99_999)]
    )
    index = np.searchsorted(cumulated, uniforms, side="right").clip(max=len(axis) - 1)
    assert np.array_equal(axis.draw(uniforms), axis.values[index])


@pytest.mark.parametrize("decreasing", [False, True])
def test_strictly_monotone_draws_are_the_parent_distribution_conditioned(decreasing):
    axis = log_uniform(1, 6, 1)
    uniforms = np.random.default_rng(0).random((60_000, 3))
    drawn = axis.draw_monotone(uniforms, decreasing, strict=True)
    steps = np.diff(drawn, axis=1)
    assert ((steps < 0) if decreasing else (steps > 0)).all()
    # The obvious twin: draw freely, keep what is strictly monotone.
    free = axis.draw(np.random.default_rng(1).random((400_000, 3)))
    kept = free[(np.diff(free, axis=1) > 0).all(axis=1)]
    expected = kept[:, ::-1] if decreasing else kept
    for stage in range(3):
        for value in axis.values:
            share = (drawn[:, stage] == value).mean()
            assert share == pytest.approx((expected[:, stage] == value).mean(), abs=0.012)


@pytest.mark.parametrize(
    ("low", "high", "step", "values"),
    [
        (1.125, 4.125, 1, [1.125, 2.125, 3.125, 4.125]),
        (1, 1.09375, 0.03125, [1, 1.03125, 1.0625, 1.09375]),
        (0.004, 0.006, 0.001, [0.004, 0.005, 0.006]),
    ],
)
def test_values_of_a_range_are_low_and_steps(low, high, step, values):
    assert uniform(low, high, step).values.tolist() == values
