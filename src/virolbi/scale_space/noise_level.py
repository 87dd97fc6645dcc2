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
ENTRIES, LEAST_STEP = 256, 1e-6  # of the table of a transform
PARTS = [parts for size in (1, 2, 3) for parts in combinations(range(3), size)]


def fit_noise_level(groups: np.ndarray) -> np.ndarray:
    """Fit the noise level function of each image to groups of its blocks of like brightness.

    Parameters
    ----------
    groups : ndarray of float64, shape (N, GROUPS, 3)
        Brightness, variance and weight of each group; groups that do not exist have a weight of 0.

    Returns
    -------
    ndarray of float64, shape (N, 5)
        Variance as c[0] + c[1] b + c[2] b^2 of the brightness b, all >= 0, and 1 in the mean over
        the groups; 1 everywhere where no group holds noise. c[3] and c[4] are the brightness of the
        darkest and of the brightest group: nothing is known beyond them.

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
    darkest = np.where(exists, terms[..., 1], np.inf).min(axis=1)
    brightest = np.where(exists, terms[..., 1], 0).max(axis=1)
    return np.column_stack([fitted, np.minimum(darkest, brightest), brightest])


class VarianceStabiliser:
    """Transforms of intensities after which noise has one strength at every brightness.

    The transform of an image has the slope 1 / sqrt(v) at each intensity, where v is its noise
    level function. Noise of the mean strength keeps it, and intensities keep their order.

    Parameters
    ----------
    level : ndarray of float, shape (N, 5)
        Noise level function of each image, see `fit_noise_level`. Levels below 0.05 count as that.
        Darker than the darkest group and brighter than the brightest the level stays the same.

    Notes
    -----
    Variance-stabilising transforms: for shot noise the root of Anscombe, for speckle a logarithm,
    for their sums with constant noise that of Foi et al., see `fit_noise_level`.
    """

    def __init__(self, level: np.ndarray) -> None:
        self._low = level[:, 3]
        self._step = np.maximum((level[:, 4] - self._low) / (ENTRIES - 1), LEAST_STEP)
        brightness = self._low[:, None] + self._step[:, None] * np.arange(ENTRIES)
        variance = level[:, :1] + brightness * (level[:, 1:2] + brightness * level[:, 2:3])
        slope = np.maximum(variance, LEAST_LEVEL) ** -0.5
        rise = self._step[:, None] * (slope[:, 1:] + slope[:, :-1]) / 2
        self._table = np.hstack([self._low[:, None], rise]).cumsum(axis=1)

    def __call__(self, planes: np.ndarray) -> np.ndarray:
        """Transform images.

        Parameters
        ----------
        planes : ndarray of float, shape (N, C, H, W)
            Intensities.

        Returns
        -------
        ndarray of float, shape (N, C, H, W)
            Transformed intensities.
        """
        result = np.empty_like(planes)

        def work(place: tuple[int, int]) -> None:
            n = place[0]
            look_up(planes[place], self._low[n], self._step[n], self._table[n], result[place])

        parallel(work, product(range(len(planes)), range(planes.shape[1])))
        return result
