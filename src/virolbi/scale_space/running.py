"""Paths as they are followed: where they end, and their state until then."""

from collections.abc import Callable
from typing import Any

import numpy as np

from virolbi._engine import (
    BETA,
    WORKSPACE,
    Ends,
    Paths,
    Progress,
    Z,
    aligned,
    begin,
    edge_count,
    edge_words,
    flatten,
    grid_of,
    march,
    no_progress,
    replay,
    settle,
    unflatten,
)
from virolbi.scale_space.form import check_sparsity, depends_on_noise
from virolbi.scale_space.layout import Layout
from virolbi.scale_space.noise import NoiseEstimate, stopping_time, strengths_to_stop
from virolbi.scale_space.solver import Solver


def path_ends(
    sparsity: Any,
    layout: Layout,
    solver: Solver,
    shape: tuple[int, ...],
    measure_noise: Callable[[], NoiseEstimate],
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the paths of planes are to end.

    Parameters
    ----------
    sparsity : float, array_like of float, str or callable
        Sparsity as in `ScaleSpace.at`.
    layout : Layout
        Layout of the images.
    solver : Solver
        Form of the path.
    shape : tuple of int
        Shape (N, C, H, W) of the planes.
    measure_noise : callable
        Returns the noise of each image; called only if the sparsity depends on it.

    Returns
    -------
    goals : ndarray of int64, shape (N,)
        Numbers of edges in the support.
    until : ndarray of float64, shape (N,)
        Times that count instead of the goals where they are finite.
    """
    if not depends_on_noise(sparsity):
        values = layout.per_support(sparsity, "sparsity")
        check_sparsity(values)
        goals = np.rint((1 - values) * edge_count(*shape[-2:])).astype(np.int64)
        return goals, np.full(len(values), np.inf)
    noise = strengths_to_stop(sparsity, measure_noise().reshape(layout.groups)).reshape(-1)
    until = stopping_time(noise, nu=solver.nu, delta=solver.delta, channels=shape[1])
    return ends_at(until, shape)


def ends_at(until: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of paths at times; at an infinite time all edges are in the support.

    Parameters
    ----------
    until : ndarray of float64, shape (N,)
        Times.
    shape : tuple of int
        Shape (N, C, H, W) of the planes.

    Returns
    -------
    goals : ndarray of int64, shape (N,)
        Numbers of edges in the support.
    until : ndarray of float64, shape (N,)
        The times.
    """
    return np.where(np.isinf(until), edge_count(*shape[-2:]), 0), until


class RunningPaths:
    """Paths of some images of one size, as far as they have been followed.

    Parameters
    ----------
    data : ndarray of float, shape (N, C, H, W)
        Images.
    solver : Solver
        Form of the path.
    keep : bool
        Whether the paths are to be followed further later; else their memory is scratch memory
        of this thread, and only the last events are logged.
    """

    def __init__(self, data: np.ndarray, solver: Solver, keep: bool) -> None:
        number, dtype = len(data), data.dtype.type
        self._shape, self._keep = data.shape, keep
        self._nu, self._settings = solver.nu, solver.settings(dtype)
        self._grid = grid_of(*data.shape[1:])
        workspace = None if keep else WORKSPACE
        edges = edge_words(*data.shape[-2:])
        flat = flatten(data, self._grid, workspace=workspace)
        z = aligned((number, 2, flat.shape[1]), dtype, Z, workspace)
        z.fill(0)
        self._state = Paths(
            data=flat,
            beta=aligned(z.shape, dtype, BETA, workspace),
            z=z,
            edges=edges,
            open=np.empty((number, *edges.shape), np.uint64),
            clock=np.zeros(number),
            tick=np.zeros(number, np.int64),
            first=np.zeros(number),
            inside=np.zeros(number, np.int64),
            varying=np.zeros(number, np.int64),
            logged=np.zeros(number, np.int64),
            turn=np.zeros(number, np.int64),
            starts=np.zeros(number + 1, np.int64),
            times=np.empty(0, dtype),
            events=np.empty(0, np.int32),
        )
        begin(self._state, self._grid, self._settings)

    def follow(
        self,
        goals: np.ndarray,
        until: np.ndarray,
        opened: np.ndarray,
        time: np.ndarray,
        progress: Progress = no_progress,
    ) -> None:
        """Follow the paths to their ends and read the moments there.

        Parameters
        ----------
        goals : ndarray of int64, shape (N,)
            Numbers of edges in the support.
        until : ndarray of float64, shape (N,)
            Times that count instead of the goals where they are finite.
        opened : ndarray of uint64, shape (N, 2, words)
            Receives the edges outside the support.
        time : ndarray of float64, shape (N,)
            Receives the time of each moment.
        progress : callable, optional
            Called with the fraction that is done, for large images.
        """
        state, ends = self._state, Ends(goals, until / self._nu, self._keep)
        early = (state.clock * self._nu < until) & (until < np.inf)
        if ((state.inside < goals) | early).any():
            starts, times, events = march(state, ends, self._grid, self._settings, progress)
            self._state = state._replace(starts=starts, times=times, events=events)
        replay(self._state, ends, self._grid, opened, time)
        time *= self._nu

    def settle(self, opened: np.ndarray) -> np.ndarray:
        """Return the equilibria for open edges, in the memory of the paths, which end thereby.

        Parameters
        ----------
        opened : ndarray of uint64, shape (N, 2, words)
            Edges outside the support.

        Returns
        -------
        ndarray of float, shape (N, C, H, W)
            Solutions beta; scratch memory, valid until this thread computes again.
        """
        data, beta = self._state.data, self._state.beta[0]
        del self._state  # of a large image, z takes twice the memory of the result
        settle(data, None, beta, opened, self._grid, self._settings)
        return unflatten(data, self._shape, self._grid)
