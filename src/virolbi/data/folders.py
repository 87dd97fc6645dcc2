"""Image folders: one folder for each class, with or without folders for the splits around them."""

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

TEST_NAMES = ("test", "validation", "valid", "val")  # of splits for testing, by preference


def is_image_folder(folder: Path) -> bool:
    """Return whether a folder holds image files and no saved data set.

    Parameters
    ----------
    folder : Path
        Folder to search, at any depth.

    Returns
    -------
    bool
        True if at least one file is an image and none is a Parquet or Arrow file.
    """
    tree = os.walk(folder, followlinks=True)
    suffixes = {Path(name).suffix.lower() for _, _, names in tree for name in names}
    return any(map(_is_picture_suffix, suffixes)) and not suffixes & {".parquet", ".arrow"}


def split_folders(folder: Path, source: str) -> dict[str, Path]:
    """Return the folders of the splits of an image folder.

    Only the names of folders mark a split, never the names of files.

    Parameters
    ----------
    folder : Path
        Image folder.
    source : str
        Name of the data set, for the errors.

    Returns
    -------
    dict of str to Path
        Folder of each split, by its name in lower case. An image folder without splits is itself
        the folder of "train".

    Raises
    ------
    ValueError
        If there are images beside the splits, or outside the folders.
    """
    subfolders = {path.name.lower(): path for path in _list_subfolders(folder)}
    splits = {
        name: path
        for name, path in subfolders.items()
        if name in ("train", *TEST_NAMES) and _list_subfolders(path)
    }
    for name, path in subfolders.items():
        if splits and name not in splits and any(_iter_pictures(path)):
            raise ValueError(
                f"data {source!r} must have all of its images in {sorted(splits)}, "
                f"got images in {path.name!r}"
            )
    _check_no_stray_pictures(folder, source)
    return splits or {"train": folder}


def list_class_files(
    root: Path, source: str, train: Path | None = None
) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Return the image files of a split with their labels and the names of the classes.

    Parameters
    ----------
    root : Path
        Folder of the split, with one folder for each class.
    source : str
        Name of the data set, for the errors.
    train : Path, optional
        Folder of the training split, whose class folders number the classes. None takes those of
        `root`.

    Returns
    -------
    files : list of Path
        Image files, sorted by class and path.
    labels : list of int
        Class of each file.
    classes : tuple of str
        Names of the classes, sorted.

    Raises
    ------
    ValueError
        If an image is in no class folder, or in one that `train` does not have.
    """
    _check_no_stray_pictures(root, source)
    pictures = {path.name: sorted(_iter_pictures(path)) for path in _list_subfolders(root)}
    classes = tuple(
        path.name for path in _list_subfolders(train or root) if any(_iter_pictures(path))
    )
    for name, paths in pictures.items():
        if paths and name not in classes:
            raise ValueError(
                f"data {source!r} must have a folder in 'train' for each class, got none for "
                f"{name!r}"
            )
    files = [path for name in classes for path in pictures.get(name, [])]
    labels = [label for label, name in enumerate(classes) for _ in pictures.get(name, [])]
    return files, labels, classes


def _check_no_stray_pictures(folder: Path, source: str) -> None:
    """Raise a ValueError if an image is directly in a folder that should hold class folders."""
    for path in folder.iterdir():
        if path.is_file() and _is_picture_suffix(path.suffix):
            raise ValueError(
                f"data {source!r} must have each image in the folder of its class, "
                f"got {path.name!r} outside them"
            )


def _list_subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _iter_pictures(folder: Path) -> Iterator[Path]:
    """Yield the image files in a folder at any depth, without hidden ones."""
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if _is_picture_suffix(path.suffix) and not hidden and path.is_file():
            yield path


def _is_picture_suffix(suffix: str) -> bool:
    """Return whether Pillow reads files with a suffix such as ".png"."""
    return Image.registered_extensions().get(suffix.lower()) in Image.OPEN
