"""Samplers of pycls' sweep configs as axes of a space.

The distributions are those of pycls' `sweep/random.py`. What is neither uniform nor log-uniform
becomes a choice among weighted values, which is exact to the digits of the weights.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any

from designspace.errors import InputError
from designspace.space.axis import MAX_CHOICES, log_uniform, uniform

# Defaults of pycls' samplers.
_QUANTIZE = {"int_sampler": 1, "float_sampler": 1e-5}
_RAND_TYPES = (
    *("uniform", "log_uniform", "power2_uniform", "power2_or_log_uniform", "normal", "log_normal"),
)
# Standard deviations in the range of a normal distribution.
_NORMAL_WIDTH = 6
_WEIGHT_DIGITS = 9
Weights = dict[float, float]


def convert_sampler(
    sampler: Mapping[str, Any], where: str, inverted: bool = False
) -> dict[str, Any]:
    """Convert a sampler of a number to the data of an axis.

    Args:
        sampler: The sampler, checked.
        where: Its place in the file, for messages.
        inverted: Whether the axis is of the inverse of the number.

    Raises:
        InputError: It samples a list, its RAND_TYPE is none of pycls', its range is not one that
            pycls takes, or there are too many values.
    """
    if sampler.get("TYPE") == "list_sampler":
        raise InputError(f"{where}: must sample one number, not a list")
    if sampler.get("TYPE") == "value_sampler":
        values = inverse(sampler["VALUES"], where) if inverted else sampler["VALUES"]
        return choice(values)
    kind, (low, high) = sampler.get("RAND_TYPE", "uniform"), sampler["RANGE"]
    step = sampler.get("QUANTIZE", _QUANTIZE.get(sampler.get("TYPE", "")))
    if kind not in _RAND_TYPES:
        raise InputError(f"{where}: RAND_TYPE {kind} can't be converted")
    if kind in ("uniform", "log_uniform") and not inverted:
        return {"distribution": kind, "low": low, "high": high, "step": step}
    if kind.startswith("power2"):
        if not all(value > 0 and math.log2(value).is_integer() for value in (low, high)):
            ends = f"[{low:g}, {high:g}]"
            raise InputError(
                f"{where}: {kind} needs powers of 2, which must be above 0; found {ends}"
            )
    elif (high - low) / step >= MAX_CHOICES:
        raise InputError(
            f"{where}: {kind} in steps of {step:g} has more than {MAX_CHOICES} values; "
            "take a larger QUANTIZE"
        )
    weights = _weights(kind, low, high, step)
    values = inverse(list(weights), where) if inverted else list(weights)
    return choice(values, list(weights.values()))


def choice(values: Sequence[float], weights: Sequence[float] | None = None) -> dict[str, Any]:
    """Return the data of a choice; a value that is listed twice is twice as likely."""
    total: Weights = {}
    for value, weight in zip(values, weights or [1.0] * len(values), strict=True):
        total[value] = total.get(value, 0.0) + weight
    data: dict[str, Any] = {"distribution": "choice", "values": list(total)}
    if len(set(total.values())) > 1:
        data["weights"] = [round(weight, _WEIGHT_DIGITS) for weight in total.values()]
    return data


def inverse(values: Sequence[float], where: str) -> list[float]:
    """Return 1 / each value: pycls' bottleneck multiplier is the inverse of the ratio b."""
    if min(values, default=1) <= 0:
        raise InputError(f"{where}: bottleneck multipliers must be above 0; found {min(values):g}")
    return [1 / value for value in values]


def _weights(kind: str, low: float, high: float, step: float) -> Weights:
    """Return the probability of each value."""
    if kind == "power2_uniform":
        return dict.fromkeys(_powers(low, high), 1.0)
    if kind == "power2_or_log_uniform":
        return _powers_or_log_uniform(low, high, step)
    if kind in ("normal", "log_normal"):
        return dict(_normal(low, high, step, kind == "log_normal"))
    axis = (log_uniform if kind == "log_uniform" else uniform)(low, high, step)
    return dict(zip(axis.values.tolist(), axis.probabilities.tolist(), strict=True))


def _powers(low: float, high: float) -> list[float]:
    first, last = round(math.log2(low)), round(math.log2(high))
    return [2**i for i in range(first, last + 1)]


def _powers_or_log_uniform(low: float, high: float, step: float) -> Weights:
    """A power of 2; one of `step` or more is drawn anew, log-uniformly, as a multiple of it."""
    powers = _powers(low, high)
    weights = {power: 1 / len(powers) for power in powers if power < step}
    left = 1 - sum(weights.values())
    if len(weights) < len(powers):
        axis = log_uniform(max(low, step), high, min(high, step))
        for value, share in zip(axis.values.tolist(), axis.probabilities.tolist(), strict=True):
            weights[value] = left * share
    return weights


def _normal(low: float, high: float, step: float, log: bool) -> Iterator[tuple[float, float]]:
    """A normal distribution, cut off at three standard deviations and rounded to the step."""

    def scaled(value: float) -> float:
        return math.log(value) if log else value

    ends = scaled(low), scaled(high)
    if low == high:
        yield low, 1.0
        return
    normal = NormalDist(sum(ends) / 2, (ends[1] - ends[0]) / _NORMAL_WIDTH)
    inside = normal.cdf(ends[1]) - normal.cdf(ends[0])
    for value in uniform(low, high, step).values.tolist():
        upper = normal.cdf(scaled(min(value + step / 2, high)))
        lower = normal.cdf(scaled(max(value - step / 2, low)))
        yield value, (upper - lower) / inside
