"""What people use instead, at settings that are stated; those that are not installed are left out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from virolbi.scale_space import largest_stable_step

Smoother = Callable[..., Any]


def installed() -> dict[str, Smoother]:
    """Name and settings of every peer for one image, (H, W) or (H, W, 3), float32 in [0, 1], of those that can be imported.

    Each takes the image and, in place of its default, the one knob that is searched when denoising.
    """
    peers: dict[str, Smoother] = {}
    try:
        from skimage.restoration import denoise_tv_bregman, denoise_tv_chambolle

        def axis(image: np.ndarray) -> int | None:
            return -1 if image.ndim == 3 else None

        peers["Chambolle TV (scikit-image)"] = lambda y, weight=0.1: denoise_tv_chambolle(
            y, weight, channel_axis=axis(y)
        )
        peers["split Bregman TV (scikit-image)"] = lambda y, weight=5.0: denoise_tv_bregman(
            y, weight, channel_axis=axis(y)
        )
    except ImportError:
        pass
    try:
        import cv2

        cv2.setNumThreads(1)

        def non_local_means(image: np.ndarray, h: float = 10.0) -> np.ndarray:
            pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
            if image.ndim == 3:
                return cv2.fastNlMeansDenoisingColored(pixels, None, h, h) / np.float32(255)
            return cv2.fastNlMeansDenoising(pixels, None, h) / np.float32(255)

        peers["non-local means (OpenCV)"] = non_local_means
        peers["bilateral, radius 4 (OpenCV)"] = lambda y, sigma=0.1: cv2.bilateralFilter(
            y, 9, sigma, 3.0
        )
    except ImportError:
        pass
    try:
        import torch
        from deepinv.models import TVDenoiser

        denoiser = TVDenoiser()
        peers["TV (deepinv)"] = lambda y, ths=0.1: denoiser(
            torch.from_numpy(np.atleast_3d(y)).permute(2, 0, 1)[None], ths
        )
    except ImportError:
        pass
    return peers


def plain_iteration(planes: Any, sparsity: float, kappa: float = 10.0, nu: float = 1.0) -> int:
    """The published iteration in whole-array operations, NumPy or torch, until every plane (N, H, W) has reached a sparsity.

    Returns the number of iterations.
    """
    alpha = largest_stable_step(kappa=kappa, nu=nu) / 2
    beta = planes * 0 + planes.mean()
    right, down = planes[:, :, 1:] * 0, planes[:, 1:] * 0  # z
    gamma_right, gamma_down = right + 0, down + 0
    goal = (
        (1 - sparsity) * (right[0].size if isinstance(right, np.ndarray) else right[0].numel()) * 2
    )
    iterations = 0
    while (
        min(int(a.sum() + b.sum()) for a, b in zip(gamma_right != 0, gamma_down != 0, strict=True))
        < goal
    ):
        force_right = (beta[:, :, 1:] - beta[:, :, :-1] - gamma_right) / nu
        force_down = (beta[:, 1:] - beta[:, :-1] - gamma_down) / nu
        slope = beta - planes
        slope[:, :, 1:] += force_right
        slope[:, :, :-1] -= force_right
        slope[:, 1:] += force_down
        slope[:, :-1] -= force_down
        beta = beta - kappa * alpha * slope
        right, down = right + alpha * force_right, down + alpha * force_down
        gamma_right, gamma_down = (
            kappa * (right - right.clip(-1, 1)),
            kappa * (down - down.clip(-1, 1)),
        )
        iterations += 1
    return iterations
