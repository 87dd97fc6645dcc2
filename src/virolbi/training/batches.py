"""Training batches: smoothed and augmented images, each batch decided by the recipe, the images and its number alone."""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

import virolbi
from virolbi._storage import cached_array
from virolbi.corruptions import nearest_resolution, noise_level
from virolbi.data import Images
from virolbi.recipes import Recipe
from virolbi.smooth import smooth

NUMBERS = 6  # random ones in [0, 1) for each image: where to crop (2), whether to flip, how to zoom (2), how much noise
# inputs (n, C, H, W), labels (n,), and the mean sparsity of the whole batch, NaN where that is up to each image
Batch = tuple[Tensor, Tensor, float]


class Batches(Dataset[Batch]):
    """The batches of a training run by their number, from 0 to the number of steps; one process may ask for its share of each.

    All random numbers of a batch come from the seed of the recipe and the number of the batch, and every image has its own, so
    that neither workers, nor processes, nor a break in between can change what a batch is.

    rows: which images to train on, or None for all. share: which of how many processes this is. cache: a folder for the
    smoothed images, which are then made once, or None to smooth each batch when it is asked for; both give the same batches.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: Images,
        *,
        rows: np.ndarray | None = None,
        share: tuple[int, int] = (0, 1),
        cache: Path | None = None,
    ) -> None:
        self._recipe, self._images, self._share = recipe, images, share
        self._rows = np.arange(len(images)) if rows is None else rows
        self.size = min(recipe.batch_size, len(self._rows))
        if self.size < share[1] * recipe.accumulate:
            raise ValueError(
                f"a batch of {self.size} images must reach for {share[1]} processes and accumulate={recipe.accumulate} parts"
            )
        self.per_epoch = (
            len(self._rows) // self.size
        )  # the few that are left over are others in every epoch
        self._noise = (
            strongest_noise(images) if recipe.noise == "strongest" else float(recipe.noise)
        )
        self._smoothed: dict[float, np.ndarray] = {}
        if cache is not None and recipe.order == "first":
            self._smoothed = {
                sparsity: self._store(cache, sparsity)
                for sparsity in set(recipe.all_sparsities) - {0.0}
            }

    def __len__(self) -> int:
        return self.per_epoch * self._recipe.epochs

    def __getitem__(self, step: int) -> Batch:
        """The share of a batch."""
        if not 0 <= step < len(self):
            raise IndexError(f"step must be from 0 to {len(self) - 1}, got {step}")
        recipe, rng = self._recipe, np.random.default_rng([self._recipe.seed, step])
        first = step % self.per_epoch * self.size
        rows = self._rows[
            _order(recipe.seed, step // self.per_epoch, len(self._rows))[first : first + self.size]
        ]
        sparsity = recipe.sparsities(step / len(self), self.size, rng)
        numbers, seeds = rng.random((NUMBERS, self.size)), rng.integers(2**63, size=self.size)
        touched = rng.random(self.size) >= recipe.untouched
        sparsity = np.where(touched, sparsity, 0.0)
        mean = float(sparsity.mean())
        own = slice(*(self.size * (self._share[0] + end) // self._share[1] for end in (0, 1)))
        rows, sparsity, numbers, seeds, touched = (
            rows[own],
            sparsity[own],
            numbers[:, own],
            seeds[own],
            touched[own],
        )
        pixels = (
            self._shown(rows, sparsity) if recipe.order == "first" else self._images.pixels[rows]
        )
        inputs = _augment(torch.from_numpy(pixels), recipe, numbers, seeds, touched, self._noise)
        if recipe.order == "last":
            inputs = torch.from_numpy(_smooth_some(inputs.numpy(), sparsity, recipe))
        return inputs, torch.from_numpy(self._images.labels[rows]), mean

    def _shown(self, rows: np.ndarray, sparsity: np.ndarray) -> np.ndarray:
        if not self._smoothed:
            return _smooth_some(self._images.pixels[rows], sparsity, self._recipe)
        pixels = self._images.pixels[rows]
        for level, smoothed in self._smoothed.items():
            here = np.isnan(sparsity) if math.isnan(level) else sparsity == level
            pixels[here] = smoothed[rows[here]]
        return pixels

    def _store(self, cache: Path, sparsity: float) -> np.ndarray:
        recipe, pixels = self._recipe, self._images.pixels
        choice, label = ("auto", "auto") if math.isnan(sparsity) else (sparsity, f"{sparsity:.6g}")
        name = f"{self._images.metadata['digest']}-{recipe.preset}-nu{recipe.nu:g}-at{label}-{virolbi.__version__}.npy"
        return cached_array(
            cache / name,
            pixels.shape,
            lambda rows: smooth(pixels[rows], choice, channel_axis=1, **recipe.form.keywords()),
        )


def strongest_noise(images: Images) -> float:
    """The standard deviation of Gaussian noise of severity 5 at the size of these images."""
    return noise_level("gaussian_noise", 5, nearest_resolution(*images.pixels.shape[-2:]))


@lru_cache(maxsize=1)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, count]).permutation(count)


def _smooth_some(images: np.ndarray, sparsity: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Smooth the images whose sparsity is not 0, each to its own."""
    if not sparsity.any():
        return images
    result = images.copy()
    for rows, choice in ((np.isnan(sparsity), "auto"), (sparsity > 0, sparsity[sparsity > 0])):
        if rows.any():
            result[rows] = smooth(images[rows], choice, channel_axis=1, **recipe.form.keywords())
    return result


def _augment(
    images: Tensor,
    recipe: Recipe,
    numbers: np.ndarray,
    seeds: np.ndarray,
    touched: np.ndarray,
    noise: float,
) -> Tensor:
    """Random crop or zoom, flip, and if `touched` AugMix and noise, each image on its own: uint8 to float32 in [0, 1]."""
    top, left, flip, area, aspect, sigma = torch.from_numpy(numbers)
    if recipe.crop:
        images = _crop(images, recipe.crop, top, left)
    if recipe.zoom < 1:
        boxes = zip(area.tolist(), aspect.tolist(), top.tolist(), left.tolist(), strict=True)
        images = torch.stack(
            [_zoom(image, recipe.zoom, *box) for image, box in zip(images, boxes, strict=True)]
        )
    if recipe.flip:
        images = torch.where((flip < 0.5)[:, None, None, None], images.flip(-1), images)
    if recipe.augmix:
        images = images.clone()
        for index in np.flatnonzero(touched):
            images[index] = _augmix(images[index], int(seeds[index]))
    inputs = images.float() / 255
    if noise:
        waves = np.stack(
            [
                np.random.default_rng(seed).standard_normal(inputs.shape[1:], np.float32)
                for seed in seeds
            ]
        )
        levels = noise * sigma * torch.from_numpy(touched)
        inputs = inputs.addcmul_(
            levels[:, None, None, None].float(), torch.from_numpy(waves)
        ).clamp_(0, 1)
    return inputs


def _crop(images: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    """A window of the image's own size, out of the image with black pixels around it."""
    count, _, height, width = images.shape
    rows = (top * (2 * padding + 1)).long()[:, None] + torch.arange(height)
    columns = (left * (2 * padding + 1)).long()[:, None] + torch.arange(width)
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    return padded[
        torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
    ].permute(0, 3, 1, 2)


def _zoom(
    image: Tensor, least: float, area: float, aspect: float, top: float, left: float
) -> Tensor:
    """A part of the image, of `least` of its area or more and with sides from 3:4 to 4:3, at the image's size."""
    height, width = image.shape[-2:]
    share = math.sqrt(least + area * (1 - least))
    ratio = math.exp(
        (2 * aspect - 1) * min(math.log(4 / 3) / 2, -math.log(share))
    )  # no side longer than the image's
    rows, columns = (
        min(height, math.ceil(height * share / ratio)),
        min(width, math.ceil(width * share * ratio)),
    )
    first, start = int(top * (height - rows + 1)), int(left * (width - columns + 1))
    part = image[:, first : first + rows, start : start + columns]
    return F.interpolate(part[None], size=(height, width), mode="bilinear", antialias=True)[0]


@lru_cache(maxsize=1)
def _mixer() -> Callable[[Tensor], Tensor]:
    from torchvision.transforms.v2 import AugMix

    return AugMix()


def _augmix(image: Tensor, seed: int) -> Tensor:
    """AugMix (Hendrycks et al. 2020) as in torchvision, at its defaults: the augmentation alone, without the consistency loss
    (Jensen-Shannon) of the paper, and with all operations, also those that it leaves out as too close to the corruptions.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _mixer()(image)
