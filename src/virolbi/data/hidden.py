"""Pixels that hold nothing to see, and how they are kept out of what is computed from the others.

They are transparent, or nearly so, have no data, or are not numbers. Their colours, which nobody
sees, would bleed over the edge of what is visible. They are replaced by a smooth continuation of
the visible pixels, which brings no contour of its own, and put back afterwards.
"""

import numpy as np

from virolbi.data.pictures import Picture

# Share of the largest alpha up to which a colour counts as not seen: files round it to few levels,
# of 8 bits to 16 or fewer where they were multiplied by alpha, and that looks like noise.
FAINT = 1 / 16


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
        True where alpha is 0 or up to a sixteenth of its largest value, a channel is NaN, or all
        channels have the value; None if that is nowhere.

    Raises
    ------
    ValueError
        If no pixel is visible.
    """
    pixels = picture.pixels if picture.channel_axis is not None else picture.pixels[..., None]
    hidden = np.zeros(pixels.shape[:-1], bool)
    if picture.alpha is not None:
        hidden |= picture.alpha <= FAINT * picture.alpha.max()
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
    values = np.zeros(pixels.shape, np.promote_types(pixels.dtype, np.float32))
    np.copyto(values, pixels, where=~hidden[..., None])
    _continue(values, hidden)
    if pixels.dtype.kind in "iu":
        np.rint(values, out=values)  # means of pixels are in the range of their dtype
    return np.where(hidden[..., None], values.astype(pixels.dtype), pixels)


def _continue(values: np.ndarray, hidden: np.ndarray) -> None:
    """Fill hidden values, (H, W, C), which are 0 before, from coarser and coarser means, in place.

    Not more than one coarser array is made for each level: pictures can be large.
    """
    height, width = hidden.shape
    if not hidden.any() or height * width == 1:
        return
    rows, columns = -(-height // 2), -(-width // 2)
    means = np.zeros((rows, columns, values.shape[-1]), values.dtype)
    counts = np.zeros((rows, columns), np.uint8)
    parts = [(slice(row, None, 2), slice(column, None, 2)) for row in (0, 1) for column in (0, 1)]
    for part in parts:
        part_height, part_width = hidden[part].shape
        means[:part_height, :part_width] += values[part]
        counts[:part_height, :part_width] += ~hidden[part]
    means /= np.maximum(counts, 1)[..., None]
    _continue(means, counts == 0)
    for part in parts:
        part_height, part_width = hidden[part].shape
        coarse = means[:part_height, :part_width]
        np.copyto(values[part], coarse, where=hidden[part][..., None])
