"""Crops, zooms and flips of training images, decided by random numbers of each image."""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from virolbi.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers that decide how the images of a batch are cropped, zoomed and flipped.

    Parameters
    ----------
    top, left : ndarray of float, shape (n,)
        Position of the crop or zoom, in [0, 1).
    flip : ndarray of float, shape (n,)
        Whether to flip the image: if it is less than 0.5, out of [0, 1).
    area, aspect : ndarray of float, shape (n,)
        Area and aspect ratio of the zoom, in [0, 1).
    """

    top: np.ndarray
    left: np.ndarray
    flip: np.ndarray
    area: np.ndarray
    aspect: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator, count: int) -> "Draws":
        """Draw the random numbers of a batch.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of random numbers.
        count : int
            Number of images.

        Returns
        -------
        Draws
            The random numbers.
        """
        return cls(*rng.random((len(fields(cls)), count)))

    def __getitem__(self, rows: slice) -> "Draws":
        return Draws(*(getattr(self, field.name)[rows] for field in fields(self)))


def augment(images: Tensor, recipe: Recipe, draws: Draws) -> Tensor:
    """Crop, zoom and flip every image on its own.

    Parameters
    ----------
    images : torch.Tensor of uint8, shape (n, C, H, W)
        Images.
    recipe : Recipe
        Settings that say which augmentations to apply.
    draws : Draws
        Random numbers of each image.

    Returns
    -------
    torch.Tensor of float32, shape (n, C, H, W)
        Augmented images, in [0, 1].
    """
    top, left = torch.from_numpy(draws.top), torch.from_numpy(draws.left)
    if recipe.crop:
        images = _crop(images, recipe.crop, recipe.padding, top, left)
    if recipe.zoom < 1:
        boxes = np.stack([draws.area, draws.aspect, draws.top, draws.left], axis=1).tolist()
        images = torch.stack(
            [_zoom(image, recipe.zoom, *box) for image, box in zip(images, boxes, strict=True)]
        )
    if recipe.flip:
        flipped = torch.from_numpy(draws.flip) < 0.5
        images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    return images.float() / 255


def _crop(images: Tensor, width: int, content: str, top: Tensor, left: Tensor) -> Tensor:
    """Return windows of the size of the images, out of the images with padding around them."""
    count, _, *sides = images.shape
    rows, columns = (
        (position * (2 * width + 1)).long()[:, None]
        + torch.arange(side, device=top.device)  # (n, side)
        for position, side in zip((top, left), sides, strict=True)
    )
    if content == "reflect":
        rows, columns = (
            _reflect(index - width, side)
            for index, side in zip((rows, columns), sides, strict=True)
        )
        padded = images.permute(0, 2, 3, 1)
    else:
        padded = F.pad(images, (width,) * 4).permute(0, 2, 3, 1)
    index = torch.arange(count, device=images.device)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflect(index: Tensor, side: int) -> Tensor:
    """Return pixel numbers on a side, reflected at its first and last pixel as often as needed."""
    period = max(2 * (side - 1), 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index)


def _zoom(
    image: Tensor, least: float, area: float, aspect: float, top: float, left: float
) -> Tensor:
    """Return a part of an image, resized to the size of the image.

    The part has a share of `least` or more of the area, and an aspect ratio from 3:4 to 4:3 times
    that of the image.
    """
    height, width = image.shape[-2:]
    share = math.sqrt(least + area * (1 - least))
    # no side may be longer than that of the image
    ratio = math.exp((2 * aspect - 1) * min(math.log(4 / 3) / 2, -math.log(share)))
    rows = min(height, math.ceil(height * share / ratio))
    columns = min(width, math.ceil(width * share * ratio))
    first_row, first_column = int(top * (height - rows + 1)), int(left * (width - columns + 1))
    part = image[:, first_row : first_row + rows, first_column : first_column + columns]
    return F.interpolate(part[None], size=(height, width), mode="bilinear", antialias=True)[0]
