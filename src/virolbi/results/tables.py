"""Tables of summarised rows, as Markdown and for the terminal."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from virolbi.results.rows import Row
from virolbi.results.summary import (
    ALL_COMMON,
    ALL_HELD_OUT,
    STRONGEST_NOISES,
    Cell,
    Condition,
    Line,
    printable,
)


@dataclass(frozen=True)
class Column:
    """One figure of the headline.

    Parameters
    ----------
    heading : str
        Heading, in which {level} is filled in from the rows.
    accuracy : callable
        Takes a line and returns the figure, NaN if it is missing.
    note : callable
        Takes a line and returns a remark on the figure, which may be empty.
    conditions : tuple of tuple
        Conditions that the figure is over.
    """

    heading: str
    accuracy: Callable[[Line], float]
    note: Callable[[Line], str]
    conditions: tuple[Condition, ...]


def _condition_column(heading: str, condition: Condition) -> Column:
    """Return the column of one condition."""

    def accuracy(line: Line) -> float:
        cell = line.cells.get(condition)
        return math.nan if cell is None else cell.mean

    return Column(heading, accuracy, lambda line: _note(line.cells.get(condition)), (condition,))


def _note(cell: Cell | None) -> str:
    """Return the interval of a cell and its spread over seeds as text."""
    if cell is None:
        return ""
    spread = (
        f"standard deviation over {len(cell.accuracies)} seeds {cell.spread:.3f}"
        if len(cell.accuracies) > 1
        else "one seed"
    )
    low, high = cell.interval
    return f"95 % interval {low:.3f} to {high:.3f} for {cell.count} images, {spread}"


def _worst_noise_note(line: Line) -> str:
    """Return the name of the worst noise, and its interval."""
    if line.worst_noise_condition is None:
        return ""
    return f"{line.worst_noise_condition[0].replace('_', ' ')}: {_note(line.worst_noise_cell)}"


# The headline, in the order in which every table shows it.
COLUMNS: tuple[Column, ...] = (
    _condition_column("clean", ("clean", 0)),
    Column(
        "worst of 15",
        lambda line: line.worst_common_accuracy,
        lambda line: (line.worst_common_name or "").replace("_", " "),
        ALL_COMMON,
    ),
    Column("mean of 15", lambda line: line.common_mean, lambda line: "", ALL_COMMON),
    Column(
        "worst noise", lambda line: line.worst_noise_accuracy, _worst_noise_note, STRONGEST_NOISES
    ),
    _condition_column("1/{level} size", ("low_resolution", 1)),
    _condition_column("1/{level} size", ("low_resolution", 2)),
    _condition_column("attacks {level}", ("attacks", 1)),
    Column("held out", lambda line: line.held_out_mean, lambda line: "", ALL_HELD_OUT),
)
PASSES = "passes"
EXPLANATIONS = {
    "worst of 15": "Worst and mean of the 15 common corruptions, each the mean over severities.",
    "worst noise": "Worst noise: the worst of Gaussian, shot and impulse noise at severity 5.",
    "held out": "Held out: the mean of four further corruptions, which are not among the fifteen.",
}


@dataclass(frozen=True)
class Grid:
    """A table as text, the common source of all its forms.

    Parameters
    ----------
    headings : list of str
        One for each column.
    body : list of list of str
        Text of each cell, row by row.
    best : list of list of bool
        Whether each cell is the best of its column.
    notes : list of list of str
        Interval and spread of each cell; empty where there are none.
    """

    headings: list[str]
    body: list[list[str]]
    best: list[list[bool]]
    notes: list[list[str]]


def tabulate(lines: Sequence[Line]) -> Grid:
    """Return the headline figures of lines as a table of text.

    Parameters
    ----------
    lines : sequence of Line
        Rows of the table, from `summarise`.

    Returns
    -------
    Grid
        The table. The first two columns are the arm and the view. The passes follow if the lines
        took different numbers of them. Figures that no line has are left out.
    """
    columns = [column for column in COLUMNS if _has_figure(column, lines)]
    values = [[column.accuracy(line) for column in columns] for line in lines]
    maxima = [
        max((value for value in column if not math.isnan(value)), default=math.nan)
        for column in zip(*values, strict=True)
    ]
    names = [[printable(line.arm), printable(line.view)] for line in lines]
    headings = ["trained on", "tested"]
    if budgets(lines):
        headings.append(PASSES)
        for texts, line in zip(names, lines, strict=True):
            texts.append("-".join(map(str, line.passes)) or "-")
    plain = len(headings)
    return Grid(
        headings=headings + [_heading(column, lines) for column in columns],
        body=[
            texts + [format_accuracy(value) for value in row]
            for texts, row in zip(names, values, strict=True)
        ],
        best=[
            [False] * plain + [value == top for value, top in zip(row, maxima, strict=True)]
            for row in values
        ],
        notes=[[""] * plain + [column.note(line) for column in columns] for line in lines],
    )


def budgets(lines: Sequence[Line]) -> tuple[int, ...]:
    """Return the numbers of passes of lines that did not all take the same.

    Parameters
    ----------
    lines : sequence of Line
        Lines from `summarise`.

    Returns
    -------
    tuple of int
        The numbers, rising; empty if all lines took the same, or if none is known.
    """
    passes = {line.passes for line in lines}
    return tuple(sorted({number for numbers in passes for number in numbers})) * (len(passes) > 1)


def _has_figure(column: Column, lines: Sequence[Line]) -> bool:
    """Return whether a line has the figure of a column."""
    return any(not math.isnan(column.accuracy(line)) for line in lines)


def _heading(column: Column, lines: Sequence[Line]) -> str:
    """Return the heading of a column, with the level of its condition."""
    levels = (
        line.cells[key].level for line in lines for key in column.conditions if key in line.cells
    )
    return column.heading.format(level=_level_text(next(levels)))


def _level_text(level: float) -> str:
    """Return a level as it is usually written: changes of a pixel in 1/255."""
    in_grey_levels = round(255 * level)
    if level < 1 and in_grey_levels and abs(255 * level - in_grey_levels) < 0.02:
        return f"{in_grey_levels}/255"
    return f"{level:.2g}"


def format_accuracy(accuracy: float) -> str:
    """Return an accuracy as text.

    Parameters
    ----------
    accuracy : float
        Value to format.

    Returns
    -------
    str
        Three decimals without a leading zero, or "-" for NaN.

    Examples
    --------
    >>> format_accuracy(0.5), format_accuracy(float("nan"))
    ('.500', '-')
    """
    return "-" if math.isnan(accuracy) else f"{accuracy:.3f}".removeprefix("0")


def caption(lines: Sequence[Line]) -> str:
    """Describe the figures of a table: seeds, images, and how accurate they are.

    Parameters
    ----------
    lines : sequence of Line
        Rows of the table, from `summarise`.

    Returns
    -------
    str
        A few sentences.
    """
    cells = [cell for line in lines for cell in line.cells.values() if cell.budget is None]
    attacks = [line.cells["attacks", 1] for line in lines if ("attacks", 1) in line.cells]
    sentences = [_accuracy_caption(cells) if cells else "Accuracy."]
    shown = [column.heading for column in COLUMNS if _has_figure(column, lines)]
    sentences += [EXPLANATIONS[heading] for heading in shown if heading in EXPLANATIONS]
    sentences += _left_out_caption(lines)
    if attacks:
        sentences.append(_attack_caption(attacks))
    if budgets(lines):
        sentences.append(
            "Passes: forward and backward passes of each training image; lines with different "
            "numbers are not trained on one budget."
        )
    return " ".join(sentences)


def _accuracy_caption(cells: Sequence[Cell]) -> str:
    """Describe the accuracies of images that are not attacked."""
    seeds = sorted({len(cell.accuracies) for cell in cells})
    images = max(cell.count for cell in cells)
    half = max((high - low) / 2 for low, high in (cell.interval for cell in cells))
    text = (
        f"Accuracy, mean over {'-'.join(map(str, seeds))} seed{'s' * (max(seeds) > 1)} "
        f"on {images:,} test images (95 % interval up to ±{half:.3f} for one condition"
    )
    if max(seeds) > 1:
        text += f"; standard deviation over seeds up to {max(cell.spread for cell in cells):.3f}"
    return f"{text})."


def _left_out_caption(lines: Sequence[Line]) -> list[str]:
    """Name the seeds that figures over several conditions leave out, in one sentence or none."""
    headings: dict[tuple[Condition, ...], list[str]] = {}
    for column in COLUMNS:
        if len(column.conditions) > 1 and _has_figure(column, lines):
            headings.setdefault(column.conditions, []).append(column.heading)
    parts = [
        f"seed {seed} of {line.label} from {' and '.join(names)} "
        f"({count} of {len(conditions)} conditions)"
        for line in lines
        for conditions, names in headings.items()
        for seed, count in line.left_out(conditions).items()
    ]
    return [f"Left out, because incomplete: {'; '.join(parts)}."] if parts else []


def _attack_caption(cells: Sequence[Cell]) -> str:
    """Describe the accuracies under attack, as a sentence of the caption."""
    return (
        "Attacks: the worst case over several, adaptive where the view smooths, "
        f"on {max(cell.count for cell in cells):,} images, "
        f"with {cells[0].budget or 'an unknown budget'}; a bound from above, which stronger "
        "attacks lower. A smoother in front of a network is no defence."
    )


def markdown(lines: Sequence[Line]) -> str:
    """Return a Markdown table with its caption.

    Parameters
    ----------
    lines : sequence of Line
        Rows of the table, from `summarise`.

    Returns
    -------
    str
        The table, with the best value of each column in bold, an empty line and the caption. In
        names, bars are escaped and line ends are spaces.
    """
    grid = tabulate(lines)
    rows = ["| " + " | ".join(grid.headings) + " |", "|" + "---|" * len(grid.headings)]
    for texts, best in zip(grid.body, grid.best, strict=True):
        cells = (
            f"**{text}**" if top else _escaped(text) for text, top in zip(texts, best, strict=True)
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + f"\n\n{caption(lines)}\n"


def _escaped(text: str) -> str:
    """Return a text that stays in its cell of a Markdown table."""
    text = re.sub(r"\\*\|", lambda match: match[0][:-1] * 2 + r"\|", text)
    return " ".join(text.splitlines())


def terminal_table(lines: Sequence[Line]) -> Table:
    """Return the table for a terminal.

    Parameters
    ----------
    lines : sequence of Line
        Rows of the table, from `summarise`.

    Returns
    -------
    rich.table.Table
        The table with its caption, with the best value of each column in bold.
    """
    grid = tabulate(lines)
    table = Table(
        caption=caption(lines),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    for index, heading in enumerate(grid.headings):
        justify: Literal["left", "right"] = "left" if index < 2 else "right"
        title = heading if index < 2 else heading.replace(" ", "\n", 1)
        table.add_column(title, justify=justify, overflow="fold", no_wrap=index >= 2)
    for texts, best in zip(grid.body, grid.best, strict=True):
        cells = zip(texts, best, strict=True)
        table.add_row(*(Text(text, style="bold" if top else "") for text, top in cells))
    return table


def plain_table(rows: Sequence[Row]) -> Table:
    """Return rows as a table for the terminal, without summarising them.

    Parameters
    ----------
    rows : sequence of dict
        At least one row; numbers that are floats are shown with three decimals.

    Returns
    -------
    rich.table.Table
        A table with a column for every key of the rows.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    for index, key in enumerate(keys):
        table.add_column(key, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        values = [row.get(key, "") for key in keys]
        table.add_row(
            *(
                format_accuracy(value) if isinstance(value, float) else str(value)
                for value in values
            )
        )
    return table
