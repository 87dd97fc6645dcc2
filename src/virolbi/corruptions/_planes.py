"""What the types share: a matrix along each axis, sums of shifted copies, and their compiled loops.

Every loop treats one image at a time in one order, so that an image comes out the same to the last bit in any batch; the
products of a BLAS do not promise that.
"""

from functools import cache

import numpy as np
from PIL import Image

from virolbi._engine import compiled


def along_axes(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Compute rows @ plane @ columns.T for every plane: (N, C, H, W), (H', H), (W', W) -> (N, C, H', W'), float32."""
    out = np.empty((*images.shape[:2], len(rows), len(columns)), np.float32)
    _along_axes(images, rows, _ends(rows), columns, _ends(columns), out)
    return out


def _ends(
    matrix: np.ndarray,
) -> np.ndarray:  # (rows, 2): the first column that is not zero, and the one after the last
    filled = matrix != 0
    return np.stack(
        [filled.argmax(axis=1), matrix.shape[1] - filled[:, ::-1].argmax(axis=1)], axis=1
    )


@compiled
def _along_axes(
    images: np.ndarray,
    rows: np.ndarray,
    row_ends: np.ndarray,
    columns: np.ndarray,
    column_ends: np.ndarray,
    out: np.ndarray,
) -> None:
    count, channels, _, width = images.shape
    half = np.empty((len(rows), width), np.float32)
    turned = np.empty((width, len(rows)), np.float32)
    result = np.empty((len(columns), len(rows)), np.float32)
    for n in range(count):
        for c in range(channels):
            _times(rows, row_ends, images[n, c], half)
            for y in range(len(rows)):
                for x in range(width):
                    turned[x, y] = half[y, x]
            _times(columns, column_ends, turned, result)
            for y in range(len(rows)):
                for x in range(len(columns)):
                    out[n, c, y, x] = result[x, y]


@compiled
def _times(matrix: np.ndarray, ends: np.ndarray, plane: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(matrix)):
        out[i] = 0
        for k in range(ends[i, 0], ends[i, 1]):
            weight = matrix[i, k]
            for x in range(plane.shape[1]):
                out[i, x] += weight * plane[k, x]


@cache
def gaussian_matrix(
    size: int, sigma: float, *, truncate: float = 4.0, border: str = "edge"
) -> np.ndarray:
    """Convolution with a Gaussian, cut off at `truncate` sigmas, along an axis of `size` pixels.

    border: how `numpy.pad` goes on beyond it.
    """
    radius = int(truncate * sigma + 0.5)
    return line_matrix(
        size, gaussian(np.arange(-radius, radius + 1), sigma) if radius else np.ones(1), border
    )


def gaussian(steps: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian at some places, float64, with sum 1."""
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    return weights / weights.sum()


def line_matrix(size: int, weights: np.ndarray, border: str) -> np.ndarray:
    """Correlation with an odd number of weights along an axis of `size` pixels, as a matrix."""
    radius = len(weights) // 2
    sources = np.pad(np.arange(size), radius, mode=border)  # type: ignore[call-overload]
    matrix = np.zeros((size, size))
    for tap, weight in enumerate(weights):
        np.add.at(matrix, (np.arange(size), sources[tap : tap + size]), weight)
    return matrix.astype(np.float32)


@cache
def zoom_matrix(size: int, factor: float) -> np.ndarray:
    """The middle of an axis of `size` pixels, enlarged by a factor >= 1 to the same size: linear, ends on ends."""
    crop = int(np.ceil(size / factor))
    enlarged = round(crop * factor)
    first, skipped = (size - crop) // 2, (enlarged - size) // 2
    places = (np.arange(size) + skipped) * (crop - 1) / max(enlarged - 1, 1)
    left = np.minimum(places.astype(int), max(crop - 2, 0))
    matrix = np.zeros((size, size))
    matrix[np.arange(size), first + left] = 1 - (places - left)
    matrix[np.arange(size), first + left + 1] += places - left
    return matrix.astype(np.float32)


@cache
def box_matrix(size: int, new_size: int) -> np.ndarray:
    """Resampling of an axis by the box filter of Pillow: its columns are what Pillow makes of one bright pixel."""
    unit = Image.fromarray(np.eye(size, dtype=np.float32))
    return np.array(unit.resize((size, new_size), Image.Resampling.BOX))


def shifted_sum(
    images: np.ndarray, shifts: np.ndarray, weights: np.ndarray, border: str
) -> np.ndarray:
    """Add up shifted images: out[y, x] = sum over t of weights[t] images[y + shifts[t, 0], x + shifts[t, 1]].

    images: float32, (N, C, H, W); shifts: int, (N, T, 2), or (1, T, 2) where every image has the same; weights: (T,).
    border: how `numpy.pad` goes on beyond an image.
    """
    up, left = np.maximum(0, -shifts.min(axis=(0, 1)))
    down, right = np.maximum(0, shifts.max(axis=(0, 1)))
    padded = np.pad(images, ((0, 0), (0, 0), (up, down), (left, right)), mode=border)  # type: ignore[call-overload]
    out = np.zeros(images.shape, np.float32)
    _shifted_sum(padded, shifts + np.array([up, left]), weights.astype(np.float32), out)
    return out


@compiled
def _shifted_sum(
    padded: np.ndarray, shifts: np.ndarray, weights: np.ndarray, out: np.ndarray
) -> None:
    count, channels, height, width = out.shape
    for n in range(count):
        own = shifts[n % len(shifts)]
        for c in range(channels):
            for y in range(height):
                for t in range(len(weights)):
                    row = padded[n, c, y + own[t, 0], own[t, 1] : own[t, 1] + width]
                    for x in range(width):
                        out[n, c, y, x] += weights[t] * row[x]


def moved(images: np.ndarray, radius: int, sigma: float, angles: np.ndarray) -> np.ndarray:
    """Blur each image in one direction: one half of a Gaussian of 2 radius + 1 pixels, as ImageMagick does.

    images: float32, (N, C, H, W); angles: degrees, (N,); 0 takes from the right, 90 from below.
    """
    steps = np.arange(2 * radius + 1)
    directions = np.stack(
        [np.sin(np.deg2rad(angles)), np.cos(np.deg2rad(angles))], axis=1
    )  # (N, 2)
    shifts = np.ceil(steps[:, None] * directions[:, None] - 0.5).astype(np.int64)
    return shifted_sum(images, shifts, gaussian(steps, sigma), "edge")
