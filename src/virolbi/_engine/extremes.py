"""Gaps between local extremes and their neighbours, from which noise is estimated."""

import numpy as np

from virolbi._engine.compile import compiled


@compiled
def gap_energy(planes, energy, cut):
    """Write the mean squared gap in every block of pixels that have four neighbours.

    planes: (N, C, H, W). energy: (N, rows, columns), the result. cut: largest gap that counts.
    """
    number, channels, height, width = planes.shape
    rows, columns = energy.shape[1:]
    squares = np.empty(width, planes.dtype)
    for n in range(number):
        for i in range(rows):
            top, bottom = 1 + i * (height - 2) // rows, 1 + (i + 1) * (height - 2) // rows
            squares[:] = 0
            for c in range(channels):
                for y in range(top, bottom):
                    above, here, below = planes[n, c, y - 1], planes[n, c, y], planes[n, c, y + 1]
                    _add_gaps(above, here, below, cut, squares)
            for j in range(columns):
                left, right = 1 + j * (width - 2) // columns, 1 + (j + 1) * (width - 2) // columns
                total = 0.0
                for x in range(left, right):
                    total += squares[x]
                energy[n, i, j] = total / (channels * (bottom - top) * (right - left))


@compiled
def _add_gaps(above, here, below, cut, squares):
    """Add the squared gap of every pixel of a row that has four neighbours.

    It is written so that LLVM makes vector instructions of it.
    """
    zero = cut - cut
    for x in range(1, len(here) - 1):
        a, b, c, d, middle = above[x], below[x], here[x - 1], here[x + 1], here[x]
        high, low = (a if a > b else b), (a if a < b else b)
        high2, low2 = (c if c > d else d), (c if c < d else d)
        high, low = (high if high > high2 else high2), (low if low < low2 else low2)
        up, down = middle - high, low - middle
        gap = up if up > down else down
        gap = gap if gap > zero else zero
        gap = gap if gap < cut else cut
        squares[x] += gap * gap
