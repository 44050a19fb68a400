"""The verbs `spaces` and `sample`, as a person types them."""

import json
import os
import signal
import subprocess
import sys

import pytest

import designspace as ds
from designspace.cli import main as cli_main
from designspace.space import shipped_spaces


def test_spaces_lists_all_with_their_reasons(cli):
    outcome = cli("spaces")
    assert outcome.code == 0
    for name in shipped_spaces():
        assert name in outcome.out
    assert "1.8e+18" in outcome.out
    assert "costs nothing" in outcome.out


def test_spaces_json(cli):
    records = json.loads(cli("spaces", "--json").out)
    assert [record["name"] for record in records] == shipped_spaces()
    a = records[0]
    assert (a["name"], a["parent"], a["dimensions"]) == ("AnyNetXA", None, 16)
    assert a["size"] == pytest.approx(1.8e18, rel=0.03)
    one = json.loads(cli("spaces", "RegNetY@16", "--json").out)
    assert len(one) == 1
    assert one[0]["space"]["input"]["resolution"] == 16


def test_what_spaces_shows_is_a_space_file(cli, tmp_path):
    path = tmp_path / "again.yaml"
    path.write_text(cli("spaces", "AnyNetXD@8").out)
    first, again = (
        json.loads(cli("spaces", name, "--json").out)[0]["hash"] for name in ("AnyNetXD@8", path)
    )
    assert first == again


@pytest.mark.parametrize(
    ("name", "size"),
    [("AnyNetXE", ", exactly 817,446,539,520;"), ("AnyNetXE-4widths", ", at most 817,446,539,520")],
)
def test_a_size_is_exact_or_a_bound(cli, name, size):
    assert size in cli("spaces", name).out
    (record,) = json.loads(cli("spaces", name, "--json").out)
    assert record["size_is_bound"] is ("most" in size)


def test_spaces_works_from_an_empty_folder(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("spaces").code == 0


def test_sample_writes_a_run_folder_and_repeats_itself(cli, tmp_path):
    words = ("sample", "AnyNetXA", "-n", 20, "--flops", "360M:400M", "--seed", 0)
    outcome = cli(*words, "--out", tmp_path / "a")
    assert outcome.code == 0
    assert "candidates tried, 20 accepted" in outcome.out
    before = (tmp_path / "a" / "population.jsonl").read_bytes()
    assert cli(*words, "--out", tmp_path / "a").code == 0
    assert cli(*words, "--out", tmp_path / "b").code == 0
    assert (tmp_path / "a" / "population.jsonl").read_bytes() == before
    assert (tmp_path / "b" / "population.jsonl").read_bytes() == before


def test_sample_json_and_other_budgets(cli, tmp_path):
    outcome = cli(
        *("sample", "RegNetX@16", "-n", 5, "--params", "50K:90K", "--acts", "20K:200K"),
        *("--json", "--out", tmp_path / "a"),
    )
    record = json.loads(outcome.out)
    assert record["tried"] == 5 + sum(record["refused"].values())
    for line in (tmp_path / "a" / "population.jsonl").read_text().splitlines():
        assert 50e3 <= json.loads(line)["params"] <= 90e3


BAD = [
    (("AnyNetXZ",), "did you mean AnyNet"),
    (("AnyNetXA", "--flops", "much"), "must be a range"),
    (("AnyNetXA", "--flops", "400M:300M"), "low end"),
    (("AnyNetXA", "-n", "0"), "-n is 0"),
    (("AnyNetXA", "--seed", "-1"), "seed is -1"),
    (("AnyNetXA", "--flops", "1K:2K", "--max-candidates", "1000"), "nearest seen: flops"),
    (("AnyNetXA", "--flops", "1K:2K", "--max-candidates", "1000"), "--max-candidates 10000"),
    (("AnyNetXA", "--flops", "400"), "--flops is '400'; it must be a range"),
    (("AnyNetXA", "--flops", "400"), "did you mean '400M±1%'?"),
    (("AnyNetXA", "--flops", "360:440", "--max-candidates", "1000"), "its models have flops "),
    (("AnyNetXA", "--flops", "360:440", "--max-candidates", "1000"), "mean --flops 360M:440M?"),
    (("RegNetX@8", "--params", "50±10%", "--max-candidates", "1000"), "mean --params 45K:55K?"),
    (("AnyNetXA", "--max-candidates", "0"), "--max-candidates is 0"),
    (("nothing.yaml",), "no file nothing.yaml"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(b[0]) for b in BAD])
def test_bad_input_to_sample(refused, tmp_path, words, message):
    assert message in refused("sample", *words, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_unwritable_place_is_reported(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    message = refused("sample", "AnyNetXA@8", "-n", 2, "--out", tmp_path / "file" / "run")
    assert "cannot make folder" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_reported(refused, tmp_path):
    tmp_path.chmod(0o500)
    assert "Permission denied" in refused("sample", "AnyNetXA@8", "-n", 2, "--out", tmp_path / "x")


def test_a_long_search_shows_progress_on_a_terminal_only(monkeypatch, capsys):
    from designspace.api import progress

    monkeypatch.setattr(progress, "_SEARCH_SHOWN_AFTER", 0.0)
    words = {"n": 1, "flops": "1:2", "max_candidates": 20_000}
    for terminal in (True, False):
        monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
        with pytest.raises(ds.InputError, match="0 of 1"):
            ds.sample("AnyNetXA@8", **words)
        assert ("candidates tried" in capsys.readouterr().err) == terminal
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(ds.InputError, match="0 of 1"):
        ds.sample("AnyNetXA@8", **words, progress=False)
    assert capsys.readouterr().err == ""


def test_unknown_options_and_verbs_exit_2(cli):
    assert cli("sample", "AnyNetXA", "--nonsense").code == 2
    assert cli("nonsense").code == 2


# The command; once it has worked for a while, it prints a line.
WORKING = """
import threading, time
from designspace.cli.main import main

def watch():
    while time.process_time() < 1.5:
        time.sleep(0.02)
    print("working", flush=True)

threading.Thread(target=watch, daemon=True).start()
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_exits_130_and_sigterm_143(tmp_path, number, code):
    words = f"sample AnyNetXA --flops 1:2 --max-candidates 1000000000 --out {tmp_path}/x"
    process = subprocess.Popen(
        [sys.executable, "-c", WORKING, *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "working\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in err
    assert "interrupted" in err


def test_ctrl_c_ends_an_import_without_a_traceback():
    interrupted = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'designspace.cli.sample': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from designspace.__main__ import main\n"
        "main()\n"
    )
    process = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True)
    assert process.returncode == -signal.SIGINT
    assert process.stderr == ""


def test_sigterm_exits_143_while_options_are_parsed_too(cli, monkeypatch):
    def terminated(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(cli_main._Commands, "parse_args", terminated)
    outcome = cli("sample", "AnyNetXA", "--out", "x")
    assert (outcome.code, outcome.err) == (143, "\ndesignspace: terminated\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sample", "AnyNetXA@8", "--out", ""), "--out is empty"),
        (("sample", "AnyNetXA@8", "--out", " "), "--out is empty"),
        (("sample", "AnyNetXA@8", "--out="), "--out is empty"),
        (("sample", "", "--out", "x"), "the value after sample is empty"),
        (("train", "", "--data", "digits"), "the value after train is empty"),
        (("merge", "a", "b", "--out", "\t"), "--out is empty"),
        (("analyze", "a", "--json", "", "--out", "x"), "the value after --json is empty"),
        (("derive", "--from", "RegNetY-16GF", "--scale", "2", "--out", ""), "--out is empty"),
        (("export", "RegNetY-16GF", "--out", ""), "--out is empty"),
        (("refine", "a", "--out", " "), "--out is empty"),
        (("import", "a.csv", "--out", ""), "--out is empty"),
        (("demo", "--out", ""), "--out is empty"),
        (("pretrain", "RegNetY-16GF", "--data", "digits", "--out", ""), "--out is empty"),
        (("evaluate", "a", "--out", ""), "--out is empty"),
        (("demo", "--models", "0"), "--models is 0; it must be at least 1"),
        (("demo", "--jobs", "0"), "--jobs is 0"),
        (("analyze", "a", "--margin", "nan"), "--margin is nan"),
        (("analyze", "a", "--margin", "-1"), "--margin is -1"),
        (("analyze", "a", "--margin", "inf"), "--margin is inf"),
    ],
)
def test_mistakes_are_reported_at_once_and_leave_no_files(
    refused, tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    assert said in refused(*words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("sample", "{long}", "--out", "x"),
        ("sample", "AnyNetXA@8", "-n", "2", "--out", "{long}"),
        ("train", "{long}", "--data", "digits"),
        ("status", "loop/x"),
        ("analyze", "{long}"),
        ("analyze", "loop"),
        ("complexity", "{long}"),
        ("derive", "--from", "{long}", "--flops", "1G", "--out", "m.yaml"),
        ("export", "loop", "--out", "x"),
        ("refine", "{long}", "--out", "a.yaml"),
        ("import", "{long}", "--out", "z"),
    ],
)
def test_paths_that_no_machine_takes(refused, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    refused(*(word.format(long="x" * 5000) for word in words))
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plot", "edff", "runs"), "'edff' is not one of 'edf', 'best-of-k'"),
        (("sample", "AnyNetXA", "--out", "a", "-n", "abc"), "must be a whole number"),
        (("measure", "a", "--time-limit", "abc"), "must be a number"),
    ],
)
def test_a_wrong_word_on_the_command_line_is_refused_in_plain_words(cli, words, message):
    outcome = cli(*words)
    assert outcome.code == 2
    text = outcome.out + outcome.err
    assert message in text
    assert "Value error" not in text
    assert "Input should" not in text
