"""TIFF files: tags, stacks and bands that Pillow does not read, and the writing of all kinds."""

import itertools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Tags

from virolbi.data.deep import PLANAR_CONFIGURATION, Source, divide_by_alpha
from virolbi.data.pictures import Picture, from_array, to_array, turn

MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
PREVIEW = 1  # bit of the tag SUBFILE_TYPE
DESCRIPTION = 270
SUBFILE_TYPE, COMPRESSION, PHOTOMETRIC, ORIENTATION = 254, 259, 262, 274
BAND_STATISTICS, NODATA = 42112, 42113  # of GDAL
SAMPLES_PER_PIXEL, TOGETHER, SEPARATE = 277, 1, 2  # the last two: planar configurations
RESOLUTION = X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
XMP, PROFILE = 700, 34675
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
EXTRA_SAMPLES = 338
# no meaning; opacity by which the colours were multiplied; opacity
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
INCH, CENTIMETRE = 2, 3
PLAIN, DEFLATE = 1, 8  # compressions
FOLDERS = (34665, 34853)  # of a camera and of GPS
INTEROPERABILITY = 40965  # an offset, which a copy would not hold
# Tags that describe the picture rather than the file: texts, rating, camera, GPS, map projection.
TEXTS = (DESCRIPTION, 271, 272, 305, 306, 315, 316, 18246, 33432, 40091, 40092, 40093, 40094, 40095)
GEOGRAPHIC = (33550, 33922, 34264, 34735, 34736, 34737, BAND_STATISTICS, NODATA)
KEPT = (ORIENTATION, *TEXTS, *GEOGRAPHIC, *FOLDERS)
ASCII, LONG, UNDEFINED = 2, 4, 7  # types of tags
SAMPLE_FORMAT, SIGNED = 339, 2
SAMPLE_FORMATS = {"u": 1, "i": SIGNED, "f": 3}
STRIP_BYTES = 1 << 20
LARGEST = 2**32 - 2**24  # bytes of a file whose offsets have 32 bits, less its tags
ChannelAxis = int | Literal["auto"] | None


@contextmanager
def open_source(source: Source) -> Iterator[BinaryIO]:
    """Open a file, or go to the beginning of one that is open.

    Pillow would map a file that it opens by its path, and turns mapped TIFF files wrongly.

    Parameters
    ----------
    source : Path, str or binary file
        File.

    Yields
    ------
    binary file
        The file at its beginning.
    """
    if isinstance(source, Path | str):
        with Path(source).open("rb") as file:
            yield file
    else:
        source.seek(0)
        yield source


def tiff_metadata(source: Source) -> dict[str, Any]:
    """Return what a TIFF file says beside its first picture.

    Parameters
    ----------
    source : Path, str or binary file
        TIFF file. Pillow need not know how to read its pixels.

    Returns
    -------
    dict of str to Any
        Metadata of a `Picture`.
    """
    with open_source(source) as file:
        header = file.read(8)
        if header[2:4] in (b"+\x00", b"\x00+"):
            header += file.read(8)
        tags, exif = Tags(header), Image.Exif()
        start = tags.next
        file.seek(start)
        tags.load(file)
        if DESCRIPTION in tags:
            tags[DESCRIPTION] = _first_description(file, start, header)
        for tag in KEPT:
            if tag in FOLDERS and isinstance(tags.get(tag), int):
                folder = Tags(header, group=tag)
                file.seek(tags[tag])
                folder.load(file)
                exif[tag] = {key: folder[key] for key in folder if key != INTEROPERABILITY}
            elif tag in tags and tag not in FOLDERS and not _is_shape(tags[tag]):
                exif[tag] = encode_text(tags[tag])
    is_planar = tags.get(PLANAR_CONFIGURATION) == SEPARATE
    encoding = {"compressed": tags.get(COMPRESSION) != PLAIN, "planar": is_planar}
    encoding["rgb"] = tags.get(PHOTOMETRIC) == RGB
    metadata: dict[str, Any] = {"TIFF": encoding}
    if len(exif):
        metadata["exif"] = exif.tobytes()
    for key, tag in (("icc_profile", PROFILE), ("xmp", XMP)):
        if value := tags.get(tag):  # Pillow returns bytes, or a tuple of them
            metadata[key] = bytes(value[0] if isinstance(value, tuple) else value)
    resolution = {tag: tags[tag] for tag in RESOLUTION if tag in tags}
    if all(float(resolution.get(tag, 0)) > 0 for tag in RESOLUTION[:2]):
        metadata["TIFF"]["resolution"] = resolution
    scale = {INCH: 1.0, CENTIMETRE: 2.54}.get(tags.get(RESOLUTION_UNIT, INCH))
    if scale and X_RESOLUTION in tags and Y_RESOLUTION in tags:
        dpi = tuple(float(tags[tag]) * scale for tag in (X_RESOLUTION, Y_RESOLUTION))
        if min(dpi) > 1:  # (1, 1) is a placeholder
            metadata["dpi"] = dpi
    with suppress(KeyError, TypeError, ValueError):  # there may be none
        metadata["nodata"] = float(tags[NODATA])
    return metadata


def _first_description(file: BinaryIO, start: int, header: bytes) -> str:
    """Return the first of the descriptions in the tags at a place; Pillow keeps the last."""
    order: Literal["big", "little"] = "big" if header[:1] == b"M" else "little"
    counter, width = (8, 8) if len(header) > 8 else (2, 4)  # bytes of numbers
    file.seek(start)
    for _ in range(int.from_bytes(file.read(counter), order)):
        entry = file.read(4 + 2 * width)
        length, value = int.from_bytes(entry[4 : 4 + width], order), entry[4 + width :]
        if int.from_bytes(entry[:2], order) == DESCRIPTION:
            if length > width:
                file.seek(int.from_bytes(value, order))
                value = file.read(length)
            return value[:length].rstrip(b"\0").decode("latin-1")
    return ""


def encode_text(value: Any) -> Any:
    """Return a text of other than ASCII characters as bytes, which Pillow writes as they are.

    Parameters
    ----------
    value : Any
        Value of a tag. Pillow reads texts as Latin-1, and writes other than ASCII as "?".

    Returns
    -------
    Any
        The bytes of such a text, or the value.
    """
    is_other = isinstance(value, str) and not value.isascii()
    return value.encode("latin-1") if is_other else value


def _is_shape(text: Any) -> bool:
    """Return whether a tag is a description by tifffile, which the written file may not have."""
    return isinstance(text, str) and text.startswith('{"shape":')


def read_tiff(source: Source, name: str, channel_axis: ChannelAxis = "auto") -> Picture:
    """Read a TIFF file that Pillow does not read: a stack, many bands, or other numbers.

    Parameters
    ----------
    source : Path, str or binary file
        TIFF file.
    name : str
        Name of the file, for the errors.
    channel_axis : int, "auto" or None, optional
        Axis of the channels in the array as tifffile reads it, if there is one; "auto" takes the
        samples of each pixel, but for the last one if the file calls it opacity.

    Returns
    -------
    Picture
        Axes other than channels, height and width count slices.

    Raises
    ------
    ValueError
        If tifffile is not installed, or if the file holds several pictures or cannot be read.
    """
    try:
        import tifffile
    except ImportError:
        raise ValueError(
            f"{name} must hold one grey or colour picture with 8 or 16 bits, or be read by "
            "tifffile: pip install 'virolbi[tiff]'"
        ) from None
    try:
        with open_source(source) as file, tifffile.TiffFile(file) as opened:
            pictures = [one for one in opened.series if not one.keyframe.is_reduced]
            shapes = {(one.shape, one.dtype, one.axes) for one in pictures}
            if len(shapes) != 1:
                raise ValueError(f"it holds {len(pictures)} pictures of different shapes")
            page, axes = pictures[0].keyframe, pictures[0].axes
            _check_pixels(page.imagewidth * page.imagelength)
            for series in pictures:
                _check_length(series, opened.filehandle.size)
            pixels = pictures[0].asarray()
            if len(pictures) > 1:  # slices that were added one by one
                pixels = np.stack([pixels, *(series.asarray() for series in pictures[1:])])
                axes = f"Q{axes}"
    except Image.DecompressionBombError:
        raise
    except Exception as error:  # tifffile raises errors of many types for damaged files
        raise ValueError(f"{name} must be a TIFF file that can be read: {error}") from error
    photometric = int(page.photometric)
    tag = page.tags.get(ORIENTATION)
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise ValueError(f"{name} must be in grey, RGB or bands, got {page.photometric!s}")
    if axes.count("Y") != 1 or axes.count("X") != 1:
        raise ValueError(f"{name} must have height and width, got the axes {axes!r}")
    samples = axes.index("S") if "S" in axes else None
    if not axes.replace("S", "").endswith("YX"):
        raise ValueError(f"{name} must have height and width last, got the axes {axes!r}")
    metadata = tiff_metadata(source)
    if tag is not None and tag.value != 1:
        metadata["turned"] = "TIFF", int(tag.value)
        pixels = turn(pixels, int(tag.value), axes.index("Y"))
    picture = from_array(pixels, samples if channel_axis == "auto" else channel_axis, name, samples)
    metadata["TIFF"]["samples"] = samples
    picture = replace(picture, metadata=metadata | picture.metadata)
    if channel_axis == "auto":
        picture = _split_alpha(picture, [int(kind) for kind in page.extrasamples])
    if photometric == WHITE_IS_ZERO and pixels.dtype.kind == "u":
        picture = picture.with_pixels(np.iinfo(pixels.dtype).max - picture.pixels)
    return picture


def _check_pixels(pixels: int) -> None:
    """Refuse what Pillow refuses, with its error."""
    limit = 2 * (Image.MAX_IMAGE_PIXELS or pixels)
    if pixels > limit:
        raise Image.DecompressionBombError(f"{pixels} pixels are more than {limit}")


def _check_length(series: Any, size: int) -> None:
    """Refuse a file that ends before its pixels do: they would be read as 0."""
    if series.dataoffset is not None and series.dataoffset + series.nbytes > size:
        end = series.dataoffset + series.nbytes
        raise ValueError(f"it has {size} bytes, its pixels go on to byte {end}")
    for page in series.pages:
        if page is None:
            raise ValueError("a page is missing")
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if start + count > size:
                raise ValueError(f"it has {size} bytes, its pixels go on to byte {start + count}")


def _split_alpha(picture: Picture, extra: list[int]) -> Picture:
    """Return a picture whose last band, if the file says that it is the opacity, is its alpha."""
    is_opacity = extra[-1:] in ([ASSOCIATED], [UNASSOCIATED])
    if not is_opacity or picture.slice_axes or picture.channels < 2:
        return picture
    bands = picture.pixels
    if extra[-1] == ASSOCIATED:
        bands = divide_by_alpha(bands, picture.channels - len(extra))
    pixels = bands[..., 0] if picture.channels == 2 else bands[..., :-1]
    metadata = {key: value for key, value in picture.metadata.items() if key != "axes"}
    return Picture(pixels, bands[..., -1], metadata, slice_axes=0)


def encode_tiff(picture: Picture) -> bytes:
    """Return a TIFF file: one page for each slice.

    Parameters
    ----------
    picture : Picture
        Picture of integers with 8 or 16 bits, or of floats.

    Returns
    -------
    bytes
        The file, compressed without loss unless the picture comes from a file that was not.

    Raises
    ------
    ValueError
        If the dtype is another, or if the file would have 4 GB.
    """
    pixels = picture.pixels
    if pixels.dtype.kind not in SAMPLE_FORMATS or pixels.dtype.itemsize > 8:
        raise ValueError(f"the format does not keep {pixels.dtype}")
    if pixels.nbytes > LARGEST:
        raise ValueError(f"the file must have less than 4 GB, got {pixels.nbytes / 2**30:.1f}")
    pages = [_encode_page(page, picture) for page in _pages(picture)]
    _add_metadata(pages[0][0], picture.metadata)
    # All tags stand in front of all pixels, because ImageJ reads the slices of its stacks in one
    # piece. Pillow counts offsets of strips from the end of their tags.
    sizes = [len(tags.tobytes()) for tags, _ in pages]
    headers, end, place = bytearray(b"II*\0\x08\0\0\0"), 8, 8 + sum(sizes)
    for (tags, strips), size in zip(pages, sizes, strict=True):
        link, end = end + 2 + 12 * len(tags), end + size
        *offsets, place = itertools.accumulate(map(len, strips), initial=place)
        tags[273] = tuple(offset - end for offset in offsets)
        headers += tags.tobytes(end - size)
        headers[link : link + 4] = end.to_bytes(4, "little")  # where the next tags are
    headers[link : link + 4] = bytes(4)  # there are none
    return b"".join([headers, *(strip for _, strips in pages for strip in strips)])


def _pages(picture: Picture) -> np.ndarray:
    """Return the pages of a picture, shape (N, H, W, C), in the order of its file if it is TIFF."""
    pixels, metadata = picture.pixels, picture.metadata
    samples: int | None = None if picture.channel_axis is None else -1
    if picture.alpha is not None:
        colours = pixels[..., None] if samples is None else pixels
        pixels, samples = np.concatenate([colours, picture.alpha[..., None]], axis=-1), -1
    elif "axes" in metadata and "TIFF" in metadata:
        pixels, samples = to_array(pixels, metadata["axes"]), metadata["TIFF"]["samples"]
    pixels = pixels[..., None] if samples is None else np.moveaxis(pixels, samples, -1)
    return pixels.reshape(-1, *pixels.shape[-3:])


def _encode_page(page: np.ndarray, picture: Picture) -> tuple[Tags, list[bytes]]:
    """Return the tags and the strips of a page of shape (H, W, C)."""
    height, width, channels = page.shape
    encoding = picture.metadata.get("TIFF", {})
    compressed, is_planar = encoding.get("compressed", True), encoding.get("planar", False)
    predicted = compressed and page.dtype.kind != "f"
    bands = channels - (picture.alpha is not None)
    is_colour = bands == 3 or (bands > 3 and encoding.get("rgb", False))
    rows = max(1, STRIP_BYTES // (width * (1 if is_planar else channels) * page.itemsize))
    strips = []
    for plane in np.split(page, channels, axis=-1) if is_planar else [page]:
        for top in range(0, height, rows):
            strip = np.array(plane[top : top + rows], page.dtype.newbyteorder("<"), order="C")
            if predicted:
                strip[:, 1:] -= strip[:, :-1].copy()
            strips.append(zlib.compress(strip.data) if compressed else strip.tobytes())
    tags = Tags()
    tags[256], tags[257], tags[258] = width, height, (page.itemsize * 8,) * channels
    tags[COMPRESSION] = DEFLATE if compressed else PLAIN
    tags[PHOTOMETRIC] = RGB if is_colour else BLACK_IS_ZERO
    tags.tagtype[273] = tags.tagtype[279] = LONG
    tags[273] = (0,) * len(strips)  # their places are not known yet
    tags[SAMPLES_PER_PIXEL], tags[278], tags[279] = channels, rows, tuple(map(len, strips))
    tags[PLANAR_CONFIGURATION] = SEPARATE if is_planar else TOGETHER
    if predicted:
        tags[317] = 2  # differences to the pixel before
    extra = channels - (3 if is_colour else 1)
    if extra:
        last = UNSPECIFIED if picture.alpha is None else UNASSOCIATED
        tags[EXTRA_SAMPLES] = (UNSPECIFIED,) * (extra - 1) + (last,)
    tags[SAMPLE_FORMAT] = (SAMPLE_FORMATS[page.dtype.kind],) * channels
    return tags, strips


def _add_metadata(tags: Tags, metadata: dict[str, Any]) -> None:
    """Add what a picture says beside its pixels to the tags of its first page."""
    exif = Image.Exif()
    exif.load(metadata.get("exif", b""))
    for tag in KEPT:
        if tag in FOLDERS and exif.get_ifd(tag):
            tags.tagtype[tag] = LONG
            tags[tag] = {k: v for k, v in exif.get_ifd(tag).items() if k != INTEROPERABILITY}
        elif tag in exif and tag not in FOLDERS:
            value = encode_text(exif[tag])
            if tag in GEOGRAPHIC and isinstance(value, bytes):
                tags.tagtype[tag] = ASCII
            tags[tag] = value
    for key, tag in (("icc_profile", PROFILE), ("xmp", XMP)):
        if key in metadata:
            tags.tagtype[tag] = UNDEFINED
            tags[tag] = metadata[key]
    if "resolution" in metadata.get("TIFF", {}):  # in the unit of the file, which may be none
        for tag, value in metadata["TIFF"]["resolution"].items():
            tags[tag] = value
    elif "dpi" in metadata:
        tags[X_RESOLUTION], tags[Y_RESOLUTION] = metadata["dpi"]
        tags[RESOLUTION_UNIT] = INCH
