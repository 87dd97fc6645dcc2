"""Launches of the kernels on tensors; only those for large images wait for the device."""

import math
from functools import cache
from itertools import count, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from virolbi._engine import Settings
from virolbi.nn.equilibrium import chebyshev
from virolbi.nn.kernels.bands import (
    advance_kernel,
    measure_kernel,
    prepare_kernel,
    relax_kernel,
    replay_kernel,
    settle_band_kernel,
    step_kernel,
)
from virolbi.nn.kernels.components import average_kernel, label_kernel
from virolbi.nn.kernels.path import follow_kernel, settle_kernel
from virolbi.nn.kernels.relaxation import HUBER, QUADRATIC, WEIGHTED

WARPS = 8  # of 32 threads, in a program
BLOCK = 1024  # pixels that a program visits at once, at most: 32 WARPS or more, see `_block`
LARGE = 2**15  # numbers of an image; several programs share a larger one
MOST_BANDS = 2**15  # half of what CUDA allows
PATIENCE = 16  # steps or sweeps of large images between looks at whether all have come to rest


def follow(data: Tensor, settings: Settings, goals: Tensor, until: Tensor) -> tuple[Tensor, Tensor]:
    """Follow the paths of images to their ends.

    Parameters
    ----------
    data : Tensor of float32, shape (N, C, H, W)
        Images, contiguous.
    settings : Settings
        Form of the path and accuracy, as plain numbers.
    goals : Tensor of int64, shape (N,)
        Edges in the support at which to stop.
    until : Tensor of float32, shape (N,)
        Times / nu that count instead where they are finite.

    Returns
    -------
    opened : Tensor of bool, shape (2, N, H, W)
        Edges outside the support.
    time : Tensor of float32, shape (N,)
        Times / nu, infinite where a path has ended.
    """
    number, channels, height, width = data.shape
    size = height * width
    beta = data.new_empty((number, 2, channels, size))
    edges = data.new_empty((2, number, height, width), dtype=torch.uint8)
    state = _State(data, beta, torch.empty_like(beta), edges, goals, until, torch.empty_like(until))
    (_follow_in_bands if channels * size > LARGE else _follow_whole)(state, settings)
    return edges.view(torch.bool), state.time


class _State(NamedTuple):
    """Tensors of the paths of N images, see `follow_kernel`."""

    data: Tensor
    beta: Tensor
    z: Tensor
    edges: Tensor
    goals: Tensor
    until: Tensor
    time: Tensor


def _follow_whole(state: _State, settings: Settings) -> None:
    """Follow paths with one program for each image."""
    number, channels, height, width = state.data.shape
    _launch(
        follow_kernel,
        (number,),
        *state,
        number,
        width,
        height * width,
        settings.coupling,
        settings.delta or 0.0,
        math.log1p(settings.growth),
        settings.relaxations,
        settings.omega,
        settings.rounds[0, 0].item(),
        settings.begin,
        C=channels,
        TERM=_term(settings, None),
        BLOCK=_block(height * width),
    )


def _follow_in_bands(state: _State, settings: Settings) -> None:
    """Follow paths with several programs for each image, and a launch for each sweep."""
    data, beta, z, edges, goals, until, time = state
    number, channels, height, width = data.shape
    size = height * width
    band, bands = _bands(size)
    shape = number, width, size
    constants = {"C": channels, "BLOCK": BLOCK}
    power = math.log1p(settings.growth)
    present = torch.zeros((4, number), dtype=torch.int32, device=data.device)
    present[0] = 1  # running
    clocks = data.new_empty((4, number))
    gains = torch.empty((number, bands), dtype=torch.int32, device=data.device)

    def relax(sweep: int, omega: float) -> None:
        terms = settings.coupling, settings.delta or 0.0
        _launch(
            relax_kernel,
            (number, bands),
            *(data, beta, edges, present, sweep, omega, *terms, *shape, band),
            **constants,
            TERM=_term(settings, None),
        )

    _launch(prepare_kernel, (number, bands), data, beta, z, edges, *shape, band, **constants)
    weights = chebyshev(settings.rounds[0, 0].item())
    for sweep, omega in enumerate(islice(weights, settings.begin)):
        relax(sweep, omega)
    known = data, beta, goals, until, present, clocks, power
    _launch(measure_kernel, (number,), *known, settings.begin, *shape, **constants)
    for step in count():
        # the host may plan some steps too many, in which nothing moves; to know better it must wait
        if step % PATIENCE == 0 and not present[0].any():
            break
        moving = beta, z, edges, present, clocks, gains, power
        _launch(step_kernel, (number, bands), *moving, *shape, band, **constants)
        counting = *(goals, until, present, clocks, gains), power, settings.relaxations
        _launch(advance_kernel, (number,), *counting, number, bands, BLOCK=BLOCK)
        for sweep in range(settings.relaxations):
            relax(settings.relaxations + sweep, settings.omega)
    reached = data, beta, z, edges, goals, until, time, present, clocks
    _launch(replay_kernel, (number,), *reached, *shape, **constants)


def solve(data: Tensor, weight: Tensor | None, opened: Tensor, settings: Settings) -> Tensor:
    """Return beta at equilibrium for open edges.

    Parameters
    ----------
    data : Tensor of float32, shape (N, C, H, W)
        Images y, or, with a `weight`, the whole right-hand side.
    weight : Tensor of float32, shape (N, C, H, W), or None
        Weight w; None for the weight of the settings.
    opened : Tensor of bool, shape (2, N, H, W)
        Edges outside the support.
    settings : Settings
        Form of the path and accuracy, as plain numbers.

    Returns
    -------
    Tensor of float32, shape (N, C, H, W)
        Solutions beta of (w + L_S / nu) beta = w y.
    """
    data = data.contiguous()
    weight = None if weight is None else weight.contiguous()
    large = data[0].numel() > LARGE
    return (_solve_in_bands if large else _solve_whole)(data, weight, opened, settings)


def _solve_whole(data: Tensor, weight: Tensor | None, opened: Tensor, settings: Settings) -> Tensor:
    """Solve with one program for each image."""
    number, channels, height, width = data.shape
    solution = torch.empty_like(data)
    _launch(
        settle_kernel,
        (number,),
        data,
        data if weight is None else weight,
        opened.view(torch.uint8),
        data.new_empty((number, 2, channels, height, width)),
        solution,
        _rounds_on(data.device, tuple(settings.rounds.flatten().tolist())),
        len(settings.rounds),
        number,
        width,
        height * width,
        settings.coupling,
        settings.delta or 0.0,
        C=channels,
        TERM=_term(settings, weight),
        BLOCK=_block(height * width),
    )
    return solution


def _solve_in_bands(
    data: Tensor, weight: Tensor | None, opened: Tensor, settings: Settings
) -> Tensor:
    """Solve with several programs for each image, and a launch for each sweep."""
    number, channels, height, width = data.shape
    band, bands = _bands(height * width)
    beta = torch.stack([data, data], dim=1)
    changes = data.new_ones((2, number, bands))
    sweeps = torch.zeros(number, dtype=torch.int32, device=data.device)
    sweep, before = 0, 0.0
    for radius, tolerance, most in settings.rounds.tolist():
        for omega in islice(chebyshev(radius), int(most)):
            if sweep % PATIENCE == 0 and not (changes[sweep % 2] >= before).any():
                break
            _launch(
                settle_band_kernel,
                (number, bands),
                *(data, data if weight is None else weight, beta, opened.view(torch.uint8)),
                *(changes, sweeps, sweep, omega, before, settings.coupling, settings.delta or 0.0),
                *(number, width, height * width, band, bands),
                C=channels,
                TERM=_term(settings, weight),
                BLOCK=BLOCK,
            )
            sweep, before = sweep + 1, tolerance
    return beta[torch.arange(number, device=data.device), sweeps.long() % 2]


def label_regions(opened: Tensor) -> Tensor:
    """Return for each pixel the first pixel of its region, in raster order.

    Parameters
    ----------
    opened : Tensor of bool, shape (2, N, H, W)
        Edges outside the support.

    Returns
    -------
    Tensor of int32, shape (N, H, W)
        Numbers of pixels.
    """
    _, number, height, width = opened.shape
    labels = opened.new_empty((number, height, width), dtype=torch.int32)
    _launch(
        label_kernel,
        (number,),
        opened.view(torch.uint8),
        labels,
        number,
        width,
        height * width,
        BLOCK=_block(height * width),
    )
    return labels


def region_means(planes: Tensor, labels: Tensor) -> Tensor:
    """Return planes with every pixel at the mean of its region, the same in every run.

    Parameters
    ----------
    planes : Tensor of float32, shape (N, C, H, W)
        Intensities.
    labels : Tensor of int32, shape (N, H, W)
        Labels, see `label_regions`.

    Returns
    -------
    Tensor of float32, shape (N, C, H, W)
        Means.
    """
    number, channels, height, width = planes.shape
    planes = planes.contiguous()
    means = torch.empty_like(planes)
    _launch(
        average_kernel,
        (number,),
        planes,
        labels,
        planes.abs().amax((1, 2, 3)),
        torch.zeros_like(planes, dtype=torch.int64),
        torch.zeros_like(labels),
        means,
        height * width,
        C=channels,
        BLOCK=_block(height * width),
    )
    return means


def _term(settings: Settings, weight: Tensor | None) -> int:
    """Return the kind of the data term."""
    if weight is not None:
        return int(WEIGHTED.value)
    return int((QUADRATIC if settings.delta is None else HUBER).value)


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: int) -> None:
    """Launch the programs of a grid on the device of the first argument."""
    with torch.cuda.device_of(arguments[0]):
        # one stage: loads wait for a barrier, so none can be made ahead
        kernel[grid](*arguments, **constants, num_warps=WARPS, num_stages=1)


def _block(size: int) -> int:
    """Return how many pixels of a plane a program visits at once, a power of two.

    There is one for each thread at least. Threads that shared a pixel would each do its work, and
    one of them could read what another had written already.
    """
    return min(BLOCK, max(32 * WARPS, 1 << (size - 1).bit_length()))


def _bands(size: int) -> tuple[int, int]:
    """Return the pixels of a band, and the number of bands of a plane."""
    band = BLOCK * -(-size // (BLOCK * MOST_BANDS))
    return band, -(-size // band)


@cache
def _rounds_on(device: torch.device, rounds: tuple[float, ...]) -> Tensor:
    """Return rounds of sweeps on a device, where they are kept."""
    return torch.tensor(rounds, dtype=torch.float32, device=device)
