"""One self-contained HTML page of a folder of results."""

import html
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from virolbi._storage import write_atomic
from virolbi.results.adapted import adaptation_section
from virolbi.results.answers import answers_section, classes_section
from virolbi.results.checks import masking_warnings
from virolbi.results.classes import collapse_warnings, read_labels
from virolbi.results.corruption_table import by_corruption
from virolbi.results.details import read_details
from virolbi.results.diagrams import certified_svg, histories_svg, reliability_svg
from virolbi.results.figures import curves_svg
from virolbi.results.files import ADAPTED, CERTIFIED, COMPARISON, ROWS
from virolbi.results.rows import Row, read_rows
from virolbi.results.sections import (
    checks_section,
    collapse_section,
    corruptions_section,
    cost_section,
    examples_section,
    figure_section,
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
        Folder with a rows.jsonl, a certified.jsonl or an adapted.jsonl. Its details.jsonl,
        checks.jsonl, comparison.json, examples.png, labels.json, pictures of images (`tiles_name`)
        and the histories of its training runs are shown too where there is a rows.jsonl.
    page : Path, optional
        File to write, or None for report.html in the folder.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    ValueError
        If the folder holds none of them, or rows that cannot be in one table.
    """
    rows, certified, adapted = (read_rows(folder / name) for name in (ROWS, CERTIFIED, ADAPTED))
    every = [*rows, *certified, *adapted]
    if not every:
        raise ValueError(
            f"{folder} must hold a {ROWS}, {CERTIFIED} or {ADAPTED} with a row or more"
        )
    page = page or folder / "report.html"
    parts = [
        *(_accuracy_sections(folder, rows) if rows else ()),
        figure_section(
            "Certified accuracy",
            "Share of the images that are classified correctly however they are changed within "
            "the radius, by randomised smoothing (`virolbi certify`).",
            certified_svg(certified),
        ),
        collapse_section(certified),
        adaptation_section(adapted),
        *(_training_sections(folder, rows) if rows else ()),
    ]
    sections, body = _link_sections("\n".join(parts))
    title = html.escape(Path(every[0]["data"]).name)
    content = _PAGE.format(title=title, sections=sections, body=body, script=_SORTING)
    write_atomic(page, content.encode(errors="backslashreplace"))  # names may have lone surrogates
    return page


def report_warnings(folder: Path) -> list[str]:
    """Return the warnings that the page of a folder of results shows.

    Parameters
    ----------
    folder : Path
        Folder of results.

    Returns
    -------
    list of str
        One sentence or more for each network that hardly tells the classes apart, and for each
        suspicious finding on its accuracy under attack.

    Raises
    ------
    ValueError
        If a line of its files is damaged.
    """
    rows = [row for name in (ROWS, CERTIFIED) for row in read_rows(folder / name)]
    return [*collapse_warnings(rows), *masking_warnings(folder)]


def _accuracy_sections(folder: Path, rows: Sequence[Row]) -> Iterator[str]:
    """Yield the sections about the accuracy of networks."""
    lines, details = summarise(rows), read_details(folder)
    yield f"<h2>Headline</h2><p>{html.escape(caption(lines))}</p>"
    yield table_section(lines)
    yield collapse_section(rows)
    yield (
        "<h2>Accuracy over severity</h2><p>Each network in the view that it is intended to be "
        "tested in: ours as a line, rivals and plain training dashed; dotted without the "
        "smoother.</p>"
    )
    yield curves_svg(lines)
    yield corruptions_section(by_corruption(rows, lines_with_baseline(lines)))
    yield figure_section(
        "Reliability",
        "Accuracy of the answers of each confidence, in ten bins; on the dotted line a network "
        "is as often right as it says. In the legend, the expected calibration error.",
        reliability_svg(rows, lines, details),
    )
    yield examples_section(folder)
    yield checks_section(folder)


def _training_sections(folder: Path, rows: Sequence[Row]) -> Iterator[str]:
    """Yield the sections about single answers, classes, training and cost."""
    lines, details, labels = summarise(rows), read_details(folder), read_labels(folder)
    yield answers_section(rows, lines, details, labels, folder)
    yield classes_section(rows, lines, details, labels)
    yield figure_section("Training", "Each run over its epochs.", histories_svg(folder))
    yield cost_section(rows, lines, details)
    comparison = folder / COMPARISON
    if comparison.exists():
        yield recipes_section(json.loads(comparison.read_text())["recipes"])


def _link_sections(body: str) -> tuple[str, str]:
    """Return links to the sections of a page, and the page with headings that they lead to."""
    links = []

    def mark(heading: re.Match[str]) -> str:
        name = re.sub(r"\W+", "-", heading[1].lower()).strip("-")
        links.append(f'<a href="#{name}">{heading[1]}</a>')
        return f'<h2 id="{name}"><a href="#{name}">{heading[1]}</a></h2>'

    marked = re.sub(r"<h2>(.*?)</h2>", mark, body)
    return " ".join(links), marked


# Sorts a table by a column: numbers from the largest, texts from A; once more turns it round.
_SORTING = """
const value = (row, column) => row.cells[column].textContent.trim();
const sort = heading => {
  const table = heading.closest("table"), body = table.tBodies[0];
  const rows = [...body.rows], column = heading.cellIndex;
  const numeric = rows.some(row => !isNaN(parseFloat(value(row, column))));
  const down = (heading.ariaSort ?? (numeric ? "ascending" : "descending")) === "ascending";
  const sign = down ? -1 : 1;
  const compare = (a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (!numeric) return sign * x.localeCompare(y);
    const [p, q] = [parseFloat(x), parseFloat(y)];
    return isNaN(p) || isNaN(q) ? isNaN(p) - isNaN(q) : sign * (p - q);
  };
  body.append(...rows.sort(compare));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.ariaSort = down ? "descending" : "ascending";
};
for (const heading of document.querySelectorAll("thead th")) {
  heading.tabIndex = 0;
  heading.title = "Sort by this column";
  heading.onclick = () => sort(heading);
  heading.onkeydown = event => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    sort(heading);
  };
}
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>virolbi: {title}</title>
<style>
 :root {{ --text: #222; --soft: #555; --page: #fff; --rule: #ddd; --hover: #f4f6f8;
          --best: #0a6640; --heat: 56 130 200; --link: #0b57a4 }}
 @media (prefers-color-scheme: dark) {{ :root {{ --text: #e6e6e6; --soft: #b5b5b5; --page: #16181b;
          --rule: #3a3d42; --hover: #22262b; --best: #6fd3a2; --heat: 40 110 180;
          --link: #8ab8ee }} }}
 body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
         padding: 0 1rem; color: var(--text); background: var(--page) }}
 h1, h2 {{ line-height: 1.2; font-weight: 600; overflow-wrap: anywhere }}
 h2 a {{ color: inherit; text-decoration: none }}
 h2 a:hover::after {{ content: " #"; color: var(--soft) }}
 nav {{ display: flex; flex-wrap: wrap; gap: .2rem 1.2rem }}
 a {{ color: var(--link) }}
 .wide {{ overflow-x: auto }}
 table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem;
          white-space: nowrap }}
 th, td {{ padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--rule) }}
 th {{ border-bottom: 2px solid #999; white-space: normal; vertical-align: bottom;
       cursor: pointer }}
 th[aria-sort=descending]::after {{ content: " \\2193" }}
 th[aria-sort=ascending]::after {{ content: " \\2191" }}
 th:nth-child(-n+2), td:nth-child(-n+2) {{ text-align: left }}
 .first th:nth-child(2), .first td:nth-child(2) {{ text-align: right }}
 tbody tr:hover {{ background: var(--hover) }}
 .best {{ font-weight: 700; color: var(--best) }}
 .heat {{ background: rgb(var(--heat) / calc(.55 * var(--share))) }}
 img {{ image-rendering: pixelated; width: 100%; max-width: 48rem }}
 svg {{ max-width: 100%; height: auto }}
 svg text {{ fill: currentColor }}
 .tiles {{ margin: .4rem 0; line-height: 1.1 }}
 .tiles figure {{ display: inline-block; vertical-align: top; margin: 1px }}
 .tiles i {{ display: block; border: 3px solid #7a8; image-rendering: pixelated }}
 .tiles .wrong {{ border-color: #c33 }}
 .tiles .right {{ opacity: .85 }}
 .tiles figcaption {{ font-size: .65rem; overflow-wrap: anywhere; color: var(--soft) }}
 dt {{ font-weight: 600 }}
 dd {{ margin: 0 0 .4rem 1.5rem; color: var(--soft); overflow-wrap: anywhere }}
 @media print {{ nav {{ display: none }} h2 {{ break-after: avoid }} .wide {{ overflow: visible }}
     svg, tr, figure {{ break-inside: avoid }} body {{ margin: 0; max-width: none }}
     .heat, .tiles i {{ print-color-adjust: exact }} }}
</style></head><body>
<h1>Accuracy under noise: {title}</h1>
<nav aria-label="Sections">{sections}</nav>
{body}
<script>{script}</script>
</body></html>
"""
