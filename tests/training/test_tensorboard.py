"""TensorBoard event files."""

import builtins

import pytest

from designspace.errors import InputError
from designspace.runs import Trial, TrialState
from designspace.training.tensorboard import TrialTensorBoard


def test_without_the_package_it_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'designspace-regnet\[tensorboard\]'"):
        TrialTensorBoard()


def test_the_curve_is_written(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    trial = Trial("abc", 7, TrialState.COMPLETE, 20.0, (50.0, 20.0), 1.5, 0)
    TrialTensorBoard().write(tmp_path, trial)
    events = reader.EventAccumulator(str(tmp_path / "00007"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("error")] == [(1, 50.0), (2, 20.0)]
