"""Intervals and tests for accuracies."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betainc, stdtr, stdtrit

from virolbi._checks import check_number
from virolbi.results.rows import Row

Z_95 = 1.959964  # 97.5 % quantile of the normal distribution: bounds of two-sided 95 % intervals
DRAWS = 19_999  # random changes of sign: p-values are multiples of 1e-4


class PairedTest(NamedTuple):
    """Outcome of `paired_test`.

    Attributes
    ----------
    gain : float
        Accuracy of the first model less that of the second.
    low, high : float
        95 % interval of the gain.
    p : float
        Two-sided p-value under the hypothesis that both models are equally good.
    """

    gain: float
    low: float
    high: float
    p: float


class SeedTest(NamedTuple):
    """Outcome of `seed_test`.

    Attributes
    ----------
    low, high : float
        95 % interval of the gain.
    p : float
        Two-sided p-value under the hypothesis that both ways to train are equally good.
    """

    low: float
    high: float
    p: float


def seed_test(first: Sequence[float], second: Sequence[float]) -> SeedTest:
    """Compare two ways to train by the accuracies of their training runs.

    The runs are the sample: the question is what further runs would do on the same images. This is
    Student's t-test, which takes the spread over seeds to be the same for both.

    Parameters
    ----------
    first, second : sequence of float
        Accuracy of each run, in [0, 1], two or more each.

    Returns
    -------
    SeedTest
        The fields `low` and `high`, the 95 % interval of the mean of the first less that of the
        second, and `p`. Where all runs of one are alike, and all of the other too, they do not
        tell how far runs spread: the interval is then all that it can be, and `p` is 1.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two runs of one of them, or if an accuracy is no number in [0, 1].

    Examples
    --------
    >>> round(seed_test([0.70, 0.72], [0.66, 0.68]).p, 3)
    0.106
    """
    for name, values in (("first", first), ("second", second)):
        if len(values) < 2:
            raise ValueError(f"{name} must have two runs or more, got {len(values)}")
        for value in values:
            check_number(name, value, 0, 1)
    if max(np.ptp(first), np.ptp(second)) == 0:  # by chance, so that their spread is unknown
        return SeedTest(-1.0, 1.0, 1.0)
    freedom = len(first) + len(second) - 2
    squares = float(np.var(first)) * len(first) + float(np.var(second)) * len(second)
    error = math.sqrt(squares / freedom * (1 / len(first) + 1 / len(second)))
    gain = float(np.mean(first) - np.mean(second))
    half = float(stdtrit(freedom, 0.975)) * error
    return SeedTest(gain - half, gain + half, 2 * float(stdtr(freedom, -abs(gain) / error)))


def paired_test(first: np.ndarray, second: np.ndarray) -> PairedTest:
    """Compare two models by the images that each classifies correctly.

    The images are the sample, and the gain is the mean of their differences: the share of its
    answers to an image that the first model has correct, less that of the second.

    Parameters
    ----------
    first, second : ndarray of bool, shape (answers, images)
        Whether each model classifies each image correctly: one answer for each seed, and for each
        condition if their mean is compared.

    Returns
    -------
    PairedTest
        The fields `gain`, `low`, `high` and `p`. `gain` is the accuracy of the first model less
        that of the second.

        If images differ in all answers or in none, as those of one seed and condition do, `p` is
        that of McNemar's exact two-sided test [1]_. `low` and `high` are the 95 % interval with
        half an image added to each of the four cases [2]_, so that `gain` is not quite in its
        centre.

        Else `p` is that of the sign-flip permutation test of the mean: how often the differences
        of a random half of the images, with their signs changed, would give a gain as far from 0,
        twice the smaller tail of 19,999 draws with a fixed seed. `low` and `high` are the gains
        that this test does not reject, quantiles of the means of random subsets of the images
        [3]_: they have 0 between them unless `p` is below 0.05.

    Raises
    ------
    ValueError
        If the answers are not bool, if there are none, or not as many of both models.

    References
    ----------
    .. [1] McNemar (1947).
    .. [2] Agresti & Min (2005).
    .. [3] Hartigan, "Using subsample values as typical values", 1969.

    Examples
    --------
    >>> right, wrong = np.ones((1, 30), bool), np.zeros((1, 30), bool)
    >>> paired_test(right, wrong).gain, paired_test(right, wrong).p < 1e-6
    (1.0, True)
    >>> paired_test(right, right).p
    1.0
    """
    for name, correct in (("first", first), ("second", second)):
        if correct.dtype != bool:
            raise ValueError(f"{name} must be answers of type bool, got {correct.dtype}")
    if first.ndim != 2 or first.shape != second.shape or not first.size:
        raise ValueError(
            "first and second must have one shape, (answers, images), of one or more, "
            f"got {first.shape} and {second.shape}"
        )
    answers = len(first)
    difference = np.count_nonzero(first, axis=0) - np.count_nonzero(second, axis=0)
    gain = float(difference.mean()) / answers
    if np.isin(difference, (-answers, 0, answers)).all():
        return PairedTest(gain, *_mcnemar_test(difference // answers))
    if gain < 0:  # so that the other order of the models gives the same numbers
        low, high, p = _sign_flip_test(-difference)
        return PairedTest(gain, -high / answers, -low / answers, p)
    low, high, p = _sign_flip_test(difference)
    return PairedTest(gain, low / answers, high / answers, p)


def _mcnemar_test(difference: np.ndarray) -> tuple[float, float, float]:
    """Return the interval of the mean of differences that are -1, 0 or 1, and the p-value."""
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    count = len(difference) + 2
    centre = (wins - losses) / count
    half = Z_95 * math.sqrt(((wins + losses + 1) / count - centre**2) / count)
    p = min(1.0, 2 * sign_test_tail(max(wins, losses), min(wins, losses)))
    return centre - half, centre + half, p


def _sign_flip_test(difference: np.ndarray) -> tuple[float, float, float]:
    """Return the interval of the mean of integer differences, and the p-value.

    With the signs of a subset changed, the sum is at most zero, or as far on the other side, if
    that of the subset has the sign of the whole or more: only sums of subsets are drawn. The images
    of one difference have a binomial number in the subset.
    """
    values, counts = np.unique(difference, return_counts=True)
    chosen = np.random.default_rng(0).binomial(counts[:, None], 0.5, (len(values), DRAWS))
    sums = values @ chosen
    extreme = min(np.count_nonzero(sums <= 0), np.count_nonzero(sums >= 0))
    p = min(1.0, 2 * (extreme + 1) / (DRAWS + 1))  # the images as they are count as a draw
    means = np.sort(sums / np.maximum(chosen.sum(axis=0), 1))
    # The first rank above 0 exactly if p is below 0.05.
    rank = round(0.025 * (DRAWS + 1)) - 2
    return float(means[rank]), float(means[-1 - rank]), p


def sign_test_tail(wins: int, losses: int) -> float:
    """Return the probability of at least `wins` wins when both sides are equally strong.

    Parameters
    ----------
    wins : int
        Number of games that the first side won, >= 0.
    losses : int
        Number of games that it lost, >= 0.

    Returns
    -------
    float
        One-sided p-value of the exact sign test over `wins + losses` games.
    """
    return float(betainc(wins, losses + 1, 0.5)) if wins else 1.0


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of several tests for their number.

    Parameters
    ----------
    p_values : sequence of float
        The p-value of each test.

    Returns
    -------
    list of float
        Each p-value raised, so that the chance that any of the tests is wrong is at most one in
        twenty when 0.05 is the threshold [1]_.

    References
    ----------
    .. [1] Holm (1979).

    Examples
    --------
    >>> holm_correction([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, least = list(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(corrected)), key=corrected.__getitem__)):
        least = max(least, min(1.0, (len(corrected) - rank) * p_values[index]))
        corrected[index] = least
    return corrected


def accuracy_interval(hits: float, count: int) -> Row:
    """Return the accuracy and its 95 % interval, as the fields of a row.

    Parameters
    ----------
    hits : float
        Number of images classified correctly, possibly a mean over seeds.
    count : int
        Number of images.

    Returns
    -------
    dict
        The fields "accuracy", and "low" and "high", which are rounded to four digits.
    """
    low, high = wilson_interval(hits, count)
    return {"accuracy": hits / count, "low": round(low, 4), "high": round(high, 4)}


def wilson_interval(correct: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a proportion.

    Parameters
    ----------
    correct : float
        Number of successes, possibly a mean over seeds.
    count : int
        Number of trials.

    Returns
    -------
    low, high : float
        Wilson's score interval [1]_, within [0, 1].

    References
    ----------
    .. [1] Wilson (1927).

    Examples
    --------
    >>> [round(bound, 3) for bound in wilson_interval(90, 100)]
    [0.826, 0.945]
    """
    z = Z_95
    share, scale = correct / count, 1 + z * z / count
    centre = (share + z * z / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
