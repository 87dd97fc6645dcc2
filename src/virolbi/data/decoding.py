"""Decoding of many images into one array, in memory or cached on disk."""

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from virolbi._storage import acquire_part, publish_part, write_atomic
from virolbi.data.reading import DECODING_ERRORS, Decoded, decode_picture
from virolbi.scale_space import warn_of_unused_bits

DECODE_BATCH_SIZE = 1024  # images that are handed to the threads at once
READER = 2  # in the names of cache files; a larger one if images are read in another way


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
        A .npy file that keeps the decoded images. If it is complete, the images are read from it;
        if not, it is written. None keeps the images in memory.
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
        If images of integers, and without a `data_range`, leave their three highest bits unused.
    """
    if cache_file is None:
        pixels, errors, used = _decode(entry_at, rows, size, source, None, data_range)
        warn_of_unused_bits(used, f"images of data {source!r}")
        return pixels, errors
    range_name = "" if data_range is None else f"-{float(data_range)!r}"
    cache_file = cache_file.with_name(f"{cache_file.stem}{range_name}-{READER}.npy")
    manifest = cache_file.with_suffix(".json")  # written last: it marks a complete cache file
    if not manifest.exists():
        pixels, errors, used = _decode(entry_at, rows, size, source, cache_file, data_range)
        if len(pixels) == 0:
            return pixels, errors
        publish_part(acquire_part(cache_file), cache_file)
        content = {"broken": errors, "channels": pixels.shape[1], "used": used}
        write_atomic(manifest, json.dumps(content).encode())
    return _read_cache(cache_file, manifest, len(rows), source)


def _read_cache(
    cache_file: Path, manifest: Path, count: int, source: str
) -> tuple[np.ndarray, dict[int, str]]:
    """Return the decoded images of a complete cache file, not in memory, and the errors."""
    content = json.loads(manifest.read_text())
    errors = {int(row): error for row, error in content["broken"].items()}
    used = content["used"] or 0  # null in the caches of older versions
    warn_of_unused_bits(used, f"images of data {source!r}")
    pixels = np.load(cache_file, mmap_mode="r")
    return pixels[: count - len(errors), : content["channels"]], errors


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
