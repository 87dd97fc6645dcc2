"""TIFF files: tags, stacks and bands that Pillow does not read, and the writing of all kinds."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2 as Tags

from virolbi.data.deep import Source
from virolbi.data.pictures import Picture, turn

MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
PREVIEW = 1  # bit of the tag SUBFILE_TYPE
SUBFILE_TYPE, COMPRESSION, PHOTOMETRIC, ORIENTATION, NODATA = 254, 259, 262, 274, 42113
SAMPLES_PER_PIXEL = 277
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, XMP, PROFILE = 282, 283, 296, 700, 34675
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
INCH, CENTIMETRE = 2, 3
PLAIN, DEFLATE = 1, 8  # compressions
FOLDERS = (34665, 34853)  # of a camera and of GPS
INTEROPERABILITY = 40965  # an offset, which a copy would not hold
# Tags that describe the picture rather than the file: texts, rating, camera, GPS, map projection.
TEXTS = (270, 271, 272, 305, 306, 315, 316, 18246, 33432, 40091, 40092, 40093, 40094, 40095)
GEOGRAPHIC = (33550, 33922, 34264, 34735, 34736, 34737, 42112, NODATA)
KEPT = (ORIENTATION, *TEXTS, *GEOGRAPHIC, *FOLDERS)
SHORT, LONG, UNDEFINED = 3, 4, 7  # types of tags
SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}
STRIP_BYTES = 1 << 20
LARGEST = 2**32 - 2**24  # bytes of a file whose offsets have 32 bits, less its tags


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
        tags = Tags(header)
        file.seek(tags.next)
        tags.load(file)
        exif = Image.Exif()
        for tag in KEPT:
            if tag in FOLDERS and isinstance(tags.get(tag), int):
                folder = Tags(header, group=tag)
                file.seek(tags[tag])
                folder.load(file)
                exif[tag] = {key: folder[key] for key in folder if key != INTEROPERABILITY}
            elif tag in tags and tag not in FOLDERS and not _is_shape(tags[tag]):
                exif[tag] = tags[tag]
    metadata: dict[str, Any] = {"TIFF": {"compressed": tags.get(COMPRESSION) != PLAIN}}
    if len(exif):
        metadata["exif"] = exif.tobytes()
    for key, tag in (("icc_profile", PROFILE), ("xmp", XMP)):
        if value := tags.get(tag):  # Pillow returns bytes, or a tuple of them
            metadata[key] = bytes(value[0] if isinstance(value, tuple) else value)
    scale = {INCH: 1.0, CENTIMETRE: 2.54}.get(tags.get(RESOLUTION_UNIT, INCH))
    if scale and X_RESOLUTION in tags and Y_RESOLUTION in tags:
        dpi = tuple(float(tags[tag]) * scale for tag in (X_RESOLUTION, Y_RESOLUTION))
        if min(dpi) > 1:  # (1, 1) is a placeholder
            metadata["dpi"] = dpi
    with suppress(KeyError, TypeError, ValueError):  # there may be none
        metadata["nodata"] = float(tags[NODATA])
    return metadata


def _is_shape(text: Any) -> bool:
    """Return whether a tag is a description by tifffile, which the written file may not have."""
    return isinstance(text, str) and text.startswith('{"shape":')


def read_tiff(source: Source, name: str) -> Picture:
    """Read a TIFF file that Pillow does not read: a stack, many bands, or other numbers.

    Parameters
    ----------
    source : Path, str or binary file
        TIFF file.
    name : str
        Name of the file, for the errors.

    Returns
    -------
    Picture
        Samples are channels; axes in front of height and width are slices.

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
    if "S" in axes:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
    axes = axes.replace("S", "")
    if not axes.endswith("YX"):
        raise ValueError(f"{name} must have height and width last, got the axes {axes!r}")
    if photometric == WHITE_IS_ZERO and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    metadata = tiff_metadata(source)
    if tag is not None and tag.value != 1:
        metadata["turned"] = "TIFF", int(tag.value)
        pixels = turn(pixels, int(tag.value), len(axes) - 2)
    picture = Picture(pixels, metadata=metadata, slice_axes=len(axes) - 2)
    return _split_alpha(picture, [int(kind) for kind in page.extrasamples])


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
    unassociated = 2
    if extra[-1:] != [unassociated] or picture.slice_axes or picture.channels not in (2, 4):
        return picture
    colours = picture.pixels[..., :-1]
    pixels = colours[..., 0] if picture.channels == 2 else colours
    return Picture(pixels, picture.pixels[..., -1], picture.metadata)


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
    pixels = pixels[..., None] if picture.channel_axis is None else pixels
    if picture.alpha is not None:
        pixels = np.concatenate([pixels, picture.alpha[..., None]], axis=-1)
    buffer, link = io.BytesIO(), None
    for page in pixels.reshape(-1, *pixels.shape[-3:]):
        tags, strips = _encode_page(page, picture)
        if link is None:
            _add_metadata(tags, picture.metadata)
        start = buffer.tell() or 8  # behind the header
        tags.save(buffer)
        buffer.write(b"".join(strips))
        buffer.write(bytes(buffer.tell() % 2))
        if link is not None:
            end = buffer.tell()
            buffer.seek(link)
            buffer.write(start.to_bytes(4, "little"))
            buffer.seek(end)
        link = start + 2 + 12 * len(tags)
    return buffer.getvalue()


def _encode_page(page: np.ndarray, picture: Picture) -> tuple[Tags, list[bytes]]:
    """Return the tags and the strips of a page of shape (H, W, C)."""
    height, width, channels = page.shape
    compressed = picture.metadata.get("TIFF", {}).get("compressed", True)
    predicted = compressed and page.dtype.kind != "f"
    colours = picture.channels
    rows = max(1, STRIP_BYTES // (width * channels * page.itemsize))
    strips = []
    for top in range(0, height, rows):
        strip = np.array(page[top : top + rows], page.dtype.newbyteorder("<"), order="C")
        if predicted:
            strip[:, 1:] -= strip[:, :-1].copy()
        strips.append(zlib.compress(strip.data) if compressed else strip.tobytes())
    lengths = [len(strip) for strip in strips]
    tags = Tags()
    tags[256], tags[257], tags[258] = width, height, (page.itemsize * 8,) * channels
    tags[COMPRESSION] = DEFLATE if compressed else PLAIN
    tags[PHOTOMETRIC] = RGB if colours == 3 else BLACK_IS_ZERO
    tags.tagtype[273] = tags.tagtype[279] = LONG
    tags[273] = tuple(int(offset) for offset in np.cumsum([0, *lengths[:-1]]))
    tags[SAMPLES_PER_PIXEL], tags[278], tags[279] = channels, rows, tuple(lengths)
    tags[284] = 1  # all channels of a pixel together
    if predicted:
        tags[317] = 2  # differences to the pixel before
    extra = channels - (3 if colours == 3 else 1)
    if extra:
        tags[338] = (2,) if picture.alpha is not None else (0,) * extra
    tags[339] = (SAMPLE_FORMATS[page.dtype.kind],) * channels
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
            tags[tag] = exif[tag]
    for key, tag in (("icc_profile", PROFILE), ("xmp", XMP)):
        if key in metadata:
            tags.tagtype[tag] = UNDEFINED
            tags[tag] = metadata[key]
    if "dpi" in metadata:
        tags[X_RESOLUTION], tags[Y_RESOLUTION] = metadata["dpi"]
        tags[RESOLUTION_UNIT] = INCH
