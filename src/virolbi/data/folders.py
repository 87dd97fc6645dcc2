"""Image folders: one folder for each class, with or without folders for the splits around them."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from virolbi._checks import warn_caller

TEST_NAMES = ("test", "validation", "valid", "val")  # of splits for testing, by preference
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"})
RAW = frozenset({".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"})
UNREAD = RAW | {".svg", ".h5", ".hdf5"}  # images, in a way
STUBS = frozenset({"BUFR", "GRIB", "HDF5", "MPEG"})  # Pillow knows their suffixes, and reads none
# no affix is made of two others, so that a name matches in one way only, in linear time
_AFFIX = r"(?:seg|my|data|set|split|folder|images?|imgs?|(?:19|20)\d\d)"
SPLIT_NAME = re.compile(
    rf"(?:{_AFFIX}[\W_]*)*(train|test|validation|valid|val)(?:ing)?(?:[\W_]*{_AFFIX})*",
    re.IGNORECASE,
)


@contextmanager
def prefix_errors(subject: str) -> Iterator[None]:
    """Put the name of a data set or a folder in front of the errors about it.

    The functions that search folders and open tables raise errors that begin with "must" and
    leave out of what.

    Parameters
    ----------
    subject : str
        Name to put in front of the message of each ValueError.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    ValueError
        The error with its subject.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{subject} {error}") from error


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

    Raises
    ------
    ValueError
        If a link leads to a folder that contains it.
    """
    suffixes = {path.suffix.lower() for path in iter_files(folder)}
    return any(map(is_picture_suffix, suffixes)) and not suffixes & {".parquet", ".arrow"}


def is_unlabelled_folder(folder: Path) -> bool:
    """Return whether an image folder has no folders of classes, or only one.

    Parameters
    ----------
    folder : Path
        Folder to search.

    Returns
    -------
    bool
        True if an image lies directly in it, or all images in one of its folders.
    """
    if not folder.is_dir() or not is_image_folder(folder):
        return False
    with_images = [path for path in _list_subfolders(folder) if any(_iter_pictures(path))]
    if len(with_images) == 1 and split_name(with_images[0].name) is not None:
        return is_unlabelled_folder(with_images[0])
    return len(with_images) < 2 or _stray_picture(folder) is not None


def list_pictures(folder: Path) -> list[Path]:
    """Return the image files in a folder at any depth.

    Parameters
    ----------
    folder : Path
        Folder to search.

    Returns
    -------
    list of Path
        The files, sorted.
    """
    return sorted(_iter_pictures(folder))


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of the splits of an image folder.

    Only the names of folders mark a split, see `match_splits`, never the names of files. A split
    that holds nothing but a folder of its own name is that folder. A split for testing whose images
    are in no folder of a class is left out with a warning.

    Parameters
    ----------
    folder : Path
        Image folder.

    Returns
    -------
    dict of str to Path
        Folder of each split, by "train", "test", "validation", "valid" or "val". An image folder
        without splits is itself the folder of "train".

    Raises
    ------
    ValueError
        If two folders have names of one split, if there are images beside the splits, or outside
        the folders.
    """
    names = match_splits(path.name for path in _list_subfolders(folder) if _list_subfolders(path))
    splits = {split: folder / name for split, name in names.items()}
    for path in _list_subfolders(folder) if splits else ():
        if path in splits.values() or not any(_iter_pictures(path)):
            continue
        if split_name(path.name) not in TEST_NAMES:
            raise ValueError(
                f"must have all of its images in {sorted(split.name for split in splits.values())}"
                f", got images in {path.name!r}"
            )
        warn_caller(
            f"the images in {str(path)!r} are left out: they are in no folder of a class, so that "
            "they have no label",
        )
    _check_no_stray_pictures(folder)
    return {name: _innermost(path) for name, path in splits.items()} or {"train": folder}


def match_splits(names: Iterable[str]) -> dict[str, str]:
    """Return which of some names, of folders or in a table, stand for splits.

    Parameters
    ----------
    names : iterable of str
        Different names.

    Returns
    -------
    dict of str to str
        Name of each split, by what `split_name` returns. Names that stand for no split are missing.

    Raises
    ------
    ValueError
        If two names stand for one split.
    """
    splits = dict[str, str]()
    for name in names:
        split = split_name(name)
        if split in splits:
            raise ValueError(
                f"must have one name for each split, got {splits[split]!r} and {name!r} for "
                f"{split!r}"
            )
        if split is not None:
            splits[split] = name
    return splits


def split_name(name: str) -> str | None:
    """Return the split that a name stands for.

    The name is "train" or "training", "test" or "testing", "validation", "valid" or "val", in any
    case. Before and after it can be "data", "dataset", "set", "split", "folder", "image", "images",
    "img", "imgs", "seg", "my" or a year, with or without signs between them: "seg_train",
    "Train_data", "val2017".

    Parameters
    ----------
    name : str
        Name of a folder, or in a table.

    Returns
    -------
    str or None
        "train", "test", "validation", "valid" or "val"; None for other names.
    """
    match = SPLIT_NAME.fullmatch(name)
    return match and match[1].lower()


def _innermost(folder: Path) -> Path:
    """Return the folder that is left after unpacking folders that only hold one of their name."""
    inner = list(folder.iterdir())
    repeats = len(inner) == 1 and inner[0].name == folder.name and inner[0].is_dir()
    return _innermost(inner[0]) if repeats else folder


class ClassFiles(NamedTuple):
    """Image files of a split with their labels.

    Attributes
    ----------
    files : list of Path
        Image files, sorted by class and path.
    labels : list of int
        Class of each file.
    classes : tuple of str
        Names of the classes, sorted.
    """

    files: list[Path]
    labels: list[int]
    classes: tuple[str, ...]


def list_class_files(root: Path, train: Path | None = None) -> ClassFiles:
    """Return the image files of a split with their labels and the names of the classes.

    Parameters
    ----------
    root : Path
        Folder of the split, with one folder for each class.
    train : Path, optional
        Folder of the training split, whose class folders number the classes. None takes those of
        `root`.

    Returns
    -------
    ClassFiles
        The files, their labels and the names of the classes.

    Raises
    ------
    ValueError
        If an image is in no class folder, or in one that `train` does not have; or if two folders
        hold the same two class folders or more, and so are splits or parts and no classes.
    """
    _check_no_stray_pictures(root)
    _check_no_splits(root)
    pictures = {path.name: sorted(_iter_pictures(path)) for path in _list_subfolders(root)}
    classes = tuple(
        path.name for path in _list_subfolders(train or root) if any(_iter_pictures(path))
    )
    for name, paths in pictures.items():
        if paths and name not in classes:
            raise ValueError(f"must have a folder in 'train' for each class, got none for {name!r}")
    files = [path for name in classes for path in pictures.get(name, [])]
    labels = [label for label, name in enumerate(classes) for _ in pictures.get(name, [])]
    return ClassFiles(files, labels, classes)


def check_classes_of_splits(splits: Mapping[str, Path]) -> None:
    """Check, before a training, that no split has a class that "train" lacks.

    A split that shares no class with it is not checked: its folders are no classes, as those of
    test images without labels.

    Parameters
    ----------
    splits : mapping of str to Path
        Folder of each split, as `split_folders` returns them.

    Raises
    ------
    ValueError
        If one has.
    """
    known = {path.name for path in _list_subfolders(splits["train"]) if any(_iter_pictures(path))}
    for name, folder in splits.items():
        classes = [path.name for path in _list_subfolders(folder) if any(_iter_pictures(path))]
        unknown = sorted({*classes} - known)
        if unknown and known & {*classes}:
            raise ValueError(
                f"must have a folder in 'train' for each class, got {unknown[0]!r} in {name!r}"
            )


def count_unlabelled(folder: Path) -> dict[str, int]:
    """Count the images in splits for testing without folders for classes.

    Parameters
    ----------
    folder : Path
        Image folder.

    Returns
    -------
    dict of str to int
        Number of images by reason, which names the folder. It is empty if these folders are
        classes, because there are no splits.
    """
    subfolders = [path for path in _list_subfolders(folder) if split_name(path.name) is not None]
    flat = [path for path in subfolders if not _list_subfolders(path)]
    if len(flat) == len(subfolders):
        return {}
    counts = {path.name: len(list(_iter_pictures(path))) for path in flat}
    return {f"images without a class in {name!r}": count for name, count in counts.items() if count}


def count_left_out(root: Path) -> dict[str, int]:
    """Count what a split holds beside images of a class, by reason.

    Parameters
    ----------
    root : Path
        Folder of the split.

    Returns
    -------
    dict of str to int
        Number of files by reason: "unreadable" for broken links, or a suffix as in ".txt files".
        Hidden files, and broken links to images, are not counted; folders without images are.
    """
    folders = _list_subfolders(root)
    empty = [path.name for path in folders if not any(_iter_pictures(path))]
    counts = Counter({f"folders without images ({', '.join(empty)})": len(empty)} if empty else {})
    for path in iter_files(root):
        if not is_picture_suffix(path.suffix):
            suffix = path.suffix.lower()
            counts[_suffix_name(suffix) if path.is_file() else "unreadable"] += 1
    return dict(sorted(counts.items()))


def unread_files(folder: Path) -> str:
    """Describe the files of a folder if all of them are archives or other files that are not read.

    Parameters
    ----------
    folder : Path
        Folder to search, at any depth.

    Returns
    -------
    str
        The number of files by suffix and the remedy, or "" if there are other files or none.
    """
    counts = Counter(path.suffix.lower() for path in iter_files(folder))
    for suffixes, remedy in ((ARCHIVES, "unpacked"), (UNREAD, "converted, for example to PNG")):
        if counts and suffixes.issuperset(counts):
            found = ", ".join(f"{counts[name]} {_suffix_name(name)}" for name in sorted(counts))
            return f"only {found}, which must be {remedy}"
    return ""


def _suffix_name(suffix: str) -> str:
    return f"{suffix} files" if suffix else "files without a suffix"


def _check_no_stray_pictures(folder: Path) -> None:
    """Raise a ValueError if an image is directly in a folder that should hold class folders."""
    stray = _stray_picture(folder)
    if stray is not None:
        raise ValueError(
            "must have each image in the folder of its class, or be a CSV file of paths and "
            f"labels, got {stray.name!r} outside the folders"
        )


def _stray_picture(folder: Path) -> Path | None:
    """Return an image that lies directly in a folder, or None."""
    pictures = (path for path in folder.iterdir() if path.is_file())
    return next((path for path in pictures if is_picture_suffix(path.suffix)), None)


def _check_no_splits(root: Path) -> None:
    """Raise a ValueError if folders that should be classes hold the same folders of images."""
    owners = dict[tuple[str, ...], list[str]]()
    for path in _list_subfolders(root):
        inner = tuple(part.name for part in _list_subfolders(path) if any(_iter_pictures(part)))
        owners.setdefault(inner, []).append(path.name)
    for inner, names in owners.items():
        if len(inner) > 1 and len(names) > 1:
            raise ValueError(
                f"must have one folder for each class, got {names}, which hold the same folders "
                f"{list(inner)}; name splits 'train' and 'test', or load one"
            )


def _list_subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _iter_pictures(folder: Path) -> Iterator[Path]:
    """Yield the image files in a folder at any depth, and broken links to such files."""
    for path in iter_files(folder):
        if is_picture_suffix(path.suffix) and (path.is_file() or path.is_symlink()):
            yield path


def iter_files(folder: Path) -> Iterator[Path]:
    """Yield the files and broken links in a folder at any depth, without hidden ones.

    Parameters
    ----------
    folder : Path
        Folder to search.

    Yields
    ------
    Path
        A file, in any order. Links to folders are followed.

    Raises
    ------
    ValueError
        If a link leads to a folder around it.
    """
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in folders):
            if path.is_symlink():
                _check_no_loop(path, folder)
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _check_no_loop(link: Path, folder: Path) -> None:
    """Raise a ValueError if a link in a folder leads to a folder around the link."""
    target, outer = link.resolve(), link
    while outer != folder:
        outer = outer.parent
        if outer.resolve().is_relative_to(target):
            raise ValueError(
                f"must have no links to folders around them, got {str(link)!r}, "
                f"which leads to {str(target)!r}"
            )


def is_picture_suffix(suffix: str) -> bool:
    """Return whether Pillow reads files with a suffix.

    Parameters
    ----------
    suffix : str
        Suffix such as ".png", in any case.

    Returns
    -------
    bool
        False also for formats of which Pillow only knows the name.
    """
    image_format = Image.registered_extensions().get(suffix.lower())
    return image_format in Image.OPEN and image_format not in STUBS
