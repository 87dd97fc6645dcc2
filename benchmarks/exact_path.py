"""The exact path of the published form, for small planes: the reference of tests and benchmarks.

It takes a dense solve for every event, so a plane of 24x24 pixels takes several seconds, and the
work grows with the fourth power of the number of pixels.
"""

import numpy as np

from virolbi._engine import edge_count, variation


class ExactPath:
    """The path of the published form of one plane, event by event.

    Beta is constant between events, so z moves along straight lines and the next event is known
    exactly: the first edge whose |z| reaches 1. It enters, beta is solved for anew, and edges of
    the support whose variation points against their z leave, one by one.

    Parameters
    ----------
    plane : ndarray of float64, shape (H, W)
        Intensities.
    nu : float
        Coupling of the image and its variations.
    """

    def __init__(self, plane: np.ndarray, nu: float) -> None:
        self._pixels, self._nu = plane.ravel(), nu
        # D, (E, H W)
        self._variation = variation(np.eye(plane.size).reshape(-1, *plane.shape)).T
        self._z = np.zeros(edge_count(*plane.shape))
        self._inside = np.zeros(len(self._z), bool)
        # I + L_S / nu, with all edges outside the support
        self._matrix = np.eye(plane.size) + self._variation.T @ self._variation / nu
        self._slope = self._solve()

    def follow(self, goal: int) -> np.ndarray:
        """Follow the path until the support holds a number of edges.

        Parameters
        ----------
        goal : int
            Edges in the support, no fewer than it holds already and no more than vary.

        Returns
        -------
        ndarray of bool, shape (E,)
            The support, horizontal edges first.
        """
        while self._inside.sum() < goal:
            slope = self._slope
            moving = ~self._inside & (slope != 0)
            waits = np.full(len(slope), np.inf)
            waits[moving] = (np.sign(slope) - self._z)[moving] / slope[moving]
            first = waits.argmin()
            self._z[~self._inside] += waits[first] * slope[~self._inside]
            self._z[first] = np.sign(slope[first])
            self._move(first, inside=True)
            while (inwards := np.where(self._inside, self._z * self._slope, 0)).min() < -1e-12:
                self._move(inwards.argmin(), inside=False)
        return self._inside.copy()

    def _move(self, edge: np.intp, inside: bool) -> None:
        """Let an edge enter or leave the support."""
        row = self._variation[edge]
        ends = np.flatnonzero(row)
        block = np.outer(row[ends], row[ends]) / self._nu
        self._matrix[np.ix_(ends, ends)] += -block if inside else block
        self._inside[edge] = inside
        self._slope = self._solve()

    def _solve(self) -> np.ndarray:
        """Return dz / dt = D beta / nu, where (I + L_S / nu) beta = y."""
        beta = np.linalg.solve(self._matrix, self._pixels)
        return np.asarray(self._variation @ beta / self._nu)
