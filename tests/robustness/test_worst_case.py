import numpy as np
import pytest
import torch
from torch import nn

from helpers import Applied
from virolbi.nn import Smooth
from virolbi.robustness import ADAPTIVE, Budget, attacks_for, logit_spread, worst_case


def images_of(*eighths):
    """Return constant images of 8x8 pixels with these intensities, in eighths."""
    values = torch.tensor(eighths, dtype=torch.float32) / 8
    return values.reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8)


def test_the_worst_case_is_a_conjunction():
    # right below an intensity of 0.95
    model = Applied(lambda x: torch.stack([0.95 - x[:, 0, 0, 0], x[:, 0, 0, 1] * 0], dim=1)).eval()
    images, labels = images_of(0, 1, 2, 3, 8), torch.zeros(5, dtype=torch.int64)

    def fools(*eighths):
        targets, white = torch.tensor(eighths), torch.tensor(1.0)
        return lambda batch, _: torch.where(torch.isin(batch * 8, targets), white, batch)

    attacks = {"odd": fools(1.0, 3.0), "two": fools(2.0), "repair": lambda batch, _: batch * 0}
    for batch_size in (1, np.int64(2), 250):
        case = worst_case(model, attacks, images, labels, batch_size=batch_size)
        assert list(case.correct) == ["clean", "odd", "two", "repair"]
        assert case.correct["clean"].tolist() == [True, True, True, True, False]
        assert case.correct["odd"].tolist() == [True, False, True, False, False]
        assert case.correct["two"].tolist() == [True, True, False, True, False]
        # an image that is misclassified without a change stays misclassified
        assert case.correct["repair"].tolist() == [True, True, True, True, False]
        assert case.robust.tolist() == [True, False, False, False, False]


def test_no_worst_case_of_a_smoothing_model_from_attacks_blind_to_it(problem):
    network, images, labels = problem
    smoothed, budget = nn.Sequential(Smooth(), network), Budget(0.02, steps=2, queries=5)
    plain = {"fgsm": budget.fgsm(smoothed), "pgd": budget.pgd(smoothed)}
    missing = "attacks .*exact, identity, square, transfer"
    with pytest.raises(ValueError, match=missing):
        worst_case(smoothed, plain, images, labels)
    with pytest.raises(ValueError, match=missing):
        worst_case(nn.Sequential(nn.Identity(), smoothed), plain, images, labels)
    with pytest.raises(TypeError, match="model .*function"):
        worst_case(lambda x: smoothed(x), plain, images, labels)
    attacks = attacks_for(smoothed, budget)
    for name in ADAPTIVE:
        others = {other: attacks[other] for other in attacks if other != name}
        with pytest.raises(ValueError, match=rf"attacks must include {name} for"):
            worst_case(smoothed, others, images, labels)
    case = worst_case(smoothed, attacks, images, labels)
    assert case.robust.sum() <= min(mask.sum() for mask in case.correct.values())


def test_no_worst_case_of_a_random_model_from_single_passes(problem):
    model, images, labels = problem
    noisy = nn.Sequential(Applied(lambda x: x + 0.01 * torch.randn(x.shape)), model).eval()
    assert logit_spread(noisy, images).min() > 1e-4
    assert logit_spread(model, images).max() == 0
    one, two = Budget(0.02, steps=2, queries=5), Budget(0.02, steps=2, queries=5, samples=2)
    with pytest.raises(ValueError, match="attacks must include eot for"):
        worst_case(noisy, attacks_for(noisy, one), images, labels)
    worst_case(noisy, attacks_for(noisy, two), images, labels)


def test_a_worst_case_needs_a_model_in_evaluation_mode_and_images():
    images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(ValueError, match="model .*batch norm"):
        worst_case(model, {}, images, labels)
    worst_case(nn.Sequential(model.eval()), {}, images, labels)  # a container may be in training
    with pytest.raises(ValueError, match="images .*got 0"):
        worst_case(model, {}, images[:0], labels[:0])
    with pytest.raises(ValueError, match="batch_size"):
        worst_case(model, {}, images, labels, batch_size=0)


def test_batch_norm_without_statistics_of_its_own_has_no_worst_case():
    norm = nn.BatchNorm2d(1, track_running_stats=False)
    model = nn.Sequential(norm, nn.Flatten(), nn.Linear(64, 2)).eval()
    with pytest.raises(ValueError, match="model .*batch norm"):
        worst_case(model, {}, torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))


def test_the_spread_of_logits_needs_two_passes(linear):
    with pytest.raises(ValueError, match="passes"):
        logit_spread(linear, torch.zeros(1, 1, 4, 4), passes=1)
