"""Loss of resolution: resize to a smaller grid and back."""

from typing import Any, Literal, get_args

import numpy as np

from virolbi._checks import check_choice, check_number
from virolbi.corruptions._planes import apply_matrices, box_matrix, check_images

Filter = Literal["bilinear", "bicubic", "box"]


def low_resolution(
    images: np.ndarray, factor: float, *, filter: Filter = "bilinear", antialias: bool = True
) -> np.ndarray:
    """Shrink images by a factor and enlarge them again.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities in [0, 1].
    factor : float
        Ratio of the sides before and after, from 1 to the shorter side. The small sides are whole
        numbers of pixels, rounded down. A larger factor loses more.
    filter : {"bilinear", "bicubic", "box"}, optional
        Filter in both directions. "box" averages pixels and then repeats them.
    antialias : bool, optional
        Whether the filter that shrinks covers all pixels that a new one stands for. Without it,
        "bilinear" and "bicubic" use only 2x2 and 4x4 of them, and "box" only one.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Images in [0, 1] with fewer details.

    Raises
    ------
    TypeError, ValueError
        If the images are no such array, if the factor is no number or out of its range, or if the
        filter does not exist.
    """
    import torch  # here: the rest of the package, and all that builds on it, works without
    from torch.nn import functional as F

    check_images(images)
    check_number("factor", factor)
    images = np.ascontiguousarray(images)
    height, width = images.shape[-2:]
    if not 1 <= factor <= min(height, width):
        raise ValueError(
            f"factor must be from 1 to the shorter side of {height}x{width} images, got {factor}"
        )
    check_choice("filter", filter, get_args(Filter))
    small = int(height / factor), int(width / factor)
    options = _interpolation(filter, antialias)
    if filter == "box" and antialias:
        rows, columns = (
            box_matrix(side, new_side)
            for side, new_side in zip((height, width), small, strict=True)
        )
        reduced = torch.from_numpy(apply_matrices(images, rows, columns))
    else:
        reduced = F.interpolate(torch.from_numpy(images), size=small, **options)
    return F.interpolate(reduced, size=(height, width), **options).clamp(0, 1).numpy()


def _interpolation(filter: Filter, antialias: bool) -> dict[str, Any]:
    """Return the options of `torch.nn.functional.interpolate` for a filter."""
    if filter == "box":
        return {"mode": "nearest-exact"}
    return {"mode": filter, "antialias": antialias, "align_corners": False}
