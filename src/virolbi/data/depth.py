"""Bits that Pillow drops or mixes up without a word, by the format of the file."""

import re

from PIL import ImageFile

HIGH_BIT_DEPTH = 0x40  # flag of the AV1 configuration
AV1_CONFIGURATION = re.compile(rb"av1C\x81.(.)", re.DOTALL)
DEEP_PNG = re.compile(rb"\x89PNG\r\n\x1a\n.{4}IHDR.{8}\x10", re.DOTALL)
JPEG_2000_SIZE = re.compile(rb"\xff\x4f\xff\x51.{36}(..)", re.DOTALL)  # up to the channels


def has_hidden_bits(opened: ImageFile.ImageFile) -> bool:
    """Return whether Pillow would drop bits of an image, or mix up its bytes, without a word.

    Parameters
    ----------
    opened : PIL.ImageFile.ImageFile
        Opened file, not loaded.

    Returns
    -------
    bool
        True for files with more than 8 bits per channel of these formats: AVIF, DDS, FITS, ICNS,
        ICO, SGI without compression, and PPM and JPEG 2000 in colour.
    """
    is_grey = opened.mode.startswith("I")
    if opened.format == "FITS":  # read in the order of bytes of another format
        return opened.mode != "L"
    if opened.format == "PPM" and not is_grey:
        args = opened.tile[0].args
        return isinstance(args, tuple) and args[-1] > 255
    if opened.format == "SGI":
        return opened.tile[0][0] == "SGI16"
    if opened.format == "DDS":
        return _is_deep_dds(opened)
    if opened.format == "JPEG2000" and not is_grey:
        return _is_deep_jpeg_2000(_content(opened))
    if opened.format in ("ICO", "ICNS"):
        content = _content(opened)
        return DEEP_PNG.search(content) is not None or _is_deep_jpeg_2000(content)
    if opened.format == "AVIF":
        found = AV1_CONFIGURATION.findall(_content(opened))
        return any(flags[0] & HIGH_BIT_DEPTH for flags in found)
    return False


def _content(opened: ImageFile.ImageFile) -> bytes:
    """Return the bytes of an opened file, which is left where it was."""
    if opened.fp is None:
        return b""
    place = opened.fp.tell()
    opened.fp.seek(0)
    content = opened.fp.read()
    opened.fp.seek(place)
    return content


def _is_deep_dds(opened: ImageFile.ImageFile) -> bool:
    """Return whether a DDS file holds half precision or channels of 10 bits."""
    decoder, *_, args = opened.tile[0]
    if decoder == "dds_rgb" and isinstance(args, tuple):
        return any(int(mask).bit_count() > 8 for mask in args[1])
    return decoder == "bcn" and isinstance(args, tuple) and str(args[1]).startswith("BC6H")


def _is_deep_jpeg_2000(content: bytes) -> bool:
    """Return whether a channel of the first JPEG 2000 picture in a file has more than 8 bits."""
    size = JPEG_2000_SIZE.search(content)
    if size is None:
        return False
    channels = int.from_bytes(size[1], "big")
    depths = content[size.end() : size.end() + 3 * channels : 3]  # less one, beside a sign
    return any(depth & 0x7F > 7 for depth in depths)
