"""Labelled images in memory, and the choice of those that are held out for testing."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

SPLIT_SEED = 20_240_918  # fixed, so that data sets without a test split are always split the same
TEST_SHARE = 0.2
DIGEST_BATCH_SIZE = 1024  # images that are copied at once; all of them may not fit in memory


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images of one size.

    Parameters
    ----------
    name : str
        Name of the data set.
    pixels : ndarray of uint8, shape (N, C, H, W)
        The images, with C = 1 (grey) or C = 3 (RGB) channels.
    labels : ndarray of int64, shape (N,)
        Class of each image, as an index into `classes`.
    classes : tuple of str
        Names of the classes.
    skipped : tuple of str, optional
        Descriptions of images that could not be decoded, if these were to be skipped.
    left_out : mapping of str to int, optional
        Number of files in the folder of the data set that are not among the images, by reason:
        "unreadable", or a suffix as in ".txt files".

    Raises
    ------
    TypeError
        If `pixels` or `labels` is no array of its type, or if `classes` is no tuple of str.
    ValueError
        If an array has another shape, if a label is none of the classes, or if two classes have the
        same name.
    """

    name: str
    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_array("pixels", self.pixels, np.uint8)
        _check_array("labels", self.labels, np.int64)
        shape = self.pixels.shape
        if len(shape) != 4 or shape[1] not in (1, 3):
            raise ValueError(
                f"pixels must have the shape (N, C, H, W) with C = 1 or 3, got {shape}"
            )
        if self.labels.shape != shape[:1]:
            raise ValueError(
                f"labels must have the shape {shape[:1]}, one for each image, "
                f"got {self.labels.shape}"
            )
        if not isinstance(self.classes, tuple) or not all(
            isinstance(name, str) for name in self.classes
        ):
            raise TypeError(f"classes must be a tuple of str, got {self.classes!r}")
        check_classes(self.classes)
        count, labels = len(self.classes), self.labels
        if len(labels) and not 0 <= labels.min() <= labels.max() < count:
            raise ValueError(
                f"labels must be from 0 to {count - 1}, indices into the {count} classes, got "
                f"{labels.min()} to {labels.max()}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: slice | np.ndarray) -> "Images":
        """Return some of the images.

        Parameters
        ----------
        rows : slice or ndarray
            Images to keep: a slice, an array of indices, or a boolean mask of shape (N,).

        Returns
        -------
        Images
            These images with their labels; the other fields are unchanged.
        """
        return replace(self, pixels=self.pixels[rows], labels=self.labels[rows])

    def intensities(self, rows: int | slice | np.ndarray = np.s_[:]) -> np.ndarray:
        """Return the pixels of some of the images as intensities.

        Parameters
        ----------
        rows : int, slice or ndarray, optional
            Images to return, as in `subset`, or the number of one image. Default: all.

        Returns
        -------
        ndarray of float32, shape (M, C, H, W), or (C, H, W) for one image
            Intensities in [0, 1].
        """
        intensities: np.ndarray = self.pixels[rows] / np.float32(255)
        return intensities

    @property
    def metadata(self) -> dict[str, Any]:
        """Return a description of the images, to be kept with the results made with them.

        Returns
        -------
        dict
            The name, the count, the shape (C, H, W), a digest of the pixels and labels, and, if
            there are any, the "skipped" images and the counts of files that were "left_out".
        """
        description = {
            "name": self.name,
            "count": len(self),
            "shape": list(self.pixels.shape[1:]),
            "digest": self._digest,
        }
        optional = {"skipped": list(self.skipped), "left_out": dict(self.left_out)}
        return description | {name: value for name, value in optional.items() if value}

    def matches(self, recorded: object) -> bool:
        """Return whether these are the images of recorded metadata.

        Parameters
        ----------
        recorded : object
            The `metadata` of images, as JSON has them.

        Returns
        -------
        bool
            True if the content is the same. The name and the place may be others: data may move.
        """
        metadata = self.metadata
        content = {name: metadata[name] for name in ("count", "shape", "digest")}
        return isinstance(recorded, dict) and content.items() <= recorded.items()

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for start in range(0, len(self), DIGEST_BATCH_SIZE):
            batch = self.pixels[start : start + DIGEST_BATCH_SIZE]
            digest.update(np.ascontiguousarray(batch).data)
        digest.update(self.labels.tobytes())
        return digest.hexdigest()[:12]


def _check_array(name: str, value: object, dtype: type[np.generic]) -> None:
    """Raise a TypeError unless a value is an array of a dtype; its content is not read."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(value).__name__}")
    if value.dtype != dtype:
        raise TypeError(f"{name} must be {np.dtype(dtype)}, got {value.dtype}")


def check_classes(names: Sequence[str]) -> None:
    """Check that classes have different names, by which results and recorded runs know them.

    Parameters
    ----------
    names : sequence of str
        Names of the classes.

    Raises
    ------
    ValueError
        If two classes have the same name.
    """
    if len(set(names)) < len(names):
        name, number = next((name, k) for k, name in enumerate(names) if name in names[:k])
        raise ValueError(
            "classes must have different names, "
            f"got {name!r} for class {names.index(name)} and class {number}"
        )


def held_out_mask(labels: np.ndarray, share: float = TEST_SHARE) -> np.ndarray:
    """Return a mask of the images that are held out for testing.

    The same share of each class is held out, and the same images for the same labels.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        Class of each image.
    share : float, optional
        Fraction of each class to hold out, in [0, 1]. A larger share leaves fewer images for
        training.

    Returns
    -------
    ndarray of bool, shape (N,)
        True for images that are held out.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out[members[: round(share * len(members))]] = True
    return held_out
