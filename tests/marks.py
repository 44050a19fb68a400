"""Conditions under which tests are skipped, each with its reason."""

import pytest

from designspace.networks import numba_loops

needs_numba = pytest.mark.skipif(
    not numba_loops.available(), reason="tests compiled kernels; needs the extra `cpu` (numba)"
)
