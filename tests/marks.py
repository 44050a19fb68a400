"""Conditions under which tests are skipped, each with its reason."""

import pytest

from designspace.networks import numba_loops

needs_numba = pytest.mark.skipif(
    not numba_loops.available(), reason="tests compiled kernels; needs the extra `cpu` (numba)"
)


def quick_share(names, quick):
    """Return one parameter for each name; those that are not among `quick` are slow."""
    return [
        pytest.param(name, marks=() if name in quick else pytest.mark.slow, id=str(name))
        for name in names
    ]
