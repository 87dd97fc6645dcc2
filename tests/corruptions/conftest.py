"""Photographs that the tests of corruptions share."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_image


def _to_floats(pixels):
    """Convert (N, H, W, 3) uint8 to (N, 3, H, W) in [0, 1]."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) / np.float32(255)


@pytest.fixture(scope="session")
def small(photographs):
    """48 photographs of 32x32 pixels, float32 in [0, 1], (N, 3, H, W)."""
    return _to_floats(photographs)


@pytest.fixture(scope="session")
def large_pixels():
    """Six photographs of 112x112 pixels, uint8, (N, H, W, 3)."""
    corners = [(60, 100), (180, 300), (300, 420)]
    pictures = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    return np.stack([picture[y : y + 112, x : x + 112] for picture in pictures for y, x in corners])


@pytest.fixture(scope="session")
def large(large_pixels):
    """Return the same photographs, float32 in [0, 1], (N, 3, H, W)."""
    return _to_floats(large_pixels)
