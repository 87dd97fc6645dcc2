"""Connected components of the pixel graph: labels, means, and merging small ones."""

import numpy as np
from numba import njit

from virolbi._engine.compile import compiled
from virolbi._engine.simd import (
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


@compiled
def label_components(opened, first, width, labels):  # (N, 2, words), (N, H W)
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
                    root = (
                        parent[mark] == mark
                    )  # from here on, what was a parent is the number of a region
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
        mark = lowest_along(
            select(load_mask(vertical, start + j - width), load(marks, k + j - row), own), joined
        )
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
def average_components(planes, labels, means):  # (N, C, H W), (N, H W), (N, C, H W)
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
def merge_components(planes, width, min_area, labels):  # (N, C, H W), (), at most H W, (N, H W)
    """One phase for each area that occurs, from the smallest up. The pixels of a region form a ring, by their successors.

    Linear without union-find or heap: who joins a region is no larger than it, so each time a pixel is visited and renamed its
    region at least doubles, log2(min_area) times, rounded up, at most; and a phase looks through H W / area regions at most.
    """
    size = labels.shape[1]
    ring = np.empty(size, np.int32)
    for n in range(len(labels)):
        names = labels[n]
        count = names.max() + 1
        area, start, total = (
            np.zeros(count, np.int32),
            np.empty(count, np.int32),
            np.zeros((count, planes.shape[1])),
        )
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
