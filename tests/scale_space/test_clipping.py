"""Tests of the brightness that clipped noise has lost."""

import numpy as np
import pytest

from virolbi import ScaleSpace, denoise
from virolbi.data import Picture, fill_hidden
from virolbi.scale_space.clipping import clipped_locations, clipped_strengths


def discs(side=160):
    """Return black with grey discs, (side, side), and where it is black far from them."""
    rows, columns = np.mgrid[:side, :side]
    clean, distance = np.zeros((side, side)), np.full((side, side), np.inf)
    for row, column, level in ((40, 40, 0.15), (40, 120, 0.3), (120, 40, 0.6), (120, 120, 0.9)):
        away = np.hypot(rows - row, columns - column) - 25
        clean[away < 0] = level
        distance = np.minimum(distance, away)
    return clean, distance > 8


def noisy(clean, sigma=0.1, seed=0):
    return clean + np.random.default_rng(seed).normal(0, sigma, clean.shape)


@pytest.mark.parametrize("delta", [0.05, 0.1, np.inf])
@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0, 3.0])
def test_locations_are_those_of_clipped_noise(delta, depth):
    sigma = 0.1
    quantiles = (np.arange(200_000) + 0.5) / 200_000
    normal = np.sort(np.random.default_rng(0).normal(size=2_000_000))[(quantiles * 2e6).astype(int)]
    clipped = np.maximum(0, sigma * (depth + normal))
    low, high = 0.0, 1.0
    while high - low > 1e-7:
        middle = (low + high) / 2
        pull = np.clip(clipped - middle, -delta, delta).mean()
        low, high = (middle, high) if pull > 0 else (low, middle)
    [location] = clipped_locations(np.array([depth]), sigma, delta)
    assert location == pytest.approx(low, abs=2e-4)
    if depth:
        [strength] = clipped_strengths(np.array([location]), np.array([depth]), delta)
        assert strength == pytest.approx(sigma, rel=1e-4)


@pytest.mark.parametrize("is_negative", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_black_and_white_are_those_before_clipping(is_negative, dtype):
    clean, black = discs()
    image = noisy(clean).clip(0, 1)
    if is_negative:
        image, clean = 1 - image, 1 - clean
    white = 255 if dtype == np.uint8 else 1
    image = np.rint(image * white).astype(dtype) if white > 1 else image.astype(dtype)
    result = denoise(image, 0.1) / white
    assert abs((image / white - clean)[black].mean()) > 0.035  # sigma / sqrt(2 pi)
    assert abs((result - clean)[black].mean()) < 0.02
    grey = np.isclose(clean, 0.15) | np.isclose(clean, 0.85)
    assert abs((result - clean)[grey].mean()) < 0.01


def test_the_least_number_that_a_float_can_be_changes_nothing():
    image = noisy(discs()[0]).clip(0, 1)
    result = denoise(image, 0.1)
    image[0, 0] = 5e-324  # with it, quotients by the distance of values are infinite
    assert np.abs(denoise(image, 0.1) - result)[16:, 16:].max() < 1e-6


def test_noise_that_is_not_clipped_moves_nothing():
    clean, black = discs()
    shifted = 0.4 + noisy(0.4 * clean, 0.05)
    result = denoise(shifted)
    assert shifted.min() > 0
    assert abs(result[black].mean() - shifted[black].mean()) < 1e-3


def test_few_photons_are_not_taken_for_clipped_noise():
    clean, _ = discs()
    photons = np.random.default_rng(0).poisson(4 * clean + 0.4) / 20
    result = denoise(photons)
    dark = clean == 0
    assert (photons[dark] == 0).mean() > 0.6
    assert result[dark].mean() == pytest.approx(photons[dark].mean(), abs=2e-3)


def test_impulses_are_not_taken_for_clipped_noise():
    clean, _ = discs()
    rng = np.random.default_rng(0)
    clean = 0.2 + 0.5 * clean
    image = np.where(rng.random(clean.shape) < 0.2, 0, clean + rng.normal(0, 0.02, clean.shape))
    result = denoise(image)
    assert abs(np.median(result[clean == 0.2]) - 0.2) < 0.01


@pytest.mark.parametrize("keywords", [{}, {"channel_axis": -1, "joint": False}])
def test_pixels_that_were_filled_in_do_not_count(keywords):
    clean = np.full((160, 80), 0.03)
    image = noisy(clean, 0.08).clip(0, 1)
    hidden = np.zeros(clean.shape, bool)
    hidden[80:] = True
    filled = fill_hidden(Picture(np.where(hidden, np.nan, image)), hidden).pixels
    if keywords:
        filled = filled[..., None].repeat(2, axis=-1)
    result = ScaleSpace(filled, hidden=hidden, **keywords).denoise(0.08)[:80]
    assert abs(result.mean() - 0.03) < 0.006
    assert denoise(image[:80], 0.08).mean() == pytest.approx(result.mean(), abs=0.004)


def test_pixels_may_all_be_filled_in():
    image, hidden = np.full((16, 16), 0.5), np.ones((16, 16), bool)
    assert (ScaleSpace(image, hidden=hidden).denoise(0.1) == image).all()
