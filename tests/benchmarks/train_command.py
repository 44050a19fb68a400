"""A whole `designspace train`, from the shell's point of view: start-up, decoding and all."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rows import Row

HERE = Path(__file__).parent


def command_rows(images: Path, home: Path, options) -> list[Row]:
    """Time to the first step, and a command of about a minute against the plain loop's script.

    Both start as new processes each round, and read the image files: no decoded images are kept.
    """
    from bench_train import best_workers, make_run, plain_process, ratio

    run, n, epochs = home / "command", options.command_models, options.epochs
    make_run(run, n)
    best = best_workers(lambda w: plain_process(images, run, 1, epochs, w, False))
    first, mine, theirs = [], [], []
    for _ in range(options.rounds):
        waited, seconds = train_command(run, images, home, epochs)
        first.append(waited)
        mine.append(seconds)
        began = time.perf_counter()
        plain_process(images, run, n, epochs, best, False)
        theirs.append(time.perf_counter() - began)
    return [
        Row("from the command to the first step", "s", first, "<= 5", max(first) <= 5),
        Row(f"designspace train, {n} models, {epochs} epochs", "s", mine),
        Row(f"a script of the plain loop, {best} loader workers", "s", theirs),
        ratio("the command against the script", theirs, mine, 4.0),
    ]


def train_command(run: Path, images: Path, home: Path, epochs: int) -> tuple[float, float]:
    """Train all models of a run by the command; return seconds to the first step, and in all."""
    (run / "trials.jsonl").unlink(missing_ok=True)
    (run / "recipe.yaml").unlink(missing_ok=True)
    cache, mark = home / "cold", home / "first-step"
    shutil.rmtree(cache, ignore_errors=True)
    mark.unlink(missing_ok=True)
    argv = [Path(sys.executable).parent / "designspace", "train", run, "--data", f"folder:{images}"]
    argv += ["--recipe", "cifar", "--epochs", epochs, "--val", "test", "--device", "cpu"]
    argv += ["--jobs", 2, "--cache", cache]
    path = os.pathsep.join([str(HERE / "first_step"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "FIRST_STEP": str(mark)}
    wall, began = time.time(), time.perf_counter()
    subprocess.run(list(map(str, argv)), check=True, capture_output=True, env=environment)
    seconds = time.perf_counter() - began
    return float(mark.read_text()) - wall, seconds
