"""The reference study: its pages say what its journals give, and its report can be made again."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "results" / "reference"
PAGE = (STUDY / "README.md").read_text()
RUNS = (
    *(f"anynetx{letter}" for letter in "abcde"),
    *("widths-decreasing", "regnetx", "regnety"),
)
SUMMARY = json.loads((STUDY / "report" / "summary.json").read_text())
MIB = 2**20


def trials(run):
    return pd.read_json(STUDY / run / "trials.jsonl", lines=True)


def row(claim):
    """A claim as the pages show it, but for what the paper found."""
    digits = "+.2f" if claim["p"] is not None else "g"
    estimate, low, high = (format(claim[key], digits) for key in ("estimate", "low", "high"))
    numbers = f"{estimate} ({low} to {high})".replace("-", "−")
    return f"| {claim['claim']} | {numbers} | {claim['verdict']} |"


def numbers_equal(one, other):
    """Whether two JSON values are equal, numbers up to what another processor may round."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(numbers_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(numbers_equal, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return one == pytest.approx(other, rel=1e-9, abs=1e-9)
    return one == other


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """A copy of the study whose reports are made again from its journals."""
    folder = tmp_path_factory.mktemp("again") / "reference"
    shutil.copytree(
        STUDY, folder, ignore=shutil.ignore_patterns("report", "checkpoints", "exported")
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["sh", folder / "study.sh", "none", "1", "report"],
        check=True,
        capture_output=True,
        env={**os.environ, "PATH": path, "OUT": ""},
    )
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "report/summary.json",
        "loop/report/summary.json",
        "se/report/summary.json",
        *(
            f"report/{run}-{what}.json"
            for run in ("anynetxa", "regnetx")
            for what in ("long", "seeds")
        ),
    ],
)
def test_the_kept_journals_give_the_kept_results_again(again, name):
    kept, made = (json.loads((folder / name).read_text()) for folder in (STUDY, again))
    assert numbers_equal(made, kept)


def test_every_population_has_all_its_models_by_one_recipe_and_one_split():
    for run in RUNS:
        table = trials(run)
        assert sorted(table["index"]) == list(range(64)), run
        assert set(table["state"]) == {"complete"}, run
        assert set(table["split"]) == {"held-out 10% of train, seed 0"}, run
    recipes = {(STUDY / run / "recipe.yaml").read_text() for run in RUNS}
    assert len(recipes) == 1


@pytest.mark.parametrize("page", [STUDY / "README.md", ROOT / "README.md"])
def test_the_claims_stand_in_the_pages_as_they_were_judged(page):
    lines = page.read_text().splitlines()
    for claim in SUMMARY["claims"]:
        assert any(line.startswith(row(claim)) for line in lines), row(claim)


def test_the_populations_stand_in_the_page_as_they_are():
    for run in RUNS:
        errors = trials(run)["error"]
        assert (
            f"| `{run}` | {errors.min():.1f} | {errors.mean():.2f} | {errors.std():.2f} |" in PAGE
        )


def test_the_derived_models_stand_in_the_page_as_they_were_tested():
    seeds = [trials(f"derived/seed-{seed}").sort_values("index") for seed in range(3)]
    models = pd.read_json(STUDY / "derived/seed-0/population.jsonl", lines=True)
    for index, name in enumerate(("from-findings", "from-published", "from-best-drawn")):
        errors = [table["error"].iloc[index] for table in seeds]
        each = ", ".join(f"{error:.2f}" for error in errors)
        words = f"| `{name}` | {models.flops[index]:,} | {np.mean(errors):.2f} | {each} |"
        assert words in PAGE


def test_how_far_to_trust_it_stands_in_the_page():
    for run in ("anynetxa", "regnetx"):
        (long,) = json.loads((STUDY / "report" / f"{run}-long.json").read_text())["schedules"]
        seeds = json.loads((STUDY / "report" / f"{run}-seeds.json").read_text())["seeds"]
        agreement = f"{long['spearman']:.2f} ({long['low']:.2f} to {long['high']:.2f})"
        (line,) = re.findall(rf"^\| `{run}` \| {re.escape(agreement)} \|.*$", PAGE, re.M)
        sds = (seeds["seed_sd"], trials(run)["error"].std())
        assert line.endswith(" | ".join(["", *(f"{sd:.2f}" for sd in sds), ""]).rstrip())


@pytest.mark.parametrize("part", ["loop", "se"])
def test_what_was_compared_beside_the_claims_stands_in_the_page(part):
    (pair,) = json.loads((STUDY / part / "report" / "summary.json").read_text())["comparisons"]
    mean = pair["mean"]
    words = f"{mean['value']:+.2f} ({mean['low']:+.2f} to {mean['high']:+.2f})"
    assert words.replace("-", "−") in " ".join(PAGE.split())


def test_no_test_image_chose_anything():
    tested = {
        path.parent.relative_to(STUDY).as_posix()
        for path in STUDY.rglob("trials.jsonl")
        if '"split": "test"' in path.read_text()
    }
    assert tested == {f"derived/seed-{seed}" for seed in range(3)}


def test_it_is_small():
    files = [
        path for path in STUDY.rglob("*") if path.is_file() and "checkpoints" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files) < 20 * MIB
