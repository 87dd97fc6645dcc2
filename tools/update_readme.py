"""Write the tables and drawings of the documentation, from results/ and pyproject.toml.

Tables are written between their markers. With --check, nothing is written, and the exit status says
whether every file is up to date.
"""

import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from drawings import engine, house
from heat_maps import heat_maps

from virolbi.results import by_corruption, markdown, read_lines, read_results, summarise
from virolbi.scale_space import Form

Row = dict[str, Any]
Source = Literal["table", "headline", "corruptions", "certificates"]

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
STREAM = ROOT / "results" / "choosing" / "stream.jsonl"
PICTURES = ROOT / "docs" / "pictures"
# Heat maps of docs/sensitivity.md: losses in dB, and in points of accuracy.
SENSITIVITY: dict[str, dict[str, Any]] = {
    "denoising": {
        "score": "psnr",
        "panels": ["noise"],
        "defaults": {"nu": Form.nu, "delta": Form.delta, "step": Form.step},
        "worst": 3.0,
    },
    "accuracy": {
        "score": "accuracy",
        "panels": ["network", "noise"],
        "defaults": {"nu": Form.nu, "delta": Form.delta},
        "worst": 0.15,
        "factor": 100,
    },
}
MARKERS = re.compile(
    r"(<!-- (?P<kind>table|headline|corruptions|certificates): (?P<source>\S+) -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)
# Rows of the headline: how the network was trained, how it was tested, and what both are called.
HEADLINE = {
    ("plain", "raw"): "nothing",
    ("rival-augmix-gaussian", "raw"): "rival: AugMix, Gaussian noise",
    ("rival-augmix-gaussian-reflected", "raw"): "the same, padded as ours",
    ("rival-augmix-jsd", "raw"): "rival: AugMix as published",
    ("recommended", "auto"): "**ours: `recommended`**",
}

# Size of the plot in the figure, and the margins to its left and above it, in pixels.
WIDTH, HEIGHT, LEFT, TOP = 560, 280, 46, 12
# Colours of the curves.
COLORS = {
    "auto": "#c2185b",
    "online": "#1565c0",
    "0.95": "#999",
    "0.8": "#666",
    "0.5": "#aaa",
    "0": "#333",
}


def current_files() -> Iterator[tuple[Path, str]]:
    """Return every file that is made from others, and what it should contain.

    Yields
    ------
    path : Path
        The file.
    content : str
        Its content according to the rows and settings.
    """

    def fill(match: re.Match[str]) -> str:
        return match[1] + table(cast(Source, match["kind"]), ROOT / match["source"]) + match[4]

    for page in PAGES:
        yield page, MARKERS.sub(fill, page.read_text())
    yield PICTURES / "stream.svg", regret_figure(read_lines(STREAM, must_exist=True))
    for part, settings in SENSITIVITY.items():
        path = ROOT / "results" / "sensitivity" / f"{part}.jsonl"
        rows = read_lines(path, must_exist=True)
        yield PICTURES / f"sensitivity-{part}.svg", heat_maps(rows, **settings)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    yield PICTURES / "house.svg", house(project["tool"]["importlinter"]["contracts"][0]["layers"])
    yield PICTURES / "engine.svg", engine()


def table(kind: Source, source: Path) -> str:
    """Return a Markdown table.

    Parameters
    ----------
    kind : {"table", "headline", "corruptions", "certificates"}
        What to show: for a folder of results the main table, its headline or that of its
        corruptions; for a file of rows the rows as they are, or certificates by their radii.
    source : Path
        A folder of results or a file of rows; a file that does not exist has no rows.

    Returns
    -------
    str
        The table.
    """
    if source.is_dir():
        results = read_results(source)
        lines = summarise(results)
        if kind == "table":
            return markdown(lines)
        if kind == "headline":
            return markdown_table(headline(lines))
        return markdown_table(
            [
                {
                    name: value if name == "corruption" else f"{value:.3f}"
                    for name, value in row.items()
                }
                for row in by_corruption(results, lines)
            ]
        )
    rows = read_lines(source)
    return markdown_table(by_radius(rows) if kind == "certificates" else rows)


def headline(lines: Sequence[Any]) -> list[Row]:
    """Return the figures that a comparison begins with, for the rows of `HEADLINE`.

    Parameters
    ----------
    lines : sequence of Line
        Lines from `summarise`.

    Returns
    -------
    list of dict
        One row for each line, in percent: the clean accuracy; the worst and the mean of the common
        corruptions, each the mean over its severities; the worst noise at severity 5; half and
        quarter size; the worst case over attacks; the mean of the held-out corruptions.
    """
    rows = []
    for key, title in HEADLINE.items():
        line = next(line for line in lines if (line.arm, line.view) == key)
        values = {
            "clean": line.cells["clean", 0].mean,
            "worst of 15": line.worst_common_accuracy,
            "mean of 15": line.common_mean,
            "worst noise": line.worst_noise_accuracy,
            "1/2 size": line.cells["low_resolution", 1].mean,
            "1/4 size": line.cells["low_resolution", 2].mean,
            "attacked": line.cells["attacks", 1].mean,
            "held out": line.held_out_mean,
        }
        rows.append({"added in training": title} | values)
    best = {name: max(row[name] for row in rows) for name in rows[0] if name != "added in training"}
    return [
        {
            name: _percent(value, best[name]) if name in best else value
            for name, value in row.items()
        }
        for row in rows
    ]


def _percent(value: float, best: float) -> str:
    """Return a share in percent, in bold if it is the best."""
    return f"**{100 * value:.1f}**" if value == best else f"{100 * value:.1f}"


def by_radius(rows: Sequence[Row]) -> list[Row]:
    """Return one row for each network and view, with its certified accuracy at every radius.

    Parameters
    ----------
    rows : sequence of dict
        One row for each network, view and radius.

    Returns
    -------
    list of dict
        The rows of the table.
    """
    table: dict[tuple[str, str], Row] = {}
    for row in rows:
        name, view = row["arm"], row["view"].rpartition(", sigma")[0]
        line = table.setdefault(
            (name, view), {"trained on": name, "denoiser": "none" if view == "raw" else view}
        )
        line[f"radius {row['level']:g}"] = row["accuracy"]
    return list(table.values())


def markdown_table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table.

    Parameters
    ----------
    rows : sequence of dict
        Rows, not necessarily with the same keys.

    Returns
    -------
    str
        A table with a column for every key of any row.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[name.replace("_", " ") for name in names], ["---"] * len(names)]
    lines += [["" if row.get(name) is None else f"{row[name]}" for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def regret_figure(rows: Sequence[Row]) -> str:
    """Draw the correct answers that choosers lose to the best choice of each segment of a stream.

    Parameters
    ----------
    rows : sequence of dict
        One row for each point of the stream, in order: the number of images since the start, and
        the accuracy on them of each chooser and of the best of each segment.

    Returns
    -------
    str
        An SVG: answers lost over images, one curve for each chooser.
    """
    ends = [0] + [row["images"] for row in rows]
    losses = {
        name: [0.0] + [row["images"] * (row["best of each segment"] - row[name]) for row in rows]
        for name in COLORS
    }
    low, high = min(map(min, losses.values())), max(map(max, losses.values()))

    def position(images: float, value: float) -> str:
        x = LEFT + WIDTH * images / ends[-1]
        y = TOP + HEIGHT * (high - value) / (high - low)
        return f"{x:.1f},{y:.1f}"

    parts = [*_axes(low, high, ends[-1], position), *_curves(ends, losses, position)]
    size = f'width="{LEFT + WIDTH + 90}" height="{TOP + HEIGHT + 40}"'
    style = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    return "\n".join([head, *parts, "</svg>\n"])


def _axes(
    low: float, high: float, images: int, position: Callable[[float, float], str]
) -> Iterator[str]:
    """Draw the horizontal grid with its labels, and the labels of the images."""
    step = 10 ** math.floor(math.log10(high))
    step = step if high / step > 4 else step / 2
    for tick in range(math.ceil(low / step), math.floor(high / step) + 1):
        value = tick * step
        x, y = position(0, value).split(",")
        yield (
            f'<path d="M{x} {y}h{WIDTH}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y}" dy="4" text-anchor="end">{value:g}</text>'
        )
    for count in range(0, images + 1, images // 4):
        x, y = position(count, low).split(",")
        yield f'<text x="{x}" y="{float(y) + 30}" text-anchor="middle">{count:,}</text>'


def _curves(
    ends: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    position: Callable[[float, float], str],
) -> Iterator[str]:
    """Draw each curve with its label, the largest loss first; labels keep a distance."""
    label_y = -math.inf
    for name in sorted(losses, key=lambda name: -losses[name][-1]):
        points = " ".join(position(*point) for point in zip(ends, losses[name], strict=True))
        x, y = position(ends[-1], losses[name][-1]).split(",")
        label_y = max(float(y), label_y + 14)
        color = COLORS[name]
        yield f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>'
        text = name if name in ("auto", "online") else f"sparsity {name}"
        yield f'<text x="{float(x) + 6}" y="{label_y:.1f}" dy="4" fill="{color}">{text}</text>'


if __name__ == "__main__":
    for path, content in current_files():
        if "--check" not in sys.argv:
            path.write_text(content)
        elif not path.exists() or path.read_text() != content:
            raise SystemExit(f"{path.relative_to(ROOT)} differs from results/: run make readme")
