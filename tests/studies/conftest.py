"""Studies of two small populations, whose training takes no time."""

import json

import pytest
import yaml

import designspace as ds
from designspace.runs import DataRecord, TrialState

DATA = {
    "name": "s",
    "data": "digits",
    "epochs": 1,
    "n": 8,
    "budget": {"flops": "180K:220K"},
    "populations": {"a": {"space": "AnyNetXA@8"}, "x": {"space": "RegNetX@8"}},
}


@pytest.fixture
def load(tmp_path):
    """Write a study with some keys changed, and load it; its populations are added to a and x."""

    def load(populations=None, **changes):
        file = tmp_path / "study.yaml"
        data = {**DATA, **changes, "populations": DATA["populations"] | (populations or {})}
        data = json.loads(json.dumps(data))  # YAML without aliases
        file.write_text(yaml.safe_dump(data, sort_keys=False))
        return ds.Study.load(file)

    return load


@pytest.fixture
def train(monkeypatch):
    """Errors that depend on the model alone, in place of training; a list of what was trained.

    `states` has the states of models that do not end complete, by run and index.
    """
    trained, states = [], {}

    def pretend(runs, *, recipe, epochs, seed, val, only, **options):
        for run in runs:
            data = DataRecord(options["data"], val, "held-out", seed, 10, 1, 1, "content")
            run.begin_training(recipe.override(epochs=epochs).at(8), data)
            done = {trial.index for trial in run.trials()}
            for i in sorted({*(range(len(run)) if only is None else only)} - done):
                error = 50 + int(run.population().ids[i], 16) % 97 / 10
                result = {"error": error, "curve": [error] * (epochs or 1), "seconds": 9}
                if state := states.get((run.name, i)):
                    error = 90 if state is TrialState.DIVERGED else None
                    result = {"error": error, "reason": "r", "state": state}
                run.record(i, seed=seed, split="held-out", **result)
            trained.append(run.name)

    monkeypatch.setattr("designspace.studies.train_study.train", pretend)
    trained_and_states = type("Training", (), {"trained": trained, "states": states})
    return trained_and_states
