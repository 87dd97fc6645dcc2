"""Noise on every element: Gaussian, shot, impulse, speckle."""

from collections.abc import Iterable

import numpy as np
from numpy.random import Generator


def gaussian_noise(images: np.ndarray, sigma: float, rngs: Iterable[Generator]) -> np.ndarray:
    """Add N(0, sigma)."""
    return images + np.float32(sigma) * _normal(images, rngs)


def speckle_noise(images: np.ndarray, sigma: float, rngs: Iterable[Generator]) -> np.ndarray:
    """Add x N(0, sigma)."""
    return images + np.float32(sigma) * images * _normal(images, rngs)


def shot_noise(images: np.ndarray, photons: float, rngs: Iterable[Generator]) -> np.ndarray:
    """Count photons: Poisson(photons x) / photons."""
    expected = images * np.float32(photons)
    counts = np.stack([rng.poisson(image) for rng, image in zip(rngs, expected, strict=True)])
    return counts.astype(np.float32) / np.float32(photons)


def impulse_noise(images: np.ndarray, share: float, rngs: Iterable[Generator]) -> np.ndarray:
    """Set a share of the elements to 0 or 1, one as often as the other."""
    draws = np.stack([rng.random(images.shape[1:], dtype=np.float32) for rng in rngs])
    return np.where(
        draws < share / 2, np.float32(0), np.where(draws < share, np.float32(1), images)
    )


def _normal(images: np.ndarray, rngs: Iterable[Generator]) -> np.ndarray:
    return np.stack([rng.standard_normal(images.shape[1:], dtype=np.float32) for rng in rngs])
