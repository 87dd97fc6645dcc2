"""Pixels of files as the smoother takes them, and back."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from virolbi._checks import warn_caller
from virolbi.data import Picture, fill_hidden, hidden_pixels
from virolbi.scale_space import (
    OVERSHOOT,
    Form,
    IntensityWarning,
    ScaleSpace,
    dtype_range,
    used_range,
    warn_of_unused_range,
)


def check_nodata(picture: Picture, nodata: float | None) -> list[str]:
    """Return a note if a value without data is stated and no pixel has it.

    Parameters
    ----------
    picture : Picture
        Picture.
    nodata : float or None
        Pixel value without data. NaN is never taken for data, and needs no note.

    Returns
    -------
    list of str
        The note, or none.
    """
    if nodata is None or np.isnan(nodata):
        return []
    has_value = picture.pixels == nodata
    if picture.channel_axis is not None:
        has_value = has_value.all(axis=-1)
    bands = " in all bands" if picture.channels > 1 else ""
    return [] if has_value.any() else [f"no pixel has the value {nodata:g}{bands}"]


def _offset(low: Any, high: Any, data_range: float | None) -> float:
    """Return a number that all pixels can lose; smoothing depends on their differences alone.

    It is the lowest one if that is negative, of integers or where a range is stated, or if the
    others do not fit into a stated range otherwise, as temperatures in kelvin; else 0.
    """
    lowest, highest = float(low), float(high)
    if not np.isfinite([lowest, highest]).all():
        return 0.0  # refused by the smoother
    if lowest < 0:
        return lowest if low.dtype.kind == "i" or data_range is not None else 0.0
    return lowest if data_range is not None and highest > data_range else 0.0


def _check_span(pixels: np.ndarray, low: Any, high: Any, top: float, offset: float) -> None:
    """Check the span of numbers, without their offset, which is what smoothing depends on."""
    if not np.isfinite([float(low), float(high)]).all():
        return  # refused by the smoother
    span = float(high) - min(float(low), offset)
    message = f"span at most {top:g}, the data range, got values from {low:g} to {high:g}; "
    limit = (1 + OVERSHOOT) * top
    advice = _about_nodata(pixels, low, low < 0 or span > limit)
    advice = advice or _about_nodata(pixels, high, span > limit)
    if advice and span <= limit:
        warn_caller(advice)
    white = float(high) - float(low) if high > low else float(high)
    advice = advice or f"state white or their span, such as --data-range {white:g}"
    if span > 2 * top:
        raise ValueError(f"pixels must {message}{advice}")
    if span > limit:
        warn_caller(f"pixels should {message}{advice}")


def _about_nodata(pixels: np.ndarray, extreme: np.generic, possible: bool) -> str:
    """Return a text if the lowest or the highest number seems to mean that there is no data."""
    if not possible:
        return ""
    others = pixels[pixels != extreme]
    count = pixels.size - others.size
    if count < 2 or len(others) == 0 or others.min() == others.max():
        return ""
    ends = float(others.min()), float(others.max())
    nearest, farthest = sorted(abs(float(extreme) - end) for end in ends)
    if 2 * nearest <= farthest:  # the others span as much
        return ""
    value = str(extreme)  # as --nodata must state it; the format of a single would be longer
    found = f"{count} values of {value} are far from all others"
    return f"{found}; --nodata {value} leaves them out"


@dataclass(frozen=True)
class Intensities:
    """Pixels of a picture as the smoother takes them.

    Parameters
    ----------
    picture : Picture
        The picture as it was read.
    pixels : ndarray
        Its pixels, with hidden ones filled, and without an offset.
    hidden : ndarray of bool or None
        Pixels that hold nothing to see.
    offset : float
        Number that was subtracted, see `_offset`.
    data_range : float or None
        Pixel value that is white.
    """

    picture: Picture
    pixels: np.ndarray
    hidden: np.ndarray | None
    offset: float
    data_range: float | None

    @classmethod
    def of(cls, picture: Picture, data_range: float | None, nodata: float | None) -> "Intensities":
        """Return the intensities of a picture.

        Parameters
        ----------
        picture : Picture
            Picture.
        data_range : float or None
            Pixel value that is white.
        nodata : float or None
            Pixel value without data.

        Returns
        -------
        Intensities
            The intensities.
        """
        hidden = hidden_pixels(picture, nodata)
        pixels = picture.pixels if hidden is None else fill_hidden(picture, hidden).pixels
        low, high = pixels.min(), pixels.max()
        offset = _offset(low, high, data_range)
        signed = pixels.dtype == np.int16
        white = 65535.0 if signed else dtype_range(pixels.dtype)
        _check_span(pixels, low, high, data_range or white, offset)
        if signed:
            used = used_range(0.0, float(high) - offset, np.dtype(np.uint16), data_range)
            warn_of_unused_range(used, "int16 images")
            pixels, data_range = pixels.astype(np.float32), data_range or white
        if offset != 0:
            pixels = pixels - pixels.dtype.type(offset)
        return cls(picture, pixels, hidden, offset, data_range)

    def space(self, form: Form) -> ScaleSpace:
        """Return the scale path.

        Parameters
        ----------
        form : Form
            Form of the smoother.

        Returns
        -------
        ScaleSpace
            The path.
        """
        with warnings.catch_warnings(action="ignore", category=IntensityWarning):  # see `of`
            return ScaleSpace(
                self.pixels,
                channel_axis=self.picture.channel_axis,
                copy=False,
                data_range=self.data_range,
                hidden=self._ignored,
                **form.path_keywords(),
            )

    @property
    def _ignored(self) -> np.ndarray | None:
        """Pixels in which no noise is looked for: hidden and partly transparent ones.

        Contours of drawings are partly transparent, and a program made their colours. A picture of
        which most is partly transparent has a noise of its own, and is looked at as a whole.
        """
        alpha = self.picture.alpha
        if alpha is None:
            return self.hidden
        hidden = np.zeros(alpha.shape, bool) if self.hidden is None else self.hidden
        is_partly: np.ndarray = ~hidden & (alpha < alpha.max())
        is_mostly_partly = 2 * is_partly.sum() > (~hidden).sum()
        return self.hidden if is_mostly_partly else np.logical_or(hidden, is_partly)

    @property
    def _rounds(self) -> bool:
        """Whether a path that has ended returns other floats: divided by white, and multiplied."""
        return self.pixels.dtype.kind == "f" and self.data_range is not None

    def changes(self, smoothed: np.ndarray) -> np.ndarray:
        """Return which pixels were changed by more than the rounding of floats.

        Parameters
        ----------
        smoothed : ndarray
            Smoothed pixels.

        Returns
        -------
        ndarray of bool
            Where they differ from `pixels`.
        """
        if not self._rounds:
            changed: np.ndarray = smoothed != self.pixels
        else:
            rounding = 2 * np.finfo(self.pixels.dtype).eps * np.abs(self.pixels)
            changed = np.asarray(np.abs(smoothed - self.pixels) > rounding)
        return changed

    def restore(self, smoothed: np.ndarray) -> np.ndarray:
        """Return smoothed pixels in the numbers of the file, with hidden ones as they were.

        Parameters
        ----------
        smoothed : ndarray
            Smoothed pixels.

        Returns
        -------
        ndarray
            Pixels of the dtype of the file.
        """
        original = self.picture.pixels
        if original.dtype.kind == "i":  # smoothed as floats
            smoothed = np.rint(smoothed) + self.offset
        elif self._rounds:
            smoothed = np.where(self.changes(smoothed), smoothed + self.offset, original)
        elif self.offset != 0:
            smoothed = smoothed + original.dtype.type(self.offset)
        smoothed = smoothed.astype(original.dtype, copy=False)
        if self.hidden is None:
            return smoothed
        hidden = self.hidden if self.picture.channel_axis is None else self.hidden[..., None]
        return np.where(hidden, original, smoothed)
