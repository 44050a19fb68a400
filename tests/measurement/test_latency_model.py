"""The latency model: planted coefficients come back, and its error is that of new models."""

import numpy as np
import pytest

from designspace.errors import InputError
from designspace.measurement.latency_model import fit_costs

RNG = np.random.default_rng(0)
N = 60
COSTS = {
    "flops": RNG.uniform(1e8, 5e8, N),
    "acts": RNG.uniform(1e6, 2e7, N),
    "params": RNG.uniform(1e6, 9e6, N),
    "depth": RNG.integers(5, 30, N).astype(float),
}
TIMES = 0.001 + 2e-11 * COSTS["flops"] + 3e-9 * COSTS["acts"] + 1e-4 * COSTS["depth"]


def test_planted_rates_come_back():
    model = fit_costs(COSTS, TIMES)
    assert model.overhead == pytest.approx(0.001, rel=1e-6)
    assert model.rates["flops"] == pytest.approx(2e-11, rel=1e-6)
    assert model.rates["acts"] == pytest.approx(3e-9, rel=1e-6)
    assert model.rates["depth"] == pytest.approx(1e-4, rel=1e-6)
    assert model.rates["params"] == pytest.approx(0, abs=1e-15)
    assert model.error < 1e-6
    assert model.predict(COSTS) == pytest.approx(TIMES)
    assert "acts alone" in str(model)


def test_the_error_is_that_of_models_it_has_not_seen():
    """With noise of 5 % the cross-validated error is that of fresh models, within a quarter."""
    noise = np.random.default_rng(1).standard_normal((2, N))
    model = fit_costs(COSTS, TIMES * (1 + 0.05 * noise[0]))
    fresh = TIMES * (1 + 0.05 * noise[1])
    actual = np.sqrt(np.mean((model.predict(COSTS) / fresh - 1) ** 2))
    assert model.error == pytest.approx(actual, rel=0.25)


def test_no_rate_is_negative():
    model = fit_costs(COSTS, TIMES - 5e-10 * COSTS["params"])
    assert min(model.rates.values()) >= 0


def test_few_models_are_refused():
    few = {name: values[:9] for name, values in COSTS.items()}
    with pytest.raises(InputError, match="at least 10 measured models; there are 9"):
        fit_costs(few, TIMES[:9])
