"""Image files in and out: whole, with their transparency, colour profile and EXIF data."""

import io
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from virolbi._storage import write_atomic

QUALITY = 95  # of formats that lose some, with colours as fine as brightness; at their defaults, blocks show in smooth areas
KEEP_16_BITS = (
    "PNG",
    "TIFF",
    "JPEG2000",
    "PPM",
)  # formats that Pillow reads back as they were; others clip, or drop
KEEP_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "SGI", "QOI", "DDS", "ICO")
DECODING_ERRORS = (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True, eq=False)
class Picture:
    """pixels: uint8 or uint16, shape (H, W) or (H, W, 3); alpha: uint8, shape (H, W), or None; what else the file carries.

    metadata: the bytes of "icc_profile" and "exif", where there are any.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)

    @property
    def channel_axis(self) -> int | None:
        """The colour axis of the pixels, or None for grey."""
        return None if self.pixels.ndim == 2 else -1

    def with_pixels(self, pixels: np.ndarray) -> "Picture":
        """The same picture with other pixels."""
        return replace(self, pixels=pixels)


def read_picture(path: Path, size: int | None = None) -> Picture:
    """Read an image file, upright; grey stays grey, everything else becomes RGB.

    Raises ValueError for what is not an image, for several in one file, and for colour with 16 bits a channel, of which Pillow
    would keep 8. Of a phone's MPO it takes the picture and leaves the preview. size: resize the shorter side to so many pixels
    and crop the centre; None leaves it as it is.
    """
    try:
        with Image.open(path) as opened:
            frames = getattr(opened, "n_frames", 1)
            if frames > 1 and opened.format != "MPO":
                raise ValueError(f"{path} must hold one picture, it holds {frames} frames")
            if ";16" in str(opened.tile) and not opened.mode.startswith("I;16"):
                raise ValueError(
                    f"{path} must have 8 bits a channel, or be grey, it has 16 and mode {opened.mode}"
                )
            colours = opened.mode in (
                "L",
                "LA",
                "RGB",
                "RGBA",
            )  # others become RGB, and their profile does not fit it
            image = _upright(opened, path)
            kept = ("exif", "icc_profile") if colours else ("exif",)
            metadata = {name: image.info[name] for name in kept if image.info.get(name)}
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} must be an image file: {error}") from error
    image = image if size is None else resize_and_crop(image, size)
    if image.mode.startswith("I;16"):
        return Picture(np.asarray(image).astype(np.uint16), metadata=metadata)
    alpha = np.asarray(image.getchannel("A")) if image.mode.endswith("A") else None
    return Picture(np.asarray(_without_alpha(image)), alpha, metadata)


def decode_image(file: Any, size: int | None) -> Image.Image:
    """An image for a network from an open file or a path: upright, "L" where it is grey, else "RGB".

    size: as in `read_picture`. Raises one of DECODING_ERRORS.
    """
    with Image.open(file) as opened:
        image = _upright(opened, "it")
    if image.mode.startswith("I;16"):  # which PIL would clip instead
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    image = _without_alpha(image)
    return image if size is None else resize_and_crop(image, size)


def _upright(opened: Image.Image, name: Path | str) -> Image.Image:
    """The image as its EXIF data turn it, in mode I;16, or L, LA, RGB or RGBA. Raises ValueError for other numbers of bits."""
    image = ImageOps.exif_transpose(opened)
    if image.mode in ("I", "F"):
        raise ValueError(f"{name} must have 8 or 16 bits a channel, its mode is {image.mode}")
    if image.mode.startswith("I;16"):
        return image
    grey = image.mode in ("1", "L", "LA", "La")
    return image.convert(("L" if grey else "RGB") + ("A" if image.has_transparency_data else ""))


def _without_alpha(image: Image.Image) -> Image.Image:
    return image.convert(image.mode.removesuffix("A"))


def resize_and_crop(image: Image.Image, size: int) -> Image.Image:
    """The shorter side resized to so many pixels, the centre cropped."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def write_picture(path: Path, picture: Picture) -> None:
    """Write an image file in the format of its suffix, whole or not at all.

    Raises ValueError where the format cannot hold the picture, with its 16 bits and its transparency.
    """
    kind = picture_format(path)
    image = Image.fromarray(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    buffer = io.BytesIO()
    try:
        if picture.pixels.dtype == np.uint16 and kind not in KEEP_16_BITS:
            raise ValueError("it does not keep 16 bits")
        if picture.alpha is not None and kind not in KEEP_ALPHA:
            raise ValueError("it does not keep transparency")
        image.save(buffer, format=kind, quality=QUALITY, subsampling="4:4:4", **picture.metadata)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot hold this picture as {kind}: {error}") from error
    write_atomic(path, buffer.getvalue())


def picture_format(path: Path) -> str:
    """The format that a suffix stands for. Raises ValueError where there is none to write."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise ValueError(
            f"{path} must end in the suffix of an image format, such as .png, got {path.suffix!r}"
        )
    return kind


def contact_sheet(pixels: np.ndarray, labels: list[str], columns: int) -> Picture:
    """Pictures of one size, shape (N, H, W) or (N, H, W, 3), in rows of `columns`, each under its label, as one picture.

    Where the labels are wider than the pictures, there is room between these.
    """
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    height, width = pixels.shape[1:3]
    size = max(10, width // 20)
    font, band = ImageFont.load_default(size), int(size * 1.6)
    cell = max(width, *(math.ceil(font.getlength(label)) + 6 for label in labels))
    mode = "L" if pixels.ndim == 3 else "RGB"
    columns = min(columns, len(pixels))
    rows = -(-len(pixels) // columns)
    sheet = Image.new(mode, (columns * cell, rows * (height + band)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        left, top = index % columns * cell, index // columns * (height + band)
        draw.text((left + 3, top + band // 2), label, fill="black", font=font, anchor="lm")
        sheet.paste(Image.fromarray(image), (left, top + band))
    return Picture(np.asarray(sheet))
