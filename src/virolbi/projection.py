"""Regions, the connected components of the pixels joined by edges outside the support, and means over them."""

import numpy as np
from numba import njit

from virolbi._blocks import grid_of, pack
from virolbi.graph import edge_count


def label_regions(support: np.ndarray, height: int, width: int) -> np.ndarray:
    """Number the regions of each plane in raster order: support, shape (..., E), to int32 labels, shape (..., H, W).

    >>> label_regions(np.array([True, False, False, False]), 2, 2)      # only the top edge is in the support
    array([[0, 0],
           [0, 0]], dtype=int32)
    """
    if support.shape[-1] != edge_count(height, width):
        raise ValueError(f"support must have {edge_count(height, width)} edges for {height}x{width}, got {support.shape[-1]}")
    opened = pack(~support.reshape(-1, support.shape[-1]), height, width)
    return label_opened(opened, height, width).reshape(*support.shape[:-1], height, width)


def label_opened(opened: np.ndarray, height: int, width: int) -> np.ndarray:
    """As `label_regions`, from the words of open edges, (N, 2, words), to (N, H, W)."""
    labels = np.empty((len(opened), height * width), np.int32)
    _label(opened, grid_of(1, height, width).first, width, labels)
    return labels.reshape(-1, height, width)


def region_means(planes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Replace every pixel by the mean of its region: the least-squares projection onto {D u = 0 off the support}.

    planes: shape (..., C, H, W). labels: shape (..., H, W), shared by the C channels. Linear in `planes`, symmetric and
    idempotent, hence its own derivative.
    """
    if planes.shape[:-3] + planes.shape[-2:] != labels.shape:
        raise ValueError(f"labels must have shape {planes.shape[:-3] + planes.shape[-2:]}, got {labels.shape}")
    channels, size = planes.shape[-3], planes.shape[-2] * planes.shape[-1]
    means = np.empty(planes.shape, planes.dtype)
    flat = np.ascontiguousarray(labels).reshape(-1, size)
    _average(np.ascontiguousarray(planes).reshape(-1, channels, size), flat, means.reshape(-1, channels, size))
    return means


@njit(cache=True, nogil=True)
def _label(opened, first, width, labels):  # (N, 2, words), (N, H W)
    """Two passes: a pixel takes the mark of its upper or left neighbour, and where both differ, the marks are joined.

    A mark is the first pixel that had it, and a root the first pixel of its region, so it is numbered before the others.
    """
    size = np.uint64(labels.shape[1])
    marks = np.zeros(first + labels.shape[1], np.uint32)  # with room in front, to look up without asking whether one may
    parent, number = np.empty(labels.shape[1], np.uint32), np.empty(labels.shape[1], np.uint32)
    one, room, row = np.uint64(1), np.uint64(first), np.uint64(width)
    for n in range(len(labels)):
        horizontal, vertical = opened[n]
        left = np.uint32(0)
        pixel = np.uint64(0)
        while pixel < size:
            k = room + pixel
            above = marks[k - row]
            joins_above, joins_left = _bit(vertical, k - row), _bit(horizontal, k - one)
            parent[pixel] = pixel
            if joins_above & joins_left & (above != left):
                _join(parent, above, left)
            left = above if joins_above else (left if joins_left else np.uint32(pixel))
            marks[k] = left
            pixel += one
        count = np.uint32(0)
        pixel = np.uint64(0)
        while pixel < size:
            mark, up = marks[room + pixel], parent[pixel]
            fresh = (mark == pixel) & (up == pixel)
            number[pixel] = count if fresh else number[up]
            count += np.uint32(fresh)
            labels[n, pixel] = number[mark]
            pixel += one


@njit(cache=True, nogil=True)
def _bit(words, k):
    return (words[k >> np.uint64(6)] >> (k & np.uint64(63))) & np.uint64(1) != 0


@njit(cache=True, nogil=True)
def _join(parent, a, b):
    while parent[a] != a:
        parent[a] = a = parent[parent[a]]
    while parent[b] != b:
        parent[b] = b = parent[parent[b]]
    parent[max(a, b)] = min(a, b)


@njit(cache=True, nogil=True)
def _average(planes, labels, means):  # (N, C, H W), (N, H W), (N, C, H W)
    for n in range(planes.shape[0]):
        count = np.zeros(labels[n].max() + 1)
        for pixel in range(planes.shape[2]):
            count[labels[n, pixel]] += 1
        for c in range(planes.shape[1]):
            total = np.zeros(len(count))
            for pixel in range(planes.shape[2]):
                total[labels[n, pixel]] += planes[n, c, pixel]
            total /= count
            for pixel in range(planes.shape[2]):
                means[n, c, pixel] = total[labels[n, pixel]]
