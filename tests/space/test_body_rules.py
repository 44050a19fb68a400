"""Rules that hold for finished bodies: strictly monotone axes, and RegNets that skip no step."""

import math

import numpy as np
import pytest

from designspace.errors import InputError
from designspace.space import load_space, sample


def skips(d: int, w_0: int, w_a: float, w_m: float) -> bool:
    """Whether pycls' sweeps refuse a RegNet: DDS eq. 2 to 4 in plain Python."""
    steps = {round(math.log((w_0 + w_a * j) / w_0) / math.log(w_m)) for j in range(d)}
    widths = {round(w_0 * w_m**step / 8) * 8 for step in steps}
    return len(widths) != max(steps) + 1


def test_regnets_skip_no_step_where_a_space_says_so():
    free = load_space("RegNetX@16")
    space = free.narrow(name="pycls", reason="As pycls' sweeps.", skipped_steps=False)
    result = sample(space, 100)
    population = result.population
    rows = [population.regnet(i) for i in range(100)]
    assert not any(skips(r.d, r.w_0, r.w_a, r.w_m) for r in rows)
    assert result.stats.refused["skipped steps"] > 0
    # Of the same numbers, the free space keeps the others too.
    uniforms = np.random.default_rng(0).random((4000, space.columns))
    drawn = free.draw(uniforms)
    kept = space.body_rules["skipped steps"](drawn.bodies, drawn.regnets)
    each = [drawn.regnets.regnet(i) for i in range(len(kept))]
    assert kept.tolist() == [not skips(r.d, r.w_0, r.w_a, r.w_m) for r in each]
    assert 0.1 < np.mean(~kept) < 0.6


def test_skipped_steps_count_where_they_are_set():
    free = load_space("RegNetX@16")
    space = free.narrow(name="p", reason="r", skipped_steps=False)
    assert (free.hash, "skipped_steps" in free.source) == ("16d19c9dda059b64", False)
    assert space.hash != free.hash
    assert load_space(space.source).hash == space.hash
    child = load_space({**space.source, "name": "c"}).narrow(name="d", reason="r", d=(4, 16))
    assert not child.skipped_steps
    again = child.narrow(name="e", reason="r", d=(4, 28), skipped_steps=True)
    assert "skipped_steps" not in again.source
    with pytest.raises(InputError, match="skipped_steps is for regnet"):
        load_space("AnyNetXA").narrow(name="p", reason="r", skipped_steps=False)


@pytest.mark.parametrize("direction", ["increasing", "decreasing"])
def test_strictly_monotone_widths_do_not_tie_once_they_fit_group_widths(direction):
    monotone = {"w": f"strictly_{direction}", "d": f"strictly_{direction}"}
    parent = load_space("AnyNetXB@32")
    space = parent.narrow(name="s", reason="r", monotone=monotone)
    result = sample(space, 200)
    bodies = result.population.bodies
    for values in (bodies.widths, bodies.depths):
        steps = np.diff(values, axis=1)
        assert (steps > 0 if direction == "increasing" else steps < 0).all()
    assert result.stats.refused[f"strictly {direction} w"] > 0
    assert result.stats.refused[f"strictly {direction} d"] == 0


def test_stages_that_a_network_lacks_are_no_ties():
    monotone = {"w": "strictly_increasing", "d": "increasing"}
    space = load_space("AnyNetXE-stages@8").narrow(name="s", reason="r", monotone=monotone)
    bodies = sample(space, 100).population.bodies
    assert set(bodies.stage_counts.tolist()) == {3, 4, 5}
    for body in map(bodies.body, range(100)):
        assert len(set(body.widths)) == body.num_stages
