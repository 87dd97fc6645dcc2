import math
import re

import numpy as np
import pytest

from virolbi.recipes import Recipe, arms, load_recipe, recipe_names


def test_every_recipe_starts_from_its_name():
    every = list(recipe_names())
    assert len(set(every)) == len(every)
    for data in ("cifar10", "cifar100", "imagenet100"):
        for model in ("resnet18", "vit-tiny"):
            for procedure in ("plain", "fixed", "iterative", "mixed"):
                assert load_recipe(f"{data}-{model}-{procedure}").procedure == procedure
    for name in every:
        assert isinstance(load_recipe(name), Recipe)
    assert {
        load_recipe(f"{data}-resnet18-paper-fixed").sparsity for data in ("cifar10", "cifar100")
    } == {0.6}
    assert load_recipe("imagenet100-resnet18-paper-fixed").sparsity == 0.3  # as published
    assert load_recipe("imagenet100-resnet18-paper-fixed-other").sparsity == 0.7
    assert {load_recipe(f"cifar10-resnet8-{arm}").epochs for arm in arms()} == {10}  # one budget


def test_a_recipe_in_a_file_of_ones_own(tmp_path):
    (tmp_path / "own.toml").write_text('procedure = "mixed"\nmix = [0, 0.5]\nepochs = 3\n')
    assert load_recipe(str(tmp_path / "own.toml")) == Recipe(
        procedure="mixed", mix=(0.0, 0.5), epochs=3
    )
    (tmp_path / "broken.toml").write_text("epochs: 3")
    for name in ("broken.toml", "none.toml"):
        with pytest.raises(ValueError, match=rf"recipe .*{name}"):
            load_recipe(str(tmp_path / name))


@pytest.mark.parametrize(
    "name", ["cifar10", "cifar10-resnet8", "cifar10-resnet8-best", "mnist-resnet8-plain", ""]
)
def test_unknown_recipes_are_named(name):
    with pytest.raises(ValueError, match=f"recipe .* got '{name}'"):
        load_recipe(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"procedure": "slow"},
            "procedure must be 'plain', 'fixed', 'iterative' or 'mixed', got 'slow'",
        ),
        ({"preset": "fast"}, "preset must be 'robust' or 'paper', got 'fast'"),
        ({"mix": (0.5, 2.0)}, "mix must be less than or equal to 1, got 2.0"),
        (
            {"procedure": "iterative", "start_sparsity": 0.5},
            "start_sparsity must be >= sparsity=0.8, got 0.5",
        ),
        ({"preset": "paper", "sparsity": "auto"}, "sparsity must be a number for preset='paper'"),
        ({"epochs": 0}, "epochs must be greater than or equal to 1, got 0"),
        ({"crop": -1}, "crop must be greater than or equal to 0, got -1"),
        (
            {"filter": "sharpen"},
            "filter must be 'none', 'median', 'blur', 'tv' or 'bilateral', got 'sharpen'",
        ),
        ({"noise": "much"}, "noise must be a number or 'strongest', got 'much'"),
        ({"mix": 0.8}, "mix must be a list of numbers, such as [0.7, 0.9], got 0.8"),
        ({"mix": ()}, "mix must be a list of one number or more"),
        (
            {"views": "clean"},
            'views must be a list of texts, such as ["clean", "augmix noise"], got \'clean\'',
        ),
        ({"views": (0.5,)}, "views must be a text, got 0.5"),
        (
            {"frozen": "layer1*"},
            "frozen must be a list of texts, such as [\"layer1*\"], got 'layer1*'",
        ),
        (
            {"sparsity": 2, "epochs": 0},
            "sparsity must be less than or equal to 1 or 'auto', got 2; epochs must be greater",
        ),
        ({"accumulate": 65}, "accumulate must be <= batch_size=64, got 65"),
        (
            {"patience": 3},
            "patience must be 0 without held-out images (set validation > 0), got 3",
        ),
        ({"learning_rate": math.inf}, "learning_rate must be a finite number, got inf"),
        ({"weight_decay": math.inf}, "weight_decay must be a finite number, got inf"),
        ({"noise": math.nan}, "noise must be a finite number or 'strongest', got nan"),
        ({"mix": (0.5, math.nan)}, "mix must be a finite number, got nan"),
        ({"seed": 2**32}, "seed must be less than 4294967296, got 4294967296"),
        ({"nu": 0}, "nu must be greater than or equal to 0.001, got 0"),
        (
            {"views": ("clean", "augmix sharpen")},
            "views must be made of the steps augmix, prime, apr-single, apr-pair, equalise, blur, "
            "noise, smooth, or 'clean' alone, got 'augmix sharpen'",
        ),
        ({"views": ("clean noise",), "noise": 0.1}, "views must be made of the steps"),
        ({"views": ("augmix |",)}, "views must be made of the steps"),
        (
            {"consistency": 12, "views": ("augmix",)},
            "consistency must be 0 with fewer than two views, got 12",
        ),
        (
            {"views": ("augmix",), "order": "last"},
            "order must keep its default with views, which replace it, got 'last'",
        ),
        (
            {"views": ("noise",)},
            "noise must be set for 'noise' in views, got noise=0.0 and views=('noise',)",
        ),
        (
            {"views": ("augmix",), "procedure": "mixed"},
            "procedure must have the step 'smooth' in views, got procedure='mixed'",
        ),
        ({"sparsty": 0.5}, "sparsty is not a setting; the settings are data, size, limit"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Recipe(**settings)
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Recipe().replace(**settings)


def test_every_setting_that_is_a_list_has_a_rule():
    for name, value in Recipe():
        if isinstance(value, tuple):
            with pytest.raises(ValueError, match=f"^{name} must be a list of .*, got 'x'$"):
                Recipe(**{name: "x"})


@pytest.mark.parametrize("value", [True, False, np.True_])
@pytest.mark.parametrize("name", Recipe.model_fields)
def test_true_and_false_are_no_numbers_and_no_texts(name, value):
    if type(getattr(Recipe(), name)) is bool:
        assert getattr(Recipe(**{name: value}), name) == value
        return
    values = [value] if type(getattr(Recipe(), name)) is not tuple else [value, (value,)]
    for each in values:
        with pytest.raises(ValueError, match=f"^{name} must be .*, got .*{re.escape(repr(value))}"):
            Recipe(**{name: each})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": True}, "noise must be a number or 'strongest', got True"),
        ({"sparsity": True}, "sparsity must be a number or 'auto', got True"),
        ({"size": True}, "size must be an integer, got True"),
        ({"data_range": True}, "data_range must be a number, got True"),
        ({"mix": (0.5, False)}, "mix must be a number, got False"),
    ],
)
def test_the_rule_for_a_boolean_is_that_of_its_setting(settings, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        Recipe(**settings)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("epochs", 100_000),
        ("size", 16_384),
        ("limit", 10**10),
        ("rounds", 10_000),
        ("batch_size", 10**6),
        ("accumulate", 10**6),
        ("crop", 16_384),
        ("adversarial_steps", 10_000),
    ],
)
def test_settings_that_no_run_can_have_are_refused_in_one_line(name, most):
    others = {"batch_size": most} if name == "accumulate" else {}
    assert getattr(Recipe(**{name: most}, **others), name) == most
    for value in (most + 1, 10**11, 10**19, 10**400):
        message = f"{name} must be less than or equal to {most}, got {value}"
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            Recipe(**{name: value}, **others)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "consistency"])
def test_rates_that_overflow_in_single_precision_are_refused(name):
    views = {"views": ("clean", "augmix")}
    assert getattr(Recipe(**{name: 1e6}, **views), name) == 1e6
    for value in (1e6 + 1, 1e39, 1e300):
        message = f"{name} must be less than or equal to 1000000, got {value!r}"
        with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
            Recipe(**{name: value}, **views)


def test_the_sparsities_of_batches_follow_the_procedure():
    rng = np.random.default_rng(0)

    def draw(procedure, **settings):
        recipe = Recipe(procedure=procedure, **settings)
        drawn = [recipe.sparsities(step / 100, 1000, rng) for step in range(100)]
        assert not any(sparsities.auto.any() for sparsities in drawn)
        return np.stack([sparsities.values for sparsities in drawn])

    assert (draw("plain") == 0).all()
    assert (draw("fixed") == 0.8).all()
    iterative = draw("iterative", rounds=4, advance=0.6)
    assert (iterative == iterative[:, :1]).all()
    levels, first = np.unique(-iterative[:, 0], return_index=True)
    assert levels == pytest.approx([-0.95, -0.9, -0.85, -0.8])
    assert list(first) == [0, 15, 30, 45]  # a quarter of 60 % each, and the last one to the end
    assert (draw("iterative", rounds=1) == 0.8).all()
    assert (draw("iterative", advance=0) == 0.8).all()
    mixed = draw("mixed")
    assert set(np.unique(mixed)) == {0.0, 0.65, 0.8, 0.9}
    assert (
        np.abs([(mixed == s).mean() for s in (0.0, 0.65, 0.8, 0.9)] - np.array(0.25)) < 0.02
    ).all()
    assert (mixed[0] != mixed[1]).any()


def test_auto_is_a_sparsity_of_procedures_that_treat_each_image_alone():
    recipe = Recipe(procedure="fixed", sparsity="auto")
    sparsities = recipe.sparsities(0.5, 3, np.random.default_rng(0))
    assert recipe.all_sparsities == ("auto",)
    assert sparsities.auto.all()
    assert sparsities.mean is None
    assert sparsities.equal("auto").all()
    some = sparsities.restrict(np.array([True, False, False]))
    assert list(some.auto) == [True, False, False]
    assert list(some.equal(0.0)) == [False, True, True]
    assert some[1:].mean == 0
    assert load_recipe("digits-resnet8-recommended").sparsity == "auto"
    with pytest.raises(ValueError, match="sparsity .*procedure='iterative'"):
        Recipe(procedure="iterative", sparsity="auto")


def test_a_recipe_of_an_earlier_version_differs_in_what_it_says_alone():
    recipe = Recipe(epochs=3, data="here")
    earlier = recipe.model_dump(mode="json") | {"data": "there"}
    del earlier["class_weights"]
    assert recipe.differences(earlier) == []
    assert recipe.replace(class_weights="balanced").differences(earlier) == ["class_weights"]
    assert recipe.replace(seed=1).differences(earlier) == ["seed"]
