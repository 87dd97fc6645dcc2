"""Rows summarised over seeds: one line for each arm and view."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from virolbi.results.rows import MEASURE, Row, row_key
from virolbi.results.statistics import wilson_interval

Condition = tuple[str, int]  # name and severity

# Conditions over which the worst type and the mean are taken.
NOISE_TYPES: tuple[Condition, ...] = (
    ("gaussian_noise", 5),
    ("shot_noise", 5),
    ("impulse_noise", 5),
    ("low_resolution", 1),
)


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
    """

    arm: str
    view: str
    cells: dict[Condition, Cell]

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

    @property
    def worst(self) -> float:
        """Lowest accuracy over the noise types.

        Returns
        -------
        float
            The minimum over Gaussian, shot and impulse noise at severity 5 and half resolution; NaN
            if one of them is missing.
        """
        return min(self._type_means)

    @property
    def mean(self) -> float:
        """Mean accuracy over the noise types.

        Returns
        -------
        float
            The mean over the same types as `worst`; NaN if one of them is missing.
        """
        return fmean(self._type_means)

    @property
    def _type_means(self) -> list[float]:
        means = [self.cells[key].mean for key in NOISE_TYPES if key in self.cells]
        return means if len(means) == len(NOISE_TYPES) else [math.nan]


def summarise(rows: Sequence[Row]) -> list[Line]:
    """Group rows by arm and view, average over seeds, and sort by the worst type, best first.

    Parameters
    ----------
    rows : sequence of dict
        Rows of results.

    Returns
    -------
    list of Line
        One line for each arm and view; those without a worst type come last.

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
        Line(arm, view, {key: _cell([*seeds.values()]) for key, seeds in conditions.items()})
        for (arm, view), conditions in groups.items()
    ]
    return sorted(lines, key=lambda line: math.inf if math.isnan(line.worst) else -line.worst)


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
        The line with the sparsity of the recipe, whose view is "smoothed"; else that of "auto";
        else of the largest sparsity; else without smoothing. The accuracies do not count: to take
        the best of them would be to choose on test images. In the order of `lines`.
    """
    intended: dict[str, Line] = {}
    for line in lines:
        intended[line.arm] = max(intended.get(line.arm, line), line, key=_preference)
    return [line for line in lines if intended[line.arm] is line]


def _preference(line: Line) -> tuple[int, str]:
    """Return a key that is larger for views that an arm is rather intended to be tested in."""
    if line.view in ("auto", "smoothed"):
        return ("auto", "smoothed").index(line.view) + 2, ""
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
