import pytest

from virolbi.corruptions import COMMON, HELD_OUT
from virolbi.evaluation import comparison_recipes
from virolbi.recipes import arms, load_recipe, studies


@pytest.mark.parametrize("name", studies())
def test_every_study_has_recipes_and_corruptions_that_exist(name):
    study = studies()[name]
    assert study.question.endswith("?")
    for family, corruptions in study.comparisons.items():
        assert corruptions == "all" or set(corruptions.split(",")) <= {*COMMON, *HELD_OUT}
        recipes = comparison_recipes(family, study.arms, epochs=3)
        assert list(recipes) == list(study.arms)
        assert {recipe.epochs for recipe in recipes.values()} == {3}
        assert len({recipe.model_dump_json() for recipe in recipes.values()}) == len(recipes)
        for arm, recipe in recipes.items():
            start = load_recipe(f"{family}-{study.arms[arm].get('arm', arm)}")
            changed = {*recipe.differences(start.model_dump(mode="json"))}
            assert changed - {"epochs"} <= study.arms[arm].keys() - {"arm"}
            for setting in study.arms[arm].keys() - {"arm"}:
                assert getattr(recipe, setting) == study.arms[arm][setting]


def test_the_experiments_of_the_paper_are_studies():
    sparsities = studies()["sparsities"]
    trained = {
        recipe.sparsity
        for recipe in comparison_recipes("cifar10-resnet8", sparsities.arms).values()
        if recipe.procedure == "fixed"
    }
    assert len(trained) >= 5
    assert sparsities.comparisons == {"cifar10-resnet8": "gaussian_noise"}
    procedures = studies()["procedures"]
    assert {"fixed", "iterative"} <= procedures.arms.keys() & arms().keys()
    assert list(procedures.comparisons) == ["cifar100-resnet20"]
    assert procedures.attacked > 0


def test_arms_of_a_study_are_selected_by_name():
    study = studies()["sparsities"]
    assert list(study.select(["fixed 0.8", "plain"])) == ["fixed 0.8", "plain"]
    with pytest.raises(ValueError, match=r"arms must be some of plain, .*got \['fixed'\]"):
        study.select(["fixed"])


def test_what_makes_an_arm_of_a_study_is_not_changed():
    study = studies()["sparsities"]
    with pytest.raises(ValueError, match="got sparsity for fixed 0.95"):
        comparison_recipes("cifar10-resnet8", study.arms, sparsity=0.5)
    with pytest.raises(ValueError, match=r"arms must be some of .*got \['other'\]"):
        comparison_recipes("cifar10-resnet8", {"mine": {"arm": "other"}})
    for nothing in ([], {}):
        with pytest.raises(ValueError, match="arms must be some of"):
            comparison_recipes("cifar10-resnet8", nothing)


def test_the_recipes_of_other_domains_suit_their_images():
    lungs, fields = load_recipe("pneumonia-resnet8-plain"), load_recipe("eurosat-resnet8-plain")
    assert (lungs.flip, lungs.class_weights) == (False, "balanced")
    assert (fields.flip, fields.class_weights) == (True, "none")
    domains = studies()["domains"].comparisons
    assert "speckle_noise" in domains["eurosat-resnet8"].split(",")
    assert "shot_noise" in domains["pneumonia-resnet8"].split(",")
