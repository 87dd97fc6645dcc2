"""Weather: snow, frost, fog, brightness; and spatter of water or mud, which is held out."""

from collections.abc import Iterable

import numpy as np
from numpy.random import Generator

from virolbi.corruptions._droplets import droplets
from virolbi.corruptions._planes import (
    apply_matrices,
    directional_blur,
    gaussian_matrix,
    zoom_matrix,
)

LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]  # ITU-R BT.601
WATER = np.array([175, 238, 238], np.float32)[:, None, None] / 255
MUD = np.array([63, 42, 20], np.float32)[:, None, None] / 255


def brightness(images: np.ndarray, added: float) -> np.ndarray:
    """Add a constant to V of HSV, and keep H and S.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities in [0, 1].
    added : float
        Constant, in units of intensity. A larger constant is stronger.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Brighter images: all colours of a pixel are multiplied by one factor. Black becomes grey.
    """
    value = images.max(axis=1, keepdims=True)
    brighter = np.minimum(value + np.float32(added), 1)
    factor = np.divide(brighter, value, out=np.zeros_like(value), where=value > 0)
    result: np.ndarray = np.where(value > 0, images * factor, brighter)
    return result


def fog(images: np.ndarray, level: tuple[float, float], rngs: Iterable[Generator]) -> np.ndarray:
    """Add a fractal, and scale the sum back to the brightest value of the image.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    level : tuple of float
        Weight of the fractal, whose values go from 0 to the weight, and decay of its detail, see
        `plasma_fractal`. A larger weight is stronger.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Images in fog.
    """
    weight, decay = np.float32(level[0]), level[1]
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    clouds = weight * plasma_fractal(images.shape[-2:], decay, list(rngs))[:, None]
    foggy: np.ndarray = (images + clouds) * (brightest / (brightest + weight))
    return foggy


def plasma_fractal(shape: tuple[int, int], decay: float, rngs: list[Generator]) -> np.ndarray:
    """Draw fractals by the diamond-square algorithm.

    They are drawn on a torus whose sides are the next power of two, and cropped.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    decay : float
        The amplitude is divided by the square of `decay` from one level to the next, because the
        published script multiplies by the amplitude twice. A larger decay has less detail.
    rngs : list of Generator
        One random generator for each fractal.

    Returns
    -------
    ndarray of float32, shape (N, H, W)
        Fractals from 0 to 1.

    References
    ----------
    .. [1] A. Fournier, D. Fussell and L. Carpenter, "Computer rendering of stochastic models",
       Communications of the ACM, 1982.
    """
    size = 1 << (max(shape) - 1).bit_length()
    draws = np.stack([rng.uniform(-1, 1, (size, size)).astype(np.float32) for rng in rngs])
    heights = np.zeros_like(draws)
    amplitude, step = 1.0, size
    while step > 1:
        half = step // 2
        at_centres = np.s_[:, half::step, half::step]
        at_rows, at_columns = np.s_[:, ::step, half::step], np.s_[:, half::step, ::step]
        corners = heights[:, ::step, ::step]
        row_sums = corners + np.roll(corners, -1, axis=2)
        column_sums = corners + np.roll(corners, -1, axis=1)
        centres = (row_sums + np.roll(row_sums, -1, axis=1)) / 4 + amplitude * draws[at_centres]
        above, before = np.roll(centres, 1, axis=1), np.roll(centres, 1, axis=2)
        heights[at_centres] = centres
        heights[at_rows] = (row_sums + centres + above) / 4 + amplitude * draws[at_rows]
        heights[at_columns] = (column_sums + centres + before) / 4 + amplitude * draws[at_columns]
        amplitude, step = amplitude / decay**2, half
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)
    return heights[:, : shape[0], : shape[1]]


def snow(images: np.ndarray, level: tuple[float, ...], rngs: Iterable[Generator]) -> np.ndarray:
    """Add two layers of flakes, the second one upside down, to a whitened image.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities in [0, 1].
    level : tuple of float
        Mean and sigma of the flakes; zoom, >= 1; threshold under which there is none; radius and
        sigma of their motion in pixels; share of the image that is not whitened.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Images in snow. The flakes are enlarged and blown downwards.
    """
    mean, sigma, zoom, threshold, radius, motion, kept = level
    height, width = images.shape[-2:]
    flakes, angles = [], []
    for rng in rngs:
        flakes.append(rng.standard_normal((1, height, width), dtype=np.float32))
        angles.append(rng.uniform(-135, -45))
    layer = np.stack(flakes) * np.float32(sigma) + np.float32(mean)
    layer = apply_matrices(layer, zoom_matrix(height, zoom), zoom_matrix(width, zoom))
    layer = np.where(layer < threshold, 0, layer.clip(0, 1)).astype(np.float32)
    layer = directional_blur(layer, int(radius), motion, np.array(angles))
    white = np.maximum(images, _to_grey(images) * np.float32(1.5) + np.float32(0.5))
    snowy: np.ndarray = np.float32(kept) * images + np.float32(1 - kept) * white
    snowy += layer
    snowy += layer[:, :, ::-1, ::-1]
    return snowy


def frost(images: np.ndarray, level: tuple[float, float], rngs: Iterable[Generator]) -> np.ndarray:
    """Add drawn frost to images, with the published weights.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    level : tuple of float
        Weight of the image and weight of the frost. A larger weight of the frost is stronger.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Weighted sums of the images and of frost.

    Notes
    -----
    The original cuts its frost out of five photographs, which are not ours to redistribute. Here
    each image has a texture of its own: needles that grow in three directions on an uneven pale
    blue, with the mean and the spread of those photographs. So errors under frost compare methods
    with each other, but not with published figures.
    """
    image_weight, frost_weight = level
    ice = _frost_texture(images.shape[-2:], list(rngs))
    if images.shape[1] != 3:
        ice = _to_grey(ice)
    frosted: np.ndarray = np.float32(image_weight) * images + np.float32(frost_weight) * ice
    return frosted


def _frost_texture(shape: tuple[int, int], rngs: list[Generator]) -> np.ndarray:
    """Return textures of frost on a window, float32, (N, 3, H, W).

    The constants were chosen to give the photographs' mean, 0.65, and spread, 0.12.
    """
    length = max(3, min(shape) // 8)
    uneven = plasma_fractal(shape, 1.25, rngs)[:, None] - np.float32(0.5)
    seeds = np.stack([rng.random((1, *shape), dtype=np.float32) for rng in rngs])
    seeds = np.where(seeds < 0.16 / length, 1, 0).astype(np.float32)
    angle, tone, tint = np.array([rng.uniform((0, 0.31, 0), (60, 0.81, 0.12)) for rng in rngs]).T
    needles = [
        directional_blur(seeds, 2 * length, length, angle + turn)
        for turn in (0, 60, 120, 180, 240, 300)
    ]
    crystals = np.sum(needles, axis=0) * np.float32(0.08 * length)
    pale = tone + np.array([-1.5, 0.2, 1.0])[:, None] * tint  # (3, N)
    texture: np.ndarray = pale.T[..., None, None] + 0.25 * uneven + crystals
    return texture.clip(0, 1).astype(np.float32)


def spatter(images: np.ndarray, level: tuple[float, ...], rngs: Iterable[Generator]) -> np.ndarray:
    """Add splashes of water or mud where smooth noise exceeds a threshold.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    level : tuple of float
        Mean, sigma and blur (pixels) of the noise; threshold; strength of the water, or blur
        (pixels) of the mud; 0 for water, 1 for mud.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Images with splashes. Water adds light, embossed along its rim; mud covers the image.
    """
    mean, sigma, blur, threshold, strength, muddy = level
    channels, height, width = images.shape[1:]
    liquid = np.stack([rng.standard_normal((1, height, width), dtype=np.float32) for rng in rngs])
    liquid = liquid * np.float32(sigma) + np.float32(mean)
    liquid = apply_matrices(liquid, gaussian_matrix(height, blur), gaussian_matrix(width, blur))
    colour = MUD if muddy else WATER
    if channels == 1:
        colour = _to_grey(colour[None])
    result: np.ndarray
    if muddy:
        cover = (liquid > threshold).astype(np.float32)
        rows, columns = gaussian_matrix(height, strength), gaussian_matrix(width, strength)
        cover = apply_matrices(cover, rows, columns)
        cover = np.where(cover < 0.8, np.float32(0), cover)
        result = images * (1 - cover) + cover * colour
    else:
        levels = np.where(liquid < threshold, 0, liquid * 255).clip(0, 255).astype(np.uint8)
        result = images + np.float32(strength) * droplets(levels) * colour
    return result


def _to_grey(images: np.ndarray) -> np.ndarray:
    """Return the luma of colour images, (N, 1, H, W), and grey images as they are."""
    return images if images.shape[1] == 1 else (images * LUMA).sum(axis=1, keepdims=True)
