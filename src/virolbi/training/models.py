"""Networks by name, and the normalisation they carry with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

CIFAR_DEPTHS = (8, 14, 20, 32, 44, 56, 110)


class Classifier(nn.Module):
    """A network with all that stands in front of it: intensities in [0, 1], (N, C, H, W), to logits, (N, classes)."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: Tensor, std: Tensor, before: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.before = before or nn.Identity()
        self.network = network
        self.register_buffer("mean", mean.reshape(-1, 1, 1).clone())
        self.register_buffer("std", std.reshape(-1, 1, 1).clone())

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.network((self.before(images) - self.mean) / self.std)
        return logits


class ResNet(nn.Module):
    """The CIFAR-style residual network of depth 6n + 2 (He et al. 2016, section 4.2): three stages of n blocks.

    Shortcuts between stages are 1x1 convolutions. depth: 8, 14, 20, ...; width: channels of the first stage.
    """

    def __init__(self, depth: int, *, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        blocks: list[nn.Module] = []
        before = width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                after = width * 2**stage
                blocks.append(_Block(before, after, stride=2 if stage > 0 and block == 0 else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        features = self.blocks(F.relu(self.stem(images)))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        )
        self.second = nn.Sequential(
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        )
        same = before == after and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def build_network(
    name: str, *, channels: int, classes: int, size: int, pretrained: bool = False
) -> nn.Module:
    """A network by name, for images of `channels` and about `size` x `size` pixels.

    name: "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56" or "resnet110", those of He et al. (2016) for
        CIFAR, of width 16; "resnet18_cifar", with a stem for small images (3x3 without stride, no pooling); "vit_tiny_cifar",
        with patches of 4x4 pixels; or any other name that timm knows. pretrained: with the weights timm has for it.

    >>> sum(p.numel() for p in build("resnet8", channels=3, classes=10, size=32).parameters())
    78042
    """
    ours = {f"resnet{depth}": depth for depth in CIFAR_DEPTHS}
    if name in ours:
        if pretrained:
            raise ValueError(
                f"weights='pretrained' needs a model that timm has weights for, got model={name!r}"
            )
        return ResNet(ours[name], channels=channels, classes=classes)
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
    if name == "vit_tiny_cifar":
        return timm.create_model("vit_tiny_patch16_224", img_size=size, patch_size=4, **options)
    if not timm.is_model(name):
        close = timm.list_models(f"*{name}*")[:5]
        known = f"{', '.join(ours)}, resnet18_cifar, vit_tiny_cifar"
        raise ValueError(
            f"model must be one of {known} or a name timm knows{f', such as {close}' * bool(close)}, got {name!r}"
        )
    try:
        return timm.create_model(name, img_size=size, **options)
    except TypeError:  # most networks take images of any size, and no such argument
        return timm.create_model(name, **options)


def pretrained_normalisation(network: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation of the channels a pretrained timm network expects, or None."""
    about = getattr(network, "pretrained_cfg", None) or {}
    return (torch.tensor(about["mean"]), torch.tensor(about["std"])) if "mean" in about else None


def output_shape(network: Callable[[Tensor], Any], shape: Any, device: torch.device) -> Any:
    """The shape of what a network makes of two blank images of a shape (C, H, W); the name of its type if it is no tensor."""
    with torch.no_grad():
        logits = network(torch.zeros((2, *shape), device=device))
    return tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__


def load_weights(model: Classifier, path: Path) -> None:
    """Take the weights of a file, or of the folder of a run. Those of a head for other classes are left out.

    Raises ValueError where anything else does not fit.
    """
    file = path / "weights.safetensors" if path.is_dir() else path
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"weights must be 'pretrained', a run or a file of safetensors.torch.save_file; {file}: {error}"
        ) from error
    if not any(name.startswith("network.") for name in found):
        found = {
            f"network.{name}": tensor for name, tensor in found.items()
        }  # of the network alone
    expected = model.state_dict()
    head = list(expected)[-2:] if list(expected)[-1].endswith("bias") else list(expected)[-1:]
    wrong = sorted((set(found) ^ set(expected)) - {"mean", "std"})
    wrong += [
        name
        for name in found.keys() & expected.keys()
        if found[name].shape != expected[name].shape and name not in head
    ]
    if wrong:
        raise ValueError(
            f"weights of {file} must be those of this model; they differ in {', '.join(wrong[:3])}"
        )
    fitting = {
        name: tensor for name, tensor in found.items() if tensor.shape == expected[name].shape
    }
    model.load_state_dict(fitting, strict=False)


def channel_statistics(pixels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of uint8 images, shape (N, C, H, W), in units of [0, 1]."""
    counts = np.zeros((pixels.shape[1], 256), np.int64)
    for rows in range(0, len(pixels), 1000):  # they may be in a file larger than the memory
        for channel, count in enumerate(counts):
            count += np.bincount(pixels[rows : rows + 1000, channel].ravel(), minlength=256)
    share, levels = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = share @ levels
    std = np.sqrt(share @ levels**2 - mean**2).clip(min=1 / 255)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)
