"""Statistics of blocks of pixels."""

import numpy as np

from virolbi._engine.compile import compiled

# Statistics of a block: means over channels, those of all channels together, and a distribution
MEAN, FINE, COARSE, OUTLIERS, FLAT, ALONE, ALIKE = range(7)
SHARED, BLACK, PAIRS, STEP, WITHIN = range(7, 12)
# Differences up to which pairs of pixels are counted: none, a 16th and a quarter of a level of 8
# bits, and half a level more than 0, 1, 3, 7, 15, 31 and 63 levels
LIMITS = np.array([0, 1 / 16, 1 / 4, *(2.0**k - 0.5 for k in range(7))]) / 255
STATISTICS = WITHIN + len(LIMITS)
ROUNDED = 1e-6  # differences of so much are rounding errors of floats
LARGEST = 1e300  # and so large are none
# Filters for fine and coarse variation, the same along rows and columns
FINE_FILTER, COARSE_FILTER = (1.0, -2.0, 1.0, 0.0), (1.0, 1.0, -1.0, -1.0)
# of the statistics that are means over channels, for white noise: sums of squares of the filters
GAINS = (1, 36, 16, 1, 1, 1, 1, 36)


@compiled
def block_edges(size, count):
    """Return the first pixel of each block along an axis, and the one after the last block.

    The statistics of blocks are means over the pixels x with 1 <= x < size - 2. Every other array
    that is compared with them, such as a mask of hidden pixels, is cut at the same edges.

    size: pixels along the axis, at least 4. count: number of blocks.
    """
    return 1 + np.arange(count + 1) * (size - 3) // count


@compiled
def block_statistics(planes, hidden, statistics, outlier):
    """Write statistics of every block of pixels.

    planes: (N, C, H, W). hidden: bool, (N, H, W), pixels that do not count in ALONE, ALIKE and in
    pairs; or an empty array for none. statistics: (N, rows, columns, STATISTICS), the result; means
    over the pixels y, x with 1 <= y < H - 2 and 1 <= x < W - 2.

    - MEAN; FINE and COARSE variation: the squares of two filters that see nothing of a plane or a
      straight contour, one of 3x3 and one of 4x4 pixels, scaled so that both are the variance of
      white noise. SHARED is the fine one of the mean over channels; it is smaller by their number
      if their noise is independent.
    - OUTLIERS: squared gaps of outliers. outlier: gap to all four neighbours from which a pixel is
      counted by itself, and replaced by their median for the filters. ALONE: the same where the
      eight neighbours differ by at most `outlier`. ALIKE: the share of these places.
    - FLAT: pixels that equal those above and to the left.
    - BLACK: pixels of which all channels are at most 0.
    - PAIRS: pairs of a pixel with those below and to the right that count, of two for each pixel.
      STEP: the least difference in a channel of such a pair that is more than a rounding error,
      infinite if there is none; only its minimum over all blocks counts.
    - WITHIN, and the statistics after it: as PAIRS, those whose difference in the mean over
      channels is at most LIMITS[0], LIMITS[1] and so on.

    Everything is computed in double precision, so that other implementations sort blocks alike.
    """
    number, channels, height, width = planes.shape
    rows, columns = statistics.shape[1:3]
    window, band, shared = np.empty((channels, 4, width)), np.empty(width), np.empty(width)
    across, along = np.empty(width), np.empty(width)  # differences of pairs
    seen, apart, black = np.ones(width, np.bool_), np.zeros((2, width)), np.empty(width)
    sums, counts = np.empty((WITHIN, width)), np.empty((len(LIMITS) + 1, width), np.int32)
    tops, lefts = block_edges(height, rows), block_edges(width, columns)
    for n in range(number):
        for c in range(channels):
            for y in range(3):
                _replace_outliers(planes[n, c], y, outlier, window[c, y])
        for i in range(rows):
            top, bottom = tops[i], tops[i + 1]
            sums[:], counts[:] = 0, 0
            sums[STEP] = np.inf
            for y in range(top, bottom):
                if len(hidden) > 0:
                    seen[:] = ~hidden[n, y]
                    _part_hidden(hidden[n, y], hidden[n, y + 1], apart)
                shared[:], across[:], along[:], black[:] = 0, apart[0], apart[1], channels
                for c in range(channels):
                    _replace_outliers(planes[n, c], y + 2, outlier, window[c, (y + 2) % 4])
                    _add_row(planes[n, c], y, window[c], outlier, band, shared, seen, sums)
                    here, below = planes[n, c, y], planes[n, c, y + 1]
                    _add_differences(here, below, apart, across, along, sums[STEP])
                    _clear_above(here, 0, black)
                _add_energy(shared, FINE_FILTER, sums[SHARED])
                _add_row_to(sums[BLACK], black)
                for k in range(len(LIMITS)):
                    _count_within(across, along, LIMITS[k] * channels + ROUNDED, counts[k])
                _count_within(across, along, LARGEST, counts[len(LIMITS)])
            for j in range(columns):
                left, right, block = lefts[j], lefts[j + 1], statistics[n, i, j]
                pixels = (bottom - top) * (right - left)
                for k in range(STEP):
                    block[k] = _total(sums[k], left, right) / (pixels * channels)
                for k in range(len(GAINS)):
                    block[k] /= GAINS[k]
                block[SHARED] /= channels  # of a sum, not of a mean
                block[STEP] = sums[STEP, left:right].min()
                block[PAIRS] = _total(counts[len(LIMITS)], left, right) / (2 * pixels)
                for k in range(len(LIMITS)):
                    block[WITHIN + k] = _total(counts[k], left, right) / (2 * pixels)


@compiled
def _replace_outliers(plane, y, outlier, row):
    """Write a row of a plane in which outliers have the median of their four neighbours."""
    here = plane[y]
    if y == 0 or y == len(plane) - 1:
        row[:] = here
        return
    row[0], row[-1] = here[0], here[-1]
    above, below = plane[y - 1], plane[y + 1]
    for x in range(1, len(here) - 1):
        a, b, c, d = above[x], below[x], here[x - 1], here[x + 1]
        high, low = (a if a > b else b), (a if a < b else b)
        high2, low2 = (c if c > d else d), (c if c < d else d)
        high, low = (high if high > high2 else high2), (low if low < low2 else low2)
        middle = np.float64(here[x])
        gap = middle - (high if middle > high else (low if middle < low else middle))
        median = (np.float64(a) + b + c + d - high - low) / 2
        row[x] = median if gap * gap > outlier * outlier else middle


@compiled
def _add_row(plane, y, window, outlier, band, shared, seen, sums):
    """Add the statistics of the pixels of row y to the sums over columns.

    band is scratch; to shared, the sum over channels, the row filtered across rows is added.
    """
    _filter_rows(window, y, FINE_FILTER, band)
    _add_energy(band, FINE_FILTER, sums[FINE])
    for x in range(len(band)):
        shared[x] += band[x]
    _filter_rows(window, y, COARSE_FILTER, band)
    _add_energy(band, COARSE_FILTER, sums[COARSE])
    _add_gaps(plane[y], window[y % 4], sums[MEAN], sums[OUTLIERS])
    _add_alone(plane, y, window[y % 4], outlier, seen, sums[ALONE], sums[ALIKE])
    _add_flat(plane[y - 1], plane[y], sums[FLAT])


# One loop in each function, over few arrays, so that LLVM makes vector instructions of it.
@compiled
def _filter_rows(window, y, taps, band):
    """Write row y of the window, and its neighbours, filtered across rows."""
    above, middle = window[(y - 1) % 4], window[y % 4]
    below, last = window[(y + 1) % 4], window[(y + 2) % 4]
    a, b, c, d = taps
    for x in range(len(band)):
        band[x] = a * above[x] + b * middle[x] + c * below[x] + d * last[x]


@compiled
def _add_energy(band, taps, total):
    """Add the squares of a row that is filtered along itself."""
    a, b, c, d = taps
    for x in range(1, len(band) - 2):
        value = a * band[x - 1] + b * band[x] + c * band[x + 1] + d * band[x + 2]
        total[x] += value * value


@compiled
def _add_gaps(original, row, mean, gaps):
    """Add the pixels of a row, and the squares by which its outliers were changed."""
    for x in range(len(row)):
        gap = original[x] - row[x]
        gaps[x] += gap * gap
        mean[x] += row[x]


@compiled
def _add_alone(plane, y, row, outlier, seen, gaps, alike):
    """Add what `_add_gaps` adds to gaps, but only where the eight neighbours are alike.

    Only pixels that are seen count.
    """
    above, here, below = plane[y - 1], plane[y], plane[y + 1]
    for x in range(1, len(row) - 1):
        left, right, up, down = here[x - 1], here[x + 1], above[x], below[x]
        a, b, c, d = above[x - 1], above[x + 1], below[x - 1], below[x + 1]
        high = _larger(
            _larger(_larger(left, right), _larger(up, down)), _larger(_larger(a, b), _larger(c, d))
        )
        low = -_larger(
            _larger(_larger(-left, -right), _larger(-up, -down)),
            _larger(_larger(-a, -b), _larger(-c, -d)),
        )
        are_alike = (np.float64(high) - low <= outlier) & seen[x]
        gap = here[x] - row[x]
        gaps[x] += gap * gap * are_alike
        alike[x] += are_alike


@compiled
def _larger(a, b):
    return a if a > b else b


@compiled
def _part_hidden(row, below, apart):
    """Write what is added to differences to the right and below: infinity where one is hidden."""
    for x in range(len(row) - 1):
        apart[0, x] = np.inf if row[x] | row[x + 1] else 0.0
        apart[1, x] = np.inf if row[x] | below[x] else 0.0


@compiled
def _add_differences(row, below, apart, across, along, step):
    """Add the differences of the pixels of a row to those to the right and below.

    step: the least difference at each place that is more than a rounding error.
    """
    for x in range(len(row) - 1):
        right, down = np.float64(row[x + 1]) - row[x], np.float64(below[x]) - row[x]
        across[x] += right
        along[x] += down
        right, down = abs(right) + apart[0, x], abs(down) + apart[1, x]
        right, down = np.inf if right <= ROUNDED else right, np.inf if down <= ROUNDED else down
        least = right if right < down else down
        step[x] = least if least < step[x] else step[x]


@compiled
def _clear_above(row, limit, values):
    """Set values to 0 where a row is above a limit."""
    for x in range(len(row)):
        values[x] = 0.0 if row[x] > limit else values[x]


@compiled
def _add_row_to(total, row):
    """Add a row to the sums over columns."""
    for x in range(len(row)):
        total[x] += row[x]


@compiled
def _count_within(across, along, limit, counts):
    """Count the differences of a row whose size is at most limit."""
    for x in range(len(counts)):
        counts[x] += np.int32(abs(across[x]) <= limit) + np.int32(abs(along[x]) <= limit)


@compiled
def _total(row, left, right):
    """Return the sum of part of a row."""
    total = 0.0
    for x in range(left, right):
        total += row[x]
    return total


@compiled
def _add_flat(above, row, flat):
    """Count pixels that equal those above and to the left."""
    for x in range(1, len(row)):
        flat[x] += (row[x] == above[x]) & (row[x] == row[x - 1])
