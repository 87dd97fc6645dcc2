"""One moment on the scale path: smoothed images, support, regions and derivative."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from virolbi._checks import check_count
from virolbi._engine import batch_slices, parallel, unpack, variation
from virolbi.scale_space.form import Output, check_output
from virolbi.scale_space.layout import Layout
from virolbi.scale_space.regions import label_open, merge_small, region_means
from virolbi.scale_space.solver import Solver


class Diagnostics(NamedTuple):
    """Shape of the regions of each support; arrays over supports.

    Attributes
    ----------
    regions : ndarray of int
        Number of regions.
    largest : ndarray of float
        Fraction of the pixels that are in the largest region.
    idle_edges : ndarray of int
        Number of edges in the support with the same region on both sides.
    """

    regions: np.ndarray
    largest: np.ndarray
    idle_edges: np.ndarray


@dataclass
class Outputs:
    """Planes of a moment that are computed when they are first asked for, None before.

    Attributes
    ----------
    beta : ndarray of float, shape (N, C, H, W), or None
        Images at equilibrium.
    components : ndarray of int32, shape (N, H, W), or None
        Regions before small ones are merged.
    means : ndarray of float, shape (N, C, H, W), or None
        Means over the regions.
    """

    beta: np.ndarray | None = None
    components: np.ndarray | None = None
    means: np.ndarray | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Scale:
    """One moment on the scale path of images, made by `ScaleSpace.at`.

    Arrays over images have the layout of the input; arrays over supports have its image axes in
    front. All of them are read-only; copy one to change it.
    """

    _layout: Layout
    _solver: Solver
    _min_area: int
    _data: np.ndarray  # (N, C, H, W)
    _opened: np.ndarray  # (N, 2, words), edges outside the support as the kernels have them
    _time: np.ndarray  # (N,)
    _outputs: Outputs = field(default_factory=Outputs, kw_only=True)

    def __repr__(self) -> str:
        sparsity = f", sparsity {self.sparsity.mean():.3f}" if len(self._data) else ""
        return f"<{type(self).__name__} of images {self._layout.shape}{sparsity}>"

    @property
    def beta(self) -> np.ndarray:
        """Smoothed images, at equilibrium with the data and the variations let in."""
        return _read_only(self.output("beta"))

    @property
    def regions(self) -> np.ndarray:
        """Images with every pixel at the mean of beta over its region, piecewise constant.

        With infinite `delta` this is the mean of the input, because the equilibrium equation
        summed over a region has no other term.
        """
        return _read_only(self._regions)

    def output(self, name: Output) -> np.ndarray:
        """Return `beta` or `regions` by name, as an array that this object may use further.

        Parameters
        ----------
        name : {"beta", "regions"}
            Output to return.

        Returns
        -------
        ndarray
            Images in the layout of the input. Writing to them changes what this object returns
            later.

        Raises
        ------
        ValueError
            If `name` is neither.
        """
        check_output(name)
        return self._layout.images(self._beta) if name == "beta" else self._regions

    @property
    def support(self) -> np.ndarray:
        """Edges that have entered, bool, shape (..., E), horizontal edges first."""
        return _read_only(self._support.reshape(*self._layout.groups, self._support.shape[-1]))

    @property
    def sparsity(self) -> np.ndarray:
        """Fraction of edges outside the support, as reached; 1 for planes without edges."""
        edges = max(self._support.shape[-1], 1)
        return np.asarray(1 - self._support.sum(axis=-1) / edges).reshape(self._layout.groups)

    @property
    def time(self) -> np.ndarray:
        """Time at which this support was reached, in 1 / intensity.

        It is 0 before the first event and infinite where the path has ended.
        """
        return _read_only(self._time.reshape(self._layout.groups))

    @property
    def labels(self) -> np.ndarray:
        """Numbers of the regions, int32, shape (..., H, W)."""
        return _read_only(self._labels.reshape(*self._layout.groups, *self._data.shape[-2:]))

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """Measures of how far regions percolate: one gap in a contour merges its two sides."""
        groups = self._layout.groups
        sizes = [np.bincount(plane.ravel()) for plane in self._labels]
        largest = np.array([size.max() / size.sum() for size in sizes])
        crossing = np.abs(variation(self._labels)) > 0
        return Diagnostics(
            regions=np.array([len(size) for size in sizes]).reshape(groups),
            largest=largest.reshape(groups),
            idle_edges=(self._support & ~crossing).sum(axis=-1).reshape(groups),
        )

    def with_min_area(self, min_area: int) -> "Scale":
        """Return this moment with small regions merged, without following the path again.

        Parameters
        ----------
        min_area : int
            Regions of fewer pixels are merged into their most similar neighbour; 1 keeps them all.

        Returns
        -------
        Scale
            The moment, as a `ScaleSpace` with this `min_area` has it.

        Raises
        ------
        TypeError, ValueError
            If `min_area` is not a whole number >= 1.

        Examples
        --------
        >>> from virolbi import ScaleSpace
        >>> scale = ScaleSpace(np.random.default_rng(0).random((16, 16))).at(0.5)
        >>> [int(scale.with_min_area(area).labels.max()) + 1 for area in (16, 64)]
        [5, 2]
        """
        outputs = Outputs(beta=self._outputs.beta, components=self._outputs.components)
        return replace(self, _min_area=check_count("min_area", min_area), _outputs=outputs)

    def pullback(self, gradient: np.ndarray, output: Output = "beta") -> np.ndarray:
        """Apply the transposed exact derivative of an output by the input to a gradient.

        The support is locally constant almost everywhere, so this is one linear solve with the
        matrix of the forward solve. An outlier (``|y - beta| >= delta``) has no gradient. Where the
        path has ended, the derivative is that of the identity. In a region of outliers alone beta
        is not unique, and the derivative is taken to be 0.

        Parameters
        ----------
        gradient : ndarray of float
            Gradient by the output, in the layout of the input.
        output : {"beta", "regions"}, optional
            Output that the gradient belongs to.

        Returns
        -------
        ndarray of float
            Gradient by the input, in the same layout.

        Raises
        ------
        ValueError
            If `gradient` is not floating or has another shape than the input, or for an unknown
            output.
        """
        check_output(output)
        layout = replace(self._layout, dtype=gradient.dtype)
        if gradient.shape != layout.shape or not np.issubdtype(gradient.dtype, np.floating):
            raise ValueError(
                f"gradient must be floating of shape {layout.shape}, "
                f"got {gradient.dtype} of {gradient.shape}"
            )
        incoming = layout.planes(gradient, self._data.dtype.type)
        planes = self._project(incoming) if output == "regions" else incoming
        if output == "beta" or self._solver.delta < math.inf:
            # with infinite delta, region means of beta are those of the input: nothing to solve
            inlier = np.abs(self._data - self._beta) < self._solver.delta
            planes = self._solver.settle_adjoint(planes, inlier, self._components, self._opened)
        if output == "beta" or self._min_area == 1:
            ended = np.isinf(self._time)[:, None, None, None]
            planes = np.where(ended, incoming, planes)
        return layout.images(planes)

    @property
    def _beta(self) -> np.ndarray:  # (N, C, H, W)
        if self._outputs.beta is None:
            beta = self._solver.settle(self._data, self._opened)
            self._outputs.beta = replace_ended(beta, self._data, self._time)
        return self._outputs.beta

    @cached_property
    def _regions(self) -> np.ndarray:
        return self._layout.images(self._means)

    @property
    def _means(self) -> np.ndarray:  # (N, C, H, W)
        if self._outputs.means is None:
            means = self._project(self._source)
            if self._min_area == 1:
                means = replace_ended(means, self._data, self._time)
            self._outputs.means = means
        return self._outputs.means

    @cached_property
    def _support(self) -> np.ndarray:
        return ~unpack(self._opened, *self._data.shape[-2:])

    @property
    def _source(self) -> np.ndarray:
        """Planes of which `regions` are the means."""
        return self._data if math.isinf(self._solver.delta) else self._beta

    @property
    def _components(self) -> np.ndarray:
        if self._outputs.components is None:
            labels = np.empty((len(self._data), *self._data.shape[-2:]), np.int32)

            def work(rows: slice) -> None:
                label_open(self._opened[rows], labels[rows])

            parallel(work, batch_slices(self._data))
            self._outputs.components = labels
        return self._outputs.components

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
        """Return the means of planes, (N, C, H, W), over the regions."""
        means, labels = np.empty_like(planes), self._labels

        def work(rows: slice) -> None:
            region_means(planes[rows], labels[rows], means[rows])

        parallel(work, batch_slices(self._data))
        return means


def replace_ended(planes: np.ndarray, data: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Replace planes whose path has ended by the data, in place.

    Parameters
    ----------
    planes : ndarray of float, shape (N, C, H, W)
        Equilibria or their means.
    data : ndarray of float, shape (N, C, H, W)
        Input images.
    time : ndarray of float, shape (N,)
        Time of each moment, infinite where the path has ended.

    Returns
    -------
    ndarray of float, shape (N, C, H, W)
        The array `planes`.
    """
    ended = np.isinf(time)
    planes[ended] = data[ended]
    return planes


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
