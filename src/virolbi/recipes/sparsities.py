"""Sparsities of the images of a training batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True, eq=False)
class Sparsities:
    """Sparsities of the images of a training batch, as numbers or left to the noise.

    Parameters
    ----------
    values : ndarray of float, shape (n,) or (views, n)
        Sparsity of each image, in [0, 1]. 0 is the image as it is. It is 0 and has no meaning
        where `auto` is true.
    auto : ndarray of bool, shape (n,) or (views, n)
        Whether the sparsity of an image is "auto", chosen from the noise of the image.

    Examples
    --------
    >>> sparsities = Sparsities(np.array([0.0, 0.5]), np.array([False, False]))
    >>> sparsities.mean
    0.25
    >>> print(Sparsities(np.zeros(2), np.array([False, True])).mean)
    None
    """

    values: np.ndarray
    auto: np.ndarray

    def __getitem__(self, rows: slice | np.ndarray) -> "Sparsities":
        return Sparsities(self.values[rows], self.auto[rows])

    @classmethod
    def stack(cls, views: Sequence["Sparsities"]) -> "Sparsities":
        """Join the sparsities of the same images in several views.

        Parameters
        ----------
        views : sequence of Sparsities
            Sparsities of each view, shape (n,).

        Returns
        -------
        Sparsities
            All of them, shape (views, n).
        """
        return cls(
            np.stack([view.values for view in views]), np.stack([view.auto for view in views])
        )

    def split(self, parts: int) -> list["Sparsities"]:
        """Split the images into parts of nearly equal size, as `numpy.array_split` does.

        Parameters
        ----------
        parts : int
            Number of parts, >= 1.

        Returns
        -------
        list of Sparsities
            The parts, in the order of the images; each has all views.
        """
        arrays = (np.array_split(array, parts, axis=-1) for array in (self.values, self.auto))
        return [Sparsities(*pair) for pair in zip(*arrays, strict=True)]

    @property
    def mean(self) -> float | None:
        """Mean sparsity of the images.

        Returns
        -------
        float or None
            The mean, or None if the sparsity of an image is "auto".
        """
        return None if self.auto.any() else float(self.values.mean())

    def equal(self, level: float | Literal["auto"]) -> np.ndarray:
        """Return which images have a given sparsity.

        Parameters
        ----------
        level : float or "auto"
            Sparsity to look for.

        Returns
        -------
        ndarray of bool, shape (n,)
            True for the images of this sparsity.
        """
        return self.auto if level == "auto" else ~self.auto & (self.values == level)

    def restrict(self, mask: np.ndarray) -> "Sparsities":
        """Return the sparsities with 0 for the images outside a mask.

        Parameters
        ----------
        mask : ndarray of bool, shape (n,)
            True for the images that keep their sparsity.

        Returns
        -------
        Sparsities
            New sparsities.
        """
        return Sparsities(np.where(mask, self.values, 0.0), self.auto & mask)
