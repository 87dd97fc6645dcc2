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
def label_components(opened, first, width, labels):
    """Assign numbers to the components of each plane, in raster order.

    opened: (N, 2, words), open edges. first: index of pixel 0, see `Grid`. labels: (N, H W), the
    result.

    Row by row, each run of joined pixels takes the lowest mark above it, or a new one. Where two
    marks meet, which is rare (at a pixel in fifty), they are joined. A mark is the first pixel
    that had it, and the root of joined marks is the lowest, so it is numbered before the others.
    Rows are padded to whole vectors; the marks beyond their end are never read.
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
        _number(marks, parent, width, row, labels[n])


@compiled
def _number(marks, parent, width, row, labels):
    """Assign numbers to the roots, in raster order, and write that of each pixel, (H W,)."""
    here, count = pointer(marks), 0
    for i in range(len(labels) // width):
        for j in range(0, row, LANES):
            k, inside = (1 + i) * row + j, (1 << min(width - j, LANES)) - 1
            firsts = ~bits(unequal(load(here, k), numbered(here, k))) & inside
            while firsts:
                mark = k + lowest_bit(firsts)
                firsts &= firsts - 1
                # from here on, `parent` holds the number of the component of a mark
                is_root = parent[mark] == mark
                parent[mark] = count if is_root else parent[parent[mark]]
                count += is_root
        for j in range(width):
            labels[i * width + j] = parent[marks[(1 + i) * row + j]]


@compiled
def _mark_row(horizontal, vertical, start, width, marks, parent, k, row):
    """Mark the pixels of a row: from vector to vector along the row, and back.

    start: bit of the first pixel among the edges. k: its index among the marks.
    """
    for j in range(0, row, LANES):
        own = numbered(marks, k + j)
        store(parent, k + j, own)
        joined = bits(load_mask(horizontal, start + j))
        above = select(load_mask(vertical, start + j - width), load(marks, k + j - row), own)
        mark = lowest_along(above, joined)
        before = bits(load_mask(horizontal, start + j - 1)) & 1
        first = mask_of((joined ^ (joined + 1)) * before)
        store(marks, k + j, select(first, lower(mark, splat(marks, marks[k + j - 1])), mark))
    for j in range(row - 2 * LANES, -1, -LANES):
        joined, mark = bits(load_mask(horizontal, start + j)), load(marks, k + j)
        last = mask_of((-1 << highest_bit(2 * (~joined & 0x7FFF) + 1)) * (joined >> (LANES - 1)))
        store(marks, k + j, select(last, lower(mark, splat(marks, marks[k + j + LANES])), mark))


@compiled
def _join(parent, a, b):
    """Join the trees of two marks, with the lower root above the higher one."""
    while parent[a] != a:
        parent[a] = a = parent[parent[a]]
    while parent[b] != b:
        parent[b] = b = parent[parent[b]]
    parent[max(a, b)] = min(a, b)


@compiled
def average_components(planes, labels, means):
    """Write the mean of its component at every pixel.

    planes, means: (N, C, H W). labels: (N, H W). Four quarters of an image are summed in turn,
    because neighbours are mostly of one component, whose sum would wait for the one before.
    """
    quarter = labels.shape[1] // 4
    for n in range(planes.shape[0]):
        for c in range(planes.shape[1]):
            sums = np.zeros((labels[n].max() + 1, 2))
            for first in range(quarter):
                for q in range(4):
                    pixel = q * quarter + first
                    _add(sums, labels[n, pixel], planes[n, c, pixel])
            for pixel in range(4 * quarter, labels.shape[1]):
                _add(sums, labels[n, pixel], planes[n, c, pixel])
            for label in range(len(sums)):
                sums[label, 0] /= sums[label, 1]
            for pixel in range(labels.shape[1]):
                means[n, c, pixel] = sums[labels[n, pixel], 0]


@compiled
def _add(sums, label, value):
    """Add a pixel to the sum and the count of its component."""
    sums[label, 0] += value
    sums[label, 1] += 1


@compiled
def merge_components(planes, width, min_area, labels):
    """Merge components under `min_area` pixels into their most similar neighbours, in place.

    planes: (N, C, H W). min_area: at most H W. labels: (N, H W).

    There is one phase for each area that occurs, from the smallest up. The pixels of a component
    form a ring of successors. This is linear without union-find or heap: a component that joins
    another is no larger than it, so each time a pixel is visited and renamed its component at
    least doubles, at most log2(min_area) times, rounded up; and a phase looks at no more than
    H W / area components.
    """
    ring = np.empty(labels.shape[1], np.int32)
    for n in range(len(labels)):
        names = labels[n]
        count = names.max() + 1
        area, start = np.zeros(count, np.int32), np.empty(count, np.int32)
        total = np.zeros((count, planes.shape[1]))
        _build_rings(planes[n], names, ring, start, area, total)
        small, remaining = np.arange(count), count
        while remaining > 0:
            remaining, least = _keep_small(small[:remaining], area, min_area)
            for label in small[:remaining]:
                if area[label] == least:
                    into = _most_similar(label, names, ring, start, area, total, width)
                    _absorb(label, into, names, ring, start, area, total)
        _renumber(names, count)


@compiled
def _build_rings(planes, names, ring, start, area, total):
    """Chain the pixels of each component, count them and sum their intensities."""
    for pixel in range(len(names)):
        label = names[pixel]
        if area[label] == 0:
            start[label] = ring[pixel] = pixel
        ring[pixel], ring[start[label]] = ring[start[label]], pixel
        area[label] += 1
        for c in range(planes.shape[0]):
            total[label, c] += planes[c, pixel]


@compiled
def _renumber(names, count):
    """Assign numbers to the components anew, in raster order."""
    number, last = np.zeros(count, np.int32), 0  # from 1; 0 for none yet
    for pixel in range(len(names)):
        if number[names[pixel]] == 0:
            last += 1
            number[names[pixel]] = last
        names[pixel] = number[names[pixel]] - 1


@compiled
def _keep_small(small, area, min_area):
    """Move the labels that still exist and are too small to the front, in their order.

    Returns their number and the least area among them.
    """
    remaining, least = 0, min_area
    for label in small:
        if 0 < area[label] < min_area:
            small[remaining] = label
            remaining += 1
            least = min(least, area[label])
    return remaining, least


@njit  # not `compiled`: with its freedom in rounding, equal means would not always tie
def _most_similar(label, names, ring, start, area, total, width):
    """Return the neighbour of a component with the nearest mean, the lowest label among equals."""
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
                    difference = total[label, c] / area[label] - total[other, c] / area[other]
                    distance += difference**2
                if nearest < 0 or distance < best or (distance == best and other < nearest):
                    nearest, best = other, distance
        pixel = ring[pixel]
        if pixel == start[label]:
            return nearest


@compiled
def _absorb(label, into, names, ring, start, area, total):
    """Rename the pixels of one component to another, and add up the two."""
    pixel = start[label]
    while names[pixel] == label:
        names[pixel] = into
        pixel = ring[pixel]
    ring[start[label]], ring[start[into]] = ring[start[into]], ring[start[label]]
    area[into] += area[label]
    area[label] = 0
    for c in range(total.shape[1]):
        total[into, c] += total[label, c]
