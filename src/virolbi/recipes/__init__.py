"""Recipes: everything that decides a training run."""

from virolbi.recipes.catalogue import arms, find, names
from virolbi.recipes.recipe import Recipe

__all__ = ['Recipe', 'arms', 'find', 'names']
