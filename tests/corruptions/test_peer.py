"""Comparisons with the `imagecorruptions` package, which contains the published scripts."""

import importlib

import cv2
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from virolbi.corruptions import LEVELS, NOISES, _blur, _digital, _weather, corrupt
from virolbi.corruptions._corrupt import FIXED


@pytest.fixture
def peer():
    # It is in the dev extra. Without it these tests must fail, not be skipped.
    return importlib.import_module("imagecorruptions.corruptions")


def corrupt_by_peer(peer, name, severity, pixels):
    """Return its result, (N, 3, H, W) in [0, 1]: floats, before they are cut to whole levels."""
    results = [
        np.asarray(getattr(peer, name)(Image.fromarray(image), severity), dtype=float)
        for image in pixels
    ]
    return np.stack(results).transpose(0, 3, 1, 2) / 255


@pytest.mark.slow
@pytest.mark.parametrize("severity", range(1, 6))
def test_fixed_types_equal_those_of_the_peer(peer, large_pixels, large, severity):
    # Pillow rounds pixelate to whole levels after each axis
    tolerances = dict.fromkeys(FIXED, 4e-6) | {"pixelate": 1.01 / 255}
    for name, tolerance in tolerances.items():
        ours = corrupt(large, name, severity, resolution=224)
        theirs = corrupt_by_peer(peer, name, severity, large_pixels)
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0, err_msg=name)


@pytest.fixture
def photograph():
    """One photograph of 180x180 pixels, (1, H, W, 3) uint8 and (1, 3, H, W) in [0, 1].

    At this size every zoom of snow has whole sides, and both crop alike. It is not white: fog
    depends on the brightest value.
    """
    pixels = (load_sample_image("china.jpg")[100:280, 200:380] // 4 * 3)[None]
    return pixels, np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) / np.float32(255)


@pytest.mark.parametrize("severity", range(1, 6))
def test_motion_blur_equals_that_of_the_peer_on_the_same_draws(
    peer, photograph, monkeypatch, severity
):
    pixels, images = photograph
    level = LEVELS["motion_blur"][224][severity - 1]
    ours = _blur.motion_blur(images, level, [np.random.default_rng(0)])
    angle = np.random.default_rng(0).uniform(-45, 45)
    monkeypatch.setattr(np.random, "uniform", lambda low, high: angle)
    theirs = corrupt_by_peer(peer, "motion_blur", severity, pixels)
    np.testing.assert_allclose(ours.clip(0, 1), theirs, atol=2e-6)


@pytest.mark.parametrize("name", ["snow", "spatter"])
@pytest.mark.parametrize("severity", range(1, 6))
def test_snow_and_spatter_equal_those_of_the_peer_on_the_same_draws(
    peer, photograph, monkeypatch, name, severity
):
    pixels, images = photograph
    rng = np.random.default_rng(1)
    draws, angle = rng.standard_normal((180, 180), dtype=np.float32), rng.uniform(-135, -45)
    monkeypatch.setattr(np.random, "uniform", lambda low, high: angle)
    monkeypatch.setattr(np.random, "normal", lambda size, loc, scale: loc + scale * draws)
    change, level = getattr(_weather, name), LEVELS[name][224][severity - 1]
    ours = change(images, level, [np.random.default_rng(1)]).clip(0, 1)
    theirs = corrupt_by_peer(peer, name, severity, pixels)
    # The peer rounds the flakes and, in spatter, nothing that remains
    assert np.abs(ours - theirs).max() < 1.01 / 255


@pytest.mark.parametrize("severity", range(1, 6))
def test_fog_equals_that_of_the_peer_on_the_same_draws(peer, photograph, monkeypatch, severity):
    pixels, images = photograph
    halves = iter([half for half in (128, 64, 32, 16, 8, 4, 2, 1) for _ in range(3)])
    turns = iter([(1, 1), (0, 1), (1, 0)] * 8)
    clouds = np.random.default_rng(2).uniform(-1, 1, (256, 256)).astype(np.float32)

    def uniform(low, high, size):
        half, (y, x) = next(halves), next(turns)
        part = clouds[y * half :: 2 * half, x * half :: 2 * half]
        assert part.shape == size
        return high * part

    ours = _weather.fog(images, LEVELS["fog"][224][severity - 1], [np.random.default_rng(2)])
    monkeypatch.setattr(np.random, "uniform", uniform)
    theirs = corrupt_by_peer(peer, "fog", severity, pixels)
    np.testing.assert_allclose(ours.clip(0, 1), theirs, atol=1e-5)


def test_elastic_displacements_equal_those_of_the_peer(peer, large_pixels, large, monkeypatch):
    """The peer has constants of its own, and no affine part."""
    draws = np.random.default_rng(0).uniform(-1, 1, (2, 112, 112)).astype(np.float32)
    remaining = iter([draws[1], draws[0]])  # along x first
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: high * next(remaining))
    positions = _digital._elastic_positions(draws[None], 250 * 0.085 * 112 * 0.005, 1.12)
    theirs = corrupt_by_peer(peer, "elastic_transform", 3, large_pixels[:1])
    ours = _digital._interpolate(large[:1], positions, "symmetric")
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_affine_part_of_elastic_transform_equals_that_of_opencv(large_pixels, large):
    moves = np.random.default_rng(1).uniform(-9, 9, (1, 3, 2))
    corners = np.float32([[56 + 37, 56 + 37], [56 + 37, 56 - 37], [56 - 37, 56 - 37]])
    matrix = cv2.getAffineTransform(corners, corners + moves[0].astype(np.float32))
    floats = large_pixels[0] / np.float32(255)
    theirs = cv2.warpAffine(floats, matrix, (112, 112), borderMode=cv2.BORDER_REFLECT_101)
    positions = _digital._affine_positions(112, 112, moves)
    ours = _digital._interpolate(large[:1], positions, "reflect")[0].transpose(1, 2, 0)
    assert np.abs(ours - theirs).mean() < 0.002  # OpenCV rounds positions to 1/32 pixel


@pytest.mark.slow
@pytest.mark.parametrize("severity", range(1, 6))
def test_noise_and_glass_agree_with_the_peer_in_their_statistics(
    peer, large_pixels, large, severity
):
    """There are 226,000 elements.

    So an average of changes is known to 0.3 %, and one of impulses to 2 %, for the peer as well.
    """
    np.random.seed(0)  # noqa: NPY002 - the peer's
    for name in (*NOISES, "speckle_noise", "glass_blur"):
        ours = corrupt(large, name, severity, resolution=224) - large
        theirs = corrupt_by_peer(peer, name, severity, large_pixels) - large
        tolerance = {"impulse_noise": 0.05, "glass_blur": 0.03}.get(name, 0.015)
        assert np.abs(ours).mean() == pytest.approx(np.abs(theirs).mean(), rel=tolerance), name
        assert ours.std() == pytest.approx(theirs.std(), rel=tolerance), name
        for low, high in ((0, 0.3), (0.3, 0.6), (0.6, 1)):
            mask = (large >= low) & (large < high)
            expected = pytest.approx(theirs[mask].std(), rel=2 * tolerance)
            assert ours[mask].std() == expected, (name, low)


def test_glass_takes_neighbours_as_the_published_script_does(peer, large_pixels, monkeypatch):
    """Its exchange of array views copies one pixel over the other, and ours does the same."""
    pixels = large_pixels[0, :20, :24].copy()
    moves = np.random.default_rng(0).integers(-2, 2, size=(3, 16, 20, 2), dtype=np.int8)
    remaining = iter(moves.reshape(-1, 2)[:, ::-1])
    monkeypatch.setattr(np.random, "randint", lambda low, high, size: next(remaining))
    monkeypatch.setattr(np.random, "seed", lambda seed: None)
    ours = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32)
    _blur._copy_neighbours(ours, moves[:, ::-1, ::-1].copy(), 2)
    theirs = peer._shuffle_pixels_njit_glass_blur.py_func(20, 24, pixels, (0, 2, 3))
    np.testing.assert_array_equal(ours, theirs.transpose(2, 0, 1))
