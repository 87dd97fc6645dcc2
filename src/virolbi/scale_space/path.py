"""The scale path of images, from blank to input, in the limit kappa -> infinity.

With S the support, w the Huber weight of the data term and L_S the graph Laplacian of the edges off S,

    (w + L_S / nu) beta = w y,        dz/dt = D beta / nu off S,        S = {|z| = 1}.

Time runs geometrically, t <- rho t; each step moves z by explicit Euler, projects it onto the unit ball and relaxes beta a
little towards its new equilibrium, and the step that reaches the wanted sparsity is cut at the moment it does.
"""

import math
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

from virolbi._engine import (
    BETA,
    Z,
    aligned,
    batch_slices,
    edge_count,
    edge_words,
    flatten,
    grid_of,
    kernels,
    parallel,
    unflatten,
)
from virolbi.scale_space import noise
from virolbi.scale_space.form import Form, Output, check_output, check_sparsity, depends_on_noise
from virolbi.scale_space.layout import (
    Layout,
    check_intensities,
    check_time,
)
from virolbi.scale_space.regions import label_opened, region_means
from virolbi.scale_space.scale import Scale, ended_as_given
from virolbi.scale_space.solver import Solver, channel_tuple


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
        nu: float = Form.nu,
        delta: float = Form.delta,
        channel_axis: int | None = None,
        joint: bool = Form.joint,
        min_area: int = Form.min_area,
        copy: bool = True,
    ) -> None:
        form = Form(nu=nu, delta=delta, joint=joint, min_area=min_area)
        self._min_area = form.min_area
        self._layout = Layout.of(images, channel_axis, joint)
        self._data = self._layout.planes(images, copy=copy)
        check_intensities(self._data)
        self._solver = Solver(float(form.nu), float(form.delta))
        self._lock = Lock()
        self._paths: dict[int, _Paths] = {}  # by their first image

    def at(self, sparsity: Any = None, *, time: Any = None) -> "Scale":
        """The images at a sparsity, the fraction of edges that have not entered, or at a time. 1 lets nothing in, 0 all.

        sparsity: a number in [0, 1], or an array of them that broadcasts to the images' own axes. Or "auto", as far as the
            noise of each image by itself allows, see `virolbi.scale_space`; or a chooser as in `virolbi.scale_space`, which is told the
            strength of that noise and says which to go by.
        time: instead of a sparsity, >= 0, in 1 / intensity; a larger time lets more in, and infinity all. Noise of one strength
            enters at one time whatever the image, as with the weight of total-variation denoising.

        The support holds round((1 - sparsity) E) edges. It holds more where edges tie, as in drawings, and fewer where the
        image has fewer edges with any variation: there the path ends, at the input.

        Where the path has been followed further before, this only looks back; else it goes on from where it stands.
        """
        with self._lock:
            return self._at(sparsity, time, self._paths)

    def finish(
        self, sparsity: Any = None, *, time: Any = None, output: Output = Form.output
    ) -> "Scale":
        """As `at`, for the last time: nothing is kept to go on from, which takes less time and memory.

        output: the one that will be asked for, of which more is made in the same go.
        """
        check_output(output)
        return self._at(sparsity, time, None, output)

    def _at(
        self, sparsity: Any, time: Any, paths: "dict[int, _Paths] | None", output: str | None = None
    ) -> "Scale":
        if sparsity is not None and time is not None:
            raise ValueError(
                f"give a sparsity or a time, not both, got sparsity={sparsity} and time={time}"
            )
        data, (height, width) = self._data, self._data.shape[-2:]
        if time is not None:
            until = self._layout.per_support(time, "time")
            check_time(until)
            goals = np.where(np.isinf(until), edge_count(height, width), 0)
        else:
            goals, until = path_ends(
                sparsity, self._layout, self._solver, data.shape, lambda: noise.planes_noise(data)
            )
        opened, times = (
            np.empty((len(data), *edge_words(height, width).shape), np.uint64),
            np.empty(len(data)),
        )
        made: dict[str, np.ndarray] = {}
        if output == "beta" or (output == "regions" and self._solver.delta < math.inf):
            made["_beta"] = np.empty_like(data)
        if output == "regions" and self._min_area == 1:
            made |= {
                "_components": np.empty((len(data), height, width), np.int32),
                "_means": np.empty_like(data),
            }

        def work(rows: slice) -> None:
            followed = (paths or {}).get(rows.start) or _Paths(
                data[rows], self._solver, keep=paths is not None
            )
            followed.follow(goals[rows], until[rows], opened[rows], times[rows])
            if paths is not None:
                paths[rows.start] = followed
            if "_beta" in made:
                made["_beta"][rows] = ended_as_given(
                    followed.settle(opened[rows]), data[rows], times[rows]
                )
            if "_means" in made:
                label_opened(opened[rows], made["_components"][rows])
                region_means(
                    made.get("_beta", data)[rows], made["_components"][rows], made["_means"][rows]
                )
                ended_as_given(made["_means"][rows], data[rows], times[rows])

        try:
            parallel(work, batch_slices(data), apart=True)
        except BaseException:
            if paths is not None:
                self._paths = {}  # some may be on their way still, see `parallel`
            raise
        scale = Scale(self._layout, self._solver, self._min_area, data, opened, times)
        vars(scale).update(made)  # its cached properties
        return scale


def path_ends(
    sparsity: Any,
    layout: Layout,
    solver: "Solver",
    shape: tuple[int, ...],
    strengths: Callable[[], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Where the paths of planes of a shape (N, C, H, W) are to end: at supports of so many edges, or, where finite, at times.

    strengths: measures the noise in each, (N,), where it is for the noise to say.
    """
    edges = edge_count(*shape[-2:])
    if not depends_on_noise(sparsity):
        values = layout.per_support(sparsity, "sparsity")
        check_sparsity(values)
        return np.rint((1 - values) * edges).astype(np.int64), np.full(len(values), np.inf)
    seen = strengths().reshape(layout.groups)
    until = noise.stopping_times(
        sparsity, seen, nu=solver.nu, delta=solver.delta, channels=shape[1]
    )
    return np.where(np.isinf(until), edges, 0), until


class _Paths:
    """The paths of some images of one size, as far as they have been followed; to keep, or to be done with at once."""

    def __init__(self, data: np.ndarray, solver: Solver, keep: bool) -> None:
        number, kind = len(data), data.dtype.type
        self._shape, self._keep = data.shape, keep
        self._nu, self._settings = solver.nu, solver.settings(kind)
        self._static = edge_words(*data.shape[-2:]), grid_of(*data.shape[1:]), channel_tuple(data)
        flat = flatten(data, self._static[1], lent=not keep)
        z = aligned((number, 2, flat.shape[1]), kind, Z, lent=not keep)
        z.fill(0)
        self._state = kernels.Paths(
            data=flat,
            beta=aligned(z.shape, kind, BETA, lent=not keep),
            z=z,
            open=np.empty((number, *self._static[0].shape), np.uint64),
            status=np.zeros((number, kernels.STATUS)),
            logs=np.zeros(number + 1, np.int64),
            times=np.empty(0, kind),
            events=np.empty(0, np.int32),
        )
        kernels.begin(self._state, *self._static, self._settings)

    def follow(
        self, goals: np.ndarray, until: np.ndarray, opened: np.ndarray, time: np.ndarray
    ) -> None:
        """Write the open edges (N, 2, words) and the time (N,) at supports of `goals` edges, or at times `until` if finite."""
        clock, inside = self._state.status[:, kernels.CLOCK], self._state.status[:, kernels.INSIDE]
        if ((inside < goals) | ((clock * self._nu < until) & (until < np.inf))).any():
            log = kernels.march(
                self._state, goals, until / self._nu, *self._static, self._settings, self._keep
            )
            self._state = self._state._replace(logs=log[0], times=log[1], events=log[2])
        kernels.replay(self._state, goals, until / self._nu, *self._static, opened, time)
        time *= self._nu

    def settle(self, opened: np.ndarray) -> np.ndarray:
        """Equilibria (N, C, H, W) for the open edges (N, 2, words), in the memory of the paths: these cannot go on."""
        _, grid, channels = self._static
        kernels.settle(
            self._state.data, None, self._state.beta[0], opened, grid, channels, self._settings
        )
        return unflatten(self._state.data, self._shape, grid)
