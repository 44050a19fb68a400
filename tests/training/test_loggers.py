"""Where the numbers of trainings go: TensorBoard, MLflow, Weights & Biases, or own objects."""

import shutil
from dataclasses import replace

import pytest
from small import SMALL

import designspace as ds
from designspace.errors import InputError
from designspace.pretraining.pretrain import pretrain
from designspace.pretraining.pretrain_run import PretrainRun
from designspace.runs import Trial, TrialState
from designspace.training import metric_logger
from designspace.training.metric_logger import chosen_loggers, open_loggers
from designspace.training.trial_log import TrialLog

TRIAL = Trial("abc", 7, TrialState.COMPLETE, 20.0, (50.0, 20.0), 1.5, 0)


class Own:
    """A logger of one's own."""

    def __init__(self):
        self.values, self.texts, self.closed = [], [], 0

    def scalars(self, values, step):
        self.values.append((step, dict(values)))

    def text(self, name, text, step):
        self.texts.append((step, name, text))

    def close(self):
        self.closed += 1


class Unhashable(Own):
    """As a dataclass is."""

    __hash__ = None


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_without_the_package_it_says_what_to_install(monkeypatch, name):
    def missing(module):
        raise ImportError(module)

    monkeypatch.setattr(metric_logger, "import_module", missing)
    with pytest.raises(InputError, match=rf"pip install 'designspace-regnet\[{name}\]'"):
        TrialLog([name])


def test_an_unknown_logger_is_refused():
    with pytest.raises(InputError, match="log is 'mlflo'; did you mean mlflow"):
        TrialLog(["mlflo"])


def test_loggers_are_chosen_once():
    assert chosen_loggers("mlflow") == ("mlflow",)
    assert chosen_loggers(["tensorboard"], tensorboard=True) == ("tensorboard",)
    assert chosen_loggers((), tensorboard=True) == ("tensorboard",)
    own = Unhashable()
    assert chosen_loggers(own) == (own,)
    assert chosen_loggers([own], tensorboard=True) == (own, "tensorboard")


def test_an_object_without_the_methods_is_refused():
    with pytest.raises(InputError, match="log has a dict, which lacks scalars and text and close"):
        TrialLog([{}])


def test_the_curve_of_a_trial_is_written_for_tensorboard(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    TrialLog(["tensorboard"]).write(tmp_path, TRIAL)
    events = reader.EventAccumulator(str(tmp_path / "tensorboard" / "00007"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("error")] == [(1, 50.0), (2, 20.0)]


def test_mlflow_receives_the_curve_and_continues_its_run(tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    TrialLog(["mlflow"]).write(tmp_path, TRIAL)
    client = tracking.MlflowClient((tmp_path / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("designspace").experiment_id
    (run,) = client.search_runs([experiment])
    history = client.get_metric_history(run.info.run_id, "error")
    assert [(m.step, m.value) for m in history] == [(1, 50.0), (2, 20.0)]
    assert run.data.params["state"] == "complete"
    # The same training again, as after an interruption, is the same run.
    (again,) = open_loggers(["mlflow"], tmp_path, "00007", {})
    again.scalars({"error": 19.0}, 3)
    again.close()
    assert len(client.search_runs([experiment])) == 1
    assert len(client.get_metric_history(run.info.run_id, "error")) == 3


def test_weights_and_biases_receives_the_curve(tmp_path, monkeypatch):
    """A recording stand-in: the service's own process would take half a minute to start."""
    wandb = pytest.importorskip("wandb")
    calls = []

    class Run:
        def __init__(self, **options):
            self.summary = {}
            calls.append(options)

        def log(self, values, step):
            calls.append((values, step))

        def finish(self):
            calls.append("finished")

    monkeypatch.setattr(wandb, "init", lambda **options: Run(**options))
    TrialLog(["wandb"]).write(tmp_path, TRIAL)
    assert (calls[0]["project"], calls[0]["resume"]) == ("designspace", "allow")
    assert calls[1:] == [
        *[({"error": 50.0}, 1), ({"error": 20.0}, 2), ({"seconds": 1.5}, 2)],
        "finished",
    ]


def test_a_logger_of_ones_own_is_closed_once_and_sees_which_model_it_is(tmp_path):
    own = Own()
    log = TrialLog([own])
    for index in (7, 8):
        log.write(tmp_path / "run", replace(TRIAL, index=index))
    assert own.closed == 0
    assert [text for _, _, text in own.texts] == [
        "model 7 of run, abc: complete",
        "model 8 of run, abc: complete",
    ]
    log.close()
    assert own.closed == 1


def test_a_logger_that_fails_leaves_the_others_their_trials(tmp_path):
    class Failing(Own):
        def text(self, name, text, step):
            raise ConnectionError("no route to the server")

    own, events = Own(), tmp_path / "tensorboard" / "00007"
    with pytest.raises(ConnectionError, match="no route"):
        TrialLog([Failing(), "tensorboard", own]).write(tmp_path, TRIAL)
    assert len(own.texts) == 1
    assert len(list(events.iterdir())) == 1


def test_a_logger_that_fails_does_not_end_the_training(tmp_path, capsys):
    class Failing(Own):
        def scalars(self, values, step):
            raise ConnectionError("no route to the server")

    run = ds.sample("RegNetX@8", n=2, flops="180K:220K", out=tmp_path / "run")
    frame = run.train("digits", "quick", epochs=1, jobs=1, log=[Failing()])
    assert frame["status"].tolist() == ["complete", "complete"]
    shown = capsys.readouterr()
    text = shown.out + shown.err
    assert text.count("is not logged, but in the journal: ConnectionError: no route") == 1


def test_a_new_training_in_a_folder_of_the_same_name_is_another(tmp_path):
    def identifier():
        (tmp_path / "out").mkdir(exist_ok=True)
        return metric_logger._identifier(tmp_path / "out", "")

    first = identifier()
    assert identifier() == first
    assert metric_logger._identifier(tmp_path / "out", "00007") != first
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    assert metric_logger._identifier(tmp_path / "copy", "") != first
    shutil.rmtree(tmp_path / "out")
    assert identifier() != first


def test_a_pretraining_logs_iterations_and_measures(tmp_path):
    own = Own()
    options = {"data": "digits", "epochs": 1, "batch_size": 256, "threads": 1, "device": "cpu"}
    pretrain(SMALL, out=tmp_path / "run", log=[own], cache=tmp_path / "cache", **options)
    run = PretrainRun(tmp_path / "run")
    steps = [(s["iteration"], {"step/loss": s["loss"], "step/lr": s["lr"]}) for s in run.steps()]
    assert own.values[:-1] == steps
    step, values = own.values[-1]
    (epoch,) = run.epochs()
    assert step == 5
    assert values["epoch/loss"] == epoch["loss"]
    for name in ("rankme", "lidar", "alpha"):
        assert values[f"watch/{name}"] == epoch[name]
    assert values["epoch/linear"] == epoch["linear"]
    assert values["watch/largest_prototype"] == max(epoch["prototype_shares"])
    assert sum(epoch["prototype_shares"]) == pytest.approx(1, abs=1e-4)
    assert own.closed == 1
