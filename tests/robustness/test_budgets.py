import numpy as np
import pytest
import torch
from torch import nn

from virolbi.nn import Smooth
from virolbi.robustness import (
    ADAPTIVE,
    Budget,
    StraightThrough,
    adaptive_attacks,
    attacks_for,
    check_masking,
    fgsm,
    pgd,
    square,
    worst_case,
)
from virolbi.scale_space import Online


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
def test_straight_through_computes_the_same_with_the_derivative_of_the_identity(problem):
    _, images, _ = problem
    images.requires_grad_()
    smooth, incoming = Smooth(0.8), torch.randn(images.shape, generator=seeded())
    assert torch.equal(StraightThrough(smooth)(images), smooth(images))
    (around,) = torch.autograd.grad(StraightThrough(smooth)(images), images, incoming)
    assert torch.equal(around, incoming)
    (exact,) = torch.autograd.grad(smooth(images), images, incoming)
    assert (exact - incoming).abs().mean() > 0.1


def test_the_adaptive_attacks_are_what_their_names_say(problem):
    network, images, labels = problem
    smooth, budget = Smooth(0.8), Budget(0.05, steps=3, queries=10, seed=3)
    model = nn.Sequential(smooth, network)
    attacks = adaptive_attacks(smooth, network, budget)

    def expected_pgd(model):
        return pgd(model, images, labels, epsilon=0.05, steps=3, generator=seeded(3))

    expected = {
        "fgsm": fgsm(model, images, labels, epsilon=0.05),
        "exact": expected_pgd(model),
        "identity": expected_pgd(nn.Sequential(StraightThrough(smooth), network)),
        "transfer": expected_pgd(network),
        "square": square(model, images, labels, epsilon=0.05, queries=10, generator=seeded(3)),
    }
    assert list(attacks) == list(expected)
    for name, adversarial in expected.items():
        assert torch.equal(attacks[name](images, labels), adversarial), name
    assert not any(
        torch.equal(expected["exact"], expected[name])
        for name in ("fgsm", "identity", "transfer", "square")
    )
    assert set(ADAPTIVE) < set(attacks)


def test_the_attacks_on_a_model_follow_from_its_structure(problem):
    network, _, _ = problem
    smoothed, one, two = nn.Sequential(Smooth(), network), Budget(0.1), Budget(0.1, samples=2)
    plain_names = ["fgsm", "pgd", "square"]
    adaptive_names = ["fgsm", "exact", "identity", "transfer", "square"]
    assert list(attacks_for(network, one)) == plain_names
    assert list(attacks_for(network, two)) == [*plain_names[:2], "eot", *plain_names[2:]]
    assert list(attacks_for(smoothed, one)) == adaptive_names
    assert list(attacks_for(smoothed, two)) == [*adaptive_names[:3], "eot", *adaptive_names[3:]]
    for hidden in (
        nn.Sequential(nn.Identity(), Smooth(), network),
        nn.Sequential(smoothed),
        nn.Sequential(Smooth(), Smooth()),
    ):
        with pytest.raises(ValueError, match="model .*Sequential"):
            attacks_for(hidden, one)


def test_a_model_whose_batch_norm_has_no_statistics_of_its_own_is_refused():
    norm = nn.BatchNorm2d(1, track_running_stats=False)
    model = nn.Sequential(norm, nn.Flatten(), nn.Linear(64, 2)).eval()
    with pytest.raises(ValueError, match="model .*batch norm"):
        attacks_for(model, Budget(0.01))


def test_a_model_that_remembers_earlier_images_is_refused_by_all_that_attack_it(problem):
    network, images, labels = problem
    model = nn.Sequential(Smooth(Online()), network)
    for refused in (
        lambda: attacks_for(model, Budget(0.01)),
        lambda: worst_case(model, {}, images, labels),
        lambda: check_masking(model, images, labels, Budget(0.01)),
    ):
        with pytest.raises(ValueError, match=r"model must .*independently.*Online\(\)"):
            refused()


def test_bad_settings_are_named():
    with pytest.raises(TypeError, match="steps"):
        Budget(0.02, steps=2.5)
    with pytest.raises(ValueError, match="queries"):
        Budget(0.1, queries=0)
    with pytest.raises(ValueError, match="epsilon"):
        Budget(8)


def test_a_budget_of_numbers_of_numpy_is_that_of_numbers_of_python(problem):
    network, images, labels = problem
    one = Budget(0.05, steps=3, queries=10, seed=3)
    other = Budget(np.float64(0.05), steps=np.int64(3), queries=np.int64(10), seed=np.int64(3))
    expected = attacks_for(network, one)
    for name, attack in attacks_for(network, other).items():
        assert torch.equal(attack(images, labels), expected[name](images, labels)), name
    assert check_masking(network, images, labels, other) == check_masking(
        network, images, labels, one
    )
