"""Real images for tests, from packages that ship them, in an environment without network access.

Triton kernels run in its interpreter.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
# Triton reads it when it is imported; `benchmarks/device.py` sets it to 0, to test on a GPU
os.environ.setdefault("TRITON_INTERPRET", "1")

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image


@pytest.fixture(scope="session")
def photographs():
    """48 real colour images of 32x32 pixels, uint8, (N, H, W, 3).

    They are tiles of two photographs, box-reduced by 3.
    """
    tiles = []
    for name in ("china.jpg", "flower.jpg"):
        small = np.asarray(Image.fromarray(load_sample_image(name)).reduce(3))
        tiles += [
            small[i : i + 32, j : j + 32] for i in range(0, 128, 32) for j in range(0, 192, 32)
        ]
    return np.stack(tiles)


@pytest.fixture(scope="session")
def planes(photographs):
    """50 real grey planes of 32x32 pixels in [0, 1], float32, with few flat areas."""
    candidates = (photographs / np.float32(255)).transpose(0, 3, 1, 2).reshape(-1, 32, 32)
    rough = np.argsort(
        [
            -np.count_nonzero(np.diff(plane)) - np.count_nonzero(np.diff(plane, axis=0))
            for plane in candidates
        ],
        kind="stable",
    )
    return candidates[np.sort(rough[:50])]


@pytest.fixture(scope="session")
def noisy(photographs):
    """8 small colour images with Gaussian noise, float64, (N, 3, 12, 12); no ties or flat areas."""
    rng = np.random.default_rng(0)
    images = photographs[::6, :12, :12].transpose(0, 3, 1, 2) / 255
    return np.clip(images + rng.normal(0, 0.05, images.shape), 0.001, 0.999) + rng.uniform(
        0, 1e-4, images.shape
    )


@pytest.fixture
def folder_of_images(tmp_path):
    """A folder with a folder for each class: 30 bright and 30 dark grey images of 12x12 pixels."""
    rng = np.random.default_rng(1)
    for name, level in (("bright", 200), ("dark", 50)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(30):
            pixels = np.clip(rng.normal(level, 20, (12, 12)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index:02}.png")
    return tmp_path / "pictures"


@pytest.fixture
def folder_with_12_bits(tmp_path):
    """A folder with a folder for each class: 10 images each, of 12x12 pixels, 12 bits in uint16."""
    rng = np.random.default_rng(2)
    for name, level in (("bright", 3000), ("dark", 1000)):
        (tmp_path / "microscope" / name).mkdir(parents=True)
        for index in range(10):
            pixels = np.clip(rng.normal(level, 500, (12, 12)), 0, 4095).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / "microscope" / name / f"{index:02}.png")
    return tmp_path / "microscope"
