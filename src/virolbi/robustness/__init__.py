"""Attacks, the worst case over them, certificates, and checks for misleading gradients."""

from virolbi.robustness.attack_checks import (
    check_black_box,
    check_large_epsilon,
    check_one_step,
)
from virolbi.robustness.attacks import BATCH_SIZE, fgsm, input_gradient, pgd
from virolbi.robustness.budgets import (
    ADAPTIVE,
    Budget,
    StraightThrough,
    adaptive_attacks,
    attacks_for,
)
from virolbi.robustness.certificates import (
    ABSTAINED,
    Certificate,
    certify,
    clopper_pearson,
)
from virolbi.robustness.certified_accuracy import certified_accuracy, check_radii
from virolbi.robustness.checks import (
    check_gradients,
    check_masking,
    check_probabilities,
    check_randomness,
    check_saturation,
)
from virolbi.robustness.findings import Finding
from virolbi.robustness.independence import batch_norms, check_independent
from virolbi.robustness.logits import (
    check_logit_shape,
    check_logits,
    look_like_probabilities,
    warn_of_probabilities,
)
from virolbi.robustness.pyautoattack import autoattack, square
from virolbi.robustness.random_state import isolated_random, seeded_random
from virolbi.robustness.worst_case import (
    RANDOM_IMAGES,
    RANDOM_SPREAD,
    WorstCase,
    is_random,
    logit_spread,
    worst_case,
)

__all__ = [
    "ABSTAINED",
    "ADAPTIVE",
    "BATCH_SIZE",
    "RANDOM_IMAGES",
    "RANDOM_SPREAD",
    "Budget",
    "Certificate",
    "Finding",
    "StraightThrough",
    "WorstCase",
    "adaptive_attacks",
    "attacks_for",
    "autoattack",
    "batch_norms",
    "certified_accuracy",
    "certify",
    "check_black_box",
    "check_gradients",
    "check_independent",
    "check_large_epsilon",
    "check_logit_shape",
    "check_logits",
    "check_masking",
    "check_one_step",
    "check_probabilities",
    "check_radii",
    "check_randomness",
    "check_saturation",
    "clopper_pearson",
    "fgsm",
    "input_gradient",
    "is_random",
    "isolated_random",
    "logit_spread",
    "look_like_probabilities",
    "pgd",
    "seeded_random",
    "square",
    "warn_of_probabilities",
    "worst_case",
]
