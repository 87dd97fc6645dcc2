import pytest

from virolbi.data import load
from virolbi.recipes import load_recipe, recipe_names
from virolbi.training import train

REDUCED = {
    "epochs": 1,
    "batch_size": 2,
    "size": 32,
    "limit": 4,
    "precision": "no",
    "adversarial_steps": 1,
}
# recipes that are alike at reduced size, as those of CIFAR-10 and CIFAR-100, are tried once
NAMES = {load_recipe(name).replace(data="", **REDUCED): name for name in recipe_names()}.values()


@pytest.fixture(scope="module")
def digits():
    return load("digits", "train", limit=4, size=32)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_takes_a_few_steps_at_reduced_size(digits, name):
    steps = []
    run = train(
        load_recipe(name).replace(**REDUCED), digits, progress=lambda p: steps.append(p.loss)
    )
    assert len(steps) == 2
    assert run.history[0]["loss"] > 0
