"""Accuracy under each corruption, and mCE."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from virolbi.corruptions import ALEXNET_ERRORS, COMMON, HELD_OUT, NOISES
from virolbi.results.rows import Row
from virolbi.results.summary import Line

SEVERITIES = range(1, 6)


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
        corruptions but the three noises. With all common corruptions, their mean follows. For the
        1000 classes of ImageNet at the constants of 224 pixels, mCE follows as well: the mean over
        the common corruptions of the error divided by AlexNet's [1]_; less is better. Its frost is
        not that of the published data.

    References
    ----------
    .. [1] Hendrycks & Dietterich, ICLR 2019.
    """
    means = {line.label: _means_over_severities(line) for line in lines}
    names = [name for name in COMMON + HELD_OUT if any(name in mean for mean in means.values())]
    if set(names) <= set(NOISES):
        return []

    def entry(title: str, value: Callable[[Mapping[str, float]], float]) -> Row:
        return {"corruption": title} | {label: value(mean) for label, mean in means.items()}

    table = [
        {"corruption": name.replace("_", " ")}
        | {label: mean.get(name, math.nan) for label, mean in means.items()}
        for name in names
    ]
    if set(COMMON) <= set(names):
        table.append(entry(f"mean of the {len(COMMON)} common", _common_mean))
        if _is_imagenet(rows):
            table.append(entry("mCE, less is better", _mean_corruption_error))
    return table


def _means_over_severities(line: Line) -> dict[str, float]:
    """Return the mean accuracy under each corruption of which a line has all severities."""
    return {
        name: fmean(line.cells[name, severity].mean for severity in SEVERITIES)
        for name in COMMON + HELD_OUT
        if all((name, severity) in line.cells for severity in SEVERITIES)
    }


def _common_mean(means: Mapping[str, float]) -> float:
    """Return the mean accuracy over the common corruptions; NaN if one is missing."""
    return fmean(means.get(name, math.nan) for name in COMMON)


def _mean_corruption_error(means: Mapping[str, float]) -> float:
    """Return mCE: the mean over the common corruptions of the error relative to AlexNet's."""
    return fmean(
        (1 - means.get(name, math.nan)) / error
        for name, error in zip(COMMON, ALEXNET_ERRORS, strict=True)
    )


def _is_imagenet(rows: Sequence[Row]) -> bool:
    """Return whether the common corruptions are of 1000 classes at 224 pixels, as mCE needs."""
    common = [row for row in rows if row["condition"] in COMMON]
    return {(row.get("resolution"), row.get("classes")) for row in common} == {(224, 1000)}
