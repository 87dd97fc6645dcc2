"""Accuracy under each corruption, and mCE."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean

from virolbi.corruptions import ALEXNET_ERRORS, COMMON, HELD_OUT, NOISES, SEVERITIES
from virolbi.results.rows import Row
from virolbi.results.summary import Line


def by_corruption(rows: Sequence[Row], lines: Sequence[Line]) -> list[Row]:
    """Return the accuracy of each line under each corruption, the mean over the five severities.

    Parameters
    ----------
    rows : sequence of dict
        Rows of results.
    lines : sequence of Line
        Lines to show, from `summarise` of these rows.

    Returns
    -------
    list of dict
        One entry for each corruption: its name under "corruption", and the accuracy under the
        label of each line, NaN for a line without all severities. Empty if there are no
        corruptions but the three noises. With all common corruptions, their worst and mean follow.
        For the 1000 classes of ImageNet at the constants of 224 pixels, mCE follows as well: the
        mean over the common corruptions of the error divided by AlexNet's [1]_; less is better. Its
        frost is not that of the published data.

    References
    ----------
    .. [1] Hendrycks & Dietterich, ICLR 2019.
    """
    names = [name for name in COMMON + HELD_OUT if any(_has(line, name) for line in lines)]
    if set(names) <= set(NOISES):
        return []

    def entry(title: str, value: Callable[[Line], float]) -> Row:
        return {"corruption": title} | {line.label: value(line) for line in lines}

    table = [
        entry(name.replace("_", " "), partial(Line.corruption_mean, name=name)) for name in names
    ]
    if set(COMMON) <= set(names):
        table.append(
            entry(f"worst of the {len(COMMON)} common", lambda line: line.worst_common_accuracy)
        )
        table.append(entry(f"mean of the {len(COMMON)} common", lambda line: line.common_mean))
        if _is_imagenet(rows):
            table.append(entry("mCE, less is better", _mean_corruption_error))
    return table


def by_severity(lines: Sequence[Line], name: str) -> list[Row]:
    """Return the accuracy of each line over the severities of one corruption.

    Parameters
    ----------
    lines : sequence of Line
        Lines to show, from `summarise`; those that no seed has clean and in all severities are left
        out.
    name : str
        Name of the corruption.

    Returns
    -------
    list of dict
        One entry for each line, the best mean first: its label under the name of the corruption,
        and the accuracy clean, at each severity, and on average over the severities. All are over
        the seeds that have all of them.
    """
    table = []
    for line in lines:
        cells = line.complete([("clean", 0), *((name, severity) for severity in SEVERITIES)])
        if cells:
            clean, *means = (cell.mean for cell in cells.values())
            severities = dict(zip(map(str, SEVERITIES), means, strict=True))
            figures = {"clean": clean, **severities, "mean": fmean(means)}
            table.append({name.replace("_", " "): line.label} | figures)
    return sorted(table, key=lambda entry: -entry["mean"])


def _has(line: Line, name: str) -> bool:
    """Return whether a line has all severities of a corruption."""
    return not math.isnan(line.corruption_mean(name))


def _mean_corruption_error(line: Line) -> float:
    """Return mCE: the mean over the common corruptions of the error relative to AlexNet's."""
    means = line.common_means
    if not means:
        return math.nan
    return fmean(
        (1 - means[name]) / error for name, error in zip(COMMON, ALEXNET_ERRORS, strict=True)
    )


def _is_imagenet(rows: Sequence[Row]) -> bool:
    """Return whether the common corruptions are of 1000 classes at 224 pixels, as mCE needs."""
    common = [row for row in rows if row["condition"] in COMMON]
    return {(row.get("resolution"), row.get("classes")) for row in common} == {(224, 1000)}
