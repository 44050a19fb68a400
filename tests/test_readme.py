"""Every command and every line of Python in the pages runs, in order, in an empty folder."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / f"{folder}README.md" for folder in ("", "spaces/", "results/", "tests/")]
PAGES = [page for page in PAGES if page.exists()]
# Smaller than a user would choose, so that the test takes a minute: the commands are the same.
SMALLER = {
    "-n 32": "-n 8",
    "-n 100": "-n 3",
    "--recipe quick": "--recipe quick --epochs 1",
    "--epochs 4": "--epochs 1",
    "results/a:best": "results/a:0",
    "--task knn": "--task knn --seeds 1 --scratch-epochs 1 --no-tune-lr",
    "--task labelfree": "--task labelfree --seeds 1",
}
# What needs other machines or the user's own data, or takes minutes, has tests of its own.
ELSEWHERE = re.compile(r"--scheduler|lowshot|--cluster|folder:|imagenet:|--watch|merge|#")


def blocks(page):
    """Return the language and the text of each code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S)


def lines(page, program):
    """Return the arguments of each call of a program in the code blocks of a page."""
    texts = [text for language, text in blocks(page) if language == ""]
    found = re.findall(rf"^(?:\.venv/bin/)?{program} ([^#\n]*)", "".join(texts), re.M)
    return [shlex.split(arguments) for arguments in found]


def run_pages(folder, command, python):
    """Do what the pages say, in order, in a folder; return the number of commands.

    Args:
        folder: Where files are written.
        command: Called with the arguments of each `designspace` command.
        python: Called with each block of Python.
    """
    ran, table = 0, ""
    for language, text in (block for page in PAGES for block in blocks(page)):
        if language == "yaml":
            name = re.search(r"^(?:name|NAME): (\w+)", text, re.M)[1]
            (folder / f"{name}.yaml").write_text(text)
        elif language in ("csv", "json"):
            table = text
        elif language == "python":
            python(text)
        elif language == "":
            for line in text.splitlines():
                if line.startswith("designspace ") and not ELSEWHERE.search(line):
                    for long, short in SMALLER.items():
                        line = line.replace(long, short)
                    words = shlex.split(line)[1:]
                    if words[0] == "import":  # the table shown before it
                        (folder / words[1]).write_text(table)
                    command(words)
                    ran += 1
    return ran


def test_the_pages_run_from_top_to_bottom(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def command(words):
        outcome = cli(*words)
        assert outcome.code == 0, (words, outcome)

    def python(text):
        exec(compile(text, "README.md", "exec"), {})

    assert run_pages(tmp_path, command, python) >= 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pictures_and_files_that_pages_link_to_exist(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_verb_is_in_the_readme():
    from designspace.cli.main import app

    text = (ROOT / "README.md").read_text()
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        assert f"`{name}`" in text, name


def test_make_targets_that_pages_name_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {
        target for page in PAGES for target in re.findall(r"\bmake ([a-z-]+)`", page.read_text())
    }
    named |= {target for page in PAGES for target, *_ in lines(page, "make")}
    assert named >= {"demo", "test"}
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_calls_of_pytest_that_pages_name_select_tests(pytestconfig):
    calls = [arguments for page in PAGES for arguments in lines(page, "pytest")]
    assert calls
    for place, *options in calls:
        files = list((ROOT / place).rglob("test_*.py"))
        names = [
            f"{file.stem}::{name}"
            for file in files
            for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
        ]
        if "-k" in options:
            words = options.pop(options.index("-k") + 1).split(" and ")
            options.remove("-k")
            names = [name for name in names if all(word in name for word in words)]
        assert names, place
        for option in options:
            pytestconfig.getoption(option)  # raises where there is no such option


def test_the_table_of_faults_names_tests_that_exist():
    for page in PAGES:
        for name in re.findall(r"`(test_fault_\w+)`", page.read_text()):
            assert (ROOT / "tests" / "faults" / f"{name}.py").exists(), name
