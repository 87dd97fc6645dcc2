"""Tables of summarised rows, as Markdown and for the terminal."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from virolbi.results.rows import Row
from virolbi.results.summary import Cell, Condition, Line, printable

Total = Literal["worst", "mean"]

# Columns of a table by condition: headings, in which {level} is filled in from the rows.
COLUMNS: Mapping[Condition, str] = {
    ("clean", 0): "clean",
    ("gaussian_noise", 1): "Gauss {level:g}",
    ("gaussian_noise", 3): "Gauss {level:g}",
    ("gaussian_noise", 5): "Gauss {level:g}",
    ("shot_noise", 5): "shot {level:g}",
    ("impulse_noise", 4): "impulse {level:g}",
    ("impulse_noise", 5): "impulse {level:g}",
    ("low_resolution", 1): "1/{level:g} size",
    ("low_resolution", 2): "1/{level:g} size",
    ("attacks", 1): "attacks {level:.2g}",
}
TOTALS: Mapping[Total, str] = {"worst": "worst type", "mean": "mean"}
TERMINAL_COLUMNS = tuple(
    (name, severity)
    for name, severity in COLUMNS
    if severity in (0, 5) or name in ("low_resolution", "attacks")
)


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


def tabulate(
    lines: Sequence[Line],
    columns: Iterable[Condition] = tuple(COLUMNS),
    totals: Sequence[Total] = tuple(TOTALS),
) -> Grid:
    """Return the accuracies of lines as a table of text.

    Parameters
    ----------
    lines : sequence of Line
        Rows of the table, from `summarise`.
    columns : iterable of tuple, optional
        Conditions to show, of `COLUMNS`; those without a cell in any line are left out.
    totals : sequence of {"worst", "mean"}, optional
        Further columns over the noise types.

    Returns
    -------
    Grid
        The table. The first two columns are the arm and the view.
    """
    levels = {key: cell.level for line in lines for key, cell in line.cells.items()}
    columns = [key for key in columns if key in levels]
    cells = [[line.cells.get(key) for key in columns] for line in lines]
    values = [
        [math.nan if cell is None else cell.mean for cell in row]
        + [getattr(line, total) for total in totals]
        for row, line in zip(cells, lines, strict=True)
    ]
    maxima = [
        max((value for value in column if not math.isnan(value)), default=math.nan)
        for column in zip(*values, strict=True)
    ]
    condition_headings = [COLUMNS[key].format(level=levels[key]) for key in columns]
    return Grid(
        headings=["trained on", "tested", *condition_headings, *(TOTALS[key] for key in totals)],
        body=[
            [printable(line.arm), printable(line.view), *map(format_accuracy, row)]
            for line, row in zip(lines, values, strict=True)
        ],
        best=[
            [False, False, *(value == top for value, top in zip(row, maxima, strict=True))]
            for row in values
        ],
        notes=[["", "", *map(_note, row), *("" for _ in totals)] for row in cells],
    )


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


def _note(cell: Cell | None) -> str:
    """Return the interval of a cell and its spread over seeds as text."""
    if cell is None:
        return ""
    spread = (
        f"standard deviation over {cell.seeds} seeds {cell.spread:.3f}"
        if cell.seeds > 1
        else "one seed"
    )
    return f"95 % interval {cell.low:.3f} to {cell.high:.3f} for {cell.count} images, {spread}"


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
    attacks: dict[Condition, Cell] = {}
    noises: list[Cell] = []
    for line in lines:
        for key, cell in line.cells.items():
            if key[0] == "attacks":
                attacks[key] = cell  # of the last line that has this condition
            elif key in COLUMNS:
                noises.append(cell)
    text = _noise_caption(noises) if noises else "Accuracy."
    return text + (_attack_caption(list(attacks.values())) if attacks else "")


def _noise_caption(noises: Sequence[Cell]) -> str:
    """Describe the accuracies of images that are clean or have noise."""
    seeds = {cell.seeds for cell in noises}
    images = max(cell.count for cell in noises)
    half = max((cell.high - cell.low) / 2 for cell in noises)
    plural = "s" if max(seeds) > 1 else ""
    text = (
        f"Accuracy, mean over {'-'.join(map(str, sorted(seeds)))} seed{plural} "
        f"on {images:,} test images (95 % interval up to ±{half:.3f}"
    )
    if max(seeds) > 1:
        text += f"; standard deviation over seeds up to {max(cell.spread for cell in noises):.3f}"
    return text + (
        "). Worst type and mean: of Gaussian, shot and impulse noise at severity 5 and half size."
    )


def _attack_caption(cells: Sequence[Cell]) -> str:
    """Describe the accuracies under attack, as a further sentence of the caption."""
    return (
        " Attacks: the worst case over several, adaptive where the view smooths, "
        f"on {max(cell.count for cell in cells):,} images, "
        f"with {cells[0].budget or 'an unknown budget'}; a bound from above."
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
        The table, with the best value of each column in bold, an empty line and the caption.
    """
    grid = tabulate(lines)
    rows = ["| " + " | ".join(grid.headings) + " |", "|" + "---|" * len(grid.headings)]
    for texts, best in zip(grid.body, grid.best, strict=True):
        cells = (f"**{text}**" if top else text for text, top in zip(texts, best, strict=True))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + f"\n\n{caption(lines)}\n"


def terminal_table(lines: Sequence[Line]) -> Table:
    """Return a table of the strongest severities that fits in 80 columns.

    Parameters
    ----------
    lines : sequence of Line
        Rows of the table, from `summarise`.

    Returns
    -------
    rich.table.Table
        The table with its caption, with the best value of each column in bold.
    """
    grid = tabulate(lines, TERMINAL_COLUMNS, ("worst",))
    table = Table(
        caption=caption(lines),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    for index, heading in enumerate(grid.headings):
        table.add_column(heading, justify="left" if index < 2 else "right", no_wrap=index < 2)
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
        A table with a column for every key of the first row.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for index, key in enumerate(rows[0]):
        table.add_column(key, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        values = [row.get(key, "") for key in rows[0]]
        table.add_row(
            *(
                format_accuracy(value) if isinstance(value, float) else str(value)
                for value in values
            )
        )
    return table
