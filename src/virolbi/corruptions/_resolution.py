"""Fewer pixels: down to a smaller grid and up again."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from virolbi.corruptions._planes import along_axes, box_matrix

FILTERS = ("bilinear", "bicubic", "box")


def low_resolution(
    images: np.ndarray, factor: float, *, filter: str = "bilinear", antialias: bool = True
) -> np.ndarray:
    """Shrink float32 images in [0, 1], shape (N, C, H, W), by a factor >= 1 and enlarge them again; larger loses more.

    The small sides are whole numbers of pixels, rounded down. filter: both ways, "bilinear", "bicubic" or "box", which averages
    and repeats pixels. antialias: let the filter on the way down cover all pixels that a new one stands for; without it,
    "bilinear" and "bicubic" look at 2x2 and 4x4 of them only, and "box" at one.
    """
    height, width = images.shape[-2:]
    if not 1 <= factor <= min(height, width):
        raise ValueError(
            f"factor must be from 1 to the shorter side of {height}x{width} images, got {factor}"
        )
    if filter not in FILTERS:
        raise ValueError(f"filter must be one of {FILTERS}, got {filter!r}")
    small = int(height / factor), int(width / factor)
    if filter == "box" and antialias:
        rows, columns = (
            box_matrix(large, few) for large, few in zip((height, width), small, strict=True)
        )
        reduced = torch.from_numpy(along_axes(images, rows, columns))
    else:
        reduced = F.interpolate(torch.from_numpy(images), size=small, **_mode(filter, antialias))
    return (
        F.interpolate(reduced, size=(height, width), **_mode(filter, antialias)).clamp(0, 1).numpy()
    )


def _mode(filter: str, antialias: bool) -> dict[str, Any]:
    return (
        {"mode": "nearest-exact"}
        if filter == "box"
        else {"mode": filter, "antialias": antialias, "align_corners": False}
    )
