from dataclasses import replace

import pytest

from virolbi.data import load
from virolbi.evaluation import Attacks, Conditions, budget_warnings, compare, comparison_recipes
from virolbi.evaluation.comparison import _record_settings
from virolbi.recipes import Recipe
from virolbi.results import read_rows

ARMS = ["plain", "rival-augmix-jsd", "rival-apr", "rival-adversarial"]


@pytest.mark.parametrize("passes", [1, 10, 30])
def test_a_budget_of_passes_decides_the_epochs_of_every_arm(passes):
    recipes = comparison_recipes("cifar10-resnet8", ARMS, passes=passes)
    for recipe in recipes.values():
        # no other number of epochs comes nearer
        distance = abs(recipe.epochs * recipe.passes - passes)
        others = (max(recipe.epochs - 1, 1), recipe.epochs + 1)
        assert all(distance <= abs(other * recipe.passes - passes) for other in others)
    assert recipes["plain"].epochs == passes


def test_a_budget_of_no_passes_is_refused():
    with pytest.raises(ValueError, match="passes must be >= 1, got 0"):
        comparison_recipes("cifar10-resnet8", ARMS, passes=0)


def test_arms_on_different_budgets_are_named():
    unequal = comparison_recipes("cifar10-resnet8", ARMS[:3])
    (warning,) = budget_warnings(unequal)
    assert "10 (plain); 20 (rival-apr); 30 (rival-augmix-jsd)" in warning
    assert budget_warnings(comparison_recipes("cifar10-resnet8", ARMS[:3], passes=30)) == []


@pytest.mark.slow
def test_rows_of_a_comparison_count_passes_and_name_their_seeds(folder_of_images, tmp_path):
    train_images, test_images = (load(str(folder_of_images), split) for split in ("train", "test"))
    recipe = Recipe(epochs=1, batch_size=16, crop=2)
    recipes = {
        "one": recipe.replace(epochs=3),
        "three": recipe.replace(views=("clean", "augmix", "prime"), consistency=12),
    }

    fog = Conditions(("fog",), resolution=32)

    def run(seeds, **settings):
        compare(
            train_images,
            test_images,
            tmp_path / "out",
            recipes=recipes,
            seeds=seeds,
            attacks=Attacks(attacked=0),
            cpu=True,
            **settings,
        )
        return read_rows(tmp_path / "out" / "rows.jsonl")

    rows = run([1], conditions=fog)
    assert {(row["arm"], row["seed"], row["passes"]) for row in rows} == {
        ("one", 1, 3),
        ("three", 1, 3),
    }
    assert {row["condition"] for row in rows} == {"clean", "fog", "low_resolution"}
    rows = run(2, conditions=fog)
    assert {row["seed"] for row in rows} == {0, 1}
    more = run([0])
    assert more[: len(rows)] == rows
    assert len({row["condition"] for row in more}) == 21
    with pytest.raises(ValueError, match="seeds must be >= 0, got -1"):
        run([-1])


def test_a_comparison_goes_on_when_its_images_were_moved(folder_of_images, tmp_path):
    def record(images, epochs=1):
        recipe = Recipe(epochs=epochs, data=images.name)
        shown, settings = {"training images": images}, {"attacked": 3}
        _record_settings(tmp_path / "out", shown, settings, {"plain": recipe})

    images = load(str(folder_of_images), "train")
    record(images)
    moved = folder_of_images.rename(tmp_path / "elsewhere")
    record(load(str(moved), "train"))
    assert '"elsewhere"' in (tmp_path / "out" / "comparison.json").read_text()
    with pytest.raises(ValueError, match="differs in training images"):
        record(replace(images, pixels=255 - images.pixels))
    with pytest.raises(ValueError, match="differs in epochs of plain"):
        record(images, epochs=2)
