"""Pictures of test images for a report."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from virolbi.corruptions import NOISES, corrupt
from virolbi.data import Images, Picture, write_picture

TILE_COUNT = 20  # images that a report shows one by one
TILE_SIZE = 64  # pixels, at most
SHEET_COUNT = 8  # images in a row of a sheet


def write_tiles(path: Path, intensities: np.ndarray) -> None:
    """Write the first images side by side, for a report to show which were classified correctly.

    Parameters
    ----------
    path : Path
        Image file to write.
    intensities : ndarray of float32, shape (N, C, H, W)
        Test images as a condition shows them, in [0, 1]; resized to squares.
    """
    size = min(TILE_SIZE, *intensities.shape[-2:])
    pixels = np.rint(intensities[:TILE_COUNT].clip(0, 1) * 255).astype(np.uint8)
    tiles = [
        Image.fromarray(image.transpose(1, 2, 0).squeeze()).resize((size, size)) for image in pixels
    ]
    strip = np.concatenate([np.asarray(tile) for tile in tiles], axis=1)
    write_picture(path, Picture(strip))


def example_sheet(smoother: nn.Module, images: Images, resolution: int) -> np.ndarray:
    """Return a picture of the first images, each raw above smoothed.

    Parameters
    ----------
    smoother : nn.Module
        Smoother, for intensities of shape (N, C, H, W).
    images : Images
        Test images.
    resolution : {32, 64, 224}
        Resolution whose constants the noises have.

    Returns
    -------
    ndarray of uint8, shape (H, W, C)
        Two rows, raw and smoothed, for clean images and for each noise at severity 5.
    """
    clean = images.intensities(np.s_[:SHEET_COUNT])
    strips = [clean] + [corrupt(clean, name, 5, resolution=resolution) for name in NOISES]
    pairs = np.stack(
        [[strip, smoother(torch.from_numpy(strip)).numpy()] for strip in strips]
    )  # (noise, 2, N, C, H, W)
    noises, _, count, channels, height, width = pairs.shape
    sheet = pairs.transpose(0, 1, 4, 2, 5, 3).reshape(noises * 2 * height, count * width, channels)
    rounded: np.ndarray = np.rint(sheet.clip(0, 1) * 255)
    return rounded.astype(np.uint8)
