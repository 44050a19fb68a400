"""Find the size at which a model takes a target time, by measuring candidates."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from designspace.arch import format_measured, format_quantity
from designspace.derivation.scale_model import Derivation
from designspace.errors import InputError
from designspace.runs.measurements import Measurement

# Measured times this near to the target count as it.
TOLERANCE = 0.05
_MOST = 10
# Time grows with a power of flops; without two measurements, this one.
_POWER = 0.7
_POWERS = (0.2, 1.2)
_LARGEST_STEP = 8.0


@dataclass(frozen=True)
class _Try:
    """A candidate: what it costs, and how long it takes, in logarithms."""

    flops: float
    seconds: float
    derivation: Derivation
    measurement: Measurement


def reach_latency(
    first: Derivation,
    derive: Callable[[float], Derivation],
    measure: Callable[[Derivation], Measurement],
    target: float,
) -> Derivation:
    """Return the derived model whose measured latency is nearest to a target.

    Candidates of other flops are derived and measured, each where a power law through the two
    measurements nearest to the target predicts it, until one is within 5 %.

    Args:
        first: The first candidate.
        derive: Derives a candidate of so many flops.
        measure: Measures one.
        target: Seconds of a step.

    Raises:
        InputError: No candidate came within 5 %; the message has the nearest that was seen.
    """
    tries: list[_Try] = []
    derivation, problem = first, ""
    for _ in range(_MOST):
        measurement = measure(derivation)
        if measurement.latency is None:
            raise InputError(
                f"latency: {measurement.name} can't be measured: {measurement.failure}"
            )
        cost = math.log(derivation.model.flops)
        if any(abs(cost - one.flops) < 1e-9 for one in tries):
            break
        tries.append(_Try(cost, math.log(measurement.latency), derivation, measurement))
        if abs(measurement.latency / target - 1) <= TOLERANCE:
            return _with_steps(tries[-1], tries, target)
        flops = math.exp(_next(tries, math.log(target)))
        try:
            derivation = derive(flops)
        except InputError:
            problem = (
                f"; the next to try, of {format_quantity(flops)} multiply-adds, is out of reach of "
                f"{first.parent.name} by rule {first.rule.name!r}: choose another latency, or "
                "another model or rule to start from"
            )
            break
    nearest = min(tries, key=lambda one: abs(one.seconds - math.log(target)))
    raise InputError(
        f"latency is {format_measured(target, 'latency')}; of {len(tries)} models that were "
        f"measured none is within {TOLERANCE:.0%}; the nearest takes {_words(nearest)}{problem}",
        "latency",
    )


def _next(tries: list[_Try], target: float) -> float:
    """Return the log flops at which the target is expected."""
    ranked = sorted(tries, key=lambda one: abs(one.seconds - target))
    below = [one for one in ranked if one.seconds < target]
    above = [one for one in ranked if one.seconds > target]
    first = ranked[0]
    other = (above if first in below else below or ranked[1:])[:1] or ranked[1:2]
    power = _POWER
    if other and other[0].flops != first.flops:
        power = (other[0].seconds - first.seconds) / (other[0].flops - first.flops)
    power = min(max(power, _POWERS[0]), _POWERS[1])
    limit = math.log(_LARGEST_STEP)
    return first.flops + min(max((target - first.seconds) / power, -limit), limit)


def _with_steps(chosen: _Try, tries: list[_Try], target: float) -> Derivation:
    measured = chosen.measurement
    ends = [end for end in (measured.low, measured.high) if end is not None]
    low, high = (format_measured(end, "latency") for end in ends)
    steps = [
        f"For {format_measured(target, 'latency')} on {measured.setting}, measure "
        f"{len(tries)} model{'s' * (len(tries) > 1)}: {'; '.join(map(_words, tries))}.",
        f"Take the last: {_words(chosen)}, 95 % interval {low} to {high}.",
    ]
    busy = "the machine was busy or unsteady while this was measured: measure it again"
    derivation = chosen.derivation.add(warnings=[busy] if measured.noisy else [])
    return replace(derivation, steps=(*derivation.steps, *steps))


def _words(one: _Try) -> str:
    assert one.measurement.latency is not None
    seconds = format_measured(one.measurement.latency, "latency")
    return f"{seconds} at {format_quantity(math.exp(one.flops))} multiply-adds"
