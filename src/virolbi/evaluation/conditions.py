"""Conditions of an evaluation without attacks: clean, corrupted and low-resolution images."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from virolbi.corruptions import (
    NOISES,
    SEVERITIES,
    corrupt,
    low_resolution,
    nearest_resolution,
    noise_level,
    official,
)
from virolbi.data import Images
from virolbi.evaluation.batching import InBatches, choose_batch_size
from virolbi.evaluation.subjects import View
from virolbi.results import Row
from virolbi.robustness import BATCH_SIZE, check_logits

LOW_RESOLUTION_FACTORS = (2, 4)
OFFICIAL_COUNT = 10_000  # images of CIFAR-10-C and CIFAR-100-C at each severity
OFFICIAL_RESOLUTION = 32  # pixels
KEPT_BYTES = 2**30  # changed images of a condition that are kept for the next view

ShownBatch = tuple[np.ndarray, np.ndarray]  # intensities, float32, (n, C, H, W), and labels, (n,)


class Judged(NamedTuple):
    """Result of one view on a set of images.

    Attributes
    ----------
    correct : ndarray of bool, shape (N,)
        Whether each image is classified correctly.
    seconds : float
        Time that it took.
    labels : ndarray of int64, shape (N,)
        Correct classes.
    predicted : ndarray of int64, shape (N,) or None
        Classes with the largest logit; None under attack, where there are several.
    scores : ndarray of float32, shape (N,) or None
        For two classes: logit of the second less that of the first; else None.
    confidence : ndarray of float32, shape (N,) or None
        Probability of the predicted class, by the softmax of the logits; None under attack.
    """

    correct: np.ndarray
    seconds: float
    labels: np.ndarray
    predicted: np.ndarray | None = None
    scores: np.ndarray | None = None
    confidence: np.ndarray | None = None


@dataclass(frozen=True)
class Condition:
    """Condition under which views are judged.

    Parameters
    ----------
    fields : dict
        Fields of its rows: "condition", "severity", "level", "count", "noise_seed" and, for
        corruptions that are made here, "resolution".
    show : callable
        Returns an iterator of the images, changed as the condition says, in batches.
    """

    fields: Row
    show: Callable[[], Iterator[ShownBatch]]


class Shown:
    """Images of a condition for several views, made once, or again for each view if they are many.

    Parameters
    ----------
    show : callable
        Returns an iterator of the images in batches.
    count : int
        Number of images.
    shape : sequence of int
        Shape of an image, (C, H, W).
    """

    def __init__(
        self, show: Callable[[], Iterator[ShownBatch]], count: int, shape: Sequence[int]
    ) -> None:
        kept = count * int(np.prod(shape)) * np.float32().itemsize <= KEPT_BYTES
        self._show, self._kept = show, list(show()) if kept else None

    def __iter__(self) -> Iterator[ShownBatch]:
        return iter(self._show() if self._kept is None else self._kept)


def identity(intensities: np.ndarray) -> np.ndarray:
    """Return images unchanged.

    Parameters
    ----------
    intensities : ndarray
        Images.

    Returns
    -------
    ndarray
        The same array.
    """
    return intensities


def judge(
    views: Sequence[View],
    pixels: np.ndarray,
    labels: np.ndarray,
    change: Callable[[np.ndarray], np.ndarray] = identity,
) -> list[Judged]:
    """Judge which images each view classifies correctly, batch by batch.

    Parameters
    ----------
    views : sequence of View
        Views to judge.
    pixels : ndarray of uint8, shape (N, C, H, W)
        Images.
    labels : ndarray of int64, shape (N,)
        Their labels.
    change : callable, optional
        Applied to each batch of intensities, float32 in [0, 1], before it is classified.
        Default: none.

    Returns
    -------
    list of Judged
        For each view, which images are correct, how many seconds that took, and the predictions.

    Raises
    ------
    ValueError
        If a view returns NaN.
    """
    shown = Shown(partial(_change_batches, pixels, labels, change), len(labels), pixels.shape[1:])
    return [judge_view(view, shown) for view in views]


def judge_view(
    view: View,
    shown: Iterable[ShownBatch],
    *,
    batch_size: int | None = None,
    passed: Callable[[int], None] | None = None,
) -> Judged:
    """Judge which images a view classifies correctly.

    Parameters
    ----------
    view : View
        View to judge.
    shown : iterable of tuple of ndarray
        Intensities and labels of the images, in batches.
    batch_size : int, optional
        Images that the network sees at once, >= 1. Default: by the size of the images.
    passed : callable, optional
        Called with the number of images after each batch that the network has seen.

    Returns
    -------
    Judged
        Which images are correct, how many seconds that took, and the predictions.

    Raises
    ------
    TypeError, ValueError
        If `batch_size` is not a whole number >= 1, or if the view returns no logits,
        or no finite ones.
    """
    seconds, first = 0.0, 0
    parts: list[tuple[np.ndarray, ...]] = []
    for intensities, labels in shown:
        start = time.perf_counter()
        size = choose_batch_size(batch_size, intensities.shape[1:], view.device)
        model = InBatches(view.model, size, passed)
        with torch.inference_mode():
            answers = model(torch.from_numpy(intensities).to(view.device))
        check_logits(f"view {view.name!r}, for images from {first} on,", answers, len(labels), 1)
        logits = answers.float().cpu().numpy()
        confidence = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
        parts.append((labels, logits.argmax(axis=1), logits[:, -1] - logits[:, 0], confidence))
        seconds, first = seconds + time.perf_counter() - start, first + len(labels)
    targets, predicted, scores, confidence = map(np.concatenate, zip(*parts, strict=True))
    kept = scores if logits.shape[1] == 2 else None
    return Judged(predicted == targets, seconds, targets, predicted, kept, confidence)


def _change_batches(
    pixels: np.ndarray, labels: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> Iterator[ShownBatch]:
    """Yield changed images with their labels, in batches."""
    for first in range(0, len(labels), BATCH_SIZE):
        rows = slice(first, first + BATCH_SIZE)
        yield change(pixels[rows].astype(np.float32) / 255), labels[rows]


def list_conditions(
    images: Images,
    corruptions: Sequence[str],
    *,
    folder: Path | None,
    resolution: int | None,
    noise_seed: int,
) -> list[Condition]:
    """List the conditions of an evaluation without attacks.

    Parameters
    ----------
    images : Images
        Clean test images.
    corruptions : sequence of str
        Names of corruptions, each used at severities 1 to 5.
    folder : Path or None
        Folder of CIFAR-10-C or CIFAR-100-C to read corrupted images from, or None to make them.
    resolution : {32, 64, 224} or None
        Resolution whose constants the corruptions have; None for the nearest, and for images
        from a folder always 32.
    noise_seed : int
        Seed of the corruptions.

    Returns
    -------
    list of Condition
        Clean images, every corruption at every severity, and low resolution by factors 2 and 4.

    Raises
    ------
    ValueError
        If the images are not those that the folder was made from.
    """
    if folder is None:
        resolution = resolution or nearest_resolution(*images.pixels.shape[-2:])
    else:
        _check_official_images(images, folder)
        resolution = OFFICIAL_RESOLUTION
    make = partial(_condition_from_change, images, noise_seed)
    conditions = [make("clean", 0, 0.0, identity)]
    for name in corruptions:
        for severity in SEVERITIES:
            level = noise_level(name, severity, resolution) if name in NOISES else float(severity)
            if folder is not None:
                conditions.append(_condition_from_folder(folder, name, severity, level))
            else:
                change = partial(
                    corrupt, name=name, severity=severity, resolution=resolution, seed=noise_seed
                )
                conditions.append(make(name, severity, level, change, resolution=resolution))
    for severity, factor in enumerate(LOW_RESOLUTION_FACTORS, start=1):
        change = partial(low_resolution, factor=factor)
        conditions.append(make("low_resolution", severity, float(factor), change))
    return conditions


def _check_official_images(images: Images, folder: Path) -> None:
    """Check that images are the first ones of the test split that the folder was made from."""
    _, labels = official(folder, "gaussian_noise", 1)
    same_shape = images.pixels.shape[1:] == (3, OFFICIAL_RESOLUTION, OFFICIAL_RESOLUTION)
    if not same_shape or not np.array_equal(images.labels, labels[: len(images)]):
        raise ValueError(
            f"images must be the test images of {folder}, in their order, 3x32x32, "
            f"got {images.metadata}"
        )


def _condition_from_change(
    images: Images,
    noise_seed: int,
    name: str,
    severity: int,
    level: float,
    change: Callable[[np.ndarray], np.ndarray],
    **fields: int,
) -> Condition:
    """Return the condition that shows the images after a change."""
    row = {
        "condition": name,
        "severity": severity,
        "level": level,
        "count": len(images),
        "noise_seed": noise_seed,
    }
    show = partial(_change_batches, images.pixels, images.labels, change)
    return Condition(row | fields, show)


def _condition_from_folder(folder: Path, name: str, severity: int, level: float) -> Condition:
    """Return the condition that shows the images of a published array, read when it is judged."""
    row = {
        "condition": name,
        "severity": severity,
        "level": level,
        "count": OFFICIAL_COUNT,
        "noise_seed": None,
    }
    return Condition(row, lambda: _change_batches(*official(folder, name, severity), identity))
