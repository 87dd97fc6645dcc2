"""Layout of the caller's arrays: every image becomes floating planes (N, C, H, W), and back."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from virolbi._checks import check_flag
from virolbi._engine import copy_slices, parallel
from virolbi.scale_space.input_checks import (
    check_array,
    check_channel_axis,
    check_data_range,
    check_width,
    dtype_range,
)


@dataclass(frozen=True)
class Layout:
    """Arrangement of images in an array.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    dtype : numpy.dtype
        Its dtype.
    channel_axis : int or None
        Its colour axis, >= 0, or None.
    joint : bool
        Whether the channels of an image share one support.
    data_range : float or None
        Value of the array that is intensity 1, or None for the value that its dtype implies.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    channel_axis: int | None
    joint: bool
    data_range: float | None = None

    @classmethod
    def of(
        cls,
        images: Any,
        channel_axis: int | None,
        joint: bool,
        data_range: float | None = None,
    ) -> "Layout":
        """Return the layout of an array after checking that it holds images.

        Parameters
        ----------
        images : ndarray
            Images.
        channel_axis : int or None
            Colour axis; a negative one counts from the end.
        joint : bool
            Whether the channels of an image share one support.
        data_range : float or None, optional
            Value of the array that is intensity 1, or None for the value that its dtype implies.

        Returns
        -------
        Layout
            The layout.

        Raises
        ------
        TypeError, ValueError
            If the array, the axis, the flag or the range is not valid.

        Warns
        -----
        UserWarning
            If the last axis seems to hold colours, see `check_width`.
        """
        check_array(images, channel_axis)
        if channel_axis is not None:
            check_channel_axis(channel_axis)
            if not -images.ndim <= channel_axis < images.ndim:
                raise ValueError(
                    f"channel_axis must be one of the {images.ndim} axes of images, "
                    f"got {channel_axis}"
                )
            channel_axis %= images.ndim
        check_width(images.shape, channel_axis)
        check_flag("joint", joint)
        check_data_range(data_range, images.dtype)
        layout = cls(images.shape, images.dtype, channel_axis, joint, data_range)
        if 0 in layout._moved[-2 if channel_axis is None else -3 :]:
            raise ValueError(f"images must not be empty, got shape {images.shape}")
        height, width = layout._moved[-2:]
        if height * width >= 2**30:  # edges are numbered in 32 bits
            raise ValueError(f"images must have fewer than 2**30 pixels each, got {height}x{width}")
        return layout

    @property
    def top(self) -> float:
        """Value of the array that is intensity 1: 255 and 65535 for integers, 1 for floats."""
        if self.data_range is not None:
            return float(self.data_range)
        return dtype_range(self.dtype)

    @property
    def lead(self) -> tuple[int, ...]:
        """Shape of the image axes: all but colour, height and width."""
        return self.shape[:-2] if self.channel_axis is None else self._moved[:-3]

    @property
    def groups(self) -> tuple[int, ...]:
        """Shape of the support axes: one support for each image, or for each of its channels."""
        return self._moved[:-2] if self.channel_axis is not None and not self.joint else self.lead

    @property
    def _moved(self) -> tuple[int, ...]:
        """Shape with the colour axis before height and width."""
        if self.channel_axis is None:
            return self.shape
        rest = [n for axis, n in enumerate(self.shape) if axis != self.channel_axis]
        return (*rest[:-2], self.shape[self.channel_axis], *rest[-2:])

    def planes(self, images: np.ndarray, least: type = np.float32, copy: bool = True) -> np.ndarray:
        """Return images as floating planes of intensities, that is divided by `top`.

        Parameters
        ----------
        images : ndarray
            Images in this layout.
        least : type, optional
            Smallest floating type of the result.
        copy : bool, optional
            False to share the memory of `images` where no number has to change.

        Returns
        -------
        ndarray of float, shape (N, C, H, W)
            N supports, each shared by C channels.
        """
        source = np.asarray(self._move_channels(images))  # a plain array, not a memory map
        working = np.promote_types(np.float32, images.dtype)
        dtype = np.promote_types(working, least)
        planes = source
        # compiled code expects carray: contiguous, aligned and writeable
        if copy or self.top != 1 or source.dtype != dtype or not source.flags.carray:
            planes = np.empty(source.shape, dtype)

            def convert(rows: slice) -> None:
                if self.top != 1:
                    top = working.type(self.top)
                    np.divide(source[rows], top, out=planes[rows], dtype=working)
                else:
                    np.copyto(planes[rows], source[rows])

            parallel(convert, copy_slices(source))
        channels = source.shape[-3] if self.channel_axis is not None and self.joint else 1
        return planes.reshape(-1, channels, *source.shape[-2:])

    def masks(self, hidden: ArrayLike) -> np.ndarray:
        """Return which pixels of the planes of each support are hidden.

        Parameters
        ----------
        hidden : array_like of bool
            Whether a pixel is hidden, in the shape of the images without their colour axis.

        Returns
        -------
        ndarray of bool, shape (N, H, W)
            One mask for each support.

        Raises
        ------
        ValueError
            If `hidden` has another shape or another dtype.
        """
        masks, shape = np.asarray(hidden), (*self.lead, *self._moved[-2:])
        if masks.shape != shape or masks.dtype != np.bool_:
            raise ValueError(
                f"hidden must be an array of bool of shape {shape}, got {masks.dtype} of shape "
                f"{masks.shape}"
            )
        masks = masks.reshape(-1, *shape[-2:])
        return np.repeat(masks, math.prod(self.groups[len(self.lead) :]), axis=0)

    def images(self, planes: np.ndarray) -> np.ndarray:
        """Return planes in the layout and dtype of the caller's array.

        Parameters
        ----------
        planes : ndarray of float, shape (N, C, H, W)
            Intensities.

        Returns
        -------
        ndarray
            Images in C order; they share the memory of `planes` where no number has to change.
        """
        unmoved = self.channel_axis in (None, len(self.shape) - 3)
        if planes.dtype == self.dtype and unmoved and self.top == 1:
            return planes.reshape(self.shape)
        images = np.empty(self.shape, self.dtype)
        target = self._move_channels(images)
        source = planes.reshape(target.shape)

        def convert(rows: slice) -> None:
            if self.dtype.kind in "iu":
                levels = source[rows] * self.top
                np.copyto(target[rows], round_to(levels, self.dtype))
            elif self.top != 1:
                np.multiply(source[rows], self.top, out=target[rows], casting="same_kind")
            else:
                np.copyto(target[rows], source[rows], casting="same_kind")

        parallel(convert, copy_slices(target))
        return images

    def _move_channels(self, images: np.ndarray) -> np.ndarray:
        """View an array with colours before height and width, and at least one image axis."""
        moved = images if self.channel_axis is None else np.moveaxis(images, self.channel_axis, -3)
        return moved if self.lead else moved[None]

    def per_support(self, values: Any, name: str) -> np.ndarray:
        """Return one number for each support.

        Parameters
        ----------
        values : float or array_like of float
            A number, or an array that broadcasts to the image axes, or one that has the shape of
            the support axes.
        name : str
            Name of the argument, for the error.

        Returns
        -------
        ndarray of float64, shape (N,)
            The numbers.

        Raises
        ------
        ValueError
            If `values` is neither.
        """
        try:
            if values is None or isinstance(values, str) or np.asarray(values).dtype == np.bool_:
                raise TypeError
            values = np.asarray(values, dtype=np.float64)
            if values.shape == self.groups:
                return np.asarray(values.reshape(-1))
            values = np.broadcast_to(values, self.lead)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} must be a number or an array that broadcasts to shape {self.lead}, "
                f"got {values!r}"
            ) from error
        extra = len(self.groups) - len(self.lead)
        return np.broadcast_to(values.reshape(self.lead + (1,) * extra), self.groups).reshape(-1)


def round_to(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return numbers as a dtype; integers are rounded, and clipped to what it can hold.

    Parameters
    ----------
    values : ndarray of float
        Numbers.
    dtype : numpy.dtype
        Type of the result.

    Returns
    -------
    ndarray
        The numbers.
    """
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    rounded: np.ndarray = np.rint(values)
    return np.clip(rounded, limits.min, limits.max, out=rounded).astype(dtype)
