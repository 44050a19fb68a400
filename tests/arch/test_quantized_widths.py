"""The quantized linear rule at its ties: worked out by hand from DDS eq. 2 to 4."""

import numpy as np
import pytest

from designspace.arch import RegNetParams, RegNetParamsBatch, quantized_widths


@pytest.mark.parametrize("toward", [None, -np.inf, np.inf])
@pytest.mark.parametrize(
    ("w_0", "w_a", "w_m", "widths"),
    [
        (16, 8.0, 2.25, [16, 16, 32]),  # s_1 = 1/2, to 0; 16 * 2.25 = 36 is 4.5 times 8, to 4
        (8, 12.0, 2.5, [8, 16, 48]),  # 8 * 2.5 = 20 is 2.5 times 8, to 2; 8 * 2.5**2 = 50
        (200, 236.0, 2.18, [200, 440, 952]),  # 200 * 2.18 is above 54.5 times 8 in float64
        (8, 4.0, 1.5, [8, 16, 16]),  # 8 * 1.5 = 12 is 1.5 times 8, to 2; 8 * 1.5**2 = 18
    ],
)
def test_ties_round_to_even_whatever_the_last_digit_of_a_logarithm(
    w_0, w_a, w_m, widths, toward, monkeypatch
):
    if toward is not None:
        log, power = np.log, np.power
        monkeypatch.setattr(np, "log", lambda x: np.nextafter(log(x), toward))
        monkeypatch.setattr(np, "power", lambda x, y: np.nextafter(power(x, y), toward))
    result = quantized_widths(np.array([3]), np.array([w_0]), np.array([w_a]), np.array([w_m]))
    assert result.tolist() == [widths]


@pytest.mark.parametrize(
    ("w_0", "w_a", "w_m", "d", "skips"),
    [
        (8, 12.0, 2.5, 3, False),  # s = 0, 1, 1.51: steps 0, 1, 2 and widths 8, 16, 48
        (8, 24.0, 2.5, 3, True),  # s = 0, 1.51, 2.12: steps 0, 2, 2 and widths 8, 48, 48
        (8, 4.0, 1.5, 3, True),  # steps 0, 1, 2, of which two are 16 wide
        (16, 8.0, 2.25, 3, False),  # s_1 = 1/2, to 0: steps 0, 0, 1 and widths 16, 16, 32
        (16, 0.0, 2.0, 3, False),  # one stage
    ],
)
def test_steps_that_a_regnet_skips(w_0, w_a, w_m, d, skips):
    # Another model of more blocks must not matter.
    regnets = [RegNetParams(d, w_0, w_a, w_m), RegNetParams(20, 48, 30.0, 2.5)]
    assert RegNetParamsBatch.from_list(regnets).skip_steps()[0] == skips
