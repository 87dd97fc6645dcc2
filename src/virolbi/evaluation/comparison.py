"""Train several arms on one budget, judge them alike, and keep everything in one folder that a second call completes."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from virolbi._checks import check_count
from virolbi._storage import check_empty_folder, write_atomic
from virolbi.corruptions import nearest_resolution
from virolbi.data import Images, Picture, write_picture
from virolbi.evaluation.evaluate import DEFAULT_BUDGET, check_evaluation, evaluate, example_sheet
from virolbi.evaluation.subjects import subject_from_run
from virolbi.nn import Smooth
from virolbi.recipes import Recipe, arms, load_recipe
from virolbi.results import Row
from virolbi.robustness import Budget
from virolbi.training import Progress, train

DEMO_ARMS = ("plain", "fixed", "iterative", "recommended", "rival-gaussian", "rival-median")


def comparison_recipes(
    family: str, names: Iterable[str] | None, **changes: Any
) -> dict[str, Recipe]:
    """The recipes of some arms, or of all, of a data set and a model such as "cifar10-resnet8".

    changes: settings they are all to have instead. Raises ValueError for no name, an unknown one, and for a change of
    what makes one of them.
    """
    known = arms()
    chosen = tuple(known if names is None else names)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise ValueError(f"arms must be some of {tuple(known)}, got {unknown or chosen}")
    for arm in chosen:
        if own := (known[arm].keys() | {"procedure"}) & changes.keys():
            raise ValueError(
                f"settings must not change what makes an arm, got {min(own)} for {arm}"
            )
    return {arm: load_recipe(f"{family}-{arm}").replace(**changes) for arm in chosen}


def compare(
    train_images: Images,
    test_images: Images,
    folder: Path,
    *,
    recipes: Mapping[str, Recipe],
    seeds: int = 1,
    resolution: int | None = None,
    budget: Budget = DEFAULT_BUDGET,
    attacked: int = 200,
    smoothings: Sequence[float | str] = (),
    cpu: bool = False,
    cache: Path | None = None,
    started: Callable[[str, Recipe], None] | None = None,
    stepped: Callable[[Progress], None] | None = None,
    judged: Callable[[Row], None] | None = None,
) -> None:
    """Fill `folder` with rows.jsonl, comparison.json, examples.png and, under runs/, the weights of every arm and seed.

    recipes: one for each arm, by its name. seeds: runs of each, with its recipe's seed and the ones after it. resolution: whose
    noise constants, 32, 64 or 224; None for the nearest. budget, attacked: as in `evaluate`. smoothings: sparsities in front
    of networks trained on smoothed images, beside that of their recipe; not "auto" where these are regions, which have none.
    cpu, cache: as in `train`.
    started, stepped, judged: told about every run, training step and row.

    A second call with the same images and settings completes the folder: it may add arms and seeds, and does nothing twice.
    Raises ValueError for a folder that holds another comparison, and for test images of another shape or other classes.
    """
    check_count("seeds", seeds)
    check_evaluation(resolution, attacked)
    if test_images.pixels.shape[1:] != train_images.pixels.shape[1:]:
        shapes = train_images.pixels.shape[1:], test_images.pixels.shape[1:]
        raise ValueError(
            f"test images must have the shape of training images, {shapes[0]}, got {shapes[1]}"
        )
    if unknown := set(test_images.classes) - set(train_images.classes):
        raise ValueError(f"test images must have classes of training images, got {min(unknown)!r}")
    resolution = resolution or nearest_resolution(*test_images.pixels.shape[-2:])
    settings: dict[str, Any] = {"resolution": resolution, "attacked": attacked}
    images = {"training images": train_images.metadata, "test images": test_images.metadata}
    _claim(
        folder,
        images | settings | {"budget": asdict(budget)},
        {arm: recipe.model_dump(mode="json") for arm, recipe in recipes.items()},
    )
    shown = next((recipe for recipe in recipes.values() if recipe.procedure != "plain"), Recipe())
    sheet = example_sheet(
        Smooth(shown.sparsity, **shown.form.keywords()), test_images, resolution=resolution
    )
    write_picture(
        folder / "examples.png", Picture(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    )
    for later in range(seeds):
        for arm, recipe in recipes.items():
            recipe = recipe.replace(seed=recipe.seed + later)
            if started is not None:
                started(arm, recipe)
            place = (
                folder / "runs" / f"{''.join(c if c.isalnum() else '-' for c in arm)}-{recipe.seed}"
            )
            run = train(recipe, train_images, place, cpu=cpu, cache=cache, progress=stepped)
            more = [
                recipe.sparsity,
                *(one for one in smoothings if one != "auto" or recipe.form.output == "beta"),
            ]
            subject = subject_from_run(
                run, arm, tuple(dict.fromkeys(more)) if recipe.procedure != "plain" else ()
            )
            evaluate(
                subject,
                test_images,
                folder / "rows.jsonl",
                budget=budget,
                progress=judged,
                **settings,
            )


def _claim(folder: Path, settings: dict[str, Any], recipes: dict[str, Any]) -> None:
    """Write down what is compared, beside the arms of an earlier call; refuse a folder where something else was."""
    path = folder / "comparison.json"
    if not path.exists():
        check_empty_folder(folder)
    try:
        before = json.loads(path.read_text()) if path.exists() else settings | {"recipes": {}}
        known = before.pop("recipes")
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} must describe a comparison: {error!r}") from error
    wrong = [name for name in settings if before.get(name) != settings[name]]
    for arm, recipe in recipes.items():
        wrong += [
            f"{key} of {arm}"
            for key, value in recipe.items()
            if known.get(arm, recipe).get(key) != value
        ]
    if wrong:
        raise ValueError(
            f"{folder} must be new or hold this comparison; it holds one that differs in {', '.join(wrong[:3])}"
        )
    write_atomic(path, json.dumps(settings | {"recipes": known | recipes}, indent=1).encode())
