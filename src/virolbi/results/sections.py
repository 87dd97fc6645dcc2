"""Sections of the HTML page. A section that has nothing to show is an empty string."""

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from virolbi.results.checks import masking_warnings, read_checks
from virolbi.results.classes import collapse_warnings
from virolbi.results.details import Detail
from virolbi.results.files import EXAMPLES
from virolbi.results.rows import Row, RowKey, row_key
from virolbi.results.summary import Line
from virolbi.results.tables import format_accuracy, tabulate


def table_section(lines: Sequence[Line]) -> str:
    """Return the main table; the best of each column is marked, and cells have tooltips.

    Parameters
    ----------
    lines : sequence of Line
        Rows of the table.

    Returns
    -------
    str
        HTML.
    """
    grid = tabulate(lines)
    body = []
    for texts, best, notes in zip(grid.body, grid.best, grid.notes, strict=True):
        cells = zip(texts, best, notes, strict=True)
        body.append(
            "".join(
                f'<td{" class=best" * top} title="{html.escape(note)}">{html.escape(text)}</td>'
                for text, top, note in cells
            )
        )
    return f"<div class=wide>{html_table(grid.headings, body)}</div>"


def html_table(headings: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table.

    Parameters
    ----------
    headings : iterable of str
        Plain texts.
    rows : iterable of str
        Cells of each row, as HTML.

    Returns
    -------
    str
        HTML.
    """
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "\n".join(f"<tr>{cells}</tr>" for cells in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"


def corruptions_section(table: Sequence[Row]) -> str:
    """Return the table of the accuracy under each corruption.

    Parameters
    ----------
    table : sequence of dict
        Entries from `by_corruption`.

    Returns
    -------
    str
        HTML.
    """
    if not table:
        return ""
    body = []
    for entry in table:
        name, *shares = entry.values()
        coloured = not name.startswith("mCE")
        body.append(
            heat_cell(math.nan, name)
            + "".join(heat_cell(v if coloured else math.nan, format_accuracy(v)) for v in shares)
        )
    return (
        "<h2>Accuracy under each corruption</h2><p>Mean over the five severities; a stronger "
        "colour is a higher accuracy. A click on a heading sorts a table.</p>"
        f"<div class='wide first'>{html_table(table[0], body)}</div>"
    )


def heat_cell(share: float, text: str) -> str:
    """Return a cell whose colour is stronger for a larger share.

    Parameters
    ----------
    share : float
        In [0, 1]; NaN has no colour.
    text : str
        Plain text.

    Returns
    -------
    str
        HTML.
    """
    colour = "" if math.isnan(share) else f' class=heat style="--share:{share:.3f}"'
    return f"<td{colour}>{html.escape(text)}</td>"


def figure_section(title: str, text: str, figure: str) -> str:
    """Return a section with one figure.

    Parameters
    ----------
    title, text : str
        Heading and description, as HTML.
    figure : str
        SVG element; empty if there is nothing to show.

    Returns
    -------
    str
        HTML, empty without a figure.
    """
    return f"<h2>{title}</h2><p>{text}</p>{figure}" if figure else ""


def examples_section(folder: Path) -> str:
    """Return the picture of test images before and after smoothing.

    Parameters
    ----------
    folder : Path
        Folder of results.

    Returns
    -------
    str
        HTML with the picture embedded, empty if there is no examples.png.
    """
    path = folder / EXAMPLES
    if not path.exists():
        return ""
    text = (
        "Test images, and below each row the same images after smoothing: clean, and with "
        "Gaussian, shot and impulse noise at severity 5."
    )
    image = f'<img alt="{text}" src="{data_url(path.read_bytes())}">'
    return f"<h2>Images before and after smoothing</h2><p>{text}</p>{image}"


def data_url(png: bytes) -> str:
    """Return a PNG file as a URL that holds its content.

    Parameters
    ----------
    png : bytes
        Content of the file.

    Returns
    -------
    str
        URL.
    """
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def checks_section(folder: Path) -> str:
    """Return the warnings of the checks for gradient masking.

    Parameters
    ----------
    folder : Path
        Folder of results.

    Returns
    -------
    str
        HTML, empty if there is no checks.jsonl.
    """
    findings = read_checks(folder)
    if not findings:
        return ""
    names = ", ".join(dict.fromkeys(finding["name"] for finding in findings))
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in masking_warnings(folder))
    return (
        "<h2>Reliability of the accuracy under attack</h2>"
        f"<p>Checks of every view: {html.escape(names)}.</p>"
        + (f"<ul>{items}</ul>" if items else "<p>None of these checks found a problem.</p>")
    )


def collapse_section(rows: Sequence[Row]) -> str:
    """Return the warnings about networks that hardly tell the classes apart.

    Parameters
    ----------
    rows : sequence of dict
        Rows of results.

    Returns
    -------
    str
        HTML, empty if there are none.
    """
    items = "".join(f"<li>{html.escape(text)}.</li>" for text in collapse_warnings(rows))
    return f"<ul>{items}</ul>" if items else ""


def cost_section(
    rows: Sequence[Row], lines: Sequence[Line], details: Mapping[RowKey, Detail]
) -> str:
    """Return the time that each line takes for an image.

    Parameters
    ----------
    rows : sequence of dict
        Rows of results; those under attack are left out.
    lines : sequence of Line
        Lines to show.
    details : mapping
        The time of each row. The median over conditions is shown, because the first ones warm up.

    Returns
    -------
    str
        HTML, empty if no line has details.
    """
    items = []
    for line in lines:
        seconds = [
            details[row_key(row)].seconds / row["count"]
            for row in rows
            if (row["arm"], row["view"]) == (line.arm, line.view)
            and "budget" not in row
            and row_key(row) in details
        ]
        if seconds:
            name, cost = html.escape(line.label), f"{1000 * median(seconds):.2f}"
            items.append(f"<td>{name}</td><td>{cost}</td>")
    text = (
        "Milliseconds per image, including a smoother or filter in front of the network; "
        "the median over conditions."
    )
    table = html_table(("model", "milliseconds"), items)
    return f"<h2>Cost</h2><p>{text}</p><div class=first>{table}</div>" if items else ""


def recipes_section(recipes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the recipe of the first arm, and what every other arm changes in it.

    Parameters
    ----------
    recipes : mapping
        The settings of each arm, at least one.

    Returns
    -------
    str
        HTML.
    """
    first, base = next(iter(recipes.items()))
    items = f"<dt>{html.escape(first)}</dt><dd>{_settings(base)}</dd>"
    for arm, recipe in list(recipes.items())[1:]:
        changed = {key: value for key, value in recipe.items() if value != base.get(key)}
        items += f"<dt>{html.escape(arm)}</dt><dd>changes {_settings(changed)}</dd>"
    return f"<h2>Recipes</h2><dl>{items}</dl>"


def _settings(settings: Mapping[str, Any]) -> str:
    """Return settings as HTML."""
    return html.escape(", ".join(f"{key} {value}" for key, value in settings.items())) or "nothing"
