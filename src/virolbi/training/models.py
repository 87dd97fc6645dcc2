"""Networks by name, and the normalisation in front of them."""

import json
import logging
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from virolbi.training.resnet import CIFAR_DEPTHS, ResNet

WEIGHTS, DESCRIPTION = "weights.safetensors", "recipe.json"  # in the folder of a run
LOG = logging.getLogger("virolbi")
Model = TypeVar("Model", bound=nn.Module)
COUNTED_AT_ONCE = 1000  # images, because they may be in a file larger than the memory


class Classifier(nn.Module):
    """A network with everything in front of it: a filter and the normalisation of channels.

    Parameters
    ----------
    network : torch.nn.Module
        Network from normalised images to logits.
    mean, std : torch.Tensor, shape (C,)
        Mean and standard deviation of each channel, in units of intensity.
    before : torch.nn.Module, optional
        Filter from images to images, in front of the normalisation.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: Tensor, std: Tensor, before: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.before = nn.Identity() if before is None else before
        self.network = network
        self.register_buffer("mean", mean.reshape(-1, 1, 1).clone())
        self.register_buffer("std", std.reshape(-1, 1, 1).clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images.

        Parameters
        ----------
        images : torch.Tensor, shape (N, C, H, W)
            Intensities in [0, 1].

        Returns
        -------
        torch.Tensor, shape (N, classes)
            Logits.
        """
        logits: Tensor = self.network((self.before(images) - self.mean) / self.std)
        return logits


def build_network(
    name: str, *, channels: int, classes: int, size: int, pretrained: bool = False
) -> nn.Module:
    """Return a network by its name.

    Parameters
    ----------
    name : str
        "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56" or "resnet110" are
        the networks of width 16 for CIFAR [1]_. "resnet18_cifar" has a stem for small images (3x3
        without stride, no pooling). "vit_tiny_cifar" has patches of 4x4 pixels.
        "efficientnet_cifar" is EfficientNet-B0 with a stem without stride, "convnext_cifar" is
        ConvNeXt-Atto with patches of 2x2 pixels. Any other name is one that timm knows.
    channels : int
        Channels of the images.
    classes : int
        Number of classes.
    size : int
        Approximate side of the images, in pixels.
    pretrained : bool, optional
        Whether to load the weights that timm has for the network.

    Returns
    -------
    torch.nn.Module
        Network from normalised images to logits.

    Raises
    ------
    ValueError
        If there is no such network, or if `pretrained` is true and timm has no weights for it, or
        cannot read them.

    References
    ----------
    .. [1] K. He et al., 2016.

    Examples
    --------
    >>> network = build_network("resnet8", channels=3, classes=10, size=32)
    >>> sum(p.numel() for p in network.parameters())
    78042
    """
    depths = {f"resnet{depth}": depth for depth in CIFAR_DEPTHS}
    missing = f"weights='pretrained' needs a model that timm has weights for, got model={name!r}"
    if name in depths and pretrained:
        raise ValueError(missing)
    if name in depths:
        return ResNet(depths[name], channels=channels, classes=classes)
    try:
        return _build_timm(name, channels, classes, size, pretrained)
    except (RuntimeError, OSError) as error:
        if not pretrained:
            raise
        raise ValueError(f"{missing}: {error}") from error


def _build_timm(name: str, channels: int, classes: int, size: int, pretrained: bool) -> nn.Module:
    """Return a network of timm, or one made from it for small images."""
    import timm

    options: dict[str, Any] = {
        "num_classes": classes,
        "in_chans": channels,
        "pretrained": pretrained,
    }
    if name == "resnet18_cifar":
        network = timm.create_model("resnet18", **options)
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
        return network
    if name == "efficientnet_cifar":
        network = timm.create_model("efficientnet_b0", **options)
        network.conv_stem = nn.Conv2d(channels, 32, 3, padding=1, bias=False)
        return network
    if name == "convnext_cifar":
        network = timm.create_model("convnext_atto", patch_size=2, **options)
        # timm halves the image here if patches have 2x2 pixels
        network.get_submodule("stages.0").downsample = nn.Identity()
        return network
    if name == "vit_tiny_cifar":
        return timm.create_model("vit_tiny_patch16_224", img_size=size, patch_size=4, **options)
    if not timm.is_model(name):
        own = ", ".join(f"resnet{depth}" for depth in CIFAR_DEPTHS)
        similar = timm.list_models(f"*{name}*")[:5]
        raise ValueError(
            f"model must be one of {own}, resnet18_cifar, vit_tiny_cifar, efficientnet_cifar, "
            f"convnext_cifar or a name that timm "
            f"knows{f', such as {similar}' * bool(similar)}, got {name!r}"
        )
    try:
        return timm.create_model(name, img_size=size, **options)
    except TypeError:  # most networks take images of any size, and have no such argument
        return timm.create_model(name, **options)


class Normalisation(NamedTuple):
    """Normalisation of images in front of a network.

    Attributes
    ----------
    mean, std : torch.Tensor, shape (C,)
        Mean and standard deviation of each channel, in units of [0, 1].
    """

    mean: Tensor
    std: Tensor


def pretrained_normalisation(network: nn.Module) -> Normalisation | None:
    """Return the normalisation that a pretrained network of timm expects.

    Parameters
    ----------
    network : torch.nn.Module
        A network.

    Returns
    -------
    Normalisation or None
        Mean and standard deviation of each channel, or None if the network does not state them.
    """
    config = getattr(network, "pretrained_cfg", None) or {}
    if "mean" not in config:
        return None
    return Normalisation(mean=torch.tensor(config["mean"]), std=torch.tensor(config["std"]))


def output_for_zeros(
    network: Callable[[Tensor], Any], shape: Sequence[int], device: torch.device
) -> Any:
    """Return the output of a network for two zero images.

    Parameters
    ----------
    network : callable
        Network from images to logits.
    shape : sequence of int
        Shape of an image, (C, H, W).
    device : torch.device
        Device of the network.

    Returns
    -------
    Any
        What it returns, logits of shape (2, classes) if it is a classifier.

    Raises
    ------
    ValueError
        If it cannot take them.
    """
    try:
        with torch.no_grad():
            return network(torch.zeros((2, *shape), device=device))
    except (RuntimeError, ValueError, AssertionError) as error:  # of its layers
        raise ValueError(
            f"network must take images of shape {tuple(shape)}, got an error for two of them: "
            f"{error}"
        ) from error


def load_weights(model: Classifier, path: Path, classes: Sequence[str]) -> None:
    """Load the weights of a file, or of a run, into a model.

    Weights of the last layer are left out if they are those of other classes. A run records its
    classes; they must be the same in the same order. A file does not say its classes, and the shape
    of the layer decides. The logger "virolbi" gets a line, of level INFO, about what was done.

    Parameters
    ----------
    model : Classifier
        Model that gets the weights.
    path : Path
        A file of `safetensors.torch.save_file`, of the whole model or of the network alone, or the
        folder of a run.
    classes : sequence of str
        Names of the classes of the model.

    Raises
    ------
    ValueError
        If the file, or the classes of the run, cannot be read, or if other weights do not fit.
    """
    file = path / WEIGHTS if path.is_dir() else path
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        problem = "cannot be read" if isinstance(error, OSError) else "is none, or is damaged"
        raise ValueError(
            "weights must be 'pretrained', a run or a file of safetensors.torch.save_file, "
            f"but {file} {problem}: {error}"
        ) from error
    if not any(name.startswith("network.") for name in tensors):  # those of the network alone
        tensors = {f"network.{name}": tensor for name, tensor in tensors.items()}
    expected = model.state_dict()
    head = _head_keys(model)
    mismatched = set(tensors) ^ set(expected)
    misshapen = {
        name
        for name in tensors.keys() & expected.keys()
        if tensors[name].shape != expected[name].shape
    }
    wrong = [*sorted(mismatched - {"mean", "std"}), *sorted(misshapen - set(head))]
    if wrong:
        raise ValueError(
            f"weights must be those of this model, got {file}, which differs in "
            f"{', '.join(wrong[:3])}"
        )
    recorded = _recorded_classes(path)
    layer, reason = head[0].rpartition(".")[0], None
    if recorded is not None and recorded != list(classes):
        reason = f"the run has other classes: {', '.join(recorded[:3])}"
    elif misshapen:
        reason = "its shape is that of other classes"
    if reason is not None:
        LOG.info("weights %s: left out %s, the last layer, because %s", path, layer, reason)
        tensors = {name: tensor for name, tensor in tensors.items() if name not in head}
    else:
        known = "of the same classes" if recorded else "its shape fits; a file names no classes"
        LOG.info("weights %s: took %s, the last layer, too (%s)", path, layer, known)
    model.load_state_dict(tensors, strict=False)


def _head_keys(model: Classifier) -> list[str]:
    """Return the names of the tensors that belong to classes: the heads, or the last layer."""
    keys = list(model.state_dict())
    get_classifier: Any = getattr(model.network, "get_classifier", None)
    if get_classifier is not None:  # of timm; a distilled network has two
        found = get_classifier()
        heads = {id(head) for head in (found if isinstance(found, (tuple, list)) else [found])}
        paths = [f"{path}." for path, part in model.named_modules() if id(part) in heads]
        inside = [key for key in keys if key.startswith(tuple(paths))]
        if inside:
            return inside
    return keys[-2:] if keys[-1].endswith("bias") else keys[-1:]


def _recorded_classes(path: Path) -> list[str] | None:
    """Return the classes that the folder of a run records, or None for a file."""
    description = path / DESCRIPTION
    if not description.exists():
        return None
    try:
        return list(json.loads(description.read_text())["classes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"weights must be of a run that records its classes, got {description}: {error!r}"
        ) from error


def frozen_parts(network: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    """Return the parts of a network that a recipe does not train.

    Parameters
    ----------
    network : torch.nn.Module
        A network.
    patterns : sequence of str
        Names of modules in the network, in which * stands for any text.

    Returns
    -------
    list of torch.nn.Module
        Every module whose name fits a pattern; all that is in it is frozen with it.

    Raises
    ------
    ValueError
        If a pattern fits no name, or if they leave no parameter to train.
    """
    modules = {name: module for name, module in network.named_modules() if name}
    parts = []
    for pattern in patterns:
        fitting = [module for name, module in modules.items() if fnmatchcase(name, pattern)]
        if not fitting:
            raise ValueError(
                "frozen must fit the names of modules of the network, such as "
                f"{', '.join(list(modules)[:3])}, got {pattern!r}"
            )
        parts += fitting
    frozen = {parameter for part in parts for parameter in part.parameters()}
    if frozen and frozen.issuperset(network.parameters()):
        raise ValueError(f"frozen must leave a part to train, got {tuple(patterns)}")
    return parts


def channels_last(model: Model) -> Model:
    """Return a model whose 4-dimensional weights lie channels last in memory, for faster steps.

    Parameters
    ----------
    model : torch.nn.Module
        A model, which is changed. Weights of other dimensions, as of 3-D convolutions, stay.

    Returns
    -------
    torch.nn.Module
        The same model.
    """
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model


def channel_statistics(pixels: np.ndarray) -> Normalisation:
    """Return the mean and the standard deviation of each channel of images.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (N, C, H, W)
        Images.

    Returns
    -------
    Normalisation
        Mean and standard deviation of each channel. A standard deviation is at least 1/255.
    """
    counts = np.zeros((pixels.shape[1], 256), np.int64)  # of each level in each channel
    for first in range(0, len(pixels), COUNTED_AT_ONCE):
        for channel, count in enumerate(counts):
            chunk = pixels[first : first + COUNTED_AT_ONCE, channel]
            count += np.bincount(chunk.ravel(), minlength=256)
    shares, levels = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = shares @ levels
    std = np.sqrt(shares @ levels**2 - mean**2).clip(min=1 / 255)
    return Normalisation(torch.from_numpy(mean).float(), torch.from_numpy(std).float())
