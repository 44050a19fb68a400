"""Acceptance on a GPU: what is measured goes to results/benchmarks/gpu.json."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

OUT = Path(__file__).parents[2] / "results" / "benchmarks" / "gpu.json"


@pytest.fixture(scope="session")
def record():
    """Collect rows; write them once, with the machine, at the end."""
    rows = []

    def add(what, **values):
        rows.append({"what": what, **values})

    yield add
    if rows:
        machine = {
            "gpu": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "cudnn": torch.backends.cudnn.version(),
            "cores": os.cpu_count(),
        }
        measured = datetime.now(UTC).date().isoformat()
        text = json.dumps({"measured": measured, "machine": machine, "rows": rows}, indent=1)
        OUT.write_text(text + "\n", encoding="utf-8")
