"""The limit path of tensors: the algorithm of the compiled engine, for whole batches.

Images on an accelerator stay there, for the kernels of `virolbi.nn.kernels` or, without Triton, for
the torch operations of this file. Numbers over edges are laid out as in `virolbi.nn.equilibrium`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from itertools import count, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from virolbi._checks import warn_caller
from virolbi._engine import FULL, SMALLEST, SOON, Settings
from virolbi.nn.equilibrium import (
    PATIENCE,
    Equilibrium,
    chebyshev,
    label_regions,
    region_means,
    squared_norm,
    variation,
)
from virolbi.nn.noise import planes_noise
from virolbi.scale_space import (
    Form,
    Layout,
    Output,
    Solver,
    check_delta,
    check_intensities,
    check_nu,
    path_ends,
)

OLDEST = (7, 0)  # compute capability of GPUs that Triton supports
# Kernels are compiled for a number of channels, the longest in 11 s for 3, 37 s for 8, 65 s for 13
# and more than 150 s for 16, on one core.
MOST_CHANNELS = 8


class Operations(NamedTuple):
    """Work on planes that there are kernels for, and torch operations.

    The kernels are documented in `virolbi.nn.kernels.launch`.
    """

    follow: Callable[[Tensor, Settings, Tensor, Tensor], tuple[Tensor, Tensor]]
    solve: Callable[[Tensor, Tensor | None, Tensor, Settings], Tensor]
    label_regions: Callable[[Tensor], Tensor]
    region_means: Callable[[Tensor, Tensor], Tensor]


def operations_for(images: Tensor) -> Operations:
    """Return kernels where they run, on float32 images on a GPU with Triton, else torch operations.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Images in the precision of the computation.

    Returns
    -------
    Operations
        Functions.
    """
    channels, size = images.shape[1], images[:1].numel()
    fitting = channels <= MOST_CHANNELS and size < 2**31  # numbers of an image have 32 bits there
    chosen = images.dtype == torch.float32 and fitting and has_kernels(images.device)
    return kernels() if chosen else TORCH


def has_kernels(device: torch.device) -> bool:
    """Return whether float32 images on a device are smoothed by Triton kernels.

    Parameters
    ----------
    device : torch.device
        Device of images.

    Returns
    -------
    bool
        True for an NVIDIA GPU that Triton supports, where Triton is installed and starts.

    Warns
    -----
    UserWarning
        Once, if Triton is installed and does not start, as without a C compiler.
    """
    # AMD GPUs are "cuda" too; their programs have twice as many threads, see `launch.BLOCK`
    if device.type != "cuda" or torch.version.cuda is None or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= OLDEST and _triton_starts()


@cache
def _triton_starts() -> bool:
    """Return whether the driver of Triton starts: the first time, it is compiled."""
    try:
        from triton.runtime import driver

        driver.active.utils  # noqa: B018 -- what starts it
    except Exception as error:  # of many types: files, subprocesses, imports, CUDA
        warn_caller(
            "images on the GPU are smoothed by torch operations, which take longer, because "
            f"Triton does not start: {error}",
        )
        return False
    return True


def kernels() -> Operations:
    """Return the operations in Triton kernels.

    Returns
    -------
    Operations
        Functions.

    Raises
    ------
    ImportError
        If Triton is not installed.
    """
    from virolbi.nn import kernels

    return Operations(kernels.follow, kernels.solve, kernels.label_regions, kernels.region_means)


@dataclass(frozen=True, eq=False, repr=False)
class TensorScale:
    """One moment on the paths of the images in a tensor; `virolbi.Scale` for tensors."""

    _layout: Layout
    _dtype: torch.dtype  # the caller's
    _operations: Operations
    _settings: Settings
    _data: Tensor  # (N, C, H, W), float32 or float64
    _opened: Tensor  # (2, N, H, W), bool: edges outside the support
    _time: Tensor  # (N,), 0 before the first event, inf where the path has ended

    @classmethod
    def of(
        cls,
        images: Tensor,
        sparsity: Any,
        *,
        nu: float,
        delta: float,
        channel_axis: int | None,
        joint: bool,
        step: float = Form.step,
        data_range: float | None = None,
    ) -> "TensorScale":
        """Return the images of a tensor at a sparsity.

        Parameters
        ----------
        images : Tensor
            Images, see `virolbi.ScaleSpace`.
        sparsity : float, array_like of float, "auto" or callable
            Sparsity, see `virolbi.ScaleSpace.at`.
        nu, delta : float
            Form of the path, see `virolbi.scale_space.Form`.
        channel_axis : int or None
            Axis of the colour channels.
        joint : bool
            Whether the channels of an image share one support.
        step : float, optional
            Length of a time step, see `virolbi.scale_space.Form`.
        data_range : float, optional
            Value of the images that is intensity 1, or None for the value that their dtype
            implies.

        Returns
        -------
        TensorScale
            The moment.

        Raises
        ------
        TypeError, ValueError
            As `virolbi.ScaleSpace` and its method `at` do.
        """
        check_nu(nu)
        check_delta(delta)
        pixel = torch.empty((), dtype=images.dtype, device="cpu")
        if images.dtype == torch.bfloat16:  # which NumPy lacks
            pixel = pixel.float()
        example = np.broadcast_to(pixel.numpy(), images.shape)
        layout = Layout.of(example, channel_axis, joint, data_range)
        data = _to_planes(layout, images, torch.promote_types(images.dtype, torch.float32))
        if layout.top != 1:
            data /= layout.top
        ends = [*data.aminmax()]
        if layout.dtype == np.uint16:  # the largest but white, which is seen as the check sees it
            ends.append(data.where(data < 1, ends[0]).amax())
        check_intensities(torch.stack(ends).cpu().numpy(), layout)
        solver = Solver(nu, delta, step)

        goals, until = path_ends(sparsity, layout, solver, data.shape, lambda: planes_noise(data))
        dtype = np.float64 if data.dtype == torch.float64 else np.float32
        settings = solver.settings(dtype)
        # plain numbers: a NumPy scalar times a tensor would wait for the accelerator
        settings = Settings._make(
            value.item() if isinstance(value, np.generic) else value for value in settings
        )
        latest = np.minimum(until / nu, np.finfo(dtype).max)  # infinity stands for no such end
        latest = np.where(np.isinf(until), np.inf, latest).astype(dtype)
        operations = operations_for(data)
        opened, time = operations.follow(
            data,
            settings,
            torch.from_numpy(goals).to(data.device, non_blocking=data.is_cuda),
            torch.from_numpy(latest).to(data.device, non_blocking=data.is_cuda),
        )
        return cls(layout, images.dtype, operations, settings, data, opened, nu * time)

    @property
    def beta(self) -> Tensor:
        """Smoothed images, in the layout of the input."""
        return self._in_units_of_input(self._beta)

    @property
    def regions(self) -> Tensor:
        """Means over the regions, in the layout of the input."""
        planes = self._data if self._settings.delta is None else self._beta
        return self._in_units_of_input(self._operations.region_means(planes, self._labels))

    def pullback(self, gradient: Tensor, output: Output) -> Tensor:
        """Apply the transposed exact derivative of an output by the input to a gradient.

        Parameters
        ----------
        gradient : Tensor
            Gradient by the output, in the layout of the input.
        output : {"beta", "regions"}
            Output that the gradient belongs to.

        Returns
        -------
        Tensor
            Gradient by the input, see `virolbi.Scale.pullback`.
        """
        planes = incoming = _to_planes(self._layout, gradient, self._data.dtype)
        if output == "regions":
            planes = self._operations.region_means(planes, self._labels)
        if output == "beta" or self._settings.delta is not None:
            planes = self._settle_adjoint(planes)
        planes = torch.where(self._ended, incoming, planes)
        return _to_images(self._layout, planes, gradient.dtype)

    def _in_units_of_input(self, planes: Tensor) -> Tensor:
        """Return intensities in the layout, range and dtype of the input."""
        top = self._layout.top
        if top != 1:
            planes = planes * top
        if not self._dtype.is_floating_point:
            planes = planes.round().clamp(0, torch.iinfo(self._dtype).max)
        return _to_images(self._layout, planes, self._dtype)

    def _settle_adjoint(self, planes: Tensor) -> Tensor:
        """Apply W (W + L_S / nu)^-1, with W 1 at inliers and 0 at outliers."""
        delta = self._settings.delta or math.inf
        inlier = ((self._data - self._beta).abs() < delta).to(planes.dtype)
        # any weight serves in a region of outliers alone, where the derivative is taken to be 0
        share = self._operations.region_means(inlier, self._labels)
        weight = torch.where(share > 0, inlier, 1)
        tiny = torch.finfo(planes.dtype).tiny
        scale = planes.abs().amax((1, 2, 3), keepdim=True).clamp(min=tiny)
        solve = self._operations.solve
        return solve(planes / scale, weight, self._opened, self._settings) * scale * inlier

    @property
    def support(self) -> Tensor:
        """Edges that have entered, bool, shape (..., E), horizontal edges first, as in `Scale`."""
        return self._support.reshape(*self._layout.groups, self._support.shape[-1])

    @property
    def time(self) -> Tensor:
        """Time at which this support was reached, in 1 / intensity, as in `Scale`."""
        return self._time.reshape(self._layout.groups)

    @property
    def _support(self) -> Tensor:  # (N, E)
        horizontal, vertical = self._opened[0, ..., :-1], self._opened[1, ..., :-1, :]
        return ~torch.cat([horizontal.flatten(1), vertical.flatten(1)], dim=1)

    @property
    def _ended(self) -> Tensor:  # (N, 1, 1, 1)
        return self._time.isinf()[:, None, None, None]

    @cached_property
    def _beta(self) -> Tensor:  # (N, C, H, W)
        beta = self._operations.solve(self._data, None, self._opened, self._settings)
        low = self._data.amin((1, 2, 3), keepdim=True).clamp(max=0)
        high = self._data.amax((1, 2, 3), keepdim=True).clamp(min=0)
        beta = beta.clamp(low, high)  # the solution is within, except for rounding errors
        return torch.where(self._ended, self._data, beta)

    @cached_property
    def _labels(self) -> Tensor:  # (N, H, W)
        return self._operations.label_regions(self._opened)


class _Path:
    """Paths of the images of a batch, followed together.

    It does what `begin`, `march` and `replay` of the compiled engine do, at the same ticks of time.
    Every image has its own clock. One that has arrived stands still until all have, in the state
    from which `_cut` finds the exact moment. So nothing in a step waits for the accelerator.

    goals: (N,), edges in the support at which to stop. until: (N,), times / nu that count instead
    where they are finite.
    """

    def __init__(self, data: Tensor, settings: Settings, goals: Tensor, until: Tensor) -> None:
        edges = data.new_ones((2, *data[:, 0].shape), dtype=torch.bool)
        edges[0, ..., -1], edges[1, ..., -1, :] = False, False
        self._settings, self._until, self._edges = settings, until, edges
        self._constant = edges & (squared_norm(variation(data)) <= SMALLEST**2)
        varying = (edges & ~self._constant).sum((0, 2, 3))

        self._beta = self._previous = self._last = data
        self._equilibrium = Equilibrium(data, None, edges, settings)
        self._relax(islice(chebyshev(settings.rounds[0, 0].item()), settings.begin))
        widest = squared_norm(variation(self._beta)).amax((0, 2, 3)).sqrt()
        self._timed = until < math.inf
        goals = torch.where(self._timed, varying, goals)
        self._running = (goals > 0) & (self._timed | (goals < varying)) & (widest > 0)
        self._arrived = torch.zeros_like(self._running)
        self._opened = edges
        # in open edges: where all is in that may enter, and where an image without a time arrives
        self._full = edges.sum((0, 2, 3)) - goals
        self._stop = torch.where(self._timed, -1, self._full)
        self._latest = 1 / (SMALLEST * widest)
        power = math.log1p(settings.growth)
        # the last tick before the first edge enters, at 1 / max |D beta|
        self._rate = torch.exp(power * torch.floor(-widest.log() / power))
        self._clock = torch.zeros_like(widest)
        self._flux = variation(torch.zeros_like(data))
        self._z = torch.zeros_like(self._flux)
        self._square = torch.zeros_like(edges, dtype=data.dtype)  # |z|^2

    def follow(self) -> tuple[Tensor, Tensor]:
        """Return the open edges, (2, N, H, W), and time / nu, (N,), at the ends of the paths."""
        # images that have arrived stand still in the steps until the next look
        for step in count():
            if step % PATIENCE == 0 and not self._running.any():
                break
            self._step()
        opened, clock = self._cut()
        short = opened.sum((0, 2, 3)) > self._full
        all_in = ~self._arrived & ~short & (clock < self._latest)
        ended = torch.where(self._timed, all_in, short)
        opened = torch.where(ended[:, None, None], self._constant, opened)
        return opened, torch.where(ended, math.inf, clock)

    def _step(self) -> None:
        """Take one time step, and relax beta a little."""
        settings, running = self._settings, self._running
        rate = torch.where(running, self._rate, 0)
        square = torch.where(running[:, None, None], self._square, 0)
        projection = square.clamp_(min=1).rsqrt_().unsqueeze(2)
        flux = variation(self._beta, out=self._flux)
        self._z.mul_(projection).addcmul_(rate[:, None, None, None], flux)
        self._square = squared_norm(self._z)
        fresh = self._inside_ball()
        opened, late = fresh.sum((0, 2, 3)), self._clock + rate
        going_on = running & (late < self._until) & (opened > self._stop)
        arrived = running ^ going_on
        self._arrived |= arrived
        self._last = torch.where(arrived[:, None, None, None], self._beta, self._last)
        self._opened = torch.where(going_on[:, None, None], fresh, self._opened)
        self._clock = torch.where(going_on, late, self._clock)
        self._rate = torch.where(going_on, settings.growth * late, self._rate)
        self._running = going_on & (late < self._latest) & (opened > self._full)
        self._equilibrium.open(self._opened)
        self._relax([settings.omega] * settings.relaxations)

    def _inside_ball(self) -> Tensor:
        """Return the edges at which |z| < 1, (2, N, H, W)."""
        return self._edges & (self._square <= FULL)

    def _cut(self) -> tuple[Tensor, Tensor]:
        """Return open edges and clocks, with the last step of images that arrived cut short."""
        arrived, fresh = self._arrived[:, None, None], self._inside_ball()
        entered = self._opened & ~fresh & arrived
        # edges that left during the step left before
        wanted = fresh.sum((0, 2, 3)) - self._full + entered.sum((0, 2, 3))
        move = self._rate[:, None, None, None] * variation(self._last)
        times = _entry_times(self._z, move, entered, self._clock, self._rate)
        ordered = times.transpose(0, 1).flatten(1).sort().values
        last = (wanted - 1).clamp(0, ordered.shape[1] - 1)
        reached = ordered.gather(1, last[:, None])[:, 0]
        clock = torch.where(self._timed, self._until, reached)
        cut = fresh | (entered & (times > clock[:, None, None]))
        return (
            torch.where(arrived, cut, self._opened),
            torch.where(self._arrived, clock, self._clock),
        )

    def _relax(self, omegas: Iterable[float]) -> None:
        """Sweep over all images once for each weight in `omegas`."""
        for omega in omegas:
            after = self._equilibrium.sweep(self._beta, self._previous, omega)
            self._beta, self._previous = after, self._beta


def _follow(
    data: Tensor, settings: Settings, goals: Tensor, until: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the open edges and time / nu at the ends of the paths, see `_Path`."""
    return _Path(data, settings, goals, until).follow()


def _solve(data: Tensor, weight: Tensor | None, opened: Tensor, settings: Settings) -> Tensor:
    """Return beta at equilibrium for open edges, see `Equilibrium`."""
    return Equilibrium(data, weight, opened, settings).solve()


TORCH = Operations(_follow, _solve, label_regions, region_means)


def _entry_times(z: Tensor, move: Tensor, entered: Tensor, clock: Tensor, rate: Tensor) -> Tensor:
    """Return when edges entered in the step that ended at z, (2, N, H, W), inf for others.

    Within a step beta stands still, and |z + theta m| = 1 is a quadratic equation for theta.
    """
    dual = z - move
    short, along, length = 1 - squared_norm(dual), (dual * move).sum(2), squared_norm(move)
    root = (along * along + length * short).clamp(min=0).sqrt()
    theta = torch.where(along >= 0, short / (along + root), (root - along) / length).clamp(max=1)
    times = clock[:, None, None] + theta * rate[:, None, None]
    return times.maximum((clock + SOON * clock)[:, None, None]).where(entered, math.inf)


def _to_planes(layout: Layout, images: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a copy of images as planes (N, C, H, W) in the units of the images."""
    # a copy, because the caller may write to the images before the backward pass
    planes = images.detach().to(dtype, copy=True)
    if layout.channel_axis is not None:
        planes = planes.movedim(layout.channel_axis, -3)
    channels = planes.shape[-3] if layout.channel_axis is not None and layout.joint else 1
    return planes.contiguous().view(-1, channels, *planes.shape[-2:])


def _to_images(layout: Layout, planes: Tensor, dtype: torch.dtype) -> Tensor:
    """Return planes (N, C, H, W) as a new tensor in the caller's layout, with their values."""
    if layout.channel_axis is None:
        images = planes.reshape(layout.shape)
    else:
        images = planes.reshape(*layout.lead, -1, *planes.shape[-2:])
        images = images.movedim(-3, layout.channel_axis)
    return images.to(dtype, copy=True, memory_format=torch.contiguous_format)
