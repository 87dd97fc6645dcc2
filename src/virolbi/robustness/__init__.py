"""Attacks, the worst case over them, certificates, and checks for misleading gradients."""

from virolbi.robustness.attacks import autoattack, fgsm, pgd, square
from virolbi.robustness.certificates import ABSTAINED, Certificate, certified_accuracy, certify, check_radii, clopper_pearson
from virolbi.robustness.checks import (
    Finding,
    black_box,
    check,
    gradients,
    large_epsilon,
    one_step,
    probabilities,
    randomness,
    saturation,
)
from virolbi.robustness.worst_case import (
    ADAPTIVE,
    RANDOM,
    Budget,
    StraightThrough,
    WorstCase,
    adaptive,
    attacks_on,
    spread,
    worst_case,
)

__all__ = ['ABSTAINED', 'ADAPTIVE', 'Budget', 'Certificate', 'Finding', 'RANDOM', 'StraightThrough', 'WorstCase', 'adaptive', 'attacks_on', 'autoattack', 'black_box', 'certified_accuracy', 'certify', 'check', 'check_radii', 'clopper_pearson', 'fgsm', 'gradients', 'large_epsilon', 'one_step', 'pgd', 'probabilities', 'randomness', 'saturation', 'spread', 'square', 'worst_case']
