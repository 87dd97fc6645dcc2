"""The steps and the memory that a training run takes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from virolbi.data import Images
from virolbi.recipes import Recipe
from virolbi.training.batches import Batches
from virolbi.training.building import build_classifier
from virolbi.training.models import Classifier


@dataclass(frozen=True)
class Plan:
    """The steps and the memory that a training run takes.

    Parameters
    ----------
    parameters : int
        Number of parameters of the network.
    steps : int
        Number of steps.
    batch_size : int
        Number of images in a batch.
    memory : int
        Bytes for the weights, their gradients, the optimizer, and the activations of a batch that
        are kept for the backward pass.
    """

    parameters: int
    steps: int
    batch_size: int
    memory: int


def plan_training(recipe: Recipe, images: Images, count: int) -> Plan:
    """Return the steps and the memory that training takes.

    The memory for activations is measured on one forward pass.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    images : Images
        A few of the training images.
    count : int
        Number of training images.

    Returns
    -------
    Plan
        The plan.

    Raises
    ------
    ValueError
        If there are too few images for a batch of the recipe.
    """
    batches = Batches(recipe, images, rows=np.arange(count))  # they are counted, not made
    model = build_classifier(recipe, images).train()
    shown = batches.size * len(recipe.all_views) / recipe.accumulate
    activations = _measure_activations(model, images) * shown
    parameters = sum(tensor.numel() for tensor in model.parameters())
    # weights, gradients, and one (momentum) or two (moments of AdamW) numbers for each, of 4 bytes
    fixed = 4 * parameters * (4 if recipe.optimizer == "adamw" else 3)
    half = 1 if recipe.precision == "no" else 2
    return Plan(
        parameters=parameters,
        steps=len(batches),
        batch_size=batches.size,
        memory=int(fixed + activations / half),
    )


def _measure_activations(model: Classifier, images: Images) -> float:
    """Return the bytes that a forward pass keeps for the backward pass, per image."""
    sizes: dict[int, int] = {}  # in bytes, by the address of the memory

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        model(torch.from_numpy(images.intensities())).sum()
    return sum(size for address, size in sizes.items() if address not in weights) / len(images)
