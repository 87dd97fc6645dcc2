"""Colour with 16 bits per channel, of which Pillow reads and writes only 8.

Pillow's decoders hand out either byte of each 16-bit value: the raw mode "RGB;16B" keeps the first
byte and "RGB;16L" the second. An image is decoded twice, once for each byte, by the same code that
reads every other PNG and TIFF file, with all their filters and compressions.
"""

import io
import re
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from virolbi.scale_space import dtype_range, round_to

DEEP = re.compile(r"(RGB|RGBA|RGBX|RGBa);16([BLN])")
GREY_ALPHA = "LA;16B"  # of PNG
BITS_PER_SAMPLE, PLANAR_CONFIGURATION = 258, 284  # tags of TIFF
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by the number of channels with alpha
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# gamma, primaries, sRGB, and the code points of HDR; an ICC profile is kept by Pillow
COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
FILTER_UP = 2  # of PNG: differences to the row above
Source = Path | str | BinaryIO


def raw_modes(opened: Image.Image) -> list[str]:
    """Return the raw modes of the tiles of an image file.

    Parameters
    ----------
    opened : PIL.Image.Image
        Opened file, not loaded.

    Returns
    -------
    list of str
        Raw mode of each tile, such as "RGB;16B".
    """
    tiles = getattr(opened, "tile", [])
    return [str(args[0] if isinstance(args := tile[3], tuple) else args) for tile in tiles]


def is_deep(opened: Image.Image) -> bool:
    """Return whether a file holds colour with more than 8 bits per channel.

    Parameters
    ----------
    opened : PIL.Image.Image
        Opened file, not loaded.

    Returns
    -------
    bool
        True for those PNG and TIFF files of which Pillow would keep 8 bits.
    """
    if opened.mode.startswith(("I", "F")):
        return False
    bits = getattr(opened, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
    return max(bits) > 8 or any(";16" in mode for mode in raw_modes(opened))


def can_read_deep(opened: Image.Image) -> bool:
    """Return whether `read_deep` reads a file.

    Parameters
    ----------
    opened : PIL.Image.Image
        Opened file, not loaded.

    Returns
    -------
    bool
        False for other layouts than the bytes of red, green and blue side by side.
    """
    if getattr(opened, "tag_v2", {}).get(PLANAR_CONFIGURATION, 1) != 1:
        return False
    modes = set(raw_modes(opened))
    return len(modes) == 1 and all(mode == GREY_ALPHA or DEEP.fullmatch(mode) for mode in modes)


def read_deep(source: BinaryIO, raw_mode: str) -> np.ndarray:
    """Read colour, or grey with alpha, with 16 bits per channel.

    Parameters
    ----------
    source : binary file
        PNG or TIFF file.
    raw_mode : str
        Raw mode of its tiles.

    Returns
    -------
    ndarray of uint16, shape (H, W, C)
        Pixels, turned as EXIF data ask, with alpha as the last channel if there is one.
    """
    if raw_mode == GREY_ALPHA:  # four bytes per pixel, in one pass
        pairs = _decode(source, "RGBA").astype(np.uint16)
        return (pairs[..., ::2] << 8) | pairs[..., 1::2]
    colours, _, order = raw_mode.partition(";16")
    layout = "RGBA" if colours == "RGBa" else colours
    first, second = (_decode(source, f"{layout};16{byte}") for byte in "BL")
    high, low = (first, second) if order == "B" else (second, first)
    pixels = (high.astype(np.uint16) << 8) | low
    return divide_by_alpha(pixels, 3) if colours == "RGBa" else pixels


def _decode(source: BinaryIO, raw_mode: str) -> np.ndarray:
    """Return the upright pixels that one raw mode yields."""
    source.seek(0)
    with Image.open(source) as opened:
        opened.tile = [_with_raw_mode(tile, raw_mode) for tile in opened.tile]
        return np.asarray(ImageOps.exif_transpose(opened))


def _with_raw_mode(tile: Any, raw_mode: str) -> Any:
    args = (raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode
    return tile._replace(args=args)


def divide_by_alpha(pixels: np.ndarray, colours: int) -> np.ndarray:
    """Return colours that were multiplied by their alpha, as they were before.

    Parameters
    ----------
    pixels : ndarray, shape (..., C)
        Bands, of which the last is alpha.
    colours : int
        Number of bands, from the first on, that were multiplied.

    Returns
    -------
    ndarray
        Pixels of the same dtype. Colours of alpha 0 stay.
    """
    alpha = pixels[..., -1:].astype(np.float64) / dtype_range(pixels.dtype)
    divided = pixels[..., :colours] / np.where(alpha == 0, 1, alpha)
    return np.concatenate([round_to(divided, pixels.dtype), pixels[..., colours:]], axis=-1)


def encode_deep_png(samples: np.ndarray, **options: Any) -> bytes:
    """Return a PNG file with 16 bits per channel.

    Parameters
    ----------
    samples : ndarray of uint16, shape (H, W, C)
        Grey or RGB, with or without alpha.
    **options : Any
        Options of Pillow: profile, EXIF data, resolution, text.

    Returns
    -------
    bytes
        The file. Pillow encodes all of it but the pixels.
    """
    height, width, channels = samples.shape
    stream = io.BytesIO()
    Image.new(MODES[channels], (1, 1)).save(stream, format="PNG", **options)
    rows = np.ascontiguousarray(samples, ">u2").view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = np.array([width, height], ">u4").tobytes()
    header += bytes([16, COLOUR_TYPES[channels], 0, 0, 0])
    pixels = {b"IHDR": header, b"IDAT": zlib.compress(filtered.data, 6)}
    encoded = [b"\x89PNG\r\n\x1a\n"]
    for name, content in _chunks(stream.getvalue()):
        replaced = pixels.get(name, content)
        checksum = zlib.crc32(name + replaced).to_bytes(4, "big")
        encoded += [len(replaced).to_bytes(4, "big"), name, replaced, checksum]
    return b"".join(encoded)


def _chunks(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and contents of the chunks of a PNG file."""
    chunks, start = [], 8
    while start < len(encoded):
        length = int.from_bytes(encoded[start : start + 4], "big")
        chunks.append((encoded[start + 4 : start + 8], encoded[start + 8 : start + 8 + length]))
        start += length + 12
    return chunks


def png_colours(source: BinaryIO) -> dict[bytes, bytes]:
    """Return what a PNG file says about its colours, beside a profile.

    Parameters
    ----------
    source : binary file
        The file; it is left at another place.

    Returns
    -------
    dict of bytes to bytes
        Content of the chunks of `COLOUR_CHUNKS` that the file has, by their names.
    """
    found = {}
    source.seek(8)
    while len(head := source.read(8)) == 8 and head[4:] != b"IDAT":
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if name in COLOUR_CHUNKS:
            found[name] = source.read(length)
            length = 0
        source.seek(length + 4, io.SEEK_CUR)  # with the checksum
    return found


def png_info(metadata: dict[str, Any]) -> PngImagePlugin.PngInfo:
    """Return what PNG files hold beside pixels in chunks of their own.

    Parameters
    ----------
    metadata : dict of str to Any
        Metadata of a picture.

    Returns
    -------
    PIL.PngImagePlugin.PngInfo
        The texts, the XMP packet and the colours, see `png_colours`.
    """
    info = PngImagePlugin.PngInfo()
    for name, content in metadata.get("png_colours", {}).items():
        info.add(name, content)
    for key, text in metadata.get("text", {}).items():
        info.add_text(key, text)
    if "xmp" in metadata:
        info.add_itxt("XML:com.adobe.xmp", metadata["xmp"].decode("utf-8", "replace"))
    return info
