from functools import partial

import numpy as np
import pytest

from virolbi import PAPER, ScaleSpace, denoise, noise_strength, smooth
from virolbi._engine import kernels, threads
from virolbi.scale_space import round_to

INF = float("inf")


@pytest.mark.parametrize("preset", [{}, PAPER])
def test_results_do_not_depend_on_the_batch_or_the_layout_of_images(photographs, preset):
    images = (photographs[:21] / np.float32(255)).transpose(0, 3, 1, 2)
    together = smooth(images, 0.8, channel_axis=1, **preset)
    alone = np.stack([smooth(image, 0.8, channel_axis=0, **preset) for image in images])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(
        smooth(images[::-1], 0.8, channel_axis=1, **preset)[::-1], together
    )
    last = smooth(np.asfortranarray(images.transpose(0, 2, 3, 1)), 0.8, channel_axis=-1, **preset)
    np.testing.assert_array_equal(last.transpose(0, 3, 1, 2), together)
    np.testing.assert_array_equal(
        smooth(images.reshape(3, 7, 3, 32, 32), 0.8, channel_axis=2, **preset).reshape(
            images.shape
        ),
        together,
    )


def test_channels_that_do_not_share_a_support_are_smoothed_as_separate_planes(photographs):
    images = (photographs[:5] / np.float32(255)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(
        smooth(images, 0.8, channel_axis=1, joint=False), smooth(images, 0.8)
    )
    assert ScaleSpace(images, channel_axis=1, joint=False).at(0.8).support.shape == (5, 3, 1984)
    assert ScaleSpace(images, channel_axis=1).at(0.8).support.shape == (5, 1984)


@pytest.mark.parametrize("form", [{}, {"delta": INF}], ids=["Huber", "quadratic"])
def test_all_numbers_of_channels_beyond_three_share_a_kernel(photographs, form):
    image = photographs[0].astype(np.float32) / 255
    three = ScaleSpace(image, channel_axis=-1, **form).at(0.7)
    kernels_compiled = []
    for channels in (4, 5, 12):
        # channels without variation add nothing to a norm over channels
        more = np.concatenate([image, np.zeros((32, 32, channels - 3), np.float32)], axis=-1)
        scale = ScaleSpace(more, channel_axis=-1, **form).at(0.7)
        np.testing.assert_array_equal(scale.support, three.support)
        np.testing.assert_allclose(scale.beta[..., :3], three.beta, atol=1e-6)
        assert not scale.beta[..., 3:].any()
        kernels_compiled.append(len(kernels.march.signatures))
    assert kernels_compiled == kernels_compiled[:1] * 3


def test_every_image_can_have_its_own_sparsity(photographs):
    images = (photographs[:4] / np.float32(255)).transpose(0, 3, 1, 2)
    sparsities = np.array([0.9, 0.0, 0.5, 1.0])
    for joint in (True, False):
        together = smooth(images, sparsities, channel_axis=1, joint=joint)
        for image, sparsity, result in zip(images, sparsities, together, strict=True):
            np.testing.assert_array_equal(
                result, smooth(image, sparsity, channel_axis=0, joint=joint)
            )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_results_have_the_dtype_shape_and_range_of_the_images(photographs, dtype):
    images = photographs[:2] / 255
    images = (
        np.rint(images * np.iinfo(dtype).max).astype(dtype)
        if np.issubdtype(dtype, np.integer)
        else images.astype(dtype)
    )
    result = smooth(images, 0.8, channel_axis=-1)
    assert result.dtype == dtype
    assert result.shape == images.shape
    unit = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    np.testing.assert_allclose(
        result / unit, smooth(photographs[:2] / 255, 0.8, channel_axis=-1), atol=0.02
    )


def test_images_that_are_not_copied_are_not_changed_and_may_be_stored_in_any_way(photographs):
    images = (photographs[:3] / np.float32(255)).transpose(0, 3, 1, 2).copy()
    before, read_only = images.copy(), images.view()
    read_only.flags.writeable = False
    for form in ({}, {"delta": INF, "joint": False}):
        expected = ScaleSpace(images, channel_axis=1, **form).at(0.8)
        for same in (images, read_only, images.astype(">f4"), np.asfortranarray(images)):
            scale = ScaleSpace(same, channel_axis=1, copy=False, **form).at(0.8)
            np.testing.assert_array_equal(scale.beta, expected.beta)
            np.testing.assert_array_equal(scale.regions, expected.regions)
        assert not np.shares_memory(
            ScaleSpace(images, channel_axis=1, copy=False, **form).at(0.0).output("beta"), images
        )
    np.testing.assert_array_equal(images, before)


def test_a_memory_mapped_file_is_smoothed_into_an_ordinary_array(photographs, tmp_path):
    images = np.memmap(tmp_path / "images", np.float32, "w+", shape=(2, 32, 32))
    images[:] = photographs[:2, ..., 0] / np.float32(255)
    for output in ("beta", "regions"):
        smoothed = smooth(images, 0.8, output=output)
        assert type(smoothed) is np.ndarray
        np.testing.assert_array_equal(smoothed, smooth(np.array(images), 0.8, output=output))


@pytest.mark.parametrize("shape", [(3, 3, 16, 16), (16, 16, 16), (2, 3, 3, 12, 12)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_axes_of_one_length_are_told_apart(shape, dtype):
    rng = np.random.default_rng(0)
    images = (rng.random(shape) if dtype is np.float32 else rng.integers(0, 256, shape)).astype(
        dtype
    )
    for axis in range(images.ndim):
        colours_last = np.ascontiguousarray(np.moveaxis(images, axis, -1))
        for function in (partial(smooth, sparsity=0.6), denoise):
            expected = np.moveaxis(function(colours_last, channel_axis=-1), -1, axis)
            np.testing.assert_array_equal(function(images, channel_axis=axis), expected)
        np.testing.assert_array_equal(smooth(images, 0.0, channel_axis=axis), images)


def test_colours_in_the_last_axis_without_a_channel_axis_give_a_warning(photographs):
    with pytest.warns(UserWarning, match="channel_axis=-1"):
        smooth(photographs[0], 0.8)
    with pytest.warns(UserWarning, match="planes of width 1"):
        smooth(photographs[0, ..., :1], 0.8)
    with pytest.warns(UserWarning, match="are read as 32 channels of width 3"):
        smooth(photographs[:2], 0.8, channel_axis=1)
    smooth(photographs[:2, :8], 0.8, channel_axis=1)  # as few rows as some images have bands
    smooth(photographs[:16, :, :, :1], 0.8, channel_axis=0)  # bands of one line of a scanner each


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 0, 8, 8), (0, 3, 8, 8), (3, 0, 2, 8, 8)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_no_images_give_no_images(shape, dtype):
    images = np.zeros(shape, dtype)
    for sparsity in (0.8, "auto"):
        smoothed = smooth(images, sparsity)
        assert (smoothed.shape, smoothed.dtype) == (shape, dtype)
    scale = ScaleSpace(images).at(0.5)
    assert scale.regions.shape == scale.labels.shape == shape
    assert noise_strength(images).shape == shape[:-2]


def test_images_of_one_pixel_or_one_row_are_allowed():
    np.testing.assert_array_equal(smooth(np.array([[0.3]]), 0.5), [[0.3]])
    np.testing.assert_array_equal(
        smooth(np.full((2, 1, 1, 3), 7, np.uint8), 0.5, channel_axis=-1, output="regions"), 7
    )
    assert ScaleSpace(np.array([[0.3]])).at(0.5).sparsity == 1
    row = np.array([[0.0, 0.01, 0.0, 0.8, 0.81, 0.8]])
    for image in (row, row.T):
        assert smooth(image, 0.8, **PAPER).ravel() == pytest.approx([0.01 / 3] * 3 + [2.41 / 3] * 3)


@pytest.mark.parametrize(
    ("images", "arguments", "error", "argument"),
    [
        ([[0.1, 0.2], [0.3]], {}, TypeError, "images"),
        (np.zeros((2, 2), int), {}, TypeError, "images"),
        (np.zeros((2, 2), bool), {}, TypeError, "images"),
        (np.zeros((2, 2), complex), {}, TypeError, "images"),
        (np.array([["a"]]), {}, TypeError, "images"),
        (np.zeros(4), {}, ValueError, "images"),
        (np.zeros((4, 4)), {"channel_axis": 0}, ValueError, "images"),
        (np.zeros((3, 4, 4)), {"channel_axis": 3}, ValueError, "channel_axis"),
        (np.zeros((0, 4)), {}, ValueError, "images"),
        (np.zeros((4, 0, 4)), {}, ValueError, "images"),
        (np.array([[0.0, np.nan]]), {}, ValueError, "images"),
        (np.array([[0.0, np.inf]]), {}, ValueError, "images"),
        (np.array([[0.0, 255.0]]), {}, ValueError, "floating images"),
        (np.zeros((4, 4)), {"sparsity": 1.1}, ValueError, "sparsity"),
        (np.zeros((4, 4)), {"sparsity": -0.1}, ValueError, "sparsity"),
        (np.zeros((4, 4)), {"sparsity": float("nan")}, ValueError, "sparsity"),
        (np.zeros((4, 4)), {"sparsity": "high"}, ValueError, "sparsity"),
        (np.zeros((2, 4, 4)), {"sparsity": [0.1, 0.2, 0.3]}, ValueError, "sparsity"),
        (np.zeros((4, 4)), {"nu": 0.0}, ValueError, "nu"),
        (np.zeros((4, 4)), {"nu": float("nan")}, ValueError, "nu"),
        (np.zeros((4, 4)), {"delta": -1.0}, ValueError, "delta"),
        (np.zeros((4, 4)), {"sparsity": None}, ValueError, "sparsity"),
        (np.zeros((4, 4)), {"sparsity": "0.8"}, ValueError, "sparsity"),
        (np.zeros((4, 4)), {"delta": None}, TypeError, "delta"),
        (np.zeros((4, 4, 4)), {"channel_axis": "last"}, TypeError, "channel_axis"),
        (np.ma.masked_array(np.zeros((4, 4)), False), {}, TypeError, "images"),
        (np.zeros((4, 4)), {"nu": np.complex64(1)}, TypeError, "nu"),
        (np.zeros((4, 4)), {"joint": "no"}, TypeError, "joint"),
        (np.zeros((4, 4)), {"sparsity": "auto", "output": "regions"}, ValueError, "sparsity"),
        (np.zeros((4, 4)), {"output": "gamma"}, ValueError, "output"),
    ],
)
def test_bad_input_is_an_error_that_names_the_argument(images, arguments, error, argument):
    with pytest.raises(error, match=f"^{argument} must"):
        smooth(images, **({"sparsity": 0.5} | arguments))


def test_images_too_large_for_32_bit_edge_numbers_are_refused():
    with pytest.raises(ValueError, match="^images must .*32768x32768"):
        smooth(np.broadcast_to(np.float32(0.5), (32768, 32768)), 0.8)


@pytest.mark.parametrize("preset", [{}, PAPER], ids=["robust", "paper"])
@pytest.mark.parametrize("axis", [0, 1, 2, 4])
def test_every_channel_axis_gives_the_result_of_each_image_alone(preset, axis, monkeypatch):
    monkeypatch.setattr(threads, "TASK", 1000)  # numbers in a task: there are several tasks
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 3, 8, 9)).astype(np.uint8)
    smoothed = np.moveaxis(
        smooth(np.moveaxis(images, 2, axis), 0.7, channel_axis=axis, **preset), axis, 2
    )
    for index in np.ndindex(2, 5):
        np.testing.assert_array_equal(
            smoothed[index], smooth(images[index], 0.7, channel_axis=0, **preset)
        )


def test_results_do_not_depend_on_the_byte_order(planes):
    native = planes.astype(np.float64)
    foreign = smooth(native.astype(native.dtype.newbyteorder("S")), 0.8)
    np.testing.assert_array_equal(foreign, smooth(native, 0.8))


def test_numbers_become_integers_by_rounding_and_clipping_and_floats_as_they_are():
    values = np.array([-1e6, -0.6, 0.5, 1.5, 254.6, 300.2, 1e6])
    for dtype, expected in (
        (np.uint8, [0, 0, 0, 2, 255, 255, 255]),
        (np.uint16, [0, 0, 0, 2, 255, 300, 65535]),
        (np.int16, [-32768, -1, 0, 2, 255, 300, 32767]),
    ):
        rounded = round_to(values, np.dtype(dtype))
        assert rounded.dtype == dtype
        assert rounded.tolist() == expected
    np.testing.assert_array_equal(
        round_to(values, np.dtype(np.float32)), values.astype(np.float32), strict=True
    )
