"""A noise that the caller states counts, however small; an estimate counts from `NEGLIGIBLE` on."""

import numpy as np
import pytest
import torch

from virolbi import ScaleSpace, smooth
from virolbi.nn import TensorScale
from virolbi.scale_space import NEGLIGIBLE, Online, noise_strength, stopping_time


@pytest.fixture(scope="module")
def faint():
    """Flat planes under noise of half a grey level, float64."""
    return 0.5 + np.random.default_rng(0).normal(0, 0.002, (3, 32, 32))


@pytest.mark.parametrize("noise", [0.0005, 0.002, 0.9 * NEGLIGIBLE, NEGLIGIBLE])
def test_a_stated_noise_stops_at_its_time(faint, noise):
    def stated(seen):
        return np.full_like(seen, noise)

    scale = ScaleSpace(faint).at(time=stopping_time(noise))
    np.testing.assert_array_equal(smooth(faint, stated), scale.beta)
    assert (scale.beta.std(axis=(1, 2)) < faint.std(axis=(1, 2))).all()


def test_zero_leaves_the_image_as_it_is_beside_others(faint):
    smoothed = smooth(faint, lambda seen: np.array([0, 0.002, 0]))
    assert (smoothed != faint).any(axis=(1, 2)).tolist() == [False, True, False]


def test_estimates_below_the_threshold_change_nothing():
    images = np.random.default_rng(0).normal(0, 0.0039, (200, 32, 32))
    images[:, :16] += 1  # all of the range
    seen = noise_strength(images)
    images = images[(seen > 0) & (seen < NEGLIGIBLE)]
    assert len(images) > 0
    for choice in ("auto", Online(memory=1)):
        np.testing.assert_array_equal(smooth(images, choice), images)
    assert (smooth(images, lambda seen: seen) != images).any()


@pytest.mark.parametrize("noise", [1e-60, 5e-39, 0.002])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_of_any_size_is_followed_in_torch_operations_too(faint, noise, dtype):
    images = faint.astype(dtype)
    form = {"nu": 0.5, "delta": 0.1, "channel_axis": None, "joint": True}

    def stated(seen):
        return np.full_like(seen, noise)

    expected = ScaleSpace(images, **form).at(stated)
    scale = TensorScale.of(torch.from_numpy(images), stated, **form)
    np.testing.assert_allclose(scale.beta.numpy(), expected.beta, atol=1e-4)
    if noise < 1e-30:
        np.testing.assert_array_equal(expected.beta, images)
