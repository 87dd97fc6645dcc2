"""The pixel graph and equilibria on it in torch operations, for images on an accelerator.

The compiled twin is `virolbi._engine.relaxation`.

Numbers over edges have shape (2, N, H, W), or (2, N, C, H, W) where channels differ: the edge to
the right of each pixel, then the one below it. There is no edge at the end of a row or a column;
such an edge is never open.
"""

import math
from collections.abc import Iterator
from itertools import count, islice

import torch
from torch import Tensor

from virolbi._engine import Settings

PATIENCE = 8  # sweeps, steps or turns between looks at whether all images rest: to look is to wait


class Equilibrium:
    """The equation (w + L_S / nu) beta = w y of images y with open edges.

    Parameters
    ----------
    data : Tensor, shape (N, C, H, W)
        Images y, or, with a `weight`, the whole right-hand side.
    weight : Tensor, shape (N, C, H, W), or None
        Weight w; None for the Huber weight of the settings.
    opened : Tensor of bool, shape (2, N, H, W)
        Edges outside the support.
    settings : Settings
        Form of the path and accuracy, as plain numbers.
    """

    def __init__(
        self, data: Tensor, weight: Tensor | None, opened: Tensor, settings: Settings
    ) -> None:
        self._data, self._weight, self._settings = data, weight, settings
        self._flux, self._one = data.new_zeros((2, *data.shape)), data.new_ones(())
        self.open(opened)

    def open(self, opened: Tensor) -> None:
        """Replace the open edges.

        Parameters
        ----------
        opened : Tensor of bool, shape (2, N, H, W)
            Edges outside the support.
        """
        self._coupling = opened.unsqueeze(2).to(self._data.dtype) * self._settings.coupling
        self._total = gather_edges(self._coupling, 1)  # w + degree; w of the Huber term comes later
        if self._weight is not None or self._settings.delta is None:
            self._total = self._total + (1 if self._weight is None else self._weight)

    def sweep(self, beta: Tensor, previous: Tensor, omega: float) -> Tensor:
        """Return beta after one over-relaxed Jacobi sweep.

        Parameters
        ----------
        beta, previous : Tensor, shape (N, C, H, W)
            Present iterate, and the one before.
        omega : float
            Weight of the over-relaxation.

        Returns
        -------
        Tensor
            previous + omega (jacobi(beta) - previous).
        """
        # written for few launches, each of which takes longer than its work on small images
        total, delta = self._total, self._settings.delta
        if self._weight is not None:
            pull = self._data - self._weight * beta
        else:
            pull = self._data - beta
            if delta is not None:
                weakened = pull.abs().clamp_(min=delta)
                total = torch.addcdiv(total, self._one, weakened, value=delta)
                pull.clamp_(-delta, delta)
        pull += gather_edges(variation(beta, out=self._flux).mul_(self._coupling), -1)
        return torch.lerp(previous, torch.addcdiv(beta, pull, total), omega)

    def solve(self) -> Tensor:
        """Return beta, by accelerated sweeps that start from the data.

        Each image is swept until none of its pixels changes by more than a tolerance.

        Returns
        -------
        Tensor, shape (N, C, H, W)
            The solution.
        """
        beta = previous = self._data
        moving = torch.ones_like(beta[:, :1, :1, :1], dtype=torch.bool)
        for radius, tolerance, most in self._settings.rounds.tolist():
            for sweep, omega in enumerate(islice(chebyshev(radius), int(most))):
                if sweep % PATIENCE == 0 and not moving.any():
                    return beta
                after = self.sweep(beta, previous, omega)
                change = torch.linalg.vector_norm(after - beta, math.inf, (1, 2, 3), keepdim=True)
                beta, previous = torch.where(moving, after, beta), beta
                moving &= change >= tolerance
        return beta


def chebyshev(radius: float) -> Iterator[float]:
    """Yield the weights of the Chebyshev semi-iteration, as the compiled engine has them.

    Parameters
    ----------
    radius : float
        Spectral radius of the Jacobi iteration.

    Yields
    ------
    float
        Weight of the next sweep.
    """
    yield 1.0
    omega = 2.0
    while True:
        omega = 1 / (1 - radius**2 * omega / 4)
        yield omega


def variation(planes: Tensor, out: Tensor | None = None) -> Tensor:
    """Return D u, 0 where there is no edge.

    Parameters
    ----------
    planes : Tensor, shape (N, C, H, W)
        Planes u.
    out : Tensor, shape (2, N, C, H, W), optional
        Tensor for the result, which has to be 0 where there is no edge.

    Returns
    -------
    Tensor, shape (2, N, C, H, W)
        Differences across edges.
    """
    result = planes.new_zeros((2, *planes.shape)) if out is None else out
    torch.sub(planes[..., 1:], planes[..., :-1], out=result[0, ..., :-1])
    torch.sub(planes[..., 1:, :], planes[..., :-1, :], out=result[1, ..., :-1, :])
    return result


def gather_edges(values: Tensor, sign: int) -> Tensor:
    """Sum at every pixel the numbers of its edges.

    Parameters
    ----------
    values : Tensor, shape (2, N, C, H, W)
        Numbers over edges.
    sign : int
        Factor of the edges to the left of a pixel and above it. With -1 the result is -D^T of
        numbers that are 0 where there is no edge.

    Returns
    -------
    Tensor, shape (N, C, H, W)
        Sums.
    """
    result = values[0] + values[1]
    result[..., 1:].add_(values[0, ..., :-1], alpha=sign)
    result[..., 1:, :].add_(values[1, ..., :-1, :], alpha=sign)
    return result


def squared_norm(values: Tensor) -> Tensor:
    """Return the squared norm over channels.

    Parameters
    ----------
    values : Tensor, shape (2, N, C, H, W)
        Numbers over edges.

    Returns
    -------
    Tensor, shape (2, N, H, W)
        Squared norms.
    """
    return (values * values).sum(2)


def label_regions(opened: Tensor) -> Tensor:
    """Return a number for each pixel that all pixels of its region share, and no others.

    Every pixel points at a pixel of its region, at first itself. Where two joined pixels point at
    different ones, the later of those turns to the earlier; then all follow the pixel that they
    point at, until nothing changes.

    Parameters
    ----------
    opened : Tensor of bool, shape (2, N, H, W)
        Edges outside the support.

    Returns
    -------
    Tensor of int64, shape (N, H, W)
        Numbers, different for different images.
    """
    labels = torch.arange(opened[0].numel(), device=opened.device).view(opened[0].shape)
    for turn in count(1):
        ahead = torch.where(opened, torch.stack([labels.roll(-1, -1), labels.roll(-1, -2)]), labels)
        later, earlier = torch.maximum(ahead, labels), torch.minimum(ahead, labels)
        flat = labels.flatten()
        flat = flat.scatter_reduce(0, later.flatten(), earlier.flatten(), "amin")
        turned = flat[flat].view(labels.shape)
        if turn % PATIENCE == 0 and torch.equal(turned, labels):
            break
        labels = turned
    return labels


def region_means(planes: Tensor, labels: Tensor) -> Tensor:
    """Return planes with every pixel at the mean of its region.

    Parameters
    ----------
    planes : Tensor, shape (N, C, H, W)
        Intensities.
    labels : Tensor of int64, shape (N, H, W)
        Numbers of the regions, different for different images.

    Returns
    -------
    Tensor, shape (N, C, H, W)
        Means.
    """
    index = labels.flatten()
    values = planes.transpose(0, 1).flatten(1)  # (C, N H W)
    count = torch.zeros_like(values[0]).index_add_(0, index, torch.ones_like(values[0]))
    means = torch.zeros_like(values)
    # repeated for the remainder: in single precision, the sum over a large region may be off by
    # percents
    for _ in range(3):
        total = torch.zeros_like(values).index_add_(1, index, values - means)
        means += (total / count)[:, index]
    return means.view(planes.transpose(0, 1).shape).transpose(0, 1)
