"""PRIME: mixtures of randomly filtered, recoloured and deformed copies of an image."""

import math
from functools import lru_cache

import numpy as np
from scipy.ndimage import correlate, map_coordinates

from virolbi.training.mixing import Operation, mix_chains

FILTER_SIGMA = 4.0  # of the entries of a 3x3 filter
COLOR_CUT, COLOR_TEMPERATURE = 100, 0.01  # frequencies of a colour curve, and their variance
MIN_CUT, MAX_CUT = 2, 100  # frequencies of a deformation
LEVELS = 4097  # at which a colour curve is computed; 40 for half a wave of the highest frequency


def prime(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply PRIME, with its published constants for CIFAR.

    Parameters
    ----------
    image : ndarray of float32, shape (C, H, W)
        Image in [0, 1].
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray of float32, shape (C, H, W)
        Mixed image, in [0, 1].

    Notes
    -----
    A deformation is drawn for each image; the published code draws one for a whole batch. Its field
    spans both sides of an image that is no square.

    References
    ----------
    .. [1] A. Modas et al., "PRIME: A few primitives can boost robustness to common corruptions",
       ECCV 2022.
    """
    return mix_chains(image, rng, OPERATIONS, lambda image: image, lambda image: image)


def _filter(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Filter an image by a random 3x3 kernel, with black around the image."""
    kernel = rng.normal(0, FILTER_SIGMA, (3, 3)).astype(np.float32)
    kernel[1, 1] += 1
    filtered: np.ndarray = correlate(image, kernel[None], mode="constant")
    return filtered.clip(0, 1)


def _recolor(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the intensities of each channel by a random smooth curve that keeps 0 and 1."""
    grid, waves = _color_waves()
    scale = math.sqrt(COLOR_TEMPERATURE)
    curves = grid + rng.normal(0, scale, (len(image), COLOR_CUT)).astype(np.float32) @ waves
    recolored = [
        np.interp(channel.ravel(), grid, curve).reshape(channel.shape)
        for channel, curve in zip(image, curves, strict=True)
    ]
    return np.stack(recolored).clip(0, 1).astype(np.float32)


@lru_cache(maxsize=1)
def _color_waves() -> tuple[np.ndarray, np.ndarray]:
    """Return intensities, (LEVELS,), and sines of them, (COLOR_CUT, LEVELS)."""
    grid = np.linspace(0, 1, LEVELS)
    waves = np.sin(math.pi * np.arange(1, COLOR_CUT + 1)[:, None] * grid)
    return grid.astype(np.float32), waves.astype(np.float32)


def _deform(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move the pixels of an image by a random smooth field, which vanishes at the border.

    Its strength is drawn between that of a typical move of half a pixel, and the strongest without
    folds [1]_.

    References
    ----------
    .. [1] L. Petrini et al., "Relative stability toward diffeomorphisms indicates performance in
       deep nets", NeurIPS 2021.
    """
    height, width = image.shape[1:]
    # Beta(1/2, 1/2), as the published settings 1 and 1 of concentration and bias say
    cut = int(rng.beta(0.5, 0.5) * (MAX_CUT + 1 - MIN_CUT) + MIN_CUT)
    least = 1 / (math.pi * height * width * math.log(cut))
    most = max(least, 4 / (math.pi**3 * cut**2 * math.log(cut)))
    temperature = least + rng.beta(0.5, 0.5) * (most - least)
    amplitudes, rows, columns = _field_waves(height, width, cut)
    moves = [
        math.sqrt(temperature)
        * side
        * (rows.T @ (rng.standard_normal((cut, cut), np.float32) * amplitudes) @ columns)
        for side in (height, width)
    ]
    positions = [axis - move for axis, move in zip(np.indices((height, width)), moves, strict=True)]
    deformed = [map_coordinates(plane, positions, order=1, mode="nearest") for plane in image]
    return np.stack(deformed)


@lru_cache(maxsize=2 * MAX_CUT)
def _field_waves(height: int, width: int, cut: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return amplitudes, (cut, cut), and sines along both axes, (cut, side), of random fields."""
    numbers = np.arange(1, cut + 1)
    radius = np.hypot(numbers[:, None], numbers)
    amplitudes = (radius < cut + 0.5) / radius
    rows, columns = (
        np.sin(math.pi * numbers[:, None] * np.linspace(0, 1, side)) for side in (height, width)
    )
    return amplitudes.astype(np.float32), rows.astype(np.float32), columns.astype(np.float32)


OPERATIONS: tuple[Operation[np.ndarray], ...] = (_filter, _recolor, _deform)
