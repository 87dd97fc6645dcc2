"""Noise and low resolution at five severities, with the constants of CIFAR-C, Tiny-ImageNet-C and ImageNet-C."""

from types import MappingProxyType
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch.nn import functional as F

# level at severity 1 to 5, by the resolution (pixels of the shorter side) that the constants were chosen for
LEVELS: MappingProxyType[str, dict[int, tuple[float, ...]]] = MappingProxyType(
    {
        "gaussian_noise": {
            32: (0.04, 0.06, 0.08, 0.09, 0.10),
            64: (0.04, 0.08, 0.12, 0.15, 0.18),
            224: (0.08, 0.12, 0.18, 0.26, 0.38),
        },
        "shot_noise": {
            32: (500, 250, 100, 75, 50),
            64: (250, 100, 50, 30, 15),
            224: (60, 25, 12, 5, 3),
        },
        "impulse_noise": {
            32: (0.01, 0.02, 0.03, 0.05, 0.07),
            64: (0.01, 0.02, 0.05, 0.08, 0.14),
            224: (0.03, 0.06, 0.09, 0.17, 0.27),
        },
    }
)
RESOLUTIONS = (32, 64, 224)


def nearest_resolution(height: int, width: int) -> int:
    """The resolution whose constants fit an image best: the nearest by ratio to its shorter side.

    >>> nearest_resolution(28, 28), nearest_resolution(96, 128), nearest_resolution(500, 375)
    (32, 64, 224)
    """
    side = min(height, width)
    return min(RESOLUTIONS, key=lambda resolution: max(side / resolution, resolution / side))


def corrupt(images: np.ndarray, name: str, severity: int, *, resolution: int | None = None, seed: int = 0) -> np.ndarray:
    """Add noise to float32 images in [0, 1], shape (N, C, H, W), and clip.

    name: "gaussian_noise" (level: sigma), "shot_noise" (lambda of Poisson(lambda x) / lambda) or "impulse_noise" (share of
        elements set to 0 or 1). severity: 1 to 5, stronger. resolution: whose constants, 32, 64 or 224; None for the nearest.
    seed: the same images in the same order get the same noise; a longer array only adds to it.
    """
    if name not in LEVELS:
        raise ValueError(f"name must be one of {tuple(LEVELS)}, got {name!r}")
    level = noise_level(name, severity, resolution or nearest_resolution(*images.shape[-2:]))
    rng = np.random.default_rng([seed, severity, crc32(name.encode())])
    if name == "gaussian_noise":
        noisy = images + level * rng.standard_normal(images.shape, dtype=np.float32)
    elif name == "shot_noise":
        noisy = rng.poisson(images * level) / level
    else:
        draw = rng.random(images.shape, dtype=np.float32)
        noisy = np.where(draw < level / 2, 0, np.where(draw < level, 1, images))
    return np.clip(noisy, 0, 1).astype(np.float32)


def noise_level(name: str, severity: int, resolution: int) -> float:
    """The constant behind a severity from 1 to 5."""
    if severity not in (1, 2, 3, 4, 5):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, got {severity!r}")
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution must be one of {RESOLUTIONS}, got {resolution!r}")
    return LEVELS[name][resolution][severity - 1]


def low_resolution(images: np.ndarray, factor: int) -> np.ndarray:
    """Shrink float images, shape (N, C, H, W), by a whole factor and enlarge them again: bilinear, antialiased."""
    height, width = images.shape[-2:]
    if factor < 1 or min(height, width) < factor:
        raise ValueError(f"factor must be from 1 to the shorter side of {height}x{width} images, got {factor}")
    resize: dict[str, Any] = {"mode": "bilinear", "antialias": True, "align_corners": False}
    small = F.interpolate(torch.from_numpy(images), size=(height // factor, width // factor), **resize)
    return F.interpolate(small, size=(height, width), **resize).clamp(0, 1).numpy()
