"""Normalisation layers whose statistics, or affine parameters, follow the images of the test."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from virolbi.robustness import batch_norms

AFFINE_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def trained_batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the batch normalisations of a network that keep statistics of training.

    Parameters
    ----------
    network : nn.Module
        Network to search.

    Returns
    -------
    list of nn.Module
        At least one.

    Raises
    ------
    ValueError
        If there are none.
    """
    norms = [norm for norm in batch_norms(network) if norm.running_mean is not None]
    if not norms:
        raise ValueError(
            "network must have batch normalisation that keeps statistics, "
            f"got {type(network).__name__} without"
        )
    return norms


def affine_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return the scales and shifts of the normalisations of a network, ready to be optimised.

    All other parameters are frozen.

    Parameters
    ----------
    network : nn.Module
        Network to search.

    Returns
    -------
    list of nn.Parameter
        At least one.

    Raises
    ------
    ValueError
        If there are none.
    """
    network.requires_grad_(False)
    parameters = [
        parameter
        for module in network.modules()
        if isinstance(module, AFFINE_NORMS)
        for parameter in module.parameters(recurse=False)
    ]
    if not parameters:
        raise ValueError(
            f"network must have normalisations with parameters, got {type(network).__name__} "
            "without"
        )
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters


def use_batch_statistics(network: nn.Module) -> None:
    """Make every batch normalisation use the mean and the variance of the batch alone.

    Parameters
    ----------
    network : nn.Module
        Network in evaluation mode, changed in place.
    """
    for module in batch_norms(network):
        module.track_running_stats = False
        module.running_mean = module.running_var = None


def blend_batch_statistics(network: nn.Module, share: float) -> None:
    """Make every batch normalisation mix the statistics of the batch with its own.

    Parameters
    ----------
    network : nn.Module
        Network in evaluation mode, changed in place.
    share : float
        Share of the batch, in [0, 1].
    """

    def blend(mean: Tensor, variance: Tensor) -> Callable[[_BatchNorm, tuple[Tensor]], None]:
        def hook(module: _BatchNorm, inputs: tuple[Tensor]) -> None:
            batch_variance, batch_mean = _moments(inputs[0])
            module.running_mean = (1 - share) * mean + share * batch_mean
            module.running_var = (1 - share) * variance + share * batch_variance

        return hook

    for module in trained_batch_norms(network):
        assert module.running_mean is not None
        assert module.running_var is not None
        hook = blend(module.running_mean.clone(), module.running_var.clone())
        module.register_forward_pre_hook(hook)


class InstanceAwareNorm:
    """Instance-aware batch normalisation (IABN) in place of one batch normalisation.

    The statistics of the layer are used but where those of an image are further away than chance
    explains; there, they follow the image. The layer itself stays: a hook changes its input.

    Parameters
    ----------
    module : nn.Module
        Batch normalisation in evaluation mode; gets the hook.
    momentum : float
        Share of a batch in the running statistics, while `learning`.
    width : float
        Standard errors that an image may differ by before the statistics follow it.

    Attributes
    ----------
    learning : bool
        Whether running statistics follow the batches, and batches are normalised by their own.

    References
    ----------
    .. [1] T. Gong et al., "NOTE: Robust continual test-time adaptation against temporal
       correlation", NeurIPS 2022, equations 1 to 4. There, the network is trained with IABN.
    """

    def __init__(self, module: _BatchNorm, momentum: float, width: float) -> None:
        self.learning = False
        self._momentum, self._width = momentum, width
        module.register_forward_pre_hook(self._hook)

    def _hook(self, module: _BatchNorm, inputs: tuple[Tensor]) -> Tensor:
        (images,) = inputs  # (N, C, ...)
        size = images[0, 0].numel()
        assert module.running_mean is not None
        assert module.running_var is not None
        mean, variance = module.running_mean, module.running_var
        if self.learning:
            batch_variance, batch_mean = _moments(images)
            with torch.no_grad():
                module.running_mean.lerp_(batch_mean.detach(), self._momentum)
                module.running_var.lerp_(batch_variance.detach(), self._momentum)
            mean, variance = batch_mean, batch_variance
        wide = (-1, *[1] * (images.dim() - 2))
        mean, variance = mean.view(wide), variance.view(wide) + module.eps
        if size > 1:
            mean, variance = self._follow(images, mean, variance)
        normalised = (images - mean) * torch.rsqrt(variance)
        deviation = torch.sqrt(module.running_var + module.eps)
        return normalised * deviation.view(wide) + module.running_mean.view(wide)

    def _follow(self, images: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the statistics of each image, (N, C, 1, ...), shrunk towards those given."""
        size, axes = images[0, 0].numel(), tuple(range(2, images.dim()))
        own_variance, own_mean = torch.var_mean(images, dim=axes, keepdim=True)
        error, spread = torch.sqrt(variance / size), variance * math.sqrt(2 / (size - 1))
        followed = mean + _soft_threshold(own_mean - mean, self._width * error)
        variance = variance + _soft_threshold(own_variance - variance, self._width * spread)
        return followed, variance.clamp(min=1e-12)


def _soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    return F.relu(values - threshold) - F.relu(-values - threshold)


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the variance and the mean of each channel, (C,)."""
    axes = [axis for axis in range(images.dim()) if axis != 1]
    return torch.var_mean(images, dim=axes, correction=0)
