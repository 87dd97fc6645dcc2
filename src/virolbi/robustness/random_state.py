"""Contexts that leave no trace in the global generators of random numbers of torch."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


def isolated_random(device: torch.device) -> AbstractContextManager[None]:
    """Return a context on leaving which the global generators are as they were before.

    Parameters
    ----------
    device : torch.device
        Device of the work within. The generator of the CPU is restored, and that of a CUDA device.

    Returns
    -------
    context manager
        The context.
    """
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@contextmanager
def seeded_random(seed: int) -> Iterator[None]:
    """Return a context in which the global generator of the CPU begins at a seed.

    Parameters
    ----------
    seed : int
        Seed of the generator, which is restored on leaving.

    Yields
    ------
    None
        While the generator is seeded.
    """
    with isolated_random(torch.device("cpu")):
        torch.default_generator.manual_seed(seed)
        yield
