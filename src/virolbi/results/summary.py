"""Rows grouped by arm and view."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from virolbi.results.rows import MEASURE, Row, read_rows, row_key
from virolbi.results.statistics import wilson_interval

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


WORST_OF = (("gaussian_noise", 5), ("shot_noise", 5), ("impulse_noise", 5), ("low_resolution", 1))


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


def read_results(folder: Path) -> list[Row]:
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
        if (
            conditions.setdefault((row["condition"], row["severity"]), {}).setdefault(
                row["seed"], row
            )
            is not row
        ):
            raise ValueError(
                f"rows must be one for each model, condition and seed, got two of {row_key(row)[:5]}"
            )
    lines = [
        Line(arm, view, {key: _cell([*of.values()]) for key, of in cells.items()})
        for (arm, view), cells in grouped.items()
    ]
    return sorted(lines, key=lambda line: -line.worst if line.worst == line.worst else math.inf)


def _cell(rows: list[Row]) -> Cell:
    accuracies = [row["accuracy"] for row in rows]
    mean, count = fmean(accuracies), min(row["count"] for row in rows)
    low, high = wilson_interval(
        mean * count, count
    )  # seeds share the images: they do not add to the sample
    spread = stdev(accuracies) if len(rows) > 1 else 0.0
    return Cell(mean, low, high, spread, len(rows), count, rows[0]["level"], rows[0].get("budget"))


def caption(lines: Sequence[Line]) -> str:
    """What the figures of a table are: seeds, images, and how far they can be trusted."""
    cells = {key: cell for line in lines for key, cell in line.cells.items()}
    attacks = [cell for key, cell in cells.items() if key[0] == "attacks"]
    noises = [
        cell
        for line in lines
        for key, cell in line.cells.items()
        if key in COLUMNS and key[0] != "attacks"
    ]
    seeds = {cell.seeds for cell in noises}
    half = max((cell.high - cell.low) / 2 for cell in noises)
    text = f"Accuracy, mean over {'-'.join(str(n) for n in sorted(seeds))} seed{'s' if max(seeds) > 1 else ''}"
    text += (
        f" on {max(cell.count for cell in noises):,} test images (95 % interval up to ±{half:.3f}"
    )
    if max(seeds) > 1:
        text += f"; standard deviation over seeds up to {max(cell.spread for cell in noises):.3f}"
    text += (
        "). Worst type and mean: of Gaussian, shot and impulse noise at severity 5 and half size."
    )
    if attacks:
        count = max(cell.count for cell in attacks)
        text += f" Attacks: the worst case over several, adaptive where the view smooths, on {count:,} images, with"
        text += f" {attacks[0].budget or 'an unknown budget'}; a bound from above."
    return text


def as_meant(lines: Sequence[Line]) -> list[Line]:
    """One line for each arm: with smoothing in front where it trained on smoothed images, the one of the best worst type."""
    best: dict[str, Line] = {}
    for line in lines:  # the best come first
        known = best.get(line.arm)
        if known is None or (_smooths(line) and not _smooths(known)):
            best[line.arm] = line
    return [line for line in lines if best[line.arm] is line]


def _smooths(line: Line) -> bool:
    return line.view == "auto" or line.view.startswith("smoothed")


def line_name(line: Line) -> str:
    return line.arm if line.view == "raw" else f"{line.arm} ({line.view})"
