"""Data, spaces and recipe that a study file names: shipped ones, or files beside the study."""

from pathlib import Path

from designspace.runs import Recipe, load_recipe
from designspace.space import Space, load_space
from designspace.space.recipe_axis import RecipeAxes
from designspace.studies.study_file import StudyFile


def study_recipe(path: Path, file: StudyFile) -> Recipe:
    """Load the recipe of the study at a path.

    Raises:
        InputError: There is no such recipe, or its file is wrong.
    """
    beside = path.parent / file.recipe
    return load_recipe(str(beside) if beside.is_file() else file.recipe)


def study_data(path: Path, file: StudyFile) -> str | None:
    """Return the data of the study at a path; a relative path may begin beside the study's file."""
    if file.data is None:
        return None
    kind, colon, place = file.data.partition(":")
    beside = path.parent / place
    there = beside.parent.is_dir() if kind == "webdataset" else beside.exists()
    return f"{kind}:{beside}" if colon and there and place else file.data


def study_space(path: Path, name: str, axes: RecipeAxes) -> Space:
    """Load a space for the study at a path.

    Args:
        path: The study's file.
        name: The space, as its file states it.
        axes: Settings that are drawn for each model, in place of the space's own; none
            leave those.

    Raises:
        InputError: There is no such space, or it breaks a rule.
    """
    beside = path.parent / name.partition("@")[0]
    space = load_space(str(path.parent / name) if beside.is_file() else name)
    if not axes:
        return space
    recipe = {key: axis.model_dump(exclude_none=True) for key, axis in axes.items()}
    return load_space({**space.source, "recipe": recipe})
