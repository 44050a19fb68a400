"""What happened: run folders, trials, recipes, and the journals that keep them."""

from designspace.runs.data_record import DataRecord
from designspace.runs.execution import Execution
from designspace.runs.recipe import Recipe, RecipeLike, load_recipe, shipped_recipes
from designspace.runs.run import Run
from designspace.runs.trial import Trial, TrialState

__all__ = [
    "DataRecord",
    "Execution",
    "Recipe",
    "RecipeLike",
    "Run",
    "Trial",
    "TrialState",
    "load_recipe",
    "shipped_recipes",
]
