"""Samplers of pycls' sweep configs: converted axes have the distributions that pycls draws from."""

import numpy as np
import pytest

from designspace.errors import InputError
from designspace.space.schema import ChoiceAxis
from designspace.studies.pycls_samplers import convert_sampler

DRAWS = 40_000


def sampler(kind, low, high, step):
    return {"TYPE": "float_sampler", "RAND_TYPE": kind, "RANGE": [low, high], "QUANTIZE": step}


def power2(rng, low, high):
    return 2 ** np.floor(rng.uniform(np.log2(low), np.log2(high) + 1, DRAWS))


def log_uniform(rng, low, high, step):
    drawn = np.exp(-rng.uniform(-np.log(high), -np.log(low - min(step, low / 2)), DRAWS))
    return np.ceil(drawn / step) * step


def power2_or_log(rng, low, high, step):
    """As pycls draws: a power of 2, replaced from `step` on."""
    drawn = power2(rng, low, high)
    other = log_uniform(rng, max(low, step), high, min(high, step))
    return np.where(drawn >= step, other, drawn)


def normal(rng, low, high, step, log=False):
    """As pycls draws: again and again until it is in the range."""
    ends = np.log([low, high]) if log else np.array([low, high])
    drawn = rng.normal(ends.mean(), (ends[1] - ends[0]) / 6, 2 * DRAWS)
    drawn = np.exp(drawn) if log else drawn
    return np.round(drawn[(drawn >= low) & (drawn <= high)][:DRAWS] / step) * step


@pytest.mark.parametrize(
    ("kind", "low", "high", "step", "draw"),
    [
        ("power2_or_log_uniform", 1, 128, 8, power2_or_log),
        ("power2_or_log_uniform", 1, 4, 8, power2_or_log),
        ("power2_or_log_uniform", 8, 64, 8, power2_or_log),
        ("normal", -1.0, 2.0, 0.25, normal),
        ("log_normal", 0.5, 8.0, 0.5, lambda *range_: normal(*range_, log=True)),
    ],
    ids=["group widths", "powers alone", "multiples alone", "normal", "log-normal"],
)
def test_a_converted_sampler_has_pycls_distribution(kind, low, high, step, draw):
    data = convert_sampler(sampler(kind, low, high, step), "here")
    weights = np.array(data.get("weights", [1.0] * len(data["values"])))
    drawn = draw(np.random.default_rng(0), low, high, step)
    shares = np.array([np.isclose(drawn, value).mean() for value in data["values"]])
    assert shares.sum() == pytest.approx(1)
    spread = np.sqrt(shares * (1 - shares) / DRAWS)
    assert (np.abs(weights / weights.sum() - shares) < 4.5 * spread + 1e-4).all()


def test_values_that_are_listed_twice_are_twice_as_likely():
    data = convert_sampler({"TYPE": "value_sampler", "VALUES": [8, 16, 8]}, "here")
    assert data == {"distribution": "choice", "values": [8, 16], "weights": [2.0, 1.0]}
    assert ChoiceAxis.model_validate(data).axis().probabilities.tolist() == [2 / 3, 1 / 3]


def test_an_inverted_range_keeps_the_probabilities_of_its_values():
    data = convert_sampler(sampler("log_uniform", 1, 4, 1), "here", inverted=True)
    axis = ChoiceAxis.model_validate(data).axis()
    assert axis.values.tolist() == [1 / 4, 1 / 3, 1 / 2, 1]
    # Of the continuous variable: (3, 4], (2, 3], (1, 2] and (1 / 2, 1].
    assert axis.probabilities == pytest.approx(np.log([4 / 3, 3 / 2, 2, 2]) / np.log(8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sampler("cauchy", 1, 2, 1), "here: RAND_TYPE cauchy can't be converted"),
        (sampler("power2_uniform", 3, 8, 1), r"needs powers of 2.*; found \[3, 8\]"),
        (sampler("normal", 0, 1, 1e-5), "has more than 1000 values; take a larger QUANTIZE"),
        ({"TYPE": "list_sampler"}, "must sample one number, not a list"),
    ],
    ids=["unknown", "no powers", "too fine", "list"],
)
def test_samplers_that_cannot_be_converted_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        convert_sampler(data, "here")
