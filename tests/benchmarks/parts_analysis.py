"""EDF, bootstrap, report and the start of the command line, for `make bench`."""

import subprocess
import sys
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from bench_analysis import REPEATS, analyze, bootstraps, redraw, six_reports, with_errors
from parts_sampling import exponents, growth_row
from table import Agreement, Comparison, Goal, Sizes, compared, side_by_side

from designspace.stats.edf import Edf, edf
from designspace.stats.range_of_best import bootstrap


def edfs(sizes: Sizes) -> list[Comparison]:
    """EDFs against their twin, and with a figure against Optuna's."""
    return [edf_against_numpy(10_000, sizes), edf_against_optuna(sizes)]


def obvious_edf(errors: np.ndarray) -> np.ndarray:
    """Share of errors up to and including each error, ascending, as the definition reads."""
    return np.array([np.mean(errors <= e) for e in np.sort(errors)])


def edf_against_numpy(
    n: int, sizes: Sizes, twin: Callable[[np.ndarray], np.ndarray] = obvious_edf
) -> Comparison:
    """The exact step function of n errors."""
    errors = np.random.default_rng(0).normal(50, 5, n)
    found: dict[str, object] = {}
    ours, theirs = side_by_side(
        lambda: found.update(ours=edf(errors)),
        lambda: found.update(theirs=twin(errors)),
        sizes.rounds,
        times=20,
    )
    apart = float(np.abs(found["ours"].cumulative - found["theirs"]).max())
    return Comparison(
        f"EDF of {n:,} errors",
        "s",
        ours,
        "the definition in NumPy",
        theirs,
        Agreement.all({f"all steps equal to {max(apart, 1e-15):.0g}": apart < 1e-12}),
    )


def edf_against_optuna(sizes: Sizes, n: int = 500) -> Comparison:
    """A figure of two EDFs as each library makes it, not yet drawn into a file.

    Optuna counts values up to and including a point, on a hundred points; this project those
    strictly below it, at all errors.
    """
    job = f"EDF figure of two populations of {n}"
    if not (find_spec("optuna") and find_spec("plotly")):
        return Comparison(job, skipped="optuna or plotly is not installed (the `bench` extra)")
    import optuna

    from designspace.report.plot import plot_edf

    warnings.filterwarnings("ignore", module="optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    populations = [np.random.default_rng(i).normal(50 - i, 5, n) for i in range(2)]
    studies = []
    for errors in populations:
        study = optuna.create_study()
        study.add_trials([optuna.trial.create_trial(value=float(e)) for e in errors])
        studies.append(study)
    found: dict[str, object] = {}

    def mine() -> None:
        plot_edf(dict(zip("AB", populations, strict=True)), band=False)

    ours, theirs = side_by_side(
        mine,
        lambda: found.update(figure=optuna.visualization.plot_edf(studies)),
        sizes.rounds,
        times=3,
    )
    traces = found["figure"].data
    lines = [(np.asarray(one.x, float), np.asarray(one.y, float)) for one in traces]
    apart = curves_apart([edf(errors) for errors in populations], lines)
    return Comparison(
        job,
        "s",
        ours,
        "Optuna's plot_edf",
        theirs,
        Agreement.all({"equal at Optuna's 100 points": apart < 1e-12}),
        note="matplotlib here, plotly there; neither written to a file",
    )


def curves_apart(functions: list[Edf], lines: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """How far EDFs are at most from curves that count up to and including each point."""
    return max(
        float(np.abs(function.at(np.nextafter(x, np.inf)) - y).max())
        for function, (x, y) in zip(functions, lines, strict=True)
    )


def bootstrapping(sizes: Sizes) -> list[Comparison]:
    """The closed form at two sizes against redrawing in a loop."""
    few = REPEATS // sizes.redraws
    counted = bootstraps(Namespace(rounds=sizes.rounds, fewer=few))
    return [
        compared(
            counted[i : i + 3],
            counted[i].what,
            "redraws in a NumPy loop",
            same_bootstrap(n, max(200, sizes.redraws // share)),
        )
        for i, n, share in ((0, 500, 1), (3, 100_000, 20))
    ]


def same_bootstrap(n: int, repeats: int, redraws: Callable = redraw) -> Agreement:
    """Hold the exact interval against redraws: each end must be that quantile of them.

    A share of `repeats` redraws has a standard error; 4 of them are allowed.
    """
    rng = np.random.default_rng(1)
    values, errors = rng.random(n), rng.normal(50, 5, n)
    exact = bootstrap(values, errors)
    found = np.asarray(redraws(values, errors, n // 4, repeats, rng))
    checks = {}
    for name, at, share in (
        ("low end", exact.low, 0.025),
        ("median", exact.median, 0.5),
        ("high end", exact.high, 0.975),
    ):
        slack = 4 * (share * (1 - share) / repeats) ** 0.5
        below, up_to = float(np.mean(found < at)), float(np.mean(found <= at))
        checks[name] = below - slack <= share <= up_to + slack
    told = Agreement.all(checks)
    return told if not told.agree else Agreement(True, f"within noise of {repeats:,} redraws")


# Whole commands.


def commands(sizes: Sizes) -> list[Comparison]:
    """Start of the command line, and reports."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        took = six_reports(home, Namespace(models=sizes.report, rounds=sizes.few))[0]
        six = Comparison(
            took.what,
            "s",
            tuple(took.values),
            goal=Goal("ours", most=15),
            note="`designspace analyze`, imports included",
        )
        return [start(sizes), six, report_growth(home, sizes)]


def start(sizes: Sizes) -> Comparison:
    """`designspace --help` beside the import of torch."""
    command = Path(sys.executable).with_name("designspace")

    def run(*argv: str) -> str:
        return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout

    found: dict[str, str] = {}
    ours, theirs = side_by_side(
        lambda: found.update(text=run(str(command), "--help")),
        lambda: run(sys.executable, "-c", "import torch"),
        sizes.rounds,
    )
    assert "sample" in found["text"]
    return Comparison(
        "designspace --help",
        "s",
        ours,
        "python -c 'import torch', a yardstick",
        theirs,
        goal=Goal("ours", most=0.4),
    )


def report_growth(home: Path, sizes: Sizes) -> Comparison:
    """Time of a report against the size of the population."""
    counts = [sizes.large // k for k in (16, 4, 1)]
    runs = {n: with_errors(home / f"n{n}", "AnyNetXA", n, "100M:1G", 0) for n in counts}

    def clock(n: int) -> float:
        return analyze([runs[n]], home / "growth")[0]

    return growth_row("a report (imports included)", counts, exponents(clock, counts, sizes.few))
