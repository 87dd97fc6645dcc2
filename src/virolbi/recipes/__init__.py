"""Recipes: everything that decides a training run."""

from virolbi.recipes.catalogue import arms, load_recipe, recipe_names
from virolbi.recipes.recipe import Recipe

__all__ = [
    "Recipe",
    "arms",
    "load_recipe",
    "recipe_names",
]
