"""Attacks, the worst case over them, certificates, and checks for misleading gradients."""

from virolbi.robustness.attacks import autoattack, fgsm, pgd, square
from virolbi.robustness.certificates import (
    ABSTAINED,
    Certificate,
    certified_accuracy,
    certify,
    check_radii,
    clopper_pearson,
)
from virolbi.robustness.checks import (
    Finding,
    check_black_box,
    check_gradients,
    check_large_epsilon,
    check_masking,
    check_one_step,
    check_probabilities,
    check_randomness,
    check_saturation,
)
from virolbi.robustness.worst_case import (
    ADAPTIVE,
    RANDOM_SPREAD,
    Budget,
    StraightThrough,
    WorstCase,
    adaptive_attacks,
    attacks_for,
    logit_spread,
    worst_case,
)

__all__ = [
    "ABSTAINED",
    "ADAPTIVE",
    "Budget",
    "Certificate",
    "Finding",
    "RANDOM_SPREAD",
    "StraightThrough",
    "WorstCase",
    "adaptive_attacks",
    "attacks_for",
    "autoattack",
    "certified_accuracy",
    "certify",
    "check_black_box",
    "check_gradients",
    "check_large_epsilon",
    "check_masking",
    "check_one_step",
    "check_probabilities",
    "check_radii",
    "check_randomness",
    "check_saturation",
    "clopper_pearson",
    "fgsm",
    "logit_spread",
    "pgd",
    "square",
    "worst_case",
]
