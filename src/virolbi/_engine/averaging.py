"""Means over pixels of like colour nearby: a bilateral filter."""

import numpy as np

from virolbi._engine.compile import compiled


@compiled
def average_alike(planes, guide, taps, unlike, tile, result):
    """Write the mean of each pixel of a tile over the pixels around it that are like it.

    planes, guide: (C, H, W); colours are compared in the guide. taps: (2 R + 1, 2 R + 1), the
    weights of neighbours by their distance, 0 for none. unlike: squared difference of two colours,
    over all channels, at which the weight of a neighbour is a quarter: the weight is
    (unlike / (unlike + difference))^2. tile: first and last row, first and last column, without
    the last ones. result: (C, H, W), of which the tile is written. Pixels outside of the image have
    no weight.
    """
    channels, height, width = planes.shape
    top, bottom, left, right = tile
    radius = len(taps) // 2
    weights, total = np.empty(width, planes.dtype), np.empty(width, planes.dtype)
    for y in range(top, bottom):
        total[left:right] = 0
        result[:, y, left:right] = 0
        for dy in range(max(-radius, -y), min(radius + 1, height - y)):
            for dx in range(max(-radius, 1 - right), min(radius + 1, width - left)):
                tap = taps[radius + dy, radius + dx]
                if tap == 0:
                    continue
                here = slice(max(left, -dx), min(right, width - dx))
                there = slice(here.start + dx, here.stop + dx)
                weight = weights[here]
                weight[:] = 0
                for c in range(channels):
                    _add_difference(guide[c, y, here], guide[c, y + dy, there], weight)
                _weigh(tap, unlike, weight, total[here])
                for c in range(channels):
                    _add_weighted(planes[c, y + dy, there], weight, result[c, y, here])
        for c in range(channels):
            row = result[c, y]
            for x in range(left, right):
                row[x] /= total[x]


# One loop in each function, over few arrays, so that LLVM makes vector instructions of it.
@compiled
def _add_difference(here, there, difference):
    """Add the squared differences of two rows."""
    for x in range(len(difference)):
        gap = there[x] - here[x]
        difference[x] += gap * gap


@compiled
def _weigh(tap, unlike, weight, total):
    """Change squared differences into weights, and add them to their sums."""
    for x in range(len(weight)):
        share = unlike / (unlike + weight[x])
        weight[x] = tap * share * share
        total[x] += weight[x]


@compiled
def _add_weighted(there, weight, row):
    """Add the weighted pixels of a row."""
    for x in range(len(row)):
        row[x] += weight[x] * there[x]
