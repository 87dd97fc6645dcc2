import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont

from virolbi import ScaleSpace, denoise, smooth
from virolbi._engine import LIMITS, STATISTICS, block_statistics
from virolbi.corruptions import corrupt, low_resolution
from virolbi.nn import Smooth, TensorScale
from virolbi.nn import noise as tensor_noise
from virolbi.scale_space import (
    NEGLIGIBLE,
    OUTLIER,
    Form,
    block_grid,
    estimate_noise,
    noise_strength,
    planes_noise,
    stopping_time,
    time_for_noise,
)


@pytest.fixture
def rng():
    """Random numbers of one test, whatever ran before it."""
    return np.random.default_rng(0)


def block_pixel_by_pixel(planes, rows, columns):
    """Return the statistics of a block of (C, H, W), given its rows and columns, by its pixels."""
    clean = planes.copy()
    for c, y, x in np.ndindex(*planes.shape):
        if 0 < y < planes.shape[1] - 1 and 0 < x < planes.shape[2] - 1:
            around = planes[c, [y - 1, y + 1, y, y], [x, x, x - 1, x + 1]]
            near = np.clip(planes[c, y, x], around.min(), around.max())
            if abs(planes[c, y, x] - near) > OUTLIER:
                clean[c, y, x] = np.median(around)
    second, step = np.array([1, -2, 1]), np.array([1, 1, -1, -1])
    mean = clean.mean(axis=0)

    def pairs(y, x):
        here = planes[:, y, x]
        return [abs(np.mean(here - planes[:, i, j])) for i, j in ((y + 1, x), (y, x + 1))]

    def is_alike(c, y, x):
        around = np.delete(planes[c, y - 1 : y + 2, x - 1 : x + 2], 4)
        return np.ptp(around) <= OUTLIER

    corner = planes[:, rows[0] : rows[-1] + 2, columns[0] : columns[-1] + 2]
    steps = np.append(np.diff(corner[..., :-1], axis=1), np.diff(corner[:, :-1], axis=2))
    least = np.abs(steps[steps != 0]).min(initial=np.inf)
    values = [
        (
            clean[c, y, x],
            (second @ clean[c, y - 1 : y + 2, x - 1 : x + 2] @ second) ** 2 / 36,
            (step @ clean[c, y - 1 : y + 3, x - 1 : x + 3] @ step) ** 2 / 16,
            (planes[c, y, x] - clean[c, y, x]) ** 2,
            planes[c, y, x] == planes[c, y - 1, x] == planes[c, y, x - 1],
            (planes[c, y, x] - clean[c, y, x]) ** 2 * is_alike(c, y, x),
            is_alike(c, y, x),
            (second @ mean[y - 1 : y + 2, x - 1 : x + 2] @ second) ** 2 / 36,
            (planes[:, y, x] <= 0).all(),
            1,
            least,
            *(np.mean([pair <= limit + 1e-6 for pair in pairs(y, x)]) for limit in LIMITS),
        )
        for c in range(len(planes))
        for y in rows
        for x in columns
    ]
    return np.mean(values, axis=0)


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_rounding_errors_of_floats_do_not_change_the_estimate(rng, channels):
    levels = np.rint(100 + rng.normal(0, 1.5, (channels, 96, 96))) / 255
    expected = noise_strength(levels, channel_axis=0)
    assert abs(expected * 255 / 1.53 - 1) < 0.1  # with the noise of rounding
    for other in (
        levels.astype(np.float32),
        (levels + 1 / 255).astype(np.float32),
        levels + rng.uniform(-1e-9, 1e-9, levels.shape),
    ):
        # blocks of equal brightness are sorted otherwise
        assert abs(noise_strength(other, channel_axis=0) / expected - 1) < 0.05


@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_noise_on_black_is_seen_though_half_of_it_is_cut_off(rng, sigma):
    rows, columns = np.mgrid[:128, :128]
    spots = np.exp(-(((rows % 40 - 20) ** 2 + (columns % 40 - 20) ** 2) / 60))
    noisy = np.rint(255 * (spots + rng.normal(0, sigma, spots.shape)).clip(0, 1)).astype(np.uint8)
    before, after = (np.mean((x / 255 - spots) ** 2) for x in (noisy, smooth(noisy, "auto")))
    assert after < before / 2


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 17, 31), (1, 48, 33), (2, 4, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_statistics_of_blocks_are_those_of_a_loop_over_pixels(rng, shape, dtype):
    planes = rng.integers(0, 5, (2, *shape)) / 4  # with outliers, and equal and near pixels
    planes = (planes + rng.choice([0, 0.05], planes.shape, p=[0.9, 0.1])).astype(dtype)
    height, width = shape[1:]
    rows, columns = block_grid(height, width)
    statistics = np.empty((2, rows, columns, STATISTICS))
    block_statistics(planes, np.empty((0, 0, 0), bool), statistics, OUTLIER)
    for i, j in np.ndindex(rows, columns):
        ys = range(1 + i * (height - 3) // rows, 1 + (i + 1) * (height - 3) // rows)
        xs = range(1 + j * (width - 3) // columns, 1 + (j + 1) * (width - 3) // columns)
        expected = [block_pixel_by_pixel(image, ys, xs) for image in planes.astype(np.float64)]
        np.testing.assert_allclose(statistics[:, i, j], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 17, 31), (1, 96, 80), (2, 4, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [2, 256])  # with two, many blocks tie but for rounding
def test_the_estimate_is_the_same_in_torch_operations(rng, shape, dtype, levels):
    planes = (0.3 + rng.integers(0, levels, (40, *shape)) / (3 * levels)).astype(dtype)
    for one, other in zip(
        planes_noise(planes), tensor_noise.planes_noise(torch.from_numpy(planes)), strict=True
    ):
        np.testing.assert_allclose(other, one, rtol=1e-9)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1, 0.15, 0.2])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_estimate_for_gaussian_noise_is_its_standard_deviation(rng, sigma, channels):
    noisy = (0.5 + rng.normal(0, sigma, (20, channels, 64, 64))).clip(0, 1)
    assert abs(noise_strength(noisy, channel_axis=1).mean() / sigma - 1) < 0.05


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_black_bars_do_not_change_the_estimate(rng, share):
    noisy = (0.5 + rng.normal(0, 0.1, (20, 96, 96))).clip(0, 1)
    noisy[:, : round(96 * share)] = 0
    assert abs(noise_strength(noisy).mean() / 0.1 - 1) < 0.05


def test_cut_outs_do_not_change_the_estimate(rng):
    noisy = (0.5 + rng.normal(0, 0.1, (20, 96, 96))).clip(0, 1)
    y, x = np.indices((96, 96)) - 47.5
    noisy[:, np.hypot(y, x) > 36] = 1
    # pixels at the contour see it: about 5 % more
    assert abs(noise_strength(noisy).mean() / 0.1 - 1) < 0.08


def test_a_saturated_sky_does_not_change_the_estimate(rng):
    clean = np.full((20, 96, 96), 0.5)
    clean[:, :48] = 1.5  # noise does not show there
    noisy = (clean + rng.normal(0, 0.1, clean.shape)).clip(0, 1)
    assert abs(noise_strength(noisy).mean() / 0.1 - 1) < 0.05


def test_the_estimate_follows_the_data_range(rng):
    levels = np.rint(4095 * (0.5 + rng.normal(0, 0.05, (64, 64))).clip(0, 1)).astype(np.uint16)
    expected = noise_strength(levels / 4095)
    np.testing.assert_allclose(noise_strength(levels, data_range=4095), expected, rtol=1e-4)
    assert abs(expected / 0.05 - 1) < 0.1


def test_noise_that_depends_on_brightness_is_that_of_the_whole_image(rng):
    clean = np.linspace(0.02, 0.98, 128) + np.zeros((10, 128, 1))
    noisy = (rng.poisson(100 * clean) / 100).clip(0, 1)
    change = np.sqrt(np.mean((noisy - clean) ** 2, axis=(1, 2)))
    assert abs(np.median(noise_strength(noisy) / change) - 1) < 0.1


def test_impulses_are_measured_by_their_change(rng):
    clean = np.linspace(0.2, 0.8, 96) + np.zeros((10, 96, 1))
    hit, fine = rng.random(clean.shape) < 0.03, rng.normal(0, 0.05, clean.shape)
    noisy = np.where(hit, rng.random(clean.shape) < 0.5, clean + fine)
    change = np.sqrt(np.mean((noisy - clean) ** 2, axis=(1, 2)))
    assert abs(np.median(noise_strength(noisy) / change) - 1) < 0.1


def test_impulses_of_any_number_are_measured_where_neighbours_are_alike(rng):
    clean = 0.5 + rng.normal(0, 0.01, (128, 128))
    clean[:, 64:] -= 0.2
    for share in (0.01, 0.05, 0.2):
        hit = rng.random(clean.shape) < share
        noisy = np.where(hit, rng.random(clean.shape) < 0.5, clean)
        true = np.sqrt(np.mean((noisy - clean) ** 2))
        np.testing.assert_allclose(noise_strength(noisy), true, rtol=0.12)


def drawings(rng):
    """Yield pictures of lines, of shapes with soft edges and of dots, none of them noise."""
    grid = np.ones((128, 128))
    grid[::8] = grid[:, ::8] = 0
    yield grid
    yield (np.add.outer(np.arange(128), np.arange(128)) % 5 == 0) * 1.0  # diagonal lines
    rows, columns = np.mgrid[:128, :128]
    rings = np.hypot(rows - 64, columns - 64) % 8
    yield np.clip(rings - 2, 0, 1).round(1)  # 11 levels
    strokes = np.ones((128, 128, 3))
    for _ in range(60):
        top, left = rng.integers(0, 118, 2)
        strokes[top : top + 10, left] = rng.random(3)
        strokes[top, left : left + 7] = rng.random(3) / 2
    yield strokes


@pytest.mark.parametrize("number", range(4))
def test_drawings_are_left_as_they_are(rng, number):
    drawing = list(drawings(rng))[number]
    axis = None if drawing.ndim == 2 else -1
    pixels = (255 * drawing).round().astype(np.uint8)
    for result in (smooth(pixels, "auto", channel_axis=axis), denoise(pixels, channel_axis=axis)):
        np.testing.assert_array_equal(result, pixels)
    # noise on them is still seen
    noisy = (drawing + rng.normal(0, 0.1, drawing.shape)).clip(0, 1)
    assert noise_strength(noisy, channel_axis=axis) > 0.03


def page(size, ink=0, paper=255):
    """Return a page of print, uint8, with letters of so many pixels."""
    picture = Image.new("RGB" if isinstance(paper, tuple) else "L", (160, 160), paper)
    for line in range(160 // (size + 3)):
        text = "Noise comes late; the quick brown fox (0123) jumps over it. "[line:] * 2
        place, font = (2, line * (size + 3)), ImageFont.load_default(size)
        ImageDraw.Draw(picture).text(place, text, fill=ink, font=font)
    return picture


# Smaller print of few contrasts is still smeared at 75.
@pytest.mark.parametrize(
    ("quality", "size"), [(None, 8), (None, 11), (95, 8), (95, 9), (95, 11), (75, 11), (75, 14)]
)
@pytest.mark.parametrize("colours", [(0, 255), (230, 30), ((0, 0, 160), (250, 245, 230))])
def test_print_is_left_as_it_is_also_as_jpeg(quality, size, colours):
    picture = page(size, *colours)
    if quality is not None:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        picture = Image.open(file)
    pixels = np.asarray(picture)
    axis = None if pixels.ndim == 2 else -1
    change = smooth(pixels, "auto", channel_axis=axis) - pixels.astype(float)
    assert np.sqrt(np.mean(change**2)) < 2.55  # 40 dB


@pytest.mark.parametrize("size", [8, 11, 14])
def test_noise_on_print_is_not_the_variation_of_its_strokes(rng, size):
    clean = np.asarray(page(size, 51, 204)) / 255
    noisy = clean + rng.normal(0, 0.02, clean.shape)
    assert 0.015 < noise_strength(noisy) < 0.04
    change = smooth(noisy, "auto") - clean
    assert np.sqrt(np.mean(change**2)) < 0.03


def test_impulses_are_removed_from_pictures_of_few_levels(rng):
    clean = np.repeat([51, 128, 204], 48).astype(np.uint8) + np.zeros((10, 128, 1), np.uint8)
    noisy = clean.copy()
    hit = rng.random(clean.shape) < 0.01
    noisy[hit] = rng.choice([0, 255], hit.sum())
    before, after = (
        np.mean((images - clean.astype(float)) ** 2, axis=(1, 2))
        for images in (noisy, smooth(noisy, "auto"))
    )
    # where two impulses meet, or lie on a contour or on the border, some are left
    assert np.median(before / after) > 50
    assert (before / after).min() > 10


def test_counts_of_few_photons_are_noise(rng):
    clean = np.linspace(1, 5, 128) + np.zeros((128, 1))
    counts = rng.poisson(clean).clip(max=8)
    true = np.sqrt(np.mean((counts - clean) ** 2)) / 8
    np.testing.assert_allclose(noise_strength(counts / 8), true, rtol=0.1)


def test_faint_images_of_many_levels_are_smoothed_and_rounding_is_not(rng):
    rows, columns = np.mgrid[:128, :128]
    faint = 1000 + 100.0 * (np.hypot(rows - 64, columns - 64) < 40)
    noisy = (faint + rng.normal(0, 8, faint.shape)).round().astype(np.uint16)
    smoothed = smooth(noisy, "auto", data_range=65535)
    assert np.mean((smoothed - faint) ** 2) < np.mean((noisy - faint) ** 2) / 5
    faint = 100 + skimage.data.camera()[:256, :256] / 16
    rounded = (faint + rng.normal(0, 0.2, faint.shape)).round().astype(np.uint8)
    assert noise_strength(rounded) > 0.0007  # of a level .18, and more than 1/256 of the range
    np.testing.assert_array_equal(smooth(rounded, "auto"), rounded)


def test_fine_texture_is_told_from_noise_by_its_coarse_variation(rng):
    place = rng.random((20, 64, 64))
    texture = 0.5 + 0.2 * sum(np.roll(place, (y, x), (1, 2)) - 0.5 for y in (0, 1) for x in (0, 1))
    texture[:, 20:40] = 0.5 + (texture[:, 20:40] - 0.5) / 4
    assert np.median(noise_strength(texture)) < 0.2 * texture[:, :20].std()


@pytest.mark.parametrize("picture", ["grass", "gravel", "brick"])
@pytest.mark.parametrize("sigma", [2, 5, 10, 25])
def test_auto_is_at_most_half_a_decibel_below_a_noisy_texture(rng, picture, sigma):
    clean = getattr(skimage.data, picture)()[:256, :256] / 255
    noisy = np.rint(255 * (clean + rng.normal(0, sigma / 255, clean.shape)).clip(0, 1)) / 255
    before, after = (np.mean((x - clean) ** 2) for x in (noisy, smooth(noisy, "auto")))
    assert 10 * np.log10(after / before) < 0.5


def test_what_channels_share_may_be_texture_and_what_they_do_not_is_noise(rng):
    texture = rng.normal(0, 0.04, (20, 3, 64, 64))
    texture = 0.5 + texture + np.roll(texture, 1, 2) + np.roll(texture, 1, 3)
    apart, shared = planes_noise(texture), planes_noise(texture[:, :1] + np.zeros((3, 1, 1)))
    assert abs(np.median(shared.strength) / np.median(apart.strength) - 1) < 0.1
    assert np.median(shared.acting) < 0.8 * np.median(apart.acting)


@pytest.mark.parametrize("name", ["shot_noise", "speckle_noise", "impulse_noise"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_the_estimate_for_other_noise_is_near_its_root_mean_square(photographs, name, severity):
    clean = (photographs / np.float32(255)).transpose(0, 3, 1, 2)
    noisy = corrupt(clean, name, severity)
    change = np.sqrt(np.mean((noisy - clean) ** 2))
    assert 0.75 < np.median(noise_strength(noisy, channel_axis=1)) / change < 1.25


def test_auto_hardly_changes_images_without_noise(photographs):
    clean = (photographs / np.float32(255)).transpose(0, 3, 1, 2)
    half = low_resolution(clean, factor=2)
    assert np.median(noise_strength(clean, channel_axis=1)) < 0.02
    assert (noise_strength(half, channel_axis=1) < NEGLIGIBLE).mean() > 0.9
    quiet = noise_strength(half, channel_axis=1) < NEGLIGIBLE
    np.testing.assert_array_equal(smooth(half, "auto", channel_axis=1)[quiet], half[quiet])
    change = smooth(clean, "auto", channel_axis=1) - clean
    assert np.sqrt(np.mean(change**2)) < 0.01


def test_the_estimate_has_the_axes_of_images_or_of_their_channels(rng):
    images = rng.random((2, 5, 3, 20, 24)).astype(np.float32)
    assert noise_strength(images, channel_axis=2).shape == (2, 5)
    assert noise_strength(images, channel_axis=2, joint=False).shape == (2, 5, 3)
    assert noise_strength(images).shape == (2, 5, 3)
    assert noise_strength(images[..., :2, :]).max() == 0
    strong = noise_strength(images[0, 0, 0])
    assert strong.shape == ()
    assert strong > 0.1


def test_the_estimate_does_not_depend_on_the_batch(rng):
    images = rng.random((700, 3, 32, 32), dtype=np.float32)
    np.testing.assert_array_equal(
        planes_noise(images).acting[::100],
        np.concatenate([planes_noise(image[None]).acting for image in images[::100]]),
    )


def test_auto_stops_at_the_time_for_the_noise_that_is_estimated(photographs):
    clean = (photographs / np.float32(255)).transpose(0, 3, 1, 2)
    noisy = corrupt(clean, "gaussian_noise", 5)
    acting = planes_noise(noisy).acting
    space = ScaleSpace(noisy, channel_axis=1)
    scale = space.at("auto")
    np.testing.assert_allclose(scale.time, stopping_time(acting, channels=3))
    known = space.at(time=scale.time)
    np.testing.assert_array_equal(scale.support, known.support)
    np.testing.assert_array_equal(scale.beta, smooth(noisy, "auto", channel_axis=1))
    errors = [
        np.mean((image - clean) ** 2)
        for image in (scale.beta, *(space.at(s).beta for s in (0.95, 0.6)), noisy)
    ]
    assert errors[0] == min(errors)
    assert smooth(photographs, "auto", channel_axis=-1).dtype == np.uint8
    assert smooth(photographs[0], "auto", channel_axis=-1).shape == (32, 32, 3)


def test_more_noise_means_an_earlier_stop_but_not_before_outliers_can_enter():
    assert stopping_time(0.1, delta=np.inf) == pytest.approx(10)
    assert stopping_time(0.1, delta=np.inf, channels=8) == pytest.approx(5)
    assert stopping_time(0.1, delta=0.1) == pytest.approx(14)
    times = stopping_time(np.array([0.02, 0.1, 10]))
    assert (np.diff(times) < 0).all()
    assert times[-1] > 4
    assert stopping_time(0) == np.inf
    for joint, together in ((True, 3), (False, 1)):
        form = Form(nu=0.5, delta=0.2, joint=joint)
        time = stopping_time(0.1, delta=0.2, channels=together)
        assert time_for_noise(0.1, form, channels=3) == time


def test_a_function_as_sparsity_receives_the_noise_and_chooses_the_strength(photographs):
    noisy = corrupt((photographs / np.float32(255)).transpose(0, 3, 1, 2), "shot_noise", 3)
    received = []

    def twice(strengths):
        received.append(strengths)
        return 2 * strengths

    smoothed = smooth(noisy, twice, channel_axis=1)
    np.testing.assert_array_equal(received[0], noise_strength(noisy, channel_axis=1))
    times = stopping_time(2 * received[0], channels=3)
    np.testing.assert_array_equal(smoothed, ScaleSpace(noisy, channel_axis=1).at(time=times).beta)
    np.testing.assert_array_equal(smooth(noisy, np.zeros_like, channel_axis=1), noisy)
    np.testing.assert_array_equal(
        smooth(noisy, lambda _: 0.1, channel_axis=1),
        smooth(noisy, lambda s: np.full_like(s, 0.1), channel_axis=1),
    )
    for chooser in (lambda s: s[:2], lambda s: -s, lambda s: s + np.inf, lambda s: "much"):
        with pytest.raises(ValueError, match="^sparsity must choose"):
            smooth(noisy, chooser, channel_axis=1)
    with pytest.raises(ValueError, match="^channels must"):
        stopping_time(0.1, channels=0)
    with pytest.raises(TypeError, match="^channels must"):
        stopping_time(0.1, channels=1.5)
    with pytest.raises(ValueError, match="^noise must"):
        stopping_time([0.1, -1])
    with pytest.raises(ValueError, match="^sparsity must"):
        Smooth("most")


@pytest.mark.parametrize("form", [{}, {"delta": np.inf, "joint": False}])
def test_auto_gives_the_same_result_in_torch_operations(photographs, act_as_accelerator, form):
    noisy = (
        corrupt((photographs[::4] / np.float32(255)).transpose(0, 3, 1, 2), "gaussian_noise", 4)
        + 0.0
    ).astype(np.float64)
    noisy[0] = np.linspace(0.2, 0.8, 32)  # an image without noise, which is not changed
    expected = ScaleSpace(noisy, channel_axis=1, **form).at("auto")
    scale = TensorScale.of(
        torch.from_numpy(noisy),
        "auto",
        channel_axis=1,
        **({"nu": 1.0, "delta": 0.1, "joint": True} | form),
    )
    np.testing.assert_allclose(scale._time, expected._time, rtol=1e-6)
    beta = scale.beta.numpy()
    assert (np.abs(beta - expected.beta).max(axis=(1, 2, 3)) < 1e-6).mean() > 0.8
    np.testing.assert_array_equal(beta[0], noisy[0])
    act_as_accelerator()
    layer = Smooth("auto", delta=form.get("delta", 0.1), joint=form.get("joint", True))
    np.testing.assert_array_equal(layer(torch.from_numpy(noisy)), beta)


def test_the_gradient_with_auto_is_the_pullback_at_that_moment(rng, noisy):
    images = torch.from_numpy(noisy).requires_grad_()
    layer = Smooth("auto")
    weights = torch.from_numpy(rng.standard_normal(noisy.shape))
    (layer(images) * weights).sum().backward()
    known = ScaleSpace(noisy, channel_axis=1).at("auto")
    np.testing.assert_allclose(images.grad, known.pullback(weights.numpy()), rtol=1e-12)


def test_auto_returns_the_input_if_the_path_ends_before_the_noise_enters():
    board = 0.1 + 0.8 * (np.indices((1, 1, 8, 8)).sum(axis=0) % 2)
    form = {"nu": 1.0, "delta": 0.1, "channel_axis": 1, "joint": True}

    def very_little(strengths):
        return np.full_like(strengths, 0.005)

    expected = ScaleSpace(board, **form).at(very_little)
    scale = TensorScale.of(torch.from_numpy(board), very_little, **form)
    assert np.isinf(expected.time).all()
    assert scale._time.isinf().all()
    np.testing.assert_array_equal(expected.beta, board)
    np.testing.assert_array_equal(scale.beta, board)


def test_weak_noise_counts_in_an_image_that_fills_a_small_part_of_its_range():
    """Counts of photons: at most 340 of the 4095 that 12 bits hold, with noise of about 10."""
    rows, columns = np.mgrid[:128, :128]
    clean = 40 + 300.0 * ((rows - 60) ** 2 + (columns - 70) ** 2 < 900)
    counts = np.random.default_rng(0).poisson(clean).astype(np.uint16)
    noisy = np.mean((counts - clean) ** 2)
    smoothed = smooth(counts, "auto", data_range=4095)
    assert noise_strength(counts, data_range=4095) < NEGLIGIBLE
    assert np.mean((smoothed - clean) ** 2) < noisy / 4
    # the same noise is not worth the smoothing where the whole range is used
    counts[:2] = 4095
    counts[:2, :64] = 0
    counts[2:16, :64] = 4000
    assert (smooth(counts, "auto", data_range=4095) == counts).all()


@pytest.mark.parametrize("joint", [True, False])
def test_filled_pixels_do_not_count(joint):
    rng = np.random.default_rng(0)
    noisy = (0.5 + rng.normal(0, 0.1, (2, 3, 96, 70))).clip(0, 1)
    hidden = np.zeros((2, 96, 70), bool)
    hidden[1, 30:] = True
    filled = np.where(hidden[:, None], 0.5, noisy)
    filled[:, :, ::2] += 1e-9  # not flat, as a smooth continuation
    keywords = {"channel_axis": 1, "joint": joint}
    taken = noise_strength(filled, **keywords, hidden=hidden)
    np.testing.assert_allclose(taken, 0.1, rtol=0.1)
    assert noise_strength(filled, **keywords)[1].max() < 0.06
    scattered = rng.random(hidden.shape) < 0.3
    filled = np.where(scattered[:, None], 0.5, noisy)  # three tenths of the noise is gone
    assert (noise_strength(filled, **keywords, hidden=scattered) > 0.08).all()
    space = ScaleSpace(np.where(hidden[:, None], 0.5, noisy), **keywords, hidden=hidden)
    lines = np.zeros(hidden.shape, bool)
    lines[:, np.arange(96) % 3 > 0] = True  # two of three lines are missing
    filled = np.where(lines[:, None], 0.5, noisy)
    assert (noise_strength(filled, **keywords, hidden=lines) > 0.05).all()
    times = space.at("auto").time
    np.testing.assert_allclose(times[1], times[0], rtol=0.1)
    assert np.isinf(
        ScaleSpace(noisy, **keywords, hidden=np.ones_like(hidden)).at("auto").time
    ).all()
    for wrong in (
        hidden[0],
        hidden.astype(np.uint8),
        np.broadcast_to(hidden[:, None], noisy.shape),
    ):
        with pytest.raises(ValueError, match=r"hidden must be .* of shape \(2, 96, 70\), got"):
            noise_strength(noisy, **keywords, hidden=wrong)


@pytest.mark.parametrize("joint", [True, False])
def test_the_noise_of_a_path_is_estimated_once_for_all_moments(monkeypatch, joint):
    noisy = np.random.default_rng(0).random((2, 3, 40, 40))
    hidden = np.zeros((2, 40, 40), bool)
    hidden[1, 30:] = True
    keywords = {"channel_axis": 1, "joint": joint, "hidden": hidden}
    expected, estimates = noise_strength(noisy, **keywords), []

    def estimate(*arguments):
        estimates.append(planes_noise(*arguments))
        return estimates[-1]

    monkeypatch.setattr("virolbi.scale_space.path.planes_noise", estimate)
    space = ScaleSpace(noisy, **keywords)
    space.at(0.9)
    space.denoise(0.0)
    assert len(estimates) == 1  # the share of outliers counts for a stated noise too
    space.at("auto")
    space.finish(lambda seen: 2 * seen)
    np.testing.assert_array_equal(space.noise.strength, expected)
    assert len(estimates) == 1


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_the_estimate_does_not_depend_on_where_in_a_block_hidden_pixels_begin(rng, axis):
    noisy = 0.5 + rng.normal(0, 0.1, (100, 3, 32, 32))
    estimates = []
    for first in range(16, 24):
        hidden = np.arange(32) >= first
        hidden = np.broadcast_to(hidden[:, None] if axis == "rows" else hidden, (100, 32, 32))
        filled = np.where(hidden[:, None], 0.5, noisy)
        estimates.append(noise_strength(filled, channel_axis=1, hidden=hidden).mean())
    np.testing.assert_allclose(estimates, 0.1, rtol=0.03)
    assert np.ptp(estimates) < 0.03 * 0.1


@pytest.mark.parametrize("shape", ["blobs", "squares", "half"])
def test_impulses_count_where_pixels_are_seen_alone(rng, shape):
    rows, columns = np.mgrid[:96, :96]
    hidden = {
        "blobs": np.hypot(rows % 24 - 12, columns % 24 - 12) < 9,
        "squares": (rows % 8 < 5) & (columns % 8 < 5),
        "half": rows < 48,
    }[shape]
    noisy = np.full((10, 96, 96), 0.5)
    hit = rng.random(noisy.shape) < 0.1
    noisy[hit] = rng.choice([0.0, 1.0], hit.sum())
    expected = noise_strength(noisy).mean()
    filled = np.where(hidden, 0.5, noisy)
    seen = noise_strength(filled, hidden=np.broadcast_to(hidden, noisy.shape)).mean()
    assert abs(seen / expected - 1) < 0.1


def test_filled_pixels_of_floats_do_not_change_the_estimate(rng):
    levels = np.rint(128 + rng.normal(0, 1, (96, 96))) / 255
    hidden = np.zeros(levels.shape, bool)
    hidden[20:50, 20:50] = True
    filled = np.where(hidden, 0.50137, levels)  # between two levels
    assert abs(noise_strength(filled, hidden=hidden) / noise_strength(levels) - 1) < 0.05


def test_what_is_hidden_far_from_visible_pixels_changes_nothing(rng):
    """Neither the strength nor the threshold of "auto", which depends on the range and the step."""
    noisy = 0.5 + rng.normal(0, 0.0025, (128, 128))
    hidden = np.zeros(noisy.shape, bool)
    hidden[:64, :64] = True
    filled = np.where(hidden, 0.5, noisy)
    expected = estimate_noise(filled, hidden=hidden)
    assert expected.is_significant
    for inside in (0.0, 1.0, rng.random((40, 40))):
        filled[12:52, 12:52] = inside
        found = estimate_noise(filled, hidden=hidden)
        np.testing.assert_allclose(found[:4], expected[:4], rtol=1e-6)


@pytest.mark.parametrize("share", [0.0003, 0.02])
def test_outliers_are_kept_out_or_left_alone(rng, share):
    """A path that is stopped for few lets them in, and would smooth the rest for nothing."""
    clean = skimage.data.camera()[100:228, 200:328] / 255
    hot = np.where(rng.random(clean.shape) < share, 1 - np.round(clean), clean)
    estimate, smoothed = estimate_noise(hot), smooth(hot, "auto")
    assert 0.5 * share < 4 * estimate.outliers < 4 * share
    if share < 0.01:
        np.testing.assert_array_equal(smoothed, hot)
        faint = hot + rng.normal(0, 0.02, hot.shape)
        assert estimate_noise(faint).acting > 0.02  # kept out by what the grain needs
    else:
        assert np.mean((smoothed - clean) ** 2) < 0.1 * np.mean((hot - clean) ** 2)


def test_structure_in_a_part_does_not_hide_the_noise_of_the_rest(rng):
    rows, columns = np.mgrid[:192, :192]
    spots = np.full((192, 192), 0.02)
    for row, column in rng.uniform(10, 182, (40, 2)):
        spots += 0.6 * np.exp(-((((rows - row) ** 2 + (columns - column) ** 2) / 18) ** 2))
    noisy = spots + rng.normal(0, 0.01, spots.shape)
    assert 0.008 < estimate_noise(noisy).acting < 0.012
    assert np.mean((smooth(noisy, "auto") - spots) ** 2) < 0.4 * 0.01**2


def test_a_bright_star_says_nothing_about_how_faint_noise_is(rng):
    sky = 0.02 + rng.normal(0, 0.0008, (128, 128))
    sky[40:48, 40:48] = 0.9
    smoothed = smooth(sky, "auto")
    assert np.std(smoothed[64:]) < 0.5 * 0.0008
    np.testing.assert_allclose(smoothed[41:47, 41:47], 0.9, atol=1e-3)


@pytest.mark.parametrize("ground", ["hidden", "flat"])
def test_what_is_around_a_picture_does_not_switch_auto_on(rng, ground):
    picture = 0.1 + 0.8 * np.arange(64) / 63 + 0.0015 * rng.normal(size=(64, 64))
    assert not estimate_noise(picture).is_significant
    canvas, hidden = np.full((320, 320), 0.5), np.full((320, 320), ground == "hidden")
    canvas[:64, :64], hidden[:64, :64] = picture, False
    estimate = estimate_noise(canvas, hidden=hidden)
    assert not estimate.is_significant
    np.testing.assert_allclose(estimate.threshold, estimate_noise(picture).threshold, rtol=0.05)


def test_a_rule_that_chooses_more_than_all_counts_as_all():
    image = np.random.default_rng(0).random((24, 24))
    for choose in (denoise, smooth):
        huge, most = (
            choose(image, lambda seen: 1e20 + 0 * seen),
            choose(image, lambda seen: 1 + 0 * seen),
        )
        np.testing.assert_array_equal(huge, most)
        assert np.isfinite(huge).all()
