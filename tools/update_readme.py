"""Write the tables between their markers, and the figure, from rows; with --check, only say whether they are up to date."""

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from virolbi.results import by_corruption, markdown, read_results, summarise

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
STREAM, FIGURE = ROOT / "results" / "choosing" / "stream.jsonl", ROOT / "docs" / "stream.svg"
WIDTH, HEIGHT, LEFT, TOP = 560, 280, 46, 12  # of the plot, and the room beside and above it
DRAWN = {
    "auto": "#c2185b",
    "online": "#1565c0",
    "0.95": "#999",
    "0.8": "#666",
    "0.5": "#aaa",
    "0": "#333",
}
MARKED = re.compile(
    r"(<!-- (?P<kind>table|corruptions|certificates): (?P<source>\S+) -->\n).*?(<!-- end -->)",
    re.DOTALL,
)


def table(kind: str, source: Path) -> str:
    """The table of a folder of results, or that of its corruptions, or of a file of rows, or certificates, by their radii."""
    if source.is_dir():
        found = read_results(source)
        lines = summarise(found)
        if kind == "table":
            return markdown(lines)
        return columns(
            [
                {
                    name: cell if name == "corruption" else f"{cell:.3f}"
                    for name, cell in row.items()
                }
                for row in by_corruption(found, lines)
            ]
        )
    rows = [json.loads(line) for line in source.read_text().splitlines()] if source.exists() else []
    return columns(by_radius(rows) if kind == "certificates" else rows)


def by_radius(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each network and view, with what it certifies at every radius."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        name, view = row["arm"], row["view"].partition(",")[0]
        line = found.setdefault(
            (name, view), {"trained on": name, "denoiser": "none" if view == "raw" else view}
        )
        line[f"radius {row['level']:g}"] = row["accuracy"]
    return list(found.values())


def columns(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown, with a column for every name in them."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[name.replace("_", " ") for name in names], ["---"] * len(names)]
    lines += [["" if row.get(name) is None else f"{row[name]}" for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def regret_figure(rows: list[dict[str, Any]]) -> str:
    """Right answers lost to the best of each segment, over the images of a stream, one line for each chooser: an SVG."""
    ends = [0] + [row["images"] for row in rows]
    lost = {
        name: [0.0] + [row["images"] * (row["best of each segment"] - row[name]) for row in rows]
        for name in DRAWN
    }
    low, high = min(map(min, lost.values())), max(map(max, lost.values()))
    step = 10 ** math.floor(math.log10(high))
    step = step if high / step > 4 else step / 2

    def place(images: float, value: float) -> str:
        return f"{LEFT + WIDTH * images / ends[-1]:.1f},{TOP + HEIGHT * (high - value) / (high - low):.1f}"

    parts = []
    for tick in range(math.ceil(low / step), math.floor(high / step) + 1):
        (x, y), value = place(0, tick * step).split(","), tick * step
        parts.append(
            f'<path d="M{x} {y}h{WIDTH}" stroke="#ddd"/><text x="{LEFT - 6}" y="{y}" dy="4" text-anchor="end">{value:g}</text>'
        )
    for images in range(0, ends[-1] + 1, ends[-1] // 4):
        x, y = place(images, low).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 30}" text-anchor="middle">{images:,}</text>')
    label = -math.inf
    for name in sorted(DRAWN, key=lambda name: -lost[name][-1]):
        points = " ".join(place(*point) for point in zip(ends, lost[name], strict=True))
        x, y = place(ends[-1], lost[name][-1]).split(",")
        label = max(float(y), label + 14)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{DRAWN[name]}" stroke-width="2"/>'
        )
        text = name if name in ("auto", "online") else f"sparsity {name}"
        parts.append(
            f'<text x="{float(x) + 6}" y="{label:.1f}" dy="4" fill="{DRAWN[name]}">{text}</text>'
        )
    size = f'width="{LEFT + WIDTH + 90}" height="{TOP + HEIGHT + 40}"'
    style = 'font-family="sans-serif" font-size="12"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def current() -> Iterator[tuple[Path, str]]:
    """Every file that is made from rows, and what it should be."""
    for page in PAGES:
        yield (
            page,
            MARKED.sub(
                lambda match: match[1] + table(match["kind"], ROOT / match["source"]) + match[4],
                page.read_text(),
            ),
        )
    yield FIGURE, regret_figure([json.loads(line) for line in STREAM.read_text().splitlines()])


if __name__ == "__main__":
    for path, content in current():
        if "--check" not in sys.argv:
            path.write_text(content)
        elif not path.exists() or path.read_text() != content:
            raise SystemExit(f"{path.relative_to(ROOT)} is not what results/ say: run make readme")
