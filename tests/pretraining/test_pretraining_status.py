"""Status of a pretraining, from the files of its folder alone."""

import pytest
from small import SMALL

from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.io.file_lock import lock
from designspace.pretraining.pretrain_run import DataStamp, PretrainRun
from designspace.pretraining.recipe import load_recipe
from designspace.pretraining.status import pretraining_status

DATA = DataStamp(source="digits", images=300, content="x", mean=[1.0] * 3, std=[1.0] * 3, seed=0)


def test_status_follows_the_journals(tmp_path):
    run, recipe = PretrainRun(tmp_path / "trunk"), load_recipe("quick").override(epochs=3)
    run.begin(SMALL, recipe, DATA)
    status = pretraining_status(run.path)
    assert (status.iteration, status.iterations, status.epochs) == (0, 6, 3)
    assert (status.loss, status.knn, status.running) == (None, None, False)
    run.append_steps([{"iteration": 1, "loss": 4.5, "lr": 0.1}])
    assert pretraining_status(run.path).loss == 4.5
    run.append_steps([{"iteration": 2, "loss": 4.3, "lr": 0.1}])
    alarms = {"stuck": "the loss is no better"}
    run.append_epoch({"epoch": 1, "iteration": 2, "loss": 4.4, "knn": 55.0, "alarms": alarms})
    with lock(run.lock_file, "the folder"):
        status = pretraining_status(run.path)
    assert status.running
    assert (status.epoch, status.loss, status.knn) == (1, 4.4, 55.0)
    text = str(status)
    assert text.startswith("trunk: pretraining of small by quick, running\n  epoch 1 of 3, ")
    assert "k-NN 55.0 %" in text
    assert "ALARM (stuck): the loss is no better" in text
    run.append_steps([{"iteration": 6, "loss": 4.0, "lr": 0.1}])
    assert "not running" in str(pretraining_status(run.path))  # the last epoch is not measured
    for epoch in (2, 3):
        run.append_epoch({"epoch": epoch, "iteration": 2 * epoch, "loss": 4.0, "alarms": {}})
    assert "finished" in str(pretraining_status(run.path))
    assert pretraining_status(str(run.path)).to_dict()["iterations"] == 6


def test_other_folders_have_no_status(tmp_path):
    write_model(SMALL, tmp_path / "model.yaml")
    with pytest.raises(InputError, match=r"not the folder of a pretraining: .* recipe\.yaml"):
        pretraining_status(tmp_path)


def test_a_run_whose_trunk_is_not_written_is_not_finished(tmp_path):
    run, recipe = PretrainRun(tmp_path / "trunk"), load_recipe("quick").override(epochs=1)
    run.begin(SMALL, recipe, DATA)
    run.append_epoch({"epoch": 1, "iteration": 2, "loss": 4.0, "alarms": {}})
    (run.path / "checkpoint.pt").write_bytes(b"")
    assert not pretraining_status(run.path).finished
    assert "not running" in str(pretraining_status(run.path))
    run.trunk_file.write_bytes(b"")
    assert pretraining_status(run.path).finished
    run.trunk_file.unlink()
    (run.path / "checkpoint.pt").unlink()  # both were removed, to save space
    assert pretraining_status(run.path).finished
