"""Rows to tables, plots and one self-contained page. Nothing is computed here that is not in the rows."""

import base64
import html
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from virolbi._files import write_whole
from virolbi.rows import Row, read_rows, wilson_interval

# what a table shows: condition and severity, and a heading in which {level} is filled in from the rows
COLUMNS = {
    ("clean", 0): "clean",
    ("gaussian_noise", 1): "Gauss {level:g}",
    ("gaussian_noise", 3): "Gauss {level:g}",
    ("gaussian_noise", 5): "Gauss {level:g}",
    ("shot_noise", 5): "shot {level:g}",
    ("impulse_noise", 4): "impulse {level:g}",
    ("impulse_noise", 5): "impulse {level:g}",
    ("low_resolution", 1): "1/{level:g} size",
    ("low_resolution", 2): "1/{level:g} size",
    ("fgsm", 1): "FGSM {level:.2g}",
    ("pgd", 1): "PGD {level:.2g}",
}
TERMINAL_COLUMNS = tuple(key for key in COLUMNS if key[1] in (0, 5) or key[0] in ("low_resolution", "pgd"))
WORST_OF = (("gaussian_noise", 5), ("shot_noise", 5), ("impulse_noise", 5), ("low_resolution", 1))
CURVES = {"gaussian_noise": "Gaussian noise", "shot_noise": "shot noise", "impulse_noise": "impulse noise"}


@dataclass(frozen=True)
class Cell:
    """Accuracy under one condition: mean over seeds, 95 % interval of the sample of images, standard deviation over seeds."""

    mean: float
    low: float
    high: float
    spread: float
    seeds: int
    count: int
    level: float


@dataclass(frozen=True)
class Line:
    """One arm in one view."""

    arm: str
    view: str
    cells: dict[tuple[str, int], Cell]

    @property
    def worst(self) -> float:
        """The least accuracy over noise types at severity 5 and half resolution; not a number where one is missing."""
        if any(key not in self.cells for key in WORST_OF):
            return math.nan
        return min(self.cells[key].mean for key in WORST_OF)


def read_folder(folder: Path) -> list[Row]:
    """The rows of a folder of results. Raises ValueError where there are none."""
    rows = read_rows(folder / "rows.jsonl")
    if not rows:
        raise ValueError(f"{folder} must hold a rows.jsonl with at least one row")
    return rows


def summarise(rows: Sequence[Row]) -> list[Line]:
    """Group rows by arm and view, average over seeds, and sort by the worst type, best first.

    Raises ValueError for rows of different images or noise levels, which cannot stand in one table.
    """
    for name in ("images", "level"):
        seen: dict[tuple[str, int], Any] = {}
        for row in rows:
            first = seen.setdefault((row["condition"], row["severity"]), row[name])
            if row[name] != first:
                raise ValueError(
                    f"rows must have one {name} for {row['condition']} {row['severity']}, got {first} and {row[name]}"
                )
    grouped: dict[tuple[str, str], dict[tuple[str, int], list[Row]]] = {}
    for row in rows:
        conditions = grouped.setdefault((row["arm"], row["view"]), {})
        conditions.setdefault((row["condition"], row["severity"]), []).append(row)
    lines = [Line(arm, view, {key: _cell(of) for key, of in cells.items()}) for (arm, view), cells in grouped.items()]
    return sorted(lines, key=lambda line: -line.worst if line.worst == line.worst else math.inf)


def _cell(rows: list[Row]) -> Cell:
    accuracies = [row["accuracy"] for row in rows]
    mean, count = fmean(accuracies), min(row["count"] for row in rows)
    low, high = wilson_interval(mean * count, count)  # seeds share the images: they do not add to the sample
    spread = stdev(accuracies) if len(rows) > 1 else 0.0
    return Cell(mean, low, high, spread, len(rows), count, rows[0]["level"])


@dataclass(frozen=True)
class _Grid:
    """A table as text: what every kind of output has in common."""

    headings: list[str]
    body: list[list[str]]
    best: list[list[bool]]
    notes: list[list[str]]


def _grid(lines: Sequence[Line], columns: Iterable[tuple[str, int]] = COLUMNS) -> _Grid:
    levels = {key: cell.level for line in lines for key, cell in line.cells.items()}
    columns = [key for key in columns if key in levels]
    table = [[line.cells.get(key) for key in columns] for line in lines]
    values = [[cell.mean if cell else math.nan for cell in row] + [line.worst] for row, line in zip(table, lines, strict=True)]
    tops = [max((value for value in column if value == value), default=math.nan) for column in zip(*values, strict=True)]
    return _Grid(
        ["trained on", "tested", *(COLUMNS[key].format(level=levels[key]) for key in columns), "worst type"],
        [[line.arm, line.view, *(_short(value) for value in row)] for line, row in zip(lines, values, strict=True)],
        [[False, False, *(value == top for value, top in zip(row, tops, strict=True))] for row in values],
        [["", "", *(_note(cell) for cell in row), ""] for row in table],
    )


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value == value else "-"


def _note(cell: Cell | None) -> str:
    if cell is None:
        return ""
    spread = f", standard deviation over {cell.seeds} seeds {cell.spread:.3f}" if cell.seeds > 1 else ", one seed"
    return f"95 % interval {cell.low:.3f} to {cell.high:.3f} for {cell.count} images{spread}"


def caption(lines: Sequence[Line]) -> str:
    """What the figures of a table are: seeds, images, and how far they can be trusted."""
    cells = {key: cell for line in lines for key, cell in line.cells.items()}
    attacks = {key: cell for key, cell in cells.items() if key[0] in ("fgsm", "pgd")}
    noises = [cell for line in lines for key, cell in line.cells.items() if key not in attacks]
    seeds = {cell.seeds for cell in noises}
    half = max((cell.high - cell.low) / 2 for cell in noises)
    text = f"Accuracy, mean over {'-'.join(str(n) for n in sorted(seeds))} seed{'s' if max(seeds) > 1 else ''}"
    text += f" on {max(cell.count for cell in noises):,} test images (95 % interval up to ±{half:.3f}"
    if max(seeds) > 1:
        text += f"; standard deviation over seeds up to {max(cell.spread for cell in noises):.3f}"
    text += "). Worst type: the least of Gaussian, shot and impulse noise at severity 5 and half size."
    if attacks:
        count = max(cell.count for cell in attacks.values())
        text += f" FGSM and PGD (10 steps, through the smoothing) on {count:,} images: gradient attacks, bounds from above."
    return text


def markdown(lines: Sequence[Line]) -> str:
    """A Markdown table with its caption; the best of each column in bold."""
    grid = _grid(lines)
    out = ["| " + " | ".join(grid.headings) + " |", "|" + "---|" * len(grid.headings)]
    for texts, best in zip(grid.body, grid.best, strict=True):
        out.append("| " + " | ".join(f"**{text}**" if top else text for text, top in zip(texts, best, strict=True)) + " |")
    return "\n".join(out) + f"\n\n{caption(lines)}\n"


def terminal_table(lines: Sequence[Line]) -> Table:
    """The strongest severities as a rich table, narrow enough for 80 columns."""
    grid = _grid(lines, TERMINAL_COLUMNS)
    table = Table(caption=caption(lines), caption_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for index, heading in enumerate(grid.headings):
        table.add_column(heading, justify="left" if index < 2 else "right", no_wrap=index < 2)
    for texts, best in zip(grid.body, grid.best, strict=True):
        table.add_row(*(Text(text, style="bold" if top else "") for text, top in zip(texts, best, strict=True)))
    return table


def curves_svg(lines: Sequence[Line]) -> str:
    """Accuracy over severity for every noise, as SVG: each arm as it is meant to be tested, rivals dashed, bands 95 %."""
    import matplotlib
    from matplotlib.figure import Figure

    shown = _as_meant(lines)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "virolbi", "font.size": 9}):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        panels = figure.subplots(1, len(CURVES), sharey=True)
        for panel, (condition, title) in zip(panels, CURVES.items(), strict=True):
            for index, line in enumerate(shown):
                keys = [key for key in [("clean", 0), *((condition, s) for s in range(1, 6))] if key in line.cells]
                if len(keys) < 2:
                    continue
                cells, style = [line.cells[key] for key in keys], "--" if line.arm.startswith(("rival", "plain")) else "-"
                ticks = [key[1] for key in keys]
                panel.fill_between(ticks, [c.low for c in cells], [c.high for c in cells], color=f"C{index}", alpha=0.1, lw=0)
                panel.plot(ticks, [c.mean for c in cells], style, color=f"C{index}", marker="o", ms=3, label=_name(line))
            panel.set(title=title, xlabel="severity (0: clean)", xticks=range(6))
            panel.grid(alpha=0.25)
        panels[0].set_ylabel("accuracy")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _as_meant(lines: Sequence[Line]) -> list[Line]:
    """One line for each arm: with smoothing in front where it trained on smoothed images."""
    smoothed = {line.arm for line in lines if line.view == "smoothed"}
    return [line for line in lines if line.view == "smoothed" or line.arm not in smoothed]


def _name(line: Line) -> str:
    return line.arm if line.view == "raw" else f"{line.arm} ({line.view})"


def write_report(folder: Path, page: Path | None = None) -> Path:
    """Make one self-contained HTML page from a folder's rows.jsonl, and its examples.png and comparison.json where it has them.

    page: where to write it; report.html in the folder when None. Returns that path. Raises ValueError without rows.
    """
    rows = read_folder(folder)
    page = page or folder / "report.html"
    lines = summarise(rows)
    data = html.escape(Path(rows[0]["data"]).name)
    comparison = folder / "comparison.json"
    parts = [
        f"<h1>Accuracy under noise: {data}</h1>",
        f"<p>{html.escape(caption(lines))}</p>",
        _html_table(lines),
        "<h2>Over severity</h2><p>Each network as it is meant to be tested; rivals and plain training dashed.</p>",
        curves_svg(lines),
        _html_examples(folder / "examples.png"),
        _html_recipes(json.loads(comparison.read_text())["recipes"]) if comparison.exists() else "",
    ]
    write_whole(page, _PAGE.format(title=data, body="\n".join(parts)).encode())
    return page


def _html_table(lines: Sequence[Line]) -> str:
    grid = _grid(lines)
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in grid.headings)
    body = ""
    for texts, best, notes in zip(grid.body, grid.best, grid.notes, strict=True):
        cells = zip(texts, best, notes, strict=True)
        body += "<tr>" + "".join(
            f'<td{" class=best" * top} title="{html.escape(note)}">{html.escape(text)}</td>' for text, top, note in cells
        )
        body += "</tr>\n"
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"


def _html_examples(path: Path) -> str:
    if not path.exists():
        return ""
    image = base64.b64encode(path.read_bytes()).decode()
    text = "Test images, each row above what smoothing makes of it: clean, Gaussian, shot and impulse noise at severity 5."
    return f'<h2>What the smoothed networks see</h2><p>{text}</p><img alt="{text}" src="data:image/png;base64,{image}">'


def _html_recipes(recipes: dict[str, dict[str, Any]]) -> str:
    """The first arm's recipe, and what every other one changes in it."""
    first, base = next(iter(recipes.items()))

    def describe(settings: dict[str, Any]) -> str:
        return html.escape(", ".join(f"{key} {value}" for key, value in settings.items())) or "nothing"

    items = ""
    for arm, recipe in list(recipes.items())[1:]:
        changed = {key: value for key, value in recipe.items() if value != base.get(key)}
        items += f"<dt>{html.escape(arm)}</dt><dd>changes {describe(changed)}</dd>"
    return f"<h2>Recipes</h2><dl><dt>{html.escape(first)}</dt><dd>{describe(base)}</dd>{items}</dl>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>virolbi: {title}</title>
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
 h1, h2 {{ line-height: 1.2; font-weight: 600 }}
 .wide {{ overflow-x: auto }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; white-space: nowrap }}
 th, td {{ padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd }}
 th {{ border-bottom: 2px solid #999; white-space: normal; vertical-align: bottom }}
 th:nth-child(-n+2), td:nth-child(-n+2) {{ text-align: left }}
 tbody tr:hover {{ background: #f4f6f8 }}
 .best {{ font-weight: 700; color: #0a6640 }}
 img {{ image-rendering: pixelated; width: 100%; max-width: 48rem }}
 svg {{ max-width: 100%; height: auto }}
 dt {{ font-weight: 600 }} dd {{ margin: 0 0 .4rem 1.5rem; color: #555 }}
</style></head><body>
{body}
</body></html>
"""
