"""Images on another scale than that of their dtype, and warnings where `data_range` is missing."""

import warnings

import numpy as np
import pytest
import torch

from virolbi import PAPER, ScaleSpace, denoise, noise_strength, smooth
from virolbi.nn import Smooth, TensorScale
from virolbi.scale_space import IntensityWarning, from_pairs, used_range


@pytest.fixture(scope="module")
def twelve_bits(photographs):
    """Four colour images with 12 bits in uint16, (N, H, W, 3)."""
    rng = np.random.default_rng(0)
    levels = photographs[:4] * (4095 / 255) + rng.normal(0, 100, photographs[:4].shape)
    return np.rint(levels).clip(0, 4095).astype(np.uint16)


@pytest.mark.parametrize("sparsity", ["auto", 0.8, 0])
@pytest.mark.parametrize("axis", [None, -1])
def test_integers_come_back_as_their_fractions_would(twelve_bits, sparsity, axis):
    images = twelve_bits if axis else twelve_bits[..., 0]
    fractions = images.astype(np.float32) / np.float32(4095)
    expected = np.rint(smooth(fractions, sparsity, channel_axis=axis) * np.float32(4095))
    found = smooth(images, sparsity, channel_axis=axis, data_range=4095)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected.astype(np.uint16))
    if sparsity == 0:
        np.testing.assert_array_equal(found, images)
    else:
        wrong = smooth(images, sparsity, channel_axis=axis, data_range=65535)
        assert (found != wrong).mean() > 0.05


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("form", [{}, PAPER])
def test_floats_come_back_in_their_units(photographs, dtype, form):
    images = photographs[:2].astype(dtype)
    working = np.promote_types(dtype, np.float32).type
    expected = smooth(images.astype(working) / working(255), 0.8, channel_axis=-1, **form)
    found = smooth(images, 0.8, channel_axis=-1, data_range=255, **form)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected * working(255), rtol=4 * np.finfo(dtype).eps)


def test_the_range_of_the_dtype_is_the_default(photographs):
    images = photographs[:2]
    for given, top in (
        (images, 255),
        (images.astype(np.uint16) * 257, 65535),
        (images / 255, 1),
    ):
        np.testing.assert_array_equal(
            smooth(given, 0.7, channel_axis=-1, data_range=top), smooth(given, 0.7, channel_axis=-1)
        )


def test_integers_above_the_range_are_kept(act_as_accelerator):
    images = np.array([[100, 4000, 4100, 4500]], np.uint16)
    for accelerator in (False, True):
        act_as_accelerator(accelerator)
        for given in (images, torch.from_numpy(images)):
            np.testing.assert_array_equal(smooth(given, 0, data_range=4095), images)
    np.testing.assert_array_equal(denoise(np.full((9, 9), 4500, np.uint16), data_range=4095), 4500)


def test_every_function_has_the_same_range(twelve_bits):
    fractions = twelve_bits.astype(np.float32) / np.float32(4095)
    settings = {"channel_axis": -1, "data_range": 4095}
    strength = noise_strength(twelve_bits, **settings)
    np.testing.assert_array_equal(strength, noise_strength(fractions, channel_axis=-1))
    space = ScaleSpace(twelve_bits, **settings)
    scale, plain = space.at("auto"), ScaleSpace(fractions, channel_axis=-1).at("auto")
    np.testing.assert_array_equal(scale.support, plain.support)
    np.testing.assert_array_equal(scale.time, plain.time)
    np.testing.assert_array_equal(scale.beta, smooth(twelve_bits, "auto", **settings))
    blurred = smooth(twelve_bits, 0.9, **settings)
    assert from_pairs(blurred, twelve_bits, **settings) == from_pairs(
        blurred / 4095, twelve_bits / 4095, channel_axis=-1
    )


@pytest.mark.slow
@pytest.mark.parametrize("accelerator", [False, True])
@pytest.mark.parametrize("output", ["beta", "regions"])
def test_tensors_and_their_derivative_are_in_the_callers_units(
    noisy, accelerator, output, act_as_accelerator
):
    act_as_accelerator(accelerator)
    plain, layer = Smooth(0.7, output=output), Smooth(0.7, output=output, data_range=200)
    fractions, images = torch.from_numpy(noisy), torch.from_numpy(noisy * 200)
    fractions.requires_grad_(), images.requires_grad_()
    expected, found = plain(fractions), layer(images)
    torch.testing.assert_close(found, expected * 200)
    gradient = torch.from_numpy(np.random.default_rng(0).normal(size=noisy.shape))
    expected.backward(gradient)
    found.backward(gradient)
    torch.testing.assert_close(images.grad, fractions.grad)
    small = images.detach()[:1, :, :6, :6].requires_grad_()
    assert torch.autograd.gradcheck(layer, small, eps=1e-5, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_integer_tensors_have_the_range_in_both_engines(photographs, dtype, act_as_accelerator):
    images = torch.from_numpy((photographs[:2] // 4).transpose(0, 3, 1, 2).copy()).to(dtype)
    layer = Smooth(0.8, data_range=63)
    expected = layer(images)
    assert (expected.dtype, int(expected.to(torch.int32).max()) <= 63) == (dtype, True)
    act_as_accelerator()
    off = (layer(images).to(torch.int32) - expected.to(torch.int32)).abs()
    assert (off <= 1).float().mean() > 0.99
    np.testing.assert_array_equal(expected, smooth(images, 0.8, channel_axis=1, data_range=63))


def test_the_layer_says_its_range():
    assert repr(Smooth(data_range=4095)).endswith("step=0.05, data_range=4095)")
    assert "data_range" not in repr(Smooth())


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (float("inf"), ValueError),
        (float("nan"), ValueError),
        (1e-50, ValueError),
        (256, ValueError),
        ("auto", TypeError),
        (True, TypeError),
        ([255], TypeError),
    ],
)
def test_ranges_that_make_no_sense_are_refused(photographs, value, error):
    for function in (
        lambda: smooth(photographs, 0.8, channel_axis=-1, data_range=value),
        lambda: ScaleSpace(photographs, channel_axis=-1, data_range=value),
        lambda: noise_strength(photographs, channel_axis=-1, data_range=value),
        lambda: from_pairs(photographs, photographs, channel_axis=-1, data_range=value),
        lambda: Smooth(data_range=value)(torch.zeros(1, 1, 4, 4, dtype=torch.uint8)),
    ):
        with pytest.raises(error, match="^data_range must"):
            function()


def test_values_out_of_range_are_an_error_that_names_it(photographs):
    with pytest.raises(ValueError, match=r"values from 0 to 255; .* data_range"):
        smooth(np.float32([[0, 255]]), 0.8)
    message = r"in \[0, data_range\], here \[0, 1023\], got values from 0 to 4095"
    for images in (np.array([[0, 4095]], np.uint16), np.array([[0, 4095.0]])):
        with pytest.raises(ValueError, match=message):
            smooth(images, 0.8, data_range=1023)
    tensor = torch.tensor([[0, 4095.0]])
    settings = {"nu": 1.0, "delta": 0.1, "channel_axis": None, "joint": True}
    with pytest.raises(ValueError, match=message):
        TensorScale.of(tensor, 0.8, data_range=1023, **settings)


@pytest.mark.parametrize("function", [smooth, lambda image, _, **range_: denoise(image, **range_)])
def test_numbers_with_an_offset_are_shifted_as_the_messages_advise(photographs, function):
    image = photographs[3, ..., 0] / 255
    image = (image - image.min()) / np.ptp(image)
    kelvin, index = 288 + 24 * image, 2 * image - 1
    with pytest.raises(ValueError, match="values from .* to .*; shift or rescale them"):
        function(kelvin, "auto", data_range=24)
    with pytest.warns(IntensityWarning, match="shift or rescale them"):
        function(index, "auto", data_range=2)
    expected = function(image, "auto")
    shifted = function(kelvin - 288, "auto", data_range=24)
    np.testing.assert_allclose(shifted / 24, expected, rtol=0, atol=1e-9)
    shifted = function(index + 1, "auto", data_range=2)
    np.testing.assert_allclose(shifted / 2, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        lambda images: smooth(images, "auto", channel_axis=-1),
        lambda images: ScaleSpace(images, channel_axis=-1),
        lambda images: noise_strength(images, channel_axis=-1),
        lambda images: smooth(torch.from_numpy(images), 0.8, channel_axis=-1),
        lambda images: Smooth()(torch.from_numpy(images).permute(0, 3, 1, 2)),
    ],
)
def test_few_bits_in_uint16_are_one_warning_at_the_line_of_the_caller(twelve_bits, function):
    with pytest.warns(UserWarning, match=r"uint16 images use 6\.2% of .*data_range") as caught:
        function(twelve_bits)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("function", [noise_strength, lambda images, **x: smooth(images, 0.8, **x)])
def test_floats_in_0_1_need_no_range(function):
    images = np.random.default_rng(0).random((32, 32), np.float32)
    images[0, 0] = 1  # 1 / 255 * 255 is more than 1 in single precision
    with pytest.warns(UserWarning, match=r"float32 images use 0\.39% of their range; .*floats in"):
        function(images, data_range=255)


@pytest.mark.parametrize("offset", [0, 0.5])
def test_floats_of_a_small_span_miss_a_range(offset):
    images = (offset + 5e-5 * np.random.default_rng(0).random((32, 32))).astype(np.float32)
    with pytest.warns(UserWarning, match=r"float32 images use 0\.005% of their range"):
        smooth(images, 0.8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smooth(images - np.float32(offset), 0.8, data_range=5e-5)


def test_saturated_pixels_do_not_hide_few_bits(twelve_bits):
    saturated = twelve_bits.copy()
    saturated[..., :2, :] = 65535
    with pytest.warns(UserWarning, match=r"uint16 images use 6\.2% of .*data_range"):
        smooth(saturated, 0.8, channel_axis=-1)


def test_other_images_do_not_miss_a_range(twelve_bits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smooth(np.zeros((4, 4), np.uint16), 0.8)
        smooth(np.array([[0, 8192]], np.uint16), 0.8)
        smooth(twelve_bits, 0.8, channel_axis=-1, data_range=65535)
        smooth(np.array([[0, 3]], np.uint8), 0.8)
        smooth(np.array([[0, 0.01]], np.float32), 0.8)
        smooth(np.array([[0, 0.01]], np.float32), 0.8, data_range=1)
        smooth(np.array([[0, 2]], np.float32), 0.8, data_range=65535)
        smooth(np.zeros((4, 4), np.float32), 0.8, data_range=255)
        smooth(np.array([[0.5, 0.5 + 6e-8]], np.float32), 0.8)
        smooth(np.array([[0.5, 0.5 + 5e-4]], np.float16), 0.8)
        smooth(np.array([[100, 30000, 65535]], np.uint16), 0.8)
        smooth(np.array([[0, 65535]], np.uint16), 0.8)


@pytest.mark.parametrize("data_range", [1e-300, 1e300, 0, -1])
def test_a_range_is_a_number_of_single_precision(data_range):
    with pytest.raises(ValueError, match=r"data_range must be .* from 1.2e-38 to 3.4e\+38, got"):
        smooth(np.zeros((4, 4), np.float32), 0.8, data_range=data_range)
    with pytest.raises(ValueError, match="data_range must be a number, got nan"):
        smooth(np.zeros((4, 4), np.float32), 0.8, data_range=float("nan"))


def test_numbers_below_0_are_no_floats_in_0_1():
    assert used_range(-15, 0.9, np.dtype(np.float32), 40) == 0
    assert used_range(0, 0.9, np.dtype(np.float32), 40) == 1 / 40
    assert used_range(0, 30, np.dtype(np.float32), 40) == 1  # and tells that the range suits
