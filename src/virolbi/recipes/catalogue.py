"""The recipes that come with the package."""

import tomllib
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from virolbi.recipes.recipe import Recipe

DATA_SETS = ("cifar10", "cifar100", "imagenet100", "eurosat", "pneumonia", "digits", "images")


def recipe_names() -> Iterator[str]:
    """Yield the names of the recipes of the package.

    Yields
    ------
    str
        A data set, a model and an arm, such as "cifar10-resnet20-mixed".
    """
    for data, budget in _budgets().items():
        for model in budget["models"]:
            for arm in arms():
                yield f"{data}-{model}-{arm}"


def arms() -> dict[str, dict[str, Any]]:
    """Return the ways to train that are compared.

    Returns
    -------
    dict
        The settings that each arm changes in a recipe, by the name of the arm. Names of rival
        methods begin with "rival".
    """
    return deepcopy(read_toml("arms.toml"))


def load_recipe(name: str) -> Recipe:
    """Return a recipe of the package, or one from a file.

    Parameters
    ----------
    name : str
        Name of a recipe of the package, or path of a TOML file of settings, ending in ".toml".

    Returns
    -------
    Recipe
        The recipe.

    Raises
    ------
    ValueError
        If there is no such recipe, or if the file cannot be read or holds wrong settings.

    Examples
    --------
    >>> load_recipe("cifar10-resnet20-paper-fixed").sparsity
    0.6
    """
    if name.endswith(".toml"):
        try:
            return Recipe(**tomllib.loads(Path(name).read_text()))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"recipe must be a TOML file of settings; {name}: {error}") from error
    data, _, rest = name.partition("-")
    budget = _budgets().get(data, {"models": {}})
    for model, settings in budget["models"].items():
        arm = rest.removeprefix(f"{model}-")
        if arm != rest and arm in arms():
            changes = arms()[arm] | budget.get("arms", {}).get(arm, {})
            return Recipe(**(budget["common"] | settings | changes))
    raise ValueError(
        f"recipe must be one that `virolbi recipes` lists, or a .toml file, got {name!r}"
    )


@cache
def _budgets() -> dict[str, dict[str, Any]]:
    """Return the common settings, the models and the changed arms of each data set."""
    return {name: read_toml(f"{name}.toml") for name in DATA_SETS}


@cache
def read_toml(name: str) -> dict[str, Any]:
    """Return the content of a TOML file of this package.

    Parameters
    ----------
    name : str
        Name of the file.

    Returns
    -------
    dict
        Its content, which must not be changed: it is read once.
    """
    return tomllib.loads((files("virolbi.recipes") / name).read_text())
