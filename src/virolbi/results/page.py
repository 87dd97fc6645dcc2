"""One self-contained HTML page."""

import base64
import html
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from virolbi._storage import write_atomic
from virolbi.results.figures import curves_svg
from virolbi.results.rows import Row, read_details, read_lines, row_key
from virolbi.results.summary import (
    WORST_OF,
    Line,
    as_meant,
    caption,
    line_name,
    read_results,
    summarise,
)
from virolbi.results.tables import by_corruption, short, tabulate

CHECKS = "checks.jsonl"


TILES = "tiles.png"  # the first test images side by side, which an evaluation leaves in the folder


def write_report(folder: Path, page: Path | None = None) -> Path:
    """Make one self-contained HTML page from a folder's rows.jsonl, and its examples.png and comparison.json where it has them.

    page: where to write it; report.html in the folder when None. Returns that path. Raises ValueError without rows.
    """
    rows = read_results(folder)
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
        _html_by_corruption(by_corruption(rows, as_meant(lines))),
        _html_examples(folder / "examples.png"),
        _html_checks(folder),
        _html_right_and_wrong(rows, lines, details, folder / TILES),
        _html_cost(rows, lines, details),
        _html_recipes(json.loads(comparison.read_text())["recipes"]) if comparison.exists() else "",
    ]
    write_atomic(page, _PAGE.format(title=data, body="\n".join(parts)).encode())
    return page


def _html_table(lines: Sequence[Line]) -> str:
    grid = tabulate(lines)
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in grid.headings)
    body = ""
    for texts, best, notes in zip(grid.body, grid.best, grid.notes, strict=True):
        cells = zip(texts, best, notes, strict=True)
        body += "<tr>" + "".join(
            f'<td{" class=best" * top} title="{html.escape(note)}">{html.escape(text)}</td>'
            for text, top, note in cells
        )
        body += "</tr>\n"
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"


def _html_by_corruption(table: Sequence[Row]) -> str:
    if not table:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table[0])
    cells = [
        [html.escape(short(v) if isinstance(v, float) else v) for v in row.values()]
        for row in table
    ]
    body = "\n".join(
        "<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in cells
    )
    text = "Mean accuracy over the five severities."
    return f"<p>{text}</p><div class='wide first'><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>"


def _html_examples(path: Path) -> str:
    if not path.exists():
        return ""
    image = base64.b64encode(path.read_bytes()).decode()
    text = "Test images, each row above what smoothing makes of it: clean, Gaussian, shot and impulse noise at severity 5."
    return f'<h2>What the smoothed networks see</h2><p>{text}</p><img alt="{text}" src="data:image/png;base64,{image}">'


def _html_right_and_wrong(
    rows: Sequence[Row],
    lines: Sequence[Line],
    details: Mapping[Any, tuple[np.ndarray, float]],
    path: Path,
) -> str:
    """The first test images for every arm as it is meant, framed by whether it was right: clean, and in its worst type."""
    if not details or not path.exists():
        return ""
    image = base64.b64encode(path.read_bytes()).decode()
    width, height = struct.unpack(">II", path.read_bytes()[16:24])  # of a PNG
    found = {
        (row["arm"], row["view"], row["condition"], row["severity"], row["seed"]): row_key(row)
        for row in rows
    }
    first = min(row["seed"] for row in rows)
    body = ""
    for line in as_meant(lines):
        worst = min(
            (key for key in WORST_OF if key in line.cells),
            key=lambda key: line.cells[key].mean,
            default=("clean", 0),
        )
        for condition in dict.fromkeys([("clean", 0), worst]):
            correct = details.get(
                found.get((line.arm, line.view, *condition, first), ()), (np.zeros(0, bool), 0.0)
            )[0]
            tiles = "".join(
                f'<i class={"right" if right else "wrong"} style="background-position:-{index * height}px 0"></i>'
                for index, right in enumerate(correct[: width // height])
            )
            title = f"{line_name(line)}, {condition[0].replace('_', ' ')} {condition[1] or ''}"
            body += (
                f"<p class=tiles><span>{html.escape(title)}</span><br>{tiles}</p>" if tiles else ""
            )
    style = f"<style>.tiles i{{width:{height}px;height:{height}px;background-image:url(data:image/png;base64,{image})}}</style>"
    return f"<h2>Right and wrong</h2><p>The first test images: red frames where the network is wrong.</p>{style}{body}"


def check_warnings(folder: Path, arm: str | None = None) -> list[str]:
    """What the checks found that speaks against figures under attack: of every model, or of one."""
    found = [
        entry
        for entry in read_lines(folder / CHECKS)
        if entry["suspicious"] and arm in (None, entry["arm"])
    ]
    return [
        f"Doubt the attacks on {entry['arm']} ({entry['view']}): {entry['name']}. {entry['sentence']}"
        for entry in found
    ]


def _html_checks(folder: Path) -> str:
    entries = read_lines(folder / CHECKS)
    if not entries:
        return ""
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in check_warnings(folder))
    names = ", ".join(dict.fromkeys(entry["name"] for entry in entries))
    said = f"<ul>{items}</ul>" if items else "<p>None of them found anything.</p>"
    return f"<h2>Can the figures under attack be believed?</h2><p>Checked of every view: {html.escape(names)}.</p>{said}"


def _html_cost(
    rows: Sequence[Row], lines: Sequence[Line], details: Mapping[Any, tuple[np.ndarray, float]]
) -> str:
    """Milliseconds an image takes, smoothing or filter included: the median over conditions, for the first ones warm up."""
    items = ""
    for line in lines:
        some = [
            row
            for row in rows
            if (row["arm"], row["view"]) == (line.arm, line.view) and "budget" not in row
        ]
        seconds = [
            details[row_key(row)][1] / row["count"] for row in some if row_key(row) in details
        ]
        items += (
            f"<tr><td>{html.escape(line_name(line))}<td><td>{1000 * median(seconds):.2f}</tr>"
            if seconds
            else ""
        )
    head = "<h2>Cost</h2><p>Milliseconds an image took, with all that stands in front; the median over conditions.</p>"
    return f"{head}<table>{items}</table>" if items else ""


def _html_recipes(recipes: dict[str, dict[str, Any]]) -> str:
    """The first arm's recipe, and what every other one changes in it."""
    first, base = next(iter(recipes.items()))

    def describe(settings: dict[str, Any]) -> str:
        return (
            html.escape(", ".join(f"{key} {value}" for key, value in settings.items())) or "nothing"
        )

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
