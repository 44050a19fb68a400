"""How fast results are analysed: `make bench-analysis`.

1. The empirical bootstrap of one parameter in closed form, against resampling in a loop: 1 ms at
   500 models, 100 ms at 100,000.
2. Quantized-linear fits of 500 models, against the exact rule on a full grid: 2 s, and no worse.
3. A comparison of two populations of 500, against scipy's permutation tests of means and medians.
4. `designspace analyze` with its report: six populations of 500 in 15 s; 100,000 models in 60 s
   and 2 GiB. A process each, imports included; its processor time shows how busy the machine was.

Sides alternate within a round; reported is the median of n rounds with the least and the greatest.
Errors are made up. Where a twin would take too long, a part of its work is timed and scaled up,
which the line says.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bench_train import make_run
from rows import Row, report

SPACES = ("AnyNetXA", "AnyNetXB", "AnyNetXC", "AnyNetXD", "AnyNetXE", "RegNetX")
REPEATS = 10_000


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Seconds of one call, the mean over several."""
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times


def against(
    what: str,
    ours: Callable[[], float],
    twin: Callable[[], float],
    rounds: int,
    unit: str = "ms",
    most: float | None = None,
) -> list[Row]:
    """Time both sides alternately; `most` is the limit for ours, in the unit."""
    scale = {"ms": 1e3, "s": 1.0}[unit]
    pairs = [(ours() * scale, twin() * scale) for _ in range(rounds)]
    mine, other = ([pair[side] for pair in pairs] for side in (0, 1))
    wanted = "" if most is None else f"<= {most:g}"
    kept = None if most is None else statistics.median(mine) <= most
    return [
        Row(what, unit, mine, wanted, kept),
        Row("  the twin", unit, other),
        Row("  times as fast", "", [b / a for a, b in pairs]),
    ]


def redraw(values, errors, draws: int, repeats: int, rng) -> np.ndarray:
    """The value of the best model of each redraw, as DDS §3.1 tells it."""
    found = np.empty(repeats)
    for i in range(repeats):
        picked = rng.integers(0, len(errors), draws)
        found[i] = values[picked[np.argmin(errors[picked])]]
    return found


def resample(values, errors, draws: int, repeats: int, rng) -> tuple[float, ...]:
    """The bootstrap of those."""
    return tuple(np.quantile(redraw(values, errors, draws, repeats, rng), (0.025, 0.5, 0.975)))


def bootstraps(options) -> list[Row]:
    """The bootstrap at both sizes; `options.fewer` times fewer redraws than the paper's."""
    from designspace.stats.range_of_best import bootstrap

    rng = np.random.default_rng(0)
    rows = []
    for n, times, share, most in ((500, 200, 1, 1.0), (100_000, 5, 20, 100.0)):
        values, errors = rng.random(n), rng.normal(50, 5, n)
        repeats = REPEATS // share // options.fewer
        scaled = REPEATS / repeats
        rows += against(
            f"bootstrap, {n} models"
            + ("" if scaled == 1 else f" (twin: {repeats} of {REPEATS} redraws)"),
            lambda v=values, e=errors, t=times: seconds(lambda: bootstrap(v, e), t),
            lambda v=values, e=errors, r=repeats, s=scaled: (
                s * seconds(lambda: resample(v, e, len(e) // 4, r, rng))
            ),
            options.rounds,
            most=most,
        )
    return rows


def grid_fits(depths, widths) -> list[float]:
    """The exact rule at every point of a grid; returns e_fit of each model."""
    from designspace.arch import quantized_widths

    w_0, w_a, w_m = (
        axis.ravel()
        for axis in np.meshgrid(
            np.arange(8, 264, 8), np.geomspace(4, 256, 24), np.linspace(1.5, 3, 16)
        )
    )
    errors = []
    for d, w in zip(depths, widths, strict=True):
        observed = np.log(np.repeat(w, d))
        predicted = quantized_widths(np.full(len(w_0), d.sum()), w_0, w_a, w_m)
        errors.append(float(np.abs(np.log(predicted) - observed).mean(axis=1).min()))
    return errors


def fits(home: Path, options) -> list[Row]:
    """Fits of 500 AnyNetXE models, and how well they fit."""
    from designspace.analysis.quantized_linear_fit import fit_quantized_linear

    stages = make_run(home / "fits", 500, "AnyNetXE", "360M:400M").population().bodies
    some = np.arange(0, 500, 25)
    found: dict[str, np.ndarray] = {}

    def ours() -> float:
        return seconds(
            lambda: found.update(ours=fit_quantized_linear(stages.widths, stages.depths).error)
        )

    def twin() -> float:
        few = stages.depths[some], stages.widths[some]
        return 25 * seconds(lambda: found.update(twin=np.array(grid_fits(*few))))

    rows = against("fits of 500 models (twin: 20 of them)", ours, twin, options.rounds, "s", 2.0)
    worse = float(np.max(found["ours"][some] - found["twin"]))
    row = Row("  e_fit above that of the grid, the most of 20", "", [worse], "<= 0", worse < 1e-9)
    return [*rows, row]


def comparisons(options) -> list[Row]:
    """All numbers of a pair, against two tests of scipy's with as many permutations."""
    from scipy.stats import permutation_test

    from designspace.stats.two_sample import compare

    rng = np.random.default_rng(0)
    first, second = rng.normal(50, 5, 500), rng.normal(49, 5, 500)

    def difference_by(center):
        return lambda a, b, axis: center(a, axis=axis) - center(b, axis=axis)

    def twin():
        for center in (np.mean, np.median):
            statistic = difference_by(center)
            permutation_test((first, second), statistic, vectorized=True, n_resamples=4999, rng=rng)

    return against(
        "comparison of 2 x 500 (twin: two of its tests)",
        lambda: seconds(lambda: compare(first, second)),
        lambda: seconds(twin),
        options.rounds,
    )


def with_errors(path: Path, space: str, n: int, budget: str, seed: int) -> Path:
    """A run folder of made-up trials."""
    from designspace.runs import Trial, TrialState

    folder = make_run(path, n, space, budget)
    population = folder.population()
    falls = (np.diff(population.bodies.widths, axis=1) < 0).sum(axis=1)
    errors = 45 + 4 * falls + np.random.default_rng(seed).normal(0, 3, n)
    folder.append_trials(
        [
            Trial(identifier, i, TrialState.COMPLETE, float(error), (), 1.0, seed)
            for i, (identifier, error) in enumerate(zip(population.ids, errors, strict=True))
        ]
    )
    return path


def analyze(runs: list[Path], out: Path) -> tuple[float, float, float]:
    """Run the command in a process of its own; return its seconds, of the clock and of the
    processor, and its memory in MiB.
    """
    command = [sys.executable, "-m", "designspace", "analyze", *map(str, runs), "--out", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"analyze ended with {process.returncode}")
    took = time.perf_counter() - began
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def reports(home: Path, options) -> list[Row]:
    """The whole command on six populations, and on one large one."""
    large = [with_errors(home / "large", "AnyNetXA", options.large, "100M:1G", 0)]
    rounds = max(1, options.rounds // 2)
    return [
        *six_reports(home, options),
        *timed_report(f"report of {options.large} models", large, rounds, 60.0, home),
    ]


def six_reports(home: Path, options) -> list[Row]:
    """The whole command on six populations."""
    six = [with_errors(home / s, s, options.models, "360M:400M", i) for i, s in enumerate(SPACES)]
    what = f"report of 6 populations of {options.models}"
    return timed_report(what, six, options.rounds, 15.0, home)


def timed_report(what: str, runs: list[Path], rounds: int, most: float, home: Path) -> list[Row]:
    """Seconds and memory of `analyze`."""
    ended = [analyze(runs, home / "out") for _ in range(rounds)]
    took, processor, memory = map(list, zip(*ended, strict=True))
    return [
        Row(what, "s", took, f"<= {most:g}", statistics.median(took) <= most),
        Row("  its processor time", "s", processor),
        Row("  its memory", "MiB", memory, "<= 2048", max(memory) <= 2048),
    ]


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", type=int, default=500, help="models of each of 6 populations")
    parser.add_argument("--large", type=int, default=100_000, help="models of the large population")
    parser.add_argument("--only", choices=["bootstrap", "fits", "compare", "report"])
    parser.add_argument("--fewer", type=int, default=1, help="divides the twin's redraws")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/analysis.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        parts = {
            "bootstrap": lambda: bootstraps(options),
            "fits": lambda: fits(home, options),
            "compare": lambda: comparisons(options),
            "report": lambda: reports(home, options),
        }
        rows = [row for key, part in parts.items() if options.only in (None, key) for row in part()]
    report(rows, options)


if __name__ == "__main__":
    main()
