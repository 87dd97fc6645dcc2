"""Pictures: pixels with what a file says beside them, and what is done to such pictures."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from virolbi.scale_space import check_data_range, dtype_range, round_to

FAINT = 1 / 8  # opacity below which hardly anything of a picture is seen on white
UNSTATED = -1  # number of slice axes that nobody states
TRANSPOSED, UPSIDE_DOWN, MIRRORED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)  # orientations


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels of an image file with the other data that the file carries.

    Parameters
    ----------
    pixels : ndarray, shape (..., H, W) or (..., H, W, C)
        Grey intensities, or colours or other bands. They are uint8, uint16, int16 or floating;
        those of an array file have any dtype.
    alpha : ndarray, shape (H, W), optional
        Opacity, of the dtype of `pixels`, or None if the picture has no alpha channel.
    metadata : dict of str to Any, optional
        What else the file says, under the names that Pillow uses: "icc_profile", "exif", "xmp" and
        "comment" (bytes), "dpi" (two numbers), "text" (dict of str to str); "nodata" is the value
        of pixels without data; "axes" is the order in which the axes of an array became those of
        `pixels`; "converted" is the mode, such as "CMYK", of colours that became RGB; "turned" is
        the format and the orientation of a file whose pixels were turned upright; and under the
        name of a format, how it was encoded.
    slice_axes : int, optional
        Number of axes in front of height and width that count the slices of a stack. It must be
        stated where bands are not told from slices: where the last axis is neither of length 3 or 4
        nor the shortest of the last three. Else it is taken for that of the channels.

    Raises
    ------
    ValueError
        If `slice_axes` is missing for such an array.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    slice_axes: int = UNSTATED

    def __post_init__(self) -> None:
        if self.slice_axes != UNSTATED:
            return
        shape = self.pixels.shape
        if len(shape) > 2 and not holds_colours(shape) and shortest_side(shape) != -1:
            raise ValueError(
                f"slice_axes must be stated for pixels of shape {shape}: {len(shape) - 3} if the "
                f"last axis holds bands, {len(shape) - 2} if the axes before height and width "
                "count slices"
            )
        object.__setattr__(self, "slice_axes", max(len(shape) - 3, 0))

    @property
    def channel_axis(self) -> int | None:
        """Return the axis of the colour channels in `pixels`.

        Returns
        -------
        int or None
            -1 for colours and other bands, None for grey.
        """
        return None if self.pixels.ndim - self.slice_axes == 2 else -1

    @property
    def channels(self) -> int:
        """Return the number of channels.

        Returns
        -------
        int
            Number of channels without alpha; 1 for grey.
        """
        return 1 if self.channel_axis is None else int(self.pixels.shape[-1])

    @property
    def size(self) -> tuple[int, int]:
        """Return the size of each slice.

        Returns
        -------
        tuple of int
            Width and height.
        """
        height, width = self.pixels.shape[self.slice_axes :][:2]
        return width, height

    @property
    def is_plain(self) -> bool:
        """Return whether this is one picture in grey or three colours.

        Returns
        -------
        bool
            False for stacks and for other numbers of bands.
        """
        return self.slice_axes == 0 and self.channels in (1, 3)

    def with_pixels(self, pixels: np.ndarray) -> "Picture":
        """Return a copy with other pixels.

        Parameters
        ----------
        pixels : ndarray
            New intensities, of the same shape and dtype.

        Returns
        -------
        Picture
            These pixels with the alpha channel and metadata of this picture.
        """
        return replace(self, pixels=pixels)


def holds_colours(shape: tuple[int, ...]) -> bool:
    """Return whether the last axis of an array that does not say what its axes are holds colours.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.

    Returns
    -------
    bool
        Whether it has length 3 or 4 and is not one of two.
    """
    return len(shape) > 2 and shape[-1] in (3, 4)


def shortest_side(shape: tuple[int, ...]) -> int | None:
    """Return the axis of height or width that is the shortest, as an axis of bands would be.

    Parameters
    ----------
    shape : tuple of int
        Shape of an array with three axes or more, read as images of which the last two axes are
        height and width.

    Returns
    -------
    int or None
        -1 or -2; None if the axis before them is as short, or if they have one length.
    """
    count, height, width = shape[-3:]
    if min(height, width) < min(count, max(height, width)):
        return -1 if width < height else -2
    return None


def from_array(
    array: np.ndarray, channel_axis: int | None, name: str, samples: int | None = None
) -> Picture:
    """Return an array as a picture, which remembers the order of its axes.

    Parameters
    ----------
    array : ndarray
        Array with height, width, and any other axes.
    channel_axis : int or None
        Axis of the channels, if there is one.
    name : str
        Name of the array, for the error.
    samples : int, optional
        Axis of the samples of each pixel; they count slices unless they are the channels.

    Returns
    -------
    Picture
        The picture.

    Raises
    ------
    ValueError
        If the array has no such axis, or none besides height and width.
    """
    order = list(range(array.ndim))
    if samples is not None:
        order.insert(0, order.pop(samples))
    if channel_axis is not None:
        if array.ndim < 3 or not -array.ndim <= channel_axis < array.ndim:
            raise ValueError(
                f"channel axis must be one of three axes or more, got {channel_axis} for {name} "
                f"of shape {array.shape}"
            )
        order.remove(channel_axis % array.ndim)
        order.append(channel_axis % array.ndim)
    slice_axes = array.ndim - 2 - (channel_axis is not None)
    return Picture(array.transpose(order), metadata={"axes": order}, slice_axes=slice_axes)


def to_array(pixels: np.ndarray, axes: list[int] | None) -> np.ndarray:
    """Return pixels with the axes of the array that they come from.

    Parameters
    ----------
    pixels : ndarray
        Pixels of a picture.
    axes : list of int or None
        "axes" of its metadata; None for a picture of no array.

    Returns
    -------
    ndarray
        The pixels.
    """
    return pixels if axes is None else pixels.transpose(np.argsort(axes))


def flatten(picture: Picture, name: str, data_range: float | None = None) -> Picture:
    """Return a picture without its alpha channel, on white.

    Parameters
    ----------
    picture : Picture
        Picture with or without alpha.
    name : str
        Name of the picture, for the errors.
    data_range : float, optional
        Value of white; None is the largest of integers, and 1 for floats. Opacity has the range of
        its dtype all the same.

    Returns
    -------
    Picture
        What a viewer with a white page shows.

    Raises
    ------
    ValueError
        If the opacity of floats is outside [0, 1]; if it is less than an eighth everywhere; or if
        the picture has colours or shapes, and none is visible on white.
    """
    if picture.alpha is None:
        return picture
    opacity = picture.alpha / np.float64(dtype_range(picture.alpha.dtype))
    if not (opacity.min() >= 0 and opacity.max() <= 1):
        raise ValueError(
            f"{name} must have an opacity in [0, 1] where it has floats, got values from "
            f"{opacity.min():g} to {opacity.max():g}"
        )
    if opacity.max() < FAINT:
        raise ValueError(
            f"{name} must be visible on white, and its opacity, the last band, is at most "
            f"{picture.alpha.max()} of {dtype_range(picture.alpha.dtype):g}; "
            "save it without that band"
        )
    if picture.channel_axis is not None:
        opacity = opacity[..., None]
    largest = dtype_range(picture.pixels.dtype)
    white = largest if data_range is None else data_range
    if picture.pixels.dtype.kind != "f":
        white = min(white, largest)
    visible = white - (white - picture.pixels.astype(np.float64)) * opacity
    flat = round_to(visible, picture.pixels.dtype)
    if np.ptp(flat) == 0 and (np.ptp(picture.alpha) > 0 or np.ptp(picture.pixels) > 0):
        raise ValueError(
            f"{name} must be visible on white, and all it shows is in its transparency; "
            "save it on another background"
        )
    return replace(picture, pixels=flat, alpha=None)


def turn(pixels: np.ndarray, orientation: int, vertical: int = 0) -> np.ndarray:
    """Turn pixels upright.

    Parameters
    ----------
    pixels : ndarray
        Pixels as they are stored.
    orientation : int
        Orientation of EXIF, from 1 to 8.
    vertical : int, optional
        Axis of the rows, in front of that of the columns.

    Returns
    -------
    ndarray
        The pixels; those of orientation 8 turn back what was turned for 6, those of 6 for 8, and
        those of any other orientation for itself.
    """
    horizontal = vertical + 1
    if orientation in TRANSPOSED:
        pixels = pixels.swapaxes(vertical, horizontal)
    flipped = [vertical] if orientation in UPSIDE_DOWN else []
    flipped += [horizontal] if orientation in MIRRORED else []
    return np.ascontiguousarray(np.flip(pixels, tuple(flipped)))


def resize_picture(picture: Picture, size: int) -> Picture:
    """Resize the shorter side of a picture and crop its centre to a square.

    Parameters
    ----------
    picture : Picture
        Picture in grey or colour, without alpha.
    size : int
        Pixels of each side of the square.

    Returns
    -------
    Picture
        The square, with as many bits as before. Bicubic interpolation overshoots at contours: other
        than 8 bits are clipped to the values that the picture had, 8 bits to 0 and 255.
    """
    pixels = picture.pixels
    if pixels.dtype == np.uint8:
        return picture.with_pixels(np.asarray(resize_and_crop(Image.fromarray(pixels), size)))
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    resized = [
        np.asarray(resize_and_crop(Image.fromarray(plane.astype(np.float32)), size))
        for plane in np.moveaxis(planes, -1, 0)
    ]
    result = resized[0] if pixels.ndim == 2 else np.stack(resized, axis=-1)
    low, high = np.fmin.reduce(pixels, axis=None), np.fmax.reduce(pixels, axis=None)  # without NaN
    return picture.with_pixels(round_to(result.clip(low, high), pixels.dtype))


def resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side of an image and crop its centre to a square.

    Parameters
    ----------
    image : PIL.Image.Image
        Image of any size.
    size : int
        Pixels of each side of the square.

    Returns
    -------
    PIL.Image.Image
        The square, resampled by bicubic interpolation.
    """
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def to_8_bits(pixels: np.ndarray, data_range: float | None, name: str) -> np.ndarray:
    """Return pixels with 8 bits.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16, int16 or float
        Intensities.
    data_range : float or None
        Value that becomes 255; None is the largest of integers, and 1 for floats.
    name : str
        Name of the picture, for the errors.

    Returns
    -------
    ndarray of uint8
        The nearest of 256 levels.

    Raises
    ------
    ValueError
        If a pixel is outside [0, data_range], or not finite; or if the dtype does not reach that
        far.
    """
    check_data_range(data_range, pixels.dtype)
    if pixels.dtype == np.uint8 and data_range is None:
        return pixels
    if data_range is None and pixels.dtype.kind in "iu" and pixels.dtype.itemsize > 2:
        raise ValueError(f"{name} must have a data_range, because it is {pixels.dtype}")
    top = dtype_range(pixels.dtype) if data_range is None else data_range
    low, high = pixels.min(), pixels.max()
    if np.isnan(low):
        raise ValueError(
            f"{name} must have a value at every pixel, got NaN; fill it in first, as by "
            "virolbi.data.fill_hidden"
        )
    if low < 0 or high > top:
        raise ValueError(
            f"{name} must be in [0, data_range], here [0, {top:g}], got values from {low:g} to "
            f"{high:g}; pass another data_range, or rescale it"
        )
    if pixels.dtype.itemsize > 2 or pixels.dtype.kind == "f":
        return round_to(pixels * (255 / top), np.dtype(np.uint8))
    levels = round_to(np.arange(int(high) + 1) * (255 / top), np.dtype(np.uint8))
    return np.asarray(levels[pixels])


def contact_sheet(
    pixels: np.ndarray, labels: list[str], columns: int, data_range: float | None = None
) -> Picture:
    """Arrange pictures of one size in rows, each under its label, as one picture.

    If the labels are wider than the pictures, the pictures are spaced apart.

    Parameters
    ----------
    pixels : ndarray of uint8, uint16 or float, shape (N, H, W) or (N, H, W, 3)
        Grey or RGB pictures.
    labels : list of str
        Label of each picture.
    columns : int
        Greatest number of pictures in a row.
    data_range : float, optional
        Value that is shown white; None is the largest of integers, and 1 for floats.

    Returns
    -------
    Picture
        The contact sheet, with 8 bits per channel.
    """
    top = dtype_range(pixels.dtype) if data_range is None else data_range
    pixels = to_8_bits(
        np.clip(pixels, 0, top).astype(pixels.dtype), data_range, "a picture of the sheet"
    )
    height, width = pixels.shape[1:3]
    font_size = max(10, width // 20)
    font, label_height = ImageFont.load_default(font_size), int(font_size * 1.6)
    cell_width = max(width, *(math.ceil(font.getlength(label)) + 6 for label in labels))
    cell_height = height + label_height
    mode = "L" if pixels.ndim == 3 else "RGB"
    columns = min(columns, len(pixels))
    rows = -(-len(pixels) // columns)
    sheet = Image.new(mode, (columns * cell_width, rows * cell_height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        x, y = index % columns * cell_width, index // columns * cell_height
        draw.text((x + 3, y + label_height // 2), label, fill="black", font=font, anchor="lm")
        sheet.paste(Image.fromarray(image), (x, y + label_height))
    return Picture(np.asarray(sheet))
