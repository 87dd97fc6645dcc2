"""Conditions of an evaluation without attacks: clean, corrupted and low-resolution images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from virolbi.corruptions import (
    NOISES,
    SEVERITIES,
    corrupt,
    low_resolution,
    nearest_resolution,
    noise_level,
    official,
)
from virolbi.data import Images
from virolbi.evaluation.judging import ShownBatch, change_batches, identity
from virolbi.results import Row

LOW_RESOLUTION_FACTORS = (2, 4)
OFFICIAL_COUNT = 10_000  # images of CIFAR-10-C and CIFAR-100-C at each severity
OFFICIAL_RESOLUTION = 32  # pixels


@dataclass(frozen=True)
class Condition:
    """Condition under which views are judged.

    Parameters
    ----------
    fields : dict
        Fields of its rows: "condition", "severity", "level", "count", "noise_seed" and, for
        corruptions that are made here, "resolution".
    show : callable
        Returns an iterator of the images, changed as the condition says, in batches.
    """

    fields: Row
    show: Callable[[], Iterator[ShownBatch]]


def list_conditions(
    images: Images,
    corruptions: Sequence[str],
    *,
    folder: Path | None,
    resolution: int | None,
    noise_seed: int,
) -> list[Condition]:
    """List the conditions of an evaluation without attacks.

    Parameters
    ----------
    images : Images
        Clean test images.
    corruptions : sequence of str
        Names of corruptions, each used at severities 1 to 5.
    folder : Path or None
        Folder of CIFAR-10-C or CIFAR-100-C to read corrupted images from, or None to make them.
    resolution : {32, 64, 224} or None
        Resolution whose constants the corruptions have; None for the nearest, and for images
        from a folder always 32.
    noise_seed : int
        Seed of the corruptions.

    Returns
    -------
    list of Condition
        Clean images, every corruption at every severity, and low resolution by factors 2 and 4.

    Raises
    ------
    ValueError
        If the images are not those that the folder was made from.
    """
    if folder is None:
        resolution = resolution or nearest_resolution(*images.pixels.shape[-2:])
    else:
        _check_official_images(images, folder)
        resolution = OFFICIAL_RESOLUTION
    make = partial(_condition_from_change, images, noise_seed)
    conditions = [make("clean", 0, 0.0, identity)]
    for name in corruptions:
        for severity in SEVERITIES:
            level = noise_level(name, severity, resolution) if name in NOISES else float(severity)
            if folder is not None:
                conditions.append(_condition_from_folder(folder, name, severity, level))
            else:
                change = partial(
                    corrupt, name=name, severity=severity, resolution=resolution, seed=noise_seed
                )
                conditions.append(make(name, severity, level, change, resolution=resolution))
    for severity, factor in enumerate(LOW_RESOLUTION_FACTORS, start=1):
        change = partial(low_resolution, factor=factor)
        conditions.append(make("low_resolution", severity, float(factor), change))
    return conditions


def _check_official_images(images: Images, folder: Path) -> None:
    """Check that images are the first ones of the test split that the folder was made from."""
    _, labels = official(folder, "gaussian_noise", 1)
    same_shape = images.pixels.shape[1:] == (3, OFFICIAL_RESOLUTION, OFFICIAL_RESOLUTION)
    if not same_shape or not np.array_equal(images.labels, labels[: len(images)]):
        raise ValueError(
            f"images must be the test images of {folder}, in their order, 3x32x32, "
            f"got {images.metadata}"
        )


def _condition_from_change(
    images: Images,
    noise_seed: int,
    name: str,
    severity: int,
    level: float,
    change: Callable[[np.ndarray], np.ndarray],
    **fields: int,
) -> Condition:
    """Return the condition that shows the images after a change."""
    row = {
        "condition": name,
        "severity": severity,
        "level": level,
        "count": len(images),
        "noise_seed": noise_seed,
    }
    show = partial(change_batches, images.pixels, images.labels, change)
    return Condition(row | fields, show)


def _condition_from_folder(folder: Path, name: str, severity: int, level: float) -> Condition:
    """Return the condition that shows the images of a published array, read when it is judged."""
    row = {
        "condition": name,
        "severity": severity,
        "level": level,
        "count": OFFICIAL_COUNT,
        "noise_seed": None,
    }
    return Condition(row, lambda: change_batches(*official(folder, name, severity), identity))
