"""Tests of `denoise`: the path, and means over like pixels."""

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from virolbi import ScaleSpace, denoise, noise_strength, smooth
from virolbi.scale_space import averaging
from virolbi.scale_space.averaging import AROUND, GUIDE, LIKE, average_planes, split_noise
from virolbi.scale_space.noise import planes_noise
from virolbi.scale_space.noise_estimate import NoiseEstimate
from virolbi.scale_space.noise_level import VarianceStabiliser, fit_noise_level


def scene(side=96):
    """Return a colour picture of slopes and discs, float32, (side, side, 3)."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:side, :side] / side
    image = 0.5 + rng.uniform(-0.2, 0.2, 3) * rows[..., None] + 0.2 * columns[..., None]
    for row, column, radius in rng.random((8, 3)) * [1, 1, 0.25]:
        image[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = rng.random(3)
    return image.clip(0, 1).astype(np.float32)


def grainy(clean, sigma=0.1, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return (clean + noise).clip(0, 1).astype(clean.dtype)


def with_impulses(clean, share=0.03):
    rng = np.random.default_rng(1)
    values = (rng.random(clean.shape) < 0.5).astype(clean.dtype)
    return np.where(rng.random(clean.shape) < share, values, clean)


def error(image, clean):
    return np.sqrt(np.mean((image.astype(np.float64) - clean) ** 2))


EVEN = (1.0, 0.0, 0.0)


def mean_of_like(planes, guide, grain):
    """Return the means over like pixels of (C, H, W), neighbour by neighbour."""
    height, width = planes.shape[1:]
    total, result = np.zeros((height, width)), np.zeros_like(planes)
    for dy, dx in product(range(-5, 6), repeat=2):
        if dx**2 + dy**2 > 25 or abs(dy) >= height or abs(dx) >= width:
            continue
        rows, columns = (
            slice(max(0, -dy), height - max(0, dy)),
            slice(max(0, -dx), width - max(0, dx)),
        )
        there = slice(rows.start + dy, rows.stop + dy), slice(columns.start + dx, columns.stop + dx)
        square = ((guide[:, rows, columns] - guide[:, *there]) ** 2).mean(axis=0)
        around = uniform_filter(square, 3, mode="nearest")
        own = len(planes) ** 2 / (len(planes) ** 2 + AROUND)
        unlike = own * square + (1 - own) * around
        weight = np.exp(-(dx**2 + dy**2) / 18) / (1 + unlike / (2 * LIKE * grain) ** 2) ** 2
        total[rows, columns] += weight
        result[:, rows, columns] += weight * planes[:, *there]
    return result / total


@pytest.mark.parametrize("shape", [(1, 9, 17), (3, 12, 5), (5, 2, 3), (2, 1, 1)])
def test_means_over_like_pixels_are_those_of_a_loop_over_pixels(shape):
    planes, guide = np.random.default_rng(0).random((2, 3, *shape))
    grain = np.array([0.1, 0.0, 0.4])
    expected = [
        mean_of_like(planes[0], guide[0], 0.1),
        planes[1],
        mean_of_like(planes[2], guide[2], 0.4),
    ]
    np.testing.assert_allclose(average_planes(planes, guide, grain), expected, rtol=1e-9)
    single = average_planes(planes.astype(np.float32), guide.astype(np.float32), grain)
    np.testing.assert_allclose(single, expected, atol=1e-6)


def test_tiles_do_not_show(monkeypatch):
    planes, grain = np.random.default_rng(0).random((2, 3, 20, 31)), np.array([0.1, 0.2])
    whole = average_planes(planes, planes, grain)
    monkeypatch.setattr(averaging, "TILE", (7, 5))
    np.testing.assert_array_equal(average_planes(planes, planes, grain), whole)


def test_grain_is_removed_better_than_by_the_path_alone():
    clean = scene()
    noisy = grainy(clean)
    left = error(denoise(noisy, channel_axis=-1), clean)
    assert left < 0.85 * error(smooth(noisy, "auto", channel_axis=-1), clean)
    assert left < 0.3 * error(noisy, clean)


def test_contours_stay_sharp():
    clean = np.full((8, 64, 64), 0.25, np.float32)
    clean[..., 32:] = 0.75
    denoised = denoise(grainy(clean))
    assert np.mean(denoised[..., 32] - denoised[..., 31]) > 0.44


def test_impulses_are_left_to_the_path():
    clean = scene()
    noisy = with_impulses(clean)
    left = error(denoise(noisy, channel_axis=-1), clean)
    assert left < 1.03 * error(smooth(noisy, "auto", channel_axis=-1), clean)
    assert left < 0.3 * error(noisy, clean)


def test_the_path_is_followed_for_outliers_and_a_share_of_the_grain():
    planes = np.moveaxis(with_impulses(grainy(scene(), 0.05)), -1, 0)[None]
    estimate = planes_noise(planes)
    acting, averaged = split_noise("auto", estimate)
    share = estimate.texture_free / (estimate.texture_free + estimate.outliers)
    np.testing.assert_allclose(averaged, share * np.sqrt(estimate.texture_free))
    left = estimate.texture_free * (1 - (1 - GUIDE**2) * share**2)
    np.testing.assert_allclose(acting, 1.05 * np.sqrt(left + 0.076 * estimate.outliers**0.6))
    share = estimate.grain / estimate.strength**2
    _, twice = split_noise(lambda strength: 2 * strength, estimate)
    np.testing.assert_allclose(twice, 2 * share * np.sqrt(estimate.grain))


@pytest.mark.parametrize("parts", [(0.01, 0, 0), (0.001, 0.02, 0), (0, 0.004, 0.02), (0, 0, 0.03)])
def test_the_noise_level_function_is_found(parts):
    rng = np.random.default_rng(0)
    clean = np.repeat(rng.uniform(0.1, 0.9, (16, 16)), 16, axis=0).repeat(16, axis=1)
    variance = parts[0] + parts[1] * clean + parts[2] * clean**2
    noisy = clean + np.sqrt(variance) * rng.normal(size=clean.shape)
    (found,) = fit_noise_level(planes_noise(noisy[None, None]).groups)[:, :3]
    brightness = np.array([0.15, 0.3, 0.5, 0.7, 0.85])
    expected = parts[0] + parts[1] * brightness + parts[2] * brightness**2
    level = found[0] + found[1] * brightness + found[2] * brightness**2
    assert (found >= 0).all()
    np.testing.assert_allclose(level, expected / variance.mean(), rtol=0.15, atol=0.03)


def test_without_groups_or_noise_the_level_is_even():
    groups = np.zeros((2, 8, 3))
    groups[1] = 0.5, 0.0, 1e9  # of one brightness
    np.testing.assert_array_equal(fit_noise_level(groups), [[*EVEN, 0, 0], [*EVEN, 0.5, 0.5]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_even_noise_needs_no_transform(dtype):
    planes = np.random.default_rng(0).random((2, 3, 5, 7)).astype(dtype)
    stabilise = VarianceStabiliser(np.array([(*EVEN, 0.2, 0.6), (*EVEN, 0, 0)]))
    stabilised = stabilise(planes)
    assert stabilised.dtype == dtype
    np.testing.assert_allclose(stabilised, planes, atol=1e-6)
    assert VarianceStabiliser(np.empty((0, 5)))(planes[:0]).shape == (0, 3, 5, 7)


def test_the_slope_of_the_transform_is_that_of_the_noise_level():
    level = np.array([[0.2, 0.4, 1.5, 0.1, 0.6], [0.0, 0.5, 0.0, 0.0, 0.0]])
    shades = np.tile(np.linspace(-0.1, 1.1, 1201), (2, 1)).reshape(2, 1, 1, -1)
    slope, floor = np.diff(VarianceStabiliser(level)(shades)[:, 0, 0]) / 0.001
    here = np.clip((shades[0, 0, 0, 1:] + shades[0, 0, 0, :-1]) / 2, 0.1, 0.6)
    np.testing.assert_allclose(slope, (0.2 + 0.4 * here + 1.5 * here**2) ** -0.5, rtol=5e-3)
    np.testing.assert_allclose(floor, 0.05**-0.5, rtol=1e-3)


def test_noise_has_one_strength_after_the_transform():
    rng, side = np.random.default_rng(0), 512
    clean = np.repeat(np.linspace(0.1, 0.9, 8), side // 8)[:, None] + np.zeros(side)
    noisy = (rng.poisson(100 * clean) / 100)[None, None]
    stabilise = VarianceStabiliser(fit_noise_level(planes_noise(noisy).groups))
    deviations = [strip.std() for strip in np.split(stabilise(noisy)[0, 0], 8)]
    assert max(deviations) < 1.15 * min(deviations)
    before = [strip.std() for strip in np.split(noisy[0, 0], 8)]
    assert max(before) > 2.5 * min(before)


def test_noise_that_grows_with_brightness_is_removed_where_it_is():
    clean = 0.05 + 0.9 * scene()[..., 0].clip(0, 1) ** 3
    rng = np.random.default_rng(0)
    noisy = (rng.poisson(60 * clean) / 60).clip(0, 1).astype(np.float32)
    space = ScaleSpace(noisy)
    bright = clean > 0.4
    even = space.noise._replace(groups=np.zeros((8, 3)))
    denoised = space.denoise()
    space.noise = even
    alike = space.denoise()
    assert error(denoised[bright], clean[bright]) < 0.85 * error(alike[bright], clean[bright])
    assert error(denoised, clean) < 0.9 * error(alike, clean)


def test_faint_contours_in_the_dark_survive_beside_noise_that_grows_with_brightness():
    columns = np.arange(128) + np.zeros((96, 1))
    clean = np.where(columns < 64, np.where(columns // 4 % 2, 0.03, 0.06), 0.7)
    noisy = (np.random.default_rng(0).poisson(300 * clean) / 300).clip(0, 1)
    dark = denoise(noisy)[:, 4:60]
    contrast = dark[clean[:, 4:60] == 0.06].mean() - dark[clean[:, 4:60] == 0.03].mean()
    assert contrast > 0.015  # of 0.03


def test_channels_much_darker_than_the_brightness_of_all_are_smoothed():
    clean = np.full((96, 96, 3), (0.02, 0.02, 0.9))
    clean[24:72, 24:72] = 0.1, 0.02, 0.9
    noisy = (clean + np.random.default_rng(3).normal(0, 15 / 255, clean.shape)).clip(0, 1)
    path = smooth(noisy, "auto", channel_axis=-1)
    assert error(denoise(noisy, channel_axis=-1), clean) < 1.02 * error(path, clean)


def test_means_keep_the_brightness_of_noise_that_grows_with_it():
    clean = np.where(np.arange(128) < 64, 0.1, 0.5) + np.zeros((128, 1))
    noisy = np.random.default_rng(0).poisson(40 * clean) / 40
    denoised = denoise(noisy)
    for part in (np.s_[:, :60], np.s_[:, 68:]):
        assert abs(denoised[part].mean() - noisy[part].mean()) < 0.003


def test_bars_without_noise_stay_black_beside_noise_that_grows_with_brightness():
    clean = scene()[..., 0]
    noisy = (np.random.default_rng(0).poisson(15 * clean) / 15).clip(0, 1)
    noisy[:20] = 0
    assert denoise(noisy)[:14].max() < 0.002


def test_what_is_brighter_than_all_noise_is_not_blurred():
    """A sign without noise on a ground that is quiet at the left and noisy at the right."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:256, :256]
    is_sign = (abs(y - 128) < 20) & (abs(x - 128) < 20)
    sign = 0.5 + 0.25 * ((y // 6 + x // 6) % 2)
    sky = np.where(x < 128, 0, 0.02) + np.where(x < 128, 0.001, 0.02) * rng.normal(size=x.shape)
    image = np.rint(np.where(is_sign, sign, sky).clip(0, 1) * 255).astype(np.uint8)
    change = denoise(image)[is_sign].astype(int) - image[is_sign]
    assert abs(change).max() <= 4


def test_without_outliers_half_the_grain_is_left_to_averages():
    estimate = NoiseEstimate(*(np.array([value]) for value in (0.01, 0.01, 0.0, 0.004, 0.0)))
    acting, averaged = split_noise("auto", estimate)
    np.testing.assert_allclose(acting, [1.05 * 0.05])
    np.testing.assert_allclose(averaged, [0.1])


@pytest.mark.parametrize("noise", [0, lambda seen: 0 * seen])
def test_no_noise_leaves_images_as_they_are(noise):
    noisy = grainy(scene())
    np.testing.assert_array_equal(denoise(noisy, noise, channel_axis=-1), noisy)


def test_noise_that_the_dtype_cannot_hold_changes_nothing():
    image = np.random.default_rng(0).random((16, 16)).astype(np.float32)
    np.testing.assert_allclose(denoise(image, 1e-25), image, atol=1e-6)


def test_auto_leaves_pictures_without_noise_as_they_are(photographs):
    for picture in (photographs[0], np.full((16, 16), 200, np.uint8), np.arange(4.0)[None] / 4):
        axis = -1 if picture.ndim == 3 else None
        np.testing.assert_array_equal(denoise(picture, channel_axis=axis), picture)


def test_more_noise_smooths_more():
    noisy = grainy(scene())
    roughness = [
        np.abs(np.diff(denoise(noisy, noise, channel_axis=-1), axis=0)).sum()
        for noise in (0.02, 0.05, 0.1, 0.2)
    ]
    assert (np.diff(roughness) < 0).all()


def test_each_image_has_its_own_noise_and_does_not_depend_on_the_others():
    batch = np.stack([grainy(scene(), 0.1), scene(), grainy(scene(), 0.03)])
    together = denoise(batch, channel_axis=-1)
    for image, result in zip(batch, together, strict=True):
        np.testing.assert_array_equal(denoise(image, channel_axis=-1), result)
    stated = denoise(batch, [0.1, 0, 0.03], channel_axis=-1)
    np.testing.assert_array_equal(stated[1], batch[1])
    np.testing.assert_array_equal(denoise(batch[2], 0.03, channel_axis=-1), stated[2])


def test_a_function_receives_the_noise_that_is_seen():
    noisy = grainy(scene())
    seen = []
    result = denoise(noisy, lambda strengths: seen.append(strengths) or strengths, channel_axis=-1)
    np.testing.assert_array_equal(seen, [noise_strength(noisy, channel_axis=-1)])
    stated = denoise(noisy, float(seen[0]), channel_axis=-1)
    np.testing.assert_array_equal(result, stated)


def test_integers_and_other_ranges_are_treated_alike():
    noisy = np.rint(255 * grainy(scene())).astype(np.uint8)
    expected = denoise(noisy, channel_axis=-1)
    assert expected.dtype == np.uint8
    wide = denoise(noisy.astype(np.uint16), channel_axis=-1, data_range=255)
    np.testing.assert_array_equal(wide, expected)
    first = denoise(np.moveaxis(noisy, -1, 0), channel_axis=0)
    np.testing.assert_array_equal(np.moveaxis(first, 0, -1), expected)


def test_channels_by_themselves_are_images_of_their_own():
    noisy = grainy(scene())
    apart = denoise(noisy, channel_axis=-1, joint=False)
    for channel in range(3):
        np.testing.assert_array_equal(apart[..., channel], denoise(noisy[..., channel]))


def test_empty_batches_stay_empty():
    assert denoise(np.empty((0, 8, 8), np.float32)).shape == (0, 8, 8)


def test_the_number_of_threads_does_not_matter(tmp_path):
    code = (
        "import numpy as np; from virolbi import denoise; "
        "x = np.random.default_rng(0).random((3, 70, 90)); "
        "np.save({!r}, denoise(x, 0.2, channel_axis=0))"
    )
    results = []
    for threads in "12":
        file = str(tmp_path / f"{threads}.npy")
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", code.format(file)], check=True, env=environment)
        results.append(np.load(file))
    np.testing.assert_array_equal(*results)


def test_progress_goes_from_none_to_all():
    done = []
    space = ScaleSpace(grainy(scene()), channel_axis=-1)
    space.denoise(progress=done.append)
    assert done == sorted(done)
    assert done[0] >= 0
    assert done[-1] == 1


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (-0.1, r"noise must be a fraction of the data range, in \[0, 1\], got -0.1"),
        (25, r"noise must be a fraction of the data range, in \[0, 1\], got 25"),
        (np.nan, r"noise must be a fraction of the data range, in \[0, 1\], got nan"),
        ("best", "noise must be a number, 'auto' or a function, got 'best'"),
        (True, r"noise must be a number or an array .* got True"),
        ([0.1, 0.2], r"noise must be a number or an array that broadcasts to shape \(\)"),
        (lambda seen: -seen, "noise must choose a noise >= 0"),
        (None, "noise must be a number or an array"),
    ],
)
def test_other_noise_is_refused(noise, message):
    with pytest.raises(ValueError, match=message):
        denoise(grainy(scene(32)), noise, channel_axis=-1)


def test_tensors_are_refused():
    with pytest.raises(TypeError, match="tensor"):
        denoise(torch.rand(8, 8))
