"""The limit path in torch operations, so that images on an accelerator never leave it: the algorithm of `_kernels`, in batches.

Numbers over edges have shape (2, N, H, W), or (2, N, C, H, W) where channels differ: the edge to the right of each pixel, then
the one below it. Where a row or a column ends there is none; no such edge is ever open.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from virolbi._engine import EARLY, FASTER, FULL, SMALLEST, Settings
from virolbi.scale_space import (
    CUT,
    GAP,
    TEXTURE,
    Layout,
    Solver,
    blocks,
    check_coupling,
    check_intensities,
    path_ends,
)


@dataclass(frozen=True, eq=False, repr=False)
class TensorScale:
    """One moment on the paths of the images in a tensor; `virolbi.Scale` with tensors for arrays."""

    _layout: Layout
    _dtype: torch.dtype  # the caller's
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
    ) -> "TensorScale":
        """The images at a sparsity; all as in `virolbi.ScaleSpace`, and so are the errors."""
        check_coupling(nu, delta)
        number = torch.empty((), dtype=images.dtype, device="cpu")
        number = number.float() if images.dtype == torch.bfloat16 else number  # which NumPy lacks
        layout = Layout.of(np.broadcast_to(number.numpy(), images.shape), channel_axis, joint)
        data = _planes(layout, images, torch.promote_types(images.dtype, torch.float32))
        check_intensities(torch.stack(data.aminmax()).cpu().numpy())
        solver = Solver(nu, delta)
        goals, until = path_ends(
            sparsity,
            layout,
            solver,
            data.shape,
            lambda: _strengths(data).cpu().numpy().astype(np.float64),
        )
        kind = np.float64 if data.dtype == torch.float64 else np.float32
        settings = solver.settings(kind)
        # a NumPy scalar times a tensor would ask for the host
        settings = Settings._make(
            value.item() if isinstance(value, np.generic) else value for value in settings
        )
        there = [
            torch.from_numpy(end).to(data.device) for end in (goals, (until / nu).astype(kind))
        ]
        opened, time = _follow(data, settings, *there)
        return cls(layout, images.dtype, settings, data, opened, nu * time)

    @property
    def beta(self) -> Tensor:
        """The smoothed images, in the layout of the input."""
        return _images(self._layout, self._beta, self._dtype)

    @property
    def regions(self) -> Tensor:
        """The means over their regions, in the layout of the input."""
        planes = self._data if self._settings.delta is None else self._beta
        return _images(self._layout, _means(planes, self._labels), self._dtype)

    def pullback(self, gradient: Tensor, output: str) -> Tensor:
        """The exact derivative of an output by the input, transposed, applied to a gradient: see `Scale.pullback`."""
        planes = incoming = _planes(self._layout, gradient, self._data.dtype)
        if output == "regions":
            planes = _means(planes, self._labels)
        if (
            output == "beta" or self._settings.delta is not None
        ):  # W (W + L_S / nu)^-1, W 1 at inliers and 0 at outliers
            inlier = ((self._data - self._beta).abs() < (self._settings.delta or math.inf)).to(
                planes.dtype
            )
            weight = torch.where(
                _means(inlier, self._labels) > 0, inlier, 1
            )  # any, where the derivative is taken to be 0
            scale = (
                planes.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(planes.dtype).tiny)
            )
            solution = _Equilibrium(planes / scale, weight, self._opened, self._settings).solve()
            planes = solution * scale * inlier
        return _images(self._layout, torch.where(self._ended, incoming, planes), gradient.dtype)

    @property
    def _ended(self) -> Tensor:  # (N, 1, 1, 1)
        return self._time.isinf()[:, None, None, None]

    @cached_property
    def _beta(self) -> Tensor:  # (N, C, H, W)
        beta = _Equilibrium(self._data, None, self._opened, self._settings).solve()
        low, high = (
            self._data.amin((1, 2, 3), keepdim=True),
            self._data.amax((1, 2, 3), keepdim=True),
        )
        beta = beta.clamp(
            low.clamp(max=0), high.clamp(min=0)
        )  # but for roundings, they stay within
        return torch.where(self._ended, self._data, beta)

    @cached_property
    def _labels(self) -> Tensor:  # (N, H, W)
        return _label(self._opened)


def _planes(layout: Layout, images: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in the caller's layout as (N, C, H, W), see `Layout.planes`."""
    planes = images.detach().to(
        dtype, copy=True
    )  # so that one may write to the images before the backward pass
    if not images.dtype.is_floating_point:
        planes /= torch.iinfo(images.dtype).max
    if layout.channel_axis is not None:
        planes = planes.movedim(layout.channel_axis, -3)
    channels = planes.shape[-3] if layout.channel_axis is not None and layout.joint else 1
    return planes.contiguous().view(-1, channels, *planes.shape[-2:])


def _images(layout: Layout, planes: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, C, H, W) as a new tensor in the caller's layout, see `Layout.images`."""
    if layout.channel_axis is None:
        images = planes.reshape(layout.shape)
    else:
        images = planes.reshape(*layout.lead, -1, *planes.shape[-2:]).movedim(
            -3, layout.channel_axis
        )
    if not dtype.is_floating_point:
        images = (images.clamp(0, 1) * torch.iinfo(dtype).max).round()
    return images.to(dtype, copy=True, memory_format=torch.contiguous_format)


def _strengths(data: Tensor) -> Tensor:
    """`virolbi.scale_space.strengths`: (N, C, H, W) to (N,)."""
    height, width = data.shape[-2:]
    if min(height, width) < 3:
        return data.new_zeros(len(data))
    middle = data[..., 1:-1, 1:-1]
    around = torch.stack(
        [data[..., :-2, 1:-1], data[..., 2:, 1:-1], data[..., 1:-1, :-2], data[..., 1:-1, 2:]]
    )
    gaps = torch.maximum(middle - around.amax(0), around.amin(0) - middle).clamp(0, CUT)
    energy = (gaps * gaps).mean(1)
    for number in blocks(height, width):  # to the means over blocks, rows first, then columns
        lengths = (torch.arange(number + 1, device=data.device) * energy.shape[1] // number).diff()
        block = torch.repeat_interleave(lengths)
        sums = energy.new_zeros(len(data), number, energy.shape[2]).index_add_(1, block, energy)
        energy = (sums / lengths.to(sums)[:, None]).transpose(1, 2)
    return (energy.flatten(1).quantile(0.25, dim=1) / GAP**2 - TEXTURE**2).clamp(min=0).sqrt()


def _follow(
    data: Tensor, settings: Settings, goals: Tensor, until: Tensor
) -> tuple[Tensor, Tensor]:
    """Open edges (2, N, H, W), and time / nu (N,), when each support first holds `goals[n]` edges.

    Or at the time / nu `until[n]` where that is finite.

    What `begin`, `march` and `replay` do. Every image has its own clock; those that have arrived stand still until all have.
    """
    edges = data.new_ones((2, *data[:, 0].shape), dtype=torch.bool)
    edges[0, ..., -1], edges[1, ..., -1, :] = False, False
    still = edges & (_square(_variation(data)) <= SMALLEST**2)
    varying = (edges & ~still).sum((0, 2, 3))

    beta, previous, equilibrium = data, data, _Equilibrium(data, None, edges, settings)
    for omega in islice(_chebyshev(settings.rounds[0, 0].item()), settings.begin):
        beta, previous = equilibrium.sweep(beta, previous, omega), beta
    widest = _square(_variation(beta)).amax((0, 2, 3)).sqrt()
    timed = until < math.inf
    goals = torch.where(timed, varying, goals)
    running = (goals > 0) & (timed | (goals < varying)) & (widest > 0)
    opened, clock, inside = edges, torch.zeros_like(widest), torch.zeros_like(goals)
    z, square = _variation(torch.zeros_like(data)), torch.zeros_like(edges, dtype=data.dtype)
    ended = timed & (varying == 0)
    while running.any():
        grown = settings.growth * clock * torch.where(EARLY * inside > varying, 1, FASTER)
        rate = torch.where(running, torch.where(clock > 0, grown, 1 / widest), 0)
        move = rate[:, None, None, None] * _variation(beta)
        z = z * square.clamp(min=1).rsqrt().unsqueeze(2) + move
        square = _square(z)
        fresh = torch.where(running[:, None, None], edges & (square <= FULL), opened)
        inside = (edges & ~fresh).sum((0, 2, 3))
        late = clock + rate
        arrived = running & torch.where(timed, late >= until, inside >= goals)
        if arrived.any():
            entered = (opened & ~fresh)[:, arrived]
            wanted = (goals - inside)[arrived] + entered.sum(
                (0, 2, 3)
            )  # those that left having left before
            times = _entries(
                z[:, arrived], move[:, arrived], entered, clock[arrived], rate[arrived]
            )
            sorted_times = times.transpose(0, 1).flatten(1).sort().values
            reached = sorted_times.gather(
                1, (wanted - 1).clamp(0, sorted_times.shape[1] - 1)[:, None]
            )[:, 0]
            late[arrived] = torch.where(timed[arrived], until[arrived], reached)
            fresh[:, arrived] |= entered & (times > late[arrived][:, None, None])
        opened, clock = fresh, late
        on = running & ~arrived & (clock * SMALLEST * widest < 1)
        running, ended = on & ~(timed & (inside >= goals)), ended | (on & timed & (inside >= goals))
        equilibrium = _Equilibrium(data, None, opened, settings)
        for _ in range(settings.relaxations):
            beta, previous = equilibrium.sweep(beta, previous, settings.omega), beta

    ended |= (goals > 0) & ~timed & ~(inside >= goals)
    return torch.where(ended[:, None, None], still, opened), torch.where(ended, math.inf, clock)


def _entries(z: Tensor, move: Tensor, entered: Tensor, clock: Tensor, rate: Tensor) -> Tensor:
    """When edges entered in the step that ended at z, (2, N, H, W), inf for others.

    Within a step beta stands still, and |z + theta m| = 1 is a quadratic equation for theta.
    """
    dual = z - move
    short, along, length = 1 - _square(dual), (dual * move).sum(2), _square(move)
    root = (along * along + length * short).clamp(min=0).sqrt()
    theta = torch.where(along >= 0, short / (along + root), (root - along) / length).clamp(max=1)
    return (clock[:, None, None] + theta * rate[:, None, None]).where(entered, math.inf)


class _Equilibrium:
    """The equation (w + L_S / nu) beta = w data for the Huber weight w, or, with a `weight` given for w, = data."""

    def __init__(
        self, data: Tensor, weight: Tensor | None, opened: Tensor, settings: Settings
    ) -> None:
        self._data, self._weight, self._settings = data, weight, settings
        self._coupling = opened.unsqueeze(2).to(data.dtype) * settings.coupling
        self._degree = _gather(self._coupling, 1)

    def sweep(self, beta: Tensor, previous: Tensor, omega: float) -> Tensor:
        """One Jacobi sweep, over-relaxed: previous + omega (jacobi(beta) - previous)."""
        pull, weight, delta = self._data - beta, self._weight, self._settings.delta
        if weight is not None:
            pull = self._data - weight * beta
        elif delta is not None:
            weight = delta / pull.abs().clamp(min=delta)
            pull = pull.clamp(-delta, delta)
        pull += _gather(self._coupling * _variation(beta), -1)
        pull /= self._degree + (1 if weight is None else weight)
        return torch.lerp(previous, pull.add_(beta), omega)

    def solve(self) -> Tensor:
        """Accelerated sweeps from the data on, each image until no pixel of it changes by more than a tolerance."""
        beta = previous = self._data
        moving = torch.ones_like(beta[:, :1, :1, :1], dtype=torch.bool)
        for radius, tolerance, most in self._settings.rounds.tolist():
            for omega in islice(_chebyshev(radius), int(most)):
                after = self.sweep(beta, previous, omega)
                change = (after - beta).abs().amax((1, 2, 3), keepdim=True)
                beta, previous = torch.where(moving, after, beta), beta
                moving = moving & (change >= tolerance)
                if not moving.any():
                    return beta
        return beta


def _chebyshev(radius: float) -> Iterator[float]:
    """The weights of the Chebyshev semi-iteration, see `_kernels._chebyshev`."""
    yield 1.0
    omega = 2.0
    while True:
        omega = 1 / (1 - radius**2 * omega / 4)
        yield omega


def _variation(planes: Tensor) -> Tensor:
    """D u: (N, C, H, W) to (2, N, C, H, W), 0 where there is no edge."""
    result = planes.new_zeros((2, *planes.shape))
    result[0, ..., :-1] = planes[..., 1:] - planes[..., :-1]
    result[1, ..., :-1, :] = planes[..., 1:, :] - planes[..., :-1, :]
    return result


def _gather(values: Tensor, sign: int) -> Tensor:
    """To every pixel the numbers of its edges, (2, N, C, H, W) to (N, C, H, W); those to its left and above times `sign`.

    With -1 this is -D^T, for numbers that are 0 where there is no edge.
    """
    result = values[0] + values[1]
    result[..., 1:].add_(values[0, ..., :-1], alpha=sign)
    result[..., 1:, :].add_(values[1, ..., :-1, :], alpha=sign)
    return result


def _square(values: Tensor) -> Tensor:
    """Squared norm over channels: (2, N, C, H, W) to (2, N, H, W)."""
    return (values * values).sum(2)


def _label(opened: Tensor) -> Tensor:
    """Number the regions: the same number, int64 and its own, at all pixels of one, (2, N, H, W) to (N, H, W).

    Every pixel points at one of its region, at first itself. Where two that are joined point at different ones, the later of
    those turns to the earlier; then all follow who they point at, until nothing changes.
    """
    labels = torch.arange(opened[0].numel(), device=opened.device).view(opened[0].shape)
    while True:
        ahead = torch.where(opened, torch.stack([labels.roll(-1, -1), labels.roll(-1, -2)]), labels)
        flat, later, earlier = (
            labels.flatten(),
            torch.maximum(ahead, labels),
            torch.minimum(ahead, labels),
        )
        flat = flat.scatter_reduce(0, later.flatten(), earlier.flatten(), "amin")
        turned = flat[flat].view(labels.shape)
        if torch.equal(turned, labels):
            return labels
        labels = turned


def _means(planes: Tensor, labels: Tensor) -> Tensor:
    """Every pixel at the mean over its region: planes (N, C, H, W), labels (N, H, W)."""
    index = labels.flatten()
    values = planes.transpose(0, 1).flatten(1)  # (C, N H W)
    count = torch.zeros_like(values[0]).index_add_(0, index, torch.ones_like(values[0]))
    means = torch.zeros_like(values)
    for _ in range(
        3
    ):  # again for what is left over: in single precision, the sum over a large region may be off by percents
        total = torch.zeros_like(values).index_add_(1, index, values - means)
        means += (total / count)[:, index]
    return means.view(planes.transpose(0, 1).shape).transpose(0, 1)
