"""Rows to tables, plots and one self-contained page, and to nothing that is not in the rows."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from virolbi.corruptions import ALEXNET_ERRORS, COMMON, HELD_OUT, NOISES
from virolbi.results.rows import Row, read_details, row_key
from virolbi.results.statistics import holm_correction, paired_test
from virolbi.results.summary import COLUMNS, Cell, Line, caption, line_name, read_results, summarise

TERMINAL_COLUMNS = tuple(
    key for key in COLUMNS if key[1] in (0, 5) or key[0] in ("low_resolution", "attacks")
)
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class _Grid:
    """A table as text: what every kind of output has in common."""

    headings: list[str]
    body: list[list[str]]
    best: list[list[bool]]
    notes: list[list[str]]


def tabulate(
    lines: Sequence[Line],
    columns: Iterable[tuple[str, int]] = COLUMNS,
    totals: Sequence[str] = ("worst", "mean"),
) -> _Grid:
    levels = {key: cell.level for line in lines for key, cell in line.cells.items()}
    columns = [key for key in columns if key in levels]
    table = [[line.cells.get(key) for key in columns] for line in lines]
    means = [[cell.mean if cell else math.nan for cell in row] for row in table]
    values = [
        row + [getattr(line, total) for total in totals]
        for row, line in zip(means, lines, strict=True)
    ]
    tops = [
        max((value for value in column if value == value), default=math.nan)
        for column in zip(*values, strict=True)
    ]
    return _Grid(
        [
            "trained on",
            "tested",
            *(COLUMNS[key].format(level=levels[key]) for key in columns),
            *({"worst": "worst type"}.get(total, total) for total in totals),
        ],
        [
            [line.arm, line.view, *(short(value) for value in row)]
            for line, row in zip(lines, values, strict=True)
        ],
        [
            [False, False, *(value == top for value, top in zip(row, tops, strict=True))]
            for row in values
        ],
        [["", "", *(_note(cell) for cell in row), *("" for _ in totals)] for row in table],
    )


def short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value == value else "-"


def _note(cell: Cell | None) -> str:
    if cell is None:
        return ""
    spread = (
        f", standard deviation over {cell.seeds} seeds {cell.spread:.3f}"
        if cell.seeds > 1
        else ", one seed"
    )
    return f"95 % interval {cell.low:.3f} to {cell.high:.3f} for {cell.count} images{spread}"


def markdown(lines: Sequence[Line]) -> str:
    """A Markdown table with its caption; the best of each column in bold."""
    grid = tabulate(lines)
    out = ["| " + " | ".join(grid.headings) + " |", "|" + "---|" * len(grid.headings)]
    for texts, best in zip(grid.body, grid.best, strict=True):
        out.append(
            "| "
            + " | ".join(
                f"**{text}**" if top else text for text, top in zip(texts, best, strict=True)
            )
            + " |"
        )
    return "\n".join(out) + f"\n\n{caption(lines)}\n"


def terminal_table(lines: Sequence[Line]) -> Table:
    """The strongest severities as a rich table, narrow enough for 80 columns."""
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
        table.add_row(
            *(
                Text(text, style="bold" if top else "")
                for text, top in zip(texts, best, strict=True)
            )
        )
    return table


def by_corruption(rows: Sequence[Row], lines: Sequence[Line]) -> list[Row]:
    """Accuracy of each line under each corruption, mean over the five severities; nothing where there are the noises alone.

    Below them the mean of the common ones, and for the classes of ImageNet at the constants of 224 pixels mCE: the mean over
    them of the error divided by AlexNet's, less is better (Hendrycks & Dietterich, ICLR 2019); our frost is not theirs.
    """
    whole = {
        line_name(line): {
            name: fmean(line.cells[name, severity].mean for severity in range(1, 6))
            for name in COMMON + HELD_OUT
            if all((name, severity) in line.cells for severity in range(1, 6))
        }
        for line in lines
    }
    kinds = [name for name in COMMON + HELD_OUT if any(name in mean for mean in whole.values())]
    if set(kinds) <= set(NOISES):
        return []

    def row(title: str, figure: Callable[[dict[str, float]], float]) -> Row:
        return {"corruption": title} | {name: figure(mean) for name, mean in whole.items()}

    def over_common(mean: dict[str, float], figures: Callable[[float, float], float]) -> float:
        return fmean(map(figures, (mean.get(name, math.nan) for name in COMMON), ALEXNET_ERRORS))

    table = [
        {"corruption": kind.replace("_", " ")}
        | {name: mean.get(kind, math.nan) for name, mean in whole.items()}
        for kind in kinds
    ]
    if set(COMMON) <= set(kinds):
        table.append(
            row(
                f"mean of the {len(COMMON)} common",
                lambda mean: over_common(mean, lambda right, _: right),
            )
        )
        if {
            (row.get("resolution"), row.get("classes"))
            for row in rows
            if row["condition"] in COMMON
        } == {(224, 1000)}:
            table.append(
                row(
                    "mCE, less is better",
                    lambda mean: over_common(mean, lambda right, error: (1 - right) / error),
                )
            )
    return table


def plain_table(rows: Sequence[Row]) -> Table:
    """Rows as they are, with a column for every key of the first."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for index, key in enumerate(rows[0]):
        table.add_column(key, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(
            *(
                short(row[key]) if isinstance(row.get(key), float) else str(row.get(key, ""))
                for key in rows[0]
            )
        )
    return table


def versus(folder: Path, first: str, second: str) -> Table:
    """Two models on the same images, condition by condition: the gain of the first, its 95 % interval, and a sign test.

    first, second: the name of a model in the rows, with a slash and its view where it has several. Raises ValueError for one
    that is not there, where the two have no condition and seed in common, and where the file of details, which `evaluate`
    writes, is not.
    """
    details = read_details(folder / "details.jsonl")
    rows = [row for row in read_results(folder) if row_key(row) in details]
    if not rows:
        raise ValueError(
            f"{folder} must hold a details.jsonl, which an evaluation writes beside its rows"
        )
    summarise(rows)  # refuses what cannot stand side by side
    sides = [_correct(rows, details, name) for name in (first, second)]
    pairs = {}
    for key in sides[0]:
        if seeds := sorted(sides[0][key].keys() & sides[1].get(key, {}).keys()):
            pairs[key] = [np.stack([side[key][seed] for seed in seeds]) for side in sides]
    if not pairs:
        raise ValueError(
            f"{folder} must hold {first} and {second} under one condition, of one seed; it does not"
        )
    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption_justify="left"
    )
    for heading in ("condition", "first", "second", "gain", "95 % interval", "p"):
        table.add_column(
            heading, justify="left" if heading in ("condition", "p") else "right", no_wrap=True
        )
    tests = [paired_test(*sides) for sides in pairs.values()]
    for (key, (one, other)), test, p in zip(
        pairs.items(), tests, holm_correction([test.p for test in tests]), strict=True
    ):
        verdict = f"{p:.1g}" if p < SIGNIFICANT else f"{p:.1g}, not significant"
        name, interval = (
            f"{key[0].replace('_', ' ')} {key[1] or ''}",
            f"{test.low:+.3f} {test.high:+.3f}",
        )
        table.add_row(
            name, short(one.mean()), short(other.mean()), f"{test.gain:+.3f}", interval, verdict
        )
    table.caption = (
        f"First: {first}. Second: {second}. Exact sign test over images, seeds averaged (McNemar's for one); p raised for "
        f"{len(tests)} tests (Holm), and then below {SIGNIFICANT}."
    )
    return table


def _correct(
    rows: Sequence[Row], details: Mapping[Any, Any], name: str
) -> dict[tuple[str, int], dict[int, np.ndarray]]:
    """Which images a model gets right under each condition, by seed."""
    arms = sorted({f"{row['arm']}/{row['view']}" for row in rows})
    chosen = [arm for arm in arms if name in (arm, arm.rpartition("/")[0])]
    if len(chosen) != 1:
        raise ValueError(f"a model must be named as one of {arms}, got {name!r}")
    found: dict[tuple[str, int], dict[int, np.ndarray]] = {}
    for row in rows:
        if f"{row['arm']}/{row['view']}" == chosen[0]:
            found.setdefault((row["condition"], row["severity"]), {})[row["seed"]] = details[
                row_key(row)
            ][0]
    return found
