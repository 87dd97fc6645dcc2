"""What rivals put in front of a network: filters for images in [0, 1], shape (N, C, H, W)."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def build_filter(name: str) -> nn.Module:
    """The filter a recipe names: "none", "median", "blur", "tv" or "bilateral"."""
    kinds = {
        "none": nn.Identity,
        "median": Median,
        "blur": Blur,
        "tv": TotalVariation,
        "bilateral": Bilateral,
    }
    if name not in kinds:
        raise ValueError(f"filter must be one of {tuple(kinds)}, got {name!r}")
    return kinds[name]()


class Median(nn.Module):
    """Median filter over size x size pixels, odd, with reflected borders."""

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
        return (
            windows.flatten(-2).sort(dim=-1).values[..., self.size**2 // 2]
        )  # median() has no counterpart in ONNX


class Blur(nn.Module):
    """Low-pass: the 3x3 binomial filter, with reflected borders."""

    def forward(self, images: Tensor) -> Tensor:
        """Filtered images, same shape."""
        line = torch.tensor([0.25, 0.5, 0.25], dtype=images.dtype, device=images.device)
        kernel = torch.outer(line, line).expand(images.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(images, (1,) * 4, mode="reflect"), kernel, groups=images.shape[1])


class _OnTheHost(nn.Module):
    """A filter of another library, image by image. Its gradient is taken to be that of the identity (BPDA)."""

    def forward(self, images: Tensor) -> Tensor:
        """Filtered images, same shape."""
        planes = images.detach().float().cpu().permute(0, 2, 3, 1).numpy()
        filtered = np.stack([self.filter(image) for image in planes]).reshape(planes.shape)
        change = torch.from_numpy(filtered).permute(0, 3, 1, 2).to(images) - images.detach()
        return images + change

    def filter(self, image: np.ndarray) -> np.ndarray:
        """One image, float32, shape (H, W, C)."""
        raise NotImplementedError


class TotalVariation(_OnTheHost):
    """Total-variation denoising of scikit-image, colours together (Chambolle 2004), at its default number of iterations."""

    def __init__(self, weight: float = 0.05) -> None:
        super().__init__()
        from skimage.restoration import denoise_tv_chambolle

        self._denoise, self.weight = denoise_tv_chambolle, weight

    def filter(self, image: np.ndarray) -> np.ndarray:
        """One image, float32, shape (H, W, C)."""
        return self._denoise(image, weight=self.weight, channel_axis=-1)


class Bilateral(_OnTheHost):
    """The bilateral filter of OpenCV, over 5x5 pixels."""

    def __init__(self, intensity: float = 0.1, space: float = 2.0) -> None:
        super().__init__()
        from cv2 import bilateralFilter

        self._denoise, self.intensity, self.space = bilateralFilter, intensity, space

    def filter(self, image: np.ndarray) -> np.ndarray:
        """One image, float32, shape (H, W, C)."""
        return self._denoise(np.ascontiguousarray(image), 5, self.intensity, self.space)
