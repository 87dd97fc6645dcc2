"""Reading of image files: one reader for the commands and for the training of networks."""

import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, JpegImagePlugin, UnidentifiedImageError

from virolbi.data.deep import (
    PLANAR_CONFIGURATION,
    Source,
    can_read_deep,
    is_deep,
    png_colours,
    raw_modes,
    read_deep,
)
from virolbi.data.depth import has_hidden_bits
from virolbi.data.folders import RAW, is_picture_suffix
from virolbi.data.pictures import (
    Picture,
    flatten,
    from_array,
    holds_colours,
    resize_picture,
    shortest_side,
    to_8_bits,
)
from virolbi.data.tiff import (
    MAGIC,
    ORIENTATION,
    PHOTOMETRIC,
    PREVIEW,
    SAMPLE_FORMAT,
    SAMPLES_PER_PIXEL,
    SEPARATE,
    SIGNED,
    SUBFILE_TYPE,
    WHITE_IS_ZERO,
    ChannelAxis,
    open_source,
    read_tiff,
    tiff_metadata,
)
from virolbi.scale_space import (
    check_data_range,
    dtype_range,
    highest_unsaturated,
    used_range,
    warn_of_unused_range,
)

DECODING_ERRORS = (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError)
ARRAY_MAGIC = b"\x93NUMPY"
EXIF_PREFIX = b"Exif\x00\x00"
SWAPPED = frozenset({"I;16BS", "F;32BF"})  # raw modes of big-endian TIFF files
RGB_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # whose profile describes what is read


def is_picture_name(path: Path) -> bool:
    """Return whether a file has the suffix of an image, or of an array of NumPy.

    Parameters
    ----------
    path : Path
        File, which need not exist.

    Returns
    -------
    bool
        Whether `read_picture` may read it.
    """
    return path.suffix.lower() == ".npy" or is_picture_suffix(path.suffix)


def is_unread_photograph(path: Path) -> bool:
    """Return whether a file has the suffix of a photograph in a format that is not read.

    Parameters
    ----------
    path : Path
        File, which need not exist.

    Returns
    -------
    bool
        True for HEIC and raw files of cameras, unless a plugin of Pillow reads them.
    """
    return path.suffix.lower() in RAW and not is_picture_suffix(path.suffix)


def read_picture(source: Source, *, channel_axis: ChannelAxis = "auto") -> Picture:
    """Read an image file in its upright orientation, with all its bits.

    Grey stays grey; a palette, CMYK and all other colours become RGB. Of the files of phones and of
    TIFF files, previews are ignored.

    Parameters
    ----------
    source : Path, str or binary file
        Image file, TIFF file with slices or bands, or .npy file.
    channel_axis : int, "auto" or None, optional
        Axis of the channels in the array of a .npy or TIFF file; None if there is none. "auto"
        takes the samples of a TIFF file, and the last axis of a .npy file if it has length 3 or 4
        and is not one of two; the other axes of a .npy file count images, and one whose height or
        width would be the shortest axis is refused.

    Returns
    -------
    Picture
        Pixels with everything else that the file says.

    Raises
    ------
    ValueError
        If the file is missing, is not an image, holds several frames, or holds bits or numbers
        that would be lost.
    """
    picture, name = _read_named(source, channel_axis)
    is_array = "axes" in picture.metadata and "TIFF" not in picture.metadata
    if is_array and channel_axis == "auto" and picture.channel_axis is None and picture.slice_axes:
        _check_slices(picture.pixels.shape, name)
    return picture


def _name_of(source: Source) -> str:
    """Return the name of a file for errors and warnings."""
    return str(source) if isinstance(source, Path | str) else "the image"


def _read_named(source: Source, channel_axis: ChannelAxis) -> tuple[Picture, str]:
    """Return what `read_picture` does without a check of slices, and a name for the errors."""
    name = _name_of(source)
    if is_unread_photograph(Path(name)):
        raise ValueError(
            f"{name} must be converted first, for example to TIFF with 16 bits: "
            f"{Path(name).suffix} files are not read"
        )
    try:
        with open_source(source) as file:
            picture = _read(file, name, channel_axis)
        if picture.pixels.size == 0:
            raise ValueError(f"it has no pixels, its shape is {picture.pixels.shape}")
        return picture, name
    except FileNotFoundError:
        raise ValueError(f"there is no file {name}") from None
    except IsADirectoryError:
        raise ValueError(
            f"{name} must be an image file, got a folder; name the files in it, such as {name}/*"
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(_describe_size(name, str(error))) from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name} must be an image file, and its content is of no format that can be read"
        ) from error
    except Exception as error:  # parsers of damaged files raise errors of many types
        if isinstance(error, ValueError) and name in str(error):
            raise
        raise ValueError(f"{name} must be an image file: {error}") from error


def read_plain_picture(
    source: Source, size: int | None = None, data_range: float | None = None
) -> Picture:
    """Read one picture in grey or colour, on white where it is transparent.

    Parameters
    ----------
    source : Path, str or binary file
        Image file.
    size : int or None, optional
        Resize the shorter side to this many pixels and crop the centre; None keeps the size.
    data_range : float, optional
        Value of white; None is the largest of integers, and 1 for floats.

    Returns
    -------
    Picture
        Pixels of shape (H, W) or (H, W, 3), without alpha.

    Raises
    ------
    ValueError
        As in `read_picture`; if the file is a stack, has other bands than grey or three colours,
        or other numbers than integers and floats; if nothing is visible on white; or if
        `data_range` is not positive and finite.
    """
    check_data_range(data_range)
    picture, name = _read_named(source, "auto")
    if not picture.is_plain:
        shape = picture.pixels.shape
        raise ValueError(
            f"{name} must be one picture in grey or three colours, got shape {shape}; save the "
            "slice, or the one or three bands, that are to be seen as a file of their own"
        )
    if picture.pixels.dtype.kind not in "iuf":
        raise ValueError(f"{name} must hold real numbers, got {picture.pixels.dtype}")
    flat = flatten(picture, name, data_range)
    return flat if size is None else resize_picture(flat, size)


def decode_image(source: Source, size: int | None, data_range: float | None = None) -> np.ndarray:
    """Decode an image for a network: upright, on white, with 8 bits.

    Parameters
    ----------
    source : Path, str or binary file
        Image file, or an open one.
    size : int or None
        Resize the shorter side to this many pixels and crop the centre; None keeps the size.
    data_range : float, optional
        Value that becomes 255, and on which transparent pixels are shown: 4095 for 12 bits in 16.
        None is the largest of integers, and 1 for floats.

    Returns
    -------
    ndarray of uint8, shape (H, W) or (H, W, 3)
        What `read_picture` reads, in grey or RGB.

    Raises
    ------
    OSError, SyntaxError, TypeError, ValueError, PIL.Image.DecompressionBombError
        If the file cannot be decoded. These are the `DECODING_ERRORS`.

    Warns
    -----
    UserWarning
        If the image uses little of its range, so that most of its levels are lost: integers of 16
        bits without a `data_range`, floats in [0, 1] with one.
    """
    decoded = decode_picture(source, size, data_range)
    warn_of_unused_range(decoded.used, f"pixels of {_name_of(source)}")
    return decoded.picture.pixels


class Decoded(NamedTuple):
    """An image for a network, and how much of its range it used.

    Attributes
    ----------
    picture : Picture
        The image with 8 bits.
    used : float
        Share of its range that it uses, see `virolbi.scale_space.used_range`.
    """

    picture: Picture
    used: float


def decode_picture(source: Source, size: int | None, data_range: float | None = None) -> Decoded:
    """Decode an image as `decode_image` does, but without the warning.

    Parameters
    ----------
    source : Path, str or binary file
        Image file, or an open one.
    size : int or None
        Pixels of each side, as in `decode_image`.
    data_range : float, optional
        Value that becomes 255, as in `decode_image`.

    Returns
    -------
    Decoded
        The image, for a warning about many of them.

    Raises
    ------
    OSError, SyntaxError, TypeError, ValueError, PIL.Image.DecompressionBombError
        As in `decode_image`.
    """
    picture = read_plain_picture(source, size, data_range)
    pixels = picture.pixels
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize > 1:
        high = highest_unsaturated(pixels, high, dtype_range(pixels.dtype))
    used = used_range(low, high, pixels.dtype, data_range)
    return Decoded(picture.with_pixels(to_8_bits(pixels, data_range, _name_of(source))), used)


def _read(source: BinaryIO, name: str, channel_axis: ChannelAxis) -> Picture:
    magic = _first_bytes(source)
    if magic.startswith(ARRAY_MAGIC):
        return _read_array(source, name, channel_axis)
    is_tiff = magic[:4] in MAGIC
    if is_tiff and channel_axis != "auto":
        return read_tiff(source, name, channel_axis)
    try:
        with Image.open(source) as opened:
            frames = _count_frames(opened)
            if frames == 1 and not (is_tiff and _is_beyond_pillow(opened)):
                picture = _read_opened(opened, source, name)
                _check_known_axis(picture, channel_axis, name)
                return picture
    except UnidentifiedImageError:
        if not is_tiff:
            raise
    if is_tiff:
        return read_tiff(source, name, channel_axis)
    raise ValueError(f"{name} must hold one picture, got {frames} frames; save one of them alone")


def _check_known_axis(picture: Picture, channel_axis: ChannelAxis, name: str) -> None:
    """Refuse another axis than that of the colours, for a file that says what its axes are."""
    known = (-1, 2) if picture.channels > 1 else (-1,)
    if isinstance(channel_axis, int) and channel_axis not in known:
        content = "colours, on the last axis" if picture.channels > 1 else "one grey picture"
        raise ValueError(
            f"{name} must be read without a channel axis, because it holds {content}, "
            f"got {channel_axis}"
        )


def _first_bytes(source: BinaryIO) -> bytes:
    first = source.read(8)
    source.seek(0)
    return first


def _read_array(source: BinaryIO, name: str, channel_axis: ChannelAxis) -> Picture:
    """Read a .npy file."""
    pixels = np.load(source, allow_pickle=False)
    if pixels.ndim < 2 or pixels.size == 0:
        raise ValueError(f"{name} must have height and width, got shape {pixels.shape}")
    if channel_axis == "auto":
        channel_axis = -1 if holds_colours(pixels.shape) else None
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return from_array(native, channel_axis, name)


def _check_slices(shape: tuple[int, ...], name: str) -> None:
    """Refuse an array whose height or width is its shortest axis: that may count bands."""
    axis = shortest_side(shape)
    if axis is not None:
        height, width = shape[-2:]
        raise ValueError(
            f"{name} must be read with a channel axis, because its shape {shape} can be bands on "
            f"axis {axis} or images of {height}x{width} pixels; "
            f"--channel-axis {axis} or none (channel_axis={axis} or None) says which"
        )


def _count_frames(opened: ImageFile.ImageFile) -> int:
    """Return the number of pictures in a file, without previews."""
    frames = getattr(opened, "n_frames", 1)
    if opened.format == "MPO" or frames == 1:
        return 1
    if opened.format != "TIFF":
        return int(frames)
    count = 0
    for frame in range(frames):
        opened.seek(frame)
        is_preview = opened.tag_v2.get(SUBFILE_TYPE, 0) & PREVIEW  # type: ignore[attr-defined]
        count += not is_preview
        if frame == 0 and is_preview:
            return int(frames)  # tifffile finds the picture
    opened.seek(0)
    return max(count, 1)


def _is_beyond_pillow(opened: Image.Image) -> bool:
    """Return whether Pillow would change the numbers of a TIFF file."""
    if _is_swapped_twice(opened):
        return True
    if opened.mode == "I":
        return not _is_signed(opened)
    tags = opened.tag_v2  # type: ignore[attr-defined]
    if tags.get(SAMPLES_PER_PIXEL, 1) != len(opened.getbands()):
        return True
    if SIGNED in tags.get(SAMPLE_FORMAT, ()):
        return True  # 8 bits, which Pillow reads as unsigned
    is_multiplied = any("a" in mode for mode in raw_modes(opened))
    if tags.get(PLANAR_CONFIGURATION) == SEPARATE and (
        opened.mode in ("LA", "PA") or is_multiplied
    ):
        return True  # planes, which Pillow reads as pairs, or without a division by alpha
    return is_deep(opened) and not can_read_deep(opened)


def _is_swapped_twice(opened: Image.Image) -> bool:
    """Return whether libtiff and then Pillow would swap the bytes of a compressed TIFF file."""
    decoders = {tile[0] for tile in getattr(opened, "tile", [])}
    return "libtiff" in decoders and not SWAPPED.isdisjoint(raw_modes(opened))


def _is_signed(opened: Image.Image) -> bool:
    """Return whether a file holds signed integers with 16 bits."""
    return all(re.fullmatch(r"I;16B?S", mode) for mode in raw_modes(opened))


def _read_opened(opened: ImageFile.ImageFile, source: BinaryIO, name: str) -> Picture:
    """Read an opened file of one picture."""
    if has_hidden_bits(opened):
        raise ValueError(
            f"{name} must have 8 bits per channel, got more, of which those of {opened.format} "
            "are not all read; convert it to PNG or TIFF with 16 bits"
        )
    _scale_transparent_level(opened)
    deep_mode = raw_modes(opened)[0] if is_deep(opened) else None
    is_signed, mode = opened.mode == "I" and _is_signed(opened), opened.mode
    encoding = _encoding(opened, source)
    tags = getattr(opened, "tag_v2", {})
    inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    metadata = tiff_metadata(source) if opened.format == "TIFF" else _metadata(opened)
    metadata |= _turning(opened)
    ImageOps.exif_transpose(opened, in_place=True)  # large pictures are not to be copied
    if mode not in RGB_MODES and not mode.startswith("I;16"):
        metadata.pop("icc_profile", None)
        encoding = {} if mode in ("I", "F") else {"converted": mode}
    metadata |= encoding
    if deep_mode is not None:
        pixels, alpha = _split(read_deep(source, deep_mode), opened)
    elif mode.startswith("I;16") or is_signed:
        pixels = np.asarray(opened).astype(np.int16 if is_signed else np.uint16)
        pixels = 65535 - pixels if inverted and not is_signed else pixels
        pixels, alpha = _split(pixels, opened)
    elif mode == "F":
        pixels, alpha = np.asarray(opened), None
    elif mode == "I" and opened.format == "PPM":  # grey, scaled to 16 bits
        pixels, alpha = np.asarray(opened).astype(np.uint16), None
    elif mode == "I":
        raise ValueError(f"{name} must have 8 or 16 bits per channel, got mode I")
    else:
        pixels, alpha = _convert(opened)
    if opened.format == "PNG":  # after the pixels, because it moves the file
        metadata["png_colours"] = png_colours(source)
    return Picture(pixels, alpha, metadata)


def _scale_transparent_level(opened: Image.Image) -> None:
    """Scale the transparent level of grey with 2 or 4 bits as Pillow scales the pixels."""
    factor = {"L;2": 85, "L;4": 17}.get(next(iter(raw_modes(opened)), ""), 1)
    if factor > 1 and "transparency" in opened.info:
        opened.info["transparency"] *= factor


def _convert(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the pixels and the alpha channel of an image with 8 bits, as grey or RGB."""
    grey = image.mode in ("1", "L", "LA", "La")
    has_alpha = image.has_transparency_data
    mode = ("L" if grey else "RGB") + ("A" if has_alpha else "")
    converted = np.asarray(image if image.mode == mode else image.convert(mode))
    if not has_alpha:
        return converted, None
    return (converted[..., 0] if grey else converted[..., :3]), converted[..., -1]


def _split(pixels: np.ndarray, opened: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Return 16-bit pixels and their alpha, which is a channel or one transparent colour."""
    if pixels.ndim == 3 and pixels.shape[-1] in (2, 4):
        colours = pixels[..., :-1]
        return (colours[..., 0] if pixels.shape[-1] == 2 else colours), pixels[..., -1]
    transparent = opened.info.get("transparency")
    if transparent is None:
        return pixels, None
    same = pixels == np.asarray(transparent, pixels.dtype)
    visible = ~(same if pixels.ndim == 2 else same.all(axis=-1))
    return pixels, visible.astype(np.uint16) * np.uint16(65535)


def _metadata(opened: ImageFile.ImageFile) -> dict[str, Any]:
    """Return what a file other than TIFF says beside its pixels."""
    keys = ("icc_profile", "exif", "xmp", "comment", "dpi")
    metadata = {key: opened.info[key] for key in keys if opened.info.get(key)}
    read = opened.getexif()  # also from XMP, and from a text of PNG
    exif = metadata.get("exif") or (read.tobytes() if len(read) else None)
    if exif is not None:
        metadata["exif"] = exif if exif.startswith(EXIF_PREFIX) else EXIF_PREFIX + exif
    text = {
        key: value
        for key, value in getattr(opened, "text", {}).items()
        if isinstance(value, str) and not key.startswith(("Raw profile", "XML:com.adobe"))
    }
    if text:
        metadata["text"] = text
    return metadata


def _turning(opened: ImageFile.ImageFile) -> dict[str, Any]:
    """Return the format and the orientation of a file whose pixels are to be turned, else {}."""
    orientation = opened.getexif().get(ORIENTATION, 1)
    file_format = "JPEG" if opened.format == "MPO" else opened.format
    return {"turned": (file_format, orientation)} if orientation in range(2, 9) else {}


def _encoding(opened: ImageFile.ImageFile, source: BinaryIO) -> dict[str, Any]:
    """Return how a file was encoded, as Pillow's options under the name of its format."""
    if isinstance(opened, JpegImagePlugin.JpegImageFile) and opened.quantization:
        options: dict[str, Any] = {"qtables": opened.quantization}
        sampling = JpegImagePlugin.get_sampling(opened)
        options |= {"subsampling": sampling} if sampling >= 0 else {}
        options |= {"progressive": True} if opened.info.get("progressive") else {}
        return {"JPEG": options}
    if opened.format == "WEBP" and _is_lossless_webp(source):
        return {"WEBP": {"lossless": True, "exact": True}}
    return {}


def _is_lossless_webp(source: BinaryIO) -> bool:
    """Return whether the picture of a WebP file is in a chunk VP8L."""
    source.seek(0)
    encoded = source.read()
    start = 12
    while start + 8 <= len(encoded):
        if encoded[start : start + 4] in (b"VP8L", b"VP8 "):
            return encoded[start : start + 4] == b"VP8L"
        length = int.from_bytes(encoded[start + 4 : start + 8], "little")
        start += 8 + length + length % 2
    return False


def _describe_size(name: str, error: str) -> str:
    numbers = re.findall(r"\d{4,}", error)
    pixels = f"{int(numbers[0]) / 1e6:.3g} megapixels" if numbers else error
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
    return (
        f"{name} must have at most {limit:.3g} megapixels, a protection against damaged files, "
        f"got {pixels}; --max-megapixels, or PIL.Image.MAX_IMAGE_PIXELS, raises the limit"
    )
