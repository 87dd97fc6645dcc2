"""Networks that several test files share; `pythonpath` in pyproject.toml makes them importable."""

import torch
from torch import nn


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


class Rough(nn.Module):
    """Classifier by the mean gradient: class 0 is rougher than `limit`, class 1 is smoother.

    A larger gain makes it more confident; a negative one exchanges the classes.
    """

    def __init__(self, limit, gain=1.0):
        super().__init__()
        self.limit, self.gain = nn.Parameter(torch.tensor(limit)), gain

    def forward(self, images):
        score = self.gain * (images.diff(dim=-1).abs().mean(dim=(1, 2, 3)) - self.limit)
        return torch.stack([score, -score], dim=1)
