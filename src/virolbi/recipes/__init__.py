"""Recipes: the settings of training runs, and the recipes that come with the package."""

from virolbi.recipes.catalogue import arms, load_recipe, recipe_names
from virolbi.recipes.recipe import Recipe
from virolbi.recipes.sparsities import Sparsities
from virolbi.recipes.studies import Study, studies
from virolbi.recipes.views import STEPS, Alternative

__all__ = [
    "STEPS",
    "Alternative",
    "Recipe",
    "Sparsities",
    "Study",
    "arms",
    "load_recipe",
    "recipe_names",
    "studies",
]
