"""Check images and settings where they enter, and bring every layout to (N, C, H, W) and back."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from virolbi._checks import check_flag
from virolbi._engine import copy_slices, parallel


@dataclass(frozen=True)
class Layout:
    """How the caller's array holds its images: shape, dtype and the colour axis, or None."""

    shape: tuple[int, ...]
    dtype: np.dtype
    channel_axis: int | None
    joint: bool

    @classmethod
    def of(cls, images: Any, channel_axis: int | None, joint: bool) -> "Layout":
        """The layout of `images`, or an error that names what is wrong with it."""
        if not isinstance(images, np.ndarray) or isinstance(images, np.ma.MaskedArray):
            raise TypeError(
                f"images must be a NumPy array (or, for smooth(), a torch tensor), got {type(images).__name__}"
            )
        if images.dtype.newbyteorder("=") not in (
            np.uint8,
            np.uint16,
            np.float16,
            np.float32,
            np.float64,
        ):
            raise TypeError(
                f"images must be uint8, uint16, float16, float32 or float64, got {images.dtype}"
            )
        least = 2 if channel_axis is None else 3
        if images.ndim < least:
            raise ValueError(
                f"images must have at least {least} axes with channel_axis={channel_axis}, got shape {images.shape}"
            )
        if images.size == 0:
            raise ValueError(f"images must not be empty, got shape {images.shape}")
        if (
            channel_axis is None
            and images.ndim > 2
            and images.shape[-1] <= 4
            and images.shape[-2] > 8
        ):
            warnings.warn(
                f"images of shape {images.shape} are taken for planes of width {images.shape[-1]}; if their last axis holds "
                "colours, pass channel_axis=-1",
                stacklevel=4,
            )
        if channel_axis is not None:
            if not isinstance(channel_axis, int | np.integer):
                raise TypeError(
                    f"channel_axis must be a whole number or None, got {channel_axis!r}"
                )
            if not -images.ndim <= channel_axis < images.ndim:
                raise ValueError(
                    f"channel_axis must be one of the {images.ndim} axes of images, got {channel_axis}"
                )
            channel_axis %= images.ndim
        check_flag("joint", joint)
        layout = cls(images.shape, images.dtype, channel_axis, joint)
        if math.prod(layout._moved[-2:]) >= 2**30:  # edges are numbered in 32 bits
            raise ValueError(
                f"images must have fewer than 2**30 pixels each, got {layout._moved[-2]}x{layout._moved[-1]}"
            )
        return layout

    @property
    def lead(self) -> tuple[int, ...]:
        """Shape of the images' own axes: all but colour, height and width."""
        return self.shape[:-2] if self.channel_axis is None else self._moved[:-3]

    @property
    def groups(self) -> tuple[int, ...]:
        """Shape of the supports' own axes: one support for each image, or for each of its channels."""
        return self._moved[:-2] if self.channel_axis is not None and not self.joint else self.lead

    @property
    def _moved(self) -> tuple[int, ...]:
        if self.channel_axis is None:
            return self.shape
        rest = [n for axis, n in enumerate(self.shape) if axis != self.channel_axis]
        return (*rest[:-2], self.shape[self.channel_axis], *rest[-2:])

    def planes(self, images: np.ndarray, least: type = np.float32, copy: bool = True) -> np.ndarray:
        """As floating (N, C, H, W): N supports, each shared by C channels. Integers become intensities in [0, 1].

        copy: False where the same memory will do, if nothing in it has to change.
        """
        top = (
            np.float32(np.iinfo(images.dtype).max)
            if np.issubdtype(images.dtype, np.integer)
            else None
        )
        planes = source = np.asarray(
            self._as_moved(images)
        )  # no memory map or other kind of its own
        kind = np.promote_types(np.float32 if top else images.dtype, least)
        if (
            copy or source.dtype != kind or not source.flags.carray
        ):  # which is writeable too, as compiled code expects
            planes = np.empty(source.shape, kind)
            if top is None:
                parallel(lambda rows: np.copyto(planes[rows], source[rows]), copy_slices(source))
            else:
                parallel(
                    lambda rows: np.divide(source[rows], top, out=planes[rows], dtype=np.float32),
                    copy_slices(source),
                )
        channels = source.shape[-3] if self.channel_axis is not None and self.joint else 1
        return planes.reshape(-1, channels, *source.shape[-2:])

    def images(self, planes: np.ndarray) -> np.ndarray:
        """(N, C, H, W) intensities in the caller's shape and dtype, C order; the same memory where nothing has to change."""
        if planes.dtype == self.dtype and self._moved == self.shape:
            return planes.reshape(self.shape)
        images = np.empty(self.shape, self.dtype)
        target = self._as_moved(images)
        source = planes.reshape(target.shape)
        if np.issubdtype(self.dtype, np.integer):
            top = np.iinfo(self.dtype).max
            parallel(
                lambda rows: np.copyto(target[rows], _rounded(source[rows], top), casting="unsafe"),
                copy_slices(target),
            )
        else:
            parallel(
                lambda rows: np.copyto(target[rows], source[rows], casting="same_kind"),
                copy_slices(target),
            )
        return images

    def _as_moved(self, images: np.ndarray) -> np.ndarray:
        """A view with the colour axis before height and width, and one axis at least before those that make an image."""
        moved = images if self.channel_axis is None else np.moveaxis(images, self.channel_axis, -3)
        return moved if self.lead else moved[None]

    def per_support(self, values: Any, name: str) -> np.ndarray:
        """A number, or an array that broadcasts to the images' own axes, as one number for each of the N supports.

        Or that many already, in the shape of the supports' own axes.
        """
        try:
            if values is None or isinstance(values, str):
                raise TypeError
            values = np.asarray(values, dtype=np.float64)
            if values.shape == self.groups:
                return values.reshape(-1)
            values = np.broadcast_to(values, self.lead)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{name} must be a number or an array that broadcasts to shape {self.lead}, got {values!r}"
            ) from error
        extra = len(self.groups) - len(self.lead)
        return np.broadcast_to(values.reshape(self.lead + (1,) * extra), self.groups).reshape(-1)


def check_intensities(planes: np.ndarray) -> None:
    """Refuse what is not finite, and what is plainly not in [0, 1]; resizing may overshoot a little."""
    rows = copy_slices(planes)
    extremes = np.empty((2, len(rows)))

    def look(share: tuple[int, slice]) -> None:
        index, some = share
        extremes[:, index] = planes[some].min(), planes[some].max()

    parallel(look, enumerate(rows))
    low, high = float(extremes.min()), float(extremes.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            "images must be finite, got "
            + ("NaN" if math.isnan(low) else f"values from {low} to {high}")
        )
    if low < -1 or high > 2:
        raise ValueError(
            f"floating images must be intensities in [0, 1], got values from {low:g} to {high:g}; rescale them"
        )


def check_time(time: np.ndarray) -> None:
    """Refuse a time that is negative or none."""
    wrong = time[~(time >= 0)]
    if wrong.size:
        raise ValueError(f"time must be >= 0, got {wrong[0]:g}")


def _rounded(intensities: np.ndarray, top: int) -> np.ndarray:
    scaled = np.clip(intensities, 0, 1)
    scaled *= top
    return np.rint(scaled, out=scaled)
