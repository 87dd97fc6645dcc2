"""Means over pixels of like colour nearby: a bilateral filter."""

import numpy as np

from virolbi._engine.compile import compiled


@compiled
def average_alike(planes, taps, level, tile, result):
    """Write the mean of each pixel of a tile over the pixels around it that are like it.

    planes: (C, H, W). taps: (2 R + 1, 2 R + 1), the weights of neighbours by their distance, 0 for
    none. level: (5,), by which the squared distance of two colours over all channels, at which the
    weight of a neighbour is a quarter, depends on the brightness b of the pixel, which counts up to
    level[4]: unlike is level[0] + level[1] b + level[2] b^2, at least level[3], and the weight
    (unlike / (unlike + distance))^2. tile: first and last row, first and last column, without the
    last ones. result: (C, H, W), of which the tile is written. Pixels outside of the image have no
    weight.
    """
    channels, height, width = planes.shape
    top, bottom, left, right = tile
    radius = len(taps) // 2
    weights, total = np.empty(width, planes.dtype), np.empty(width, planes.dtype)
    unlike = np.empty(width, planes.dtype)
    for y in range(top, bottom):
        unlike[left:right] = 0
        for c in range(channels):
            _add_brightness(planes[c, y, left:right], channels, unlike[left:right])
        _set_unlike(level, unlike[left:right])
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
                    _add_distance(planes[c, y, here], planes[c, y + dy, there], weight)
                _weigh(tap, unlike[here], weight, total[here])
                for c in range(channels):
                    _add_weighted(planes[c, y + dy, there], weight, result[c, y, here])
        for c in range(channels):
            row = result[c, y]
            for x in range(left, right):
                row[x] /= total[x]


# One loop in each function, over few arrays, so that LLVM makes vector instructions of it.
@compiled
def _add_brightness(here, channels, brightness):
    """Add a row of a channel to its mean over channels."""
    for x in range(len(brightness)):
        brightness[x] += here[x] / channels


@compiled
def _set_unlike(level, brightness):
    """Change a row of brightness into the squared distances at which pixels are unlike."""
    for x in range(len(brightness)):
        here = min(max(brightness[x], level.dtype.type(0)), level[4])
        brightness[x] = max(level[0] + here * (level[1] + here * level[2]), level[3])


@compiled
def _add_distance(here, there, distance):
    """Add the squared differences of two rows."""
    for x in range(len(distance)):
        gap = there[x] - here[x]
        distance[x] += gap * gap


@compiled
def _weigh(tap, unlike, weight, total):
    """Change squared distances into weights, and add them to their sums."""
    for x in range(len(weight)):
        share = unlike[x] / (unlike[x] + weight[x])
        weight[x] = tap * share * share
        total[x] += weight[x]


@compiled
def _add_weighted(there, weight, row):
    """Add the weighted pixels of a row."""
    for x in range(len(row)):
        row[x] += weight[x] * there[x]
