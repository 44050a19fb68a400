"""The reference study: its pages say what its journals give, and its report can be reproduced.

A population has its 64 registered models or more; what is reported is what `summary.json` counts.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import designspace as ds
from designspace.io import journal

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "results" / "reference"
PAGE = (STUDY / "README.md").read_text()
SUMMARY = json.loads((STUDY / "report" / "summary.json").read_text())
COUNTED = {population["name"]: population["counted"] for population in SUMMARY["populations"]}
REGISTERED = {
    *(f"anynetx{letter}" for letter in "abcde"),
    *("widths-decreasing", "regnetx", "regnety"),
}
# Every report that `designspace study … --only report` writes.
REPORTS = sorted(
    path.relative_to(STUDY).as_posix()
    for pattern in ("report/*.json", "report/tables/*.csv")
    for path in STUDY.rglob(pattern)
)
# The folders with kept models that were sampled from a space; paired ones have another's models.
SAMPLED = [
    path.parent.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / "results").rglob("space.yaml"))
    if "axes" in yaml.safe_load(path.read_text()) and path.parent.parent.name != "paired"
]
JOURNALS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "results").rglob("*.jsonl"))
MIB = 2**20


def trials(run):
    return pd.read_json(STUDY / run / "trials.jsonl", lines=True).sort_values("index")


def errors(run):
    """Return the errors that the report counts: those of the first models, in sampled order."""
    return trials(run)["error"].iloc[: COUNTED[run]]


def row(claim):
    """A claim as the pages show it, but for what the paper found."""
    digits = "+.2f" if claim["p"] is not None else "g"
    estimate, low, high = (format(claim[key], digits) for key in ("estimate", "low", "high"))
    numbers = f"{estimate} ({low} to {high})".replace("-", "−")
    return f"| {claim['claim']} | {numbers} | {claim['verdict']} |"


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """A copy of the study whose reports are made again from its journals."""
    folder = tmp_path_factory.mktemp("again") / "reference"
    shutil.copytree(
        STUDY, folder, ignore=shutil.ignore_patterns("report", "checkpoints", "exported")
    )
    ds.Study.load(folder / "study.yaml").run(only="report", progress=False)
    return folder


@pytest.mark.parametrize("name", REPORTS)
def test_the_kept_journals_give_the_kept_results_again(again, name):
    kept, reproduced = ((folder / name).read_bytes() for folder in (STUDY, again))
    assert reproduced == kept


def test_every_population_has_its_registered_models_by_one_recipe_and_one_split():
    assert COUNTED.keys() >= REGISTERED
    for run, counted in COUNTED.items():
        table = trials(run)
        assert counted >= 64, run
        assert table["index"].tolist()[:counted] == list(range(counted)), run
        assert table["index"].is_unique, run
        assert set(table["state"]) == {"complete"}, run
        assert set(table["split"]) == {"held-out 10% of train, seed 0"}, run
    recipes = {(STUDY / run / "recipe.yaml").read_text() for run in COUNTED}
    assert len(recipes) == 1


def test_the_paired_models_are_those_of_regnetx_with_squeeze_and_excitation():
    plain, gated = (ds.load_run(STUDY / name) for name in ("regnetx", "paired/se"))
    assert len(gated) == 80
    for i in range(80):
        assert gated[i].body == replace(plain[i].body, se_ratio=0.25)
    hashes = [run.space()["sample"]["hash"] for run in (plain, gated)]
    assert hashes[1] == f"{hashes[0]}-se_ratio-0.25"


@pytest.mark.parametrize("folder", SAMPLED)
def test_a_kept_population_is_what_its_space_budget_and_seed_give_today(folder):
    kept = yaml.safe_load((ROOT / folder / "space.yaml").read_text())["sample"]
    budget = {b["measure"]: (b["low"], b["high"]) for b in kept["budget"]}
    again = ds.sample(ROOT / folder / "space.yaml", 12, seed=kept["seed"], **budget)
    assert again.record()["hash"] == kept["hash"]
    models = pd.read_json(ROOT / folder / "population.jsonl", lines=True)
    count = min(12, len(models))
    assert again.to_frame()["id"].tolist()[:count] == models["id"].tolist()[:count]


@pytest.mark.parametrize("name", JOURNALS)
def test_every_line_of_a_kept_journal_has_its_checksum(name):
    read = journal.read(ROOT / name)
    assert read.records
    assert read.torn_line is None


def test_every_registered_claim_was_judged():
    registered = yaml.safe_load((STUDY / "claims.yaml").read_text())["claims"]
    assert [claim["claim"] for claim in SUMMARY["claims"]] == [c["claim"] for c in registered]


@pytest.mark.parametrize("page", [STUDY / "README.md", ROOT / "README.md"])
def test_the_pages_state_the_verdicts_of_the_claims(page):
    lines = page.read_text().splitlines()
    for claim in SUMMARY["claims"]:
        assert any(line.startswith(row(claim)) for line in lines), row(claim)


def test_the_page_states_the_populations():
    for run in COUNTED:
        values = errors(run)
        numbers = f"{values.min():.1f} | {values.mean():.2f} | {values.std():.2f}"
        assert f"| `{run}` | {numbers} |" in PAGE


def test_the_page_states_the_results_of_the_derived_models():
    seeds = [trials(f"derived/seed-{seed}") for seed in range(3)]
    models = pd.read_json(STUDY / "derived/seed-0/population.jsonl", lines=True)
    for index, name in enumerate(("from-findings", "from-published", "from-best-drawn")):
        each = [table["error"].iloc[index] for table in seeds]
        words = f"| `{name}` | {models.flops[index]:,} | {np.mean(each):.2f} | "
        words += ", ".join(f"{error:.2f}" for error in each) + " |"
        assert words in PAGE


def test_the_page_states_the_rank_agreement():
    for run in ("anynetxa", "regnetx"):
        (long,) = json.loads((STUDY / "report" / f"{run}-long.json").read_text())["schedules"]
        seeds = json.loads((STUDY / "report" / f"{run}-seeds.json").read_text())["seeds"]
        agreement = f"{long['spearman']:.2f} ({long['low']:.2f} to {long['high']:.2f})"
        (line,) = re.findall(rf"^\| `{run}` \| {re.escape(agreement)} \|.*$", PAGE, re.M)
        sds = (seeds["seed_sd"], errors(run).std())
        assert line.endswith(" | ".join(["", *(f"{sd:.2f}" for sd in sds), ""]).rstrip())


@pytest.mark.parametrize("part", ["loop", "se"])
def test_the_page_states_the_other_comparisons(part):
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


def test_every_control_was_declared_with_its_n_and_power():
    study = ds.Study.load(STUDY / "study.yaml")
    declared = [c for place, of in study.claims.items() if place != "report" for c in of.claims]
    assert len(declared) >= 30
    for claim in declared:
        assert claim.n is not None, claim.claim
        assert claim.power is not None or claim.kind == "best_in", claim.claim


def test_the_kept_journals_are_those_that_the_study_asks_for():
    """Nothing of a finished step would be trained again."""
    study = ds.Study.load(STUDY / "study.yaml")
    for row in study.plan().populations[:15]:
        size = 64 if row.models > 64 else row.models
        assert row.trained >= size, row.name  # later steps may have begun


def test_it_is_small():
    files = [
        path for path in STUDY.rglob("*") if path.is_file() and "checkpoints" not in path.parts
    ]
    # Journals are 2 MiB; the rest are pages and figures of ever more populations.
    assert sum(path.stat().st_size for path in files) < 40 * MIB


def test_the_matched_control_stands_in_the_pages_as_it_is():
    control, regnets = (errors_of(run) for run in ("anynetxe-4widths", "regnetx"))
    for first, second in ((control, regnets), (errors_of("anynetxe"), control)):
        mean = ds.compare(first, second).mean
        words = f"{mean.value:+.2f} ({mean.low:+.2f} to {mean.high:+.2f})".replace("-", "−")
        assert words in " ".join(PAGE.split())


def errors_of(run):
    return trials(run)["error"].iloc[:64].to_numpy()
