"""Options and fixtures that tests of several packages share."""

import io
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch is loaded, here and in every process that a test starts: threads that wait for each
# other on busy cores take minutes for what one does in seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What commands take for the number of cores, hence of their threads and processes.
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")


def pytest_addoption(parser):
    parser.addoption("--faults", action="store_true", help="every fault in full counts (minutes)")
    parser.addoption("--newcomer", action="store_true", help="set up a fresh clone and use it")
    parser.addoption("--without-numba", action="store_true", help="as if numba were not installed")


LONGEST = ["test_readme.py", "test_public_api.py", "test_reference.py"]


def pytest_collection_modifyitems(items):
    """Put the longest files first: in parallel, no process waits for another's last one."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_configure(config):
    settings.register_profile("tests", deadline=None, derandomize=True, max_examples=30)
    settings.register_profile("faults", deadline=None, max_examples=1000)
    settings.load_profile("faults" if config.getoption("--faults") else "tests")
    if config.getoption("--without-numba"):
        hidden = str(Path(__file__).parent / "without_numba")
        sys.path.insert(0, hidden)
        path = os.environ.get("PYTHONPATH")  # of workers and commands in processes of their own
        os.environ["PYTHONPATH"] = os.pathsep.join([hidden, *([path] if path else [])])


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Let child processes receive Ctrl-C even if a shell started pytest in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def train_in_this_process():
    """Train without worker processes, each of which would import torch for seconds."""
    from training_fixtures import Inline

    from designspace.training import train_runs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_runs, "LokyWorkers", lambda jobs, work, *_: Inline(1, work))
        yield


@pytest.fixture(scope="session", autouse=True)
def small_png():
    """Save a stamp as each PNG file of a report: whole ones take as long as all else of it."""
    from small import as_stamp

    from designspace.report import figure_files, plot

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_files, "saved", as_stamp(plot.saved))
        yield


@pytest.fixture(scope="module")
def whole_png():
    """Save whole PNG files, as outside of tests."""
    from designspace.report import figure_files, plot

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_files, "saved", plot.saved)
        yield


@pytest.fixture
def worker_processes(monkeypatch):
    """Train in worker processes, as outside of tests."""
    from designspace.training import loky_workers, train_runs

    monkeypatch.setattr(train_runs, "LokyWorkers", loky_workers.LokyWorkers)


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def command():
    """Run the command line in this process, as `cli` does, for fixtures of several tests."""

    def run(*words) -> Outcome:
        from designspace.cli.main import main

        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        return Outcome(int(stopped.value.code or 0), out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def cli(capsys):
    """Run the command line in this process, as `cli("sample", "AnyNetXA", ...)`."""

    def run(*words) -> Outcome:
        from designspace.cli.main import main

        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def refused(cli):
    """Run a command with bad input: exit 2, a message of one line, no traceback."""

    def run(*words) -> str:
        outcome = cli(*words)
        assert outcome.code == 2, outcome
        assert "Traceback" not in outcome.err
        assert outcome.err.startswith("designspace: ")
        assert outcome.err.count("\n") == 1, outcome.err
        return outcome.err

    return run


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A finished study of 40 RegNetX@8: its run folder, and an analysis of it.

    Errors are made up: least at ten blocks, with a little noise.
    """
    import json
    import math

    import numpy as np

    from designspace.analysis.csv_tables import to_csv
    from designspace.analysis.findings import analyze
    from designspace.analysis.load_results import load_populations
    from designspace.analysis.summary import summarize
    from designspace.runs import Run, Trial, TrialState
    from designspace.space import Budget, load_space, sample, sample_record

    home = tmp_path_factory.mktemp("study")
    space, budgets = load_space("RegNetX@8"), (Budget.parse("flops", "180K:220K"),)
    drawn = sample(space, 40, budgets, 0)
    source = {**space.source, "sample": sample_record(space, drawn, budgets, 0)}
    run = Run.create(home / "regnetx", source, drawn.population)
    depths = drawn.population.regnets.d
    noise = np.random.default_rng(0).normal(0, 0.3, len(depths))
    errors = [10 + 20 * abs(math.log(d / 10)) + e for d, e in zip(depths, noise, strict=True)]
    run.append_trials(
        [
            Trial(id_, i, TrialState.COMPLETE, round(float(errors[i]), 3), (), 1.0, 0)
            for i, id_ in enumerate(drawn.population.ids)
        ]
    )
    folder = home / "analysis"
    (folder / "tables").mkdir(parents=True)
    findings = analyze(load_populations([run.path]))
    (folder / "summary.json").write_text(json.dumps(summarize(findings).to_dict()))
    (folder / "tables" / "models.csv").write_text(to_csv(findings.models_frame()))
    return run.path, folder
