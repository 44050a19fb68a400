"""Pretrain and evaluate every arm of proof.yaml with several seeds; write its tables.

    python results/pretraining/proof.py folder:PATH [--plan FILE] [--out FOLDER] [--threads N]

It resumes where it was stopped. What proof.csv holds, beside the plan, is not trained again, on any
machine; runs and score journals lie in FOLDER (results/proof, which git ignores). proof.csv and
proof.md are written anew whenever a pretraining has its scores.
"""

import argparse
import csv
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

import designspace as ds

HERE = Path(__file__).resolve().parent
KINDS = {
    "supervised": "supervised pretraining",
    "random": "random trunk",
    "scratch": "from scratch",
}
COLUMNS = ["task", "arm", "seed", "accuracy", "recipe"]
# Accuracies by task and arm: one for each seed.
Values = dict[str, dict[str, list[float]]]
Row = dict[str, Any]


def main() -> None:
    """Run the plan, arm by arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder:PATH (train/CLASS, test/CLASS), or cifar10")
    parser.add_argument("--plan", type=Path, default=HERE / "proof.yaml")
    parser.add_argument("--out", type=Path, default=HERE.parent / "proof")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    plan = yaml.safe_load(arguments.plan.read_text(encoding="utf-8"))
    options = {"data": arguments.data, "threads": arguments.threads, "cache": arguments.cache}
    home, out = arguments.plan.parent, arguments.out
    recipes = arm_recipes(plan, home)
    rows = kept_rows(arguments.plan.with_suffix(".csv"), recipes)
    out.mkdir(parents=True, exist_ok=True)
    for arm, recipe in recipes.items():
        for seed in range(plan["seeds"]):
            if any((row["arm"], row["seed"]) == (arm, seed) for row in rows):
                continue
            folder = pretrain(recipe, seed, home / plan["model"], out, options)
            rows += measure(arm, recipe, seed, folder, plan, out / "scores", options, rows)
            write_tables(arguments.plan, plan, rows)


def arm_recipes(plan: dict[str, Any], home: Path) -> dict[str, dict[str, Any]]:
    """Return the recipe of each arm: that of the plan with the changes of the arm."""
    base = yaml.safe_load((home / plan["recipe"]).read_text(encoding="utf-8"))
    return {
        arm: base | changes | {"name": arm.replace(" ", "-")}
        for arm, changes in plan["arms"].items()
    }


def fingerprint(recipe: dict[str, Any]) -> str:
    """Return a short hash of a recipe, by which rows of an older plan are told apart."""
    own = {name: value for name, value in recipe.items() if name not in ("name", "about")}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]


def kept_rows(file: Path, recipes: dict[str, dict[str, Any]]) -> list[Row]:
    """Return the rows of proof.csv that are of the plan's present recipes."""
    present = {fingerprint(recipe) for recipe in recipes.values()}
    if not file.exists():
        return []
    return [
        row | {"seed": int(row["seed"]), "accuracy": float(row["accuracy"])}
        for row in csv.DictReader(file.read_text().splitlines())
        if row["recipe"] in present
    ]


def pretrain(
    recipe: dict[str, Any],
    seed: int,
    model: Path,
    out: Path,
    options: dict[str, Any],
) -> Path:
    """Pretrain an arm with a seed, or go on with it; return the folder of the run."""
    file = out / f"{recipe['name']}.yaml"
    file.write_text(yaml.safe_dump(recipe))
    folder = out / f"{file.stem}-{seed}"
    print(f"{folder}: pretraining", flush=True)
    ds.pretrain(model, out=folder, recipe=file, seed=seed, progress=False, **options)
    return folder


def measure(
    arm: str,
    recipe: dict[str, Any],
    seed: int,
    folder: Path,
    plan: dict[str, Any],
    scores: Path,
    options: dict[str, Any],
    rows: list[Row],
) -> list[Row]:
    """Evaluate a run on every task; return its rows, and those of what it is compared with.

    A pretraining counts as one value, its mean over the seeds of the evaluation. What it is
    compared with is measured once for each side.
    """
    side = max(crop["size"] for crop in recipe["crops"])
    supervised = arm == plan.get("supervised") and seed == 0
    present = {(row["task"], row["arm"]) for row in rows}
    scratch = f"{KINDS['scratch']}, {side} pixels"
    new: list[Row] = []
    for task in plan["tasks"]:
        print(f"{folder}: {task['task']}", flush=True)
        measured = any((name, scratch) in present for name in task_names(task, ["fine-tuned"]))
        result = ds.evaluate(
            folder,
            **task,
            out=scores,
            seeds=plan["seeds"],
            supervised=not measured,
            supervised_pretraining=supervised or None,
            progress=False,
            **options,
        )
        names = task_names(task, [score.what for score in result.scores])
        for score in result.scores:
            compared = f"{KINDS[score.kind]}, {side} pixels" if score.kind in KINDS else None
            for name in names if score.kind == "scratch" else task_names(task, [score.what]):
                if compared is None:
                    values = {seed: score.mean}
                elif (name, compared) in present:
                    continue
                else:
                    values = dict(enumerate(score.values))
                new += [
                    dict(zip(COLUMNS, row, strict=True))
                    for row in (
                        (name, compared or arm, number, round(value, 3), fingerprint(recipe))
                        for number, value in values.items()
                    )
                ]
    return new


def task_names(task: dict[str, Any], scored: list[str]) -> list[str]:
    """Return the tables that scores of a task belong to."""
    if task["task"] != "lowshot":
        return [task["task"]]
    methods = dict.fromkeys(
        "linear" if what.endswith("linear") else "fine-tuned" for what in scored
    )
    return [f"{task['labels']:.0%} of the labels, {method}" for method in methods]


def write_tables(plan_file: Path, plan: dict[str, Any], rows: list[Row]) -> None:
    """Write every value, a table of means for each task, and the verdicts on the claims."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"accuracy": f"{row['accuracy']:.3f}"} for row in rows)
    values: Values = {}
    for row in rows:
        values.setdefault(row["task"], {}).setdefault(row["arm"], []).append(row["accuracy"])
    lines = ["Top-1 accuracy in percent: means of n seeds with 95 % intervals.", ""]
    for task, arms in values.items():
        lines += [f"| {task} | n | accuracy |", "| --- | --- | --- |"]
        lines += [f"| {arm} | {len(own)} | {interval(own)} |" for arm, own in arms.items()]
        lines.append("")
    lines += ["| claim | task | difference | verdict |", "| --- | --- | --- | --- |"]
    lines += list(judge(plan["claims"], values, plan["seeds"]))
    lines += ["", "Differences of means, by Welch's t, at 95 % together for all (Bonferroni)."]
    plan_file.with_suffix(".csv").write_text(table.getvalue())
    plan_file.with_suffix(".md").write_text("\n".join(lines) + "\n")


def interval(own: list[float]) -> str:
    """Return mean and 95 % interval by Student's t, as text."""
    if len(own) < 2:
        return f"{np.mean(own):.1f}"
    ends = stats.t.interval(0.95, len(own) - 1, np.mean(own), stats.sem(own))
    low, high = np.clip(ends, 0, 100)
    return f"{np.mean(own):.1f} [{low:.1f}, {high:.1f}]"


def judge(claims: list[dict[str, str]], values: Values, seeds: int) -> Iterator[str]:
    """Yield a row for each claim and task, or that which it is `on`.

    A claim is judged when both arms have all their seeds; until then it still counts in
    Bonferroni's correction, so that no verdict changes while others are trained.
    """
    pairs = [
        (claim, task, arms.get(claim["first"], []), arms.get(claim["second"], []))
        for claim in claims
        for task, arms in values.items()
        if claim.get("on", task) == task
    ]
    for claim, task, first, second in pairs:
        if min(len(first), len(second)) < seeds:
            yield f"| {claim['claim']} | {task} | | not trained yet |"
            continue
        test = stats.ttest_ind(first, second, equal_var=False)
        low, high = test.confidence_interval(1 - 0.05 / len(pairs))
        verdict = "holds" if low > 0 else "contradicted" if high < 0 else "undecided"
        change = f"{np.mean(first) - np.mean(second):+.1f} [{low:+.1f}, {high:+.1f}]"
        yield f"| {claim['claim']} | {task} | {change} | {verdict} |"


if __name__ == "__main__":
    main()
