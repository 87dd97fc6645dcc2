"""Blur: defocus, frosted glass, motion, zoom, Gaussian."""

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.random import Generator

from virolbi._engine import compiled
from virolbi.corruptions._planes import (
    apply_matrices,
    correlation_matrix,
    directional_blur,
    gaussian_matrix,
    gaussian_weights,
    shifted_sum,
    zoom_matrix,
)


def gaussian_blur(images: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve images with a Gaussian that is cut off at 4 sigmas; borders are repeated.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    sigma : float
        Standard deviation in pixels. A larger sigma is stronger.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Blurred images.
    """
    height, width = images.shape[-2:]
    return apply_matrices(images, gaussian_matrix(height, sigma), gaussian_matrix(width, sigma))


def defocus_blur(images: np.ndarray, level: tuple[float, float]) -> np.ndarray:
    """Convolve images with a disk; borders are reflected.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    level : tuple of float
        Radius of the disk, and sigma of the Gaussian that softens its rim, in pixels. A larger
        radius is stronger.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Blurred images.
    """
    kernel = _disk(*level)
    rows, columns = np.nonzero(kernel)
    shifts = np.stack([rows, columns], axis=1) - len(kernel) // 2
    return shifted_sum(images, shifts[None], kernel[rows, columns], "reflect")


@cache
def _disk(radius: float, sigma: float) -> np.ndarray:
    """Return the weights of a disk on the pixel grid, softened by a Gaussian of 3 or 5 taps.

    The grid is never smaller than 17x17, which shows at the rim of the disk.
    """
    reach, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(float)
    softening = correlation_matrix(
        len(offsets), gaussian_weights(np.arange(-taps, taps + 1), sigma), "reflect"
    ).astype(float)
    kernel: np.ndarray = softening @ (disk / disk.sum()) @ softening.T
    return kernel


def motion_blur(
    images: np.ndarray, level: tuple[int, float], rngs: Iterable[Generator]
) -> np.ndarray:
    """Blur each image in one direction, between -45 and 45 degrees.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    level : tuple of (int, float)
        Radius and sigma of the motion in pixels, see `directional_blur`. Larger is stronger.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Blurred images.
    """
    return directional_blur(images, *level, np.array([rng.uniform(-45, 45) for rng in rngs]))


def zoom_blur(images: np.ndarray, level: tuple[float, float]) -> np.ndarray:
    """Average each image and its centre enlarged by a range of factors.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    level : tuple of float
        End and step of the factors, which go from 1 (included) to below the end. A larger end is
        stronger.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Mean of the images themselves and of the enlarged ones, of which those of factor 1 are
        the images once more.
    """
    stop, step = level
    factors = np.arange(1, stop, step)
    height, width = images.shape[-2:]
    total = images.copy()
    for factor in factors:
        total += apply_matrices(images, zoom_matrix(height, factor), zoom_matrix(width, factor))
    return total / np.float32(len(factors) + 1)


def glass_blur(
    images: np.ndarray, level: tuple[float, int, int], rngs: Iterable[Generator]
) -> np.ndarray:
    """Replace pixels by random neighbours, between two slight Gaussian blurs.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    level : tuple of (float, int, int)
        Sigma of the blur before and after, reach of a move in pixels, and number of passes.
        Larger numbers are stronger.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Blurred images.

    Notes
    -----
    The paper says that pixels are exchanged. The published script exchanges views of one array,
    so in its images, and in these, the neighbour appears twice and the pixel itself is lost.
    """
    sigma, reach, passes = level
    blurred = gaussian_blur(images, sigma)
    height, width = images.shape[-2:]
    shape = (passes, height - 2 * reach, width - 2 * reach, 2)
    for image, rng in zip(blurred, rngs, strict=True):
        _copy_neighbours(image, rng.integers(-reach, reach, size=shape, dtype=np.int8), reach)
    return gaussian_blur(blurred, sigma)


@compiled
def _copy_neighbours(image: np.ndarray, moves: np.ndarray, reach: int) -> None:
    """Replace pixels of an image (C, H, W) in place, from the bottom right to the top left.

    `moves` has the shape (passes, H - 2 reach, W - 2 reach, 2): steps down and right.
    """
    channels, height, width = image.shape
    for step in range(len(moves)):
        for y in range(height - reach, reach, -1):
            for x in range(width - reach, reach, -1):
                down, right = moves[step, y - reach - 1, x - reach - 1]
                for c in range(channels):
                    image[c, y, x] = image[c, y + down, x + right]
