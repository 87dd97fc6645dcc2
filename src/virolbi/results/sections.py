"""Sections of the HTML page. A section that has nothing to show is an empty string."""

import base64
import html
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from virolbi.results.checks import check_warnings, read_checks
from virolbi.results.details import Detail
from virolbi.results.rows import Row, RowKey, row_key
from virolbi.results.summary import Line, intended_lines
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
    return f"<div class=wide>{_table(grid.headings, body)}</div>"


def _table(headings: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table of plain headings and of rows whose cells are HTML already."""
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
    body = [
        "".join(
            f"<td>{html.escape(format_accuracy(v) if isinstance(v, float) else v)}</td>"
            for v in entry.values()
        )
        for entry in table
    ]
    return (
        "<p>Mean accuracy over the five severities.</p>"
        f"<div class='wide first'>{_table(table[0], body)}</div>"
    )


def examples_section(path: Path) -> str:
    """Return the picture of test images before and after smoothing.

    Parameters
    ----------
    path : Path
        A PNG file, which is embedded in the page.

    Returns
    -------
    str
        HTML, empty if there is no file.
    """
    if not path.exists():
        return ""
    text = (
        "Test images, and below each row the same images after smoothing: clean, and with "
        "Gaussian, shot and impulse noise at severity 5."
    )
    image = f'<img alt="{text}" src="{_data_url(path.read_bytes())}">'
    return f"<h2>Images before and after smoothing</h2><p>{text}</p>{image}"


def _data_url(png: bytes) -> str:
    """Return a PNG file as a URL that holds its content."""
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
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in check_warnings(folder))
    return (
        "<h2>Reliability of the accuracy under attack</h2>"
        f"<p>Checks of every view: {html.escape(names)}.</p>"
        + (f"<ul>{items}</ul>" if items else "<p>None of these checks found a problem.</p>")
    )


def answers_section(
    rows: Sequence[Row], lines: Sequence[Line], details: Mapping[RowKey, Detail], path: Path
) -> str:
    """Return the first test images for each arm, framed by whether its answers are correct.

    Parameters
    ----------
    rows : sequence of dict
        Rows of results, of which the first seed is shown.
    lines : sequence of Line
        Lines from `summarise`. Each arm is shown in the view that it is intended to be tested in,
        for clean images and under its worst noise.
    details : mapping
        Which images each row counts as correct.
    path : Path
        A PNG file of the first test images side by side, each square; it is embedded in the page.

    Returns
    -------
    str
        HTML, empty if there are no details or there is no file.
    """
    if not details or not path.exists():
        return ""
    png = path.read_bytes()
    width, size = struct.unpack(">II", png[16:24])  # the header of a PNG: width and height
    keys = {
        (row["arm"], row["view"], row["condition"], row["severity"], row["seed"]): row_key(row)
        for row in rows
    }
    seed = min(row["seed"] for row in rows)
    body = ""
    for line in intended_lines(lines):
        for name, severity in dict.fromkeys([("clean", 0), line.worst_noise or ("clean", 0)]):
            key = keys.get((line.arm, line.view, name, severity, seed), ())
            if key in details:
                title = f"{line.label}, {name.replace('_', ' ')} {severity or ''}"
                body += _tiles(title, details[key].correct[: width // size], size)
    style = (
        f"<style>.tiles i{{width:{size}px;height:{size}px;"
        f"background-image:url({_data_url(png)})}}</style>"
    )
    text = "The first test images. A red frame marks a wrong answer of the network."
    return f"<h2>Correct and wrong answers</h2><p>{text}</p>{style}{body}"


def _tiles(title: str, correct: Iterable[bool], size: int) -> str:
    """Return one line of images, each framed by whether the answer is correct."""
    tiles = "".join(
        f"<i class={'right' if right else 'wrong'} "
        f'style="background-position:-{index * size}px 0"></i>'
        for index, right in enumerate(correct)
    )
    return f"<p class=tiles><span>{html.escape(title)}</span><br>{tiles}</p>" if tiles else ""


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
    items = ""
    for line in lines:
        seconds = [
            details[row_key(row)].seconds / row["count"]
            for row in rows
            if (row["arm"], row["view"]) == (line.arm, line.view)
            and "budget" not in row
            and row_key(row) in details
        ]
        if seconds:
            name = html.escape(line.label)
            items += f"<tr><td>{name}</td><td></td><td>{1000 * median(seconds):.2f}</td></tr>"
    text = (
        "Milliseconds per image, including a smoother or filter in front of the network; "
        "the median over conditions."
    )
    return f"<h2>Cost</h2><p>{text}</p><table>{items}</table>" if items else ""


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
