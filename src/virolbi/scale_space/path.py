"""The scale path of images, from blank to input, in the limit of infinite kappa.

With S the support, w the Huber weight of the data term and L_S the graph Laplacian of the edges
outside S,

    (w + L_S / nu) beta = w y,        dz/dt = D beta / nu outside S,        S = {|z| = 1}.

Time grows geometrically over the powers of 1 + step, which are the same for all images. Each step
moves z by explicit Euler, projects it onto the unit ball and relaxes beta a little towards its new
equilibrium. The step that reaches the wanted sparsity is cut at the moment it does.
"""

import math
from collections.abc import Callable
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from virolbi._engine import (
    BETA,
    WORKSPACE,
    Ends,
    Paths,
    Progress,
    Z,
    aligned,
    begin,
    each_batch,
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
from virolbi.scale_space.averaging import average_planes, split_noise
from virolbi.scale_space.clipping import undo_clipping
from virolbi.scale_space.form import (
    Form,
    Output,
    check_output,
    check_sparsity,
    depends_on_noise,
)
from virolbi.scale_space.input_checks import as_images, check_intensities, check_time
from virolbi.scale_space.layout import Layout
from virolbi.scale_space.noise import planes_noise
from virolbi.scale_space.noise_estimate import NoiseEstimate
from virolbi.scale_space.noise_level import VarianceStabiliser
from virolbi.scale_space.regions import label_open, region_means
from virolbi.scale_space.scale import Outputs, Scale, replace_ended
from virolbi.scale_space.solver import Solver
from virolbi.scale_space.stopping import Chooser, stopping_time, strengths_to_stop

PATH_SHARE = 0.5  # of the time of `denoise`, about


class ScaleSpace:
    """The scale path of every image in an array; `at` picks a moment on it.

    Parameters
    ----------
    images : array_like
        Intensities, as an array or what `numpy.asarray` makes one of, such as a PIL image; tensors
        go to `virolbi.smooth` or `virolbi.nn.Smooth`. They are uint8, uint16, or floating in
        [0, 1], or in [0, `data_range`]. The last two axes, or the two that remain without
        `channel_axis`, are height and width; every other axis counts images.
    nu : float, optional
        Coupling of the image and its variations, in [0.001, 1000]. A smaller `nu` smooths more
        between the contours and takes more time.
    delta : float, optional
        Intensity, as a fraction of `data_range`, beyond which a pixel counts as an outlier,
        >= 0.001. A smaller `delta` shuts out weaker outliers and fades small details. Infinity is
        the published form.
    channel_axis : int, optional
        Axis of the colour channels, or None if every plane is an image of its own.
        All channels are smoothed, an alpha channel too: split it off before, and join it after.
    joint : bool, optional
        Whether all channels of an image share one support (vectorial z), or each has its own.
    min_area : int, optional
        Regions of fewer pixels are merged into their most similar neighbour; 1 keeps them all.
    step : float, optional
        Length of a time step as a fraction of the time, in [0.001, 0.5]. A larger step takes less
        time and follows the path less exactly, see `Form`.
    copy : bool, optional
        False for images that nobody changes as long as this object, or a `Scale` of it, is used.
        It saves time and memory.
    data_range : float, optional
        Value of `images` that is intensity 1, > 0: 4095 for 12 bits in uint16. None is 255 for
        uint8, 65535 for uint16 and 1 for floats.
    hidden : array_like of bool, optional
        Pixels that were filled in, in the shape of `images` without the colour axis, see
        `virolbi.data.fill_hidden`. They are smoothed as all others, and do not count in the noise.

    Raises
    ------
    TypeError, ValueError
        If `images` is not an image array, is not finite, or is far from [0, 1] (or from
        [0, `data_range`]), or if a setting is out of range.

    Warns
    -----
    UserWarning
        If images seem to have another range than they are said to have: integers of 16 bits that
        leave the three highest bits unused, without a `data_range`; floats in [0, 1], with one of
        more than 8; floats that span less than 0.001, without one: differences of 1e-6 of it count
        as none; or intensities outside [-0.2, 1.2], as in images that were normalised for a
        network.

    See Also
    --------
    virolbi.smooth : One moment of the path, in less time and memory.

    Notes
    -----
    The published form has ``delta=math.inf`` and ``joint=False``, and uses `regions` of the result.

    Examples
    --------
    >>> step = np.repeat([[0.0, 1.0]], 4, axis=1).reshape(1, 8) + np.zeros((8, 1))
    >>> ScaleSpace(step).at(sparsity=0.9).support.sum()      # the contour's 8 edges enter together
    np.int64(8)
    """

    def __init__(
        self,
        images: ArrayLike,
        *,
        nu: float = Form.nu,
        delta: float = Form.delta,
        channel_axis: int | None = None,
        joint: bool = Form.joint,
        min_area: int = Form.min_area,
        step: float = Form.step,
        copy: bool = True,
        data_range: float | None = None,
        hidden: ArrayLike | None = None,
    ) -> None:
        form = Form(nu=nu, delta=delta, joint=joint, min_area=min_area, step=step)
        self._min_area = int(form.min_area)
        images = as_images(images)
        self._layout = Layout.of(images, channel_axis, joint, data_range)
        self._data = self._layout.planes(images, copy=copy)
        check_intensities(self._data, self._layout)
        self._hidden = None if hidden is None else self._layout.masks(hidden)
        self._solver = Solver(float(nu), float(delta), float(step))
        self._lock = Lock()
        self._paths: dict[int, RunningPaths] = {}  # by their first image

    @cached_property
    def noise(self) -> NoiseEstimate:
        """Noise that is seen in each image, which is estimated once, see `noise_strength`.

        Returns
        -------
        NoiseEstimate
            Arrays over images, and with a last axis for the channels if each has its own support.
        """
        return planes_noise(self._data, self._hidden).reshape(self._layout.groups)

    def at(
        self, sparsity: Any = None, *, time: Any = None, progress: Progress = no_progress
    ) -> Scale:
        """Return the images at a sparsity or at a time.

        Earlier moments are read from the event log; later ones resume the computation.

        Parameters
        ----------
        sparsity : float, array_like of float, "auto" or callable, optional
            Fraction of edges that have not entered: a number in [0, 1], or an array of them that
            broadcasts to the image axes. 1 lets nothing in, 0 everything. "auto" goes as far as
            the noise of each image allows, see `noise_strength`, and leaves images as they are
            whose noise is below 0.004 of the range that they fill, or may be texture. A callable
            receives the noise strengths and returns those to use, however small; 0 leaves an image
            as it is. See `Online`.
        time : float or array_like of float, optional
            Time instead of a sparsity, >= 0, in 1 / intensity. A larger time lets more in, and
            infinity everything. Noise of one strength enters at about one time whatever the image,
            as with the weight of total-variation denoising.
        progress : callable, optional
            Called on this thread with the fraction of the work that is done, from 0 to 1: after
            each part of a batch, and several times for a large image. An exception that it raises
            ends the computation.

        Returns
        -------
        Scale
            The moment. Its support holds round((1 - sparsity) E) of the E edges; more where edges
            tie, as in drawings, and fewer where the image has fewer edges with any variation:
            there the path ends, at the input.

        Raises
        ------
        TypeError, ValueError
            If both arguments are given, or if one is out of range.
        """
        with self._lock:
            return self._moment(self._end(sparsity, time), self._paths, Outputs(), progress)

    def finish(
        self,
        sparsity: Any = None,
        *,
        time: Any = None,
        output: Output = Form.output,
        progress: Progress = no_progress,
    ) -> Scale:
        """Return the images like `at`, but discard the solver state afterwards.

        This takes less time and memory.

        Parameters
        ----------
        sparsity, time : float, optional
            Moment, see `at`.
        output : {"beta", "regions"}, optional
            Output that is needed, which is computed in the same pass.
        progress : callable, optional
            As in `at`.

        Returns
        -------
        Scale
            The moment.

        Raises
        ------
        TypeError, ValueError
            As in `at`, and for an unknown output.
        """
        check_output(output)
        data, outputs = self._data, Outputs()
        if output == "beta" or self._solver.delta < math.inf:
            outputs.beta = np.empty_like(data)
        if output == "regions" and self._min_area == 1:
            outputs.components = np.empty((len(data), *data.shape[-2:]), np.int32)
            outputs.means = np.empty_like(data)
        return self._moment(self._end(sparsity, time), None, outputs, progress)

    def denoise(self, noise: Any = "auto", *, progress: Progress = no_progress) -> np.ndarray:
        """Remove noise, by the path and by means over like pixels, see `virolbi.denoise`.

        Parameters
        ----------
        noise : "auto", float, array_like of float, or callable, optional
            Noise to remove, see `virolbi.denoise`.
        progress : callable, optional
            As in `at`.

        Returns
        -------
        ndarray
            Images in the layout of the input.

        Raises
        ------
        TypeError, ValueError
            If `noise` is out of range.
        """
        choice = self._noise_choice(noise)
        acting, averaged = (part.reshape(-1) for part in split_noise(choice, self.noise))
        solver = self._solver
        times = stopping_time(acting, delta=solver.delta, channels=self._data.shape[1])
        stabilise = VarianceStabiliser(self.noise.level.reshape(-1, 5))
        opened, times = self._follow(
            stabilise(self._data),
            _ends_at(times, self._data.shape),
            None,
            Outputs(),
            lambda done: progress(PATH_SHARE * done),
        )
        # the image as it is, with the contours of the stabilised one
        beta = replace_ended(solver.settle(self._data, opened), self._data, times)
        averages = average_planes(
            beta,
            stabilise(beta),
            averaged,
            lambda done: progress(PATH_SHARE + (1 - PATH_SHARE) * done),
        )
        undo_clipping(averages, self._data, averaged, solver.delta, self._hidden)
        return self._layout.images(averages)

    def _noise_choice(self, noise: Any) -> str | Chooser:
        """Return the noise to remove as a rule: stated numbers become a function."""
        if depends_on_noise(noise):
            choice: str | Chooser = noise
            return choice
        stated = self._layout.per_support(noise, "noise")
        if not ((stated >= 0) & (stated <= 1)).all():
            raise ValueError(f"noise must be a fraction of the data range, in [0, 1], got {noise}")
        return lambda seen: stated.reshape(seen.shape)

    def _moment(
        self,
        end: tuple[np.ndarray, np.ndarray],
        paths: "dict[int, RunningPaths] | None",
        outputs: Outputs,
        progress: Progress,
    ) -> Scale:
        """Return the moment at which the paths of the images end, with outputs as in `_follow`."""
        opened, times = self._follow(self._data, end, paths, outputs, progress)
        return Scale(
            self._layout, self._solver, self._min_area, self._data, opened, times, _outputs=outputs
        )

    def _follow(
        self,
        data: np.ndarray,
        end: tuple[np.ndarray, np.ndarray],
        paths: "dict[int, RunningPaths] | None",
        outputs: Outputs,
        progress: Progress,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Follow the paths of planes and return the edges outside the supports, and the times.

        end: number of edges in the support and time at which each path ends. paths: paths to resume
        and to keep, by their first image; None keeps nothing. outputs: planes that are allocated
        are filled in.
        """
        goals, until = end
        words = edge_words(*data.shape[-2:])
        opened, times = np.empty((len(data), *words.shape), np.uint64), np.empty(len(data))

        def work(rows: slice) -> None:
            running = (paths or {}).get(rows.start)
            running = running or RunningPaths(data[rows], self._solver, keep=paths is not None)
            running.follow(
                goals[rows],
                until[rows],
                opened[rows],
                times[rows],
                lambda fraction: progress((rows.start + fraction) / len(data)),
            )
            if paths is not None:
                paths[rows.start] = running
            if outputs.beta is not None:
                beta = running.settle(opened[rows])
                outputs.beta[rows] = replace_ended(beta, data[rows], times[rows])
            if outputs.components is not None and outputs.means is not None:
                source = data if outputs.beta is None else outputs.beta
                label_open(opened[rows], outputs.components[rows])
                region_means(source[rows], outputs.components[rows], outputs.means[rows])
                replace_ended(outputs.means[rows], data[rows], times[rows])

        try:
            each_batch(work, data, grid_of(*data.shape[1:]), progress)
        except BaseException:
            if paths is not None:
                self._paths = {}  # some threads may still be computing, see `parallel`
            raise
        return opened, times

    def _end(self, sparsity: Any, time: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the end of each path: a number of edges in the support, and a time."""
        if sparsity is not None and time is not None:
            raise ValueError(
                f"give a sparsity or a time, not both, got sparsity={sparsity} and time={time}"
            )
        if time is None:
            return path_ends(
                sparsity, self._layout, self._solver, self._data.shape, lambda: self.noise
            )
        until = self._layout.per_support(time, "time")
        check_time(until)
        return _ends_at(until, self._data.shape)


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
    until = stopping_time(noise, delta=solver.delta, channels=shape[1])
    return _ends_at(until, shape)


def _ends_at(until: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of paths at times; at an infinite time all edges are in the support."""
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
