"""Operations that several types share: matrices along the axes, and sums of shifted copies.

Every compiled loop handles one image at a time in a fixed order, so that an image has the same
result, to the last bit, in any batch. Matrix products of a BLAS library do not guarantee this.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Concatenate, Literal, ParamSpec

import numpy as np
from PIL import Image

from virolbi._engine import compiled

Border = Literal["edge", "reflect", "symmetric"]  # modes of numpy.pad
Options = ParamSpec("Options")
KEPT_SIDE = 512  # the matrices of longer axes are megabytes each


def check_images(images: np.ndarray) -> None:
    """Check the type, the dtype, the number of axes and the range of images.

    Parameters
    ----------
    images : object
        Value to check.

    Raises
    ------
    TypeError, ValueError
        If it is no array of float32 with the axes (N, C, H, W) and intensities in [0, 1].
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.float32:
        actual = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise TypeError(f"images must be a float32 array, got {actual}")
    if images.ndim != 4:
        raise ValueError(f"images must have the shape (N, C, H, W), got {images.shape}")
    if images.size and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(f"images must be in [0, 1], got {images.min()} to {images.max()}")


def apply_matrices(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Compute rows @ plane @ columns.T for every plane.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Planes.
    rows : ndarray of float32, shape (H', H)
        Matrix along the vertical axis.
    columns : ndarray of float32, shape (W', W)
        Matrix along the horizontal axis.

    Returns
    -------
    ndarray of float32, shape (N, C, H', W')
        Products.
    """
    out = np.empty((*images.shape[:2], len(rows), len(columns)), np.float32)
    _apply_matrices(images, rows, _nonzero_range(rows), columns, _nonzero_range(columns), out)
    return out


def _nonzero_range(matrix: np.ndarray) -> np.ndarray:
    """Return the first nonzero column of each row and the one after the last, (rows, 2)."""
    nonzero = matrix != 0
    return np.stack(
        [nonzero.argmax(axis=1), matrix.shape[1] - nonzero[:, ::-1].argmax(axis=1)], axis=1
    )


@compiled
def _apply_matrices(
    images: np.ndarray,
    rows: np.ndarray,
    row_ranges: np.ndarray,
    columns: np.ndarray,
    column_ranges: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write the products of `apply_matrices` to `out`."""
    count, channels, _, width = images.shape
    half = np.empty((len(rows), width), np.float32)
    transposed = np.empty((width, len(rows)), np.float32)
    result = np.empty((len(columns), len(rows)), np.float32)
    for n in range(count):
        for c in range(channels):
            _multiply(rows, row_ranges, images[n, c], half)
            for y in range(len(rows)):
                for x in range(width):
                    transposed[x, y] = half[y, x]
            _multiply(columns, column_ranges, transposed, result)
            for y in range(len(rows)):
                for x in range(len(columns)):
                    out[n, c, y, x] = result[x, y]


@compiled
def _multiply(matrix: np.ndarray, ranges: np.ndarray, plane: np.ndarray, out: np.ndarray) -> None:
    """Write matrix @ plane to `out`, over the nonzero range of each row of the matrix."""
    for i in range(len(matrix)):
        out[i] = 0
        for k in range(ranges[i, 0], ranges[i, 1]):
            weight = matrix[i, k]
            for x in range(plane.shape[1]):
                out[i, x] += weight * plane[k, x]


def kept(
    build: Callable[Concatenate[int, Options], np.ndarray],
) -> Callable[Concatenate[int, Options], np.ndarray]:
    """Keep the matrices that a function builds for an axis, if they are small.

    Parameters
    ----------
    build : callable
        Function of the length of an axis, and of other arguments, that returns a matrix.

    Returns
    -------
    callable
        The function, with a memory.
    """
    keeping = cache(build)

    @wraps(build)
    def matrix(size: int, /, *values: Options.args, **options: Options.kwargs) -> np.ndarray:
        if size > KEPT_SIDE:
            return build(size, *values, **options)
        return keeping(size, *values, **options)  # type: ignore[arg-type]  # all are hashable

    return matrix


@kept
def gaussian_matrix(
    size: int, sigma: float, *, truncate: float = 4.0, border: Border = "edge"
) -> np.ndarray:
    """Return the convolution with a Gaussian along an axis, as a matrix.

    Parameters
    ----------
    size : int
        Length of the axis in pixels.
    sigma : float
        Standard deviation in pixels.
    truncate : float, optional
        Number of sigmas at which the Gaussian is cut off.
    border : {"edge", "reflect", "symmetric"}, optional
        Mode of `numpy.pad` beyond the ends of the axis.

    Returns
    -------
    ndarray of float32, shape (size, size)
        Matrix.
    """
    radius = int(truncate * sigma + 0.5)
    weights = gaussian_weights(np.arange(-radius, radius + 1), sigma) if radius else np.ones(1)
    return correlation_matrix(size, weights, border)


def gaussian_weights(offsets: np.ndarray, sigma: float) -> np.ndarray:
    """Return the values of a Gaussian at some offsets from its centre, with sum 1.

    Parameters
    ----------
    offsets : ndarray of int, shape (T,)
        Offsets in pixels.
    sigma : float
        Standard deviation in pixels.

    Returns
    -------
    ndarray of float64, shape (T,)
        Weights.
    """
    weights: np.ndarray = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    return weights


def correlation_matrix(size: int, weights: np.ndarray, border: Border) -> np.ndarray:
    """Return the correlation with an odd number of weights along an axis, as a matrix.

    Parameters
    ----------
    size : int
        Length of the axis in pixels.
    weights : ndarray of float, shape (T,)
        Weights, the middle one for the pixel itself.
    border : {"edge", "reflect", "symmetric"}
        Mode of `numpy.pad` beyond the ends of the axis.

    Returns
    -------
    ndarray of float32, shape (size, size)
        Matrix.
    """
    radius = len(weights) // 2
    sources = np.pad(np.arange(size), radius, mode=border)
    matrix = np.zeros((size, size))
    for tap, weight in enumerate(weights):
        np.add.at(matrix, (np.arange(size), sources[tap : tap + size]), weight)
    return matrix.astype(np.float32)


@kept
def zoom_matrix(size: int, factor: float) -> np.ndarray:
    """Return the enlargement of the middle of an axis to its full length, as a matrix.

    Parameters
    ----------
    size : int
        Length of the axis in pixels.
    factor : float
        Enlargement, >= 1.

    Returns
    -------
    ndarray of float32, shape (size, size)
        Matrix of the linear interpolation that maps end pixels to end pixels.
    """
    crop = int(np.ceil(size / factor))
    enlarged = round(crop * factor)
    first, skipped = (size - crop) // 2, (enlarged - size) // 2
    positions = (np.arange(size) + skipped) * (crop - 1) / max(enlarged - 1, 1)
    lower = np.minimum(positions.astype(int), max(crop - 2, 0))
    matrix = np.zeros((size, size))
    matrix[np.arange(size), first + lower] = 1 - (positions - lower)
    matrix[np.arange(size), first + lower + 1] += positions - lower
    return matrix.astype(np.float32)


@kept
def box_matrix(size: int, new_size: int) -> np.ndarray:
    """Return the resampling of an axis by the box filter of Pillow, as a matrix.

    Parameters
    ----------
    size : int
        Length of the axis in pixels.
    new_size : int
        Length after resampling.

    Returns
    -------
    ndarray of float32, shape (new_size, size)
        Matrix. Each column is Pillow's result for a single bright pixel.
    """
    unit = Image.fromarray(np.eye(size, dtype=np.float32))
    return np.array(unit.resize((size, new_size), Image.Resampling.BOX))


def shifted_sum(
    images: np.ndarray, shifts: np.ndarray, weights: np.ndarray, border: Border
) -> np.ndarray:
    """Add up shifted images.

    The result is out[y, x] = sum over t of weights[t] images[y + shifts[t, 0], x + shifts[t, 1]].

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    shifts : ndarray of int, shape (N, T, 2) or (1, T, 2)
        Shifts down and right of each image, or of all images, in pixels.
    weights : ndarray of float, shape (T,)
        Weights of the shifts.
    border : {"edge", "reflect", "symmetric"}
        Mode of `numpy.pad` beyond the borders of an image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Weighted sums.
    """
    top, left = np.maximum(0, -shifts.min(axis=(0, 1)))
    bottom, right = np.maximum(0, shifts.max(axis=(0, 1)))
    padded = np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)), mode=border)
    out = np.zeros(images.shape, np.float32)
    _shifted_sum(padded, shifts + np.array([top, left]), weights.astype(np.float32), out)
    return out


@compiled
def _shifted_sum(
    padded: np.ndarray, shifts: np.ndarray, weights: np.ndarray, out: np.ndarray
) -> None:
    """Add the weighted sums of `shifted_sum` to `out`; shifts count from the padded corner."""
    count, channels, height, width = out.shape
    for n in range(count):
        offsets = shifts[n % len(shifts)]
        for c in range(channels):
            for y in range(height):
                for t in range(len(weights)):
                    row = padded[n, c, y + offsets[t, 0], offsets[t, 1] : offsets[t, 1] + width]
                    for x in range(width):
                        out[n, c, y, x] += weights[t] * row[x]


def directional_blur(
    images: np.ndarray, radius: int, sigma: float, angles: np.ndarray
) -> np.ndarray:
    """Blur each image in one direction with one half of a Gaussian, as ImageMagick does.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    radius : int
        The half of the Gaussian has 2 radius + 1 pixels. A larger radius blurs more.
    sigma : float
        Standard deviation of the Gaussian in pixels. A larger sigma blurs more.
    angles : ndarray of float, shape (N,)
        Directions in degrees: 0 takes from the right, 90 from below.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Blurred images; borders are repeated.
    """
    steps = np.arange(2 * radius + 1)
    radians = np.deg2rad(angles)
    directions = np.stack([np.sin(radians), np.cos(radians)], axis=1)  # (N, 2)
    shifts = np.ceil(steps[:, None] * directions[:, None] - 0.5).astype(np.int64)
    return shifted_sum(images, shifts, gaussian_weights(steps, sigma), "edge")
