"""A toolkit from a space of networks to a network worth pretraining.

From Python: `load` reads a run folder into pandas tables; `edf`, `bootstrap`, `compare`,
`fit_quantized_linear` and `plot_edf` work on plain arrays, of networks trained anywhere.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from designspace.analysis.dataframe import load
    from designspace.analysis.quantized_linear_fit import fit_quantized_linear
    from designspace.report.plot import plot_edf
    from designspace.stats.bootstrap import bootstrap
    from designspace.stats.comparison import compare
    from designspace.stats.edf import edf

__version__ = "0.1.0"
__all__ = ["bootstrap", "compare", "edf", "fit_quantized_linear", "load", "plot_edf"]

# Loaded when first asked for, so that `import designspace` takes no time.
_HOMES = {
    "bootstrap": "stats.bootstrap",
    "compare": "stats.comparison",
    "edf": "stats.edf",
    "fit_quantized_linear": "analysis.quantized_linear_fit",
    "load": "analysis.dataframe",
    "plot_edf": "report.plot",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'designspace' has no attribute {name!r}")
    return getattr(import_module(f"designspace.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
