"""Temporary files: those of a killed process are removed, and no others."""

import os
import subprocess
import sys

import pytest

from designspace.errors import InputError
from designspace.io.atomic_write import remove_temporary_files, temporary_path, write_text
from designspace.runs import load_recipe

KILLED = """
import os, signal, sys
from pathlib import Path
from designspace.io.atomic_write import temporary_path, write_bytes
os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
path = Path(sys.argv[1])
temporary_path(path).write_text("half")
write_bytes(path, b"whole")
"""


def test_what_a_killed_process_left_is_removed(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "trials.jsonl"], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    remove_temporary_files(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    [".env.template", ".env.defaults", ".index.html.abcd1234", ".a.designspace-abcd1234", ".x.tmp"],
)
def test_hidden_files_and_folders_of_the_user_stay(name, tmp_path):
    (tmp_path / name).write_text("mine")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / name).mkdir()
    for folder in (tmp_path, tmp_path / "below"):
        remove_temporary_files(folder)
    assert (tmp_path / name).read_text() == "mine"
    assert (tmp_path / "below" / name).is_dir()


def test_a_folder_named_as_a_temporary_file_stays(tmp_path):
    folder = temporary_path(tmp_path / "a")
    folder.mkdir()
    remove_temporary_files(tmp_path)
    assert folder.is_dir()


def test_a_written_file_leaves_no_other(tmp_path):
    write_text(tmp_path / "a.json", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_written_file_obeys_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a.json", "1")
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == mode


def test_a_folder_of_a_recipes_name_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("quick", "mine"):
        (tmp_path / name).mkdir()
    assert load_recipe("quick").name == "quick"
    with pytest.raises(InputError, match=r"mine is a folder; name a \.yaml file"):
        load_recipe("mine")
