"""Training batches of smoothed and augmented images.

Each batch is decided by the recipe, the images and the number of the batch alone.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

import virolbi
from virolbi._storage import cached_array
from virolbi.data import Images
from virolbi.recipes import Recipe, Sparsities
from virolbi.robustness import seeded_random
from virolbi.scale_space import SMOOTHER_DIGEST
from virolbi.smooth import smooth
from virolbi.training.augmentations import augment
from virolbi.training.showing import Decisions, epoch_order, show
from virolbi.training.views import Views, smooth_each

Transform = Callable[[Tensor], Any]  # of an image of uint8, (C, H, W)
# settings that change images, with the values that change none
UNCHANGED = {
    "procedure": "plain",
    "views": (),
    "noise": 0,
    "augmix": False,
    "crop": 0,
    "zoom": 1,
    "flip": False,
}


class TrainingBatch(NamedTuple):
    """A batch of a training run, whose images may still have to be smoothed.

    Attributes
    ----------
    inputs : torch.Tensor, shape (views, n, C, H, W)
        Inputs of this process, in [0, 1].
    labels : torch.Tensor of int, shape (n,)
        Their labels.
    sparsity : float or None
        Mean sparsity of the whole batch over all views, None if it is left to the noise.
    unsmoothed : Sparsities, shape (views, n)
        Sparsity to which each input is still to be smoothed, by `smooth_each`; 0 for no smoothing.
    """

    inputs: Tensor
    labels: Tensor
    sparsity: float | None
    unsmoothed: Sparsities


class Batches(Dataset[TrainingBatch]):
    """The batches of a training run by their number, from 0 to the number of steps.

    `batches[step]` is a `TrainingBatch`: the inputs of this process, their labels, the mean
    sparsity of the whole batch, and what is still to be smoothed.

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
        Folder for the smoothed images, which are then computed once, and again after a change of
        the sources of the smoother. None smooths each batch when it is asked for. Both give the
        same batches.
    transform : callable, optional
        Change of each image in place of those of the recipe, from a tensor of uint8, (C, H, W), to
        one of uint8 or floats in [0, 1], of the same shape.
    finish : bool, optional
        Whether to do the step "smooth" where it is the last one of a view. Otherwise the caller
        does it, on the device of the training.

    Attributes
    ----------
    size : int
        Number of images in a batch, over all processes.
    per_epoch : int
        Number of batches in an epoch.
    smallest_part : int
        Number of images, in all views, that the network sees at once, the smallest.

    Raises
    ------
    TypeError, ValueError
        If a batch has fewer images than all parts of all processes together, if there is a
        `transform` and the recipe changes images too, or if the only step of a run would have a
        learning rate of 0.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: Images,
        *,
        rows: np.ndarray | None = None,
        share: tuple[int, int] = (0, 1),
        cache: Path | None = None,
        transform: Transform | None = None,
        finish: bool = True,
    ) -> None:
        _check_transform(transform, recipe)
        self._transform, self._finish = transform, finish
        self._recipe, self._images, self._share = recipe, images, share
        self._rows = np.arange(len(images)) if rows is None else rows
        self.size = min(recipe.batch_size, len(self._rows))
        if self.size < share[1] * recipe.accumulate:
            raise ValueError(
                f"a batch must hold an image or more for each of {share[1]} processes and "
                f"accumulate={recipe.accumulate} parts, got {self.size}"
            )
        self.smallest_part = self.size // share[1] // recipe.accumulate * len(recipe.all_views)
        # an epoch leaves out the images that fill no batch: different ones in every epoch
        self.per_epoch = len(self._rows) // self.size
        if len(self) == 1 and recipe.schedule == "cosine":
            raise ValueError(
                "schedule must be 'one-cycle' for a run of a single step, because 'cosine' starts "
                "at a learning rate of 0, got 'cosine'"
            )
        self._views = Views(recipe, images.pixels, self._rows)
        self._smoothed: dict[float | Literal["auto"], np.ndarray] = {}
        if cache is not None and recipe.smooths_first:
            self._smoothed = {
                level: self._smooth_all(cache, level)
                for level in set(recipe.all_sparsities) - {0.0}
            }

    def __len__(self) -> int:
        return self.per_epoch * self._recipe.epochs

    def __getitem__(self, step: int) -> TrainingBatch:
        if not 0 <= step < len(self):
            raise IndexError(f"step must be from 0 to {len(self) - 1}, got {step}")
        recipe, rng = self._recipe, np.random.default_rng([self._recipe.seed, step])
        epoch, batch = divmod(step, self.per_epoch)
        order = epoch_order(recipe.seed, epoch, len(self._rows))
        rows = self._rows[order[batch * self.size : (batch + 1) * self.size]]
        decisions = Decisions.sample(rng, recipe, self.size, step / len(self))
        process, processes = self._share
        share = slice(
            self.size * process // processes,
            self.size * (process + 1) // processes,
        )
        own = decisions[share]
        pixels = self._images.pixels[rows[share]]  # (n, C, H, W)
        if recipe.smooths_first:
            pixels = self._smooth_first(pixels, rows[share], own.sparsities[0])
        if self._transform is not None:
            seeds = rng.integers(2**63, size=self.size)[share]
            images = _transform_each(pixels, self._transform, seeds)
        else:
            images = augment(torch.from_numpy(pixels), recipe, own.draws).numpy()
        inputs, unsmoothed = show(images, own, recipe, self._views, finish=self._finish)
        labels = torch.from_numpy(self._images.labels[rows[share]])
        sparsity = _mean(decisions.sparsities)
        return TrainingBatch(torch.from_numpy(inputs), labels, sparsity, unsmoothed)

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
        shape = "x".join(str(length) for length in pixels.shape)  # the digest is of the bytes alone
        name = (
            f"{self._images.metadata['digest']}-{shape}-{recipe.preset}-nu{recipe.nu}-at{level}"
            f"-{virolbi.__version__}-{SMOOTHER_DIGEST}.npy"
        )
        return cached_array(
            cache / name,
            pixels.shape,
            lambda rows: smooth(pixels[rows], level, channel_axis=1, **recipe.form.keywords()),
        )


def _check_transform(transform: Any, recipe: Recipe) -> None:
    """Check that a transform is callable, and that the recipe leaves all changes to it."""
    if transform is None:
        return
    if not callable(transform):
        raise TypeError(f"transform must be callable, got {type(transform).__name__}")
    for name, unchanged in UNCHANGED.items():
        if getattr(recipe, name) != unchanged:
            raise ValueError(
                f"{name} must be {unchanged!r} with a transform, which makes all changes of "
                f"training images, got {getattr(recipe, name)!r}"
            )


def _transform_each(pixels: np.ndarray, transform: Transform, seeds: np.ndarray) -> np.ndarray:
    """Return images after a transform, float32 in [0, 1], each with a seed of its own."""
    changed = []
    for image, seed in zip(torch.from_numpy(pixels), seeds, strict=True):
        with seeded_random(int(seed)):
            changed.append(_check_transformed(transform(image), image))
    return torch.stack(changed).numpy()


def _check_transformed(changed: Any, image: Tensor) -> Tensor:
    """Return a transformed image as floats if it is an image like the one before."""
    if not isinstance(changed, Tensor):
        raise TypeError(f"transform must return a torch tensor, got {type(changed).__name__}")
    if changed.shape != image.shape:
        raise ValueError(
            f"transform must return images of the same shape, {tuple(image.shape)}, "
            f"got {tuple(changed.shape)}"
        )
    result = changed.detach().float() / (255 if changed.dtype == torch.uint8 else 1)
    is_known = changed.dtype == torch.uint8 or changed.is_floating_point()
    if not is_known or not 0 <= float(result.min()) <= float(result.max()) <= 1:
        raise ValueError(
            "transform must return uint8 or floats in [0, 1], because the normalisation is part "
            f"of the network, got {changed.dtype} from {float(result.min()):g} to "
            f"{float(result.max()):g}"
        )
    return result


def _mean(sparsities: Sequence[Sparsities]) -> float | None:
    """Return the mean sparsity of the images in all views, None if one is left to the noise."""
    means = [levels.mean for levels in sparsities]
    return None if None in means else float(np.mean([mean for mean in means if mean is not None]))
