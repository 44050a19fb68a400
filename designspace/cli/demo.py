"""`designspace demo`: the whole main job, small, on built-in images."""

from pathlib import Path
from typing import Annotated

import typer

_BUDGET = "180K:220K"
_SPACES = ("AnyNetXA@8", "AnyNetXE@8", "RegNetX@8")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for all that it makes.")] = Path("results/demo"),
    models: Annotated[int, typer.Option(help="Models of each space.")] = 24,
    jobs: Annotated[
        int | None, typer.Option(help="Models trained at once; as many as cores.")
    ] = None,
) -> None:
    """Run the whole main job in minutes: sample, train, analyze, derive, export.

    Three design spaces under one budget of multiply-adds, trained on scikit-learn's handwritten
    digits (8x8). Each step shows the command that a person would type. It goes on where it was
    interrupted.

    Examples:

      designspace demo

      designspace demo --models 8 --out /tmp/look --jobs 1
    """
    from designspace.errors import InputError
    from designspace.runs.options import check_jobs

    if models < 1:
        raise InputError(f"--models is {models}; it must be at least 1")
    check_jobs(jobs)
    runs = {space: out / space.split("@")[0].lower() for space in _SPACES}
    at_once = [] if jobs is None else ["--jobs", jobs]
    findings, model, exported = out / "analysis", out / "model.yaml", out / "export"

    for space, run in runs.items():
        _step(
            f"Draw {models} distinct networks from {space} that cost 180 to 220 thousand "
            "multiply-adds.",
            ["sample", space, "-n", models, "--flops", _BUDGET, "--seed", 0, "--out", run],
        )
    for space, run in runs.items():
        _step(
            f"Train each network of {space} on handwritten digits with the same short schedule.",
            ["train", run, "--data", "digits", "--recipe", "quick", *at_once],
        )
    _step(
        "Compare the three spaces by their error distributions; find what good networks share.",
        ["analyze", *runs.values(), "--out", findings],
    )
    _step(
        "Make a RegNetY of twice the budget from what was found.",
        ["derive", "--family", "regnety", "--flops", "400K", "--from", findings, "--out", model],
    )
    _step("Count what it costs, exactly.", ["complexity", model])
    _step(
        "Write it as torchvision code, and prove that the code rebuilds the same network.",
        ["export", model, "--to", "torchvision", "--out", exported],
    )
    print(f"\nThe report: {findings / 'index.html'}\nThe network: {exported}")


def _step(words: str, command: list[object]) -> None:
    """Say what comes, show the command, run it just as typed."""
    import shlex

    from designspace.cli.main import app

    argv = [str(word) for word in command]
    print(f"\n{words}\n$ designspace {shlex.join(argv)}", flush=True)
    code = app(args=argv, prog_name="designspace", standalone_mode=False)
    if code:
        raise typer.Exit(code)
