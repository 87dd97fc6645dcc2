"""Checks for gradients that mislead attacks, so that a robustness figure means what it says.

References
----------
.. [1] Athalye, Carlini and Wagner, "Obfuscated gradients give a false sense of security", 2018.
.. [2] Carlini et al., "On evaluating adversarial robustness", 2019.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from virolbi._checks import check_count
from virolbi.robustness.attack_checks import (
    check_black_box,
    check_large_epsilon,
    check_one_step,
)
from virolbi.robustness.attacks import BATCH_SIZE, input_gradient
from virolbi.robustness.budgets import Budget, attacks_for
from virolbi.robustness.findings import Finding, share_finding
from virolbi.robustness.independence import check_independent
from virolbi.robustness.logits import look_like_probabilities
from virolbi.robustness.worst_case import (
    RANDOM_IMAGES,
    RANDOM_SPREAD,
    WorstCase,
    is_random,
    logit_spread,
    split_batches,
    worst_case,
)

# change of the margin, relative to it and to first order, if every pixel crossed the whole range
FAINT = 1e-3
# derivative of the cross entropy by the logits: softmax is exact to 1e-7, float32 ends at 1e-38
SATURATED = 1e-20


def check_masking(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    budget: Budget,
    *,
    case: WorstCase | None = None,
    batch_size: int = BATCH_SIZE,
) -> list[Finding]:
    """Run every check on a model.

    A model whose robustness figures can be trusted has no suspicious finding. A hundred images
    say much; ten reveal only gross errors.

    Parameters
    ----------
    model : Module
        Model from intensities to logits, in evaluation mode. One that smooths must be
        `nn.Sequential(smooth, network)`.
    images : Tensor of float, shape (N, C, H, W)
        Images in [0, 1], of which the model classifies at least one correctly.
    labels : Tensor of int64, shape (N,)
        Correct classes.
    budget : Budget
        Budget of the attacks.
    case : WorstCase, optional
        Result of `worst_case` with this budget, if there is one already, so that no attack runs
        twice.
    batch_size : int, optional
        Images processed at once, >= 1. A larger batch takes more memory.

    Returns
    -------
    list of Finding
        One finding for each check. A model without any derivative is not attacked: its findings
        end with "gradients".

    Raises
    ------
    TypeError, ValueError
        Under the conditions of `worst_case`, or if no image is classified correctly.
    """
    check_independent("model", model)
    if case is None and is_random(model, images):
        budget = replace(budget, samples=max(budget.samples, 10))
    findings = [
        check_randomness(model, images),
        check_probabilities(model, images, batch_size=batch_size),
        check_saturation(model, images, labels, batch_size=batch_size),
        check_gradients(model, images, labels, batch_size=batch_size),
    ]
    if findings[-1].measured["differentiable"]:
        case = case or worst_case(
            model, attacks_for(model, budget), images, labels, batch_size=batch_size
        )
        large = check_large_epsilon(
            model, images, labels, steps=budget.steps, seed=budget.seed, batch_size=batch_size
        )
        findings += [check_one_step(case), check_black_box(case), large]
    return findings


def check_randomness(model: nn.Module, images: Tensor, *, passes: int = 10) -> Finding:
    """Check whether passes over the same images give the same logits.

    Attacks on a model that fails this check need its expectation ("eot").

    Parameters
    ----------
    model : Module
        Model from intensities to logits.
    images : Tensor of float, shape (N, C, H, W)
        Images in [0, 1]; the first `RANDOM_IMAGES` are used.
    passes : int, optional
        Forward passes to compare, >= 2. More passes find rarer differences.

    Returns
    -------
    Finding
        Suspicious if the logits of any image differ by more than `RANDOM_SPREAD` of their size.

    Raises
    ------
    TypeError, ValueError
        If `passes` is not a whole number >= 2.
    """
    spread = logit_spread(model, images[:RANDOM_IMAGES], passes=passes)
    random, count, largest = int((spread > RANDOM_SPREAD).sum()), len(spread), float(spread.max())
    return Finding(
        "randomness",
        random > 0,
        {"random": random, "count": count, "largest": largest},
        f"The logits of {random} of {count} images differ between {passes} passes, by up to "
        f"{largest:.2g} of their size"
        f"{'; attacks must average over several passes (eot)' * (random > 0)}.",
    )


def check_probabilities(
    model: nn.Module, images: Tensor, *, batch_size: int = BATCH_SIZE
) -> Finding:
    """Check whether the outputs are probabilities instead of logits.

    The cross entropy of probabilities applies a second softmax, which flattens it.

    Parameters
    ----------
    model : Module
        Model from intensities to logits.
    images : Tensor of float, shape (N, C, H, W)
        Images in [0, 1].
    batch_size : int, optional
        Images processed at once, >= 1.

    Returns
    -------
    Finding
        Suspicious if all outputs are non-negative and sum to 1.
    """
    size = check_count("batch_size", batch_size)
    with torch.no_grad():
        outputs = torch.cat([model(batch) for batch in torch.split(images, size)]).float()
    suspicious = look_like_probabilities(outputs)
    measured = {"lowest": float(outputs.min()), "largest_sum": float(outputs.sum(dim=1).max())}
    sentence = (
        "The outputs are non-negative and sum to 1, as probabilities do, and hardly any logits."
        if suspicious
        else "The outputs are not probabilities."
    )
    return Finding("probabilities", suspicious, measured, sentence)


def check_saturation(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = BATCH_SIZE
) -> Finding:
    """Check whether logits are so large that the softmax saturates.

    The cross entropy then has no slope that an attack could follow.

    Parameters
    ----------
    model : Module
        Model from intensities to logits, in evaluation mode.
    images : Tensor of float, shape (N, C, H, W)
        Images in [0, 1].
    labels : Tensor of int64, shape (N,)
        Correct classes.
    batch_size : int, optional
        Images processed at once, >= 1.

    Returns
    -------
    Finding
        Suspicious if the derivative of the cross entropy by the logits is below `SATURATED` for
        a share of the correctly classified images that is certainly larger than 1 %.

    Raises
    ------
    ValueError
        If no image is classified correctly.
    """
    saturated = total = 0
    for batch, targets in _correct_batches(model, images, labels, batch_size):
        with torch.no_grad():
            logits = model(batch)
        loss = F.cross_entropy(logits.requires_grad_(), targets, reduction="sum")
        slope = torch.autograd.grad(loss, logits)[0]
        saturated += int((slope.abs().amax(dim=1) < SATURATED).sum())
        total += len(batch)
    return share_finding(
        "saturation",
        saturated,
        total,
        f"For {saturated} of {total} correctly classified images the softmax is saturated: the "
        f"derivative of the cross entropy by the logits is below {SATURATED:g}",
    )


def check_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int = BATCH_SIZE
) -> Finding:
    """Check whether the margin between the right logit and the next one has a usable gradient.

    Rounded pixels, steps and operations without a derivative remove it. The check uses the margin
    and not the cross entropy, so that large logits are not mistaken for a missing gradient; those
    are the subject of `check_saturation`.

    Parameters
    ----------
    model : Module
        Model from intensities to logits, in evaluation mode.
    images : Tensor of float, shape (N, C, H, W)
        Images in [0, 1].
    labels : Tensor of int64, shape (N,)
        Correct classes.
    batch_size : int, optional
        Images processed at once, >= 1.

    Returns
    -------
    Finding
        Suspicious if the gradient is at most `FAINT` of the margin, or not a number, for a share
        of the correctly classified images that is certainly larger than 1 %.
        `measured["differentiable"]` is 0 if any batch has no derivative at all.

    Raises
    ------
    ValueError
        If no image is classified correctly.
    """
    zero = faint = total = 0
    differentiable = True
    for batch, targets in _correct_batches(model, images, labels, batch_size):
        pixels = batch.detach().requires_grad_()
        margin = _margin(model(pixels), targets)
        gradient = input_gradient(margin, pixels)
        differentiable &= gradient is not None
        slope = (
            torch.zeros_like(margin) if gradient is None else gradient.abs().flatten(1).sum(dim=1)
        )
        zero += int((slope == 0).sum())
        faint += int((~(slope > FAINT * margin.detach())).sum())  # negated to count NaN too
        total += len(batch)
    finding = share_finding(
        "gradients",
        faint,
        total,
        f"{faint} of {total} correctly classified images have no usable gradient; for {zero} of "
        "them it is exactly zero",
    )
    measured = finding.measured | {"zero": zero, "differentiable": float(differentiable)}
    return replace(finding, measured=measured)


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the right logit minus the largest other one, (N,), positive if correct."""
    right = logits.gather(1, labels[:, None])[:, 0]
    return right - logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


def _correct_batches(
    model: nn.Module, images: Tensor, labels: Tensor, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the correctly classified images of each batch with their labels; refuse none at all."""
    any_correct = False
    for batch, targets in split_batches(images, labels, batch_size):
        with torch.no_grad():
            correct = model(batch).argmax(dim=1) == targets
        if correct.any():
            any_correct = True
            yield batch[correct], targets[correct]
    if not any_correct:
        raise ValueError(
            "images must include one that the model classifies correctly, "
            f"got {len(images)} without"
        )
