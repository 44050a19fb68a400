"""Journals and checkpoints cut at every byte, and with every byte changed: never a wrong result."""

import io
import json
import random
import shutil

import pytest
import torch
import yaml
from disturbed import clear, places, tried

from designspace.errors import InputError
from designspace.io import journal
from designspace.runs import Run
from designspace.training import checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def run(small_study, tmp_path):
    """A copy of the trained run folder."""
    return Run(shutil.copytree(small_study.trained, tmp_path / "run"))


def flips(content, times):
    """Yield the content with each byte changed, one bit in turn; a quick share: some bytes."""
    for place in range(0, len(content), times(1, 31)):
        for bit in {place % 8, 5 * times(1, 0)}:
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            yield place, bytes(changed)


def test_trials_cut_at_every_byte(run, small_study, times):
    path = run.trials_file
    whole = path.read_bytes()
    records = journal.read(path).records
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(0, len(whole) + 1, times(1, 41)):
        path.write_bytes(whole[:cut])
        # A record that lacks only its newline is whole.
        kept = sum(end - 1 <= cut for end in ends)
        assert {t.index for t in run.trials()} == {r["index"] for r in records[:kept]}, cut
        # What training goes on with: the rest is appended, and all is as it was.
        journal.append(path, records[kept:])
        assert small_study.results(run.path) == small_study.results(small_study.trained), cut


def test_every_byte_of_a_record_of_trials_changed(run, times):
    path = run.trials_file
    lines = path.read_bytes().splitlines(keepends=True)
    true = {trial.index: trial for trial in run.trials()}
    for number in times(range(len(lines)), (0, len(lines) - 1)):
        for place, changed in flips(lines[number], times):
            path.write_bytes(b"".join([*lines[:number], changed, *lines[number + 1 :]]))
            found, message = tried(run.trials)
            if found is None:
                assert f"{path}, line {number + 1}" in message, (place, message)
                assert "correct or delete that line" in message, (place, message)
                continue
            # Unnoticed are a lost last newline and a damaged name of the checksum: all is true.
            for trial in found:
                assert trial == true[trial.index], place
            assert len(found) >= len(true) - 1, place


def test_the_population_cut_at_every_byte(run, refused, times):
    path = run.population_file
    whole, expected = path.read_bytes(), run.population().ids
    for cut in range(0, len(whole) - 1, times(1, 97)):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="run the same `designspace sample` again") as caught:
            run.population()
        assert str(path) in str(caught.value)
    path.write_bytes(whole[:-1])
    assert run.population().ids == expected
    path.write_bytes(whole[: len(whole) // 2])
    clear(refused("status", run.path), path, "to restore it")


def test_every_byte_of_the_population_changed(run, times):
    path = run.population_file
    lines = path.read_bytes().splitlines(keepends=True)
    before = list(run.population().records())
    number = 1
    for place, changed in flips(lines[number], times):
        path.write_bytes(b"".join([*lines[:number], changed, *lines[number + 1 :]]))
        found, message = tried(run.population)
        if found is None:
            assert str(path) in message, place
            continue
        assert list(found.records()) == before, place


def resolved(run):
    """What space.yaml and recipe.yaml say, and can be used for."""
    run.population()
    return run.space(), run.recipe(), run.data()


@pytest.mark.parametrize("name", ["space.yaml", "recipe.yaml"])
def test_every_byte_of_what_was_resolved_changed(run, name, times):
    path = run.path / name
    whole = path.read_bytes()
    before = resolved(run)
    for place, changed in flips(whole, times):
        path.write_bytes(changed)
        found, message = tried(resolved, run)
        if found is None:
            assert str(run.path) in message, place
            continue
        # A comment, or the name of the fingerprint: what is read is what was written.
        assert found[1:] == before[1:], place
        assert before[0].items() <= found[0].items(), place


def test_a_journal_full_of_zeros_after_a_power_cut(run, refused, cli):
    """As file systems leave it that lost the last block: the length is there, the bytes are not."""
    path = run.trials_file
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + b"\0" * 40)
    assert len(run.trials()) == 3
    assert "the last line of trials.jsonl is incomplete" in cli("status", run.path).out
    journal.append(path, [])
    assert b"\0" not in path.read_bytes()
    path.write_bytes(whole[:40] + b"\0" * 40 + whole[80:])
    clear(refused("status", run.path), f"{path}, line 1", "correct or delete that line")


def state_bytes():
    generator = torch.Generator().manual_seed(0)
    state = {"network": {"w": torch.randn(300, generator=generator)}, "curve": [1.0, 2.0]}
    file = io.BytesIO()
    torch.save({"format": 1, "key": "k", **state}, file)
    return file.getvalue()


def test_a_checkpoint_cut_or_changed_anywhere_is_never_taken_for_whole(tmp_path, times):
    """No state is better than a wrong one: training begins anew, and ends the same."""
    path, whole = tmp_path / "0.pt", state_bytes()
    path.write_bytes(whole)
    true = checkpoint.load(path, "k", CPU)
    assert torch.equal(true["network"]["w"], torch.load(path)["network"]["w"])
    for cut in range(0, len(whole), times(7, 101)):
        path.write_bytes(whole[:cut])
        assert checkpoint.load(path, "k", CPU) is None, cut
    chance = random.Random(0)
    for place in range(0, len(whole), times(1, 23)):
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        found = checkpoint.load(path, "k", CPU)
        # What is not noticed lies in names and dates of the archive, and changes no number.
        if found is not None:
            assert torch.equal(found["network"]["w"], true["network"]["w"]), place
            assert found["curve"] == true["curve"], place


def test_a_checkpoint_with_a_hole_of_zeros(tmp_path):
    path, whole = tmp_path / "0.pt", state_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + b"\0" * 64 + whole[middle + 64 :])
    assert checkpoint.load(path, "k", CPU) is None


HOSTILE = [
    None,
    True,
    -1,
    0,
    10**30,
    1e400,
    float("nan"),
    "",
    "x",
    "9" * 200,
    [],
    {},
    [[]],
    {"": 0},
]


def used(run):
    """Read all of a run folder, as training does."""
    run.population()
    journal.append(run.trials_file, [trial.to_record() for trial in run.trials()])
    if run.recipe() is not None:
        run.check_training(run.recipe(), run.data())
    run.status().to_dict()


def replaced(data, path, value):
    """Return nested data with one value replaced."""
    copy = json.loads(json.dumps(data))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


@pytest.mark.parametrize("name", ["trials.jsonl", "population.jsonl", "space.yaml", "recipe.yaml"])
def test_any_value_of_a_run_folder_replaced_by_hand(run, name, times):
    """As people and programs edit them: without checksum, and with whatever in it."""
    path = run.path / name
    if name.endswith("jsonl"):
        first, *rest = [dict(r) for r in journal.read(path).records]
    else:
        first, rest = yaml.safe_load(path.read_text()), []
        first.pop("fingerprint", None)
    for number, place in enumerate(places(first)):
        for value in HOSTILE[number % times(1, 14) :: times(1, 14)]:
            changed = replaced(first, place, value)
            if rest:
                text = "".join(json.dumps(r) + "\n" for r in [changed, *rest])
            else:
                text = yaml.safe_dump(changed)
            path.write_text(text)
            _, message = tried(used, run)
            if message is not None:
                assert str(run.path) in message, (place, value, message)
                assert "\n" not in message, (place, value)


def test_any_value_of_a_summary_replaced_by_hand(study, tmp_path, times):
    """What `derive --from` and `export --best` read."""
    from designspace.analysis.read_findings import read_findings

    _, analysis = study
    summary = json.loads((analysis / "summary.json").read_text())
    kept = {key: summary[key] for key in ("populations", "bootstrap", "best")}
    kept["best"] = {name: entries[:2] for name, entries in kept["best"].items()}
    for number, place in enumerate(places(kept)):
        for value in HOSTILE[number % times(1, 14) :: times(1, 14)]:
            (tmp_path / "summary.json").write_text(json.dumps(replaced(kept, place, value)))
            found, message = tried(read_findings, tmp_path)
            if found is not None:
                _, message = tried(found.models, 2)
            assert message is None or "\n" not in message, (place, value)
