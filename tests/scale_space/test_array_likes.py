"""Whatever `numpy.asarray` makes an array of is accepted; what holds no intensities is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from virolbi import ScaleSpace, noise_strength, smooth
from virolbi.scale_space import from_pairs

FUNCTIONS = {
    "smooth": lambda images, **settings: smooth(images, 0.8, **settings),
    "ScaleSpace": lambda images, **settings: ScaleSpace(images, **settings).at(0.8).beta,
    "noise_strength": noise_strength,
}
EACH = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


class Labelled:
    """An array with names for its axes, as those of xarray are."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return self._values if dtype is None else self._values.astype(dtype)


@EACH
def test_array_likes_give_what_their_arrays_give(photographs, function):
    colours, grey = photographs[0], photographs[0, ..., 0]
    for given, array, axis in (
        (Image.fromarray(colours), colours, -1),
        (Image.fromarray(grey), grey, None),
        (Image.fromarray(grey / np.float32(255)), grey / np.float32(255), None),
        ((grey / 255).tolist(), grey / 255, None),
        (Labelled(photographs), photographs, -1),
        ([colours, colours], np.stack([colours, colours]), -1),
    ):
        found, expected = (function(images, channel_axis=axis) for images in (given, array))
        assert type(found) is np.ndarray
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_pairs_may_be_array_likes(photographs):
    clean, noisy = Image.fromarray(photographs[0]), Image.fromarray(photographs[1])
    expected = from_pairs(photographs[0], photographs[1], channel_axis=-1)
    assert from_pairs(clean, noisy, channel_axis=-1) == expected
    dark = (photographs[:1] * 16).astype(np.uint16) // 2
    with pytest.warns(UserWarning, match="data_range") as caught:
        from_pairs(dark, dark, channel_axis=-1)
    assert len(caught) == 1


@EACH
@pytest.mark.parametrize(
    ("dtype", "hint"),
    [
        (bool, "0 and 1 as float32"),
        (np.int16, "shift or divide them to"),
        (np.int32, "shift or divide them to"),
        (np.int64, "shift or divide them to"),
        (np.uint32, "shift or divide them to"),
        (complex, "modulus"),
        (object, "stack"),
    ],
)
def test_other_dtypes_are_refused_with_a_hint(function, dtype, hint):
    with pytest.raises(
        TypeError, match=rf"^images must be uint8, .*got {np.dtype(dtype)}; .*{hint}"
    ):
        function(np.zeros((4, 4), dtype))


@EACH
def test_what_holds_no_intensities_is_refused_with_a_hint(photographs, function):
    palette = Image.fromarray(photographs[0]).convert("P")
    for given, message in (
        (np.ma.zeros((4, 4)), r"without a mask, got MaskedArray; .*filled\(value\)"),
        ([np.zeros((4, 4)), np.ma.zeros((4, 4))], r"without a mask, got MaskedArray; .*filled"),
        (([np.ma.zeros((4, 4))],), r"without a mask, got MaskedArray; .*filled"),
        ([[0.5, np.ma.masked], [0.5, 0.5]], r"without a mask, got MaskedArray; .*filled"),
        (palette, r"palette indices, mode P; .*convert\('RGB'\)"),
        (palette.convert("1"), "got bool; convert masks"),
        ([[0.1, 0.2], [0.3]], "form one array, got list"),
        ([[0, 255]], "got int64; "),
        (None, "got object; "),
        ("image.png", "got <U9; convert them to numbers"),
    ):
        with pytest.raises(TypeError, match=f"^images must .*{message}"):
            function(given)


@pytest.mark.parametrize("axis", [True, np.True_, "1", 1.0])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_an_axis_that_is_no_whole_number_is_refused(photographs, kind, axis):
    with pytest.raises(TypeError, match=r"^channel_axis must be a whole number or None, got "):
        smooth(kind(photographs[0]), 0.8, channel_axis=axis)


def test_tensors_are_sent_where_they_are_accepted():
    tensor = torch.rand(1, 8, 8, requires_grad=True)
    assert isinstance(smooth(tensor, 0.8), torch.Tensor)
    for function in (ScaleSpace, noise_strength):
        with pytest.raises(TypeError, match=r"tensors go to virolbi.smooth or virolbi.nn.Smooth"):
            function(tensor)
