"""Models and images that several tests of attacks share."""

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def linear():
    """A model whose two logits differ by a fixed linear form, so that the worst case is known."""

    def model(images):
        weights = torch.linspace(-1, 1, images[0].numel(), dtype=images.dtype)
        score = images.flatten(1) @ weights
        return torch.stack([score, -score], dim=1)

    return model


@pytest.fixture
def problem():
    """A model, 12 images with many pixels at 0 or 1, and the labels that the model gives them.

    The model is a small network with random weights, curved enough that the last of many steps is
    seldom the worst.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [
            nn.Conv2d(2, 8, 3),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(4),
        ]
        model = nn.Sequential(*layers)
        model(torch.zeros(1, 2, 8, 8))
    for parameter in model.parameters():
        parameter.data *= 4
    model.eval()
    uniform = torch.rand(12, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    images = (1.6 * uniform - 0.3).clamp(0, 1)
    return model, images, model(images).argmax(dim=1)
