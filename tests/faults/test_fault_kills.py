"""kill -9 and SIGTERM at random moments: run again, the same command ends as if undisturbed."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from disturbed import Command, clear
from training_fixtures import Inline

from designspace.io.file_lock import lock_holder, process_name
from designspace.pretraining.pretrain_run import PretrainRun
from designspace.pretraining.recipe import load_recipe
from designspace.training import train_runs


def strike(kills, start, fresh, whole, longest, seed=0):
    """Kill what `start(place)` starts, at random moments, until it was killed so often.

    Each time that it comes to its end, what it made must be `whole(place)`, and it begins anew at
    the next `fresh(number)` place.
    """
    chance, number = random.Random(seed), 0
    place = fresh(number)
    while kills:
        command = start(place)
        if command.stop(chance.uniform(0, longest)):
            command.end()
            kills -= 1
            continue
        assert command.end().code == 0
        whole(place)
        number += 1
        place = fresh(number)
    outcome = start(place).end()
    assert outcome.code == 0, outcome
    whole(place)


def test_kill_9_of_the_driver(small_study, times):
    expected = small_study.results(small_study.trained)

    def whole(place):
        assert small_study.results(place) == expected
        assert not list((place / "checkpoints").iterdir())

    strike(
        times(20, 1),
        lambda place: Command(*small_study.train(place)),
        lambda number: small_study.copy(f"driver{number}"),
        whole,
        longest=times(8, 2),
    )


@pytest.mark.slow
def test_kill_9_of_workers(small_study, times):
    chance, kills, number = random.Random(1), times(20, 1), 0
    while kills > 0:
        place = small_study.copy(f"workers{number}")
        number += 1
        failed = True
        while failed:
            # A model that loses three workers fails, and is tried again when asked.
            command = Command(*small_study.train(place, "--retry"), in_process=False)
            while command.alive() and kills > 0:
                time.sleep(chance.uniform(0.2, 3))
                workers = command.workers()
                if workers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(workers), signal.SIGKILL)
                        kills -= 1
            outcome = command.end()
            assert outcome.code == (1 if ": 0 complete" in outcome.out else 0), outcome
            failed = "failed" in outcome.out
        assert small_study.results(place) == small_study.results(small_study.trained)


@pytest.fixture(scope="module")
def pretraining(small_study, tmp_path_factory):
    """Return a function that gives the words of a pretraining into a folder of its home."""
    home = tmp_path_factory.mktemp("pretraining")
    recipe = load_recipe("quick").to_dict()
    recipe |= {"queue": {"length": 256, "from_epoch": 1}, "epochs": 4, "knn_every": 2}
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    def words(out):
        return (
            *("pretrain", small_study.home / "small.yaml", "--data", "digits"),
            *("--recipe", home / "recipe.yaml", "--out", home / out),
            *("--cache", home / "cache", "--threads", 1, "--device", "cpu"),
        )

    return words


@pytest.fixture(scope="module")
def undisturbed(pretraining):
    """The folder of a whole pretraining."""
    words = pretraining("undisturbed")
    assert Command(*words).end().code == 0
    return words[words.index("--out") + 1]


@pytest.mark.slow
def test_kill_9_of_pretraining(pretraining, undisturbed, times):
    expected = told(undisturbed)

    def whole(place):
        assert same(told(place), expected)

    strike(
        times(20, 1),
        lambda place: Command(*pretraining(place)),
        lambda number: undisturbed.parent / f"killed{number}",
        whole,
        longest=5,
    )


def told(place):
    """All that a pretraining found out: losses, epochs without their clocks, and the state."""
    folder = PretrainRun(Path(place))
    clocks = ("images_per_second", "crop_share", "alarms")
    epochs = [{k: v for k, v in e.items() if k not in clocks} for e in folder.epochs()]
    state, notes = folder.load(torch.device("cpu"))
    assert not notes
    return folder.steps(), epochs, state, torch.load(folder.trunk_file, weights_only=True)


def same(one, other):
    """Whether nested data is equal, tensors to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_kill_9_of_sampling(tmp_path, times):
    def start(place):
        words = ("-n", 3000, "--flops", "100K:3M", "--out", place)
        return Command("sample", "AnyNetXA@8", *words)

    assert start(tmp_path / "whole").end().code == 0

    def whole(place):
        for name in ("population.jsonl", "space.yaml"):
            assert (place / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert not list(place.glob(".population*"))

    strike(times(20, 1), start, lambda number: tmp_path / f"killed{number}", whole, longest=1)


@pytest.mark.slow
def test_kill_9_of_the_report(small_study, tmp_path, times):
    def start(place):
        return Command("analyze", small_study.trained, "--out", place)

    assert start(tmp_path / "whole").end().code == 0

    def names(place):
        return sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file())

    def whole(place):
        assert names(place) == names(tmp_path / "whole")
        for name in ("index.html", "summary.json", "figures/edf.svg", "tables/models.csv"):
            assert (place / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    strike(times(5, 1), start, lambda number: tmp_path / f"killed{number}", whole, longest=4)


@pytest.mark.parametrize(
    "group",
    [False, True],
    ids=["the driver", "its whole group"],
)
@pytest.mark.slow
def test_a_batch_system_ends_training_by_sigterm(small_study, times, group):
    chance, place = random.Random(2), small_study.copy(f"batch{group}")
    for _ in range(times(4, 1)):
        command = Command(*small_study.train(place), in_process=False)
        if not command.stop(chance.uniform(1, 6), signal.SIGTERM, group):
            break
        outcome = command.end(60)
        if outcome.code == 0:  # it was through when the signal came
            break
        assert outcome.code == 143, outcome
        clear(outcome.err, "stopped", f"`designspace train {place}` resumes")
        wait_for_the_end_of(command.pid)
    assert Command(*small_study.train(place)).end().code == 0
    assert small_study.results(place) == small_study.results(small_study.trained)


def wait_for_the_end_of(group):
    """Wait until no process of a group is left."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("a worker is still there")


@pytest.mark.slow
def test_a_batch_system_ends_pretraining_by_sigterm(pretraining, undisturbed):
    place = undisturbed.parent / "ended"
    command = Command(*pretraining(place))
    if command.stop(1.5, signal.SIGTERM):
        outcome = command.end(60)
        assert outcome.code in (0, 143), outcome
        if outcome.code:
            said = clear(outcome.err)
            assert f"resumes in {place}" in said or "finished work is kept" in said, said
    assert Command(*pretraining(place)).end().code == 0
    assert same(told(place), told(undisturbed))


def held(path, command):
    """Wait until a command holds a lock, and its file names it."""
    limit = time.monotonic() + 120
    while lock_holder(path) != process_name(command.pid):
        assert command.alive()
        assert time.monotonic() < limit
        time.sleep(0.02)


class Unanswered(Inline):
    """Workers that never answer."""

    def wait(self, seconds):
        time.sleep(600)


def train_without_end():
    """Let a command that trains wait for ever: it writes no checkpoint and no trial."""
    train_runs.LokyWorkers = lambda jobs, work, *_: Unanswered(1, work)


def test_two_drivers_of_a_run(small_study, refused, cli):
    place = small_study.copy("two")
    command = Command(*small_study.train(place), before=train_without_end)
    held(place / ".lock", command)
    holder, remedy = f"in use by process {command.pid} on", "wait for it or stop it"
    for words in (
        small_study.train(place),
        ("merge", place, small_study.trained, "--out", place),
        ("sample", "AnyNetXE@8", "--flops", "100K:300K", "-n", 5, "--out", place),
    ):
        clear(refused(*words), place, holder, remedy)
    assert cli("status", place).code == 0
    command.stop(0, signal.SIGKILL)
    command.end()
    # A dead process holds nothing, though its file is still there.
    assert (place / ".lock").exists()
    assert Command(*small_study.train(place)).end().code == 0
    assert small_study.results(place) == small_study.results(small_study.trained)


def test_two_pretrainings_in_one_folder(pretraining, refused):
    words = (*pretraining("two"), "--epochs", 500)
    place = words[words.index("--out") + 1]
    command = Command(*words)
    held(place / ".lock", command)
    said = refused(*words)
    clear(said, place, f"in use by process {command.pid} on", "wait for it or stop it")
    command.stop(0)
    command.end()


def test_two_samplings_at_once_are_one_of_them_not_a_mixture(tmp_path, cli, times):
    words = ("sample", "AnyNetXA@8", "-n", 300, "--flops", "100K:3M")
    for number in range(times(15, 1)):
        place = tmp_path / str(number)
        commands = [Command(*words, "--seed", seed, "--out", place) for seed in range(3)]
        outcomes = [command.end() for command in commands]
        assert sorted(outcome.code for outcome in outcomes)[0] == 0
        for outcome in outcomes:
            if outcome.code:
                assert outcome.code == 2, outcome
                clear(outcome.err, place)
        winner = [outcome.code for outcome in outcomes].index(0)
        alone = tmp_path / f"alone{winner}"
        assert cli(*words, "--seed", winner, "--out", alone).code == 0
        for name in ("population.jsonl", "space.yaml"):
            assert (place / name).read_bytes() == (alone / name).read_bytes()
