"""Fixtures of the fault tests: a small study that was not disturbed, and how often to strike."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from disturbed import Command
from small import SMALL

from designspace.arch.model_file import write_model
from designspace.runs import Run, load_recipe


@pytest.fixture(scope="session", autouse=True)
def times(request):
    """Return a function: `times(full, quick)` is `full` with --faults, else `quick`."""
    full = request.config.getoption("--faults")
    Command.in_process = not full
    return lambda often, seldom: often if full else seldom


@dataclass(frozen=True)
class Study:
    """A small study on the digits.

    Attributes:
        home: Folder of all below, and of recipe.yaml, cache and small.yaml, a small trunk.
        sampled: A run folder that is not trained yet.
        trained: One that was trained without disturbance.
    """

    home: Path
    sampled: Path
    trained: Path

    def train(self, run, *words):
        """Return the words of the command that trains a run folder."""
        return (
            *("train", run, "--data", "digits", "--recipe", self.home / "recipe.yaml"),
            *("--device", "cpu", "--jobs", 2, "--cache", self.home / "cache", *words),
        )

    def copy(self, name):
        """Return a fresh copy of the untrained run folder."""
        return Path(shutil.copytree(self.sampled, self.home / name))

    def results(self, run):
        """Return the trial of each model of a run folder, without times."""
        trials = Run(run).trials()
        return {t.index: (t.id, t.state, t.error, t.curve, t.seed, t.split) for t in trials}


@pytest.fixture(scope="session")
def small_study(tmp_path_factory, times):
    """Four small networks, sampled; and trained for a few epochs without disturbance."""
    home = tmp_path_factory.mktemp("faults")
    recipe = {**load_recipe("quick").to_dict(), "name": "short", "epochs": times(5, 2)}
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    write_model(SMALL, home / "small.yaml")
    study = Study(home, home / "sampled", home / "trained")
    words = ("--flops", "100K:300K", "-n", 4, "--out", study.sampled)
    assert Command("sample", "AnyNetXE@8", *words).end().code == 0
    study.copy("trained")
    outcome = Command(*study.train(study.trained)).end()
    assert outcome.out == "4 of 4 models: 4 complete\n", outcome
    return study
