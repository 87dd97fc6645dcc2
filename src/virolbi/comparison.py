"""Train several arms on one budget, judge them alike, and keep everything in one folder that a second call completes."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from virolbi._files import write_whole
from virolbi.corruptions import nearest_resolution, noise_level
from virolbi.data import Images
from virolbi.evaluation import check_settings, evaluate, example_sheet
from virolbi.pictures import Picture, write_picture
from virolbi.rows import Row
from virolbi.training import Progress, Recipe, check_place, load_run, save, train

STRONGEST_NOISE: dict[str, Any] = {"noise": None}  # stands for the Gaussian level of severity 5, known once the images are
# what sets the arms apart from the base recipe
ARMS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "plain": {},
        "fixed": {"procedure": "fixed"},
        "iterative": {"procedure": "iterative"},
        "mixed": {"procedure": "mixed"},
        "paper fixed .4": {"procedure": "fixed", "preset": "paper", "sparsity": 0.4},
        "paper fixed .6": {"procedure": "fixed", "preset": "paper", "sparsity": 0.6},
        "rival: Gaussian noise": STRONGEST_NOISE,
        "rival: 3x3 median": {"median": 3},
    }
)
DEMO_ARMS = ("plain", "fixed", "iterative", "mixed", "rival: Gaussian noise", "rival: 3x3 median")


def choose(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Some of the ARMS by name. Raises ValueError for none and for a name that is not there."""
    names = tuple(names)
    unknown = [name for name in names if name not in ARMS]
    if unknown or not names:
        raise ValueError(f"arms must be some of {tuple(ARMS)}, got {unknown or names}")
    return {name: ARMS[name] for name in names}


def compare(
    train_images: Images,
    test_images: Images,
    folder: Path,
    *,
    base: Recipe,
    arms: Mapping[str, dict[str, Any]] = ARMS,
    seeds: int = 1,
    resolution: int | None = None,
    epsilon: float = 2 / 255,
    attacked: int = 500,
    device: str = "cpu",
    started: Callable[[str, Recipe], None] | None = None,
    stepped: Callable[[Progress], None] | None = None,
    judged: Callable[[Row], None] | None = None,
) -> None:
    """Fill `folder` with rows.jsonl, comparison.json, examples.png and, under runs/, the weights of every arm and seed.

    base: the budget and all else the arms have in common. arms: their names, each with what it changes in the base.
    seeds: runs of each arm, with seeds base.seed, base.seed + 1, ... resolution: whose noise constants, 32, 64 or 224; None for
    the nearest. epsilon, attacked: as in `evaluate`. started, stepped, judged: told about every run, training step and row.

    A second call with the same images and settings completes the folder: it may add arms and seeds, and does nothing twice.
    Raises ValueError for a folder that holds another comparison.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be >= 1, got {seeds}")
    check_settings(resolution, epsilon, attacked)
    resolution = resolution or nearest_resolution(*test_images.pixels.shape[-2:])
    noise = noise_level("gaussian_noise", 5, resolution)
    recipes = {arm: replace(base, **({"noise": noise} if apart == STRONGEST_NOISE else apart)) for arm, apart in arms.items()}
    settings: dict[str, Any] = {"resolution": resolution, "epsilon": epsilon, "attacked": attacked}
    images = {"training images": train_images.about, "test images": test_images.about}
    _claim(folder, images | settings, {arm: json.loads(json.dumps(asdict(recipe))) for arm, recipe in recipes.items()})
    sheet = example_sheet(replace(base, procedure="fixed").smoother(), test_images, resolution=resolution)
    write_picture(folder / "examples.png", Picture(sheet[..., 0] if sheet.shape[-1] == 1 else sheet))
    for seed in range(base.seed, base.seed + seeds):
        for arm, recipe in recipes.items():
            recipe = replace(recipe, seed=seed)
            if started is not None:
                started(arm, recipe)
            place = folder / "runs" / f"{''.join(c if c.isalnum() else '-' for c in arm)}-{seed}"
            if place.exists():
                run = load_run(place, device=device)
            else:
                run = train(recipe, train_images, device=device, progress=stepped)
                save(run, place)
            evaluate(arm, run, test_images, folder / "rows.jsonl", progress=judged, **settings)


def _claim(folder: Path, settings: dict[str, Any], recipes: dict[str, Any]) -> None:
    """Write down what is compared, beside the arms of an earlier call; refuse a folder where something else was."""
    path = folder / "comparison.json"
    if not path.exists():
        check_place(folder)
    try:
        before = json.loads(path.read_text()) if path.exists() else settings | {"recipes": {}}
        known = before.pop("recipes")
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} must describe a comparison: {error!r}") from error
    wrong = [name for name in settings if before.get(name) != settings[name]]
    for arm, recipe in recipes.items():
        wrong += [f"{key} of {arm}" for key, value in recipe.items() if known.get(arm, recipe).get(key) != value]
    if wrong:
        raise ValueError(f"{folder} must be new or hold this comparison; it holds one that differs in {', '.join(wrong[:3])}")
    write_whole(path, json.dumps(settings | {"recipes": known | recipes}, indent=1).encode())
