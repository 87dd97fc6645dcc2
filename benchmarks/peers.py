"""Other denoisers that people use, at stated settings, as far as they are installed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from virolbi.scale_space import largest_stable_step

Smoother = Callable[..., Any]


def installed() -> dict[str, Smoother]:
    """Return every peer that can be imported.

    Returns
    -------
    dict of callable
        Functions by name and settings of the peer. Each takes one image, float32 in [0, 1], shape
        (H, W) or (H, W, 3), and, in place of its default, the one knob that is searched when
        denoising.
    """
    return _scikit_image() | _opencv() | _deepinv()


def _scikit_image() -> dict[str, Smoother]:
    """Return the total variation denoisers of scikit-image, if it is installed."""
    try:
        from skimage.restoration import denoise_tv_bregman, denoise_tv_chambolle
    except ImportError:
        return {}

    def axis(image: np.ndarray) -> int | None:
        return -1 if image.ndim == 3 else None

    def chambolle(image: np.ndarray, weight: float = 0.1) -> np.ndarray:
        return denoise_tv_chambolle(image, weight, channel_axis=axis(image))

    def split_bregman(image: np.ndarray, weight: float = 5.0) -> np.ndarray:
        return denoise_tv_bregman(image, weight, channel_axis=axis(image))

    return {
        "Chambolle TV (scikit-image)": chambolle,
        "split Bregman TV (scikit-image)": split_bregman,
    }


def _opencv() -> dict[str, Smoother]:
    """Return two filters of OpenCV, on one core, if it is installed."""
    try:
        import cv2
    except ImportError:
        return {}
    cv2.setNumThreads(1)

    def non_local_means(image: np.ndarray, h: float = 10.0) -> np.ndarray:
        pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
        if image.ndim == 3:
            return cv2.fastNlMeansDenoisingColored(pixels, None, h, h) / np.float32(255)
        return cv2.fastNlMeansDenoising(pixels, None, h) / np.float32(255)

    def bilateral(image: np.ndarray, sigma: float = 0.1) -> np.ndarray:
        return cv2.bilateralFilter(image, 9, sigma, 3.0)

    return {
        "non-local means (OpenCV)": non_local_means,
        "bilateral, radius 4 (OpenCV)": bilateral,
    }


def _deepinv() -> dict[str, Smoother]:
    """Return the total variation denoiser of deepinv, if it is installed."""
    try:
        import torch
        from deepinv.models import TVDenoiser

        denoiser = TVDenoiser()
    except ImportError:
        return {}

    def total_variation(image: np.ndarray, ths: float = 0.1) -> Any:
        return denoiser(torch.from_numpy(np.atleast_3d(image)).permute(2, 0, 1)[None], ths)

    return {"TV (deepinv)": total_variation}


def plain_iteration(planes: Any, sparsity: float, kappa: float = 10.0, nu: float = 1.0) -> int:
    """Run the published iteration in whole-array operations until every plane is done.

    Parameters
    ----------
    planes : ndarray or torch.Tensor, shape (N, H, W)
        Intensities in [0, 1].
    sparsity : float
        Fraction of edges that may be left out when the iteration ends.
    kappa : float, optional
        Damping. The limit of infinite kappa is the path.
    nu : float, optional
        Coupling of the image and its variations.

    Returns
    -------
    int
        Number of iterations.
    """
    alpha = largest_stable_step(kappa=kappa, nu=nu) / 2
    beta = planes * 0 + planes.mean()
    z_right, z_down = planes[:, :, 1:] * 0, planes[:, 1:] * 0
    gamma_right, gamma_down = z_right + 0, z_down + 0
    edges = (z_right[0].size if isinstance(z_right, np.ndarray) else z_right[0].numel()) * 2
    iterations = 0
    while _fewest_nonzero(gamma_right, gamma_down) < (1 - sparsity) * edges:
        force_right = (beta[:, :, 1:] - beta[:, :, :-1] - gamma_right) / nu
        force_down = (beta[:, 1:] - beta[:, :-1] - gamma_down) / nu
        slope = beta - planes
        slope[:, :, 1:] += force_right
        slope[:, :, :-1] -= force_right
        slope[:, 1:] += force_down
        slope[:, :-1] -= force_down
        beta = beta - kappa * alpha * slope
        z_right, z_down = z_right + alpha * force_right, z_down + alpha * force_down
        gamma_right = kappa * (z_right - z_right.clip(-1, 1))
        gamma_down = kappa * (z_down - z_down.clip(-1, 1))
        iterations += 1
    return iterations


def _fewest_nonzero(right: Any, down: Any) -> int:
    """Return the number of nonzero variations of the plane that has fewest."""
    planes = zip(right != 0, down != 0, strict=True)
    return min(int(across.sum() + along.sum()) for across, along in planes)
