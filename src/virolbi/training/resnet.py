"""The CIFAR-style residual network."""

from torch import Tensor, nn
from torch.nn import functional as F

CIFAR_DEPTHS = (8, 14, 20, 32, 44, 56, 110)


class ResNet(nn.Module):
    """The CIFAR-style residual network of depth 6n + 2: three stages of n blocks.

    Shortcuts between stages are 1x1 convolutions.

    Parameters
    ----------
    depth : int
        Number of layers: 8, 14, 20, ...
    channels : int
        Channels of the images.
    classes : int
        Number of classes.
    width : int, optional
        Channels of the first stage.

    References
    ----------
    .. [1] K. He et al., 2016, section 4.2.
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
        """Return the logits of normalised images.

        Parameters
        ----------
        images : torch.Tensor, shape (N, C, H, W)
            Normalised images.

        Returns
        -------
        torch.Tensor, shape (N, classes)
            Logits.
        """
        features = self.blocks(F.relu(self.stem(images)))  # (N, 4 * width, H / 4, W / 4)
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, from `before` to `after` channels."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        )
        self.second = nn.Sequential(
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))
