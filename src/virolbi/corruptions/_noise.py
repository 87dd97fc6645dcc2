"""Noise on every element: Gaussian, shot, impulse, speckle."""

from collections.abc import Iterable

import numpy as np
from numpy.random import Generator


def gaussian_noise(images: np.ndarray, sigma: float, rngs: Iterable[Generator]) -> np.ndarray:
    """Add normally distributed noise, N(0, sigma).

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities x.
    sigma : float
        Standard deviation of the noise, in units of intensity. A larger sigma is stronger.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Noisy images, not clipped.
    """
    noisy: np.ndarray = images + np.float32(sigma) * _standard_normal(images, rngs)
    return noisy


def speckle_noise(images: np.ndarray, sigma: float, rngs: Iterable[Generator]) -> np.ndarray:
    """Add noise in proportion to the intensity, x N(0, sigma).

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities x.
    sigma : float
        Standard deviation of the noise at intensity 1. A larger sigma is stronger.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Noisy images, not clipped.
    """
    noisy: np.ndarray = images + np.float32(sigma) * images * _standard_normal(images, rngs)
    return noisy


def shot_noise(images: np.ndarray, photons: float, rngs: Iterable[Generator]) -> np.ndarray:
    """Replace intensities by counts of photons, Poisson(photons x) / photons.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities x.
    photons : float
        Expected number of photons at intensity 1. Fewer photons are stronger noise.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Noisy images, not clipped.
    """
    expected = images * np.float32(photons)
    counts = np.stack([rng.poisson(image) for rng, image in zip(rngs, expected, strict=True)])
    return counts.astype(np.float32) / np.float32(photons)


def impulse_noise(images: np.ndarray, share: float, rngs: Iterable[Generator]) -> np.ndarray:
    """Set a share of the elements to 0 or 1, both equally often.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    share : float
        Expected share of the elements that are replaced, in [0, 1]. A larger share is stronger.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Noisy images.
    """
    draws = np.stack([rng.random(images.shape[1:], dtype=np.float32) for rng in rngs])
    return np.where(
        draws < share / 2, np.float32(0), np.where(draws < share, np.float32(1), images)
    )


def _standard_normal(images: np.ndarray, rngs: Iterable[Generator]) -> np.ndarray:
    """Return standard normal draws of the shape of the images, each image from its generator."""
    return np.stack([rng.standard_normal(images.shape[1:], dtype=np.float32) for rng in rngs])
