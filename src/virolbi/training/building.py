"""Classifiers built from recipes."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from virolbi.data import Images
from virolbi.recipes import Recipe
from virolbi.robustness import batch_norms, check_logit_shape, seeded_random
from virolbi.training.filters import build_filter
from virolbi.training.models import (
    Classifier,
    build_network,
    channel_statistics,
    frozen_parts,
    load_weights,
    output_for_zeros,
    pretrained_normalisation,
)


def build_classifier(
    recipe: Recipe, images: Images, network: nn.Module | None = None
) -> Classifier:
    """Return the classifier of a recipe as it is before training.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    images : Images
        Training images. They decide the normalisation, unless `recipe.weights` start from other
        ones: then it is that of the file, or that which timm states for the network.
    network : torch.nn.Module, optional
        Network in place of `recipe.model`, from normalised images to logits. It is copied.

    Returns
    -------
    Classifier
        Filter, normalisation and network, with the weights to start from.

    Raises
    ------
    TypeError
        If `network` is not a module with parameters.
    ValueError
        If the output of `network` has the wrong shape, if `recipe.model` does not exist, if the
        network cannot take the images, if `recipe.weights` cannot be loaded, or if `recipe.frozen`
        fits nothing or all of the network.
    """
    shape, classes = images.pixels.shape[1:], len(images.classes)
    mean, std = channel_statistics(images.pixels)
    with seeded_random(recipe.seed), torch.device("cpu"):
        if network is None:
            network = build_recipe_network(recipe, shape, classes, recipe.weights == "pretrained")
            output_for_zeros(network.eval(), shape, torch.device("cpu"))
            network.train()
        else:
            network = _checked_copy(network, shape, classes)
    if recipe.weights and (stated := pretrained_normalisation(network)) is not None:
        mean, std = (
            part if len(part) == len(mean) else part.mean().expand_as(mean) for part in stated
        )
    model = Classifier(network, mean, std, build_filter(recipe.filter, recipe.standardise))
    if recipe.weights not in ("", "pretrained"):
        load_weights(model, Path(recipe.weights), images.classes)
    for part in frozen_parts(network, recipe.frozen):
        part.requires_grad_(False)
    return model


def check_smallest_part(
    model: Classifier, shape: Sequence[int], count: int, frozen: Sequence[str] = ()
) -> None:
    """Check that batch normalisation can take the parts that batches are processed in.

    Parameters
    ----------
    model : Classifier
        Classifier to train; a copy of it is tried if a part is a single image.
    shape : sequence of int
        Shape of an image, (C, H, W).
    count : int
        Number of images in the smallest part.
    frozen : sequence of str, optional
        Patterns of the names of modules that keep their statistics, see `Recipe`.

    Raises
    ------
    ValueError
        If a part of a single image is one number for a channel, of which there are no statistics.
    """
    if count > 1 or not any(True for _ in batch_norms(model)):
        return
    copy = deepcopy(model).train()
    for part in frozen_parts(copy.network, frozen):
        part.eval()
    try:
        with seeded_random(0), torch.no_grad():
            copy(torch.zeros(1, *shape))
    except ValueError as error:
        raise ValueError(
            "batch_size must leave two images or more to each part of a batch (accumulate) and "
            f"process, for the batch normalisation of this network, got one: {error}"
        ) from error


def build_recipe_network(
    recipe: Recipe, shape: Sequence[int], classes: int, pretrained: bool
) -> nn.Module:
    """Return the network that a recipe names.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    shape : sequence of int
        Shape of an image, (C, H, W).
    classes : int
        Number of classes.
    pretrained : bool
        Whether to load the weights that timm has for the network.

    Returns
    -------
    torch.nn.Module
        Network from normalised images to logits.
    """
    channels, *sides = shape
    return build_network(
        recipe.model, channels=channels, classes=classes, size=min(sides), pretrained=pretrained
    )


def _checked_copy(network: nn.Module, shape: Sequence[int], classes: int) -> nn.Module:
    """Return a copy of a network, or raise an error if it cannot be trained on images (C, H, W)."""
    parameters = list(network.parameters()) if isinstance(network, nn.Module) else []
    if not any(parameter.requires_grad for parameter in parameters):
        frozen = " whose parameters all have requires_grad=False" if parameters else ""
        raise TypeError(
            "network must be an nn.Module with parameters to train, got "
            f"{type(network).__name__}{frozen}"
        )
    copy = deepcopy(network)
    logits = output_for_zeros(copy.eval(), shape, parameters[0].device)
    note = " for two images, one for each class"
    check_logit_shape("network", logits, 2, classes, note=note)
    return copy.train()
