"""Writing of image files with everything that a picture says beside its pixels."""

import io
import re
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from virolbi._storage import write_atomic
from virolbi.data.deep import encode_deep_png, png_info
from virolbi.data.pictures import TRANSPOSED, Picture, to_array, turn
from virolbi.data.tiff import FOLDERS, ORIENTATION, encode_text, encode_tiff

QUALITY = 95  # of lossy formats, with chroma not subsampled: at defaults, smooth areas show blocks
KEEP_16_BITS = ("PNG", "TIFF", "JPEG2000", "PPM")  # read back unchanged; others clip or drop bits
KEEP_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "SGI", "QOI", "DDS", "ICO")
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000", "EPS")  # and are known for it
ARRAY = "NPY"
KEEP_ORIENTATION = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
XMP_ORIENTATION = re.compile(
    rb"""tiff:Orientation=["']\d["']|<tiff:Orientation>\d</tiff:Orientation>"""
)
CAMERA, SIDES = FOLDERS[0], (40962, 40963)  # the folder of a camera with width and height
PASSED_ON = ("icc_profile", "exif", "xmp", "comment", "dpi")


def write_picture(path: str | PathLike[str], picture: Picture) -> None:
    """Write an image file, which appears complete or not at all.

    A file of the format that the picture was read from is encoded alike: JPEG with the same tables,
    WebP without loss if it was, TIFF compressed if it was; and if it was stored turned, the pixels
    are turned back, so that the blocks of JPEG stay where they were. Other files are upright.

    Parameters
    ----------
    path : path-like
        File to write; its suffix chooses the format.
    picture : Picture
        Pixels with their alpha channel and metadata.

    Raises
    ------
    ValueError
        If the suffix is not one of an image format, or if the format cannot hold the picture with
        its size, its bits and its transparency.
    """
    path = Path(path)
    image_format = picture_format(path)
    try:
        encoded = _encode(_orient(picture, image_format), image_format)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot hold this picture as {image_format}: {error}") from error
    write_atomic(path, encoded)


def picture_format(path: Path) -> str:
    """Return the image format that the suffix of a path stands for.

    Parameters
    ----------
    path : Path
        File to write.

    Returns
    -------
    str
        Pillow's name of the format, such as "PNG"; "NPY" for an array of NumPy.

    Raises
    ------
    ValueError
        If no format with this suffix can be written.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return ARRAY
    image_format = Image.registered_extensions().get(suffix)
    if image_format not in Image.SAVE:
        raise ValueError(
            f"{path} must end in the suffix of an image format, such as .png, got {path.suffix!r}"
        )
    return image_format


def _orient(picture: Picture, image_format: str) -> Picture:
    """Return a picture as its file stored it, or upright by what it says in another format."""
    if "turned" not in picture.metadata:
        return picture
    source, orientation = picture.metadata["turned"]
    target = "JPEG" if image_format == "MPO" else image_format
    if target != source or target not in KEEP_ORIENTATION:
        return replace(picture, metadata=_upright(picture.metadata, orientation))
    back = {6: 8, 8: 6}.get(orientation, orientation)
    alpha = None if picture.alpha is None else turn(picture.alpha, back)
    return replace(picture, pixels=turn(picture.pixels, back, picture.slice_axes), alpha=alpha)


def _upright(metadata: dict[str, Any], orientation: int) -> dict[str, Any]:
    """Return the metadata of a picture without the orientation of its file."""
    metadata = dict(metadata)
    if "xmp" in metadata:
        metadata["xmp"] = XMP_ORIENTATION.sub(b"", metadata["xmp"])
    if "exif" in metadata:
        exif = Image.Exif()
        exif.load(metadata["exif"])
        exif.pop(ORIENTATION, None)
        for tag, value in dict(exif).items():
            exif[tag] = encode_text(value)
        camera = exif.get_ifd(CAMERA)
        if orientation in TRANSPOSED and {*SIDES} <= {*camera}:
            camera[SIDES[0]], camera[SIDES[1]] = camera[SIDES[1]], camera[SIDES[0]]
        metadata["exif"] = exif.tobytes()
    return metadata


def _encode(picture: Picture, image_format: str) -> bytes:
    """Return the content of a file, or raise a ValueError if the format would lose something."""
    pixels, alpha = picture.pixels, picture.alpha
    if alpha is not None and image_format not in KEEP_ALPHA:
        raise ValueError("the format does not keep transparency")
    if image_format == ARRAY:
        return _encode_array(picture)
    if image_format == "TIFF":
        return encode_tiff(picture)
    if not picture.is_plain or pixels.dtype not in (np.uint8, np.uint16):
        kind = f"{pixels.dtype} of shape {pixels.shape}"
        raise ValueError(f"the format does not keep {kind}; TIFF and .npy do")
    is_deep = pixels.dtype == np.uint16
    if is_deep and image_format not in KEEP_16_BITS:
        raise ValueError("the format does not keep 16 bits")
    options = _options(picture.metadata, image_format)
    if is_deep and image_format == "PNG":
        samples = pixels[..., None] if pixels.ndim == 2 else pixels
        if alpha is not None:
            samples = np.concatenate([samples, alpha[..., None]], axis=-1)
        return encode_deep_png(samples, **options)
    if is_deep and (alpha is not None or pixels.ndim == 3):
        raise ValueError("the format does not keep 16 bits of colour; PNG and TIFF do")
    image = Image.fromarray(pixels)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    if image_format in ("ICO", "ICNS"):
        options["sizes"] = [image.size]
    buffer = io.BytesIO()
    image.save(buffer, format=image_format, **options)
    _check_kept(buffer, image, image_format)
    return buffer.getvalue()


def _options(metadata: dict[str, Any], image_format: str) -> dict[str, Any]:
    """Return the options of Pillow that keep the metadata and the encoding of a picture."""
    options = {key: metadata[key] for key in PASSED_ON if key in metadata}
    encoding = metadata.get("JPEG" if image_format == "MPO" else image_format)
    if image_format == "PNG":
        options["pnginfo"] = png_info(metadata)
    return options | (encoding or {"quality": QUALITY, "subsampling": "4:4:4"})


def _encode_array(picture: Picture) -> bytes:
    """Return a .npy file, with the axes of the array that was read."""
    buffer = io.BytesIO()
    np.save(buffer, to_array(picture.pixels, picture.metadata.get("axes")))
    return buffer.getvalue()


def _check_kept(buffer: io.BytesIO, image: Image.Image, image_format: str) -> None:
    """Raise a ValueError if an encoded picture has another size, as icons may, or other pixels."""
    if image_format not in Image.OPEN:
        return  # such as PDF, which can only be written
    buffer.seek(0)
    with Image.open(buffer) as written:
        if written.size != image.size:
            raise ValueError(f"the format does not keep {image.size[0]}x{image.size[1]} pixels")
        if image_format in LOSSY or image_format == "PNG":
            return
        if written.convert(image.mode).tobytes() != image.tobytes():  # such as palettes
            raise ValueError("the format does not keep these pixels; PNG and TIFF do")
