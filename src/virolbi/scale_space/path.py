"""The scale path of images, from blank to input, in the limit kappa -> infinity.

With S the support, w the Huber weight of the data term and L_S the graph Laplacian of the edges off S,

    (w + L_S / nu) beta = w y,        dz/dt = D beta / nu off S,        S = {|z| = 1}.

Time runs geometrically, t <- rho t; each step moves z by explicit Euler, projects it onto the unit ball and relaxes beta a
little towards its new equilibrium, and the step that reaches the wanted sparsity is cut at the moment it does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from virolbi import _kernels, noise
from virolbi._blocks import BETA, Z, aligned, edge_words, flatten, grid_of, unflatten, unpack
from virolbi._images import (
    Layout,
    check_count,
    check_intensities,
    check_settings,
    check_sparsity,
    check_time,
    parallel,
    shares,
)
from virolbi.graph import edge_count, variation
from virolbi.projection import label_opened, merge_small, region_means


class ScaleSpace:
    """The scale path of every image in an array; `at` picks a moment on it.

    images: uint8, uint16 or floating intensities in [0, 1]; the last two axes, or the two left beside `channel_axis`, are
        height and width, every other axis counts images.
    nu: how loosely image and variations are coupled, from .001 to 1000. A smaller nu smooths more between the contours, and
        costs more time; under .1, with outliers cut off by `delta`, the path is followed less exactly (see benchmarks/).
    delta: intensity beyond which the data term is linear (Huber), .001 or more. A smaller delta shuts out weaker outliers and
        fades small details; infinity is the published form.
    channel_axis: the colour axis, or None when every plane is an image of its own.
    joint: one support for all channels of an image (vectorial z), or one for each channel.
    min_area: regions of fewer pixels are merged into their most similar neighbour; 1 leaves them as they are.
    copy: False for images that nobody changes as long as this, or a `Scale` of it, is asked; it saves time and memory.

    The published form has delta=math.inf and joint=False, and takes `regions` of the result.

    Raises TypeError or ValueError for what is not an image, is not finite, or is far from [0, 1].

    >>> step = np.repeat([[0.0, 1.0]], 4, axis=1).reshape(1, 8) + np.zeros((8, 1))
    >>> ScaleSpace(step).at(sparsity=0.9).support.sum()         # the contour's 8 edges enter together
    np.int64(8)
    """

    def __init__(
        self,
        images: Any,
        *,
        nu: float = 1.0,
        delta: float = 0.1,
        channel_axis: int | None = None,
        joint: bool = True,
        min_area: int = 1,
        copy: bool = True,
    ) -> None:
        check_settings(nu, delta)
        self._min_area = check_count("min_area", min_area)
        self._layout = Layout.of(images, channel_axis, joint)
        self._data = self._layout.planes(images, copy=copy)
        check_intensities(self._data)
        self._solver = Solver(float(nu), float(delta))
        self._lock = Lock()
        self._paths: dict[int, _Paths] = {}  # by their first image

    def at(self, sparsity: Any = None, *, time: Any = None) -> "Scale":
        """The images at a sparsity, the fraction of edges that have not entered, or at a time. 1 lets nothing in, 0 all.

        sparsity: a number in [0, 1], or an array of them that broadcasts to the images' own axes. Or "auto", as far as the
            noise of each image by itself allows, see `virolbi.noise`; or a chooser as in `virolbi.sparsity`, which is told the
            strength of that noise and says which to go by.
        time: instead of a sparsity, >= 0, in 1 / intensity; a larger time lets more in, and infinity all. Noise of one strength
            enters at one time whatever the image, as with the weight of total-variation denoising.

        The support holds round((1 - sparsity) E) edges. It holds more where edges tie, as in drawings, and fewer where the
        image has fewer edges with any variation: there the path ends, at the input.

        Where the path has been followed further before, this only looks back; else it goes on from where it stands.
        """
        with self._lock:
            return self._at(sparsity, time, self._paths)

    def leave(self, sparsity: Any = None, *, time: Any = None, output: str = "beta") -> "Scale":
        """As `at`, for the last time: nothing is kept to go on from, which takes less time and memory.

        output: the one that will be asked for, of which more is made in the same go.
        """
        check_output(output)
        return self._at(sparsity, time, None, output)

    def _at(self, sparsity: Any, time: Any, paths: "dict[int, _Paths] | None", output: str | None = None) -> "Scale":
        if sparsity is not None and time is not None:
            raise ValueError(f"give a sparsity or a time, not both, got sparsity={sparsity} and time={time}")
        data, (height, width) = self._data, self._data.shape[-2:]
        if time is not None:
            until = self._layout.per_support(time, "time")
            check_time(until)
            goals = np.where(np.isinf(until), edge_count(height, width), 0)
        else:
            goals, until = ends(sparsity, self._layout, self._solver, data.shape, lambda: noise.strengths(data))
        opened, times = np.empty((len(data), *edge_words(height, width).shape), np.uint64), np.empty(len(data))
        made: dict[str, np.ndarray] = {}
        if output == "beta" or (output == "regions" and self._solver.delta < math.inf):
            made["_beta"] = np.empty_like(data)
        if output == "regions" and self._min_area == 1:
            made |= {"_components": np.empty((len(data), height, width), np.int32), "_means": np.empty_like(data)}

        def work(rows: slice) -> None:
            followed = (paths or {}).get(rows.start) or _Paths(data[rows], self._solver, keep=paths is not None)
            followed.follow(goals[rows], until[rows], opened[rows], times[rows])
            if paths is not None:
                paths[rows.start] = followed
            if "_beta" in made:
                made["_beta"][rows] = _ended_as_given(followed.settle(opened[rows]), data[rows], times[rows])
            if "_means" in made:
                label_opened(opened[rows], made["_components"][rows])
                region_means(made.get("_beta", data)[rows], made["_components"][rows], made["_means"][rows])
                _ended_as_given(made["_means"][rows], data[rows], times[rows])

        try:
            parallel(work, shares(data), apart=True)
        except BaseException:
            if paths is not None:
                self._paths = {}  # some may be on their way still, see `parallel`
            raise
        scale = Scale(self._layout, self._solver, self._min_area, data, opened, times)
        vars(scale).update(made)  # its cached properties
        return scale


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
        return _ended_as_given(self._solver.settle(self._data, self._opened), self._data, self._time)

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
        return _ended_as_given(means, self._data, self._time) if self._min_area == 1 else means

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
        parallel(lambda rows: label_opened(self._opened[rows], labels[rows]), shares(self._data))
        return labels

    @cached_property
    def _labels(self) -> np.ndarray:
        if self._min_area == 1:
            return self._components
        components, source = self._components, self._source
        labels = np.empty_like(components)

        def work(rows: slice) -> None:
            labels[rows] = merge_small(components[rows], source[rows], self._min_area)

        parallel(work, shares(self._data))
        return labels

    def _project(self, planes: np.ndarray) -> np.ndarray:
        means, labels = np.empty_like(planes), self._labels
        parallel(lambda rows: region_means(planes[rows], labels[rows], means[rows]), shares(self._data))
        return means

    @cached_property
    def diagnostics(self) -> "Diagnostics":
        """How far the regions percolate: one gap in a contour merges the two sides."""
        labels = self._labels.reshape(len(self._labels), -1)
        sizes = [np.bincount(plane) for plane in labels]
        crossing = np.abs(variation(self._labels)) > 0
        return Diagnostics(
            regions=np.array([len(size) for size in sizes]).reshape(self._layout.groups),
            largest=np.array([size.max() / labels.shape[1] for size in sizes]).reshape(self._layout.groups),
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
            raise ValueError(f"gradient must be floating of shape {layout.shape}, got {gradient.dtype} of {gradient.shape}")
        incoming = layout.planes(gradient, self._data.dtype.type)
        planes = self._project(incoming) if output == "regions" else incoming
        if output == "beta" or self._solver.delta < math.inf:  # region means of beta are those of the input without outliers
            inlier = np.abs(self._data - self._beta) < self._solver.delta
            planes = self._solver.settle_adjoint(planes, inlier, self._components, self._opened)
        if output == "beta" or self._min_area == 1:
            planes = np.where(np.isinf(self._time)[:, None, None, None], incoming, planes)
        return layout.images(planes)


def ends(
    sparsity: Any, layout: Layout, solver: "Solver", shape: tuple[int, ...], strengths: Callable[[], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Where the paths of planes of a shape (N, C, H, W) are to end: at supports of so many edges, or, where finite, at times.

    strengths: measures the noise in each, (N,), where it is for the noise to say.
    """
    edges = edge_count(*shape[-2:])
    if not noise.is_chooser(sparsity):
        values = layout.per_support(sparsity, "sparsity")
        check_sparsity(values)
        return np.rint((1 - values) * edges).astype(np.int64), np.full(len(values), np.inf)
    seen = strengths().reshape(layout.groups)
    until = noise.stops(sparsity, seen, nu=solver.nu, delta=solver.delta, channels=shape[1])
    return np.where(np.isinf(until), edges, 0), until


class Diagnostics(NamedTuple):
    """What the regions of each support look like; arrays over supports: how many there are, the share of the pixels in the
    largest one, and the number of edges that have entered and yet have the same region on both sides.
    """

    regions: np.ndarray
    largest: np.ndarray
    idle_edges: np.ndarray


def check_output(output: str, min_area: int = 1, sparsity: object = 0) -> None:
    """Refuse an unknown kind of output, an area criterion where there are no regions, and regions for the noise to choose."""
    if output not in ("beta", "regions"):
        raise ValueError(f"output must be 'beta' or 'regions', got {output!r}")
    if check_count("min_area", min_area) > 1 and output != "regions":
        raise ValueError(f"min_area is for output='regions', got min_area={min_area} with output={output!r}")
    if noise.is_chooser(sparsity) and output == "regions":
        raise ValueError(
            f"sparsity must be a number for output='regions', which merge long before noise enters, got {sparsity!r}"
        )


@dataclass(frozen=True)
class Solver:
    """The form of the path, and the numbers that follow from it.

    Steps and relaxations were chosen so that 99 % of edges agree with the same scheme at steps of 0.05 % and many relaxations,
    see benchmarks/.
    """

    nu: float
    delta: float

    def settings(self, kind: type) -> _kernels.Settings:
        """As the kernels take them, for images of a floating type."""
        small = min(1.0, self.nu)
        _, rate = self._relaxation(1)
        if math.isinf(self.delta):
            delta, growth, omega, first = None, 0.1 * small**0.64, 1.5, 1e-3
        else:
            delta, growth, omega, first = kind(self.delta), 0.07 * small**0.64, 1.6, 1e-3 * small  # outliers come to rest late
        return _kernels.Settings(
            coupling=kind(1 / self.nu),
            delta=delta,
            growth=kind(growth),
            relaxations=1 + 2 * round(0.46 * small**-0.6 - 0.5),  # odd numbers are better: the pixel graph is bipartite
            omega=kind(omega),
            begin=math.ceil(math.log(first) / math.log(rate)),
            rounds=self._rounds(*((1e-5, 4) if kind is np.float32 else (1e-13, 7))),
        )

    def _relaxation(self, weight: float) -> tuple[float, float]:
        """Of the Jacobi iteration for a weight of the data: spectral radius, and rate of convergence when over-relaxed."""
        radius = 4 / (4 + self.nu * weight)  # a pixel has 4 edges
        return radius, radius / (1 + math.sqrt(1 - radius**2))  # in the limit of the Chebyshev weights

    def _rounds(self, end: float, number: int) -> np.ndarray:
        """Attempts at an equilibrium, (number, 3), for smaller and smaller weights of the data, as outliers have.

        A slower iteration changes less in a sweep at the same distance from its end, so it has to come to rest more exactly.
        """
        relaxations = [self._relaxation(0.25**attempt) for attempt in range(number)]
        most = [math.ceil(2 * math.log(end) / math.log(rate)) for _, rate in relaxations]
        return np.array([(radius, end / 2**n, most[n]) for n, (radius, _) in enumerate(relaxations)])

    def settle(self, data: np.ndarray, opened: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Equilibria beta (N, C, H, W) for the data (N, C, H, W) and the open edges (N, 2, words).

        weight: w of the data term, shape of the data, which are the whole right-hand side then.
        """
        beta, grid, kind = np.empty_like(data), grid_of(*data.shape[1:]), data.dtype.type
        settings = self.settings(kind)

        def work(rows: slice) -> None:
            solution, room = flatten(data[rows], grid), aligned((2, data.shape[1] * grid.stride), kind, BETA, lent=True)
            weights = None if weight is None else flatten(weight[rows], grid, blank=1, place=Z)
            _kernels.settle(solution, weights, room, opened[rows], grid, _channels(data), settings)
            beta[rows] = unflatten(solution, beta[rows].shape, grid)

        parallel(work, shares(data), apart=True)
        return beta

    def settle_adjoint(self, gradient: np.ndarray, inlier: np.ndarray, labels: np.ndarray, opened: np.ndarray) -> np.ndarray:
        """Apply W (W + L_S / nu)^-1, the transposed derivative of beta; W is 1 at inliers and 0 at outliers.

        In a region without any inlier that matrix is singular and the derivative is taken to be 0, so that any weight does.
        """
        kind = gradient.dtype.type
        scale = np.maximum(np.abs(gradient).max(axis=(1, 2, 3), keepdims=True), np.finfo(kind).tiny)
        weight = None
        if not inlier.all():
            weight = np.where(region_means(inlier.astype(kind), labels) > 0, inlier, 1).astype(kind)
        return Solver(self.nu, math.inf).settle(gradient / scale, opened, weight) * scale * inlier


class _Paths:
    """The paths of some images of one size, as far as they have been followed; to keep, or to be done with at once."""

    def __init__(self, data: np.ndarray, solver: Solver, keep: bool) -> None:
        number, kind = len(data), data.dtype.type
        self._shape, self._keep = data.shape, keep
        self._nu, self._settings = solver.nu, solver.settings(kind)
        self._static = edge_words(*data.shape[-2:]), grid_of(*data.shape[1:]), _channels(data)
        flat = flatten(data, self._static[1], lent=not keep)
        z = aligned((number, 2, flat.shape[1]), kind, Z, lent=not keep)
        z.fill(0)
        self._state = _kernels.Paths(
            data=flat,
            beta=aligned(z.shape, kind, BETA, lent=not keep),
            z=z,
            open=np.empty((number, *self._static[0].shape), np.uint64),
            status=np.zeros((number, _kernels.STATUS)),
            logs=np.zeros(number + 1, np.int64),
            times=np.empty(0, kind),
            events=np.empty(0, np.int32),
        )
        _kernels.begin(self._state, *self._static, self._settings)

    def follow(self, goals: np.ndarray, until: np.ndarray, opened: np.ndarray, time: np.ndarray) -> None:
        """Write the open edges (N, 2, words) and the time (N,) at supports of `goals` edges, or at times `until` if finite."""
        clock, inside = self._state.status[:, _kernels.CLOCK], self._state.status[:, _kernels.INSIDE]
        if ((inside < goals) | ((clock * self._nu < until) & (until < np.inf))).any():
            log = _kernels.march(self._state, goals, until / self._nu, *self._static, self._settings, self._keep)
            self._state = self._state._replace(logs=log[0], times=log[1], events=log[2])
        _kernels.replay(self._state, goals, until / self._nu, *self._static, opened, time)
        time *= self._nu

    def settle(self, opened: np.ndarray) -> np.ndarray:
        """Equilibria (N, C, H, W) for the open edges (N, 2, words), in the memory of the paths: these cannot go on."""
        _, grid, channels = self._static
        _kernels.settle(self._state.data, None, self._state.beta[0], opened, grid, channels, self._settings)
        return unflatten(self._state.data, self._shape, grid)


def _ended_as_given(beta: np.ndarray, data: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Equilibria or their means, (N, C, H, W), with those of paths that have ended replaced by the data."""
    ended = np.isinf(time)
    beta[ended] = data[ended]
    return beta


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _channels(data: np.ndarray) -> tuple[int, ...]:
    return (0,) * data.shape[1]  # a tuple, for its length is part of its type
