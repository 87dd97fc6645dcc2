"""The function `corrupt`: check the images, draw their random numbers, apply one type."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.random import Generator

from virolbi._checks import check_whole
from virolbi.corruptions._blur import (
    defocus_blur,
    gaussian_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from virolbi.corruptions._constants import level_of, nearest_resolution
from virolbi.corruptions._digital import (
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
    saturate,
)
from virolbi.corruptions._noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from virolbi.corruptions._planes import check_images
from virolbi.corruptions._weather import brightness, fog, frost, snow, spatter

CHUNK = 2**21  # elements per call: bounds the memory of padded images and random draws
MIN_SIDE = 8  # pixels, of images that are corrupted

FIXED: dict[str, Callable[[np.ndarray, Any], np.ndarray]] = {
    "defocus_blur": defocus_blur,
    "zoom_blur": zoom_blur,
    "gaussian_blur": gaussian_blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "saturate": saturate,
}
RANDOM: dict[str, Callable[[np.ndarray, Any, Iterator[Generator]], np.ndarray]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "speckle_noise": speckle_noise,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "spatter": spatter,
    "elastic_transform": elastic_transform,
}


def corrupt(
    images: np.ndarray, name: str, severity: int, *, resolution: int | None = None, seed: int = 0
) -> np.ndarray:
    """Corrupt images with one type of corruption at one severity.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities in [0, 1]. C is 1 or 3; H and W are at least 8 pixels.
    name : str
        Type of corruption, one of `COMMON` or `HELD_OUT`.
    severity : {1, 2, 3, 4, 5}
        A higher severity is stronger.
    resolution : {32, 64, 224}, optional
        Size, in pixels, of the images whose published constants are used. None chooses the
        nearest to these images.
    seed : int, optional
        Seed of the random draws. Those for an image follow from the image itself, the name, the
        severity and the seed alone, to the last bit: not from the other images or their order.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Corrupted images in [0, 1].

    Raises
    ------
    TypeError
        If the images are no array of float32, or `severity` or `seed` is not a whole number.
    ValueError
        If an argument does not have the shape or value described above.

    Notes
    -----
    Constants and steps are those of the public generators (`LEVELS` names them) [1]_, with these
    exceptions:

    - `frost` draws its ice instead of cutting it out of photographs.
    - Intensities stay floats. The generators round their results, and some layers on the way, to
      whole levels of 255.
    - Borders, maps of fog and the affine part of `elastic_transform` are made for any shape. The
      generators support only squares.
    - A grey image receives the grey of coloured layers, and `saturate` leaves it unchanged.

    References
    ----------
    .. [1] D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
       Corruptions and Perturbations", ICLR 2019.
    """
    _check_images(images)
    if resolution is None:
        resolution = nearest_resolution(*images.shape[-2:])
    level = level_of(name, severity, resolution)
    check_whole("seed", seed)
    result = np.empty_like(images, order="C")
    step = max(1, CHUNK // max(1, images[:1].size))
    for first in range(0, len(images), step):
        batch = np.ascontiguousarray(images[first : first + step])
        if name in FIXED:
            corrupted = FIXED[name](batch, level)
        else:
            corrupted = RANDOM[name](batch, level, _generators(batch, f"{name}/{severity}/{seed}/"))
        np.clip(corrupted, 0, 1, out=result[first : first + step])
    return result


def _generators(images: np.ndarray, purpose: str) -> Iterator[Generator]:
    """Yield one generator for each image, seeded by a digest of the purpose and its bytes."""
    start = hashlib.blake2b(purpose.encode(), digest_size=8)
    for image in images:
        digest = start.copy()
        digest.update(image.data)
        yield np.random.default_rng(int.from_bytes(digest.digest(), "little"))


def _check_images(images: np.ndarray) -> None:
    """Check the type, dtype, range and shape of images."""
    check_images(images)
    if images.shape[1] not in (1, 3) or min(images.shape[2:]) < MIN_SIDE:
        raise ValueError(
            f"images must have the shape (N, 1 or 3, H, W), H and W >= {MIN_SIDE}, "
            f"got {images.shape}"
        )
