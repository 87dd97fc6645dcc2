"""Means over pixels of like surroundings nearby: between a bilateral filter and non-local means."""

import numpy as np

from virolbi._engine.compile import compiled


@compiled
def average_alike(planes, guide, taps, unlike, own, tile, result):
    """Write the mean of each pixel of a tile over the pixels around it that are like it.

    planes, guide: (C, H, W); pixels are compared in the guide. taps: (2 R + 1, 2 R + 1), the
    weights of neighbours by their distance, 0 for none. The difference of two pixels is the square
    over all channels, of which they count the share own by themselves, and the rest is the mean
    over the 3x3 pixels around both. unlike: difference at which the weight of a neighbour is a
    quarter: the weight is (unlike / (unlike + difference))^2. tile: first and last row, first and
    last column, without the last ones. result: (C, H, W), of which the tile is written. Pixels
    outside of the image have no weight, and in the mean over 3x3 pixels those next to them count
    instead.
    """
    top, bottom, left, right = tile
    radius = len(taps) // 2
    total = np.zeros((bottom - top, right - left), planes.dtype)
    result[:, top:bottom, left:right] = 0
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if taps[radius + dy, radius + dx] > 0:
                _add_neighbour(planes, guide, dy, dx, taps, unlike, own, tile, total, result)
    for c in range(len(planes)):
        for y in range(top, bottom):
            _divide(total[y - top], result[c, y, left:right])


@compiled
def _add_neighbour(planes, guide, dy, dx, taps, unlike, own, tile, total, result):
    """Add the neighbour at (dy, dx) of each pixel of a tile, weighted, and its weight.

    total: the sums of weights, of the shape of the tile.
    """
    channels, height, width = planes.shape
    first, last = max(0, -dy), min(height, height - dy)  # rows whose neighbours are in the image
    start, stop = max(0, -dx), min(width, width - dx)
    top, bottom = max(tile[0], first), min(tile[1], last)
    left, right = max(tile[2], start), min(tile[3], stop)
    if top >= bottom or left >= right:
        return
    tap = taps[len(taps) // 2 + dy, len(taps) // 2 + dx]
    low, high = max(left - 1, start), min(right + 1, stop)
    shift = low - (left - 1)  # 1 where the tile begins at the edge
    squares = np.empty((3, right - left + 2), planes.dtype)  # and one pixel on each side
    across = np.empty((3, right - left), planes.dtype)  # sums of three
    weight = np.empty(right - left, planes.dtype)
    for y in range(top - 1, bottom + 1):
        here = min(max(y, first), last - 1)
        square = squares[y % 3]
        inner = square[shift : shift + high - low]
        inner[:] = 0
        for c in range(channels):
            _add_difference(
                guide[c, here, low:high], guide[c, here + dy, low + dx : high + dx], inner
            )
        square[0], square[-1] = square[shift], square[shift + high - low - 1]
        _sum_threes(square, across[y % 3])
        if y <= top:
            continue
        done = y - 1
        _weigh(tap, unlike, own, squares[done % 3, 1:-1], across[0], across[1], across[2], weight)
        _add(weight, total[done - tile[0], left - tile[2] : right - tile[2]])
        for c in range(channels):
            row = result[c, done, left:right]
            _add_weighted(planes[c, done + dy, left + dx : right + dx], weight, row)


# One loop in each function, over few arrays, so that LLVM makes vector instructions of it.
@compiled
def _add_difference(here, there, difference):
    """Add the squared differences of two rows."""
    for x in range(len(difference)):
        gap = there[x] - here[x]
        difference[x] += gap * gap


@compiled
def _sum_threes(values, across):
    """Write the sum of each three values in a row."""
    for x in range(len(across)):
        across[x] = values[x] + values[x + 1] + values[x + 2]


@compiled
def _weigh(tap, unlike, own, single, above, here, below, weight):
    """Write the weights of neighbours from their squared differences and those around them."""
    around = (1 - own) / 9
    for x in range(len(weight)):
        difference = own * single[x] + around * (above[x] + here[x] + below[x])
        share = unlike / (unlike + difference)
        weight[x] = tap * share * share


@compiled
def _add(values, total):
    """Add a row to another."""
    for x in range(len(total)):
        total[x] += values[x]


@compiled
def _add_weighted(there, weight, row):
    """Add the weighted pixels of a row."""
    for x in range(len(row)):
        row[x] += weight[x] * there[x]


@compiled
def _divide(total, row):
    """Divide a row by another."""
    for x in range(len(row)):
        row[x] /= total[x]
