"""Rows summarised over seeds: one line for each arm and view, with the headline figures.

The headline is decided before any result is seen: no figure is the least of conditions that were
chosen for it.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean, stdev

from virolbi.corruptions import COMMON, HELD_OUT, NOISES, SEVERITIES
from virolbi.results.rows import MEASURE, Row, check_one_source
from virolbi.results.statistics import wilson_interval

Condition = tuple[str, int]  # name and severity

# Conditions of the figures over several.
STRONGEST_NOISES: tuple[Condition, ...] = tuple((name, 5) for name in NOISES)
ALL_COMMON: tuple[Condition, ...] = tuple(product(COMMON, SEVERITIES))
ALL_HELD_OUT: tuple[Condition, ...] = tuple(product(HELD_OUT, SEVERITIES))


@dataclass(frozen=True)
class Cell:
    """Accuracy under one condition.

    Parameters
    ----------
    accuracies : dict
        The accuracy of each seed.
    count : int
        Number of images, the smallest over seeds.
    level : float
        Level of the condition, in its own unit.
    budget : str or None
        Description of the budget of attacks; None for other conditions.
    """

    accuracies: Mapping[int, float]
    count: int
    level: float
    budget: str | None

    @property
    def mean(self) -> float:
        """Mean over seeds.

        Returns
        -------
        float
            The accuracy.
        """
        return fmean(self.accuracies.values())

    @property
    def spread(self) -> float:
        """Standard deviation over seeds.

        Returns
        -------
        float
            The deviation; 0 for one seed.
        """
        return stdev(self.accuracies.values()) if len(self.accuracies) > 1 else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the sample of images.

        Returns
        -------
        low, high : float
            Its bounds. Seeds share the images, so they do not add to the sample.
        """
        return wilson_interval(self.mean * self.count, self.count)


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

    def complete(self, conditions: Iterable[Condition]) -> dict[Condition, Cell]:
        """Return the cells that a figure over several conditions is made of.

        Parameters
        ----------
        conditions : iterable of tuple
            Names and severities of the conditions, at least one.

        Returns
        -------
        dict
            The cell of each condition, over the seeds that have all of the conditions: a mean or
            a minimum over cells of different seeds would compare seeds too. Empty if there is no
            such seed.
        """
        cells = {key: self.cells.get(key) for key in conditions}
        seeds = set.intersection(*(set(cell.accuracies if cell else ()) for cell in cells.values()))
        return {
            key: replace(
                cell, accuracies={seed: a for seed, a in cell.accuracies.items() if seed in seeds}
            )
            for key, cell in cells.items()
            if cell is not None and seeds
        }

    def corruption_mean(self, name: str) -> float:
        """Return the mean accuracy over the five severities of a corruption.

        Parameters
        ----------
        name : str
            Name of the corruption.

        Returns
        -------
        float
            The mean, over the seeds with all severities; NaN if there is none.
        """
        cells = self.complete((name, severity) for severity in SEVERITIES)
        return fmean(cell.mean for cell in cells.values()) if cells else math.nan

    @property
    def common_means(self) -> dict[str, float]:
        """Mean accuracy over the severities of each of the 15 common corruptions.

        Returns
        -------
        dict
            The means by the names of the corruptions, over the seeds with all 15 and their
            severities; empty if there is none.
        """
        return _means(self.complete(ALL_COMMON))

    @property
    def worst_common_name(self) -> str | None:
        """Name of the common corruption with the lowest mean accuracy over its severities.

        Returns
        -------
        str or None
            The name; None if no seed has all common corruptions.
        """
        means = self.common_means
        return min(means, key=means.__getitem__, default=None)

    @property
    def worst_common_accuracy(self) -> float:
        """Lowest accuracy over the 15 common corruptions, each the mean over its severities.

        Returns
        -------
        float
            The minimum, over the seeds with all common corruptions; NaN if there is none.
        """
        return min(self.common_means.values(), default=math.nan)

    @property
    def common_mean(self) -> float:
        """Mean accuracy over the 15 common corruptions and their severities.

        Returns
        -------
        float
            The mean, over the seeds with all common corruptions; NaN if there is none.
        """
        means = self.common_means
        return fmean(means.values()) if means else math.nan

    @property
    def held_out_mean(self) -> float:
        """Mean accuracy over the four held-out corruptions and their severities.

        Returns
        -------
        float
            The mean, over the seeds with all held-out corruptions; NaN if there is none.
        """
        means = _means(self.complete(ALL_HELD_OUT))
        return fmean(means.values()) if means else math.nan

    @property
    def worst_noise_condition(self) -> Condition | None:
        """Noise with the lowest accuracy at severity 5, out of Gaussian, shot and impulse noise.

        Returns
        -------
        tuple or None
            Its name and severity; None if no seed has all three.
        """
        cells = self.complete(STRONGEST_NOISES)
        return min(cells, key=lambda noise: cells[noise].mean, default=None)

    @property
    def worst_noise_cell(self) -> Cell | None:
        """Accuracy under the worst noise.

        Returns
        -------
        Cell or None
            The cell, over the seeds with all three noises; None if there is none.
        """
        noise = self.worst_noise_condition
        return None if noise is None else self.complete(STRONGEST_NOISES)[noise]

    @property
    def worst_noise_accuracy(self) -> float:
        """Lowest accuracy over Gaussian, shot and impulse noise at severity 5.

        Returns
        -------
        float
            The minimum, over the seeds with all three; NaN if there is none.
        """
        return math.nan if self.worst_noise_cell is None else self.worst_noise_cell.mean

    def left_out(self, conditions: Sequence[Condition]) -> dict[int, int]:
        """Return the seeds that a figure over several conditions leaves out.

        Parameters
        ----------
        conditions : sequence of tuple
            Names and severities of the conditions.

        Returns
        -------
        dict
            For each seed that has some of the conditions but not all, rising, how many it has; if
            another seed has all of them, seeds that have none are here as well.
        """
        seeds = sorted({seed for cell in self.cells.values() for seed in cell.accuracies})
        present = [self.cells[key].accuracies for key in conditions if key in self.cells]
        counts = {seed: sum(seed in accuracies for accuracies in present) for seed in seeds}
        least = 0 if len(conditions) in counts.values() else 1
        return {s: count for s, count in counts.items() if least <= count < len(conditions)}


def _means(cells: Mapping[Condition, Cell]) -> dict[str, float]:
    """Return the mean accuracy over the severities of each corruption."""
    accuracies: dict[str, list[float]] = {}
    for (name, _), cell in cells.items():
        accuracies.setdefault(name, []).append(cell.mean)
    return {name: fmean(values) for name, values in accuracies.items()}


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
        If rows are of different images, or of different networks under one name and seed, if those
        of one condition were measured in different ways, so that they cannot be in one table, if
        there are two rows for one model, condition and seed, or if two models have the same label,
        which names the columns of tables.
    """
    _check_comparable(rows)
    groups: dict[tuple[str, str], dict[Condition, dict[int, Row]]] = {}
    for row in rows:
        conditions = groups.setdefault((row["arm"], row["view"]), {})
        conditions.setdefault((row["condition"], row["severity"]), {})[row["seed"]] = row
    lines = [
        Line(
            arm,
            view,
            {key: _cell(seeds) for key, seeds in conditions.items()},
            _passes(row for seeds in conditions.values() for row in seeds.values()),
        )
        for (arm, view), conditions in groups.items()
    ]
    _check_distinct_labels(lines)
    return sorted(lines, key=_rank)


def _passes(rows: Iterable[Row]) -> tuple[int, ...]:
    """Return the numbers of passes in rows, without duplicates and rising."""
    return tuple(sorted({row["passes"] for row in rows if "passes" in row}))


def _rank(line: Line) -> tuple[float, ...]:
    """Return what lines are sorted by: missing figures come last."""
    figures = (line.common_mean, line.worst_noise_accuracy, line.held_out_mean)
    return tuple(math.inf if math.isnan(figure) else -figure for figure in figures)


def _check_comparable(rows: Sequence[Row]) -> None:
    """Raise ValueError unless rows have one source, and those of a condition one measure."""
    check_one_source(rows)
    references: dict[Condition, Row] = {}
    for row in rows:
        reference = references.setdefault((row["condition"], row["severity"]), row)
        for name in MEASURE:
            if row.get(name) != reference.get(name):
                raise ValueError(
                    f"rows must have one {name} for {row['condition']} {row['severity']}, "
                    f"got {reference.get(name)} and {row.get(name)}"
                )


def _check_distinct_labels(lines: Iterable[Line]) -> None:
    """Raise ValueError if two lines have the same label."""
    labelled: dict[str, Line] = {}
    for line in lines:
        other = labelled.setdefault(line.label, line)
        if other is not line:
            raise ValueError(
                f"rows must be of models with different labels, got {line.label!r} for the arm "
                f"{other.arm!r} in the view {other.view!r} and the arm {line.arm!r} in the view "
                f"{line.view!r}"
            )


def _cell(rows: Mapping[int, Row]) -> Cell:
    """Return the accuracy over the rows of one model and condition, by their seeds."""
    first = next(iter(rows.values()))
    accuracies = {seed: row["accuracy"] for seed, row in rows.items()}
    count = min(row["count"] for row in rows.values())
    return Cell(accuracies, count, first["level"], first.get("budget"))


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
        that of "auto", in any form of the smoother; else of the largest sparsity; else without
        smoothing. The accuracies do not count: to take the best of them would be to choose on test
        images. In the order of `lines`.
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


def _preference(line: Line) -> tuple[int, float, str]:
    """Return a key that is larger for views that an arm is rather intended to be tested in."""
    named = ("auto", "calibrated", "smoothed")
    choice = "auto" if line.view.startswith("auto, nu ") else line.view
    if choice in named:
        return named.index(choice) + 2, 0, ""
    sparsity = re.match(r"smoothed (\d+(?:\.\d+)?(?:e-\d+)?)", line.view)
    is_smoothed = line.view.startswith("smoothed ")
    return int(is_smoothed), float(sparsity[1]) if sparsity else 0, line.view


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
