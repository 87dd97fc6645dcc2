"""Judge a trained run: clean, under noise, at low resolution, under attack, and with and without smoothing in front."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from virolbi.attacks import fgsm, pgd
from virolbi.corruptions import LEVELS, RESOLUTIONS, corrupt, low_resolution, nearest_resolution, noise_level
from virolbi.data import Images
from virolbi.rows import Row, read_rows, wilson_interval, write_rows
from virolbi.runs import Run

BATCH = 250
LOW_RESOLUTION_FACTORS = (2, 4)
IDENTITY = ("arm", "seed", "view", "condition", "severity", "level", "count", "noise_seed")


def evaluate(
    arm: str,
    run: Run,
    images: Images,
    path: Path,
    *,
    resolution: int | None = None,
    epsilon: float = 2 / 255,
    attacked: int = 500,
    noise_seed: int = 0,
    progress: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Add the rows of one run to the file at `path`, which is complete after every row, and return them.

    arm: the name of the run in the rows. resolution: whose noise constants, 32, 64 or 224; None for the nearest.
    epsilon: largest change of a pixel under FGSM and PGD; attacked: how many of the first images are attacked, 0 for none.
    Rows that the file already has are not computed again. Raises ValueError where it has rows of other images, or of other
    weights under the same name and seed, and for images unlike those of the training.

    A run that trained on smoothed images is judged in two views, "raw" and "smoothed"; attacks on the latter follow the exact
    derivative of the smoothing. They are gradient attacks only, so their figures bound the robustness from above.
    """
    if images.classes != run.classes:
        raise ValueError(f"images must have the classes of the run, {run.classes}, got {images.classes}")
    if list(images.pixels.shape[1:]) != run.data["shape"]:
        raise ValueError(f"images must have the shape of training, {run.data['shape']}, got {list(images.pixels.shape[1:])}")
    check_settings(resolution, epsilon, attacked)
    views: dict[str, nn.Module] = {"raw" if run.recipe.filter == "none" else run.recipe.filter: run.model}
    if run.recipe.procedure != "plain":
        views["smoothed"] = nn.Sequential(run.smoother(), run.model)
    about = images.about
    common: Row = {
        "arm": arm,
        "seed": run.recipe.seed,
        "data": about["name"],
        "images": about["digest"],
        "noise_seed": noise_seed,
        "weights": _fingerprint(run.model),
    }
    rows = read_rows(path)
    for row in rows:
        if row["images"] != common["images"]:
            raise ValueError(f"{path} holds results on other images, {row['count']} of {row['data']}; choose another place")
        if row["arm"] == arm and row["seed"] == common["seed"] and row["weights"] != common["weights"]:
            raise ValueError(f"{path} holds results of other weights for {arm!r}, seed {row['seed']}; choose another name")
    known = {_identity(row): row for row in rows}
    result = []
    resolution = resolution or nearest_resolution(*images.pixels.shape[-2:])
    for condition in _conditions(images, resolution, noise_seed, epsilon, attacked):
        for view, model in views.items():
            row = common | {"view": view} | condition.about
            if _identity(row) in known:
                row = known[_identity(row)]
            else:
                hits = condition.score(model)
                low, high = wilson_interval(hits, row["count"])
                row |= {"accuracy": hits / row["count"], "low": round(low, 4), "high": round(high, 4)}
                rows.append(row)
                write_rows(path, rows)
            result.append(row)
            if progress is not None:
                progress(row)
    return result


def check_settings(resolution: int | None, epsilon: float, attacked: int) -> None:
    """Refuse settings of an evaluation before any work is done."""
    if resolution is not None and resolution not in RESOLUTIONS:
        raise ValueError(f"resolution must be one of {RESOLUTIONS}, got {resolution}")
    if not 0 < epsilon <= 1:
        raise ValueError(f"epsilon must be in (0, 1], got {epsilon}")
    if attacked < 0:
        raise ValueError(f"attacked must be >= 0, got {attacked}")


def _identity(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(key) for key in IDENTITY)


def _fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class _Condition:
    """What the rows say of it, and the number of images a model gets right under it."""

    about: Row
    score: Callable[[nn.Module], int]


def _conditions(images: Images, resolution: int, noise_seed: int, epsilon: float, attacked: int) -> Iterator[_Condition]:
    clean = images.pixels.astype(np.float32) / 255

    def shown(name: str, severity: int, level: float, change: Callable[[], np.ndarray]) -> _Condition:
        about = {"condition": name, "severity": severity, "level": level, "count": len(images)}
        changed = cache(change)  # once for all views
        return _Condition(about, lambda model: _count_correct(model, changed(), images.labels))

    yield shown("clean", 0, 0.0, lambda: clean)
    for name in LEVELS:
        for severity in range(1, 6):
            make = partial(corrupt, clean, name, severity, resolution=resolution, seed=noise_seed)
            yield shown(name, severity, noise_level(name, severity, resolution), make)
    for severity, factor in enumerate(LOW_RESOLUTION_FACTORS, start=1):
        yield shown("low_resolution", severity, float(factor), partial(low_resolution, clean, factor))
    count = min(attacked, len(images))
    for name, attack in (("fgsm", fgsm), ("pgd", pgd)) if count else ():
        about = {"condition": name, "severity": 1, "level": round(epsilon, 5), "count": count}

        def score(model: nn.Module, attack: Callable[..., Tensor] = attack) -> int:
            return _count_correct(model, clean[:count], images.labels[:count], partial(attack, epsilon=epsilon))

        yield _Condition(about, score)


def _count_correct(
    model: nn.Module, pixels: np.ndarray, labels: np.ndarray, attack: Callable[..., Tensor] | None = None
) -> int:
    """How many images a model gets right, batch by batch, after an attack on each batch where one is given."""
    device = next(model.parameters()).device
    correct = 0
    for first in range(0, len(labels), BATCH):
        batch = torch.from_numpy(pixels[first : first + BATCH]).to(device)
        truth = torch.from_numpy(labels[first : first + BATCH]).to(device)
        if attack is not None:
            batch = attack(model, batch, truth)
        with torch.inference_mode():
            correct += int((model(batch).argmax(dim=1) == truth).sum())
    return correct


def example_sheet(smoother: nn.Module, images: Images, *, resolution: int | None = None, count: int = 8) -> np.ndarray:
    """A picture of the first test images, raw above smoothed, clean and under each noise at severity 5: uint8, (H, W, C)."""
    clean = images.pixels[:count].astype(np.float32) / 255
    resolution = resolution or nearest_resolution(*clean.shape[-2:])
    strips = [clean] + [corrupt(clean, name, 5, resolution=resolution) for name in LEVELS]
    pairs = np.stack([[strip, smoother(torch.from_numpy(strip)).numpy()] for strip in strips])  # (noise, 2, N, C, H, W)
    noises, _, count, channels, height, width = pairs.shape
    sheet = pairs.transpose(0, 1, 4, 2, 5, 3).reshape(noises * 2 * height, count * width, channels)
    return np.rint(sheet.clip(0, 1) * 255).astype(np.uint8)
