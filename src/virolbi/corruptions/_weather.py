"""Weather: snow, frost, fog, brightness; and spatter, of water or mud, which is held out."""

from collections.abc import Iterable

import numpy as np
from numpy.random import Generator

from virolbi.corruptions._droplets import droplets
from virolbi.corruptions._planes import along_axes, gaussian_matrix, moved, zoom_matrix

LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]  # ITU-R BT.601
WATER = np.array([175, 238, 238], np.float32)[:, None, None] / 255
MUD = np.array([63, 42, 20], np.float32)[:, None, None] / 255


def brightness(images: np.ndarray, added: float) -> np.ndarray:
    """V of HSV plus a constant, H and S as they are: all colours of a pixel times one factor. Black becomes grey."""
    value = images.max(axis=1, keepdims=True)
    brighter = np.minimum(value + np.float32(added), 1)
    factor = np.divide(brighter, value, out=np.zeros_like(value), where=value > 0)
    return np.where(value > 0, images * factor, brighter)


def fog(images: np.ndarray, level: tuple[float, float], rngs: Iterable[Generator]) -> np.ndarray:
    """Plus a fractal between 0 and the weight, and back to the brightest value the image had."""
    weight, decay = np.float32(level[0]), level[1]
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    clouds = weight * plasma(images.shape[-2:], decay, list(rngs))[:, None]
    return (images + clouds) * (brightest / (brightest + weight))


def plasma(shape: tuple[int, int], decay: float, rngs: list[Generator]) -> np.ndarray:
    """Fractals of the diamond-square algorithm (Fournier, Fussell, Carpenter 1982), from 0 to 1: float32, (N, H, W).

    It is drawn on a torus with sides of the next power of two, and cut. decay: from one level to the next, the amplitude goes
    down by its square, as the published script multiplies by it twice.
    """
    size = 1 << (max(shape) - 1).bit_length()
    draws = np.stack([rng.uniform(-1, 1, (size, size)).astype(np.float32) for rng in rngs])
    heights = np.zeros_like(draws)
    amplitude, step = 1.0, size
    while step > 1:
        half = step // 2
        corners = heights[:, ::step, ::step]
        beside = corners + np.roll(corners, -1, axis=2)
        centres = (beside + np.roll(beside, -1, axis=1)) / 4 + amplitude * draws[
            :, half::step, half::step
        ]
        above, left = np.roll(centres, 1, axis=1), np.roll(centres, 1, axis=2)
        below = corners + np.roll(corners, -1, axis=1)
        heights[:, half::step, half::step] = centres
        heights[:, ::step, half::step] = (beside + centres + above) / 4 + amplitude * draws[
            :, ::step, half::step
        ]
        heights[:, half::step, ::step] = (below + centres + left) / 4 + amplitude * draws[
            :, half::step, ::step
        ]
        amplitude, step = amplitude / decay**2, half
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)
    return heights[:, : shape[0], : shape[1]]


def snow(images: np.ndarray, level: tuple[float, ...], rngs: Iterable[Generator]) -> np.ndarray:
    """Flakes, enlarged and blown down, twice, the second time upside down, over a whitened image."""
    mean, sigma, zoom, threshold, radius, motion, kept = level
    height, width = images.shape[-2:]
    flakes, angles = [], []
    for rng in rngs:
        flakes.append(rng.standard_normal((1, height, width), dtype=np.float32))
        angles.append(rng.uniform(-135, -45))
    layer = np.stack(flakes) * np.float32(sigma) + np.float32(mean)
    layer = along_axes(layer, zoom_matrix(height, zoom), zoom_matrix(width, zoom))
    layer = np.where(layer < threshold, 0, layer.clip(0, 1)).astype(np.float32)
    layer = moved(layer, int(radius), motion, np.array(angles))
    white = np.maximum(images, _grey(images) * np.float32(1.5) + np.float32(0.5))
    return (
        np.float32(kept) * images + np.float32(1 - kept) * white + layer + layer[:, :, ::-1, ::-1]
    )


def frost(images: np.ndarray, level: tuple[float, float], rngs: Iterable[Generator]) -> np.ndarray:
    """A weighted sum of the image and of frost: published weights, but frost of our own.

    The original cuts its frost out of five photographs, which are not ours to give on. Here each image has a texture drawn for
    it, of needles that grow in three directions on an uneven pale blue: `_ice`. It has the mean and the spread of those
    photographs. So errors under frost compare methods with each other, but not with published figures.
    """
    weight, icy = level
    ice = _ice(images.shape[-2:], list(rngs))
    return np.float32(weight) * images + np.float32(icy) * (
        ice if images.shape[1] == 3 else _grey(ice)
    )


def _ice(shape: tuple[int, int], rngs: list[Generator]) -> np.ndarray:
    """Frost on a window, float32, (N, 3, H, W). Its figures are chosen to give the photographs' mean, .65, and spread, .12."""
    length = max(3, min(shape) // 8)
    uneven = plasma(shape, 1.25, rngs)[:, None] - np.float32(0.5)
    seeds = np.stack([rng.random((1, *shape), dtype=np.float32) for rng in rngs])
    seeds = np.where(seeds < 0.16 / length, 1, 0).astype(np.float32)
    first, tone, tint = np.array([rng.uniform((0, 0.31, 0), (60, 0.81, 0.12)) for rng in rngs]).T
    needles = [
        moved(seeds, 2 * length, length, first + turn) for turn in (0, 60, 120, 180, 240, 300)
    ]
    crystals = np.sum(needles, axis=0) * np.float32(0.08 * length)
    pale = tone + np.array([-1.5, 0.2, 1.0])[:, None] * tint  # (3, N)
    return (pale.T[..., None, None] + 0.25 * uneven + crystals).clip(0, 1).astype(np.float32)


def spatter(images: np.ndarray, level: tuple[float, ...], rngs: Iterable[Generator]) -> np.ndarray:
    """Splashes where smooth noise exceeds a threshold: water adds light, embossed along its rim, and mud covers."""
    mean, sigma, blur, threshold, strength, muddy = level
    channels, height, width = images.shape[1:]
    liquid = np.stack([rng.standard_normal((1, height, width), dtype=np.float32) for rng in rngs])
    liquid = liquid * np.float32(sigma) + np.float32(mean)
    liquid = along_axes(liquid, gaussian_matrix(height, blur), gaussian_matrix(width, blur))
    if not muddy:
        light = droplets(
            np.where(liquid < threshold, 0, liquid * 255).clip(0, 255).astype(np.uint8)
        )
        return images + np.float32(strength) * light * (
            WATER if channels == 3 else _grey(WATER[None])
        )
    cover = (liquid > threshold).astype(np.float32)
    cover = along_axes(cover, gaussian_matrix(height, strength), gaussian_matrix(width, strength))
    cover = np.where(cover < 0.8, np.float32(0), cover)
    return images * (1 - cover) + cover * (MUD if channels == 3 else _grey(MUD[None]))


def _grey(images: np.ndarray) -> np.ndarray:
    return images if images.shape[1] == 1 else (images * LUMA).sum(axis=1, keepdims=True)
