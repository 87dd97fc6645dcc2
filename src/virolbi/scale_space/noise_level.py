"""The noise level function: how the variance of noise grows with brightness.

Noise of a sensor is a sum of parts that grow with brightness in their own ways: of reading, not at
all; of counting photons, in proportion (shot noise); of varying gain, with the square (speckle).
"""

from itertools import combinations

import numpy as np

BRIGHTNESS, VARIANCE, WEIGHT = range(3)  # columns of the groups of blocks of like brightness
SCATTER = 0.05  # of the variance of a group, by itself: less is no sign of another part
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
