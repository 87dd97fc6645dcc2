"""Checks of images that callers pass in: array types, ranges and intensities."""

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from virolbi._checks import check_number, warn_caller
from virolbi._engine import copy_slices, parallel

if TYPE_CHECKING:
    from virolbi.scale_space.layout import Layout

DTYPES = (np.uint8, np.uint16, np.float16, np.float32, np.float64)
UNUSED = 1 / 8  # of the range: integers that stay below leave three bits unused
FAINT = 1e-3  # span of floats that are hardly meant to be intensities in [0, 1]
ROUNDED = 1e-5  # of the largest number: rounding errors of an even image span less
OVERSHOOT = 0.2  # of intensities beyond [0, 1] after resizing; more looks like normalised images
INTEGER_HINT = (
    "shift or divide them to [0, 1] as float32, or convert them to uint8 or uint16 if they fit"
)
HINTS = {  # what to do about other dtypes, by their kind
    "b": "convert masks to 0 and 1 as float32",
    "i": INTEGER_HINT,
    "u": INTEGER_HINT,
    "f": "convert them to float64",
    "c": "smooth their modulus, or the real and the imaginary part, as float32 in [0, 1]",
    "O": "stack images of one shape in one array of numbers, or smooth them one by one",
}


class IntensityWarning(UserWarning):
    """Warning that intensities are outside [-0.2, 1.2], as in images normalised for a network."""


def as_images(images: Any) -> np.ndarray:
    """Return an array-like as an array, which `Layout.of` is still to check.

    Parameters
    ----------
    images : array_like
        Array, nested list, PIL image, or object with `__array__`. Arrays are returned as they are.

    Returns
    -------
    ndarray
        The array.

    Raises
    ------
    TypeError
        If `images` is a torch tensor or a PIL image of palette indices, if it is a list or tuple
        that holds a masked array, or if it does not form an array.
    """
    if isinstance(images, np.ndarray):
        return images
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(images, torch.Tensor):
        raise TypeError(
            "images must be an array, got a torch tensor; "
            "tensors go to virolbi.smooth or virolbi.nn.Smooth"
        )
    if getattr(images, "mode", None) in ("P", "PA"):
        raise TypeError(
            f"images must be intensities, got a PIL image of palette indices, mode {images.mode}; "
            "convert it: images.convert('RGB')"
        )
    _check_unmasked(images)  # NumPy drops the masks in lists
    try:
        return np.asarray(images)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"images must form one array, got {type(images).__name__}: {error}"
        ) from error


def check_array(images: Any, channel_axis: int | None) -> None:
    """Check the type, dtype and number of axes of an array of images.

    Parameters
    ----------
    images : object
        Must be an array of images.
    channel_axis : int or None
        Colour axis, if there is one.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images must be a NumPy array, got {type(images).__name__}")
    _check_unmasked(images)
    if images.dtype.newbyteorder("=") not in DTYPES:
        hint = HINTS.get(images.dtype.kind, "convert them to numbers")
        raise TypeError(
            f"images must be uint8, uint16, float16, float32 or float64, got {images.dtype}; {hint}"
        )
    least = 2 if channel_axis is None else 3
    if images.ndim < least:
        raise ValueError(
            f"images must have at least {least} axes with channel_axis={channel_axis}, "
            f"got shape {images.shape}"
        )


def check_width(shape: tuple[int, ...], channel_axis: int | None) -> None:
    """Warn if the last axis of images seems to hold colours, and is read as their width.

    Parameters
    ----------
    shape : tuple of int
        Shape of an array of images.
    channel_axis : int or None
        Colour axis, >= 0, or None if no axis is said to be one.

    Warns
    -----
    UserWarning
        If the height is above 8 and the width at most 4; with a colour axis only if the width is 3
        or 4 and there are more than 8 channels, as where height is taken for channels.
    """
    if len(shape) < 3 or channel_axis == len(shape) - 1:
        return
    image_axes = [length for axis, length in enumerate(shape) if axis != channel_axis]
    height, width = image_axes[-2:]
    if channel_axis is None:
        seems, read = width <= 4, "planes"
    else:
        channels = shape[channel_axis]
        seems, read = width in (3, 4) and channels > 8, f"{channels} channels"
    if seems and height > 8:
        warn_caller(
            f"images of shape {shape} are read as {read} of width {width}; if their last axis "
            "holds colours, pass channel_axis=-1, or permute them to (..., C, H, W) for layers and "
            "transforms"
        )


def _check_unmasked(images: Any) -> None:
    """Raise a TypeError for a masked array, or for a list or tuple that holds one."""
    if isinstance(images, np.ma.MaskedArray):
        raise TypeError(
            "images must be an array without a mask, got MaskedArray; "
            "fill what is masked: images.filled(value)"
        )
    if isinstance(images, list | tuple):
        for part in images:
            if isinstance(part, (list, tuple, np.ma.MaskedArray)):  # no call for each number
                _check_unmasked(part)


def check_channel_axis(channel_axis: object) -> None:
    """Check that a colour axis is None or a whole number.

    Parameters
    ----------
    channel_axis : object
        Value to check. Booleans are not numbers: True would be axis 1.

    Raises
    ------
    TypeError
        If it is neither.
    """
    number = isinstance(channel_axis, int | np.integer) and not isinstance(channel_axis, bool)
    if channel_axis is not None and not number:
        raise TypeError(f"channel_axis must be a whole number or None, got {channel_axis!r}")


def dtype_range(dtype: np.dtype) -> float:
    """Return the intensity of white that a dtype implies.

    Parameters
    ----------
    dtype : numpy.dtype
        Type of pixels.

    Returns
    -------
    float
        The largest value of integers, and 1 for floats.
    """
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def check_data_range(data_range: float | None, dtype: np.dtype | None = None) -> None:
    """Check that a data range is None or a number that suits a dtype.

    Parameters
    ----------
    data_range : float or None
        Must be None, or a positive finite number, in single precision, and for integers at most
        the largest value of the dtype.
    dtype : numpy.dtype, optional
        Type of the images, or None for a check without images.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    if data_range is None:
        return
    check_number("data_range", data_range)
    least, most = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    if not least <= data_range <= most:
        raise ValueError(
            "data_range must be positive and finite in single precision, from "
            f"{least:.2g} to {most:.2g}, got {data_range}"
        )
    integers = dtype is not None and np.issubdtype(dtype, np.integer)
    if integers and data_range > np.iinfo(dtype).max:
        raise ValueError(
            f"data_range must be at most {np.iinfo(dtype).max} for {dtype} images, got {data_range}"
        )


def check_intensities(planes: np.ndarray, layout: "Layout | None" = None) -> None:
    """Check that planes are finite and not far from [0, 1]; resizing may overshoot a little.

    Parameters
    ----------
    planes : ndarray of float
        Intensities.
    layout : Layout, optional
        Layout of the images, for errors in the units of the caller, and for a warning if the
        `data_range` seems too large. None for a data range of 1.

    Raises
    ------
    ValueError
        If one is not finite, or outside [-1, 2].

    Warns
    -----
    IntensityWarning
        If one is outside [-0.2, 1.2], as in images that were normalised for a network.
    UserWarning
        If the data range seems too large, see `used_range`.
    """
    low, high = _extremes(planes)
    if not (math.isfinite(low) and math.isfinite(high)):
        values = f"values from {low} to {high}"
        if math.isnan(low):
            values = "NaN; virolbi.data.fill_hidden fills in pixels without data"
        raise ValueError(f"images must be finite, got {values}")
    top = 1.0 if layout is None else layout.top
    if low < -1 or high > 2:
        values = f"values from {low * top:g} to {high * top:g}"
        if top != 1:
            raise ValueError(
                f"images must be in [0, data_range], here [0, {top:g}], got {values}; "
                "shift or rescale them, or correct data_range"
            )
        raise ValueError(
            f"floating images must be intensities in [0, 1], got {values}; "
            "shift or rescale them, or pass their largest possible value as data_range"
        )
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        warn_caller(
            f"images should be in [0, {top:g}], got values from {low * top:g} to {high * top:g}; "
            "smooth before normalising, shift or rescale them, or pass another data_range",
            IntensityWarning,
        )
    if layout:
        if layout.dtype.itemsize > 1 and layout.dtype.kind == "u" and layout.data_range is None:
            high = highest_unsaturated(planes, high, 1.0)
        used = used_range(low * top, high * top, layout.dtype, layout.data_range)
        warn_of_unused_range(used, f"{layout.dtype.name} images")


def _extremes(planes: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest number in planes."""
    slices = copy_slices(planes)
    if not slices:
        return 0.0, 0.0
    extremes = np.empty((2, len(slices)))

    def measure(task: tuple[int, slice]) -> None:
        index, rows = task
        extremes[:, index] = planes[rows].min(), planes[rows].max()

    parallel(measure, enumerate(slices))
    return float(extremes.min()), float(extremes.max())


def used_range(low: float, high: float, dtype: np.dtype, data_range: float | None) -> float:
    """Return the share of their range that images use, if it may be too large.

    Parameters
    ----------
    low, high : float
        Extremes of the images; of integers, `high` is better without saturated pixels, see
        `highest_unsaturated`.
    dtype : numpy.dtype
        Their type.
    data_range : float or None
        Value that the caller says is white, or None.

    Returns
    -------
    float
        Of integers of 16 bits or more without a stated range, the share that `high` is of the
        largest value of their dtype. Of floats without a stated range, their span if it is less
        than a thousandth, and more than rounding errors. Of floats in [0, 1] with a stated range,
        the share that 1 is of it; of others with one, 1, which tells that it suits some of the
        images. Else 0, which tells nothing.
    """
    if dtype.kind in "iu":
        doubtful = data_range is None and dtype.itemsize > 1
        return high / dtype_range(dtype) if doubtful else 0.0
    if data_range is not None:
        if high > 1 + ROUNDED:
            return 1.0
        return 1 / data_range if low >= 0 and high > 0 else 0.0
    span, rounded = high - low, max(ROUNDED, 2 * float(np.finfo(dtype).eps))
    return span if rounded * max(abs(low), abs(high)) < span < FAINT else 0.0


def highest_unsaturated(values: np.ndarray, high: float, white: float) -> float:
    """Return the largest value below white, which saturated and missing pixels often have.

    Parameters
    ----------
    values : ndarray
        Images.
    high : float
        Their largest value.
    white : float
        Largest value that their dtype can hold, in their units.

    Returns
    -------
    float
        `high` if it is below white; 0 if there is no other value below it.
    """
    return float(values.max(where=values < white, initial=0)) if high == white else high


def warn_of_unused_range(used: float, subject: str) -> None:
    """Warn if images seem to have another range than they are said to have.

    Parameters
    ----------
    used : float
        Share of their range that the images use, see `used_range`; 0 if nothing is in doubt.
    subject : str
        The images, in plural.

    Warns
    -----
    UserWarning
        If less than an eighth is used.
    """
    if 0 < used < UNUSED:
        warn_caller(
            f"{subject} use {100 * used:.2g}% of their range; pass their largest possible value as "
            "data_range (12 bits: data_range=4095, all 16 bits: data_range=65535; floats in [0, 1] "
            "need none)"
        )


def check_time(time: np.ndarray) -> None:
    """Check that every time is a number >= 0.

    Parameters
    ----------
    time : ndarray of float
        Times; infinity is allowed.

    Raises
    ------
    ValueError
        If one is negative or NaN.
    """
    wrong = time[~(time >= 0)]
    if wrong.size:
        raise ValueError(f"time must be >= 0, got {wrong[0]:g}")
