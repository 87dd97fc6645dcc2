import tracemalloc

import numpy as np
import pytest

from virolbi.data import Picture, fill_hidden, hidden_pixels


def test_hidden_pixels_are_transparent_without_data_or_no_numbers():
    pixels = np.float32([[np.nan, 1], [2, -9999]])
    np.testing.assert_array_equal(hidden_pixels(Picture(pixels)), [[True, False], [False, False]])
    stated = Picture(pixels, metadata={"nodata": -9999.0})
    np.testing.assert_array_equal(hidden_pixels(stated), [[True, False], [False, True]])
    np.testing.assert_array_equal(hidden_pixels(stated, 2), [[True, False], [True, False]])
    for alpha in ([[0, 15], [16, 255]], [[0, 0], [1, 3]]):  # faint all over: some is seen
        clear = Picture(np.zeros((2, 2, 3), np.uint8), np.uint8(alpha))
        np.testing.assert_array_equal(hidden_pixels(clear), 16 * np.array(alpha) <= np.max(alpha))
    assert hidden_pixels(Picture(np.zeros((2, 2), np.uint8))) is None
    with pytest.raises(ValueError, match="must have visible pixels"):
        hidden_pixels(Picture(np.zeros((2, 2), np.uint8)), 0)


@pytest.mark.parametrize("shape", [(16, 21), (1, 9), (3, 7, 10, 2)])
def test_filled_pixels_stay_within_the_visible_ones_and_do_not_depend_on_what_was_hidden(shape):
    rng = np.random.default_rng(0)
    slices = int(len(shape) == 4)
    pixels = rng.integers(90, 110, shape).astype(np.uint16)
    grid = shape[slices : slices + 2]
    hidden = rng.random((*shape[:slices], *grid)) < 0.6
    hidden[..., 0, 0] = False
    mask = hidden[..., None] if slices else hidden
    results = [
        fill_hidden(Picture(np.where(mask, value, pixels), slice_axes=slices), hidden).pixels
        for value in (0, 65535)
    ]
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(np.where(mask, 0, results[0]), np.where(mask, 0, pixels))
    assert 90 <= results[0].min() <= results[0].max() < 110


@pytest.mark.parametrize("shape", [(5, 40, 60), (60, 40, 40), (2, 5, 40, 60), (9, 4, 9)])
def test_a_stack_that_may_be_bands_must_state_its_slices(shape):
    stack = np.random.default_rng(0).random(shape)
    stack[..., 0, :2, 1] = np.nan
    slices = stack.ndim - 2
    with pytest.raises(ValueError, match=rf"slice_axes must .*{slices - 1} if .* {slices} if"):
        Picture(stack)
    np.testing.assert_array_equal(hidden_pixels(Picture(stack, slice_axes=slices)), np.isnan(stack))
    bands = Picture(stack, slice_axes=slices - 1)
    np.testing.assert_array_equal(hidden_pixels(bands), np.isnan(stack).any(axis=-1))


@pytest.mark.parametrize(
    "shape", [(40, 60), (40, 60, 6), (2, 9, 3), (5, 40, 60, 3), (5, 40, 60, 4)]
)
def test_bands_that_are_told_from_slices_need_no_statement(shape):
    picture = Picture(np.zeros(shape))
    assert picture.slice_axes == int(len(shape) == 4)
    assert picture.channels == (1 if len(shape) == 2 else shape[-1])


def test_filling_a_large_picture_takes_little_memory():
    pixels, hidden = np.full((700, 500, 3), 9, np.uint8), np.zeros((700, 500), bool)
    hidden[100:600, 100:400] = True
    tracemalloc.start()
    try:
        fill_hidden(Picture(pixels), hidden)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 9 * pixels.size  # bytes
