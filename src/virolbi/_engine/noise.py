"""Statistics of blocks of an image, and the noise that they show."""

import numpy as np

from virolbi._engine.compile import compiled

MEAN, FINE, COARSE, OUTLIERS, FLAT = range(5)  # statistics of a block
STATISTICS = 5
FLAT_BLOCK = 0.9  # blocks of more flat pixels hold no noise: bars, cut-outs, clipped sky
GROUPS, GROUP = 8, 6  # groups of like brightness at most, and blocks in each at least
QUIET = 0.3  # share of each group with the least coarse variation, from which noise is read
CALM = 0.6  # share of each group on which fine variation is related to coarse variation
STEEPEST = 0.5  # fine variation of structure, at most, by its coarse variation
FEW = 20.0  # blocks from which that relation is half believed


@compiled
def block_statistics(planes, statistics, outlier):
    """Write statistics of every block of pixels.

    planes: (N, C, H, W). statistics: (N, rows, columns, STATISTICS), the result; means over the
    pixels y, x with 1 <= y < H - 2 and 1 <= x < W - 2. Fine and coarse variation are the squares of
    two filters that see nothing of a plane or a straight contour, one of 3x3 and one of 4x4 pixels,
    scaled so that both are the variance of white noise. outlier: gap to all four neighbours from
    which a pixel is counted by itself, and replaced by the nearest of them for the filters.
    """
    number, channels, height, width = planes.shape
    rows, columns = statistics.shape[1:3]
    window = np.empty((4, width), planes.dtype)
    sums = np.empty((STATISTICS, width), planes.dtype)
    second, step = np.empty(width, planes.dtype), np.empty(width, planes.dtype)
    statistics[:] = 0
    for n in range(number):
        for c in range(channels):
            for y in range(3):
                _replace_outliers(planes[n, c], y, outlier, window[y])
            for i in range(rows):
                top, bottom = 1 + i * (height - 3) // rows, 1 + (i + 1) * (height - 3) // rows
                sums[:] = 0
                for y in range(top, bottom):
                    _replace_outliers(planes[n, c], y + 2, outlier, window[(y + 2) % 4])
                    _add_row(planes[n, c], y, window, second, step, sums)
                for j in range(columns):
                    left, right = (
                        1 + j * (width - 3) // columns,
                        1 + (j + 1) * (width - 3) // columns,
                    )
                    count = channels * (bottom - top) * (right - left)
                    for k in range(STATISTICS):
                        total = 0.0
                        for x in range(left, right):
                            total += sums[k, x]
                        statistics[n, i, j, k] += total / count


@compiled
def _replace_outliers(plane, y, outlier, row):
    """Write a row of a plane in which outliers have the value of their nearest neighbour."""
    here = plane[y]
    row[:] = here
    if y == 0 or y == len(plane) - 1:
        return
    above, below = plane[y - 1], plane[y + 1]
    for x in range(1, len(here) - 1):
        a, b, c, d, middle = above[x], below[x], here[x - 1], here[x + 1], here[x]
        high, low = (a if a > b else b), (a if a < b else b)
        high2, low2 = (c if c > d else d), (c if c < d else d)
        high, low = (high if high > high2 else high2), (low if low < low2 else low2)
        near = high if middle > high else (low if middle < low else middle)
        gap = middle - near
        row[x] = near if gap * gap > outlier * outlier else middle


@compiled
def _add_row(plane, y, window, second, step, sums):
    """Add the statistics of the pixels of row y to the sums over columns.

    It is written so that LLVM makes vector instructions of it.
    """
    above, middle = window[(y - 1) % 4], window[y % 4]
    below, last = window[(y + 1) % 4], window[(y + 2) % 4]
    original, before = plane[y], plane[y - 1]
    zero = middle[0] - middle[0]
    one = zero + 1
    for x in range(len(middle)):
        second[x] = above[x] - middle[x] - middle[x] + below[x]
        step[x] = above[x] + middle[x] - below[x] - last[x]
    for x in range(1, len(middle) - 2):
        fine = second[x - 1] - second[x] - second[x] + second[x + 1]
        coarse = step[x - 1] + step[x] - step[x + 1] - step[x + 2]
        gap = original[x] - middle[x]
        flat = original[x] == before[x] and original[x] == original[x - 1]
        sums[MEAN, x] += middle[x]
        sums[FINE, x] += fine * fine / 36
        sums[COARSE, x] += coarse * coarse / 16
        sums[OUTLIERS, x] += gap * gap
        sums[FLAT, x] += one if flat else zero


@compiled
def noise_of_blocks(statistics, noise):
    """Write the noise that the blocks of each image show.

    statistics: (N, B, STATISTICS). noise: (N, 3), the result: variance without outliers, mean
    square of outliers, and mean logarithm of the coarse variation; 0, 0, 0 if all blocks are flat.

    Noise depends on brightness, so blocks are compared with blocks of like brightness: each group
    holds the same number of them, and the mean over groups is the mean over the image. In a group
    the blocks of least coarse variation are taken, which is independent of the fine variation of
    white noise; a choice by the fine variation itself would be biased. What remains of structure in
    them is subtracted: fine variation grows along a line with coarse variation, and white noise is
    where the two are equal on that line.
    """
    for n in range(len(statistics)):
        blocks = statistics[n][statistics[n, :, FLAT] <= FLAT_BLOCK]
        noise[n] = 0
        if len(blocks) == 0:
            continue
        groups = min(GROUPS, max(1, len(blocks) // GROUP))
        order = np.argsort(blocks[:, MEAN])
        fine = coarse = product = square = 0.0
        for g in range(groups):
            part = blocks[order[g * len(order) // groups : (g + 1) * len(order) // groups]]
            part = part[np.argsort(part[:, COARSE])]
            quiet = max(1, round(QUIET * len(part)))
            fine += part[:quiet, FINE].mean() / groups
            coarse += part[:quiet, COARSE].mean() / groups
            both, own = _relation(part[: max(1, round(CALM * len(part)))])
            product, square = product + both, square + own
        slope = min(max(product / max(square, 1e-30), 0.0), STEEPEST)
        slope *= len(blocks) * CALM / (len(blocks) * CALM + FEW)
        structure = slope * max(coarse - fine, 0.0) / (1 - slope)
        noise[n, 0] = max(fine - structure, 0.0)
        noise[n, 1] = blocks[:, OUTLIERS].mean()
        noise[n, 2] = np.log(blocks[:, COARSE] + 1e-10).mean()


@compiled
def _relation(blocks):
    """Return the covariance of fine and coarse variation, and the variance of the latter.

    Both are relative to the mean coarse variation; blocks count by 1 / coarse^2, because variations
    of a block scatter in proportion to themselves.
    """
    total = first = second = 0.0
    for block in blocks:
        weight = 1 / (block[COARSE] + 1e-10) ** 2
        total += weight
        first += weight * block[FINE]
        second += weight * block[COARSE]
    first, second = first / total, second / total
    both = own = 0.0
    for block in blocks:
        weight = 1 / (block[COARSE] + 1e-10) ** 2 / total
        both += weight * (block[FINE] - first) * (block[COARSE] - second)
        own += weight * (block[COARSE] - second) ** 2
    scale = (blocks[:, COARSE].mean() + 1e-10) ** 2
    return both / scale, own / scale
