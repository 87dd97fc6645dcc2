"""Decoding of many images into one array, in memory or cached on disk."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import virolbi
from virolbi._storage import acquire_part, publish_part, write_json
from virolbi.data.reading import DECODING_ERRORS, Decoded, decode_picture
from virolbi.scale_space import warn_of_unused_range

DECODE_BATCH_SIZE = 1024  # images that are handed to the threads at once


def decode_images(
    entry_at: Callable[[int], Any],
    rows: np.ndarray,
    *,
    size: int | None,
    source: str,
    cache_file: Path | None,
    data_range: float | None = None,
) -> tuple[np.ndarray, dict[int, str]]:
    """Decode the images of some rows of a table, except those that cannot be decoded.

    Parameters
    ----------
    entry_at : callable
        Function that returns the entry of a row: a mapping with the encoded image under "bytes",
        or None there and its file under "path".
    rows : ndarray of int, shape (N,)
        Rows to decode.
    size : int or None
        Resize the shorter side to this many pixels and crop the centre; None keeps the sizes.
    source : str
        Name of the data set, for the errors.
    cache_file : Path or None
        A .npy file, whose name stands for all that `entry_at` may return. The decoded images are
        kept beside it, under a name that adds everything else they depend on: the rows in their
        order, the size, the data range and the version of this package. If that file is complete,
        the images are read from it; if not, it is written. None keeps the images in memory.
    data_range : float, optional
        Value of images that becomes 255, as in `decode_image`.

    Returns
    -------
    pixels : ndarray of uint8, shape (M, C, H, W)
        The images that could be decoded, in the order of `rows`. C is 1 if all of them are grey,
        else 3.
    errors : dict of int to str
        Description of each image that could not be decoded, by its row.

    Raises
    ------
    ValueError
        If the images have different sizes.

    Warns
    -----
    UserWarning
        If the images use little of their range, see `virolbi.scale_space.used_range`.
    """
    if cache_file is None:
        pixels, errors, used = _decode(entry_at, rows, size, source, None, data_range)
        warn_of_unused_range(used, f"images of data {source!r}")
        return pixels, errors
    cache_file = _name_cache(cache_file, rows, size, data_range)
    manifest = cache_file.with_suffix(".json")  # written last: it marks a complete cache file
    cached = _read_cache(cache_file, manifest, len(rows))
    if cached is None or _can_decode_any(entry_at, list(cached[1]), size, data_range):
        manifest.unlink(missing_ok=True)
        pixels, errors, used = _decode(entry_at, rows, size, source, cache_file, data_range)
        if len(pixels) == 0:
            return pixels, errors
        publish_part(acquire_part(cache_file), cache_file)
        content = {"broken": errors, "channels": pixels.shape[1], "used": used}
        write_json(manifest, content)
        cached = np.load(cache_file, mmap_mode="r")[: len(pixels)], errors, used
    pixels, errors, used = cached
    warn_of_unused_range(used, f"images of data {source!r}")
    return pixels, errors


def _name_cache(
    cache_file: Path, rows: np.ndarray, size: int | None, data_range: float | None
) -> Path:
    """Return the cache file of some rows of a table, decoded in one way by this version."""
    digest = hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest()[:16]
    white = None if data_range is None else float(data_range)
    name = f"{cache_file.stem}-{digest}-{size}-{white}-{virolbi.__version__}.npy"
    return cache_file.with_name(name)


def _read_cache(
    cache_file: Path, manifest: Path, count: int
) -> tuple[np.ndarray, dict[int, str], float] | None:
    """Return what `_decode` returned for `count` rows, with the images not in memory.

    The result is None if the cache file is missing, incomplete or of another number of images.
    """
    try:
        content = json.loads(manifest.read_text())
        errors = {int(row): error for row, error in content["broken"].items()}
        pixels = np.load(cache_file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != count:
        return None
    return pixels[: count - len(errors), : content["channels"]], errors, content["used"]


def _can_decode_any(
    entry_at: Callable[[int], Any], rows: list[int], size: int | None, data_range: float | None
) -> bool:
    """Return whether an image that could not be decoded can be now, as with another plugin."""
    decoded = _iter_decoded(entry_at, np.array(rows, np.int64), size, data_range)
    return any(not isinstance(image, str) for _, image in decoded)


def _decode(
    entry_at: Callable[[int], Any],
    rows: np.ndarray,
    size: int | None,
    source: str,
    cache_file: Path | None,
    data_range: float | None,
) -> tuple[np.ndarray, dict[int, str], float]:
    """Return the decoded images, in memory or in the part of a cache file, and the errors.

    The last result is the most that an image used of its range, see `Decoded`.
    """
    pixels, count = np.empty((0, 0, 0, 0), np.uint8), 0
    errors, sizes, used = dict[int, str](), set[tuple[int, int]](), 0.0
    for row, image in _iter_decoded(entry_at, rows, size, data_range):
        if isinstance(image, str):
            errors[row] = image
            continue
        sizes.add(image.picture.size)
        if len(sizes) > 1:
            continue  # an error, which counts all sizes
        used = max(used, image.used)
        picture = image.picture
        if picture.channels > pixels.shape[1]:  # the first image, or the first one in colour
            shape = (len(rows), picture.channels, *picture.pixels.shape[:2])
            pixels = _reallocate(pixels[:count], shape, cache_file)
        pixels[count] = np.atleast_3d(picture.pixels).transpose(2, 0, 1)
        count += 1
    if len(sizes) > 1:
        raise ValueError(
            f"images of data {source!r} must have one size, got {len(sizes)} such as "
            f"{sorted(sizes)[:3]}; pass a size to resize them"
        )
    return pixels[:count], errors, used


def _iter_decoded(
    entry_at: Callable[[int], Any], rows: np.ndarray, size: int | None, data_range: float | None
) -> Iterator[tuple[int, Decoded | str]]:
    """Yield each row with its image, or with the reason why that cannot be decoded."""

    def decode_row(row: int) -> Decoded | str:
        entry = entry_at(row)
        try:
            encoded = entry["bytes"]
            file = Path(entry["path"]) if encoded is None else io.BytesIO(encoded)
            return decode_picture(file, size, data_range)
        except DECODING_ERRORS as error:
            path = f"{entry and entry['path']}"
            reason = str(error).removeprefix(path).strip()  # which often begins with the path
            return f"image {row}, {path}: {reason}"

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(rows), DECODE_BATCH_SIZE):
            batch = [int(row) for row in rows[start : start + DECODE_BATCH_SIZE]]
            yield from zip(batch, pool.map(decode_row, batch), strict=True)


def _reallocate(pixels: np.ndarray, shape: tuple[int, ...], cache_file: Path | None) -> np.ndarray:
    """Return an array of another shape that starts with the images so far.

    Grey images are repeated in all channels. With a cache file, the array is its part on disk.
    """
    if cache_file is None:
        allocated = np.empty(shape, np.uint8)
    else:
        part = acquire_part(cache_file)
        part.unlink(missing_ok=True)  # truncating the file would change `pixels`, which maps it
        allocated = np.lib.format.open_memmap(part, "w+", np.uint8, shape)
    if len(pixels):
        allocated[: len(pixels)] = pixels
    return allocated
