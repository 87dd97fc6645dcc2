"""The estimate of noise for tensors: the statistics of blocks in torch operations."""

import math
from functools import partial, reduce

import numpy as np
import torch
from torch import Tensor

from virolbi._engine import (
    ALIKE,
    ALONE,
    BLACK,
    COARSE,
    COARSE_FILTER,
    FINE,
    FINE_FILTER,
    FLAT,
    GAINS,
    LIMITS,
    MEAN,
    OUTLIERS,
    PAIRS,
    ROUNDED,
    SHARED,
    STATISTICS,
    STEP,
    WITHIN,
    block_edges,
)
from virolbi.scale_space import OUTLIER, NoiseEstimate, block_grid, blocks_noise

NUMBERS = 2**23  # at once, which take 64 times their memory: about 2 GiB


def planes_noise(data: Tensor) -> NoiseEstimate:
    """Estimate the noise of planes, as `virolbi.scale_space.planes_noise` does.

    Parameters
    ----------
    data : Tensor, shape (N, C, H, W)
        Intensities.

    Returns
    -------
    NoiseEstimate
        Noise of each image.
    """
    number, channels, height, width = data.shape
    grid = block_grid(height, width)
    statistics = np.zeros((number, *grid, STATISTICS))
    if min(height, width) > 3:
        if data.device.type == "mps":
            data = data.cpu()  # it has no double precision
        size = max(1, NUMBERS // (channels * height * width))
        parts = []
        for part in data.split(size):  # type: ignore[no-untyped-call]
            names, values = _statistics(part.double(), grid)  # as there, to sort blocks alike
            parts.append(values)
        statistics[..., names] = torch.cat(parts, dim=1).movedim(0, -1).cpu().numpy()
    return blocks_noise(statistics, channels)


def _statistics(data: Tensor, grid: tuple[int, int]) -> tuple[list[int], Tensor]:
    """Return names and values, (names, N, rows, columns), of the statistics of blocks.

    They are those of `virolbi._engine.block_statistics`, but for STEP, which is the least step of
    the image in every block: only the minimum over blocks counts.
    """
    planes = _without_outliers(data)
    fine, coarse = _filtered(planes, FINE_FILTER), _filtered(planes, COARSE_FILTER)
    middle, here = planes[..., 1:-2, 1:-2], data[..., 1:-2, 1:-2]
    gaps = (here - middle) ** 2
    flat = (here == data[..., :-3, 1:-2]) & (here == data[..., 1:-2, :-3])
    alike = _largest_around(data) + _largest_around(-data) <= OUTLIER  # highest less lowest
    pairs = torch.stack([data[..., 1:-2, 2:-1], data[..., 2:-1, 1:-2]])  # to the right and below
    differences = pairs - here
    sizes, steps = differences.sum(2).abs(), differences.abs()
    least = steps.where(steps > ROUNDED, math.inf).amin((0, 2)).flatten(1).amin(1)
    del pairs, differences, steps
    by_channel = {
        MEAN: middle,
        FINE: fine**2 / GAINS[FINE],
        COARSE: coarse**2 / GAINS[COARSE],
        OUTLIERS: gaps,
        FLAT: flat.to(data),
        ALONE: gaps * alike,
        ALIKE: alike.to(data),
    }
    shared = fine.mean(1) ** 2 / GAINS[SHARED]
    black = (here <= 0).all(1).to(data)
    together = {SHARED: shared, BLACK: black, PAIRS: torch.ones_like(shared)}
    maps = torch.stack([*by_channel.values()]).mean(2)
    maps = torch.cat([maps, torch.stack([*together.values()])])
    means = partial(_means_over_blocks, sizes=data.shape[2:], grid=grid)
    limits = LIMITS * data.shape[1] + ROUNDED
    # one after the other, to save memory
    within = [means((sizes <= limit).to(data).mean(0)[None]) for limit in limits.tolist()]
    over_blocks = means(maps)
    least_steps = least[:, None, None].expand(over_blocks.shape[1:])
    names = [*by_channel, *together, STEP, *range(WITHIN, STATISTICS)]
    return names, torch.cat([over_blocks, least_steps[None], *within])


def _without_outliers(data: Tensor) -> Tensor:
    """Return a copy in which outliers have the median of their four neighbours."""
    above, below = data[..., :-2, 1:-1], data[..., 2:, 1:-1]
    left, right = data[..., 1:-1, :-2], data[..., 1:-1, 2:]
    around = torch.stack([above, below, left, right])
    inner, low, high = data[..., 1:-1, 1:-1], around.amin(0), around.amax(0)
    gap, median = inner - inner.clamp(low, high), (around.sum(0) - high - low) / 2
    planes = data.clone()
    planes[..., 1:-1, 1:-1] = torch.where(gap**2 > OUTLIER**2, median, inner)
    return planes


def _filtered(planes: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Return planes filtered across rows, then along them, at the pixels that blocks hold."""
    for axis in (2, 3):
        size = planes.shape[axis] - 3
        parts = [(planes.narrow(axis, i, size), tap) for i, tap in enumerate(taps) if tap != 0]
        total = parts[0][0] * parts[0][1]
        for part, tap in parts[1:]:
            total.add_(part, alpha=tap)
        planes = total
    return planes


def _means_over_blocks(maps: Tensor, sizes: tuple[int, ...], grid: tuple[int, int]) -> Tensor:
    """Return the means of maps, (K, N, H - 3, W - 3), over the blocks of planes of these sizes."""
    for size, number in zip(sizes, grid, strict=True):  # rows first, then columns
        lengths = torch.from_numpy(np.diff(block_edges(size, number)))
        lengths = lengths.to(maps.device, non_blocking=maps.is_cuda)
        block = torch.repeat_interleave(lengths, output_size=maps.shape[2])  # needs no waiting
        sums = maps.new_zeros(*maps.shape[:2], number, maps.shape[3]).index_add_(2, block, maps)
        maps = (sums / lengths.to(sums)[:, None]).transpose(2, 3)
    return maps


def _largest_around(data: Tensor) -> Tensor:
    """Return the largest of the eight neighbours, at the pixels that blocks hold."""
    height, width = data.shape[-2:]
    around = [
        data[..., row : height - 3 + row, column : width - 3 + column]
        for row in range(3)
        for column in range(3)
        if (row, column) != (1, 1)
    ]
    return reduce(torch.maximum, around)
