"""The scale path of images, from blank to input, in the limit kappa -> infinity.

With S the support, w the Huber weight of the data term and L_S the graph Laplacian of the edges off S,

    (w + L_S / nu) beta = w y,        dz/dt = D beta / nu off S,        S = {|z| = 1}.

Time runs geometrically, t <- rho t; each step moves z by explicit Euler, projects it onto the unit ball and relaxes beta a
little towards its new equilibrium, and the step that reaches the wanted sparsity is cut at the moment it does.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from virolbi import _kernels
from virolbi._images import Layout, check_intensities, check_settings, check_sparsity, parallel
from virolbi.graph import edge_count, variation
from virolbi.projection import label_regions, region_means

LANES = 16  # images solved side by side, while they are small enough to stay in cache together
LANES_UP_TO = 64 * 64  # pixels


class ScaleSpace:
    """The scale path of every image in an array; `at` picks a moment on it.

    images: uint8, uint16 or floating intensities in [0, 1]; the last two axes, or the two left beside `channel_axis`, are
        height and width, every other axis counts images.
    nu: how loosely image and variations are coupled, from .001 to 1000. A smaller nu smooths more between the contours, and
        costs more time.
    delta: intensity beyond which the data term is linear (Huber), .001 or more. A smaller delta shuts out weaker outliers and
        fades small details; infinity is the published form.
    channel_axis: the colour axis, or None when every plane is an image of its own.
    joint: one support for all channels of an image (vectorial z), or one for each channel.

    Raises TypeError or ValueError for what is not an image, is not finite, or is far from [0, 1].

    >>> step = np.repeat([[0.0, 1.0]], 4, axis=1).reshape(1, 8) + np.zeros((8, 1))
    >>> ScaleSpace(step).at(sparsity=0.9).support.sum()         # the contour's 8 edges enter together
    np.int64(8)
    """

    def __init__(
        self, images: Any, *, nu: float = 1.0, delta: float = 0.1, channel_axis: int | None = None, joint: bool = True
    ) -> None:
        check_settings(nu, delta)
        self._layout = Layout.of(images, channel_axis, joint)
        self._data = self._layout.planes(images)
        check_intensities(self._data)
        self._solver = Solver(nu, delta)

    def at(self, sparsity: Any) -> "Scale":
        """The images at a sparsity: the fraction of edges that have not entered. 1 is blank, 0 is the input.

        sparsity: a number in [0, 1], or an array of them that broadcasts to the images' own axes.

        The support holds round((1 - sparsity) E) edges. It holds more where edges tie, as in drawings, and fewer where the
        image has fewer edges with any variation: there the path ends, at the input.
        """
        values = self._layout.per_support(sparsity, "sparsity")
        check_sparsity(values)
        edges = edge_count(*self._data.shape[-2:])
        beta, support, time = self._solver.solve(self._data, np.rint((1 - values) * edges).astype(np.int64))
        return Scale(self._layout, self._solver, self._data, beta, support, time)


@dataclass(frozen=True, eq=False, repr=False)
class Scale:
    """One moment on the path. Arrays over images have the layout of the input, arrays over supports its own axes in front."""

    _layout: Layout
    _solver: "Solver"
    _data: np.ndarray  # (N, C, H, W)
    _beta: np.ndarray  # (N, C, H, W)
    _support: np.ndarray  # (N, E)
    _time: np.ndarray  # (N,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of images {self._layout.shape}, sparsity {self.sparsity.mean():.3f}>"

    @property
    def beta(self) -> np.ndarray:
        """The smoothed images: at equilibrium with the data and the variations let in."""
        return self._layout.images(self._beta)

    @cached_property
    def regions(self) -> np.ndarray:
        """The images with every pixel at the mean of beta over its region: piecewise constant."""
        return self._layout.images(self._project(self._beta))

    @property
    def support(self) -> np.ndarray:
        """Which edges have entered, bool, shape (..., E), horizontal edges first."""
        return self._support.reshape(*self._layout.groups, self._support.shape[-1])

    @property
    def sparsity(self) -> np.ndarray:
        """Fraction of edges outside the support, as reached; 1 for planes without edges."""
        edges = max(self._support.shape[-1], 1)
        return (1 - self._support.sum(axis=-1) / edges).reshape(self._layout.groups)

    @property
    def time(self) -> np.ndarray:
        """Time at which this support was reached, in 1 / intensity: 0 before the first event, inf where the path ended."""
        return self._time.reshape(self._layout.groups)

    @cached_property
    def labels(self) -> np.ndarray:
        """Region numbers, int32, shape (..., H, W)."""
        return self._labels.reshape(*self._layout.groups, *self._data.shape[-2:])

    @cached_property
    def _labels(self) -> np.ndarray:
        return label_regions(self._support, *self._data.shape[-2:])

    def _project(self, planes: np.ndarray) -> np.ndarray:
        return region_means(planes, np.broadcast_to(self._labels[:, None], planes.shape))

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
            labels = np.broadcast_to(self._labels[:, None], inlier.shape)
            planes = self._solver.solve_adjoint(planes, inlier, labels, self._support)
        return layout.images(np.where(np.isinf(self._time)[:, None, None, None], incoming, planes))


class Diagnostics(NamedTuple):
    """What the regions of each support look like; arrays over supports."""

    regions: np.ndarray  # their number
    largest: np.ndarray  # share of the plane that the largest one covers
    idle_edges: np.ndarray  # edges of the support with one region on both sides


def check_output(output: str) -> None:
    """Refuse an unknown kind of output."""
    if output not in ("beta", "regions"):
        raise ValueError(f"output must be 'beta' or 'regions', got {output!r}")


@dataclass(frozen=True)
class Solver:
    """The settings of the path and the numbers that follow from them, applied block by block.

    Steps and relaxations were chosen so that 99 % of edges agree with the same scheme at steps of 0.1 % and many relaxations,
    on CIFAR-10 planes at nu = 1 and 0.1.
    """

    nu: float
    delta: float

    def solve(self, data: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, C, H, W) data and N support sizes to beta (N, C, H, W), support (N, E) and time (N,), infinite where it ended."""
        varies = np.any(np.abs(variation(data)) > _kernels.SMALLEST, axis=1)
        ended = (varies.sum(axis=-1) <= goal) & (goal > 0)  # everything that varies has entered: the input itself
        beta, support, time = data.copy(), varies & ended[:, None], np.where(ended, np.inf, 0.0)
        kind = data.dtype.type
        delta = None if math.isinf(self.delta) else kind(self.delta)
        growth, relaxations = kind(0.05 * min(1.0, self.nu) ** 0.4), max(1, round(self.nu**-0.6))

        def work(block: "_Block") -> None:
            goals = np.zeros(block.lanes, np.int64)
            goals[: len(block.rows)] = goal[block.rows]
            settled, outside, clock = _kernels.follow(
                block.pack(data), goals, kind(1 / self.nu), delta, growth, relaxations, self._radius, 1e-3, _tolerance(kind)
            )
            beta[block.rows] = block.unpack(settled)
            support[block.rows] = block.unpack_edges(outside) == 0
            time[block.rows] = self.nu * clock[: len(block.rows)]

        parallel(work, _blocks(data, np.flatnonzero(~ended)))
        return beta, support, time

    def solve_adjoint(self, gradient: np.ndarray, inlier: np.ndarray, labels: np.ndarray, support: np.ndarray) -> np.ndarray:
        """Apply W (W + L_S / nu)^-1, the transposed derivative of beta; W is 1 at inliers and 0 at outliers.

        In a region without any inlier that matrix is singular and the derivative is taken to be 0, so that any weight does.
        """
        kind = gradient.dtype.type
        weight = np.where(region_means(inlier.astype(kind), labels) > 0, inlier, 1).astype(kind)
        scale = np.maximum(np.abs(gradient).max(axis=(1, 2, 3), keepdims=True), np.finfo(kind).tiny)
        source, result = gradient / scale, np.empty_like(gradient)

        def work(block: "_Block") -> None:
            right, outside = block.pack(source), block.pack_edges((~support).astype(kind))
            solution = _kernels.settle(
                right, right.copy(), right.copy(), outside, kind(1 / self.nu), None, block.pack(weight, blank=1),
                self._radius, _tolerance(kind), block.lanes,
            )  # fmt: skip
            result[block.rows] = block.unpack(solution)

        parallel(work, _blocks(gradient, np.arange(len(gradient))))
        return result * scale * inlier

    @property
    def _radius(self) -> float:
        """Spectral radius of the Jacobi iteration for (1 + L / nu) on the whole grid, where a pixel has 4 edges."""
        return 4 / (4 + self.nu)


def _tolerance(kind: type) -> float:
    """By how much an equilibrium may still change in a sweep."""
    return 2e-6 if kind is np.float32 else 1e-13


def _blocks(data: np.ndarray, rows: np.ndarray) -> Iterator["_Block"]:
    height, width = data.shape[-2:]
    lanes = LANES if height * width <= LANES_UP_TO else 1  # by size alone: results must not depend on the batch
    for first in range(0, len(rows), lanes):
        yield _Block(rows[first : first + lanes], lanes, height, width)


@dataclass(frozen=True)
class _Block:
    """Some images side by side in lanes, as `_kernels` has them; lanes left over are blank."""

    rows: np.ndarray
    lanes: int
    height: int
    width: int

    def pack(self, planes: np.ndarray, blank: float = 0) -> np.ndarray:
        """Rows of (N, C, H, W) to (C, H, W L)."""
        packed = np.full((*planes.shape[1:], self.lanes), blank, planes.dtype)
        packed[..., : len(self.rows)] = np.moveaxis(planes[self.rows], 0, -1)
        return packed.reshape(*planes.shape[1:3], -1)

    def unpack(self, packed: np.ndarray) -> np.ndarray:
        """(C, H, W L) to (N, C, H, W)."""
        return np.moveaxis(packed.reshape(*packed.shape[:2], -1, self.lanes)[..., : len(self.rows)], -1, 0)

    def pack_edges(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of (N, E) to (H, (W-1) L) and (H-1, W L)."""
        packed = np.zeros((edges.shape[1], self.lanes), edges.dtype)
        packed[:, : len(self.rows)] = edges[self.rows].T
        split = self.height * (self.width - 1)
        rows = self.height, self.height - 1
        return packed[:split].reshape(rows[0], (self.width - 1) * self.lanes), packed[split:].reshape(
            rows[1], self.width * self.lanes
        )

    def unpack_edges(self, packed: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """(H, (W-1) L) and (H-1, W L) to (N, E)."""
        return np.concatenate([part.reshape(-1, self.lanes)[:, : len(self.rows)] for part in packed]).T
