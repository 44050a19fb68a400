"""Pretrain and evaluate every arm of proof.yaml with several seeds; write its tables.

    python results/pretraining/proof.py folder:PATH [--plan FILE] [--out FOLDER] [--threads N]

It resumes where it was stopped. Runs and score journals lie in FOLDER (results/proof, which git
ignores); proof.csv and proof.md, beside the plan, are written anew whenever a task is through.
"""

import argparse
import csv
import io
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
# Accuracies by task and arm: one for each seed.
Values = dict[str, dict[str, list[float]]]


def main() -> None:
    """Run the plan, task by task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder:PATH (train/CLASS, test/CLASS), or cifar10")
    parser.add_argument("--plan", type=Path, default=HERE / "proof.yaml")
    parser.add_argument("--out", type=Path, default=HERE.parent / "proof")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    plan = yaml.safe_load(arguments.plan.read_text(encoding="utf-8"))
    options = {"data": arguments.data, "threads": arguments.threads, "cache": arguments.cache}
    runs = dict(pretrain_arms(plan, arguments.plan.parent, arguments.out, options))
    values: Values = {}
    for task in plan["tasks"]:
        measure(task, runs, plan, arguments.out / "scores", options, values)
        write_tables(arguments.plan, plan, values)


def pretrain_arms(
    plan: dict[str, Any], home: Path, out: Path, options: dict[str, Any]
) -> Iterator[tuple[tuple[str, int], Path]]:
    """Pretrain each arm with each seed; yield the folder of the run by arm and seed."""
    base = yaml.safe_load((home / plan["recipe"]).read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    for arm, changes in plan["arms"].items():
        recipe = out / f"{arm.replace(' ', '-')}.yaml"
        recipe.write_text(yaml.safe_dump(base | changes | {"name": recipe.stem}))
        for seed in range(plan["seeds"]):
            folder = out / f"{recipe.stem}-{seed}"
            print(f"{folder}: pretraining", flush=True)
            ds.pretrain(
                home / plan["model"],
                out=folder,
                recipe=recipe,
                seed=seed,
                progress=False,
                **options,
            )
            yield (arm, seed), folder


def measure(
    task: dict[str, Any],
    runs: dict[tuple[str, int], Path],
    plan: dict[str, Any],
    scores: Path,
    options: dict[str, Any],
    values: Values,
) -> None:
    """Evaluate all runs on a task; what is compared with them is measured once for each side.

    A pretraining counts as one value, its mean over the seeds of the evaluation.
    """
    for (arm, seed), folder in runs.items():
        print(f"{folder}: {task['task']}", flush=True)
        supervised = arm == plan.get("supervised") and seed == 0
        result = ds.evaluate(
            folder,
            **task,
            out=scores,
            seeds=plan["seeds"],
            supervised=True,
            supervised_pretraining=supervised or None,
            progress=False,
            **options,
        )
        side = max(crop["size"] for crop in recipe_of(folder)["crops"])
        names = task_names(task, [score.what for score in result.scores])
        for score in result.scores:
            for name in names if score.kind == "scratch" else task_names(task, [score.what]):
                arms = values.setdefault(name, {})
                if score.kind == "pretrained":
                    arms.setdefault(arm, []).append(score.mean)
                else:
                    arms[f"{KINDS[score.kind]}, {side} pixels"] = list(score.values)


def task_names(task: dict[str, Any], scored: list[str]) -> list[str]:
    """Return the tables that scores of a task belong to."""
    if task["task"] != "lowshot":
        return [task["task"]]
    methods = dict.fromkeys(
        "linear" if what.endswith("linear") else "fine-tuned" for what in scored
    )
    return [f"{task['labels']:.0%} of the labels, {method}" for method in methods]


def recipe_of(folder: Path) -> dict[str, Any]:
    """Return the recipe of a pretraining."""
    recipe: dict[str, Any] = yaml.safe_load((folder / "recipe.yaml").read_text())["recipe"]
    return recipe


def write_tables(plan_file: Path, plan: dict[str, Any], values: Values) -> None:
    """Write every value, a table of means for each task, and the verdicts on the claims."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["task", "arm", "seed", "accuracy"])
    lines = [f"Top-1 accuracy in percent: means of {plan['seeds']} seeds with 95 % intervals.", ""]
    for task, arms in values.items():
        lines += [f"| {task} | accuracy |", "| --- | --- |"]
        for arm, own in arms.items():
            writer.writerows([task, arm, seed, f"{value:.3f}"] for seed, value in enumerate(own))
            ends = stats.t.interval(0.95, len(own) - 1, np.mean(own), stats.sem(own))
            low, high = np.clip(ends, 0, 100)
            lines.append(f"| {arm} | {np.mean(own):.1f} [{low:.1f}, {high:.1f}] |")
        lines.append("")
    lines += ["| claim | task | difference | verdict |", "| --- | --- | --- | --- |"]
    lines += list(judge(plan["claims"], values))
    lines += ["", "Differences of means, by Welch's t, at 95 % together for all (Bonferroni)."]
    plan_file.with_suffix(".csv").write_text(table.getvalue())
    plan_file.with_suffix(".md").write_text("\n".join(lines) + "\n")


def judge(claims: list[dict[str, str]], values: Values) -> Iterator[str]:
    """Yield a row for each claim and task, or that which it is `on`, if both arms were measured."""
    pairs = [
        (claim, task, arms[claim["first"]], arms[claim["second"]])
        for claim in claims
        for task, arms in values.items()
        if claim["first"] in arms and claim["second"] in arms and claim.get("on", task) == task
    ]
    for claim, task, first, second in pairs:
        test = stats.ttest_ind(first, second, equal_var=False)
        low, high = test.confidence_interval(1 - 0.05 / len(pairs))
        verdict = "holds" if low > 0 else "contradicted" if high < 0 else "undecided"
        change = f"{np.mean(first) - np.mean(second):+.1f} [{low:+.1f}, {high:+.1f}]"
        yield f"| {claim['claim']} | {task} | {change} | {verdict} |"


if __name__ == "__main__":
    main()
