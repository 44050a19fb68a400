"""A fresh clone with an environment of its own, and the pages from top to bottom.

It takes minutes and 6 GB of disk, so it runs only with --newcomer: `make newcomer`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from test_readme import run_pages

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def clone(request, tmp_path_factory):
    """A clone of the last commit, set up by `make install` with nothing but Python and make."""
    if not request.config.getoption("--newcomer"):
        pytest.skip("needs --newcomer: it sets up a fresh clone, which takes minutes")
    folder = tmp_path_factory.mktemp("newcomer") / "designspace"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    make(folder, "install")
    yield folder
    shutil.rmtree(folder)


def surroundings():
    """The environment without this one's Python, limits to one core, and a home."""
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "HOME", "OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    kept = {key: value for key, value in os.environ.items() if key not in dropped}
    own = str(Path(sys.prefix) / "bin")
    path = os.pathsep.join(p for p in kept["PATH"].split(os.pathsep) if p != own)
    return {**kept, "PATH": path, "HOME": "/nonexistent"}


def make(folder, target):
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    done = subprocess.run(
        ["make", target, f"PYTHON={python}"],
        cwd=folder,
        env=surroundings(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_pages_run_in_a_fresh_clone(clone):
    before = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True
    )
    assert before.stdout == ""

    def run(*words):
        done = subprocess.run(words, cwd=clone, env=surroundings(), capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr[-3000:])

    binaries = clone / ".venv" / "bin"
    ran = run_pages(
        clone,
        lambda words: run(binaries / "designspace", *words),
        lambda text: run(binaries / "python", "-c", text),
    )
    assert ran >= 12


def test_the_demo_runs_in_a_fresh_clone(clone):
    make(clone, "demo")
    assert (clone / "results" / "demo").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
def test_another_user_without_a_home_can_use_it(clone):
    """Nothing is kept in the home or beside the code: there is no right to write there."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    # May read what root may, where Python lies in root's home; may write nothing.
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    nobody += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    for words in (
        "sample AnyNetXA@8 -n 2 --flops 300k:1M --out r",
        "train r --data digits --recipe quick --epochs 1",
        "analyze r --out report",
        "derive --family regnety --flops 400M --out model.yaml",
        "export model.yaml --to torchvision --out exported",
    ):
        done = subprocess.run(
            [*nobody, clone / ".venv/bin/designspace", *words.split()],
            cwd=place,
            env=surroundings(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (words, done.stderr[-3000:])
    shutil.rmtree(place)
