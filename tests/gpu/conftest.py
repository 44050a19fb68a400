"""Acceptance on a GPU: what is measured goes to results/benchmarks/gpu.json.

GPU_REHEARSAL=1 runs the same tests on the CPU, as small as they can be, and keeps no results.
"""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from gpu_work import REHEARSAL

OUT = Path(__file__).parents[2] / "results" / "benchmarks" / "gpu.json"


@pytest.fixture(autouse=True)
def all_cores(monkeypatch):
    """Speed is measured here: give commands all cores again."""
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)


@pytest.fixture(scope="session")
def record(tmp_path_factory):
    """Collect rows, and write them with the machine after each: a run may be cut short."""
    out = tmp_path_factory.mktemp("rehearsal") / OUT.name if REHEARSAL else OUT
    machine = {"gpu": "none", "torch": torch.__version__, "cores": os.cpu_count()}
    if not REHEARSAL:
        machine |= {
            "gpu": torch.cuda.get_device_name(),
            "cudnn": torch.backends.cudnn.version(),
            "python": platform.python_version(),
        }
    rows = []

    def add(what, **values):
        rows.append({"what": what, **values})
        print(rows[-1])
        measured = datetime.now(UTC).date().isoformat()
        text = json.dumps({"measured": measured, "machine": machine, "rows": rows}, indent=1)
        out.write_text(text + "\n", encoding="utf-8")

    return add
