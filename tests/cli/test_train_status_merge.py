"""The verbs train, status and merge as people call them."""

import json
import shutil

import pytest
import yaml

from designspace.runs import Run, Trial, TrialState
from designspace.runs.heartbeat import Heartbeat
from designspace.runs.status import RunStatus


@pytest.fixture
def run(cli, tmp_path):
    """A run folder of four models at 8 pixels."""
    path = tmp_path / "run"
    assert cli("sample", "AnyNetXE@8", "-n", 4, "--flops", "100K:300K", "--out", path).code == 0
    return path


def fill(path, results):
    """Write trials with these errors (None: failed) into a run folder."""
    from designspace.runs import Run

    folder = Run.open(path)
    ids = folder.population().ids
    states = {True: TrialState.FAILED, False: TrialState.COMPLETE}
    folder.append_trials(
        [
            Trial(ids[i], i, states[e is None], e, (), 1.0, 0, reason="" if e else "out of memory")
            for i, e in results.items()
        ]
    )
    return folder


def test_train_on_the_digits(cli, run, tmp_path, worker_processes):
    words = ("train", run, "--data", "digits", "--recipe", "quick", "--epochs", 2, "--jobs", 1)
    outcome = cli(*words, "--limit", 1, "--cache", tmp_path / "home", "--device", "cpu")
    assert outcome.code == 0, outcome
    assert outcome.out == "1 of 1 models: 1 complete\n"
    record = json.loads((run / "trials.jsonl").read_text())
    assert record["state"] == "complete"
    assert record["split"] == "held-out 20% of train, seed 0"
    assert len(record["curve"]) == 2
    # Run again it needs no options, and has nothing to do.
    again = cli("train", run, "--only", "0", "--cache", tmp_path / "home")
    assert again.out == "1 of 1 models: 1 complete\n"


def test_status_names_lost_devices(cli, run):
    folder = Run.open(run)
    beat = Heartbeat(4, 0.0, None, {}, lost={"cuda:3": "CUDA error: ECC"})
    with folder.lock():
        beat.write(folder.heartbeat_file)
        assert "cuda:3 is lost: CUDA error: ECC" in cli("status", run).out.splitlines()


@pytest.mark.slow
def test_a_run_remembers_how_it_is_executed(cli, run, tmp_path):
    def train(*words):
        outcome = cli("train", run, "--cache", tmp_path / "home", "--jobs", 1, "--limit", 1, *words)
        assert outcome.code == 0, outcome
        return yaml.safe_load((run / "recipe.yaml").read_text())

    first = train(
        *("--data", "digits", "--recipe", "quick", "--epochs", 1, "--precision", "fp32"),
        *("--device", "cpu", "--time-limit", 600, "--exact"),
    )
    assert first["precision"] == "fp32"
    assert first["execution"] == {"device": "cpu", "exact": True, "time_limit": 600.0}
    assert train() == first
    last = train("--time-limit", "inf", "--no-exact", "--limit", 2)
    assert last["execution"] == {"device": "cpu"}
    assert {**last, "fingerprint": ""} == {
        **first,
        "execution": last["execution"],
        "fingerprint": "",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--recipe is missing"),
        (("--recipe", "quick"), "--data is missing"),
        (("--recipe", "quik", "--data", "digits"), "did you mean quick"),
        (("--recipe", "quick", "--data", "digit"), "did you mean digits"),
        (("--recipe", "quick", "--data", "folder:nowhere"), "no folder nowhere"),
        (("--recipe", "quick", "--data", "digits", "--val", "test"), "no test images"),
        (("--recipe", "quick", "--data", "digits", "--only", "9"), "models 0 to 3"),
        (("--recipe", "quick", "--data", "digits", "--epochs", "0"), "epochs"),
        (("--recipe", "quick", "--data", "digits", "--device", "abacus"), "abacus"),
        (("--recipe", "quick", "--data", "digits", "--precision", "fp8"), "precision"),
        (
            ("--recipe", "quick", "--data", "digits", "--device", "cpu", "--precision", "bf16"),
            "--precision is 'bf16'; cpu computes in fp32",
        ),
    ],
)
def test_train_refuses(refused, run, words, said, tmp_path):
    message = refused("train", run, *words, "--cache", tmp_path / "home")
    assert said in message
    assert not (run / "trials.jsonl").exists()


def test_training_of_which_nothing_is_left_exits_1(cli, run, tmp_path):
    words = ("--data", "digits", "--recipe", "quick", "--cache", tmp_path / "home", "--jobs", 1)
    outcome = cli("train", run, *words, "--limit", 1, "--time-limit", 1e-6)
    assert outcome.code == 1
    assert outcome.out == "1 of 1 models: 0 complete, 1 failed (--retry trains them again)\n"


def test_train_refuses_other_folders(refused, tmp_path):
    assert "no run folder" in refused("train", tmp_path / "x", "--data", "digits")
    assert "is not a run folder" in refused("train", tmp_path, "--data", "digits")


def test_several_runs_stop_when_they_are_separated(cli, refused, run, tmp_path):
    other, home = tmp_path / "other", ("--cache", tmp_path / "home")
    words = ("-n", 40, "--flops", "100K:300K", "--out")
    assert cli("sample", "AnyNetXE@8", *words, other).code == 0
    assert cli("sample", "AnyNetXE@8", *words, run).code == 0
    fill(run, {i: 20.0 + i % 3 for i in range(39)})
    fill(other, {i: 60.0 + i % 3 for i in range(39)})
    train = ("train", run, other, "--data", "digits", "--recipe", "quick", *home)
    outcome = cli(*train, "--until", 0.95)
    assert outcome.code == 0, outcome
    assert "may stop, at level 0.95" in outcome.err
    assert f"the mean error of {other} is higher than that of {run}" in outcome.err
    assert outcome.out == "".join(f"{r}: 39 of 40 models: 39 complete\n" for r in (run, other))
    assert [end["complete"] for end in json.loads(cli(*train, "--until", 0.95, "--json").out)] == [
        39,
        39,
    ]
    assert "name two or more" in refused("train", run, *train[3:], "--until", 0.95)
    assert "--until is 95" in refused(*train, "--until", 95)


def test_status_accounts_for_every_model(cli, refused, run):
    fill(run, {0: 10.0, 2: 20.0, 3: None})
    status = json.loads(cli("status", run, "--json").out)
    assert status["n"] == 4
    assert [status[key] for key in ("complete", "diverged", "failed")] == [2, 0, 1]
    assert (status["running"], status["waiting"], status["at_work"]) == (0, 1, False)
    assert status["error"] == {"min": 10.0, "mean": 15.0, "median": 15.0, "max": 20.0}
    assert [f["reason"] for f in status["failures"]] == ["out of memory"]
    assert "--watch and --json exclude" in refused("status", run, "--watch", "--json")
    text = cli("status", run).out
    assert "4 models: 2 complete, 1 failed, 1 waiting" in text
    assert "model 3 failed: out of memory" in text
    assert "[10.0 | 15.0], n = 2" in text


def test_status_prints_how_to_resume(cli, run):
    assert "\nnot running\n" in cli("status", run).out + "\n"  # no recipe yet
    folder = fill(run, {0: 10.0})
    folder.recipe_file.write_text("name: x\n")
    folder.checkpoints.mkdir()
    assert f"not running; `designspace train {run}` resumes\n" in cli("status", run).out
    for name in ("00000.pt", "00001.pt", "00003.pt", "00003.pt.tmp"):  # model 0 is finished
        (folder.checkpoints / name).write_bytes(b"")
    text = cli("status", run).out
    assert "resumes, and 2 models continue from a checkpoint\n" in text
    assert json.loads(cli("status", run, "--json").out)["checkpoints"] == 2
    fill(run, {1: 10.0, 2: 10.0, 3: None})
    assert f"`designspace train {run} --retry` trains the failed models" in cli("status", run).out
    spaced = run.rename(run.parent / "my run")
    assert f"`designspace train '{spaced}' --retry`" in cli("status", spaced).out


def test_watching_ends_when_no_process_trains(cli, run):
    fill(run, {0: 10.0})
    assert "1 complete" in cli("status", run, "--watch").out


def test_the_edf_lines_rises_from_the_left_to_1():
    from designspace.cli.status import edf_lines

    rows = [line.partition("│")[2] for line in edf_lines([10.0, 12.0, 20.0]) if "│" in line]
    heights = ["".join(row[i] for row in rows).count("█") for i in range(60)]
    assert heights == sorted(heights)
    assert heights[0] == 3
    assert heights[30] == 6
    assert heights[-1] == 10
    assert edf_lines([]) == []
    assert edf_lines([5.0, 5.0])[-1].split() == ["5.0", "5.0"]


def halves(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    return fill(run, {0: 10.0, 1: 11.0}).path, fill(other, {2: 12.0, 3: 13.0}).path


def test_merge_makes_halves_whole(cli, run, tmp_path):
    one, two = halves(run, tmp_path)
    outcome = cli("merge", one, two, "--out", tmp_path / "whole", "--json")
    merged = json.loads(outcome.out)
    assert (merged["n"], merged["trials"], merged["added"]) == (4, 4, 4)
    status = json.loads(cli("status", tmp_path / "whole", "--json").out)
    assert (status["complete"], status["error"]["mean"]) == (4, 11.5)
    # Again it changes nothing, and into one of them it brings what was missing.
    again = json.loads(cli("merge", one, two, "--out", tmp_path / "whole", "--json").out)
    assert (again["added"], again["repeated"]) == (0, 4)
    into = json.loads(cli("merge", one, two, "--out", one, "--json").out)
    assert (into["trials"], into["added"]) == (4, 2)


def test_merge_keeps_what_disagrees_and_says_so(cli, run, tmp_path):
    one, two = halves(run, tmp_path)
    fill(two, {1: 99.0})
    outcome = cli("merge", one, two, "--out", tmp_path / "whole")
    assert "trained twice with different results; the first trial counts: 1" in outcome.out
    records = (tmp_path / "whole" / "trials.jsonl").read_text().splitlines()
    assert len(records) == 5
    assert json.loads(cli("status", tmp_path / "whole", "--json").out)["error"]["max"] == 13.0


def test_merge_prefers_a_finished_trial_to_a_failed_one(cli, run, tmp_path):
    one, two = halves(run, tmp_path)
    extra = tmp_path / "third"
    shutil.copytree(two, extra)
    (extra / "trials.jsonl").unlink()
    fill(extra, {0: None, 2: None})
    cli("merge", extra, one, two, "--out", tmp_path / "whole")
    status = json.loads(cli("status", tmp_path / "whole", "--json").out)
    assert (status["complete"], status["failed"]) == (4, 0)


def test_merge_refuses_other_populations(cli, refused, run, tmp_path):
    other = tmp_path / "seed1"
    words = ("-n", 4, "--flops", "100K:300K", "--seed", 1, "--out", other)
    assert cli("sample", "AnyNetXE@8", *words).code == 0
    said = refused("merge", run, other, "--out", tmp_path / "whole")
    assert "hold different populations" in said


def test_merge_refuses_other_training(refused, run, tmp_path):
    from designspace.runs import DataRecord, load_recipe

    one, two = halves(run, tmp_path)
    data = DataRecord("digits", "held-out", "held-out 20%", 0, 10, 9, 9, "c")
    for path, seed in ((one, 0), (two, 1)):
        recipe = load_recipe("quick").at(8)
        fill(path, {}).begin_training(recipe, DataRecord(**{**data.to_dict(), "seed": seed}))
    assert "seed: 0, 1" in refused("merge", one, two, "--out", tmp_path / "whole")


def test_a_failed_model_that_is_trained_again_is_not_counted_twice():
    trials = tuple(
        Trial(f"m{i}", i, state, error, (), 1.0, 0)
        for i, state, error in (
            (0, TrialState.COMPLETE, 20.0),
            (1, TrialState.COMPLETE, 30.0),
            (2, TrialState.FAILED, None),
        )
    )
    live = Heartbeat(total=1, per_hour=0.0, seconds_left=None, running={2: 0.0})
    assert RunStatus("a", 4, trials, live).to_dict()["waiting"] == 1
