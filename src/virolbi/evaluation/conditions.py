"""Conditions of an evaluation without attacks: clean, corrupted and low-resolution images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from virolbi._checks import check_choice, check_choices, check_whole
from virolbi.corruptions import (
    COMMON,
    HELD_OUT,
    MIN_SIDE,
    NOISES,
    OFFICIAL_COUNT,
    RESOLUTIONS,
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
OFFICIAL_RESOLUTION = 32  # pixels


@dataclass(frozen=True)
class Conditions:
    """Choice of the conditions of an evaluation without attacks.

    Clean images, and low resolution by factors 2 and 4, are always among the conditions.

    Parameters
    ----------
    corruptions : tuple of str, optional
        Names of `virolbi.corruptions`, each used at severities 1 to 5.
    official : Path, optional
        Folder of CIFAR-10-C or CIFAR-100-C, whose images are judged instead of corruptions made
        here. Their rows have a noise_seed of None.
    resolution : {32, 64, 224}, optional
        Resolution whose constants the corruptions have. None for the nearest to the images; those
        of a folder always have 32.
    noise_seed : int, optional
        Seed of the corruptions.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or is out of its range.

    See Also
    --------
    Attacks : Choice of the attacks of an evaluation.

    Examples
    --------
    >>> Conditions(("fog", "snow"), resolution=64)
    Conditions(corruptions=('fog', 'snow'), official=None, resolution=64, noise_seed=0)
    """

    corruptions: tuple[str, ...] = NOISES
    official: Path | None = None
    resolution: int | None = None
    noise_seed: int = 0

    def __post_init__(self) -> None:
        check_choices("corruptions", self.corruptions, COMMON + HELD_OUT)
        if not isinstance(self.official, Path | None):
            raise TypeError(f"official must be a Path or None, got {self.official!r}")
        if self.official is not None and not self.official.is_dir():
            raise ValueError(
                f"official must be a folder of CIFAR-10-C or CIFAR-100-C, got {self.official}, "
                "which is not a folder"
            )
        if self.resolution is not None:
            check_choice("resolution", self.resolution, RESOLUTIONS)
        check_whole("noise_seed", self.noise_seed)

    def check_images(self, images: Images) -> None:
        """Check that images can be shown under these conditions.

        Parameters
        ----------
        images : Images
            Clean test images.

        Raises
        ------
        ValueError
            If a side has too few pixels for the corruptions or for a low resolution, or if the
            images are not the first ones of the test split that the folder was made from.
        """
        least = MIN_SIDE if self.corruptions else max(LOW_RESOLUTION_FACTORS)
        height, width = images.pixels.shape[2:]
        if min(height, width) < least:
            purpose = "to be corrupted" if self.corruptions else "to be reduced in resolution"
            raise ValueError(
                f"images must have {least} pixels a side or more {purpose}, got {width}x{height}"
            )
        if self.official is not None:
            _, labels = official(self.official, "gaussian_noise", 1)
            same_shape = images.pixels.shape[1:] == (3, OFFICIAL_RESOLUTION, OFFICIAL_RESOLUTION)
            if not same_shape or not np.array_equal(images.labels, labels[: len(images)]):
                raise ValueError(
                    f"images must be the test images of {self.official}, in their order, 3x32x32, "
                    f"got {images.metadata}"
                )

    def resolution_for(self, images: Images) -> int:
        """Return the resolution whose constants the corruptions of images have.

        Parameters
        ----------
        images : Images
            Clean test images.

        Returns
        -------
        {32, 64, 224}
            The resolution, in pixels.
        """
        if self.official is not None:
            return OFFICIAL_RESOLUTION
        return self.resolution or nearest_resolution(*images.pixels.shape[2:])


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


def list_conditions(conditions: Conditions, images: Images) -> list[Condition]:
    """List the conditions of an evaluation without attacks.

    Parameters
    ----------
    conditions : Conditions
        Choice of the conditions.
    images : Images
        Clean test images, of a size that `Conditions.check_images` accepts.

    Returns
    -------
    list of Condition
        Clean images, every corruption at every severity, and low resolution by factors 2 and 4.
    """
    folder, seed = conditions.official, conditions.noise_seed
    resolution = conditions.resolution_for(images)
    make = partial(_condition_from_change, images, seed)
    listed = [make("clean", 0, 0.0, identity)]
    for name in conditions.corruptions:
        for severity in SEVERITIES:
            level = noise_level(name, severity, resolution) if name in NOISES else float(severity)
            if folder is not None:
                listed.append(_condition_from_folder(folder, name, severity, level))
            else:
                change = partial(
                    corrupt, name=name, severity=severity, resolution=resolution, seed=seed
                )
                listed.append(make(name, severity, level, change, resolution=resolution))
    for severity, factor in enumerate(LOW_RESOLUTION_FACTORS, start=1):
        change = partial(low_resolution, factor=factor)
        listed.append(make("low_resolution", severity, float(factor), change))
    return listed


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
