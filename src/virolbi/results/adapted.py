"""Results of networks that adapt to test images, over the orders in which these arrive."""

import html
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from virolbi.results.rows import Row, check_one_source
from virolbi.results.sections import heat_cell, html_table
from virolbi.results.tables import format_accuracy

NAMES = ("arm", "view, method")


def mean_by_order(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the mean accuracy over types of corruption, a row for each arm, view and method.

    Only what was measured alike is averaged: where one order of the images was taken in batches of
    several sizes, at several severities or with several seeds of noise, each has its own column.

    Parameters
    ----------
    rows : sequence of dict
        Rows of `virolbi.evaluation.adapt`, which have the order of the images in their budget.

    Returns
    -------
    list of dict
        The "arm", the "view, method", and a number for each column, which is named by the order of
        the images and by what differs in it. A number is missing as long as rows are: where an arm
        lacks types that others have.

    Raises
    ------
    ValueError
        If rows are of different images, of different networks under one name and seed, or two of
        one measurement.
    """
    check_one_source(rows)
    columns = _columns(rows)
    types: dict[str, set[str]] = defaultdict(set)
    accuracies: dict[tuple[str, str], dict[str, dict[tuple[int, str], float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in rows:
        column = columns[_settings(row)]
        types[column].add(row["condition"])
        accuracies[row["arm"], row["view"]][column][row["seed"], row["condition"]] = row["accuracy"]
    return [
        dict(zip(NAMES, names, strict=True))
        | {
            column: fmean(values.values())
            for column, values in by_column.items()
            if len(values) == len(types[column]) * len({seed for seed, _ in values})
        }
        for names, by_column in accuracies.items()
    ]


def _settings(row: Row) -> tuple[str, ...]:
    """Return how a row was measured: first the order of the images, then the rest in words."""
    order, _, rest = row["budget"].partition(", ")
    return order, rest, f"severity {row['severity']}", f"noise seed {row.get('noise_seed')}"


def _columns(rows: Sequence[Row]) -> dict[tuple[str, ...], str]:
    """Return a name for each way to measure: its order, and what others of this order differ in."""
    ways = list(dict.fromkeys(map(_settings, rows)))
    names = {}
    for order, *rest in ways:
        alike = [way[1:] for way in ways if way[0] == order]
        differing = [
            text for text, *others in zip(rest, *alike, strict=True) if len(set(others)) > 1
        ]
        names[order, *rest] = ", ".join([order, *differing])
    return names


def adaptation_section(rows: Sequence[Row]) -> str:
    """Return the table of networks that adapt to test images.

    Parameters
    ----------
    rows : sequence of dict
        Rows as `mean_by_order` takes them, or none.

    Returns
    -------
    str
        HTML.
    """
    if not rows:
        return ""
    means = mean_by_order(rows)
    orders = list(_columns(rows).values())
    body = [
        "".join(heat_cell(math.nan, entry[name]) for name in NAMES)
        + "".join(_cell(entry.get(order)) for order in orders)
        for entry in means
    ]
    types = len({row["condition"] for row in rows})
    severities = ", ".join(str(value) for value in sorted({row["severity"] for row in rows}))
    return (
        f"<h2>Adaptation to test images</h2><p>Mean accuracy over {types} types of corruption at "
        f"severity {html.escape(severities)}, for each order in which the images arrive "
        "(<code>virolbi adapt</code>).</p>"
        f"<div class=wide>{html_table([*NAMES, *orders], body)}</div>"
    )


def _cell(accuracy: float | None) -> str:
    """Return the cell of a mean accuracy, which a method can lack for an order."""
    if accuracy is None:
        return heat_cell(math.nan, "")
    return heat_cell(accuracy, format_accuracy(accuracy))
