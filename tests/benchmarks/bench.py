"""Side by side with the peers, in one run and one table: `make bench`.

Writes bench.json and bench.md. Each part runs in a process of its own, so that none changes the
threads or the memory of another; a part that fails is a row that says so. PYCLS may name a checkout
of pycls (its own requirements installed); without it pycls' algorithm is restated.

`--quick` shrinks everything, to see in about four minutes on two cores that it works: its figures
mean nothing, no goal is judged by them, and they go to a folder of their own. Exits 1 where outputs
disagree or a part failed, and 2 where PYCLS names no checkout; a missed goal is shown in the table.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from peers import checkout
from rows import machine
from table import QUICK, Agreement, Comparison, Goal, Sizes, write

HERE = Path(__file__).parent
LIBRARIES = (
    "designspace-regnet", "numpy", "scipy", "numba", "torch", "torchvision", "fvcore", "timm",
    "lightly", "optuna", "plotly", "yacs",
)  # fmt: skip

BUSY = (
    "other programs were running as this began: loops with more than one thread a process, the "
    "peers' of training and both sides of pretraining, suffer from that most"
)


def part(name: str, sizes: Sizes) -> list[Comparison]:
    """Measure one part in this process."""
    if name in ("sampling", "cost", "growth"):
        import parts_sampling as of

        jobs = {"sampling": of.sampling, "cost": of.costing, "growth": of.growth}
    elif name in ("training", "convolutions", "pretraining"):
        import parts_training as of

        jobs = {
            "training": of.training,
            "convolutions": of.convolutions,
            "pretraining": of.pretraining,
        }
    else:
        import parts_analysis as of

        jobs = {"edf": of.edfs, "bootstrap": of.bootstrapping, "commands": of.commands}
    return jobs[name](sizes)


PARTS = {
    "sampling": "Sampling",
    "cost": "Cost",
    "training": "Trainer",
    "convolutions": "Convolutions of narrow groups",
    "edf": "Error distributions",
    "bootstrap": "Bootstrap",
    "pretraining": "Pretraining",
    "commands": "Commands",
    "growth": "Growth with n",
}


def part_process(name: str, quick: bool) -> list[Comparison]:
    """Measure one part in a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        out = Path(home) / "rows.json"
        argv = [sys.executable, __file__, "--part", name, "--out", str(out)]
        code = subprocess.run(argv + ["--quick"] * quick).returncode
        if code or not out.exists():
            return [Comparison(PARTS[name], skipped=f"FAILED: the process ended with {code}")]
        return [read_row(row) for row in json.loads(out.read_text())]


def read_row(row: dict) -> Comparison:
    """Read what a part's process wrote."""
    goal = Goal(**row["goal"]) if row["goal"] else None
    figures = {key: tuple(row[key]) for key in ("ours", "theirs")}
    return Comparison(
        **{**row, **figures, "goal": goal, "agreement": Agreement(**row["agreement"])}
    )


def facts(quick: bool) -> dict[str, object]:
    """Return the machine and the versions."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    if root := checkout():
        found["pycls"] = commit(root)
    return {
        "when": time.strftime("%Y-%m-%d"),
        **machine(),
        "processor": processor(),
        "system": platform.platform(),
        "commit": commit(HERE),
        "versions": found,
        "options": "quick: figures mean nothing" if quick else "full",
    }


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit(folder: Path) -> str:
    """Return the commit that a folder is at, where git knows it."""
    argv = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def verdict(groups: dict[str, list[Comparison]], quick: bool) -> tuple[str, int]:
    """Return the last line, and the code to end with."""
    told = "a quick look (goals are judged at full size)"
    rows = [row for rows in groups.values() for row in rows]
    goals = [row.met for row in rows if row.met is not None]
    agree = [row.agreement.agree for row in rows if row.agreement.agree is not None]
    failed = sum(row.skipped.startswith("FAILED") for row in rows)
    skipped = sum(bool(row.skipped) for row in rows) - failed
    if not quick:
        told = f"{sum(goals)} of {len(goals)} goals met"
    line = (
        f"{told}; outputs agree in {sum(agree)} of {len(agree)} "
        f"rows; {skipped} skipped, {failed} failed"
    )
    return line, int(bool(failed) or not all(agree))


def run(
    names: list[str], quick: bool, folder: Path, measure: Callable = part_process
) -> tuple[str, int]:
    """Measure the parts one after the other, and write the table."""
    groups, about, began = {}, facts(quick), time.perf_counter()
    if os.getloadavg()[0] > 0.5:
        about["not quiet"] = BUSY
        print(BUSY, file=sys.stderr)
    for name in names:
        print(f"{PARTS[name]} ...", file=sys.stderr, flush=True)
        rows = measure(name, quick)
        # Goals are for full sizes: at small ones fixed costs decide.
        groups[PARTS[name]] = [replace(row, goal=None) for row in rows] if quick else rows
    about |= {"load at the end": os.getloadavg(), "minutes": (time.perf_counter() - began) / 60}
    line, code = verdict(groups, quick)
    return write(groups, {**about, "outcome": line}, folder), code


def main() -> None:
    """Measure, print the table, write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="everything small, about four minutes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="folder of the table")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        rows = part(options.part, QUICK if options.quick else Sizes())
        options.out.write_text(json.dumps([asdict(row) for row in rows]))
        return
    try:
        checkout()
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
    folder = options.out or Path("results") / ("bench-quick" if options.quick else "benchmarks")
    page, code = run(options.only, options.quick, folder)
    print(page)
    print(f"written to {folder}/bench.md and bench.json")
    sys.exit(code)


if __name__ == "__main__":
    main()
