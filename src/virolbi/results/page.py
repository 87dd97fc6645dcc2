"""One self-contained HTML page of a folder of results."""

import html
import json
from pathlib import Path

from virolbi._storage import write_atomic
from virolbi.results.answers import answers_section, classes_section
from virolbi.results.classes import read_labels
from virolbi.results.corruption_table import by_corruption
from virolbi.results.details import read_details
from virolbi.results.figures import curves_svg
from virolbi.results.rows import read_results
from virolbi.results.sections import (
    checks_section,
    collapse_section,
    corruptions_section,
    cost_section,
    examples_section,
    recipes_section,
    table_section,
)
from virolbi.results.summary import lines_with_baseline, summarise
from virolbi.results.tables import caption


def write_report(folder: Path, page: Path | None = None) -> Path:
    """Write the results of a folder as one self-contained HTML page.

    Parameters
    ----------
    folder : Path
        Folder with a rows.jsonl. Its details.jsonl, checks.jsonl, comparison.json, examples.png,
        labels.json and pictures of images (`tiles_name`) are shown too where they exist.
    page : Path, optional
        File to write, or None for report.html in the folder.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    ValueError
        If the folder has no rows, or rows that cannot be in one table.
    """
    rows = read_results(folder)
    page = page or folder / "report.html"
    lines = summarise(rows)
    data = html.escape(Path(rows[0]["data"]).name)
    comparison, details = folder / "comparison.json", read_details(folder / "details.jsonl")
    labels = read_labels(folder / "labels.json")
    parts = [
        f"<h1>Accuracy under noise: {data}</h1>",
        f"<p>{html.escape(caption(lines))}</p>",
        table_section(lines),
        collapse_section(rows),
        "<h2>Accuracy over severity</h2><p>Each network in the view that it is intended to be "
        "tested in and, dotted, without the smoother. Rivals and plain training are dashed.</p>",
        curves_svg(lines),
        corruptions_section(by_corruption(rows, lines_with_baseline(lines))),
        examples_section(folder / "examples.png"),
        checks_section(folder),
        answers_section(rows, lines, details, labels, folder),
        classes_section(rows, lines, details, labels),
        cost_section(rows, lines, details),
        recipes_section(json.loads(comparison.read_text())["recipes"])
        if comparison.exists()
        else "",
    ]
    content = _PAGE.format(title=data, body="\n".join(parts))
    write_atomic(page, content.encode(errors="backslashreplace"))  # names may have lone surrogates
    return page


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>virolbi: {title}</title>
<style>
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
         padding: 0 1rem; color: #222 }}
 h1, h2 {{ line-height: 1.2; font-weight: 600 }}
 .wide {{ overflow-x: auto }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem;
          white-space: nowrap }}
 th, td {{ padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd }}
 th {{ border-bottom: 2px solid #999; white-space: normal; vertical-align: bottom }}
 th:nth-child(-n+2), td:nth-child(-n+2) {{ text-align: left }}
 .first th:nth-child(2), .first td:nth-child(2) {{ text-align: right }}
 tbody tr:hover {{ background: #f4f6f8 }}
 .best {{ font-weight: 700; color: #0a6640 }}
 img {{ image-rendering: pixelated; width: 100%; max-width: 48rem }}
 svg {{ max-width: 100%; height: auto }}
 .tiles {{ margin: .4rem 0; line-height: 1.1 }}
 .tiles figure {{ display: inline-block; vertical-align: top; margin: 1px }}
 .tiles i {{ display: block; border: 3px solid #7a8; image-rendering: pixelated }}
 .tiles .wrong {{ border-color: #c33 }}
 .tiles .right {{ opacity: .85 }}
 .tiles figcaption {{ font-size: .65rem; overflow-wrap: anywhere; color: #555 }}
 dt {{ font-weight: 600 }}
 dd {{ margin: 0 0 .4rem 1.5rem; color: #555 }}
</style></head><body>
{body}
</body></html>
"""
