"""What a study file names: shipped spaces and recipes, data, models, or files beside the study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from designspace.runs import Recipe, Run, load_recipe
from designspace.runs.training_options import absolute_source
from designspace.space import Budget, Sample, SamplingStats, Space, load_space, sample_record
from designspace.space.recipe_axis import RecipeAxes
from designspace.studies.study_file import PopulationEntry, StudyFile

# Options of a training that override the recipe's.
OF_RECIPE = ("batch_size", "lr", "precision")


def study_recipe(path: Path, file: StudyFile) -> Recipe:
    """Load the recipe of the study at a path.

    Raises:
        InputError: There is no such recipe, or its file is wrong.
    """
    beside = path.parent / file.recipe
    return load_recipe(str(beside) if beside.is_file() else file.recipe)


def entry_recipe(
    recipe: Recipe, file: StudyFile, entry: PopulationEntry, options: Mapping[str, Any]
) -> Recipe:
    """Return the recipe of a population.

    Args:
        recipe: The study's.
        file: The study.
        entry: The population's entry.
        options: Of the training, as of `designspace.train`; some override the recipe.
    """
    return recipe.override(
        epochs=file.epochs_of(entry), **{key: options.get(key) for key in OF_RECIPE}
    )


def study_data(path: Path, file: StudyFile) -> str | None:
    """Return the data of the study at a path; a relative path may begin beside the study's file."""
    if file.data is None:
        return None
    kind, colon, place = file.data.partition(":")
    if absolute_source(file.data) == file.data:  # a name, a command, an address
        return file.data
    beside = path.parent / place
    there = beside.parent.is_dir() if kind == "webdataset" else beside.exists()
    return f"{kind}:{beside}" if colon and there and place else file.data


def find_file(name: str, *folders: Path) -> Path | None:
    """Return the file or folder of a name in the first of these folders that has it."""
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def study_source(source: str, *folders: Path) -> str:
    """Return the source of a model: a path in the first folder that has it, else as it is."""
    name, colon, which = source.partition(":")
    place = find_file(name, *folders)
    return source if place is None else f"{place}{colon}{which}"


def population_space(path: Path, folder: Path, file: StudyFile, name: str) -> Space:
    """Load the space that a population, or what it is `same_as`, is sampled from.

    Args:
        path: The study's file.
        folder: The study's results, where refinements write their spaces.
        file: The study.
        name: The population.

    Raises:
        InputError: There is no such space, or it breaks a rule.
    """
    base = file.base(name)
    stated = str(base.space)
    if stated.partition("@")[0] in {refinement.space for refinement in file.refinements}:
        stated = str(folder / stated)
    return study_space(path, stated, file.axes_of(base))


def sample_hash(file: StudyFile, name: str, space: Space, run: Run) -> str:
    """Return the hash of the sample of a population, without a toggle, that the file states.

    Args:
        file: The study.
        name: The population.
        space: The space that it is sampled from.
        run: Its run folder; the hash does not depend on what is in it.
    """
    result = Sample(run.population(), SamplingStats(0, 0, {}))
    return str(sample_record(space, result, study_budgets(file, name), file.seed)["hash"])


def study_budgets(file: StudyFile, name: str) -> tuple[Budget, ...]:
    """Return the ranges of cost that the models of a population lie in."""
    stated = file.budget_of(file.base(name))
    return tuple(Budget.parse(measure, text) for measure, text in stated.items())


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
