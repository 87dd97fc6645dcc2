"""Change of many image files into others: their names, what is left out, and what is said."""

import sys
import time as clock
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from virolbi._checks import warn_caller
from virolbi._storage import write_atomic
from virolbi.cli.app import UpdateProgress, console, error_line, progress_bar
from virolbi.cli.intensities import Intensities, check_nodata
from virolbi.data import (
    Picture,
    is_picture_name,
    is_unread_photograph,
    iter_files,
    picture_format,
    prefix_errors,
    read_picture,
    write_picture,
)
from virolbi.scale_space import dtype_range

UNCHANGED, LEFT_OUT, EXISTING = (
    "unchanged",
    "left out",
    "exist already and stay as they are (--force replaces them)",
)


class Changed(NamedTuple):
    """Result of a change of one picture.

    Attributes
    ----------
    picture : Picture
        Picture to write.
    notes : list of str
        What to say about it.
    details : str
        What to say with --verbose.
    """

    picture: Picture
    notes: list[str]
    details: str


# The pixels of a picture, and who is told the fraction that is done, to the result.
Change = Callable[[Intensities, Callable[[float], object]], Changed]


@dataclass(frozen=True, kw_only=True)
class FileBatch:
    """A change of image files, and how they are read.

    Parameters
    ----------
    change : callable
        Change of one picture.
    outcome : str
        What has been done to a picture that was changed: "smoothed".
    channel_axis : int, "auto" or None
        Axis of the channels in arrays.
    data_range : float or None
        Pixel value that is white.
    nodata : float or None
        Pixel value without data.
    force : bool
        Whether to replace files that exist.
    quiet, verbose : bool
        Whether to print only errors, or what was done to each picture.
    """

    change: Change
    outcome: str
    channel_axis: int | Literal["auto"] | None
    data_range: float | None
    nodata: float | None
    force: bool
    quiet: bool
    verbose: bool

    def run(self, images: list[Path], out: str, recursive: bool, max_megapixels: float) -> None:
        """Change files into others; of several, name those that cannot be, and count what was done.

        Parameters
        ----------
        images : list of Path
            Image files, and folders if `recursive`.
        out : str
            File for the result, or folder for several.
        recursive : bool
            Whether to change all images in folders.
        max_megapixels : float
            Size of the largest picture to read.

        Raises
        ------
        TypeError, ValueError, OSError
            If the one file cannot be changed, if one or more of several were left out, or for names
            that do not fit.
        """
        if self.quiet and self.verbose:
            raise ValueError("give --quiet or --verbose, not both")
        pairs = _resolve_targets(images, out, recursive)
        with pixel_limit(max_megapixels):
            counts = self._change_all(pairs)
        if len(pairs) > 1 and not self.quiet:
            outcomes = (self.outcome, UNCHANGED, LEFT_OUT, EXISTING)
            parts = [f"{counts[name]} {name}" for name in outcomes if counts[name]]
            console.print(", ".join(parts), soft_wrap=True)
        if counts[LEFT_OUT]:
            raise ValueError(f"{counts[LEFT_OUT]} of {len(pairs)} images were left out")

    def _change_all(self, pairs: list[tuple[Path, Path]]) -> Counter[str]:
        """Change files into others, and return how many came out how."""
        counts = Counter[str]()
        with progress_bar() as update:
            for index, (image, target) in enumerate(pairs):
                progress = partial(_move, update, index, len(pairs), image.name)
                progress(0)
                if len(pairs) > 1 and target.exists() and not self.force:
                    counts[EXISTING] += 1
                    continue
                try:
                    check_replacement(target, self.force)
                    with _naming_in_warnings(image):
                        outcome, note = self._change_file(image, target, progress)
                except (ValueError, TypeError, OSError) as error:
                    if len(pairs) == 1:
                        raise
                    sys.stderr.write(f"{error_line(_naming(error, image))}\n")
                    counts[LEFT_OUT] += 1
                else:
                    counts[outcome] += 1
                    if note and not self.quiet:
                        console.print(f"{image}: {note}", soft_wrap=True)
        return counts

    def _change_file(
        self, image: Path, target: Path, progress: Callable[[float], object]
    ) -> tuple[str, str]:
        """Change one file into another, and return its outcome and a note about it, or ""."""
        start = clock.perf_counter()
        picture = read_picture(image, channel_axis=self.channel_axis)
        picture_format(target)
        changed = self.change(Intensities.of(picture, self.data_range, self.nodata), progress)
        pixels, notes = changed.picture.pixels, self._describe_reading(image, picture)
        outcome = self.outcome
        if pixels.dtype == picture.pixels.dtype and np.array_equal(
            pixels, picture.pixels, equal_nan=True
        ):
            outcome = UNCHANGED
        formats = Image.registered_extensions()
        before, after = (
            formats.get(suffix, suffix) for suffix in (image.suffix.lower(), target.suffix.lower())
        )
        if outcome == UNCHANGED and before == after:
            write_atomic(target, image.read_bytes())
        else:
            write_picture(target, changed.picture)
            if mode := changed.picture.metadata.get("converted"):
                notes.append(f"{mode} became RGB; its colour profile and its quality are not kept")
        notes += changed.notes
        if self.verbose:
            seconds = clock.perf_counter() - start
            notes.append(
                f"{picture.pixels.dtype} of shape {picture.pixels.shape}, {changed.details}"
                f"in {seconds:.2g} s"
            )
        return outcome, "; ".join(notes)

    def _describe_reading(self, image: Path, picture: Picture) -> list[str]:
        """Return notes about what was assumed of a file, and about options without effect on it."""
        notes = check_nodata(picture, self.nodata)
        count = np.prod(picture.pixels.shape[: picture.slice_axes])
        if image.suffix.lower() == ".npy" and self.channel_axis == "auto":
            if count > 1:
                notes.append(
                    f"{count} images, each by itself (--channel-axis names an axis of bands)"
                )
            if picture.channel_axis is not None:
                notes.append(
                    f"the last axis is read as {picture.channels} colours (--channel-axis names "
                    "another one, or none)"
                )
        alpha = picture.alpha if "TIFF" in picture.metadata else None
        if alpha is not None and alpha.max() < dtype_range(alpha.dtype):
            notes.append(
                "the file calls its last band opacity, so it is kept as it is, but no pixel is "
                "opaque (a stated --channel-axis takes it for one of the bands)"
            )
        return notes


@contextmanager
def _naming_in_warnings(image: Path) -> Iterator[None]:
    """Put the name of a file in front of the warnings about it, so that each file has its own."""
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            yield
    finally:
        for text, category in dict.fromkeys((str(one.message), one.category) for one in caught):
            warn_caller(f"{image}: {text}", category)


def _naming(error: Exception, image: Path) -> Exception:
    """Return an error about a file whose message has the name of the file."""
    return error if str(image) in str(error) else ValueError(f"{image}: {error}")


def _move(update: UpdateProgress, index: int, count: int, name: str, done: float) -> None:
    """Move a bar to a fraction of one of several images."""
    update(index + done, count, name)


@contextmanager
def pixel_limit(megapixels: float) -> Iterator[None]:
    """Set the size from which Pillow refuses pictures, for a while.

    Parameters
    ----------
    megapixels : float
        Size, in millions of pixels, > 0.

    Yields
    ------
    None
        Nothing, while the size is set.

    Raises
    ------
    ValueError
        If the size is not > 0.
    """
    if not megapixels > 0:
        raise ValueError(f"--max-megapixels must be > 0, got {megapixels:g}")
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = int(megapixels * 1e6 / 2)  # Pillow refuses twice this number
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # at half the limit
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _resolve_targets(images: list[Path], out: str, recursive: bool) -> list[tuple[Path, Path]]:
    """Return each image with the file for its result; refuse two results in one file."""
    for image in images:
        if image.is_dir() and not recursive:
            raise ValueError(
                f"images must be files, got the folder {image}; "
                f"name the files in it, such as {image}/*.jpg, or use --recursive"
            )
        if not image.exists():
            raise ValueError(f"images must exist, there is no file {image}")
    path = Path(out)
    if any(image.is_dir() for image in images):
        pairs = _resolve_targets_of_folders(images, path)
    elif len(images) == 1 and not out.endswith("/") and not path.is_dir():
        return [(images[0], path)]
    else:
        pairs = [(image, path / image.name) for image in images]
    _check_targets(pairs, path)
    return pairs


def _resolve_targets_of_folders(images: list[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Return the images in folders at any depth, with files at the same places in a folder."""
    pairs, others = [], Counter[str]()
    for image in images:
        if image.is_dir() and image.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"out must not be the folder of the images or around it, got {folder} for {image}"
            )
        root = image if image.is_dir() else image.parent
        with prefix_errors(repr(str(image))):
            files = sorted(iter_files(image)) if image.is_dir() else [image]
        for file in files:
            if file != image and file.resolve().is_relative_to(folder.resolve()):
                continue  # a result
            if file == image or is_picture_name(file) or is_unread_photograph(file):
                pairs.append((file, folder / file.relative_to(root)))
            elif file.exists():
                others[file.suffix.lower() or "no suffix"] += 1
            else:
                others[f"broken link {file}"] += 1
    if not pairs:
        raise ValueError(
            f"images must be in the folders, got none in {', '.join(map(str, images))}"
        )
    if others:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
        warn_caller(f"files that are no images are left out: {counts}")
    return pairs


def _check_targets(pairs: list[tuple[Path, Path]], folder: Path) -> None:
    """Refuse a file as the folder, two results in one file, and a result in place of its image."""
    rule = f"out must be a folder for {len(pairs)} images"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{rule}, got the file {folder}")
    if not folder.exists() and folder.suffix.lower() in (*Image.registered_extensions(), ".npy"):
        raise ValueError(f"{rule}, got {folder}, which has the suffix of an image")
    seen = set[Path]()
    for image, target in pairs:
        if target in seen:
            raise ValueError(
                f"images must have different names to go into one folder, got several {image.name}"
            )
        seen.add(target)
        if target.resolve() == image.resolve():
            raise ValueError(f"out must not be the folder of the images, {target} is one of them")


def check_replacement(target: Path, force: bool) -> None:
    """Refuse to replace a file without --force.

    Parameters
    ----------
    target : Path
        File for a result.
    force : bool
        Whether it may exist.

    Raises
    ------
    ValueError
        If it exists, and may not.
    """
    if target.exists() and not force:
        raise ValueError(f"out must be a new file, {target} exists; --force replaces it")
