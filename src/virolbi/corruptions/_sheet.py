"""The function `sheet`: one image under every type of corruption."""

import numpy as np

from virolbi.corruptions._constants import COMMON, HELD_OUT
from virolbi.corruptions._corrupt import corrupt


def sheet(
    image: np.ndarray, severities: tuple[int, ...] = (1, 3, 5), seed: int = 0
) -> tuple[np.ndarray, list[str]]:
    """Corrupt one image with every type at each of some severities.

    `virolbi.data.contact_sheet(*sheet(image), columns=len(severities))` draws the result, with
    one row for each type.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3) or (H, W)
        Colour or grey image.
    severities : tuple of int, optional
        Severities from 1 to 5.
    seed : int, optional
        Seed of the random types, see `corrupt`.

    Returns
    -------
    pixels : ndarray of uint8, shape (K, H, W, 3) or (K, H, W)
        Corrupted images, type by type: first `COMMON`, then `HELD_OUT`.
    labels : list of str
        Name and severity of each of the K images.

    Raises
    ------
    ValueError
        If the image has another dtype or shape, or `corrupt` rejects a severity or the seed.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(
            "image must be uint8 of shape (H, W) or (H, W, 3), "
            f"got {image.dtype} of shape {image.shape}"
        )
    planes = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    clean = planes[None].astype(np.float32) / 255
    cases = [(name, severity) for name in COMMON + HELD_OUT for severity in severities]
    corrupted = np.concatenate(
        [corrupt(clean, name, severity, seed=seed) for name, severity in cases]
    )
    pixels = np.rint(corrupted.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    labels = [f"{name.replace('_', ' ')} {severity}" for name, severity in cases]
    return pixels[..., 0] if image.ndim == 2 else pixels, labels
