"""Regions: connected components of the pixels that are joined by edges outside the support."""

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
    """Return the numbers of the regions of each plane, in raster order.

    Parameters
    ----------
    support : ndarray of bool, shape (..., E)
        Edges that separate regions, horizontal edges first.
    height, width : int
        Size of a plane.

    Returns
    -------
    ndarray of int32, shape (..., H, W)
        Numbers from 0.

    Raises
    ------
    TypeError, ValueError
        If `support` is not boolean, or does not have the edges of a plane of this size.

    Examples
    --------
    >>> label_regions(np.array([True, False, False, False]), 2, 2)      # only the top edge is in
    array([[0, 0],
           [0, 0]], dtype=int32)
    """
    if support.dtype != bool:
        raise TypeError(f"support must be bool, got {support.dtype}")
    edges = edge_count(height, width)
    if support.shape[-1] != edges:
        raise ValueError(
            f"support must have {edges} edges for {height}x{width}, got {support.shape[-1]}"
        )
    labels = np.empty((*support.shape[:-1], height, width), np.int32)
    opened = pack(~support.reshape(-1, edges), height, width)
    label_open(opened, labels.reshape(-1, height, width))
    return labels


def label_open(opened: np.ndarray, labels: np.ndarray) -> None:
    """Write the numbers of the regions of each plane, as `label_regions` does, for open edges.

    Parameters
    ----------
    opened : ndarray of uint64, shape (N, 2, words)
        Edges outside the support, as the kernels have them.
    labels : ndarray of int32, shape (N, H, W)
        Receives the numbers.
    """
    number, height, width = labels.shape
    label_components(opened, grid_of(1, height, width).first, width, labels.reshape(number, -1))


def region_means(
    planes: np.ndarray, labels: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Return planes with every pixel at the mean of its region.

    This is the least-squares projection onto {D u = 0 outside the support}. It is linear in
    `planes`, symmetric and idempotent, hence its own derivative.

    Parameters
    ----------
    planes : ndarray of float32 or float64, shape (..., C, H, W)
        Intensities.
    labels : ndarray of int, shape (..., H, W)
        Numbers of the regions, from 0, shared by the C channels.
    out : ndarray, optional
        Contiguous array like `planes` for the result; None for a new one.

    Returns
    -------
    ndarray
        Means, like `planes`.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype or shape, or a label is negative.
    """
    _check_labels(labels, planes)
    if out is not None:
        expected = (planes.shape, planes.dtype, True)
        if (out.shape, out.dtype, out.flags.c_contiguous) != expected:
            raise ValueError(
                f"out must be contiguous {planes.dtype} of shape {planes.shape}, "
                f"got {out.dtype} of {out.shape}"
            )
    channels, size = planes.shape[-3], planes.shape[-2] * planes.shape[-1]
    means = np.empty(planes.shape, planes.dtype) if out is None else out
    average_components(
        np.ascontiguousarray(planes).reshape(-1, channels, size),
        np.ascontiguousarray(labels, np.int32).view(np.uint32).reshape(-1, size),
        means.reshape(-1, channels, size),
    )
    return means


def merge_small(labels: np.ndarray, planes: np.ndarray, min_area: int) -> np.ndarray:
    """Merge every region under `min_area` pixels into its most similar neighbour.

    The smallest region is merged first; of several, the one with the lowest label. It joins the
    adjacent region whose mean is nearest, by squared distance over the channels; of several, again
    the one with the lowest label. Both continue under that label, with their common mean, until no
    region is too small or one region remains.

    Parameters
    ----------
    labels : ndarray of int, shape (..., H, W)
        Numbers of the regions, from 0, see `label_regions`.
    planes : ndarray of float32 or float64, shape (..., C, H, W)
        Intensities; the C channels share the labels.
    min_area : int
        Pixels, >= 1. A larger area removes more; 1 changes nothing.

    Returns
    -------
    ndarray of int32, shape (..., H, W)
        Labels, again numbered in raster order.

    Raises
    ------
    TypeError, ValueError
        If an array has the wrong dtype or shape, a label is negative, or `min_area` is not a whole
        number >= 1.

    Examples
    --------
    >>> plane = np.array([[[0.0, 0.0, 0.5], [0.0, 1.0, 0.6]]])
    >>> merge_small(np.array([[0, 0, 1], [0, 2, 3]]), plane, 2)   # .5 and .6, then 1. joins them
    array([[0, 0, 1],
           [0, 1, 1]], dtype=int32)
    """
    _check_labels(labels, planes)
    min_area = check_count("min_area", min_area)
    channels, (height, width) = planes.shape[-3], labels.shape[-2:]
    merged = np.array(labels, np.int32, order="C")
    flat = np.ascontiguousarray(planes).reshape(-1, channels, height * width)
    merge_components(flat, width, min(min_area, height * width), merged.reshape(-1, height * width))
    return merged


def _check_labels(labels: np.ndarray, planes: np.ndarray) -> None:
    """Check that labels and planes fit, since compiled code uses labels as indices unchecked."""
    if planes.dtype not in (np.float32, np.float64):
        raise TypeError(f"planes must be float32 or float64, got {planes.dtype}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    shape = planes.shape[:-3] + planes.shape[-2:]
    if shape != labels.shape:
        raise ValueError(f"labels must have shape {shape}, got {labels.shape}")
    low, high = labels.min(initial=0), labels.max(initial=0)
    if low < 0 or high >= 2**31:
        raise ValueError(f"labels must be in [0, 2**31), got {low if low < 0 else high}")
