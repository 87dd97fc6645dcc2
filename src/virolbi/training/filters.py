"""Filters in front of a network, as in rival methods, for images in [0, 1], shape (N, C, H, W)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from virolbi._checks import check_choice

MEAN, STD = 0.5, 0.25  # of standardised images, in units of intensity
TV_WEIGHT = 0.05  # a larger one removes more
# of the bilateral filter: standard deviations, in units of intensity and in pixels
RANGE_STD, SPACE_STD = 0.1, 2.0


def build_filter(name: str, standardise: bool = False) -> nn.Module:
    """Return the filter that a recipe names.

    Parameters
    ----------
    name : {"none", "median", "blur", "tv", "bilateral"}
        Name of the filter.
    standardise : bool, optional
        Whether to standardise every image after the filter.

    Returns
    -------
    torch.nn.Module
        The filter, from images to images of the same shape.

    Raises
    ------
    ValueError
        If there is no such filter.
    """
    check_choice("filter", name, FILTERS)
    chosen = FILTERS[name]()
    return nn.Sequential(chosen, Standardise()) if standardise else chosen


class Standardise(nn.Module):
    """Standardisation of every image, over all its pixels and channels.

    It undoes changes of brightness and contrast. Noise in an image of little contrast is amplified;
    standard deviations below 1/255 therefore count as 1/255.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Standardise images.

        Parameters
        ----------
        images : torch.Tensor, shape (N, C, H, W)
            Images.

        Returns
        -------
        torch.Tensor, shape (N, C, H, W)
            Standardised images.
        """
        centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
        variance = centred.square().mean(dim=(1, 2, 3), keepdim=True)
        # limited before the root, whose derivative at 0 is infinite
        return MEAN + STD * centred / variance.clamp(min=1 / 255**2).sqrt()


class Median(nn.Module):
    """Median filter over 3x3 pixels, with reflected borders."""

    def forward(self, images: Tensor) -> Tensor:
        """Filter images.

        Parameters
        ----------
        images : torch.Tensor, shape (N, C, H, W)
            Images.

        Returns
        -------
        torch.Tensor, shape (N, C, H, W)
            Filtered images.
        """
        padded = F.pad(images, (1,) * 4, mode="reflect")
        windows = padded.unfold(2, 3, 1).unfold(3, 3, 1)
        # not median(), which has no counterpart in ONNX
        return windows.flatten(-2).sort(dim=-1).values[..., 4]


class Blur(nn.Module):
    """Low-pass filter: the 3x3 binomial filter, with reflected borders."""

    def forward(self, images: Tensor) -> Tensor:
        """Filter images.

        Parameters
        ----------
        images : torch.Tensor, shape (N, C, H, W)
            Images.

        Returns
        -------
        torch.Tensor, shape (N, C, H, W)
            Filtered images.
        """
        line = torch.tensor([0.25, 0.5, 0.25], dtype=images.dtype, device=images.device)
        kernel = torch.outer(line, line).expand(images.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(images, (1,) * 4, mode="reflect"), kernel, groups=images.shape[1])


class _HostFilter(nn.Module):
    """Filter of another library, which takes one NumPy image at a time.

    Its gradient is taken to be that of the identity (BPDA).
    """

    def forward(self, images: Tensor) -> Tensor:
        """Filter images of shape (N, C, H, W)."""
        planes = images.detach().float().cpu().permute(0, 2, 3, 1).numpy()
        filtered = np.stack([self.filter(image) for image in planes]).reshape(planes.shape)
        change = torch.from_numpy(filtered).permute(0, 3, 1, 2).to(images) - images.detach()
        return images + change

    def filter(self, image: np.ndarray) -> np.ndarray:
        """Filter one image, float32, shape (H, W, C)."""
        raise NotImplementedError


class TotalVariation(_HostFilter):
    """Total-variation denoising of scikit-image, with its default number of iterations.

    All channels of an image are denoised together.

    References
    ----------
    .. [1] A. Chambolle, 2004, as implemented by `skimage.restoration.denoise_tv_chambolle`.
    """

    def __init__(self) -> None:
        super().__init__()
        from skimage.restoration import denoise_tv_chambolle

        self._denoise: Callable[..., np.ndarray] = denoise_tv_chambolle

    def filter(self, image: np.ndarray) -> np.ndarray:
        """Filter one image.

        Parameters
        ----------
        image : ndarray of float32, shape (H, W, C)
            Image.

        Returns
        -------
        ndarray of float32, shape (H, W, C)
            Filtered image.
        """
        return self._denoise(image, weight=TV_WEIGHT, channel_axis=-1)


class Bilateral(_HostFilter):
    """Bilateral filter of OpenCV, over 5x5 pixels."""

    def __init__(self) -> None:
        super().__init__()
        from cv2 import bilateralFilter

        self._denoise: Callable[..., np.ndarray] = bilateralFilter

    def filter(self, image: np.ndarray) -> np.ndarray:
        """Filter one image.

        Parameters
        ----------
        image : ndarray of float32, shape (H, W, C)
            Image.

        Returns
        -------
        ndarray of float32, shape (H, W) or (H, W, C)
            Filtered image.
        """
        return self._denoise(np.ascontiguousarray(image), 5, RANGE_STD, SPACE_STD)


FILTERS: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "median": Median,
    "blur": Blur,
    "tv": TotalVariation,
    "bilateral": Bilateral,
}
# filters that are no part of the graph of a network
HOST_FILTERS = tuple(name for name, kind in FILTERS.items() if issubclass(kind, _HostFilter))
