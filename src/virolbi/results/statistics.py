"""Intervals and tests for accuracies."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betainc

from virolbi.results.rows import Row


class Pair(NamedTuple):
    """Two models on the same images. gain: accuracy of the first less that of the second; p: were they equally good."""

    gain: float
    low: float
    high: float
    p: float


def paired_test(first: np.ndarray, second: np.ndarray) -> Pair:
    """Compare which images two models get right, (seeds, images) each; the images are the sample, averaged over seeds.

    p: of the exact two-sided sign test over the images on which they differ, for one seed McNemar's (1947). low, high: 95 %
    interval of the gain, with half an image added to each of the four cases (Agresti & Min, 2005), so not quite around it.

    >>> right, wrong = np.ones((1, 30), bool), np.zeros((1, 30), bool)
    >>> paired_test(right, wrong).gain, paired_test(right, wrong).p < 1e-6, paired_test(right, right).p
    (1.0, True, 1.0)
    """
    difference = first.mean(axis=0) - second.mean(axis=0)
    total, squares, count = (
        float(difference.sum()),
        float((difference**2).sum()) + 1,
        len(difference) + 2,
    )
    half = 1.959964 * math.sqrt((squares / count - (total / count) ** 2) / count)
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    p = min(1.0, 2 * sign_test_tail(max(wins, losses), min(wins, losses)))
    return Pair(float(difference.mean()), total / count - half, total / count + half, p)


def sign_test_tail(wins: int, losses: int) -> float:
    """The chance of so many wins or more, of so many games, where neither side is the stronger."""
    return float(betainc(wins, losses + 1, 0.5)) if wins else 1.0


def holm_correction(chances: Sequence[float]) -> list[float]:
    """The p of several tests, each raised so that all of them together err one time in twenty at .05 (Holm, 1979).

    >>> holm_correction([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    raised, least = list(chances), 0.0
    for rank, index in enumerate(sorted(range(len(raised)), key=raised.__getitem__)):
        least = max(least, min(1.0, (len(raised) - rank) * chances[index]))
        raised[index] = least
    return raised


def accuracy_interval(hits: float, count: int) -> Row:
    """What a row says of `hits` in `count` images: the accuracy and its 95 % interval."""
    low, high = wilson_interval(hits, count)
    return {"accuracy": hits / count, "low": round(low, 4), "high": round(high, 4)}


def wilson_interval(correct: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927).

    >>> [round(bound, 3) for bound in wilson_interval(90, 100)]
    [0.826, 0.945]
    """
    z = 1.959964
    share, scale = correct / count, 1 + z * z / count
    centre = (share + z * z / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
