import pytest
import torch
from torch import nn

from virolbi.attacks import fgsm, pgd
from virolbi.nn import Smooth


def linear(images):
    """Two logits whose difference is a fixed linear form of the image: the worst case in a box is known."""
    weights = torch.linspace(-1, 1, images[0].numel(), dtype=images.dtype)
    score = images.flatten(1) @ weights
    return torch.stack([score, -score], dim=1)


def test_on_a_linear_model_both_attacks_find_the_worst_corner():
    images = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64)
    labels = torch.tensor([0, 1])
    direction = torch.where(torch.linspace(-1, 1, 16) > 0, 1, -1).reshape(1, 4, 4)
    expected = torch.stack([images[0] - 0.1 * direction, images[1] + 0.1 * direction])
    torch.testing.assert_close(fgsm(linear, images, labels, epsilon=0.1), expected)
    torch.testing.assert_close(pgd(linear, images, labels, epsilon=0.1), expected)
    started = pgd(linear, images, labels, epsilon=0.1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(started, expected)


def test_attacks_stay_in_the_box_and_in_range():
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    adversarial = pgd(linear, images, torch.tensor([0, 1, 0]), epsilon=0.2)
    assert (adversarial - images).abs().max() <= 0.2 + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    torch.testing.assert_close(pgd(linear, images, torch.tensor([0, 1, 0]), epsilon=0), images)


def test_an_attack_sees_through_the_smoothing():
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 0.2 * torch.rand(4, 1, 8, 8, generator=generator)
    weights = torch.randn(2, 64, generator=generator)
    model = nn.Sequential(Smooth(0.9, delta=float("inf")), nn.Flatten(), nn.Linear(64, 2))
    model[2].load_state_dict({"weight": weights, "bias": torch.zeros(2)})
    labels = model(images).argmax(dim=1)
    before = nn.functional.cross_entropy(model(images), labels)
    through = nn.functional.cross_entropy(model(pgd(model, images, labels, epsilon=0.02)), labels)
    around = nn.functional.cross_entropy(model(pgd(model[1:], images, labels, epsilon=0.02)), labels)
    assert through > around > before


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"epsilon must be in \[0, 1\], got 8"):
        fgsm(linear, torch.zeros(1, 1, 4, 4), torch.tensor([0]), epsilon=8)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        pgd(linear, torch.zeros(1, 1, 4, 4), torch.tensor([0]), epsilon=0.1, steps=0)
