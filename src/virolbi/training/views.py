"""Views of the images of a training batch, made by the steps that a recipe names.

Each image of each view has random numbers of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from virolbi.corruptions import nearest_resolution, noise_level
from virolbi.recipes import Alternative, Recipe, Sparsities
from virolbi.scale_space import Form
from virolbi.smooth import smooth
from virolbi.training.equaliser import equalise
from virolbi.training.mixing import augmix
from virolbi.training.prime import prime
from virolbi.training.recombination import recombine_pair, recombine_single

MAX_BLUR = 2.0  # pixels: largest standard deviation of the step "blur"

Batched = TypeVar("Batched", np.ndarray, Tensor)
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Step = Callable[[np.ndarray, list[np.random.Generator], Sparsities], np.ndarray]


@dataclass(frozen=True, eq=False)
class Choices:
    """Random choices for the images of a batch in one view.

    Parameters
    ----------
    alternatives : ndarray of int, shape (n,)
        Alternative of the view that each image gets.
    seeds : ndarray of int, shape (n,)
        Seeds of the steps.
    """

    alternatives: np.ndarray
    seeds: np.ndarray

    @classmethod
    def sample(
        cls, rng: np.random.Generator, count: int, view: tuple[Alternative, ...]
    ) -> "Choices":
        """Draw the choices for a batch.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of random numbers.
        count : int
            Number of images.
        view : tuple of Alternative
            Alternatives to choose from.

        Returns
        -------
        Choices
            The choices.
        """
        shares = [alternative.share for alternative in view]
        return cls(rng.choice(len(view), count, p=shares), rng.integers(2**63, size=count))

    def __getitem__(self, rows: slice) -> "Choices":
        return Choices(self.alternatives[rows], self.seeds[rows])

    def taking(self, view: tuple[Alternative, ...], step: str) -> np.ndarray:
        """Return which images take a step.

        Parameters
        ----------
        view : tuple of Alternative
            Alternatives that were chosen from.
        step : str
            Name of the step.

        Returns
        -------
        ndarray of bool, shape (n,)
            True for the images whose alternative has the step.
        """
        has_step = np.array([step in alternative.steps for alternative in view])
        taking: np.ndarray = has_step[self.alternatives]
        return taking

    def ending(self, view: tuple[Alternative, ...], step: str) -> np.ndarray:
        """Return which images take a step as their last one.

        Parameters
        ----------
        view : tuple of Alternative
            Alternatives that were chosen from.
        step : str
            Name of the step.

        Returns
        -------
        ndarray of bool, shape (n,)
            True for the images whose alternative ends with the step.
        """
        ends = np.array([alternative.steps[-1:] == (step,) for alternative in view])
        ending: np.ndarray = ends[self.alternatives]
        return ending


class Views:
    """The steps of views, for the settings and the training images of a run.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    pixels : ndarray of uint8 or float32, shape (N, C, H, W)
        Images in [0, 255].
    rows : ndarray of int
        Indices of those that are trained on, of which "apr-pair" takes its amplitudes.
    """

    def __init__(self, recipe: Recipe, pixels: np.ndarray, rows: np.ndarray) -> None:
        self._recipe, self._pixels, self._rows = recipe, pixels, rows
        strongest = recipe.noise == "strongest"
        self._noise = _strongest_noise(pixels.shape) if strongest else float(recipe.noise)
        self._steps: dict[str, Step] = {
            "augmix": _each(augmix),
            "prime": _each(prime),
            "apr-single": _each(recombine_single),
            "apr-pair": _each(self._recombine_pair),
            "blur": _each(_blur),
            "equalise": partial(_equalise, form=recipe.form),
            "noise": _each(self._add_noise),
            "smooth": partial(_smooth, recipe=recipe),
        }

    def make(
        self,
        images: np.ndarray,
        view: tuple[Alternative, ...],
        choices: Choices,
        sparsities: Sparsities,
    ) -> np.ndarray:
        """Return a view of images, all but the smoothing at its end.

        `smooth_each` does the step "smooth" for the images of `Choices.ending`, in all views at
        once.

        Parameters
        ----------
        images : ndarray of float32, shape (n, C, H, W)
            Images in [0, 1].
        view : tuple of Alternative
            Alternatives of the view.
        choices : Choices
            Random choices for each image.
        sparsities : Sparsities
            Sparsity of each image in the step "smooth".

        Returns
        -------
        ndarray of float32, shape (n, C, H, W)
            Changed images, in [0, 1].
        """
        result = images.copy()
        for number, alternative in enumerate(view):
            rows = np.flatnonzero(choices.alternatives == number)
            if len(rows) == 0 or not alternative.steps:
                continue
            rngs = [np.random.default_rng(seed) for seed in choices.seeds[rows]]
            changed, chosen = result[rows], sparsities[rows]
            last = len(alternative.steps) - (alternative.steps[-1] == "smooth")
            for step in alternative.steps[:last]:
                changed = self._steps[step](changed, rngs, chosen)
            result[rows] = changed
        return result

    def _recombine_pair(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Recombine an image with the amplitudes of a random training image."""
        other = self._pixels[self._rows[rng.integers(len(self._rows))]] / np.float32(255)
        return recombine_pair(image, other, rng)

    def _add_noise(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Add Gaussian noise to an image and clip it to [0, 1]."""
        share = rng.random() if self._recipe.noise_draw == "uniform" else 1.0
        noise = rng.standard_normal(image.shape, np.float32)
        noisy: np.ndarray = (image + np.float32(self._noise * share) * noise).clip(0, 1)
        return noisy


def _strongest_noise(shape: tuple[int, ...]) -> float:
    """Return the standard deviation of Gaussian noise of severity 5 for images of a shape."""
    return noise_level("gaussian_noise", 5, nearest_resolution(*shape[-2:]))


def smooth_each(images: Batched, sparsities: Sparsities, recipe: Recipe) -> Batched:
    """Smooth each image to its own sparsity, in place; those at 0 stay as they are.

    Parameters
    ----------
    images : ndarray or torch.Tensor, shape (N, C, H, W)
        Images, as `virolbi.smooth` takes them. Tensors are smoothed on their device.
    sparsities : Sparsities
        Sparsities of the N images, in this order if they have an axis of views.
    recipe : Recipe
        Settings with the form of the smoother.

    Returns
    -------
    ndarray or torch.Tensor, shape (N, C, H, W)
        The argument `images`.
    """
    auto, numbers = np.flatnonzero(sparsities.auto), np.flatnonzero(sparsities.values > 0)
    levels = sparsities.values.reshape(-1)[numbers]
    choices: tuple[tuple[Any, Any], ...] = (auto, "auto"), (numbers, levels)
    for rows, sparsity in choices:
        if len(rows):
            if isinstance(images, Tensor):
                rows = torch.from_numpy(rows).to(images.device, non_blocking=images.is_cuda)
            images[rows] = smooth(images[rows], sparsity, channel_axis=1, **recipe.form.keywords())
    return images


def _each(change: Change) -> Step:
    """Return a step that changes each image on its own; it can be sent to other processes."""
    return partial(_change_each, change)


def _change_each(
    change: Change, images: np.ndarray, rngs: list[np.random.Generator], sparsities: Sparsities
) -> np.ndarray:
    return np.stack([change(image, rng) for image, rng in zip(images, rngs, strict=True)])


def _equalise(
    images: np.ndarray, rngs: list[np.random.Generator], sparsities: Sparsities, form: Form
) -> np.ndarray:
    return equalise(images, rngs, form)


def _smooth(
    images: np.ndarray, rngs: list[np.random.Generator], sparsities: Sparsities, recipe: Recipe
) -> np.ndarray:
    return smooth_each(images, sparsities, recipe)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur an image by a Gaussian of random width, with reflected borders."""
    width = rng.uniform(0, MAX_BLUR)
    blurred: np.ndarray = gaussian_filter(image, (0, width, width), mode="mirror")
    return blurred
