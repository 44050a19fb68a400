"""What the benchmarks print and keep: a table with n and spread, and the same as JSON."""

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured in n rounds, against what is wanted."""

    what: str
    unit: str
    values: list[float]
    wanted: str = ""
    kept: bool | None = None

    def line(self) -> str:
        low, middle, high = min(self.values), statistics.median(self.values), max(self.values)
        verdict = {None: "", True: "yes", False: "NO"}[self.kept]
        spread = f"{low:.4g} to {high:.4g}"
        return (
            f"{self.what:<52}{middle:>9.4g} {self.unit:<12}{spread:>20}{len(self.values):>4}"
            f"  {self.wanted:<8}{verdict}"
        )


def machine() -> dict[str, object]:
    """What it is measured on, and how busy that was."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


def report(rows: list[Row], options, facts: dict[str, str] | None = None) -> None:
    """Print the table, and write it with what it was measured on to `options.out`."""
    about = {
        **machine(),
        **(facts or {}),
        "options": {k: str(v) for k, v in vars(options).items()},
    }
    print(f"{'':<52}{'median':>9} {'':<12}{'least to greatest':>20}{'n':>4}  wanted")
    print("\n".join(row.line() for row in rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": about, "rows": [asdict(row) for row in rows]}, indent=1)
    options.out.write_text(text + "\n")
    print(f"written to {options.out}")
