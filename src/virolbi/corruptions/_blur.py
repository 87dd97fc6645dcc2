"""Blur: defocus, frosted glass, motion, zoom, Gaussian."""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.random import Generator

from virolbi._engine import compiled
from virolbi.corruptions._planes import (
    along_axes,
    gaussian,
    gaussian_matrix,
    line_matrix,
    moved,
    shifted_sum,
    zoom_matrix,
)


def gaussian_blur(images: np.ndarray, sigma: float) -> np.ndarray:
    """Convolution with a Gaussian of 4 sigmas, borders repeated."""
    height, width = images.shape[-2:]
    return along_axes(images, gaussian_matrix(height, sigma), gaussian_matrix(width, sigma))


def defocus_blur(images: np.ndarray, level: tuple[float, float]) -> np.ndarray:
    """Convolution with a disk, borders reflected."""
    kernel = _disk(*level)
    rows, columns = np.nonzero(kernel)
    shifts = np.stack([rows, columns], axis=1) - len(kernel) // 2
    return shifted_sum(images, shifts[None], kernel[rows, columns], "reflect")


@cache
def _disk(radius: float, sigma: float) -> np.ndarray:
    """A disk on the pixel grid, softened by a Gaussian of 3 or 5 taps; never smaller than 17x17, which shows at its rim."""
    reach, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(float)
    soften = line_matrix(len(steps), gaussian(np.arange(-taps, taps + 1), sigma), "reflect").astype(
        float
    )
    return soften @ (disk / disk.sum()) @ soften.T


def motion_blur(
    images: np.ndarray, level: tuple[int, float], rngs: Iterable[Generator]
) -> np.ndarray:
    """Blur in a direction between -45 and 45 degrees."""
    return moved(images, *level, np.array([rng.uniform(-45, 45) for rng in rngs]))


def zoom_blur(images: np.ndarray, level: tuple[float, float]) -> np.ndarray:
    """The mean of the image and of its middle enlarged by every factor; the factor 1 is one of them too."""
    stop, step = level
    factors = np.arange(1, stop, step)
    height, width = images.shape[-2:]
    total = images.copy()
    for factor in factors:
        total += along_axes(images, zoom_matrix(height, factor), zoom_matrix(width, factor))
    return total / np.float32(len(factors) + 1)


def glass_blur(
    images: np.ndarray, level: tuple[float, int, int], rngs: Iterable[Generator]
) -> np.ndarray:
    """Pixels become one of their neighbours, between two slight Gaussian blurs.

    The paper says that pixels are exchanged. The published script exchanges views of one array, so that its images, and these,
    have the neighbour twice and the pixel itself no more.
    """
    sigma, reach, passes = level
    blurred = gaussian_blur(images, sigma)
    height, width = images.shape[-2:]
    steps = (passes, height - 2 * reach, width - 2 * reach, 2)
    for image, rng in zip(blurred, rngs, strict=True):
        _shuffle(image, rng.integers(-reach, reach, size=steps, dtype=np.int8), reach)
    return gaussian_blur(blurred, sigma)


@compiled
def _shuffle(
    image: np.ndarray, moves: np.ndarray, reach: int
) -> None:  # (C, H, W), (passes, H - 2 reach, W - 2 reach, 2)
    channels, height, width = image.shape
    for step in range(len(moves)):
        for y in range(height - reach, reach, -1):
            for x in range(width - reach, reach, -1):
                down, right = moves[step, y - reach - 1, x - reach - 1]
                for c in range(channels):
                    image[c, y, x] = image[c, y + down, x + right]
