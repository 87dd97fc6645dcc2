"""Reading and writing of image files with their transparency, colour profile and EXIF data."""

import io
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFile, ImageFont, ImageOps

from virolbi._storage import write_atomic

QUALITY = 95  # of lossy formats, with chroma not subsampled: at defaults, smooth areas show blocks
KEEP_16_BITS = ("PNG", "TIFF", "JPEG2000", "PPM")  # read back unchanged; others clip or drop bits
KEEP_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "SGI", "QOI", "DDS", "ICO")
DECODING_ERRORS = (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels of an image file with the other data that the file carries.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, shape (H, W) or (H, W, 3)
        Grey or RGB intensities.
    alpha : ndarray of uint8, shape (H, W), optional
        Opacity, or None if the picture has no alpha channel.
    metadata : dict of str to bytes, optional
        The encoded "icc_profile" and "exif", if the file has them.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)

    @property
    def channel_axis(self) -> int | None:
        """Return the axis of the colour channels in `pixels`.

        Returns
        -------
        int or None
            -1 for RGB, None for grey.
        """
        return None if self.pixels.ndim == 2 else -1

    def with_pixels(self, pixels: np.ndarray) -> "Picture":
        """Return a copy with other pixels.

        Parameters
        ----------
        pixels : ndarray of uint8 or uint16, shape (H, W) or (H, W, 3)
            New intensities.

        Returns
        -------
        Picture
            These pixels with the alpha channel and metadata of this picture.
        """
        return replace(self, pixels=pixels)


def read_picture(path: Path, size: int | None = None) -> Picture:
    """Read an image file in its upright orientation.

    Grey stays grey; everything else becomes RGB. Of the MPO files of phones, the picture is read
    and the preview is ignored.

    Parameters
    ----------
    path : Path
        Image file.
    size : int, optional
        Resize the shorter side to this many pixels and crop the centre; None keeps the size.

    Returns
    -------
    Picture
        The pixels, alpha channel, colour profile and EXIF data.

    Raises
    ------
    ValueError
        If the file is missing, is not an image, holds several frames, or has colour with 16 bits
        per channel, of which Pillow would keep 8.
    """
    try:
        with Image.open(path) as opened:
            _check_readable(opened, path)
            # All other modes become RGB, which their profile does not describe.
            keeps_mode = opened.mode in ("L", "LA", "RGB", "RGBA")
            image = _orient(opened, str(path))
            keys = ("exif", "icc_profile") if keeps_mode else ("exif",)
            metadata = {key: image.info[key] for key in keys if image.info.get(key)}
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} must be an image file: {error}") from error
    image = image if size is None else resize_and_crop(image, size)
    if image.mode.startswith("I;16"):
        return Picture(np.asarray(image).astype(np.uint16), metadata=metadata)
    alpha = np.asarray(image.getchannel("A")) if image.mode.endswith("A") else None
    return Picture(np.asarray(_remove_alpha(image)), alpha, metadata)


def decode_image(file: Any, size: int | None) -> Image.Image:
    """Decode an image for a network, in its upright orientation and without transparency.

    Colour and grey with 16 bits per channel are reduced to 8.

    Parameters
    ----------
    file : Path, str or binary file
        Image file, or an open one.
    size : int or None
        Resize the shorter side to this many pixels and crop the centre; None keeps the size.

    Returns
    -------
    PIL.Image.Image
        An image of mode "L" if the file is grey, else of mode "RGB".

    Raises
    ------
    OSError, SyntaxError, TypeError, ValueError, PIL.Image.DecompressionBombError
        If the file cannot be decoded. These are the `DECODING_ERRORS`.
    """
    with Image.open(file) as opened:
        image = _orient(opened, "the image")
    if image.mode.startswith("I;16"):  # Pillow's own conversion to 8 bits clips
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    image = _remove_alpha(image)
    return image if size is None else resize_and_crop(image, size)


def _check_readable(opened: ImageFile.ImageFile, path: Path) -> None:
    """Raise a ValueError for several frames, and for colour with 16 bits per channel."""
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":
        raise ValueError(f"{path} must hold one picture, got {frames} frames")
    if ";16" in str(opened.tile) and not opened.mode.startswith("I;16"):
        raise ValueError(
            f"{path} must have 8 bits per channel, or be grey, got 16 bits and mode {opened.mode}"
        )


def _orient(opened: Image.Image, name: str) -> Image.Image:
    """Return the image turned as its EXIF data ask, in mode I;16, L, LA, RGB or RGBA.

    Raise a ValueError for 32 bits per channel.
    """
    image = ImageOps.exif_transpose(opened)
    if image.mode in ("I", "F"):
        raise ValueError(f"{name} must have 8 or 16 bits per channel, got mode {image.mode}")
    if image.mode.startswith("I;16"):
        return image
    grey = image.mode in ("1", "L", "LA", "La")
    return image.convert(("L" if grey else "RGB") + ("A" if image.has_transparency_data else ""))


def _remove_alpha(image: Image.Image) -> Image.Image:
    return image.convert(image.mode.removesuffix("A"))


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


def write_picture(path: Path, picture: Picture) -> None:
    """Write an image file, which appears complete or not at all.

    Parameters
    ----------
    path : Path
        File to write; its suffix chooses the format.
    picture : Picture
        Pixels with their alpha channel and metadata.

    Raises
    ------
    ValueError
        If the suffix is not one of an image format, or if the format cannot hold the picture with
        its 16 bits and its transparency.
    """
    image_format = picture_format(path)
    image = Image.fromarray(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    buffer = io.BytesIO()
    try:
        if picture.pixels.dtype == np.uint16 and image_format not in KEEP_16_BITS:
            raise ValueError("the format does not keep 16 bits")
        if picture.alpha is not None and image_format not in KEEP_ALPHA:
            raise ValueError("the format does not keep transparency")
        image.save(
            buffer, format=image_format, quality=QUALITY, subsampling="4:4:4", **picture.metadata
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot hold this picture as {image_format}: {error}") from error
    write_atomic(path, buffer.getvalue())


def picture_format(path: Path) -> str:
    """Return the image format that the suffix of a path stands for.

    Parameters
    ----------
    path : Path
        File to write.

    Returns
    -------
    str
        Pillow's name of the format, such as "PNG".

    Raises
    ------
    ValueError
        If Pillow writes no format of this suffix.
    """
    image_format = Image.registered_extensions().get(path.suffix.lower())
    if image_format not in Image.SAVE:
        raise ValueError(
            f"{path} must end in the suffix of an image format, such as .png, got {path.suffix!r}"
        )
    return image_format


def contact_sheet(pixels: np.ndarray, labels: list[str], columns: int) -> Picture:
    """Arrange pictures of one size in rows, each under its label, as one picture.

    If the labels are wider than the pictures, the pictures are spaced apart.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, shape (N, H, W) or (N, H, W, 3)
        Grey or RGB pictures.
    labels : list of str
        Label of each picture.
    columns : int
        Greatest number of pictures in a row.

    Returns
    -------
    Picture
        The contact sheet, with 8 bits per channel.
    """
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
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
