"""Regions, the connected components of the pixels joined by edges outside the support: means, and merging small ones."""

import numpy as np
from numba import njit

from virolbi._blocks import grid_of, pack
from virolbi._compile import compiled
from virolbi._images import check_count
from virolbi._simd import (
    LANES,
    bits,
    highest_bit,
    load,
    load_mask,
    lower,
    lowest_along,
    lowest_bit,
    mask_of,
    numbered,
    pointer,
    select,
    splat,
    store,
    unequal,
)
from virolbi.graph import edge_count


def label_regions(support: np.ndarray, height: int, width: int) -> np.ndarray:
    """Number the regions of each plane in raster order: support, shape (..., E), to int32 labels, shape (..., H, W).

    >>> label_regions(np.array([True, False, False, False]), 2, 2)      # only the top edge is in the support
    array([[0, 0],
           [0, 0]], dtype=int32)
    """
    if support.dtype != bool:
        raise TypeError(f"support must be bool, got {support.dtype}")
    if support.shape[-1] != edge_count(height, width):
        raise ValueError(f"support must have {edge_count(height, width)} edges for {height}x{width}, got {support.shape[-1]}")
    labels = np.empty((*support.shape[:-1], height, width), np.int32)
    label_opened(pack(~support.reshape(-1, support.shape[-1]), height, width), labels.reshape(-1, height, width))
    return labels


def label_opened(opened: np.ndarray, labels: np.ndarray) -> None:
    """As `label_regions`, from the words of open edges, (N, 2, words), to labels (N, H, W) that are given."""
    number, height, width = labels.shape
    _label(opened, grid_of(1, height, width).first, width, labels.reshape(number, -1))


def region_means(planes: np.ndarray, labels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Replace every pixel by the mean of its region: the least-squares projection onto {D u = 0 off the support}.

    planes: float32 or float64, shape (..., C, H, W). labels: integers from 0, shape (..., H, W), shared by the C channels.
    out: a contiguous array like `planes` for the result, or None for a new one. Linear in `planes`, symmetric and idempotent,
    hence its own derivative.
    """
    _check_shared(labels, planes)
    if out is not None and (out.shape, out.dtype, out.flags.c_contiguous) != (planes.shape, planes.dtype, True):
        raise ValueError(f"out must be contiguous {planes.dtype} of shape {planes.shape}, got {out.dtype} of {out.shape}")
    channels, size = planes.shape[-3], planes.shape[-2] * planes.shape[-1]
    means = np.empty(planes.shape, planes.dtype) if out is None else out
    flat = np.ascontiguousarray(labels, np.int32).view(np.uint32).reshape(-1, size)
    _average(np.ascontiguousarray(planes).reshape(-1, channels, size), flat, means.reshape(-1, channels, size))
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
    _merge(flat, width, min(min_area, height * width), merged.reshape(-1, height * width))
    return merged


def _check_shared(labels: np.ndarray, planes: np.ndarray) -> None:
    if planes.dtype not in (np.float32, np.float64):
        raise TypeError(f"planes must be float32 or float64, got {planes.dtype}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if planes.shape[:-3] + planes.shape[-2:] != labels.shape:
        raise ValueError(f"labels must have shape {planes.shape[:-3] + planes.shape[-2:]}, got {labels.shape}")
    low, high = labels.min(initial=0), labels.max(initial=0)  # compiled code looks up by them, and takes 100 times as long
    if low < 0 or high >= 2**31:
        raise ValueError(f"labels must be in [0, 2**31), got {low if low < 0 else high}")


@compiled
def _label(opened, first, width, labels):  # (N, 2, words), (N, H W)
    """Row by row, each run of pixels takes the lowest mark above it, or a new one; then, where two marks meet, they are joined.

    That is rare: at a pixel in fifty. A mark is the first pixel that had it and the root of those joined is the lowest, so it
    is numbered before the others. Rows are padded to whole vectors; there are marks beyond their end too, which nobody reads.
    """
    height, row = labels.shape[1] // width, -(-width // LANES) * LANES
    marks, parent = np.zeros((2, (1 + height) * row), np.int32)  # with a row above the first
    here, up = pointer(marks), pointer(parent)
    for n in range(len(labels)):
        horizontal, vertical = pointer(opened[n, 0]), pointer(opened[n, 1])
        for i in range(height):
            _mark_row(horizontal, vertical, first + i * width, width, here, up, (1 + i) * row, row)
            for j in range(0, row, LANES):
                k, inside = (1 + i) * row + j, (1 << min(width - j, LANES)) - 1
                apart = unequal(load(here, k), load(here, k - row))
                meeting = bits(load_mask(vertical, first + (i - 1) * width + j) & apart) & inside
                while meeting:
                    lane = lowest_bit(meeting)
                    meeting &= meeting - 1
                    _join(parent, marks[k + lane], marks[k + lane - row])
        count = 0
        for i in range(height):
            for j in range(0, row, LANES):
                k, inside = (1 + i) * row + j, (1 << min(width - j, LANES)) - 1
                found = ~bits(unequal(load(here, k), numbered(here, k))) & inside
                while found:
                    mark = k + lowest_bit(found)
                    found &= found - 1
                    root = parent[mark] == mark  # from here on, what was a parent is the number of a region
                    parent[mark] = count if root else parent[parent[mark]]
                    count += root
            for j in range(width):
                labels[n, i * width + j] = parent[marks[(1 + i) * row + j]]


@compiled
def _mark_row(horizontal, vertical, start, width, marks, parent, k, row):
    """Marks of the pixels from bit `start` on, at index `k` of the marks: from vector to vector along the row, and back."""
    for j in range(0, row, LANES):
        own = numbered(marks, k + j)
        store(parent, k + j, own)
        joined = bits(load_mask(horizontal, start + j))
        mark = lowest_along(select(load_mask(vertical, start + j - width), load(marks, k + j - row), own), joined)
        before = bits(load_mask(horizontal, start + j - 1)) & 1
        first = mask_of((joined ^ (joined + 1)) * before)
        store(marks, k + j, select(first, lower(mark, splat(marks, marks[k + j - 1])), mark))
    for j in range(row - 2 * LANES, -1, -LANES):
        joined, mark = bits(load_mask(horizontal, start + j)), load(marks, k + j)
        last = mask_of((-1 << highest_bit(2 * (~joined & 0x7FFF) + 1)) * (joined >> (LANES - 1)))
        store(marks, k + j, select(last, lower(mark, splat(marks, marks[k + j + LANES])), mark))


@compiled
def _join(parent, a, b):
    while parent[a] != a:
        parent[a] = a = parent[parent[a]]
    while parent[b] != b:
        parent[b] = b = parent[parent[b]]
    parent[max(a, b)] = min(a, b)


@compiled
def _average(planes, labels, means):  # (N, C, H W), (N, H W), (N, C, H W)
    """Four quarters of an image at once, for neighbours are of one region, where each sum waits for the one before."""
    quarter = labels.shape[1] // 4
    for n in range(planes.shape[0]):
        for c in range(planes.shape[1]):
            sums = np.zeros((labels[n].max() + 1, 2))
            for first in range(quarter):
                for q in range(4):
                    _add(sums, labels[n, q * quarter + first], planes[n, c, q * quarter + first])
            for pixel in range(4 * quarter, labels.shape[1]):
                _add(sums, labels[n, pixel], planes[n, c, pixel])
            for label in range(len(sums)):
                sums[label, 0] /= sums[label, 1]
            for pixel in range(labels.shape[1]):
                means[n, c, pixel] = sums[labels[n, pixel], 0]


@compiled
def _add(sums, label, value):
    sums[label, 0] += value
    sums[label, 1] += 1


@compiled
def _merge(planes, width, min_area, labels):  # (N, C, H W), (), at most H W, (N, H W)
    """One phase for each area that occurs, from the smallest up. The pixels of a region form a ring, by their successors.

    Linear without union-find or heap: who joins a region is no larger than it, so each time a pixel is visited and renamed its
    region at least doubles, log2(min_area) times, rounded up, at most; and a phase looks through H W / area regions at most.
    """
    size = labels.shape[1]
    ring = np.empty(size, np.int32)
    for n in range(len(labels)):
        names = labels[n]
        count = names.max() + 1
        area, start, total = np.zeros(count, np.int32), np.empty(count, np.int32), np.zeros((count, planes.shape[1]))
        for pixel in range(size):
            label = names[pixel]
            if area[label] == 0:
                start[label] = ring[pixel] = pixel
            ring[pixel], ring[start[label]] = ring[start[label]], pixel
            area[label] += 1
            for c in range(planes.shape[1]):
                total[label, c] += planes[n, c, pixel]
        small, left = np.arange(count), count
        while left > 0:
            left, least = _still_small(small[:left], area, min_area)
            for label in small[:left]:
                if area[label] == least:
                    into = _most_similar(label, names, ring, start, area, total, width)
                    _absorb(label, into, names, ring, start, area, total)
        found = 0
        number = np.zeros(count, np.int32)  # from 1
        for pixel in range(size):
            if number[names[pixel]] == 0:
                found += 1
                number[names[pixel]] = found
            names[pixel] = number[names[pixel]] - 1


@compiled
def _still_small(small, area, min_area):
    """Move the labels of regions still there and too small to the front, in their order; their number and least area."""
    left, least = 0, min_area
    for label in small:
        if 0 < area[label] < min_area:
            small[left] = label
            left += 1
            least = min(least, area[label])
    return left, least


@njit  # not `compiled`: under its liberties in rounding, equal means need not tie
def _most_similar(label, names, ring, start, area, total, width):
    nearest, best = -1, np.inf
    pixel = start[label]
    while True:
        column = pixel % width
        for inside, neighbour in (
            (pixel >= width, pixel - width),
            (column > 0, pixel - 1),
            (column < width - 1, pixel + 1),
            (pixel + width < len(names), pixel + width),
        ):
            other = names[neighbour] if inside else label
            if other != label:
                distance = 0.0
                for c in range(total.shape[1]):
                    distance += (total[label, c] / area[label] - total[other, c] / area[other]) ** 2
                if nearest < 0 or distance < best or (distance == best and other < nearest):
                    nearest, best = other, distance
        pixel = ring[pixel]
        if pixel == start[label]:
            return nearest


@compiled
def _absorb(label, into, names, ring, start, area, total):
    pixel = start[label]
    while names[pixel] == label:
        names[pixel] = into
        pixel = ring[pixel]
    ring[start[label]], ring[start[into]] = ring[start[into]], ring[start[label]]
    area[into] += area[label]
    area[label] = 0
    for c in range(total.shape[1]):
        total[into, c] += total[label, c]
