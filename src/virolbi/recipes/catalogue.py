"""The recipes that come with the package."""

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from virolbi.recipes.recipe import Recipe


def recipe_names() -> Iterator[str]:
    """The recipes of the package: a data set, a model and an arm, such as "cifar10-resnet20-mixed"."""
    for data, budget in _budgets().items():
        for model in budget["models"]:
            for arm in arms():
                yield f"{data}-{model}-{arm}"


def arms() -> dict[str, dict[str, Any]]:
    """The ways to train that are compared: their names, each with what it changes in a recipe; rivals begin with "rival"."""
    return _read("arms.toml")


def load_recipe(name: str) -> Recipe:
    """A recipe of the package by its name, or from a TOML file of settings by its path. Raises ValueError where there is none.

    >>> find("cifar10-resnet20-paper-fixed").sparsity
    0.6
    """
    if name.endswith(".toml"):
        try:
            return Recipe(**tomllib.loads(Path(name).read_text()))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"recipe must be a TOML file of settings; {name}: {error}") from error
    data, _, rest = name.partition("-")
    budget = _budgets().get(data)
    for model, about in (budget or {"models": {}})["models"].items():
        arm = rest.removeprefix(f"{model}-")
        if budget and arm != rest and arm in arms():
            return Recipe(
                **(budget["common"] | about | arms()[arm] | budget.get("arms", {}).get(arm, {}))
            )
    raise ValueError(
        f"recipe must be one that `virolbi recipes` lists, or a .toml file, got {name!r}"
    )


@cache
def _budgets() -> dict[str, dict[str, Any]]:
    """What the recipes of a data set have in common, and its models."""
    return {
        name: _read(f"{name}.toml")
        for name in ("cifar10", "cifar100", "imagenet100", "digits", "images")
    }


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((files("virolbi.recipes") / name).read_text())
