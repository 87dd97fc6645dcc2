"""Equilibria of images with their data and the variations let in."""

import math
from dataclasses import dataclass

import numpy as np

from virolbi._engine import (
    BETA,
    Z,
    aligned,
    batch_slices,
    flatten,
    grid_of,
    kernels,
    parallel,
    unflatten,
)
from virolbi.scale_space.regions import region_means


@dataclass(frozen=True)
class Solver:
    """The form of the path, and the numbers that follow from it.

    Steps and relaxations were chosen so that 99 % of edges agree with the same scheme at steps of 0.05 % and many relaxations,
    see benchmarks/.
    """

    nu: float
    delta: float

    def settings(self, kind: type) -> kernels.Settings:
        """As the kernels take them, for images of a floating type."""
        small = min(1.0, self.nu)
        _, rate = self._relaxation(1)
        if math.isinf(self.delta):
            delta, growth, omega, first = None, 0.1 * small**0.64, 1.5, 1e-3
        else:
            delta, growth, omega, first = (
                kind(self.delta),
                0.07 * small**0.64,
                1.6,
                1e-3 * small,
            )  # outliers come to rest late
        return kernels.Settings(
            coupling=kind(1 / self.nu),
            delta=delta,
            growth=kind(growth),
            relaxations=1
            + 2
            * round(
                0.46 * small**-0.6 - 0.5
            ),  # odd numbers are better: the pixel graph is bipartite
            omega=kind(omega),
            begin=math.ceil(math.log(first) / math.log(rate)),
            rounds=self._rounds(*((1e-5, 4) if kind is np.float32 else (1e-13, 7))),
        )

    def _relaxation(self, weight: float) -> tuple[float, float]:
        """Of the Jacobi iteration for a weight of the data: spectral radius, and rate of convergence when over-relaxed."""
        radius = 4 / (4 + self.nu * weight)  # a pixel has 4 edges
        return radius, radius / (
            1 + math.sqrt(1 - radius**2)
        )  # in the limit of the Chebyshev weights

    def _rounds(self, end: float, number: int) -> np.ndarray:
        """Attempts at an equilibrium, (number, 3), for smaller and smaller weights of the data, as outliers have.

        A slower iteration changes less in a sweep at the same distance from its end, so it has to come to rest more exactly.
        """
        relaxations = [self._relaxation(0.25**attempt) for attempt in range(number)]
        most = [math.ceil(2 * math.log(end) / math.log(rate)) for _, rate in relaxations]
        return np.array(
            [(radius, end / 2**n, most[n]) for n, (radius, _) in enumerate(relaxations)]
        )

    def settle(
        self, data: np.ndarray, opened: np.ndarray, weight: np.ndarray | None = None
    ) -> np.ndarray:
        """Equilibria beta (N, C, H, W) for the data (N, C, H, W) and the open edges (N, 2, words).

        weight: w of the data term, shape of the data, which are the whole right-hand side then.
        """
        beta, grid, kind = np.empty_like(data), grid_of(*data.shape[1:]), data.dtype.type
        settings = self.settings(kind)

        def work(rows: slice) -> None:
            solution, room = (
                flatten(data[rows], grid),
                aligned((2, data.shape[1] * grid.stride), kind, BETA, lent=True),
            )
            weights = None if weight is None else flatten(weight[rows], grid, blank=1, place=Z)
            kernels.settle(
                solution, weights, room, opened[rows], grid, channel_tuple(data), settings
            )
            beta[rows] = unflatten(solution, beta[rows].shape, grid)

        parallel(work, batch_slices(data), apart=True)
        return beta

    def settle_adjoint(
        self, gradient: np.ndarray, inlier: np.ndarray, labels: np.ndarray, opened: np.ndarray
    ) -> np.ndarray:
        """Apply W (W + L_S / nu)^-1, the transposed derivative of beta; W is 1 at inliers and 0 at outliers.

        In a region without any inlier that matrix is singular and the derivative is taken to be 0, so that any weight does.
        """
        kind = gradient.dtype.type
        scale = np.maximum(np.abs(gradient).max(axis=(1, 2, 3), keepdims=True), np.finfo(kind).tiny)
        weight = None
        if not inlier.all():
            weight = np.where(region_means(inlier.astype(kind), labels) > 0, inlier, 1).astype(kind)
        return Solver(self.nu, math.inf).settle(gradient / scale, opened, weight) * scale * inlier


def channel_tuple(data: np.ndarray) -> tuple[int, ...]:
    return (0,) * data.shape[1]  # a tuple, for its length is part of its type
