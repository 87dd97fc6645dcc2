"""Comparison of several ways to train on one budget, in a folder that a second call completes."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from virolbi._checks import check_choices, check_count
from virolbi._storage import check_empty_folder, locked_folder, write_json
from virolbi.corruptions import COMMON, HELD_OUT
from virolbi.data import Images, Picture, write_picture
from virolbi.evaluation.attacking import Attacks
from virolbi.evaluation.conditions import Conditions
from virolbi.evaluation.evaluate import evaluate
from virolbi.evaluation.examples import example_sheet
from virolbi.evaluation.loading import subject_from_run
from virolbi.nn import Smooth
from virolbi.recipes import Recipe, arms, load_recipe
from virolbi.results import COMPARISON, EXAMPLES, ROWS, RUNS, Row
from virolbi.training import Progress, train

COMPARED_CONDITIONS, COMPARED_ATTACKS = Conditions(COMMON + HELD_OUT), Attacks(attacked=200)
DEMO_ARMS = ("plain", "fixed", "iterative", "recommended", "rival-gaussian", "rival-median")


def comparison_recipes(
    family: str,
    names: Iterable[str] | Mapping[str, Mapping[str, Any]] | None,
    *,
    passes: int | None = None,
    **changes: Any,
) -> dict[str, Recipe]:
    """Return the recipes of arms, the ways to train, for a data set and a model.

    Parameters
    ----------
    family : str
        Data set and model, such as "cifar10-resnet8".
    names : iterable of str, mapping or None
        Names of arms, or None for all. A mapping has the settings that each arm changes, by its
        name; "arm" is the arm to start from, by default that of the same name.
    passes : int, optional
        Budget of every arm: forward and backward passes of each training image. The epochs of each
        arm come nearest to it. None keeps the epochs of the recipes.
    **changes : Any
        Settings that replace those of every recipe.

    Returns
    -------
    dict of str to Recipe
        The recipe of each arm, by its name.

    Raises
    ------
    ValueError
        If no arm or an unknown one is named, or if a change is of a setting that defines one of
        the arms.
    """
    settings_of = arms()
    chosen = settings_of if names is None else names
    variants: Mapping[str, Mapping[str, Any]] = (
        names if isinstance(names, Mapping) else {name: {} for name in chosen}
    )
    starts = {name: variant.get("arm", name) for name, variant in variants.items()}
    check_choices("arms", dict.fromkeys(starts.values()), settings_of, least=1)
    recipes = dict[str, Recipe]()
    for name, start in starts.items():
        own = {key: value for key, value in variants[name].items() if key != "arm"}
        conflicts = (settings_of[start].keys() | own.keys() | {"procedure"}) & changes.keys()
        if conflicts:
            raise ValueError(
                f"settings must not change what makes an arm, got {min(conflicts)} for {name}"
            )
        recipes[name] = load_recipe(f"{family}-{start}").replace(**own, **changes)
    if passes is None:
        return recipes
    return {arm: recipe.with_passes(passes) for arm, recipe in recipes.items()}


def budget_warnings(recipes: Mapping[str, Recipe]) -> list[str]:
    """Return warnings about arms that are not compared on one budget.

    Parameters
    ----------
    recipes : mapping of str to Recipe
        Recipe of each arm, by its name.

    Returns
    -------
    list of str
        One sentence if the numbers of forward and backward passes differ, else none.
    """
    arms_by_passes: dict[int, list[str]] = {}
    for arm, recipe in recipes.items():
        arms_by_passes.setdefault(recipe.epochs * recipe.passes, []).append(arm)
    if len(arms_by_passes) < 2:
        return []
    groups = [f"{passes} ({', '.join(names)})" for passes, names in sorted(arms_by_passes.items())]
    return [
        "The arms take different numbers of forward and backward passes for each training image: "
        + "; ".join(groups)
    ]


def compare(
    train_images: Images,
    test_images: Images,
    folder: Path,
    *,
    recipes: Mapping[str, Recipe],
    seeds: int | Sequence[int] = 1,
    conditions: Conditions = COMPARED_CONDITIONS,
    attacks: Attacks = COMPARED_ATTACKS,
    smoothings: Sequence[float | str] = (),
    cpu: bool = False,
    cache: Path | None = None,
    started: Callable[[str, Recipe], None] | None = None,
    stepped: Callable[[Progress], None] | None = None,
    judged: Callable[[Row], None] | None = None,
) -> None:
    """Train a network by every recipe, judge all of them alike, and keep everything in a folder.

    The folder gets rows.jsonl, comparison.json, examples.png and, under runs/, the weights of
    every arm and seed. A second call with the same images and settings completes the folder: it
    may add arms and seeds, and repeats no work.

    Parameters
    ----------
    train_images : Images
        Training images.
    test_images : Images
        Test images.
    folder : Path
        A new or empty folder, or that of the same comparison.
    recipes : mapping of str to Recipe
        Recipe of each arm, by its name.
    seeds : int or sequence of int, optional
        Number of runs of each arm: with the seed of its recipe and the seeds after it. A sequence
        holds what is added to the seed of the recipe in each run.
    conditions : Conditions, optional
        Conditions, as in `evaluate`. Default: those of the common and held-out corruptions.
    attacks : Attacks, optional
        Attacks, as in `evaluate`. Default: on the first 200 test images.
    smoothings : sequence of float or "auto", optional
        More sparsities of the smoother in front of networks that were trained on smoothed images,
        besides that of their recipe. "auto" is left out for recipes whose smoother returns
        regions, which do not have it.
    cpu : bool, optional
        Whether to train on the CPU, as in `virolbi.training.train`.
    cache : Path, optional
        Folder for decoded and smoothed images, as in `virolbi.training.train`.
    started : callable, optional
        Called with the name and the recipe of every run before it starts.
    stepped : callable, optional
        Called with the progress after every training step.
    judged : callable, optional
        Called with every row.

    Raises
    ------
    TypeError, ValueError
        If the folder holds something else, if a setting has the wrong type or is out of its
        range, or if the test images have another shape than the training images, or other
        classes, or do not fit the conditions.
    """
    offsets = (
        [check_count("seeds", offset, least=0) for offset in seeds]
        if isinstance(seeds, Sequence)
        else range(check_count("seeds", seeds))
    )
    _check_images(train_images, test_images)
    conditions.check_images(test_images)
    resolution = conditions.resolution_for(test_images)
    images = {"training images": train_images, "test images": test_images}
    settings = {
        "resolution": resolution,
        "attacked": attacks.attacked,
        "budget": asdict(attacks.budget),
    }
    with locked_folder(folder / COMPARISON):
        _record_settings(folder, images, settings, recipes)
    _write_examples(folder / EXAMPLES, recipes, test_images, resolution)
    for offset in offsets:
        for arm, first_recipe in recipes.items():
            recipe = first_recipe.replace(seed=first_recipe.seed + offset)
            if started is not None:
                started(arm, recipe)
            run_folder = _run_folder(folder, arm, recipe.seed)
            run = train(recipe, train_images, run_folder, cpu=cpu, cache=cache, progress=stepped)
            evaluate(
                subject_from_run(run, arm, _sparsities(recipe, smoothings)),
                test_images,
                folder / ROWS,
                conditions=conditions,
                attacks=attacks,
                progress=judged,
            )


def _check_images(train_images: Images, test_images: Images) -> None:
    """Check that test images have the shape of training images, and no other classes."""
    shape, test_shape = train_images.pixels.shape[1:], test_images.pixels.shape[1:]
    if test_shape != shape:
        raise ValueError(
            f"test_images must have the shape of training images, {shape}, got {test_shape}"
        )
    unknown = set(test_images.classes) - set(train_images.classes)
    if unknown:
        raise ValueError(f"test_images must have classes of training images, got {min(unknown)!r}")


def _record_settings(
    folder: Path,
    images: Mapping[str, Images],
    settings: Mapping[str, Any],
    recipes: Mapping[str, Recipe],
) -> None:
    """Write the images, settings and recipes of a comparison, with the arms of earlier calls.

    The images may have another name or place than before, not another content. A folder with
    another comparison, or with anything else, raises ValueError.
    """
    path = folder / COMPARISON
    described = {name: those.metadata for name, those in images.items()} | dict(settings)
    if not path.exists():
        check_empty_folder(folder)
    try:
        recorded = json.loads(path.read_text()) if path.exists() else described | {"recipes": {}}
        recorded_recipes = recorded.pop("recipes")
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} must describe a comparison: {error!r}") from error
    differences = [name for name, those in images.items() if not those.matches(recorded.get(name))]
    differences += [name for name in settings if recorded.get(name) != settings[name]]
    contents = {arm: recipe.model_dump(mode="json") for arm, recipe in recipes.items()}
    for arm, recipe in recipes.items():
        recorded_recipe = recorded_recipes.get(arm, contents[arm])
        differences += [f"{name} of {arm}" for name in recipe.differences(recorded_recipe)]
    if differences:
        raise ValueError(
            f"{folder} must be new or hold this comparison; it holds one that differs in "
            f"{', '.join(differences[:3])}"
        )
    content = described | {"recipes": recorded_recipes | contents}
    write_json(path, content, indent=1)


def _write_examples(
    path: Path, recipes: Mapping[str, Recipe], images: Images, resolution: int
) -> None:
    """Write a picture of test images, smoothed as in the first recipe that smooths."""
    smoothing = (recipe for recipe in recipes.values() if recipe.procedure != "plain")
    recipe = next(smoothing, Recipe())
    smoother = Smooth(recipe.sparsity, **recipe.form.keywords())
    sheet = example_sheet(smoother, images, resolution)
    write_picture(path, Picture(sheet[..., 0] if sheet.shape[-1] == 1 else sheet))


def _run_folder(folder: Path, arm: str, seed: int) -> Path:
    """Return the folder of a run, whose name has a hyphen for every special character."""
    name = "".join(character if character.isalnum() else "-" for character in arm)
    return folder / RUNS / f"{name}-{seed}"


def _sparsities(recipe: Recipe, smoothings: Sequence[float | str]) -> tuple[float | str, ...]:
    """Return the sparsities to judge a run at: none without smoothing, else the recipe's first."""
    if recipe.procedure == "plain":
        return ()
    more = (sparsity for sparsity in smoothings if sparsity != "auto" or recipe.form.allows_auto)
    return tuple(dict.fromkeys([recipe.sparsity, *more]))
