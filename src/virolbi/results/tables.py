"""Rows to tables, plots and one self-contained page, and to nothing that is not in the rows."""

import base64
import html
import io
import json
import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from virolbi._files import write_whole
from virolbi.corruptions import ALEXNET_ERRORS, COMMON, HELD_OUT, NOISES
from virolbi.rows import MEASURE, Row, holm, identity, paired, read_details, read_lines, read_rows, wilson_interval

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
    ("attacks", 1): "attacks {level:.2g}",
}
TERMINAL_COLUMNS = tuple(key for key in COLUMNS if key[1] in (0, 5) or key[0] in ("low_resolution", "attacks"))
WORST_OF = (("gaussian_noise", 5), ("shot_noise", 5), ("impulse_noise", 5), ("low_resolution", 1))
SIGNIFICANT = 0.05
CHECKS = "checks.jsonl"
TILES = "tiles.png"  # the first test images side by side, which an evaluation leaves in the folder


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
    budget: str | None  # of attacks


@dataclass(frozen=True)
class Line:
    """One arm in one view."""

    arm: str
    view: str
    cells: dict[tuple[str, int], Cell]

    @property
    def worst(self) -> float:
        """The least accuracy over noise types at severity 5 and half resolution; not a number where one is missing."""
        return min(self._types)

    @property
    def mean(self) -> float:
        """The mean over the same."""
        return fmean(self._types)

    @property
    def _types(self) -> list[float]:
        found = [self.cells[key].mean for key in WORST_OF if key in self.cells]
        return found if len(found) == len(WORST_OF) else [math.nan]


def read_folder(folder: Path) -> list[Row]:
    """The rows of a folder of results. Raises ValueError where there are none."""
    rows = read_rows(folder / "rows.jsonl")
    if not rows:
        raise ValueError(f"{folder} must hold a rows.jsonl with at least one row")
    return rows


def summarise(rows: Sequence[Row]) -> list[Line]:
    """Group rows by arm and view, average over seeds, and sort by the worst type, best first.

    Raises ValueError for rows of different images or measured otherwise, which cannot stand in one table.
    """
    firsts: dict[tuple[str, int], Row] = {}
    for row in rows:
        first = firsts.setdefault((row["condition"], row["severity"]), row)
        for name in ("images", *MEASURE):
            if row.get(name) != first.get(name):
                raise ValueError(
                    f"rows must have one {name} for {row['condition']} {row['severity']}, "
                    f"got {first.get(name)} and {row.get(name)}"
                )
    grouped: dict[tuple[str, str], dict[tuple[str, int], dict[int, Row]]] = {}
    for row in rows:
        conditions = grouped.setdefault((row["arm"], row["view"]), {})
        if conditions.setdefault((row["condition"], row["severity"]), {}).setdefault(row["seed"], row) is not row:
            raise ValueError(f"rows must be one for each model, condition and seed, got two of {identity(row)[:5]}")
    lines = [
        Line(arm, view, {key: _cell([*of.values()]) for key, of in cells.items()}) for (arm, view), cells in grouped.items()
    ]
    return sorted(lines, key=lambda line: -line.worst if line.worst == line.worst else math.inf)


def _cell(rows: list[Row]) -> Cell:
    accuracies = [row["accuracy"] for row in rows]
    mean, count = fmean(accuracies), min(row["count"] for row in rows)
    low, high = wilson_interval(mean * count, count)  # seeds share the images: they do not add to the sample
    spread = stdev(accuracies) if len(rows) > 1 else 0.0
    return Cell(mean, low, high, spread, len(rows), count, rows[0]["level"], rows[0].get("budget"))


@dataclass(frozen=True)
class _Grid:
    """A table as text: what every kind of output has in common."""

    headings: list[str]
    body: list[list[str]]
    best: list[list[bool]]
    notes: list[list[str]]


def _grid(
    lines: Sequence[Line], columns: Iterable[tuple[str, int]] = COLUMNS, totals: Sequence[str] = ("worst", "mean")
) -> _Grid:
    levels = {key: cell.level for line in lines for key, cell in line.cells.items()}
    columns = [key for key in columns if key in levels]
    table = [[line.cells.get(key) for key in columns] for line in lines]
    means = [[cell.mean if cell else math.nan for cell in row] for row in table]
    values = [row + [getattr(line, total) for total in totals] for row, line in zip(means, lines, strict=True)]
    tops = [max((value for value in column if value == value), default=math.nan) for column in zip(*values, strict=True)]
    return _Grid(
        [
            "trained on",
            "tested",
            *(COLUMNS[key].format(level=levels[key]) for key in columns),
            *({"worst": "worst type"}.get(total, total) for total in totals),
        ],
        [[line.arm, line.view, *(_short(value) for value in row)] for line, row in zip(lines, values, strict=True)],
        [[False, False, *(value == top for value, top in zip(row, tops, strict=True))] for row in values],
        [["", "", *(_note(cell) for cell in row), *("" for _ in totals)] for row in table],
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
    attacks = [cell for key, cell in cells.items() if key[0] == "attacks"]
    noises = [cell for line in lines for key, cell in line.cells.items() if key in COLUMNS and key[0] != "attacks"]
    seeds = {cell.seeds for cell in noises}
    half = max((cell.high - cell.low) / 2 for cell in noises)
    text = f"Accuracy, mean over {'-'.join(str(n) for n in sorted(seeds))} seed{'s' if max(seeds) > 1 else ''}"
    text += f" on {max(cell.count for cell in noises):,} test images (95 % interval up to ±{half:.3f}"
    if max(seeds) > 1:
        text += f"; standard deviation over seeds up to {max(cell.spread for cell in noises):.3f}"
    text += "). Worst type and mean: of Gaussian, shot and impulse noise at severity 5 and half size."
    if attacks:
        count = max(cell.count for cell in attacks)
        text += f" Attacks: the worst case over several, adaptive where the view smooths, on {count:,} images, with"
        text += f" {attacks[0].budget or 'an unknown budget'}; a bound from above."
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
    grid = _grid(lines, TERMINAL_COLUMNS, ("worst",))
    table = Table(caption=caption(lines), caption_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for index, heading in enumerate(grid.headings):
        table.add_column(heading, justify="left" if index < 2 else "right", no_wrap=index < 2)
    for texts, best in zip(grid.body, grid.best, strict=True):
        table.add_row(*(Text(text, style="bold" if top else "") for text, top in zip(texts, best, strict=True)))
    return table


def by_corruption(rows: Sequence[Row], lines: Sequence[Line]) -> list[Row]:
    """Accuracy of each line under each corruption, mean over the five severities; nothing where there are the noises alone.

    Below them the mean of the common ones, and for the classes of ImageNet at the constants of 224 pixels mCE: the mean over
    them of the error divided by AlexNet's, less is better (Hendrycks & Dietterich, ICLR 2019); our frost is not theirs.
    """
    whole = {
        _name(line): {
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
        {"corruption": kind.replace("_", " ")} | {name: mean.get(kind, math.nan) for name, mean in whole.items()}
        for kind in kinds
    ]
    if set(COMMON) <= set(kinds):
        table.append(row(f"mean of the {len(COMMON)} common", lambda mean: over_common(mean, lambda right, _: right)))
        if {(row.get("resolution"), row.get("classes")) for row in rows if row["condition"] in COMMON} == {(224, 1000)}:
            table.append(row("mCE, less is better", lambda mean: over_common(mean, lambda right, error: (1 - right) / error)))
    return table


def plain_table(rows: Sequence[Row]) -> Table:
    """Rows as they are, with a column for every key of the first."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for index, key in enumerate(rows[0]):
        table.add_column(key, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_short(row[key]) if isinstance(row.get(key), float) else str(row.get(key, "")) for key in rows[0]))
    return table


def versus(folder: Path, first: str, second: str) -> Table:
    """Two models on the same images, condition by condition: the gain of the first, its 95 % interval, and a sign test.

    first, second: the name of a model in the rows, with a slash and its view where it has several. Raises ValueError for one
    that is not there, where the two have no condition and seed in common, and where the file of details, which `evaluate`
    writes, is not.
    """
    details = read_details(folder / "details.jsonl")
    rows = [row for row in read_folder(folder) if identity(row) in details]
    if not rows:
        raise ValueError(f"{folder} must hold a details.jsonl, which an evaluation writes beside its rows")
    summarise(rows)  # refuses what cannot stand side by side
    sides = [_correct(rows, details, name) for name in (first, second)]
    pairs = {}
    for key in sides[0]:
        if seeds := sorted(sides[0][key].keys() & sides[1].get(key, {}).keys()):
            pairs[key] = [np.stack([side[key][seed] for seed in seeds]) for side in sides]
    if not pairs:
        raise ValueError(f"{folder} must hold {first} and {second} under one condition, of one seed; it does not")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption_justify="left")
    for heading in ("condition", "first", "second", "gain", "95 % interval", "p"):
        table.add_column(heading, justify="left" if heading in ("condition", "p") else "right", no_wrap=True)
    tests = [paired(*sides) for sides in pairs.values()]
    for (key, (one, other)), test, p in zip(pairs.items(), tests, holm([test.p for test in tests]), strict=True):
        verdict = f"{p:.1g}" if p < SIGNIFICANT else f"{p:.1g}, not significant"
        name, interval = f"{key[0].replace('_', ' ')} {key[1] or ''}", f"{test.low:+.3f} {test.high:+.3f}"
        table.add_row(name, _short(one.mean()), _short(other.mean()), f"{test.gain:+.3f}", interval, verdict)
    table.caption = (
        f"First: {first}. Second: {second}. Exact sign test over images, seeds averaged (McNemar's for one); p raised for "
        f"{len(tests)} tests (Holm), and then below {SIGNIFICANT}."
    )
    return table


def _correct(rows: Sequence[Row], details: Mapping[Any, Any], name: str) -> dict[tuple[str, int], dict[int, np.ndarray]]:
    """Which images a model gets right under each condition, by seed."""
    arms = sorted({f"{row['arm']}/{row['view']}" for row in rows})
    chosen = [arm for arm in arms if name in (arm, arm.rpartition("/")[0])]
    if len(chosen) != 1:
        raise ValueError(f"a model must be named as one of {arms}, got {name!r}")
    found: dict[tuple[str, int], dict[int, np.ndarray]] = {}
    for row in rows:
        if f"{row['arm']}/{row['view']}" == chosen[0]:
            found.setdefault((row["condition"], row["severity"]), {})[row["seed"]] = details[identity(row)][0]
    return found


def curves_svg(lines: Sequence[Line]) -> str:
    """Accuracy over severity for every corruption, as SVG: each arm as it is meant to be tested, rivals dashed, bands 95 %."""
    import matplotlib
    from matplotlib.figure import Figure

    shown = _as_meant(lines)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "virolbi", "font.size": 9}):
        corruptions = list(dict.fromkeys(name for line in lines for name, severity in line.cells if severity == 3))
        rows = -(-len(corruptions) // 3)
        figure = Figure(figsize=(11, 0.4 + 3.2 * max(rows, 1)), layout="constrained")
        panels = figure.subplots(max(rows, 1), 3, sharey=True, squeeze=False)
        for panel in panels.flat[len(corruptions) :]:
            panel.set_axis_off()
        for panel, condition in zip(panels.flat, corruptions, strict=False):
            for index, line in enumerate(shown):
                keys = [key for key in [("clean", 0), *((condition, s) for s in range(1, 6))] if key in line.cells]
                if len(keys) < 2:
                    continue
                cells, style = [line.cells[key] for key in keys], "--" if line.arm.startswith(("rival", "plain")) else "-"
                ticks = [key[1] for key in keys]
                panel.fill_between(ticks, [c.low for c in cells], [c.high for c in cells], color=f"C{index}", alpha=0.1, lw=0)
                panel.plot(ticks, [c.mean for c in cells], style, color=f"C{index}", marker="o", ms=3, label=_name(line))
            panel.set(title=condition.replace("_", " "), xlabel="severity (0: clean)", xticks=range(6))
            panel.grid(alpha=0.25)
        for panel in panels[:, 0]:
            panel.set_ylabel("accuracy")
        drawn = {name: handle for panel in panels.flat for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)}
        figure.legend(drawn.values(), drawn.keys(), loc="outside right center", frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _as_meant(lines: Sequence[Line]) -> list[Line]:
    """One line for each arm: with smoothing in front where it trained on smoothed images, the one of the best worst type."""
    best: dict[str, Line] = {}
    for line in lines:  # the best come first
        known = best.get(line.arm)
        if known is None or (_smooths(line) and not _smooths(known)):
            best[line.arm] = line
    return [line for line in lines if best[line.arm] is line]


def _smooths(line: Line) -> bool:
    return line.view == "auto" or line.view.startswith("smoothed")


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
    comparison, details = folder / "comparison.json", read_details(folder / "details.jsonl")
    parts = [
        f"<h1>Accuracy under noise: {data}</h1>",
        f"<p>{html.escape(caption(lines))}</p>",
        _html_table(lines),
        "<h2>Over severity</h2><p>Each network as it is meant to be tested; rivals and plain training dashed.</p>",
        curves_svg(lines),
        _html_by_corruption(by_corruption(rows, _as_meant(lines))),
        _html_examples(folder / "examples.png"),
        _html_checks(folder),
        _html_right_and_wrong(rows, lines, details, folder / TILES),
        _html_cost(rows, lines, details),
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


def _html_by_corruption(table: Sequence[Row]) -> str:
    if not table:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table[0])
    cells = [[html.escape(_short(v) if isinstance(v, float) else v) for v in row.values()] for row in table]
    body = "\n".join("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in cells)
    text = "Mean accuracy over the five severities."
    return f"<p>{text}</p><div class='wide first'><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"


def _html_examples(path: Path) -> str:
    if not path.exists():
        return ""
    image = base64.b64encode(path.read_bytes()).decode()
    text = "Test images, each row above what smoothing makes of it: clean, Gaussian, shot and impulse noise at severity 5."
    return f'<h2>What the smoothed networks see</h2><p>{text}</p><img alt="{text}" src="data:image/png;base64,{image}">'


def _html_right_and_wrong(
    rows: Sequence[Row], lines: Sequence[Line], details: Mapping[Any, tuple[np.ndarray, float]], path: Path
) -> str:
    """The first test images for every arm as it is meant, framed by whether it was right: clean, and in its worst type."""
    if not details or not path.exists():
        return ""
    image = base64.b64encode(path.read_bytes()).decode()
    width, height = struct.unpack(">II", path.read_bytes()[16:24])  # of a PNG
    found = {(row["arm"], row["view"], row["condition"], row["severity"], row["seed"]): identity(row) for row in rows}
    first = min(row["seed"] for row in rows)
    body = ""
    for line in _as_meant(lines):
        worst = min((key for key in WORST_OF if key in line.cells), key=lambda key: line.cells[key].mean, default=("clean", 0))
        for condition in dict.fromkeys([("clean", 0), worst]):
            correct = details.get(found.get((line.arm, line.view, *condition, first), ()), (np.zeros(0, bool), 0.0))[0]
            tiles = "".join(
                f'<i class={"right" if right else "wrong"} style="background-position:-{index * height}px 0"></i>'
                for index, right in enumerate(correct[: width // height])
            )
            title = f"{_name(line)}, {condition[0].replace('_', ' ')} {condition[1] or ''}"
            body += f"<p class=tiles><span>{html.escape(title)}</span><br>{tiles}</p>" if tiles else ""
    style = f"<style>.tiles i{{width:{height}px;height:{height}px;background-image:url(data:image/png;base64,{image})}}</style>"
    return f"<h2>Right and wrong</h2><p>The first test images: red frames where the network is wrong.</p>{style}{body}"


def warnings(folder: Path, arm: str | None = None) -> list[str]:
    """What the checks found that speaks against figures under attack: of every model, or of one."""
    found = [entry for entry in read_lines(folder / CHECKS) if entry["suspicious"] and arm in (None, entry["arm"])]
    return [f"Doubt the attacks on {entry['arm']} ({entry['view']}): {entry['name']}. {entry['sentence']}" for entry in found]


def _html_checks(folder: Path) -> str:
    entries = read_lines(folder / CHECKS)
    if not entries:
        return ""
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in warnings(folder))
    names = ", ".join(dict.fromkeys(entry["name"] for entry in entries))
    said = f"<ul>{items}</ul>" if items else "<p>None of them found anything.</p>"
    return f"<h2>Can the figures under attack be believed?</h2><p>Checked of every view: {html.escape(names)}.</p>{said}"


def _html_cost(rows: Sequence[Row], lines: Sequence[Line], details: Mapping[Any, tuple[np.ndarray, float]]) -> str:
    """Milliseconds an image takes, smoothing or filter included: the median over conditions, for the first ones warm up."""
    items = ""
    for line in lines:
        some = [row for row in rows if (row["arm"], row["view"]) == (line.arm, line.view) and "budget" not in row]
        seconds = [details[identity(row)][1] / row["count"] for row in some if identity(row) in details]
        items += f"<tr><td>{html.escape(_name(line))}<td><td>{1000 * median(seconds):.2f}</tr>" if seconds else ""
    head = "<h2>Cost</h2><p>Milliseconds an image took, with all that stands in front; the median over conditions.</p>"
    return f"{head}<table>{items}</table>" if items else ""


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
 .first th:nth-child(2), .first td:nth-child(2) {{ text-align: right }}
 tbody tr:hover {{ background: #f4f6f8 }}
 .best {{ font-weight: 700; color: #0a6640 }}
 img {{ image-rendering: pixelated; width: 100%; max-width: 48rem }}
 svg {{ max-width: 100%; height: auto }}
 .tiles i {{ display: inline-block; border: 3px solid #7a8; margin: 1px; image-rendering: pixelated }}
 .tiles .wrong {{ border-color: #c33 }} .tiles .right {{ opacity: .85 }} .tiles {{ margin: .2rem 0; line-height: 1 }}
 dt {{ font-weight: 600 }} dd {{ margin: 0 0 .4rem 1.5rem; color: #555 }}
</style></head><body>
{body}
</body></html>
"""
