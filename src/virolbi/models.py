"""A small residual network for small images, and the normalisation it carries with it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Classifier(nn.Module):
    """A network with its normalisation: intensities in [0, 1], shape (N, C, H, W), to logits, shape (N, classes)."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


class ResNet(nn.Module):
    """The CIFAR-style residual network of depth 6n + 2 (He et al. 2016, section 4.2): three stages of n blocks.

    Shortcuts between stages are 1x1 convolutions. depth: 8, 14, 20, ...; width: channels of the first stage.
    """

    def __init__(self, depth: int, *, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
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
        self.first = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after))
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        same = before == after and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class Median(nn.Module):
    """Median filter over size x size pixels, odd, with reflected borders; a rival's preprocessing."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size must be odd and >= 1, got {size}")
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Filtered images, same shape."""
        half = self.size // 2
        padded = F.pad(images, (half,) * 4, mode="reflect")
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        return windows.flatten(-2).median(dim=-1).values


def build(name: str, *, channels: int, classes: int) -> nn.Module:
    """A network by name: "resnet8", "resnet20", ... (depth 6n + 2, width 16).

    >>> sum(p.numel() for p in build("resnet8", channels=3, classes=10).parameters())
    78042
    """
    return ResNet(depth_of(name), channels=channels, classes=classes)


def depth_of(name: str) -> int:
    """The depth of a network by its name. Raises ValueError for one that `build` does not know."""
    depth = name.removeprefix("resnet")
    if name == depth or not depth.isdecimal() or int(depth) < 8 or int(depth) % 6 != 2:
        raise ValueError(f"model must be 'resnet' and a depth 6n + 2 with n >= 1, such as 'resnet8', got {name!r}")
    return int(depth)


def channel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of uint8 images, shape (N, C, H, W), in units of [0, 1]."""
    per_channel = pixels.transpose(0, 1).flatten(1).to(torch.float32) / 255
    return per_channel.mean(dim=1), per_channel.std(dim=1).clamp(min=1 / 255)
