"""Common corruptions at five severities, for images of 32, 64 and 224 pixels (Hendrycks & Dietterich, ICLR 2019)."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.random import Generator

from virolbi.corruptions import _blur, _digital, _noise, _weather
from virolbi.corruptions._constants import (
    ALEXNET_ERRORS,
    COMMON,
    HELD_OUT,
    LEVELS,
    NOISES,
    RESOLUTIONS,
    level_of,
    nearest_resolution,
    noise_level,
)
from virolbi.corruptions._official import official
from virolbi.corruptions._resolution import low_resolution

__all__ = [
    "ALEXNET_ERRORS",
    "COMMON",
    "HELD_OUT",
    "LEVELS",
    "NOISES",
    "RESOLUTIONS",
    "corrupt",
    "low_resolution",
    "nearest_resolution",
    "noise_level",
    "official",
    "sheet",
]

CHUNK = 2**21  # elements corrupted at once: what the blurs pad and the weather draws stays small
SMALLEST = 8  # pixels

FIXED: dict[str, Callable[[np.ndarray, Any], np.ndarray]] = {
    "defocus_blur": _blur.defocus_blur,
    "zoom_blur": _blur.zoom_blur,
    "gaussian_blur": _blur.gaussian_blur,
    "brightness": _weather.brightness,
    "contrast": _digital.contrast,
    "pixelate": _digital.pixelate,
    "jpeg_compression": _digital.jpeg_compression,
    "saturate": _digital.saturate,
}
RANDOM: dict[str, Callable[[np.ndarray, Any, Iterator[Generator]], np.ndarray]] = {
    "gaussian_noise": _noise.gaussian_noise,
    "shot_noise": _noise.shot_noise,
    "impulse_noise": _noise.impulse_noise,
    "speckle_noise": _noise.speckle_noise,
    "glass_blur": _blur.glass_blur,
    "motion_blur": _blur.motion_blur,
    "snow": _weather.snow,
    "frost": _weather.frost,
    "fog": _weather.fog,
    "spatter": _weather.spatter,
    "elastic_transform": _digital.elastic_transform,
}


def corrupt(
    images: np.ndarray, name: str, severity: int, *, resolution: int | None = None, seed: int = 0
) -> np.ndarray:
    """Corrupt float32 images in [0, 1], shape (N, C, H, W), C 1 or 3, sides of 8 pixels or more; same shape, type and range.

    name: one of `COMMON` or `HELD_OUT`. severity: 1 to 5, stronger. resolution: whose constants, 32, 64 or 224; None for the
    nearest. seed: what is random follows from the image itself, the name, the severity and this number alone, to the last bit:
    not from the other images, nor their order. Raises ValueError for arguments that are not so.

    Constants and steps are those of the public generators (`LEVELS` names them), with these exceptions. `frost` draws its ice,
    instead of cutting it out of photographs. Intensities stay floats: the generators cut their results, and some layers on the
    way, to whole levels of 255. Borders, maps of fog and the affine part of `elastic_transform` are made for any shape; the
    generators know squares. Grey images get the grey of what is coloured, and `saturate` leaves them alone.
    """
    _check(images)
    if resolution is None:
        resolution = nearest_resolution(*images.shape[-2:])
    level = level_of(name, severity, resolution)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ValueError(f"seed must be a whole number, got {seed!r}")
    result = np.empty_like(images, order="C")
    step = max(1, CHUNK // max(1, images[:1].size))
    for first in range(0, len(images), step):
        some = np.ascontiguousarray(images[first : first + step])
        if name in FIXED:
            changed = FIXED[name](some, level)
        else:
            changed = RANDOM[name](some, level, _generators(some, f"{name}/{severity}/{seed}/"))
        np.clip(changed, 0, 1, out=result[first : first + step])
    return result


def _generators(images: np.ndarray, purpose: str) -> Iterator[Generator]:
    """One for each image, from a digest of its bytes."""
    start = hashlib.blake2b(purpose.encode(), digest_size=8)
    for image in images:
        digest = start.copy()
        digest.update(image.data)
        yield np.random.default_rng(int.from_bytes(digest.digest(), "little"))


def _check(images: np.ndarray) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.float32:
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise ValueError(f"images must be a float32 array, got {kind}")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < SMALLEST:
        raise ValueError(
            f"images must have the shape (N, 1 or 3, H, W), H and W >= {SMALLEST}, got {images.shape}"
        )
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(f"images must be in [0, 1], got {images.min()} to {images.max()}")


def sheet(
    image: np.ndarray, severities: tuple[int, ...] = (1, 3, 5), seed: int = 0
) -> tuple[np.ndarray, list[str]]:
    """One image, uint8, (H, W, 3) or (H, W), under every type at some severities: uint8, (K, H, W[, 3]), and K labels.

    Type by type, `COMMON` first; `virolbi.data.contact_sheet(*sheet(image), columns=len(severities))` draws a row for each.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            f"image must be uint8 of shape (H, W) or (H, W, 3), got {image.dtype} of shape {image.shape}"
        )
    planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    clean = planes[None].astype(np.float32) / 255
    cases = [(name, severity) for name in COMMON + HELD_OUT for severity in severities]
    changed = np.concatenate(
        [corrupt(clean, name, severity, seed=seed) for name, severity in cases]
    )
    pixels = np.rint(changed.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    labels = [f"{name.replace('_', ' ')} {severity}" for name, severity in cases]
    return pixels[..., 0] if image.ndim == 2 else pixels, labels
