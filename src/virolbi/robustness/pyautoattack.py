"""Attacks of the library pyautoattack: Square and AutoAttack."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from virolbi._checks import check_count
from virolbi.robustness.attacks import BATCH_SIZE, Model, Norm, make_ball
from virolbi.robustness.random_state import isolated_random

NORM_NAMES: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}  # in pyautoattack
TARGETS = 9  # classes that each targeted attack of AutoAttack tries
CLASSES_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}  # their losses compare the largest 3 and 4 logits


def square(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    queries: int = 5000,
    generator: torch.Generator,
) -> Tensor:
    """Search square patches at random that fool a model, using its logits only.

    This is the Square attack as implemented in pyautoattack. Images that are misclassified
    already are not queried any further.

    Parameters
    ----------
    model : callable
        Function from intensities in [0, 1] to logits, in evaluation mode.
    images : Tensor of float, shape (N, C, H, W)
        Images to attack, in [0, 1]; at least 5x5 pixels in "l2".
    labels : Tensor of int64, shape (N,)
        Correct classes.
    epsilon : float
        Largest change, in intensity, >= 0: of a pixel in "linf", of the Euclidean length of the
        whole change in "l2". A larger `epsilon` is stronger.
    norm : {"linf", "l2"}, optional
        Norm that measures the change.
    queries : int, optional
        Largest number of forward passes for each image, >= 1. More queries are stronger; the
        schedule by which the squares shrink is scaled to this number.
    generator : torch.Generator
        Source of the random seed.

    Returns
    -------
    Tensor
        Adversarial images in [0, 1], of the same shape and dtype. An image that no query fooled
        is returned unchanged.

    Raises
    ------
    TypeError
        If `queries` is not a whole number.
    ValueError
        If an argument has the wrong shape or is out of its range.

    References
    ----------
    .. [1] Andriushchenko et al., "Square attack: a query-efficient black-box adversarial attack
       via random search", 2020.
    """
    from pyautoattack.square import SquareAttack

    check_count("queries", queries)
    ball = make_ball(images, labels, epsilon, norm)
    _check_size(images, norm)
    if len(images) == 0:
        return images.clone()
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    attack = SquareAttack(
        _adapt_model(model, images),
        norm=NORM_NAMES[norm],
        n_queries=queries,
        eps=epsilon,
        seed=seed,
        resc_schedule=True,
        device=images.device,
    )
    with torch.no_grad(), _isolated(images.device, model):
        adversarial = attack.perturb(images.float(), labels)
    return ball.project(adversarial.to(images))


def autoattack(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    version: Literal["standard", "plus", "rand"] = "standard",
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
) -> Tensor:
    """Run AutoAttack: several attacks without settings, each on the images that are still correct.

    Parameters
    ----------
    model : callable
        Function from intensities in [0, 1] to logits, in evaluation mode.
    images : Tensor of float, shape (N, C, H, W)
        Images to attack, in [0, 1]; at least 5x5 pixels in "l2".
    labels : Tensor of int64, shape (N,)
        Correct classes.
    epsilon : float
        Largest change, in intensity, >= 0: of a pixel in "linf", of the Euclidean length of the
        whole change in "l2". A larger `epsilon` is stronger.
    norm : {"linf", "l2"}, optional
        Norm that measures the change.
    version : {"standard", "plus", "rand"}, optional
        "standard" runs four attacks: APGD-CE, APGD-T, FAB-T and Square with 5,000 queries; "plus"
        tries harder; "rand" is for a random model.
    batch_size : int, optional
        Images attacked at once, >= 1. A larger batch takes more memory.
    seed : int, optional
        Seed of all random choices.

    Returns
    -------
    Tensor
        Adversarial images in [0, 1], of the same shape and dtype. An image that no attack fooled
        is returned unchanged.

    Raises
    ------
    TypeError
        If `batch_size` is not a whole number.
    ValueError
        If an argument has the wrong shape or is out of its range.

    Notes
    -----
    The implementation is that of pyautoattack, which computes in float32 and logs its own warnings
    to the logger "auto-attack". Targeted attacks try the nine most likely other classes, or all if
    there are fewer. APGD-T needs four classes and APGD-DLR three; with fewer they are left out.

    References
    ----------
    .. [1] Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
       diverse parameter-free attacks", 2020.
    """
    from pyautoattack import AutoAttack

    if version not in ("standard", "plus", "rand"):
        raise ValueError(f"version must be 'standard', 'plus' or 'rand', got {version!r}")
    check_count("batch_size", batch_size)
    ball = make_ball(images, labels, epsilon, norm)
    _check_size(images, norm)
    if len(images) == 0:
        return images.clone()
    predict = _adapt_model(model, images)
    with torch.no_grad():
        classes = predict(images[:1].float()).shape[1]
    with _isolated(images.device, model):
        ensemble = AutoAttack(
            predict,
            norm=NORM_NAMES[norm],
            eps=epsilon,
            seed=seed,
            version=version,
            device=images.device,
        )
        ensemble.attacks_to_run = [
            name for name in ensemble.attacks_to_run if classes >= CLASSES_NEEDED.get(name, 2)
        ]
        targets = min(TARGETS, classes - 1)
        ensemble.apgd_targeted.n_target_classes = ensemble.fab.n_target_classes = targets
        adversarial, _ = ensemble.run_standard_evaluation(
            images.float(), labels, batch_size=batch_size
        )
    return ball.project(adversarial.to(images))


def _check_size(images: Tensor, norm: Norm) -> None:
    """Check that images are large enough for Square, which starts from 5x5 tiles in "l2"."""
    if norm == "l2" and min(images.shape[-2:]) < 5:
        raise ValueError(
            f"images must be at least 5x5 for Square in 'l2', got {tuple(images.shape[-2:])}"
        )


def _adapt_model(model: Model, images: Tensor) -> Model:
    """Return a model that pyautoattack can use.

    That library computes in float32, writes into the logits, and may pass an empty batch.
    """
    with torch.no_grad():
        classes = model(images[:1]).shape[1]

    def predict(batch: Tensor) -> Tensor:
        if len(batch) == 0:
            return batch.new_zeros(0, classes)
        return model(batch.to(images.dtype)).to(torch.float32, copy=True)

    return predict


@contextmanager
def _isolated(device: torch.device, model: Model) -> Iterator[None]:
    """Restore what pyautoattack changes on leaving.

    This is the global random state, the trace function that debuggers and coverage use, and the
    gradients of the parameters.
    """
    trace = sys.gettrace()
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        with isolated_random(device):
            yield
    finally:
        sys.settrace(trace)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
