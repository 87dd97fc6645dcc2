"""Training batches of smoothed and augmented images.

Each batch is decided by the recipe, the images and the number of the batch alone.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

import virolbi
from virolbi._storage import cached_array
from virolbi.data import Images
from virolbi.recipes import Alternative, Recipe, Sparsities
from virolbi.smooth import smooth
from virolbi.training.augmentations import Draws, augment
from virolbi.training.views import Choices, Views, smooth_each

# inputs (views, n, C, H, W), labels (n,), mean sparsity of the batch, None if left to the noise
Batch = tuple[Tensor, Tensor, float | None]


class Prepared(NamedTuple):
    """A batch whose images may still have to be smoothed, by `smooth_each`.

    Parameters
    ----------
    inputs : torch.Tensor, shape (views, n, C, H, W)
        Inputs of this process, in [0, 1].
    labels : torch.Tensor of int, shape (n,)
        Their labels.
    sparsity : float or None
        Mean sparsity of the whole batch over all views, None if it is left to the noise.
    unsmoothed : Sparsities, shape (views, n)
        Sparsity to which each input is still to be smoothed; 0 for no smoothing.
    """

    inputs: Tensor
    labels: Tensor
    sparsity: float | None
    unsmoothed: Sparsities


class Batches(Dataset[Batch]):
    """The batches of a training run by their number, from 0 to the number of steps.

    `batches[step]` is a tuple: the inputs of this process, in [0, 1], shape (views, n, C, H, W);
    their labels, shape (n,); and the mean sparsity of the whole batch over all views, None if it is
    left to the noise.

    All random numbers of a batch come from the seed of the recipe and the number of the batch, and
    every image has its own. Workers, processes and interruptions therefore do not change a batch.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    images : Images
        Training images.
    rows : ndarray of int, optional
        Indices of the images to train on. None for all images.
    share : tuple of int, optional
        Index of this process, and number of processes. Each process has its share of each batch.
    cache : Path, optional
        Folder for the smoothed images, which are then computed once. None smooths each batch when
        it is asked for. Both give the same batches.

    Attributes
    ----------
    size : int
        Number of images in a batch, over all processes.
    per_epoch : int
        Number of batches in an epoch.

    Raises
    ------
    ValueError
        If a batch has fewer images than all parts of all processes together.
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
                f"a batch must hold an image or more for each of {share[1]} processes and "
                f"accumulate={recipe.accumulate} parts, got {self.size}"
            )
        # an epoch leaves out the images that fill no batch: different ones in every epoch
        self.per_epoch = len(self._rows) // self.size
        self._views, self._all_views = Views(recipe, images), recipe.all_views
        self._smoothed: dict[float | Literal["auto"], np.ndarray] = {}
        if cache is not None and recipe.smooths_first:
            self._smoothed = {
                level: self._smooth_all(cache, level)
                for level in set(recipe.all_sparsities) - {0.0}
            }

    def __len__(self) -> int:
        return self.per_epoch * self._recipe.epochs

    def __getitem__(self, step: int) -> Batch:
        return self.prepare(step)[:3]

    def prepare(self, step: int, *, finish: bool = True) -> Prepared:
        """Return a batch by its number, without the smoothing at the end of its views if desired.

        Parameters
        ----------
        step : int
            Number of the batch.
        finish : bool, optional
            Whether to do the step "smooth" where it is the last one of a view. Otherwise the
            caller does it, on the device of the training.

        Returns
        -------
        Prepared
            The batch.

        Raises
        ------
        IndexError
            If there is no such batch.
        """
        if not 0 <= step < len(self):
            raise IndexError(f"step must be from 0 to {len(self) - 1}, got {step}")
        recipe, rng = self._recipe, np.random.default_rng([self._recipe.seed, step])
        epoch, batch = divmod(step, self.per_epoch)
        order = _order(recipe.seed, epoch, len(self._rows))
        rows = self._rows[order[batch * self.size : (batch + 1) * self.size]]
        draws = Draws.sample(rng, self.size)
        choices = [Choices.sample(rng, self.size, view) for view in self._all_views]
        sparsities = [
            recipe.sparsities(step / len(self), self.size, rng).restrict(self._smoothed_in(*pair))
            for pair in zip(self._all_views, choices, strict=True)
        ]
        process, processes = self._share
        share = slice(
            self.size * process // processes,
            self.size * (process + 1) // processes,
        )
        pixels = self._images.pixels[rows[share]]  # (n, C, H, W)
        if self._recipe.smooths_first:
            pixels = self._smooth_first(pixels, rows[share], sparsities[0][share])
        images = augment(torch.from_numpy(pixels), recipe, draws[share]).numpy()
        parts = [
            (view, choice[share], levels[share])
            for view, choice, levels in zip(self._all_views, choices, sparsities, strict=True)
        ]
        inputs = np.concatenate([self._views.make(images, *part) for part in parts])
        unsmoothed = Sparsities.stack(
            [levels.restrict(choice.ending(view, "smooth")) for view, choice, levels in parts]
        )
        if finish:
            smooth_each(inputs, unsmoothed, recipe)
            unsmoothed = unsmoothed.restrict(np.zeros_like(unsmoothed.auto))
        views = torch.from_numpy(inputs.reshape(*unsmoothed.auto.shape, *inputs.shape[1:]))
        labels = torch.from_numpy(self._images.labels[rows[share]])
        return Prepared(views, labels, _mean(sparsities), unsmoothed)

    def _smoothed_in(self, view: tuple[Alternative, ...], choices: Choices) -> np.ndarray:
        """Return which images are smoothed in a view."""
        if not self._recipe.smooths_first:
            return choices.taking(view, "smooth")
        touched: np.ndarray = choices.alternatives == 0  # alternative 1 leaves the image untouched
        return touched

    def _smooth_first(
        self, pixels: np.ndarray, rows: np.ndarray, sparsities: Sparsities
    ) -> np.ndarray:
        """Smooth images before their augmentation, in place by the cache if there is one."""
        if not self._smoothed:
            return smooth_each(pixels, sparsities, self._recipe)
        for level, smoothed in self._smoothed.items():
            chosen = sparsities.equal(level)
            pixels[chosen] = smoothed[rows[chosen]]
        return pixels

    def _smooth_all(self, cache: Path, level: float | Literal["auto"]) -> np.ndarray:
        """Return all images at one sparsity, from a file in the cache."""
        recipe, pixels = self._recipe, self._images.pixels
        label = level if level == "auto" else f"{level:.6g}"
        name = (
            f"{self._images.metadata['digest']}-{recipe.preset}-nu{recipe.nu:g}-at{label}"
            f"-{virolbi.__version__}.npy"
        )
        return cached_array(
            cache / name,
            pixels.shape,
            lambda rows: smooth(pixels[rows], level, channel_axis=1, **recipe.form.keywords()),
        )


@lru_cache(maxsize=1)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of the images in an epoch."""
    return np.random.default_rng([seed, epoch, count]).permutation(count)


def _mean(sparsities: Sequence[Sparsities]) -> float | None:
    """Return the mean sparsity of the images in all views, None if one is left to the noise."""
    means = [levels.mean for levels in sparsities]
    return None if None in means else float(np.mean([mean for mean in means if mean is not None]))
