"""Regions, the connected components of the pixels joined by edges outside the support: means, and merging small ones."""

import numpy as np

from virolbi._checks import check_count
from virolbi._engine import (
    average_components,
    edge_count,
    grid_of,
    label_components,
    merge_components,
    pack,
)


def label_regions(support: np.ndarray, height: int, width: int) -> np.ndarray:
    """Number the regions of each plane in raster order: support, shape (..., E), to int32 labels, shape (..., H, W).

    >>> label_regions(np.array([True, False, False, False]), 2, 2)      # only the top edge is in the support
    array([[0, 0],
           [0, 0]], dtype=int32)
    """
    if support.dtype != bool:
        raise TypeError(f"support must be bool, got {support.dtype}")
    if support.shape[-1] != edge_count(height, width):
        raise ValueError(
            f"support must have {edge_count(height, width)} edges for {height}x{width}, got {support.shape[-1]}"
        )
    labels = np.empty((*support.shape[:-1], height, width), np.int32)
    label_opened(
        pack(~support.reshape(-1, support.shape[-1]), height, width),
        labels.reshape(-1, height, width),
    )
    return labels


def label_opened(opened: np.ndarray, labels: np.ndarray) -> None:
    """As `label_regions`, from the words of open edges, (N, 2, words), to labels (N, H, W) that are given."""
    number, height, width = labels.shape
    label_components(opened, grid_of(1, height, width).first, width, labels.reshape(number, -1))


def region_means(
    planes: np.ndarray, labels: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Replace every pixel by the mean of its region: the least-squares projection onto {D u = 0 off the support}.

    planes: float32 or float64, shape (..., C, H, W). labels: integers from 0, shape (..., H, W), shared by the C channels.
    out: a contiguous array like `planes` for the result, or None for a new one. Linear in `planes`, symmetric and idempotent,
    hence its own derivative.
    """
    _check_shared(labels, planes)
    if out is not None and (out.shape, out.dtype, out.flags.c_contiguous) != (
        planes.shape,
        planes.dtype,
        True,
    ):
        raise ValueError(
            f"out must be contiguous {planes.dtype} of shape {planes.shape}, got {out.dtype} of {out.shape}"
        )
    channels, size = planes.shape[-3], planes.shape[-2] * planes.shape[-1]
    means = np.empty(planes.shape, planes.dtype) if out is None else out
    flat = np.ascontiguousarray(labels, np.int32).view(np.uint32).reshape(-1, size)
    average_components(
        np.ascontiguousarray(planes).reshape(-1, channels, size),
        flat,
        means.reshape(-1, channels, size),
    )
    return means


def merge_small(labels: np.ndarray, planes: np.ndarray, min_area: int) -> np.ndarray:
    """Merge every region under `min_area` pixels into its most similar neighbour. A larger `min_area` removes more.

    labels: integers from 0, shape (..., H, W), as from `label_regions`. planes: float32 or float64, shape (..., C, H, W), the
    same labels for the C channels. min_area: pixels, 1 or more; 1 changes nothing. Returns int32 labels, numbered in raster
    order again.

    The smallest region goes first, of several the one with the lowest label. Among the regions next to it, by an edge, it joins
    the one whose mean is nearest, by squared distance over the channels; of several, again the one with the lowest label. The
    two go on under that label, with their common mean, until no region is too small or one is left.

    >>> plane = np.array([[[0.0, 0.0, 0.5], [0.0, 1.0, 0.6]]])
    >>> merge_small(np.array([[0, 0, 1], [0, 2, 3]]), plane, 2)      # .5 and .6 pair up, then 1. joins them rather than 0.
    array([[0, 0, 1],
           [0, 1, 1]], dtype=int32)
    """
    _check_shared(labels, planes)
    min_area = check_count("min_area", min_area)
    channels, (height, width) = planes.shape[-3], labels.shape[-2:]
    merged = np.array(labels, np.int32, order="C")
    flat = np.ascontiguousarray(planes).reshape(-1, channels, height * width)
    merge_components(flat, width, min(min_area, height * width), merged.reshape(-1, height * width))
    return merged


def _check_shared(labels: np.ndarray, planes: np.ndarray) -> None:
    if planes.dtype not in (np.float32, np.float64):
        raise TypeError(f"planes must be float32 or float64, got {planes.dtype}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if planes.shape[:-3] + planes.shape[-2:] != labels.shape:
        raise ValueError(
            f"labels must have shape {planes.shape[:-3] + planes.shape[-2:]}, got {labels.shape}"
        )
    low, high = (
        labels.min(initial=0),
        labels.max(initial=0),
    )  # compiled code looks up by them, and takes 100 times as long
    if low < 0 or high >= 2**31:
        raise ValueError(f"labels must be in [0, 2**31), got {low if low < 0 else high}")
