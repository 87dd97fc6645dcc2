"""Judging of views: which images each of them classifies correctly."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from virolbi.evaluation.batching import InBatches, choose_batch_size
from virolbi.evaluation.subjects import View
from virolbi.robustness import BATCH_SIZE, check_logits

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
    shown = Shown(partial(change_batches, pixels, labels, change), len(labels), pixels.shape[1:])
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


def change_batches(
    pixels: np.ndarray, labels: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> Iterator[ShownBatch]:
    """Yield changed images with their labels, in batches.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (N, C, H, W)
        Images.
    labels : ndarray of int64, shape (N,)
        Their labels.
    change : callable
        Applied to each batch of intensities, float32 in [0, 1].

    Yields
    ------
    tuple of ndarray
        Changed intensities, shape (n, C, H, W), and labels, shape (n,).
    """
    for first in range(0, len(labels), BATCH_SIZE):
        rows = slice(first, first + BATCH_SIZE)
        yield change(pixels[rows].astype(np.float32) / 255), labels[rows]
