"""Regions, the connected components of the pixels joined by edges outside the support, and means over them."""

import numpy as np
from numba import njit

from virolbi.graph import edge_count


def label_regions(support: np.ndarray, height: int, width: int) -> np.ndarray:
    """Number the regions of each plane in raster order: support, shape (..., E), to int32 labels, shape (..., H, W).

    >>> label_regions(np.array([True, False, False, False]), 2, 2)      # only the top edge is in the support
    array([[0, 0],
           [0, 0]], dtype=int32)
    """
    support = np.ascontiguousarray(support)
    if support.shape[-1] != edge_count(height, width):
        raise ValueError(f"support must have {edge_count(height, width)} edges for {height}x{width}, got {support.shape[-1]}")
    labels = np.empty((*support.shape[:-1], height, width), np.int32)
    flat = labels.reshape(-1, height, width)
    _label(support.reshape(len(flat), support.shape[-1]), flat)
    return labels


def region_means(planes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Replace every pixel by the mean of its region: the least-squares projection onto {D u = 0 off the support}.

    planes, labels: shape (..., H, W) each. Linear in `planes`, symmetric and idempotent, hence its own derivative.
    """
    planes, labels = np.ascontiguousarray(planes), np.ascontiguousarray(labels)
    if planes.shape != labels.shape:
        raise ValueError(f"planes and labels must have one shape, got {planes.shape} and {labels.shape}")
    means = np.empty_like(planes)
    shape = (-1, planes.shape[-2] * planes.shape[-1])
    _average(planes.reshape(shape), labels.reshape(shape), means.reshape(shape))
    return means


@njit(cache=True, nogil=True)
def _label(support, labels):  # (N, E), (N, H, W)
    planes, height, width = labels.shape
    parent = np.empty(height * width, np.int32)
    for n in range(planes):
        for pixel in range(parent.size):
            parent[pixel] = pixel
        e = 0
        for i in range(height):
            for j in range(width - 1):
                if not support[n, e]:
                    _join(parent, i * width + j, i * width + j + 1)
                e += 1
        for i in range(height - 1):
            for j in range(width):
                if not support[n, e]:
                    _join(parent, i * width + j, (i + 1) * width + j)
                e += 1
        count = 0
        flat = labels[n].ravel()
        for pixel in range(parent.size):  # a root is the first pixel of its region, so it is numbered before the others
            root = _find(parent, pixel)
            if root == pixel:
                flat[pixel] = count
                count += 1
            else:
                flat[pixel] = flat[root]


@njit(cache=True, nogil=True)
def _find(parent, pixel):
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel


@njit(cache=True, nogil=True)
def _join(parent, a, b):
    a, b = _find(parent, a), _find(parent, b)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@njit(cache=True, nogil=True)
def _average(planes, labels, means):  # (N, H W) each
    total, count = np.empty(planes.shape[1]), np.empty(planes.shape[1])
    for n in range(planes.shape[0]):
        total[:], count[:] = 0, 0
        for pixel in range(planes.shape[1]):
            total[labels[n, pixel]] += planes[n, pixel]
            count[labels[n, pixel]] += 1
        for pixel in range(planes.shape[1]):
            means[n, pixel] = total[labels[n, pixel]] / count[labels[n, pixel]]
