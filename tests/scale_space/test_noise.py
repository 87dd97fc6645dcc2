import numpy as np
import pytest
import torch

from virolbi import ScaleSpace, smooth
from virolbi.corruptions import corrupt, low_resolution
from virolbi.nn import Smooth, TensorScale
from virolbi.nn import path as tensor_path
from virolbi.scale_space import (
    CUT,
    GAP,
    NEGLIGIBLE,
    TEXTURE,
    block_grid,
    noise_strength,
    planes_noise,
    stopping_time,
)

rng = np.random.default_rng(0)
GREY = np.full((20, 64, 64), 0.5, np.float32)


def noise_pixel_by_pixel(planes):
    """Return the noise of planes (C, H, W) as `planes_noise` defines it, pixel by pixel."""
    _, height, width = planes.shape
    rows, columns = block_grid(height, width)
    energy = []
    for i in range(rows):
        for j in range(columns):
            gaps = []
            for y in range(1 + i * (height - 2) // rows, 1 + (i + 1) * (height - 2) // rows):
                for x in range(
                    1 + j * (width - 2) // columns, 1 + (j + 1) * (width - 2) // columns
                ):
                    for plane in planes:
                        around = plane[y - 1, x], plane[y + 1, x], plane[y, x - 1], plane[y, x + 1]
                        gap = max(plane[y, x] - max(around), min(around) - plane[y, x], 0)
                        gaps.append(min(gap, CUT) ** 2)
            energy.append(np.mean(gaps))
    return np.sqrt(max(np.quantile(energy, 0.25) / GAP**2 - TEXTURE**2, 0))


@pytest.mark.parametrize("shape", [(1, 3, 3), (3, 17, 31), (1, 48, 33), (2, 3, 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_estimate_is_that_of_a_loop_over_pixels(shape, dtype):
    planes = rng.random((4, *shape)).astype(dtype)
    noise = planes_noise(planes)
    expected = [noise_pixel_by_pixel(image) for image in planes]
    np.testing.assert_allclose(noise, expected, rtol=1e-4)
    np.testing.assert_allclose(tensor_path.planes_noise(torch.from_numpy(planes)), noise, rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
def test_the_estimate_for_gaussian_noise_is_its_standard_deviation(sigma):
    noise = noise_strength(GREY + rng.normal(0, sigma, GREY.shape).astype(np.float32))
    assert abs(np.sqrt(noise**2 + TEXTURE**2).mean() / sigma - 1) < 0.08


def test_the_gap_constant_is_the_expectation_over_normal_numbers():
    five = rng.standard_normal((400_000, 5))
    ahead = five[:, 0] - five[:, 1:].max(axis=1)
    assert abs(np.sqrt(2 * np.mean(np.maximum(ahead, 0) ** 2)) / GAP - 1) < 0.01


@pytest.mark.parametrize("name", ["shot_noise", "speckle_noise", "impulse_noise"])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_the_estimate_for_other_noise_is_near_its_root_mean_square(photographs, name, severity):
    clean = (photographs / np.float32(255)).transpose(0, 3, 1, 2)
    noisy = corrupt(clean, name, severity)
    change = np.sqrt(np.mean((noisy - clean) ** 2))
    assert 0.6 < np.median(noise_strength(noisy, channel_axis=1)) / change < 1.4


def test_auto_hardly_changes_images_without_noise(photographs):
    clean = (photographs / np.float32(255)).transpose(0, 3, 1, 2)
    half = low_resolution(clean, factor=2)
    assert np.median(noise_strength(clean, channel_axis=1)) < 0.02
    assert (noise_strength(half, channel_axis=1) < NEGLIGIBLE).mean() > 0.9
    quiet = noise_strength(half, channel_axis=1) < NEGLIGIBLE
    np.testing.assert_array_equal(smooth(half, "auto", channel_axis=1)[quiet], half[quiet])
    change = smooth(clean, "auto", channel_axis=1) - clean
    assert np.sqrt(np.mean(change**2)) < 0.01


def test_the_estimate_has_the_axes_of_images_or_of_their_channels():
    images = rng.random((2, 5, 3, 20, 24)).astype(np.float32)
    assert noise_strength(images, channel_axis=2).shape == (2, 5)
    assert noise_strength(images, channel_axis=2, joint=False).shape == (2, 5, 3)
    assert noise_strength(images).shape == (2, 5, 3)
    assert noise_strength(images[..., :2, :]).max() == 0
    strong = noise_strength(images[0, 0, 0])
    assert strong.shape == ()
    assert strong > 0.1


def test_the_estimate_does_not_depend_on_the_batch():
    images = rng.random((700, 3, 32, 32), dtype=np.float32)
    np.testing.assert_array_equal(
        planes_noise(images)[::100],
        np.concatenate([planes_noise(image[None]) for image in images[::100]]),
    )


def test_auto_stops_at_the_time_for_the_noise_that_is_estimated(photographs):
    clean = (photographs / np.float32(255)).transpose(0, 3, 1, 2)
    noisy = corrupt(clean, "gaussian_noise", 5)
    strength = noise_strength(noisy, channel_axis=1)
    space = ScaleSpace(noisy, channel_axis=1)
    scale = space.at("auto")
    np.testing.assert_allclose(scale.time, stopping_time(strength, channels=3))
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
    with pytest.raises(ValueError, match="^noise must"):
        stopping_time([0.1, -1])
    with pytest.raises(ValueError, match="^sparsity must"):
        Smooth("most")


@pytest.mark.parametrize("form", [{}, {"delta": np.inf, "joint": False}])
def test_auto_gives_the_same_result_in_torch_operations(photographs, monkeypatch, form):
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
    monkeypatch.setattr("virolbi.nn.layer._on_accelerator", lambda images: True)
    layer = Smooth("auto", delta=form.get("delta", 0.1), joint=form.get("joint", True))
    np.testing.assert_array_equal(layer(torch.from_numpy(noisy)), beta)


def test_the_gradient_with_auto_is_the_pullback_at_that_moment(noisy):
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
