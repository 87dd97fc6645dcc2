"""Rows summarised over seeds: one line for each arm and view, with the headline figures.

The headline is decided before any result is seen: no figure is the least of conditions that were
chosen for it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from virolbi.corruptions import COMMON, HELD_OUT, NOISES, SEVERITIES
from virolbi.results.rows import MEASURE, Row, row_key
from virolbi.results.statistics import wilson_interval

Condition = tuple[str, int]  # name and severity

# What the worst noise is the worst of.
STRONGEST_NOISES: tuple[Condition, ...] = tuple((name, 5) for name in NOISES)


@dataclass(frozen=True)
class Cell:
    """Accuracy under one condition.

    Parameters
    ----------
    mean : float
        Mean over seeds.
    low, high : float
        95 % interval of the sample of images.
    spread : float
        Standard deviation over seeds, 0 for one seed.
    seeds : int
        Number of seeds.
    count : int
        Number of images, the smallest over seeds.
    level : float
        Level of the condition, in its own unit.
    budget : str or None
        Description of the budget of attacks; None for other conditions.
    """

    mean: float
    low: float
    high: float
    spread: float
    seeds: int
    count: int
    level: float
    budget: str | None


@dataclass(frozen=True)
class Line:
    """Accuracies of one arm in one view.

    Parameters
    ----------
    arm : str
        Name of the model.
    view : str
        How it was tested, such as "raw" or "auto".
    cells : dict
        The accuracy under each condition, by its name and severity.
    passes : tuple of int, optional
        Numbers of forward and backward passes that each training image took, of all seeds, without
        duplicates and rising; empty if they are unknown.
    """

    arm: str
    view: str
    cells: dict[Condition, Cell]
    passes: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """Name of the arm, followed by the view in brackets unless it is "raw".

        Returns
        -------
        str
            The label in figures and tables. Characters that no file can hold, lone surrogates
            such as those of file names that are not UTF-8, are escaped.
        """
        return printable(self.arm if self.view == "raw" else f"{self.arm} ({self.view})")

    def corruption_mean(self, name: str) -> float:
        """Return the mean accuracy over the five severities of a corruption.

        Parameters
        ----------
        name : str
            Name of the corruption.

        Returns
        -------
        float
            The mean; NaN if a severity is missing.
        """
        cells = [self.cells.get((name, severity)) for severity in SEVERITIES]
        return fmean(math.nan if cell is None else cell.mean for cell in cells)

    @property
    def worst_common(self) -> str | None:
        """Name of the common corruption with the lowest mean accuracy over its severities.

        Returns
        -------
        str or None
            The name; None if a common corruption is missing.
        """
        return None if math.isnan(self.common_mean) else min(COMMON, key=self.corruption_mean)

    @property
    def common_worst(self) -> float:
        """Lowest accuracy over the 15 common corruptions, each the mean over its severities.

        Returns
        -------
        float
            The minimum; NaN if a common corruption is missing.
        """
        return math.nan if self.worst_common is None else self.corruption_mean(self.worst_common)

    @property
    def common_mean(self) -> float:
        """Mean accuracy over the 15 common corruptions and their severities.

        Returns
        -------
        float
            The mean; NaN if a common corruption is missing.
        """
        return fmean(map(self.corruption_mean, COMMON))

    @property
    def held_out_mean(self) -> float:
        """Mean accuracy over the four held-out corruptions and their severities.

        Returns
        -------
        float
            The mean; NaN if a held-out corruption is missing.
        """
        return fmean(map(self.corruption_mean, HELD_OUT))

    @property
    def worst_noise(self) -> Condition | None:
        """Noise with the lowest accuracy at severity 5, out of Gaussian, shot and impulse noise.

        Returns
        -------
        tuple or None
            Its name and severity; None if one of the three is missing.
        """
        if not all(noise in self.cells for noise in STRONGEST_NOISES):
            return None
        return min(STRONGEST_NOISES, key=lambda noise: self.cells[noise].mean)

    @property
    def noise_worst(self) -> float:
        """Lowest accuracy over Gaussian, shot and impulse noise at severity 5.

        Returns
        -------
        float
            The minimum; NaN if one of the three is missing.
        """
        return math.nan if self.worst_noise is None else self.cells[self.worst_noise].mean


def summarise(rows: Sequence[Row]) -> list[Line]:
    """Group rows by arm and view, average over seeds, and sort them, best first.

    The order is that of the mean over the common corruptions; where it is missing, that of the
    worst noise, and of the mean over the held-out corruptions.

    Parameters
    ----------
    rows : sequence of dict
        Rows of results.

    Returns
    -------
    list of Line
        One line for each arm and view; those with none of these figures come last.

    Raises
    ------
    ValueError
        If rows of one condition are of different images or were measured in different ways, so
        that they cannot be in one table, or if there are two rows for one model, condition and
        seed.
    """
    _check_comparable(rows)
    groups: dict[tuple[str, str], dict[Condition, dict[int, Row]]] = {}
    for row in rows:
        conditions = groups.setdefault((row["arm"], row["view"]), {})
        seeds = conditions.setdefault((row["condition"], row["severity"]), {})
        if seeds.setdefault(row["seed"], row) is not row:
            raise ValueError(
                "rows must be one for each model, condition and seed, "
                f"got two of {row_key(row)[:5]}"
            )
    lines = [
        Line(
            arm,
            view,
            {key: _cell([*seeds.values()]) for key, seeds in conditions.items()},
            _passes(row for seeds in conditions.values() for row in seeds.values()),
        )
        for (arm, view), conditions in groups.items()
    ]
    return sorted(lines, key=_rank)


def _passes(rows: Iterable[Row]) -> tuple[int, ...]:
    """Return the numbers of passes in rows, without duplicates and rising."""
    return tuple(sorted({row["passes"] for row in rows if "passes" in row}))


def _rank(line: Line) -> tuple[float, ...]:
    """Return what lines are sorted by: missing figures come last."""
    figures = (line.common_mean, line.noise_worst, line.held_out_mean)
    return tuple(math.inf if math.isnan(figure) else -figure for figure in figures)


def _check_comparable(rows: Sequence[Row]) -> None:
    """Raise ValueError unless all rows of a condition have the same images and measure."""
    references: dict[Condition, Row] = {}
    for row in rows:
        reference = references.setdefault((row["condition"], row["severity"]), row)
        for name in ("images", *MEASURE):
            if row.get(name) != reference.get(name):
                raise ValueError(
                    f"rows must have one {name} for {row['condition']} {row['severity']}, "
                    f"got {reference.get(name)} and {row.get(name)}"
                )


def _cell(rows: list[Row]) -> Cell:
    """Return the accuracy over the rows of one model and condition, one row for each seed."""
    accuracies = [row["accuracy"] for row in rows]
    mean, count = fmean(accuracies), min(row["count"] for row in rows)
    # Seeds share the images, so they do not add to the sample.
    low, high = wilson_interval(mean * count, count)
    spread = stdev(accuracies) if len(rows) > 1 else 0.0
    return Cell(mean, low, high, spread, len(rows), count, rows[0]["level"], rows[0].get("budget"))


def intended_lines(lines: Sequence[Line]) -> list[Line]:
    """Return one line for each arm, in the view that the arm is intended to be tested in.

    Parameters
    ----------
    lines : sequence of Line
        Lines from `summarise`.

    Returns
    -------
    list of Line
        The line with the sparsity of the recipe, whose view is "smoothed"; else "calibrated"; else
        that of "auto"; else of the largest sparsity; else without smoothing. The accuracies do not
        count: to take the best of them would be to choose on test images. In the order of `lines`.
    """
    intended: dict[str, Line] = {}
    for line in lines:
        intended[line.arm] = max(intended.get(line.arm, line), line, key=_preference)
    return [line for line in lines if intended[line.arm] is line]


def lines_with_baseline(lines: Sequence[Line]) -> list[Line]:
    """Return one line for each arm, and beside it the same network without the smoother.

    Parameters
    ----------
    lines : sequence of Line
        Lines from `summarise`.

    Returns
    -------
    list of Line
        Those of `intended_lines`; one with smoothing in front is followed by the line of its arm
        in the view "raw", if there is one.
    """
    raw = {line.arm: line for line in lines if line.view == "raw"}
    result = []
    for line in intended_lines(lines):
        result.append(line)
        if line.view != "raw" and line.arm in raw:
            result.append(raw[line.arm])
    return result


def _preference(line: Line) -> tuple[int, str]:
    """Return a key that is larger for views that an arm is rather intended to be tested in."""
    named = ("auto", "calibrated", "smoothed")
    if line.view in named:
        return named.index(line.view) + 2, ""
    return int(line.view.startswith("smoothed ")), line.view


def printable(text: str) -> str:
    """Return a text with escapes in place of lone surrogates, which no output can encode.

    Parameters
    ----------
    text : str
        Text such as a file name that is not UTF-8.

    Returns
    -------
    str
        The text, unchanged if it has none.
    """
    return text.encode(errors="backslashreplace").decode()
