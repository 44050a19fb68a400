"""Tell the folders that verbs write apart, for messages about the wrong one."""

from pathlib import Path
from shlex import quote

from designspace.errors import InputError
from designspace.io.atomic_write import POPULATION_FILE
from designspace.runs.measurements import MEASUREMENTS_FILE

# What is written, or removed, in a run folder.
RUN_FILES = (
    "space.yaml",
    POPULATION_FILE,
    "recipe.yaml",
    "trials.jsonl",
    MEASUREMENTS_FILE,
    "correct.jsonl",
    "checkpoints",
    "running.json",
    "tensorboard",
    ".lock",
)


def is_pretraining(path: Path | str) -> bool:
    """Return whether a folder holds a pretraining."""
    files = ("model.yaml", "recipe.yaml")
    return all((Path(path) / name).is_file() for name in files)


def holds_model(path: Path | str) -> bool:
    """Return whether a folder holds a model's file, and is no run folder."""
    if (Path(path) / POPULATION_FILE).is_file():
        return False
    return any((Path(path) / name).is_file() for name in ("model.yaml", "config.json"))


def check_weights_path(path: Path, argument: str) -> None:
    """Raise unless a path exists and may hold weights: the run of a population has errors alone."""
    if not path.exists():
        raise InputError(f"there is no {path}; pass the folder of a pretraining, or a file")
    if (path / POPULATION_FILE).is_file():
        raise InputError(
            f"{argument} is {path}, the run of a population, which keeps no weights; pretrain one "
            f"of its models first, as `designspace pretrain {quote(f'{path}:best')}` does, and "
            "pass the folder of that",
            argument,
        )


def check_new_run(path: Path) -> None:
    """Raise if a folder that is to become a run holds something else.

    Raises:
        InputError: It is a pretraining, or holds findings or imported results (`out`).
    """
    if (path / "space.yaml").is_file():
        return
    kinds = {
        "a pretraining": is_pretraining(path),
        "findings": (path / "summary.json").is_file(),
        "imported results": (path / "import.yaml").is_file(),
    }
    for what, is_there in kinds.items():
        if is_there:
            raise InputError(f"out: {path} holds {what}, not a run; choose another folder", "out")


def not_a_run(path: Path | str) -> InputError:
    """Return the error for a path that is no run folder: what it is, and what to do with it."""
    folder, quoted = Path(path), quote(str(path))
    if folder.is_file():
        return InputError(
            f"{path} is a file, not a run folder; `designspace import` reads a table of results"
        )
    if not folder.is_dir():
        return InputError(f"no run folder {path}; `designspace sample` creates one")
    if is_pretraining(folder):
        return InputError(
            f"{path} is a pretraining, not a run folder; `designspace status {quoted}` shows its "
            f"progress, `designspace evaluate {quoted}` its quality, and report/index.html both"
        )
    if (folder / "summary.json").is_file():
        return InputError(
            f"{path} holds findings of `designspace analyze`, it is not a run folder; name the "
            "runs that it was made from"
        )
    if (folder / "import.yaml").is_file():
        return InputError(
            f"{path} holds imported results, which can be analyzed, refined and derived from, but "
            "have no models to train"
        )
    missing = next(
        name for name in ("space.yaml", POPULATION_FILE) if not (folder / name).is_file()
    )
    return InputError(
        f"{path} is not a run folder: it has no {missing}; `designspace sample` creates one"
    )


def holds_records(path: Path) -> InputError:
    """Return the error for a run that is to be trained, but has errors of other trainings."""
    return InputError(
        f"{path} holds errors recorded by Run.record, which are not comparable with those of a "
        "recipe; sample the same population into another folder and train that"
    )
