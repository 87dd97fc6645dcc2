"""Estimated noise of images, and how strongly it acts on their paths."""

from typing import NamedTuple

import numpy as np

from virolbi.scale_space.noise_level import fit_noise_level

FACTOR = 1.05  # strength at which "auto" stops, by that of the grain without texture
# Outliers act like grain of a variance that is a power of theirs: the Huber weight holds back many
# of them, and few need nearly as much. A path that is stopped at less than KEPT_OUT lets all in,
# and smooths the rest for nothing. Fitted on photographs of imagenet400, the finest textures in
# them, and CIFAR training images, under 0.03 to 10 % of impulses: black and white, or random.
OUTLIER_SHARE, OUTLIER_POWER, KEPT_OUT = 0.076, 0.6, 0.027


class NoiseEstimate(NamedTuple):
    """Estimated noise of images, in intensity; arrays over images.

    Attributes
    ----------
    grain : ndarray of float64
        Variance of the noise without its outliers.
    texture_free : ndarray of float64
        The part of it that is no texture: what channels share, and what is stronger at a coarse
        scale, counts less.
    outliers : ndarray of float64
        Variance of single pixels that stand out of all their neighbours.
    threshold : ndarray of float64
        Strength from which noise is worth the smoothing by "auto".
    groups : ndarray of float64
        Brightness, variance and weight of groups of blocks of like brightness, in two more axes,
        see `fit_noise_level`.
    """

    grain: np.ndarray
    texture_free: np.ndarray
    outliers: np.ndarray
    threshold: np.ndarray
    groups: np.ndarray

    def reshape(self, shape: tuple[int, ...]) -> "NoiseEstimate":
        """Return the same noise in arrays of another shape.

        Parameters
        ----------
        shape : tuple of int
            Shape of the image axes.

        Returns
        -------
        NoiseEstimate
            The noise.
        """
        axes = self.grain.ndim
        return NoiseEstimate(*(values.reshape(shape + values.shape[axes:]) for values in self))

    @property
    def strength(self) -> np.ndarray:
        """Standard deviation of the noise."""
        return np.asarray(np.sqrt(self.grain + self.outliers))

    @property
    def acting(self) -> np.ndarray:
        """Strength at which "auto" stops: outliers and what may be texture count less."""
        return acting_strength(self.texture_free, self.kept_out)

    @property
    def kept_out(self) -> np.ndarray:
        """Variance of the outliers, or 0 where they are too few to be kept out by "auto"."""
        strength = np.sqrt(self.texture_free + _like_grain(self.outliers))
        return np.where(strength >= KEPT_OUT, self.outliers, 0)

    @property
    def level(self) -> np.ndarray:
        """Noise level function of all noise, see `fit_noise_level`: outliers do not grow."""
        shape = self.groups.shape
        level = fit_noise_level(self.groups.reshape(-1, *shape[-2:])).reshape(*shape[:-2], 5)
        share = share_of(self.grain, self.outliers)[..., None]
        level[..., :3] *= share
        level[..., :1] += 1 - share
        return level

    @property
    def is_significant(self) -> np.ndarray:
        """Whether the noise of each image is worth the smoothing by "auto", booleans."""
        significant: np.ndarray = np.minimum(self.strength, self.acting) >= self.threshold
        return significant


def acting_strength(grain: np.ndarray, outliers: np.ndarray) -> np.ndarray:
    """Return the strength that noise has on the path.

    Parameters
    ----------
    grain, outliers : ndarray of float
        Variances of many small changes, and of few large ones, which the Huber weight holds back.

    Returns
    -------
    ndarray of float
        Standard deviation of Gaussian noise that is to be stopped at the same time.
    """
    strength: np.ndarray = FACTOR * np.sqrt(grain + _like_grain(outliers))
    return strength


def _like_grain(outliers: np.ndarray) -> np.ndarray:
    """Return the variance of the grain that outliers of a variance act like."""
    variance: np.ndarray = OUTLIER_SHARE * outliers**OUTLIER_POWER
    return variance


def share_of(part: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return the share of one part of noise in its sum with the rest.

    Parameters
    ----------
    part, rest : ndarray of float64
        Variances of the parts.

    Returns
    -------
    ndarray of float64
        Shares, 0 where there is neither.
    """
    whole = part + rest
    share: np.ndarray = part / np.where(whole > 0, whole, 1)
    return share
