"""Every command and every line of Python in the README runs, in order, in an empty folder."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
# Smaller than a person would choose, so that the test takes a minute: the commands are the same.
SMALLER = {
    "-n 32": "-n 12",
    "-n 100": "-n 3",
    "--recipe quick": "--recipe quick --epochs 2",
    "--task knn": "--task knn --seeds 1 --scratch-epochs 1",
}
# What waits for other machines or a person's own data, or takes minutes, has tests of its own.
ELSEWHERE = re.compile(r"--scheduler|lowshot|--cluster|folder:|imagenet:|--watch|merge|#")


def blocks():
    return re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(), re.M | re.S)


def run_readme(folder, command):
    """Do what the README says, in order, in a folder; return how many commands that were.

    Args:
        folder: Where files are written.
        command: Called with the words of each command behind `designspace`.
    """
    ran = 0
    for language, text in blocks():
        if language == "yaml":
            name = re.search(r"^name: (\w+)", text, re.M)[1]
            (folder / f"{name}.yaml").write_text(text)
        elif language == "":
            for line in text.splitlines():
                if line.startswith("designspace ") and not ELSEWHERE.search(line):
                    for long, short in SMALLER.items():
                        line = line.replace(long, short)
                    command(line.split()[1:])
                    ran += 1
    return ran


def test_the_readme_runs_from_top_to_bottom(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def command(words):
        outcome = cli(*words)
        assert outcome.code == 0, (words, outcome)

    assert run_readme(tmp_path, command) >= 12
    for language, text in blocks():
        if language == "python":
            exec(compile(text, "README.md", "exec"), {})


def test_pictures_and_files_that_it_names_exist():
    named = re.findall(r"\]\(([^)]+)\)", README.read_text())
    for target in named:
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target


def test_every_verb_is_in_the_readme():
    from designspace.cli.main import app

    text = README.read_text()
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        assert f"`{name}`" in text, name


@pytest.mark.parametrize("target", ["install", "demo", "test", "help", "lint"])
def test_make_targets_exist(target):
    makefile = (README.parent / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.M)
