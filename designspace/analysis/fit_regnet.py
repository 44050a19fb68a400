"""Fit RegNet parameters to a free body."""

import numpy as np

from designspace.analysis.quantized_linear_fit import fit_quantized_linear
from designspace.arch import Body, RegNetParams


def fitted_regnet(body: Body) -> RegNetParams:
    """Return the RegNet nearest to a body: its depth, fitted widths, median b and g over blocks.

    The fit can be exact where the body is that of a RegNet with one b and g.
    """
    fit = fit_quantized_linear(np.array([body.widths]), np.array([body.depths]))
    return RegNetParams(
        d=sum(body.depths),
        w_0=int(fit.w_0[0]),
        w_a=round(float(fit.w_a[0]), 4),
        w_m=max(round(float(fit.w_m[0]), 5), 1.01),
        b=_median(body.bottleneck_ratios, body),
        g=int(_median(body.group_widths, body)),
    )


def _median(values: tuple[float, ...], body: Body) -> float:
    """The median over blocks, which is one of the values."""
    return float(np.quantile(np.repeat(values, body.depths), 0.5, method="inverted_cdf"))
