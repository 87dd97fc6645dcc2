"""Numerical settings of a path, and equilibria of images for given open edges."""

import math
from dataclasses import dataclass

import numpy as np

from virolbi._engine import (
    BETA,
    WORKSPACE,
    Settings,
    Z,
    aligned,
    each_batch,
    flatten,
    grid_of,
    no_progress,
    settle,
    unflatten,
)
from virolbi.scale_space.regions import region_means

# Fitted so that about 99 % of edges agree with a much finer path: benchmarks/README.md, "Agreement
# with a much finer path" (results/engine/agreement.jsonl, rows at nu = 1, 0.1 and 0.01). Below
# nu = 1, steps get shorter by a power of nu and the relaxations of a step more by another.
STEP_EXPONENT = 0.64
RELAXATIONS, RELAXATIONS_EXPONENT = 0.46, -0.6
OVER_RELAXATION = {"paper": 1.5, "robust": 1.6}
FIRST_ERROR = 1e-3  # of the first equilibrium; times nu in the robust form: outliers settle late
# of the last equilibrium: largest change of a pixel at rest, and number of rounds
ACCURACY: dict[type, tuple[float, int]] = {np.float32: (1e-5, 4), np.float64: (1e-13, 7)}


@dataclass(frozen=True)
class Solver:
    """The equilibrium equation of a form, and the accuracy of following its path.

    Parameters
    ----------
    nu : float
        Coupling, see `Form`.
    delta : float
        Threshold of the Huber data term, see `Form`; infinity for a quadratic one.
    step : float
        Length of a time step, see `Form`. It is not used by equilibria.
    """

    nu: float
    delta: float
    step: float

    def settings(self, dtype: type) -> Settings:
        """Return the settings of the kernels.

        Parameters
        ----------
        dtype : type
            Floating type of the images, `numpy.float32` or `numpy.float64`.

        Returns
        -------
        Settings
            Numbers of that type.
        """
        small = min(1.0, self.nu)
        form = "paper" if math.isinf(self.delta) else "robust"
        first_error = FIRST_ERROR if form == "paper" else FIRST_ERROR * small
        _, rate = self._relaxation(1)
        relaxations = 1 + 2 * round(RELAXATIONS * small**RELAXATIONS_EXPONENT - 0.5)
        return Settings(
            coupling=dtype(1 / self.nu),
            delta=None if form == "paper" else dtype(self.delta),
            growth=self.step * small**STEP_EXPONENT,
            relaxations=relaxations,  # odd numbers are better: the pixel graph is bipartite
            omega=dtype(OVER_RELAXATION[form]),
            begin=math.ceil(math.log(first_error) / math.log(rate)),
            rounds=self._rounds(*ACCURACY[dtype]),
        )

    def _relaxation(self, weight: float) -> tuple[float, float]:
        """Return the spectral radius of the Jacobi iteration and its rate when over-relaxed.

        weight: of the data. The rate is that of the Chebyshev semi-iteration in the limit.
        """
        radius = 4 / (4 + self.nu * weight)  # a pixel has 4 edges
        return radius, radius / (1 + math.sqrt(1 - radius**2))

    def _rounds(self, tolerance: float, number: int) -> np.ndarray:
        """Return rounds of sweeps, (number, 3): spectral radius, tolerance and most sweeps.

        Each round assumes a quarter of the data weight of the one before, since outliers have
        small weights. A slower iteration changes less in a sweep at the same distance from its
        end, so it has to come to rest more exactly.
        """
        relaxations = [self._relaxation(0.25**attempt) for attempt in range(number)]
        most = [math.ceil(2 * math.log(tolerance) / math.log(rate)) for _, rate in relaxations]
        return np.array(
            [(radius, tolerance / 2**n, most[n]) for n, (radius, _) in enumerate(relaxations)]
        )

    def settle(
        self, data: np.ndarray, opened: np.ndarray, weight: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the equilibria of images for their open edges.

        Parameters
        ----------
        data : ndarray of float, shape (N, C, H, W)
            Images, or, with a `weight`, the whole right-hand side.
        opened : ndarray of uint64, shape (N, 2, words)
            Edges outside the support, as the kernels have them.
        weight : ndarray of float, shape (N, C, H, W), optional
            Weight w of the data term; None for the weight of the form.

        Returns
        -------
        ndarray of float, shape (N, C, H, W)
            Solutions beta of (w + L_S / nu) beta = w y.
        """
        beta, grid, dtype = np.empty_like(data), grid_of(*data.shape[1:]), data.dtype.type
        settings = self.settings(dtype)

        def work(rows: slice) -> None:
            solution = flatten(data[rows], grid)
            scratch = aligned((2, data.shape[1] * grid.stride), dtype, BETA, WORKSPACE)
            weights = None if weight is None else flatten(weight[rows], grid, blank=1, offset=Z)
            settle(solution, weights, scratch, opened[rows], grid, settings)
            beta[rows] = unflatten(solution, beta[rows].shape, grid)

        each_batch(work, data, grid, no_progress)
        return beta

    def settle_adjoint(
        self, gradient: np.ndarray, inlier: np.ndarray, labels: np.ndarray, opened: np.ndarray
    ) -> np.ndarray:
        """Apply W (W + L_S / nu)^-1, the transposed derivative of beta by the data.

        W is 1 at inliers and 0 at outliers. In a region without any inlier that matrix is singular
        and the derivative is taken to be 0, so any weight serves there.

        Parameters
        ----------
        gradient : ndarray of float, shape (N, C, H, W)
            Gradient by beta.
        inlier : ndarray of bool, shape (N, C, H, W)
            Pixels within `delta` of beta.
        labels : ndarray of int32, shape (N, H, W)
            Regions that the support separates.
        opened : ndarray of uint64, shape (N, 2, words)
            Edges outside the support.

        Returns
        -------
        ndarray of float, shape (N, C, H, W)
            Gradient by the data.
        """
        dtype = gradient.dtype.type
        largest = np.abs(gradient).max(axis=(1, 2, 3), keepdims=True)
        scale = np.maximum(largest, np.finfo(dtype).tiny)
        weight = None
        if not inlier.all():
            has_inlier = region_means(inlier.astype(dtype), labels) > 0
            weight = np.where(has_inlier, inlier, 1).astype(dtype)
        quadratic = Solver(self.nu, math.inf, self.step)
        solution = quadratic.settle(gradient / scale, opened, weight)
        return np.asarray(solution * scale * inlier)
