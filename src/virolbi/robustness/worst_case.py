"""The worst case over several attacks, which must be adaptive ones for a model that smooths.

No other figure should be called robustness.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from virolbi._checks import check_count
from virolbi.robustness.attacks import BATCH_SIZE, Model
from virolbi.robustness.budgets import ADAPTIVE, Attack, contains_smoother
from virolbi.robustness.independence import check_independent

RANDOM_SPREAD = 1e-4  # a larger spread does not come from the rounding of parallel sums
RANDOM_IMAGES = 32  # images that show whether a model is random


def logit_spread(model: Model, images: Tensor, *, passes: int = 10) -> Tensor:
    """Return how far the logits of an image differ between forward passes.

    Parameters
    ----------
    model : callable
        Function from intensities to logits.
    images : Tensor, shape (N, C, H, W)
        Images in [0, 1].
    passes : int, optional
        Forward passes to compare, >= 2. More passes find rarer differences.

    Returns
    -------
    Tensor, shape (N,)
        Largest difference to the first pass, relative to the largest absolute logit; 0 for
        a deterministic model.

    Raises
    ------
    TypeError, ValueError
        If `passes` is not a whole number >= 2.
    """
    check_count("passes", passes, least=2)
    with torch.no_grad():
        first = model(images)
        size = first.abs().amax(dim=1).clamp(min=torch.finfo(first.dtype).tiny)
        differences = [(model(images) - first).abs().amax(dim=1) for _ in range(passes - 1)]
    return torch.stack(differences).amax(dim=0) / size


def is_random(model: Model, images: Tensor) -> bool:
    """Return whether the logits of a model differ between passes over the same images.

    Parameters
    ----------
    model : callable
        Function from intensities to logits.
    images : Tensor, shape (N, C, H, W)
        Images in [0, 1], at least one; the first `RANDOM_IMAGES` are used.

    Returns
    -------
    bool
        True if the `logit_spread` of any image exceeds `RANDOM_SPREAD`.
    """
    return float(logit_spread(model, images[:RANDOM_IMAGES]).max()) > RANDOM_SPREAD


@dataclass(frozen=True, eq=False)
class WorstCase:
    """Result of several attacks on the same images.

    Parameters
    ----------
    correct : mapping of str to Tensor of bool, shape (N,)
        Which images stayed correct under each attack, by its name; "clean" comes first.
    """

    correct: Mapping[str, Tensor]

    @property
    def robust(self) -> Tensor:
        """Return which images are correct without a change and under every attack.

        Returns
        -------
        Tensor of bool, shape (N,)
            True for images that were correct from the start and that no attack fooled.
        """
        return torch.stack(list(self.correct.values())).all(dim=0)


def worst_case(
    model: nn.Module,
    attacks: Mapping[str, Attack],
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int = BATCH_SIZE,
) -> WorstCase:
    """Run every attack on every correctly classified image, and classify the results.

    Parameters
    ----------
    model : Module
        Model from intensities to logits, in evaluation mode.
    attacks : mapping of str to callable
        Attacks by name: those of `attacks_for` or `adaptive_attacks`, and any others.
    images : Tensor of float, shape (N, C, H, W)
        Images in [0, 1], at least one.
    labels : Tensor of int64, shape (N,)
        Correct classes.
    batch_size : int, optional
        Images attacked at once, >= 1. A larger batch takes more memory.

    Returns
    -------
    WorstCase
        Which images stayed correct under which attack.

    Raises
    ------
    TypeError
        If `model` is not a module, or `batch_size` is not a whole number.
    ValueError
        If an argument is out of its range, if the answer of the model for an image depends on
        other images (`check_independent`), or if an attack that robustness needs is missing: one
        of `ADAPTIVE` for a model that smooths, "eot" for a random model.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            "model must be an nn.Module, in which smoothers can be found, "
            f"got {type(model).__name__}"
        )
    check_count("batch_size", batch_size)
    check_independent("model", model)
    if len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(
            "images must be at least one, with one label each, "
            f"got {len(images)} images and labels of shape {tuple(labels.shape)}"
        )
    _check_attacks(model, attacks, images)
    correct: dict[str, list[Tensor]] = {name: [] for name in ("clean", *attacks)}
    for batch, targets in split_batches(images, labels, batch_size):
        clean = _is_correct(model, batch, targets)
        correct["clean"].append(clean)
        for name, attack in attacks.items():
            survived = clean.clone()
            if clean.any():
                adversarial = attack(batch[clean], targets[clean])
                survived[clean] = _is_correct(model, adversarial, targets[clean])
            correct[name].append(survived)
    return WorstCase({name: torch.cat(parts) for name, parts in correct.items()})


def split_batches(
    images: Tensor, labels: Tensor, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return images and labels in batches.

    Parameters
    ----------
    images : Tensor, shape (N, ...)
        Images.
    labels : Tensor, shape (N,)
        Labels.
    batch_size : int
        Images in each batch but the last, >= 1.

    Returns
    -------
    iterator of tuple of two Tensor
        The images and labels of each batch.
    """
    size = check_count("batch_size", batch_size)  # of Python, because torch takes no other
    return zip(torch.split(images, size), torch.split(labels, size), strict=True)


def _check_attacks(model: nn.Module, attacks: Mapping[str, Attack], images: Tensor) -> None:
    """Check that the attacks include those that a smoothing or random model needs."""
    needed = set(ADAPTIVE) if contains_smoother(model) else set()
    if is_random(model, images):
        needed.add("eot")
    if missing := sorted(needed - set(attacks)):
        raise ValueError(
            f"attacks must include {', '.join(missing)} for a model that smooths or is random "
            f"(samples > 1 adds eot), got {sorted(attacks)}"
        )


def _is_correct(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Return which images are classified correctly: bool, (N,)."""
    with torch.no_grad():
        return model(images).argmax(dim=1) == labels
