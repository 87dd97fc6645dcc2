"""Batch normalisation in models, by which the answer for an image depends on the others."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(model: nn.Module) -> Iterator[_BatchNorm]:
    """Yield every batch normalisation of a model.

    Parameters
    ----------
    model : nn.Module
        Model to search, at any depth.

    Yields
    ------
    nn.Module
        Batch normalisation for any number of dimensions.
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            yield module


def uses_batch_statistics(model: nn.Module) -> bool:
    """Return whether batch normalisation in a model takes its statistics from the batch.

    The prediction for an image then depends on the other images of the batch.

    Parameters
    ----------
    model : nn.Module
        Model to inspect.

    Returns
    -------
    bool
        True if a normalisation layer is in training mode or keeps no statistics.
    """
    return any(norm.training or norm.running_mean is None for norm in batch_norms(model))
