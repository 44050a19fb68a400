"""`designspace demo`: the whole main job, small, on built-in images."""

from pathlib import Path
from typing import Annotated, Any

import typer

_BUDGET = "180K:220K"
_SPACES = ("AnyNetXA@8", "AnyNetXE@8", "RegNetX@8")


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of all results.")] = Path("results/demo"),
    models: Annotated[int, typer.Option(help="Models of each space.")] = 24,
    jobs: Annotated[
        int | None, typer.Option(help="Models trained at once; by default one per core.")
    ] = None,
) -> None:
    """Run the whole main job in minutes: sample, train, analyze, derive, export.

    Three design spaces under one budget of multiply-adds, trained on scikit-learn's handwritten
    digits (8x8). Each step shows the command that you would type. It resumes where it was
    interrupted.

    Examples:

      designspace demo

      designspace demo --models 8 --out /tmp/demo --jobs 1
    """
    import designspace as ds

    for option, value in (("--models", models), ("--jobs", jobs)):
        if value is not None and value < 1:
            raise ds.InputError(f"{option} is {value}; it must be at least 1")
    assert context.parent is not None
    app = context.parent.command
    runs = {space: out / space.split("@")[0].lower() for space in _SPACES}
    at_once = [] if jobs is None else ["--jobs", jobs]
    findings, model, exported = out / "analysis", out / "model.yaml", out / "export"

    for space, run in runs.items():
        _step(
            app,
            f"Sample {models} distinct networks from {space} of 180 to 220 thousand multiply-adds.",
            ["sample", space, "-n", models, "--flops", _BUDGET, "--seed", 0, "--out", run],
        )
    for space, run in runs.items():
        _step(
            app,
            f"Train each network of {space} on handwritten digits with the same short schedule.",
            ["train", run, "--data", "digits", "--recipe", "quick", *at_once],
        )
    _step(
        app,
        "Compare the three spaces by their error distributions; find what good networks share.",
        ["analyze", *runs.values(), "--out", findings],
    )
    _step(
        app,
        "Derive a RegNetY of twice the budget from the findings.",
        ["derive", "--family", "regnety", "--flops", "400K", "--from", findings, "--out", model],
    )
    _step(app, "Count what it costs, exactly.", ["complexity", model])
    _step(
        app,
        "Write it as torchvision code, and verify that the code rebuilds the same network.",
        ["export", model, "--to", "torchvision", "--out", exported],
    )
    print(f"\nThe report: {findings / 'index.html'}\nThe network: {exported}")


def _step(app: Any, title: str, command: list[object]) -> None:
    """Print a title and the command, and run it."""
    import shlex

    argv = [str(word) for word in command]
    print(f"\n{title}\n$ designspace {shlex.join(argv)}", flush=True)
    code = app.main(args=argv, prog_name="designspace", standalone_mode=False)
    if code:
        raise typer.Exit(code)
