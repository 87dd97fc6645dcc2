"""One moment on the scale path."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from virolbi._engine import (
    batch_slices,
    parallel,
    unpack,
    variation,
)
from virolbi.scale_space.form import check_output
from virolbi.scale_space.layout import Layout
from virolbi.scale_space.regions import label_opened, merge_small, region_means
from virolbi.scale_space.solver import Solver


@dataclass(frozen=True, eq=False, repr=False)
class Scale:
    """One moment on the path. Arrays over images have the layout of the input, arrays over supports its own axes in front.

    They are all read-only; copy one to change it.
    """

    _layout: Layout
    _solver: "Solver"
    _min_area: int
    _data: np.ndarray  # (N, C, H, W)
    _opened: np.ndarray  # (N, 2, words), edges outside the support as the kernels have them
    _time: np.ndarray  # (N,)

    @cached_property
    def _beta(self) -> np.ndarray:  # (N, C, H, W)
        return ended_as_given(self._solver.settle(self._data, self._opened), self._data, self._time)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of images {self._layout.shape}, sparsity {self.sparsity.mean():.3f}>"

    @property
    def beta(self) -> np.ndarray:
        """The smoothed images: at equilibrium with the data and the variations let in."""
        return _read_only(self.output("beta"))

    def output(self, name: str) -> np.ndarray:
        """`beta` or `regions` by name, as an array that this object may go on using: for those who need no other afterwards."""
        check_output(name)
        return self._layout.images(self._beta) if name == "beta" else self._regions

    @property
    def regions(self) -> np.ndarray:
        """The images with every pixel at the mean of beta over its region: piecewise constant.

        Without a data clip that is the mean of the input: summing the equilibrium over a region leaves no other term.
        """
        return _read_only(self._regions)

    @cached_property
    def _regions(self) -> np.ndarray:
        return self._layout.images(self._means)

    @cached_property
    def _means(self) -> np.ndarray:  # (N, C, H, W)
        means = self._project(self._source)
        return ended_as_given(means, self._data, self._time) if self._min_area == 1 else means

    @cached_property
    def _support(self) -> np.ndarray:
        return ~unpack(self._opened, *self._data.shape[-2:])

    @property
    def support(self) -> np.ndarray:
        """Which edges have entered, bool, shape (..., E), horizontal edges first."""
        return _read_only(self._support.reshape(*self._layout.groups, self._support.shape[-1]))

    @property
    def sparsity(self) -> np.ndarray:
        """Fraction of edges outside the support, as reached; 1 for planes without edges."""
        edges = max(self._support.shape[-1], 1)
        return (1 - self._support.sum(axis=-1) / edges).reshape(self._layout.groups)

    @property
    def time(self) -> np.ndarray:
        """Time at which this support was reached, in 1 / intensity: 0 before the first event, inf where the path ended."""
        return _read_only(self._time.reshape(self._layout.groups))

    @property
    def labels(self) -> np.ndarray:
        """Region numbers, int32, shape (..., H, W)."""
        return _read_only(self._labels.reshape(*self._layout.groups, *self._data.shape[-2:]))

    @property
    def _source(self) -> np.ndarray:
        return self._data if math.isinf(self._solver.delta) else self._beta

    @cached_property
    def _components(self) -> np.ndarray:
        labels = np.empty((len(self._data), *self._data.shape[-2:]), np.int32)
        parallel(
            lambda rows: label_opened(self._opened[rows], labels[rows]), batch_slices(self._data)
        )
        return labels

    @cached_property
    def _labels(self) -> np.ndarray:
        if self._min_area == 1:
            return self._components
        components, source = self._components, self._source
        labels = np.empty_like(components)

        def work(rows: slice) -> None:
            labels[rows] = merge_small(components[rows], source[rows], self._min_area)

        parallel(work, batch_slices(self._data))
        return labels

    def _project(self, planes: np.ndarray) -> np.ndarray:
        means, labels = np.empty_like(planes), self._labels
        parallel(
            lambda rows: region_means(planes[rows], labels[rows], means[rows]),
            batch_slices(self._data),
        )
        return means

    @cached_property
    def diagnostics(self) -> "Diagnostics":
        """How far the regions percolate: one gap in a contour merges the two sides."""
        labels = self._labels.reshape(len(self._labels), -1)
        sizes = [np.bincount(plane) for plane in labels]
        crossing = np.abs(variation(self._labels)) > 0
        return Diagnostics(
            regions=np.array([len(size) for size in sizes]).reshape(self._layout.groups),
            largest=np.array([size.max() / labels.shape[1] for size in sizes]).reshape(
                self._layout.groups
            ),
            idle_edges=(self._support & ~crossing).sum(axis=-1).reshape(self._layout.groups),
        )

    def pullback(self, gradient: np.ndarray, output: str = "beta") -> np.ndarray:
        """The exact derivative of `output` ("beta" or "regions") by the input, transposed and applied to `gradient`.

        The support is locally constant almost everywhere, so this is one linear solve with the matrix of the forward one; an
        outlier (|y - beta| >= delta) has no gradient. Where the path has ended, the derivative is that of the identity; in a
        region of outliers alone beta is not unique, and the derivative is taken to be 0.
        gradient: floating, shape of the input; so is what comes back.
        """
        check_output(output)
        layout = replace(self._layout, dtype=gradient.dtype)
        if gradient.shape != layout.shape or not np.issubdtype(gradient.dtype, np.floating):
            raise ValueError(
                f"gradient must be floating of shape {layout.shape}, got {gradient.dtype} of {gradient.shape}"
            )
        incoming = layout.planes(gradient, self._data.dtype.type)
        planes = self._project(incoming) if output == "regions" else incoming
        if (
            output == "beta" or self._solver.delta < math.inf
        ):  # region means of beta are those of the input without outliers
            inlier = np.abs(self._data - self._beta) < self._solver.delta
            planes = self._solver.settle_adjoint(planes, inlier, self._components, self._opened)
        if output == "beta" or self._min_area == 1:
            planes = np.where(np.isinf(self._time)[:, None, None, None], incoming, planes)
        return layout.images(planes)


class Diagnostics(NamedTuple):
    """What the regions of each support look like; arrays over supports: how many there are, the share of the pixels in the
    largest one, and the number of edges that have entered and yet have the same region on both sides.
    """

    regions: np.ndarray
    largest: np.ndarray
    idle_edges: np.ndarray


def ended_as_given(beta: np.ndarray, data: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Equilibria or their means, (N, C, H, W), with those of paths that have ended replaced by the data."""
    ended = np.isinf(time)
    beta[ended] = data[ended]
    return beta


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
