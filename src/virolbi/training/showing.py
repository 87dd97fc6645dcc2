"""The random decisions of a batch, and the images that they show."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from virolbi.recipes import Recipe, Sparsities
from virolbi.training.augmentations import Draws, augment
from virolbi.training.views import Choices, Views, smooth_each


@dataclass(frozen=True, eq=False)
class Decisions:
    """Random decisions for the n images of a batch.

    Parameters
    ----------
    draws : Draws
        How they are cropped, zoomed and flipped.
    choices : tuple of Choices
        Which alternative of each view they get.
    sparsities : tuple of Sparsities, each of shape (n,)
        Sparsities to which they are smoothed in each view; 0 for no smoothing.
    """

    draws: Draws
    choices: tuple[Choices, ...]
    sparsities: tuple[Sparsities, ...]

    @classmethod
    def sample(
        cls, rng: np.random.Generator, recipe: Recipe, count: int, done: float
    ) -> "Decisions":
        """Draw the decisions for a batch.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of random numbers.
        recipe : Recipe
            Settings of the training run.
        count : int
            Number of images.
        done : float
            Share of all steps that is over, in [0, 1).

        Returns
        -------
        Decisions
            The decisions.
        """
        views = recipe.all_views
        draws = Draws.sample(rng, count)
        choices = tuple(Choices.sample(rng, count, view) for view in views)
        sparsities = []
        for view, chosen in zip(views, choices, strict=True):
            if recipe.smooths_first:
                smoothed = chosen.alternatives == 0  # alternative 1 leaves the image untouched
            else:
                smoothed = chosen.taking(view, "smooth")
            sparsities.append(recipe.sparsities(done, count, rng).restrict(smoothed))
        return cls(draws, choices, tuple(sparsities))

    def __getitem__(self, rows: slice) -> "Decisions":
        return Decisions(
            self.draws[rows],
            tuple(choices[rows] for choices in self.choices),
            tuple(sparsities[rows] for sparsities in self.sparsities),
        )


def show(
    images: np.ndarray, decisions: Decisions, recipe: Recipe, steps: Views, *, finish: bool = True
) -> tuple[np.ndarray, Sparsities]:
    """Show images in every view of a recipe.

    Parameters
    ----------
    images : ndarray of float32, shape (n, C, H, W)
        Images in [0, 1], after `augment`.
    decisions : Decisions
        Decisions for these images.
    recipe : Recipe
        Settings of the training run.
    steps : Views
        Steps of the views.
    finish : bool, optional
        Whether to do the step "smooth" where it is the last one of a view.

    Returns
    -------
    inputs : ndarray of float32, shape (views, n, C, H, W)
        Changed images, in [0, 1].
    unsmoothed : Sparsities, shape (views, n)
        Sparsity to which each of them is still to be smoothed; 0 for no smoothing.
    """
    parts = list(zip(recipe.all_views, decisions.choices, decisions.sparsities, strict=True))
    inputs = np.concatenate([steps.make(images, *part) for part in parts])
    unsmoothed = Sparsities.stack(
        [levels.restrict(choices.ending(view, "smooth")) for view, choices, levels in parts]
    )
    if finish:
        smooth_each(inputs, unsmoothed, recipe)
        unsmoothed = unsmoothed.restrict(np.zeros_like(unsmoothed.auto))
    return inputs.reshape(*unsmoothed.auto.shape, *inputs.shape[1:]), unsmoothed


def show_images(pixels: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return images as they would be shown in a first batch of a training run that has all of them.

    Parameters
    ----------
    pixels : ndarray of uint8 or float32, shape (N, C, H, W)
        Images in [0, 255]. Floats may lie between the levels.
    recipe : Recipe
        Settings of the training run. All random numbers come from its seed.

    Returns
    -------
    ndarray of float32, shape (views, N, C, H, W)
        The images in each view of the recipe, in [0, 1].

    Raises
    ------
    ValueError
        If the recipe smooths images before it crops them.
    """
    if recipe.smooths_first:
        raise ValueError(f"order must be 'last' without views, got {recipe.order!r}")
    order = epoch_order(recipe.seed, 0, len(pixels))
    rng = np.random.default_rng([recipe.seed, 0])
    decisions = Decisions.sample(rng, recipe, len(pixels), 0.0)
    images = augment(torch.from_numpy(pixels[order]), recipe, decisions.draws).numpy()
    steps = Views(recipe, pixels, np.arange(len(pixels)))
    inputs, _ = show(images, decisions, recipe, steps)
    shown = np.empty_like(inputs)
    shown[:, order] = inputs
    return shown


@lru_cache(maxsize=1)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of the images in an epoch.

    Parameters
    ----------
    seed : int
        Seed of the training run.
    epoch : int
        Number of the epoch, from 0.
    count : int
        Number of images.

    Returns
    -------
    ndarray of int, shape (count,)
        The numbers of the images.
    """
    return np.random.default_rng([seed, epoch, count]).permutation(count)
