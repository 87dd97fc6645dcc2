"""Checks that compare attacks: a weak attack must not be more successful than a strong one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from virolbi.results import wilson_interval
from virolbi.robustness.attacks import BATCH_SIZE, pgd
from virolbi.robustness.budgets import BLACK_BOX, GRADIENT
from virolbi.robustness.findings import Finding, comparison_finding
from virolbi.robustness.worst_case import WorstCase, split_batches

LARGE = 0.5  # with this epsilon every image can become mid-grey


def check_one_step(case: WorstCase) -> Finding:
    """Check whether "fgsm" fools more images than the best gradient attack of many steps.

    Attacks of many steps can do all that a single step can, and more.

    Parameters
    ----------
    case : WorstCase
        Result of "fgsm" and of at least one other gradient attack.

    Returns
    -------
    Finding
        Suspicious if "fgsm" fools significantly more images.

    Raises
    ------
    ValueError
        If the case lacks these attacks.
    """
    many_steps = _strongest_attack(case, [name for name in GRADIENT if name != "fgsm"])
    return comparison_finding("one step beats many", case, "fgsm", many_steps)


def check_black_box(case: WorstCase) -> Finding:
    """Check whether "square" or "transfer" fools more images than the best gradient attack.

    Parameters
    ----------
    case : WorstCase
        Result of "square" or "transfer" and of at least one gradient attack.

    Returns
    -------
    Finding
        Suspicious if a black-box attack fools significantly more images.

    Raises
    ------
    ValueError
        If the case lacks these attacks.
    """
    white_box = _strongest_attack(case, GRADIENT)
    findings = [
        comparison_finding("black box beats white box", case, black_box, white_box)
        for black_box in BLACK_BOX
        if black_box in case.correct
    ]
    if not findings:
        raise ValueError(f"case must have one of {BLACK_BOX}, got {tuple(case.correct)}")
    return max(findings, key=lambda finding: (finding.suspicious, finding.measured["lead"]))


def check_large_epsilon(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 50,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Finding:
    """Check whether accuracy under PGD exceeds chance when every pixel may change by 0.5.

    With such a change no image needs to keep any of its content.

    Parameters
    ----------
    model : Module
        Model from intensities to logits, in evaluation mode.
    images : Tensor of float, shape (N, C, H, W)
        Images in [0, 1].
    labels : Tensor of int64, shape (N,)
        Correct classes.
    steps : int, optional
        Gradient steps, >= 1. More steps are stronger.
    seed : int, optional
        Seed of the random start.
    batch_size : int, optional
        Images attacked at once, >= 1.

    Returns
    -------
    Finding
        Suspicious if the lower end of the 95 % interval of the accuracy is above chance.

    Raises
    ------
    TypeError, ValueError
        Under the conditions of `pgd`.
    """
    generator = torch.Generator().manual_seed(int(seed))
    correct = total = classes = 0
    for batch, targets in split_batches(images, labels, batch_size):
        adversarial = pgd(model, batch, targets, epsilon=LARGE, steps=steps, generator=generator)
        with torch.no_grad():
            logits = model(adversarial)
        correct += int((logits.argmax(dim=1) == targets).sum())
        total += len(batch)
        classes = logits.shape[1]
    low, high = wilson_interval(correct, total)
    return Finding(
        "large epsilon",
        low > 1 / classes,
        {"correct": correct, "count": total, "low": low, "high": high, "chance": 1 / classes},
        f"PGD with epsilon {LARGE} leaves {correct} of {total} images correct "
        f"(95 % interval: {low:.3f} to {high:.3f}); chance is {1 / classes:.3f}.",
    )


def _strongest_attack(case: WorstCase, names: Sequence[str]) -> str:
    """Return the one of these attacks that leaves the fewest images correct."""
    present = [name for name in names if name in case.correct]
    if not present:
        raise ValueError(f"case must have one of {tuple(names)}, got {tuple(case.correct)}")
    return min(present, key=lambda name: int(case.correct[name].sum()))
