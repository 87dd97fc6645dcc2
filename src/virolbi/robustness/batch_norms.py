"""Parts of models by which the answer for an image depends on other images."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from virolbi.scale_space import Online


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


def remembers_images(model: nn.Module) -> bool:
    """Return whether a smoother in a model chooses by the images that it saw before.

    Parameters
    ----------
    model : nn.Module
        Model to inspect.

    Returns
    -------
    bool
        True if it holds a `Smooth(Online())`.
    """
    return any(isinstance(getattr(part, "sparsity", None), Online) for part in model.modules())
