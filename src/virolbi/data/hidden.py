"""Pixels that hold nothing to see, and how they are kept out of what is computed from the others.

They are transparent, have no data, or are not numbers. Their colours, which nobody sees, would
bleed over the edge of what is visible. They are replaced by a smooth continuation of the visible
pixels, which brings no contour of its own, and put back afterwards.
"""

import numpy as np

from virolbi.data.pictures import Picture, round_to


def hidden_pixels(picture: Picture, nodata: float | None = None) -> np.ndarray | None:
    """Return which pixels of a picture hold nothing to see.

    Parameters
    ----------
    picture : Picture
        Picture.
    nodata : float, optional
        Value of pixels without data; None takes the one that the file states, if it does.

    Returns
    -------
    ndarray of bool, shape (..., H, W), or None
        True where alpha is 0, a channel is NaN, or all channels have the value; None if that is
        nowhere.

    Raises
    ------
    ValueError
        If no pixel is visible.
    """
    pixels = picture.pixels if picture.channel_axis is not None else picture.pixels[..., None]
    hidden = np.zeros(pixels.shape[:-1], bool)
    if picture.alpha is not None:
        hidden |= picture.alpha == 0
    if pixels.dtype.kind == "f":
        hidden |= np.isnan(pixels).any(axis=-1)
    nodata = picture.metadata.get("nodata") if nodata is None else nodata
    if nodata is not None:
        hidden |= (pixels == nodata).all(axis=-1)
    if hidden.all():
        raise ValueError(
            "the picture must have visible pixels, all are transparent or without data"
        )
    return hidden if hidden.any() else None


def fill_hidden(picture: Picture, hidden: np.ndarray) -> Picture:
    """Replace hidden pixels by a smooth continuation of the others.

    Parameters
    ----------
    picture : Picture
        Picture.
    hidden : ndarray of bool, shape (..., H, W)
        Pixels to replace.

    Returns
    -------
    Picture
        The picture with these pixels filled; slices without any visible pixel are 0.
    """
    pixels = picture.pixels if picture.channel_axis is not None else picture.pixels[..., None]
    filled = np.empty_like(pixels)
    for index in np.ndindex(pixels.shape[:-3]):
        filled[index] = _fill(pixels[index], hidden[index])
    return picture.with_pixels(filled.reshape(picture.pixels.shape))


def _fill(pixels: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Fill one slice of shape (H, W, C)."""
    if not hidden.any():
        return pixels
    visible = (~hidden)[..., None]
    values = np.where(visible, pixels, 0).astype(np.float64)
    continued = _continue(values, visible.astype(np.float64))
    return np.where(visible, pixels, round_to(continued, pixels.dtype))


def _continue(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return values, (H, W, C), filled from coarser and coarser means where the weight is 0."""
    height, width = weights.shape[:2]
    if weights.all() or height * width == 1:
        return values
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    sums = _sum_blocks(np.pad(values * weights, padding))
    counts = _sum_blocks(np.pad(weights, padding))
    means = sums / np.maximum(counts, 1)
    coarse = _continue(means, (counts > 0).astype(np.float64))
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(weights > 0, values, fine)


def _sum_blocks(array: np.ndarray) -> np.ndarray:
    sums: np.ndarray = array[::2, ::2] + array[1::2, ::2] + array[::2, 1::2] + array[1::2, 1::2]
    return sums
