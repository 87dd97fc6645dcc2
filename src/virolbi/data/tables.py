"""Tables of encoded images and labels: of image folders, CSV files and saved data sets."""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from virolbi._storage import file_status
from virolbi.data.folders import (
    TEST_NAMES,
    check_classes_of_splits,
    count_left_out,
    count_unlabelled,
    iter_files,
    list_class_files,
    list_pictures,
    match_splits,
    split_folders,
    split_name,
)

# Columns of images and of labels, by preference. The suffixes are those of WebDataset.
IMAGE_COLUMNS = ("image", "img", "png", "jpg", "jpeg", "webp")
LABEL_COLUMNS = ("label", "fine_label", "labels", "cls")
# Columns of a CSV file.
PATH_COLUMNS = ("path", "file_name", "filename", "file", "image")
CLASS_COLUMNS = ("label", "labels", "class", "target")
SPLIT_COLUMN = "split"
UNLABELLED = "unlabelled"  # class of images without one
SAVED = (".parquet", ".tar")  # suffixes of files of a saved data set
README = "README.md"  # can state the splits of the files beside it


class Table(NamedTuple):
    """Encoded images with their labels: one split of a data set, or all of it.

    Attributes
    ----------
    entry_at : callable
        Function that returns the entry of a row, as in `decode_images`.
    fingerprint : str
        Name of the files or the saved table, for cache files. It does not depend on the labels.
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


def open_image_folder(folder: Path, split: str) -> Table:
    """Return the table of the images in a folder for each class, or in folders for the splits.

    Parameters
    ----------
    folder : Path
        Folder to read.
    split : str
        Split to read, as in `load`.

    Returns
    -------
    Table
        The images of the split, or all of them.

    Raises
    ------
    ValueError
        If there is no such split, or if images are outside the folders of classes.
    """
    splits = split_folders(folder)
    name, is_split = _resolve_split(splits, split)
    if name == "train":
        check_classes_of_splits(splits)
    files, labels, classes = list_class_files(splits[name], splits.get("train"))
    left_out = count_left_out(splits[name]) | count_unlabelled(folder)
    return _table_of_files(files, np.array(labels, np.int64), classes, is_split, left_out)


def open_unlabelled_folder(folder: Path) -> Table:
    """Return the table of all images in a folder, of one class.

    Parameters
    ----------
    folder : Path
        Folder to read, at any depth.

    Returns
    -------
    Table
        All images, as a split.
    """
    files = list_pictures(folder)
    labels = np.zeros(len(files), np.int64)
    return _table_of_files(files, labels, (UNLABELLED,), True, count_left_out(folder))


def open_csv_file(path: Path, split: str) -> Table:
    """Return the table of a CSV file of paths and labels.

    Parameters
    ----------
    path : Path
        File to read, in UTF-8, whose first line names the columns. A column of `PATH_COLUMNS`
        holds paths of images, relative to the folder of the file; one of `CLASS_COLUMNS` holds
        their labels; one named "split", which may be missing, holds their splits under the names
        that folders of splits can have, see `split_name`.
    split : str
        Split to read, as in `load`.

    Returns
    -------
    Table
        The images of the split, or all of them.

    Raises
    ------
    ValueError
        If the file cannot be read, has no such columns or split, or two of one name in any case,
        or if a line has another number of columns, no label or a name of no split.
    """
    header, lines = _read_csv(path)
    path_column, label_column = (
        _find_column(header, content, names, lambda _: True)
        for content, names in (("paths", PATH_COLUMNS), ("labels", CLASS_COLUMNS))
    )
    missing = [number for number, line in enumerate(lines, 2) if line[label_column] in ("", "-1")]
    if missing:
        raise ValueError(
            f"must have a label for each image, got {len(missing)} of {len(lines)} that are empty "
            f"or -1, the first in row {missing[0]}"
        )
    splits = list(dict.fromkeys(line.get(SPLIT_COLUMN, "train") for line in lines))
    others = sorted(name for name in splits if split_name(name) is None)
    if others:
        raise ValueError(
            f"must have 'train', 'test', 'validation', 'valid' or 'val' in column {SPLIT_COLUMN!r} "
            f"of each row, got {others}"
        )
    name, is_split = _resolve_split(splits, split)
    classes = _sort_labels({line[label_column] for line in lines})
    numbers = {label: number for number, label in enumerate(classes)}
    chosen = [line for line in lines if line.get(SPLIT_COLUMN, name) == name]
    files = [path.parent / line[path_column] for line in chosen]
    labels = np.array([numbers[line[label_column]] for line in chosen], np.int64)
    return _table_of_files(files, labels, classes, is_split, {})


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the names of the columns of a CSV file, in lower case, and its other rows."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[text.strip() for text in row] for row in csv.reader(file, strict=True) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"must be a CSV file in UTF-8: {error}") from error
    if len(rows) < 2:
        raise ValueError(f"must have a row of names and a row for each image, got {len(rows)}")
    header = [name.lower() for name in rows[0]]
    if len(header) == 1 and (mark := next(filter(header[0].count, ";\t|"), None)):
        raise ValueError(f"must have columns separated by commas, got {mark!r} in {header}")
    repeated = [name for name in rows[0] if name and header.count(name.lower()) > 1]
    if repeated:
        raise ValueError(
            f"must have columns of different names, whatever their case, got {repeated}"
        )
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ValueError(
                f"must have {len(header)} columns in each row, got {len(row)} in row {number}"
            )
    return header, [dict(zip(header, row, strict=True)) for row in rows[1:]]


def _sort_labels(labels: Collection[str]) -> tuple[str, ...]:
    """Return labels in the order of their numbers if all are whole numbers, else of their texts."""
    if all(label.isdecimal() for label in labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def _table_of_files(
    files: Sequence[Path],
    labels: np.ndarray,
    classes: tuple[str, ...],
    is_split: bool,
    left_out: Mapping[str, int],
) -> Table:
    """Return the table of image files, whose content is known by size and times of change.

    Archives and copies set the time of the content, but not that of the entry, `st_ctime`.
    """
    fingerprint = hashlib.sha256()
    for path in files:
        status = file_status(path) if os.path.lexists(path) else None
        known = (status.st_size, status.st_mtime_ns, status.st_ctime_ns) if status else None
        fingerprint.update(os.fsencode(f"{path.absolute()}\0{known}\n"))

    def entry_at(row: int) -> dict[str, Any]:
        return {"bytes": None, "path": str(files[row])}

    digest = fingerprint.hexdigest()[:16]
    return Table(entry_at, digest, labels, classes, is_split, left_out)


def _resolve_split(names: Collection[str], split: str) -> tuple[str, bool]:
    """Return the name of the stored split to read, and whether it is the one that was asked for.

    If no test split is stored, "train" is to be read for training and testing: then other names are
    refused, because one of them may be the test split.
    """
    splits = match_splits(names)
    if split in names and split not in splits:
        return split, True
    test_name = next((splits[name] for name in TEST_NAMES if name in splits), None)
    if split not in ("train", "test"):
        if split not in splits:
            raise ValueError(f"must have a {split!r} split, got {sorted(names)}")
        return splits[split], True
    if split == "test" and test_name is not None:
        return test_name, True
    if "train" not in splits:
        raise ValueError(f"must have a 'train' split, got {sorted(names)}")
    if test_name is None and len(names) > 1:
        raise ValueError(
            f"must have a split with one of the names {TEST_NAMES}, or none beside 'train', got "
            f"{sorted(names)}"
        )
    return splits["train"], test_name is not None


def open_saved_data_set(path: str, split: str) -> Table:
    """Return the table of a Hugging Face data set, saved in a folder or named on the hub.

    Parameters
    ----------
    path : str
        Folder with Parquet files or shards of WebDataset, or a name on the hub.
    split : str
        Split to read, as in `load`.

    Returns
    -------
    Table
        The images of the split, or all of them.

    Raises
    ------
    ValueError
        If it cannot be read, has no such split or no column of images or labels, if files in the
        folder are read as no split or another, or name the classes differently, or if an image has
        no label.
    """
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
        raise ValueError(f"{problem}: {error}") from error
    is_folder = Path(path).is_dir()
    read = splits_of_files(Path(path)) if is_folder else {}
    if is_folder:
        _check_files_are_read(Path(path), read)
    name, is_split = _resolve_split(splits, split)
    table = splits[name]
    image_column = find_image_column(
        table.features, lambda name: isinstance(table.features[name], ImageColumn)
    )
    label_column = _find_column(table.features, "labels", LABEL_COLUMNS, lambda _: True)
    if is_folder:
        _check_classes_of_files(Path(path), read, label_column)
    labels, classes = _read_labels(splits, name, label_column)
    images = table.cast_column(image_column, ImageColumn(decode=False)).select_columns(
        [image_column]
    )
    return Table(
        lambda row: images[row][image_column], images._fingerprint, labels, classes, is_split, {}
    )


def _check_files_are_read(folder: Path, read: dict[Path, str]) -> None:
    """Raise a ValueError if files of a saved data set are in no split, or test files in "train".

    The library goes by names in lower case: it leaves "Test.parquet" out beside "train.parquet",
    and takes it for training beside "Train.parquet". It never reads "test.PARQUET" and what lies in
    linked folders. A README.md can state the files by itself.

    read: the split of each file that is read, by its resolved path.
    """
    if (folder / README).exists():
        return
    unread = {path for path in iter_files(folder) if path.suffix.lower() in SAVED}
    unread -= {path for path in unread if path.resolve() in read}
    wrong = {
        path
        for path, split in read.items()
        if split == "train" and split_name(path.stem) in TEST_NAMES
    }
    for problem, paths in (("are in no split", unread), ("are read as 'train'", wrong)):
        if paths:
            raise ValueError(
                "must have files that begin with the name of their split in lower case, such as "
                f"test.parquet, and are in no linked folder, got {len(paths)} that {problem}: "
                f"{sorted(path.name for path in paths)[:3]}"
            )


def _check_classes_of_files(folder: Path, read: dict[Path, str], column: str) -> None:
    """Raise a ValueError if Parquet files name the classes of a column of labels differently.

    The library takes the names of one file for the numbers of all. read: see above.
    """
    from pyarrow.parquet import read_schema

    known = dict[int, tuple[str, Path]]()
    for path in sorted(iter_files(folder)):
        if path.suffix != ".parquet" or path.resolve() not in read:
            continue
        content = json.loads((read_schema(path).metadata or {}).get(b"huggingface", "{}"))
        feature = content.get("info", {}).get("features", {}).get(column)
        is_label = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        for number, name in enumerate(feature["names"] if is_label else ()):
            first, other = known.setdefault(number, (name, path))
            if name != first:
                raise ValueError(
                    f"must have files that name the classes in column {column!r} alike, got "
                    f"class {number} named {first!r} in {other.name} and {name!r} in {path.name}"
                )


def splits_of_files(folder: Path) -> dict[Path, str]:
    """Return the split that the files of a saved data set are read as, by their names or README.md.

    Parameters
    ----------
    folder : Path
        Folder of the data set, whose files are not opened.

    Returns
    -------
    dict of Path to str
        Split of each file that is read, by its resolved path.

    Raises
    ------
    ValueError
        If README.md describes several data sets, or files that do not exist.
    """
    from datasets import load_dataset_builder

    try:
        splits = load_dataset_builder(str(folder)).config.data_files or {}
    except (OSError, ValueError) as error:
        raise ValueError(f"must be one saved data set: {error}") from error
    return {Path(file).resolve(): str(split) for split, files in splits.items() for file in files}


def find_image_column(columns: Collection[str], is_image: Callable[[str], bool]) -> str:
    """Return the name of the column of images in a table.

    Parameters
    ----------
    columns : collection of str
        Names of the columns.
    is_image : callable
        Function that returns whether the type of a column, by its name, is that of images.

    Returns
    -------
    str
        The first of "image", "img", "png", "jpg", "jpeg" and "webp" that is such a column.

    Raises
    ------
    ValueError
        If there is none. The message begins with "must", see `prefix_errors`.

    Examples
    --------
    >>> find_image_column(["label", "img"], lambda name: True)
    'img'
    """
    return _find_column(columns, "images", IMAGE_COLUMNS, is_image)


def _find_column(
    columns: Collection[str],
    content: str,
    names: tuple[str, ...],
    is_valid: Callable[[str], bool],
) -> str:
    """Return the first of the names that a column of valid type has."""
    for name in names:
        if name in columns and is_valid(name):
            return name
    raise ValueError(f"must have a column of {content} named one of {names}, got {sorted(columns)}")


def _read_labels(splits: Any, name: str, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels of a split and the names of the classes.

    If the column does not name its classes, these are the sorted labels of all splits.
    """
    from datasets import ClassLabel

    feature, values = splits[name].features[column], list(splits[name][column])
    missing = [row for row, value in enumerate(values) if _is_missing(value)]
    if missing:
        raise ValueError(
            f"must have a label for each image, got {len(missing)} of {len(values)} that are null "
            f"or -1 in column {column!r} of split {name!r}, the first in row {missing[0]}"
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
