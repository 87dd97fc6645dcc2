"""Laws of the smoother on arrays of random shapes, values, dtypes and memory orders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virolbi import ScaleSpace, smooth

DTYPES = (np.uint8, np.uint16, np.float16, np.float32, np.float64)
SIDES = st.sampled_from([1, 2, 3, 5, 7, 15, 16, 17, 31, 32, 33, 67])


@st.composite
def images(draw):
    """An array of one or two images, with or without a channel axis, in any memory order."""
    height, width = draw(SIDES), draw(SIDES)
    channels = draw(st.sampled_from([None, 1, 2, 3, 5]))
    shape = (draw(st.integers(1, 2)), *((channels,) if channels else ()), height, width)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    content = draw(st.sampled_from(["noise", "binary", "flat", "faint", "ramp", "beyond"]))
    values = {
        "noise": lambda: rng.random(shape),
        "binary": lambda: rng.integers(0, 2, shape).astype(float),
        "flat": lambda: np.full(shape, rng.random()),
        "faint": lambda: 0.5 + 1e-7 * rng.normal(size=shape),
        "ramp": lambda: np.broadcast_to(np.linspace(0, 1, width), shape),
        "beyond": lambda: rng.uniform(-0.9, 1.9, shape),
    }[content]()
    dtype = draw(st.sampled_from(DTYPES))
    if np.issubdtype(dtype, np.integer):
        values = np.rint(np.clip(values, 0, 1) * np.iinfo(dtype).max)
    array = values.astype(dtype)
    order = draw(st.sampled_from(["C", "F", "reversed", "strided", "broadcast"]))
    if order == "F":
        array = np.asfortranarray(array)
    elif order == "reversed":
        array = array[..., ::-1, ::-1]
    elif order == "strided":
        array = np.repeat(np.repeat(array, 2, axis=-1), 3, axis=-2)[..., ::3, ::2]
    elif order == "broadcast":
        array = np.broadcast_to(array[:1], array.shape)
    return array, (1 if channels else None)


def rounding_of(dtype):
    """Return by how much results may leave the range of their input because of rounding."""
    if np.issubdtype(dtype, np.integer):
        return 1
    return 2e-3 if dtype == np.float16 else 1e-4


@pytest.mark.slow
# some planes are as narrow as colours in the last axis
@pytest.mark.filterwarnings(
    "ignore::virolbi.scale_space.IntensityWarning"
)  # some are far outside [0, 1]
@pytest.mark.filterwarnings("ignore:uint16 images use")  # faint ones
@pytest.mark.filterwarnings("ignore:images of shape .* are read as planes of width [1-4]")
@settings(max_examples=150, deadline=None)
@given(
    images(),
    st.floats(0, 1),
    st.sampled_from([30.0, 1.0, 0.3, 0.05]),
    st.sampled_from([np.inf, 0.1, 0.01]),
    st.booleans(),
    st.sampled_from([1, 3]),
)
def test_the_laws_hold_for_any_array(array_and_axis, sparsity, nu, delta, joint, min_area):
    array, channel_axis = array_and_axis
    form = {"nu": nu, "delta": delta, "joint": joint, "channel_axis": channel_axis}
    before = array.copy()
    scale = ScaleSpace(array, min_area=min_area, **form).finish(sparsity)
    np.testing.assert_array_equal(array, before)  # the input is never written to
    for name, result in (("beta", scale.beta), ("regions", scale.regions)):
        assert result.shape == array.shape
        assert result.dtype == array.dtype
        assert np.isfinite(result).all()
        # both outputs are weighted means of the input
        assert result.min() >= float(array.min()) - rounding_of(array.dtype)
        assert result.max() <= float(array.max()) + rounding_of(array.dtype)
        copied = smooth(
            np.ascontiguousarray(array),
            sparsity,
            output=name,
            **form,
            **({"min_area": min_area} if name == "regions" else {}),
        )
        np.testing.assert_array_equal(copied, result)
    edges = scale.support.shape[-1]
    complete = scale.support.sum(axis=-1) >= np.round((1 - sparsity) * edges)
    assert complete[np.isfinite(scale.time)].all()
    assert ((scale.sparsity >= 0) & (scale.sparsity <= 1)).all()
    assert not np.isnan(scale.time).any()
