"""The same journals give the same bytes on a CPU with other instructions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numpy._core import _multiarray_umath as cpu

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
# numpy's, OpenBLAS' and torch's plainest kernels.
PLAIN = {
    "NPY_DISABLE_CPU_FEATURES": " ".join(cpu.__cpu_dispatch__),
    "OPENBLAS_CORETYPE": "Prescott",
    "ATEN_CPU_CAPABILITY": "default",
}
ANALYZE = """
import sys, designspace as ds
ds.analyze(sys.argv[2:], against="acts").save(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not any(cpu.__cpu_features__.get(name) for name in cpu.__cpu_dispatch__),
    reason="this CPU has the plainest instructions only",
)
def test_a_report_has_equal_bytes_with_other_instructions(tmp_path):
    runs = [str(REFERENCE / name) for name in ("anynetxa", "anynetxd", "regnetx")]
    for name, environment in (("native", {}), ("plain", PLAIN)):
        command = [sys.executable, "-c", ANALYZE, str(tmp_path / name / "report"), *runs]
        subprocess.run(command, check=True, env=os.environ | environment)
    native, plain = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in ("native", "plain")
    )
    assert [str(name) for name in native if native[name] != plain.get(name)] == []
    assert native.keys() == plain.keys()
