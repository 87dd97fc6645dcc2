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


def check_independent(name: str, model: nn.Module) -> None:
    """Check that no part of a model makes the answer for an image depend on other images.

    Parameters
    ----------
    name : str
        Name of the argument that the model was, for the error.
    model : nn.Module
        Model to search, at any depth.

    Raises
    ------
    ValueError
        If batch norm takes its statistics from the batch, because it is in training mode or keeps
        none, or if a smoother remembers the images that it saw before, such as `Smooth(Online())`.
    """
    rule = f"{name} must treat each image independently of the others"
    if any(norm.training or norm.running_mean is None for norm in batch_norms(model)):
        raise ValueError(
            f"{rule}, got batch norm that takes its statistics from the batch; is it in training "
            "mode (call eval())?"
        )
    if any(isinstance(getattr(part, "sparsity", None), Online) for part in model.modules()):
        raise ValueError(f"{rule}, got a smoother whose Online() remembers earlier images")
