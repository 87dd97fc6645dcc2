"""Augmentations: random changes of training images, decided by random numbers of each image."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from virolbi.corruptions import nearest_resolution, noise_level
from virolbi.data import Images
from virolbi.recipes import Recipe


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers that decide how the images of a batch are augmented.

    Parameters
    ----------
    top, left : ndarray of float, shape (n,)
        Position of the crop or zoom, in [0, 1).
    flip : ndarray of float, shape (n,)
        Whether to flip the image: if it is less than 0.5, out of [0, 1).
    area, aspect : ndarray of float, shape (n,)
        Area and aspect ratio of the zoom, in [0, 1).
    noise : ndarray of float, shape (n,)
        Standard deviation of the noise, as a share of the largest, in [0, 1).
    seeds : ndarray of int, shape (n,)
        Seeds of AugMix and of the noise.
    touched : ndarray of bool, shape (n,)
        Whether the image may be smoothed, and changed by AugMix and noise.
    """

    top: np.ndarray
    left: np.ndarray
    flip: np.ndarray
    area: np.ndarray
    aspect: np.ndarray
    noise: np.ndarray
    seeds: np.ndarray
    touched: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator, count: int, untouched: float) -> "Draws":
        """Draw the random numbers of a batch.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of random numbers.
        count : int
            Number of images.
        untouched : float
            Probability that an image is not touched.

        Returns
        -------
        Draws
            The random numbers.
        """
        top, left, flip, area, aspect, noise = rng.random((6, count))
        seeds = rng.integers(2**63, size=count)
        touched = rng.random(count) >= untouched
        return cls(top, left, flip, area, aspect, noise, seeds, touched)

    def __getitem__(self, rows: slice) -> "Draws":
        return Draws(*(getattr(self, field.name)[rows] for field in fields(self)))


def augment(images: Tensor, recipe: Recipe, draws: Draws, noise: float) -> Tensor:
    """Augment every image on its own.

    All images are cropped or zoomed, and flipped; touched ones are then changed by AugMix and
    noise.

    Parameters
    ----------
    images : torch.Tensor of uint8, shape (n, C, H, W)
        Images.
    recipe : Recipe
        Settings that say which augmentations to apply.
    draws : Draws
        Random numbers of each image.
    noise : float
        Largest standard deviation of the noise; 0 for none.

    Returns
    -------
    torch.Tensor of float32, shape (n, C, H, W)
        Augmented images, in [0, 1].
    """
    top, left = torch.from_numpy(draws.top), torch.from_numpy(draws.left)
    if recipe.crop:
        images = _crop(images, recipe.crop, top, left)
    if recipe.zoom < 1:
        boxes = np.stack([draws.area, draws.aspect, draws.top, draws.left], axis=1).tolist()
        images = torch.stack(
            [_zoom(image, recipe.zoom, *box) for image, box in zip(images, boxes, strict=True)]
        )
    if recipe.flip:
        flipped = torch.from_numpy(draws.flip) < 0.5
        images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    if recipe.augmix:
        images = images.clone()
        for index in np.flatnonzero(draws.touched):
            images[index] = _augmix(images[index], int(draws.seeds[index]))
    inputs = images.float() / 255
    return _add_noise(inputs, draws, noise) if noise else inputs


def strongest_noise(images: Images) -> float:
    """Return the standard deviation of Gaussian noise of severity 5 at the size of the images.

    Parameters
    ----------
    images : Images
        Images.

    Returns
    -------
    float
        Standard deviation, in units of intensity.
    """
    return noise_level("gaussian_noise", 5, nearest_resolution(*images.pixels.shape[-2:]))


def _crop(images: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    """Return windows of the size of the images, out of the images padded by black pixels."""
    count, _, height, width = images.shape
    rows = (top * (2 * padding + 1)).long()[:, None] + torch.arange(height)  # (n, H)
    columns = (left * (2 * padding + 1)).long()[:, None] + torch.arange(width)  # (n, W)
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    index = torch.arange(count)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


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


@lru_cache(maxsize=1)
def _mixer() -> Callable[[Tensor], Tensor]:
    """Return AugMix as in torchvision, at its defaults."""
    from torchvision.transforms.v2 import AugMix

    mixer: Callable[[Tensor], Tensor] = AugMix()
    return mixer


def _augmix(image: Tensor, seed: int) -> Tensor:
    """Apply AugMix (Hendrycks et al. 2020) to an image.

    This is the augmentation alone, without the consistency loss (Jensen-Shannon) of the paper. It
    has all operations, including those that the paper leaves out as too close to the corruptions.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _mixer()(image)


def _add_noise(inputs: Tensor, draws: Draws, noise: float) -> Tensor:
    """Add Gaussian noise to the touched images, in place, and clip them to [0, 1]."""
    normal = np.stack(
        [
            np.random.default_rng(seed).standard_normal(inputs.shape[1:], np.float32)
            for seed in draws.seeds
        ]
    )
    levels = noise * torch.from_numpy(draws.noise) * torch.from_numpy(draws.touched)
    scale = levels[:, None, None, None].float()
    return inputs.addcmul_(scale, torch.from_numpy(normal)).clamp_(0, 1)
