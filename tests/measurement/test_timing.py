"""Rounds, intervals and noise, with planted times and no clock."""

import numpy as np
import pytest

from designspace.measurement.timing import Timing, time_interleaved


class Machine:
    """A clock, and models whose steps take planted times."""

    def __init__(self, seed=0):
        self.now, self.order = 0.0, []
        self.rng = np.random.default_rng(seed)

    def clock(self):
        return self.now

    def model(self, name, seconds, steps=0.01, rounds=0.0):
        """Steps and whole rounds vary by these standard deviations, relative to `seconds`."""

        def turn(slice_):
            self.order.append(name)
            shift = 1 + rounds * self.rng.standard_normal()
            samples = []
            while not samples or sum(samples) < slice_:
                samples.append(seconds * shift * (1 + steps * self.rng.random()))
            self.now += sum(samples)
            return samples

        return turn


def test_models_take_turns_and_a_steady_one_is_finished_first():
    machine = Machine()
    steady, shaky = machine.model("a", 0.01), machine.model("b", 0.01, rounds=0.2)
    first, second = time_interleaved([steady, shaky], 5.0, machine.clock)
    assert machine.order[:10] == ["a", "b"] * 5
    assert machine.order[10:] == ["b"] * (len(machine.order) - 10)
    assert first.median == pytest.approx(0.01, rel=0.01)
    assert not first.noisy
    assert second.noisy
    assert second.rounds > first.rounds == 5


def test_the_time_limit_ends_a_noisy_model_after_two_rounds_at_least():
    machine = Machine()
    [timing] = time_interleaved([machine.model("slow", 4.0, rounds=0.5)], 1.0, machine.clock)
    assert (timing.rounds, timing.n) == (2, 2)
    assert machine.now > 1.0


def test_a_slow_phase_of_the_machine_slows_all_models_alike():
    """The machine is half as fast in every other round: the ratio of two equal models stays 1."""
    machine = Machine()

    def turn(slice_):
        machine.order.append("")
        machine.now += slice_
        return [0.02 if (len(machine.order) - 1) // 2 % 2 else 0.01] * 5

    first, second = time_interleaved([turn, turn], 2.0, machine.clock)
    assert first.median == second.median
    assert first.noisy
    assert second.noisy


def test_the_interval_covers_the_median_in_spite_of_differences_between_rounds():
    """2,000 simulated measurements of 5 rounds: at least 93 % of the intervals cover it."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(2000):
        shifts = 1 + 0.02 * rng.standard_normal(5)
        rounds = [shift * (1 + 0.01 * rng.standard_normal(8)) for shift in shifts]
        timing = Timing.of(rounds)
        covered += timing.low <= 1.0 <= timing.high
    assert 0.93 <= covered / 2000 <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("std", [0.003, 0.01, 0.05])
def test_stopping_at_a_narrow_interval_leaves_most_of_its_coverage(std):
    """Measured again and again until it is narrow or the time is over: 90 % at least of 1,000."""
    rng, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        now = [0.0]

        def turn(slice_, now=now):
            now[0] += slice_
            return (1 + std * rng.standard_normal()) * (1 + 0.01 * rng.standard_normal(8))

        [timing] = time_interleaved([turn], 5.0, lambda now=now: now[0])
        covered += timing.low <= 1 <= timing.high
    assert 0.9 <= covered / 1000 <= 0.98


def test_one_round_says_nothing_about_others():
    timing = Timing.of([[1.0, 1.0, 1.0]])
    assert timing.width > 1
    assert timing.noisy
    assert timing.low > 0
