"""Training images that are held out to watch the accuracy."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from virolbi.data import Images, held_out_mask
from virolbi.recipes import Recipe
from virolbi.smooth import smooth


def validation_mask(recipe: Recipe, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return a mask of the training images that a recipe holds out to watch the accuracy.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    labels : ndarray of int64, shape (N,)
        Class of each training image.
    classes : sequence of str
        Names of the classes.

    Returns
    -------
    ndarray of bool, shape (N,)
        True for images that are held out; all False without `recipe.validation`.

    Raises
    ------
    ValueError
        If `recipe.validation` holds out no image, or all images of a class.
    """
    if not recipe.validation:
        return np.zeros(len(labels), bool)
    held_out = held_out_mask(labels, recipe.validation)
    if not held_out.any():
        raise ValueError(
            f"validation must hold out an image or more of {len(labels)}, got {recipe.validation}"
        )
    emptied = np.setdiff1d(labels, labels[~held_out])
    if len(emptied):
        count = np.count_nonzero(labels == emptied[0])
        others = f" and of {len(emptied) - 1} more" * (len(emptied) > 1)
        raise ValueError(
            "validation must leave an image or more of each class to train on, got "
            f"{recipe.validation}, which holds out all {count} of "
            f"class {classes[emptied[0]]!r}{others}"
        )
    return held_out


def hold_out(recipe: Recipe, images: Images) -> tuple[np.ndarray, Images | None]:
    """Return the indices of the images to train on, and the held-out images, smoothed for tests.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    images : Images
        All training images.

    Returns
    -------
    rows : ndarray of int64
        Indices of the images to train on.
    watched : Images or None
        The held-out images, smoothed as test images are; None without `recipe.validation`.

    Raises
    ------
    ValueError
        If `recipe.validation` holds out no image, or all images of a class.
    """
    if not recipe.validation:
        return np.arange(len(images)), None
    held_out = validation_mask(recipe, images.labels, images.classes)
    watched = images.subset(np.flatnonzero(held_out))
    if recipe.procedure != "plain":
        pixels = smooth(watched.pixels, recipe.sparsity, channel_axis=1, **recipe.form.keywords())
        watched = replace(watched, pixels=pixels)
    return np.flatnonzero(~held_out), watched
