"""The noise level function, how the variance of noise grows with brightness, and its transform.

Noise of a sensor is a sum of parts that grow with brightness in their own ways: of reading, not at
all; of counting photons, in proportion (shot noise); of varying gain, with the square (speckle). A
transform of the intensities gives it one strength.
"""

from itertools import combinations, product

import numpy as np

from virolbi._engine import look_up, parallel

BRIGHTNESS, VARIANCE, WEIGHT = range(3)  # columns of the groups of blocks of like brightness
SCATTER = 0.05  # of the variance of a group, by itself: less is no sign of another part
# Chosen by hand; no rows of other values were kept.
LEAST_LEVEL = 0.05  # variance of noise at any brightness, at least, by that of the whole image
ENTRIES = 4096  # of the table of a transform
PARTS = [parts for size in (1, 2, 3) for parts in combinations(range(3), size)]


def fit_noise_level(groups: np.ndarray) -> np.ndarray:
    """Fit the noise level function of each image to groups of its blocks of like brightness.

    Parameters
    ----------
    groups : ndarray of float64, shape (N, GROUPS, 3)
        Brightness, variance and weight of each group; groups that do not exist have a weight of 0.

    Returns
    -------
    ndarray of float64, shape (N, 4)
        Variance as c[0] + c[1] b + c[2] b^2 of the brightness b, all >= 0, and 1 in the mean over
        the groups; 1 everywhere where no group holds noise. c[3] is the brightness of the brightest
        group: nothing is known beyond it.

    Notes
    -----
    Weighted least squares without negative parts, by trying each choice of parts, from few to many:
    one that leaves less counts if the difference is more than scatter. With a part that
    grows in proportion this is the model of Foi et al., "Practical Poissonian-Gaussian noise
    modeling and fitting for single-image raw-data", IEEE Transactions on Image Processing, 2008.
    """
    brightness, variance, weight = np.moveaxis(groups, -1, 0)
    terms = np.maximum(brightness, 0)[..., None] ** np.arange(3)
    rows, goal = weight[..., None] * terms, weight * variance
    best, least = np.zeros((len(groups), 3)), np.full(len(groups), np.inf)
    for parts in PARTS:
        part = rows[..., parts]
        gram = part.swapaxes(1, 2) @ part
        ridge = 1e-12 * np.trace(gram, axis1=1, axis2=2) + 1e-30  # where brightness hardly varies
        gram += ridge[:, None, None] * np.eye(len(parts))
        found = np.linalg.solve(gram, part.swapaxes(1, 2) @ goal[..., None])
        left = (((part @ found)[..., 0] - goal) ** 2).sum(1)
        better = (found >= 0).all((1, 2)) & (left < least - SCATTER**2)
        least = np.where(better, left, least)
        best[better] = 0
        best[np.ix_(better, parts)] = found[better, :, 0]
    exists = weight > 0
    level = (terms @ best[..., None])[..., 0]
    mean = (level * exists).sum(1) / np.maximum(exists.sum(1), 1)
    even = np.array([1.0, 0.0, 0.0])
    fitted = np.where(mean[:, None] > 0, best / np.where(mean > 0, mean, 1)[:, None], even)
    return np.column_stack([fitted, (terms[..., 1] * exists).max(axis=1)])


def stabilise_variance(planes: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Transform the intensities of images so that noise has one strength at every brightness.

    Parameters
    ----------
    planes : ndarray of float, shape (N, C, H, W)
        Intensities.
    level : ndarray of float, shape (N, 4)
        Noise level function v of each image, see `fit_noise_level`. Levels below 0.05 count as
        that, and beyond the brightest group noise does not grow.

    Returns
    -------
    ndarray of float, shape (N, C, H, W)
        Images with noise of the mean strength: the transform has the slope 1 / sqrt(v) at each
        intensity, which keeps their order.

    Notes
    -----
    A variance-stabilising transform: for shot noise the root of Anscombe, for speckle a logarithm,
    for their sums with constant noise that of Foi et al., see `fit_noise_level`.
    """
    result = np.empty_like(planes)
    tables = [_transform(function) for function in level]

    def work(place: tuple[int, int]) -> None:
        for row, stabilised in zip(planes[place], result[place], strict=True):
            look_up(row, *tables[place[0]], stabilised)

    parallel(work, product(range(len(planes)), range(planes.shape[1])))
    return result


def _transform(level: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the step and the entries of the table of a transform, from black on."""
    brightness, step = np.linspace(0, level[3] or 1, ENTRIES, retstep=True)
    slope = np.maximum(level[:3] @ brightness ** np.arange(3)[:, None], LEAST_LEVEL) ** -0.5
    rise = np.cumsum(step * (slope[1:] + slope[:-1]) / 2)
    return float(step), np.concatenate([[0], rise])
