"""What happened: run folders, trials, recipes, and the journals that keep them."""

from designspace.runs.data import DataRecord
from designspace.runs.folder import RunFolder
from designspace.runs.recipe import Recipe, load_recipe, shipped_recipes
from designspace.runs.trial import Trial, TrialState

__all__ = [
    "DataRecord",
    "Recipe",
    "RunFolder",
    "Trial",
    "TrialState",
    "load_recipe",
    "shipped_recipes",
]
