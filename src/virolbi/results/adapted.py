"""Results of networks that adapt to test images, over the orders in which these arrive."""

import html
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from virolbi.results.rows import Row
from virolbi.results.sections import heat_cell, html_table
from virolbi.results.tables import format_accuracy

NAMES = ("arm", "view, method")


def mean_by_order(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the mean accuracy over types of corruption, a row for each arm, view and method.

    Parameters
    ----------
    rows : sequence of dict
        Rows of `virolbi.evaluation.adapt`, which have the order of the images in their budget.

    Returns
    -------
    list of dict
        The "arm", the "view, method", and a number for each order of the images.
    """
    accuracies: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        order = row["budget"].partition(",")[0]
        accuracies[row["arm"], row["view"]][order].append(row["accuracy"])
    return [
        dict(zip(NAMES, names, strict=True))
        | {order: fmean(values) for order, values in by_order.items()}
        for names, by_order in accuracies.items()
    ]


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
    orders = list(dict.fromkeys(row["budget"].partition(",")[0] for row in rows))
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
