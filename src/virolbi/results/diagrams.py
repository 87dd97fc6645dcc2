"""Figures of details, of training histories and of certificates."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from virolbi.results.details import Detail
from virolbi.results.figures import draw_legend, svg
from virolbi.results.files import HISTORY, RUNS
from virolbi.results.rows import Row, RowKey, check_one_source, row_key
from virolbi.results.summary import Line, lines_with_baseline, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

BINS = 10  # of confidences
# Settings of a certificate, beside its arm and view.
CERTIFICATE = ("seed", "sigma", "selection", "samples", "alpha", "count", "noise_seed")


def calibration_error(correct: np.ndarray, confidence: np.ndarray) -> float:
    """Return the expected calibration error over ten bins of equal width [1]_.

    Parameters
    ----------
    correct : ndarray of bool, shape (N,)
        Whether each image was classified correctly.
    confidence : ndarray of float, shape (N,)
        Probability of each answer.

    Returns
    -------
    float
        Mean distance of accuracy and confidence, over the images; 0 is best.

    References
    ----------
    .. [1] Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.

    Examples
    --------
    >>> round(calibration_error(np.array([True, False]), np.array([0.9, 0.9])), 2)
    0.4
    """
    counts, accuracies, confidences = _bin(correct, confidence)
    return float((counts * abs(accuracies - confidences)).sum() / max(counts.sum(), 1))


def _bin(correct: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of images in each bin that has some, their accuracy and confidence."""
    index = np.minimum((BINS * confidence).astype(int), BINS - 1)
    counts = np.bincount(index, minlength=BINS)
    filled = counts > 0
    sums = [np.bincount(index, values, BINS)[filled] for values in (correct, confidence)]
    return counts[filled], sums[0] / counts[filled], sums[1] / counts[filled]


def reliability_svg(
    rows: Sequence[Row], lines: Sequence[Line], details: Mapping[RowKey, Detail]
) -> str:
    """Draw the accuracy over the confidence of each line, clean and under its worst noise.

    Parameters
    ----------
    rows : sequence of dict
        Rows of results; all seeds count together.
    lines : sequence of Line
        Lines from `summarise`, drawn in the view that each is intended to be tested in and raw.
    details : mapping
        Confidences of each row.

    Returns
    -------
    str
        The figure as an SVG element; empty without confidences.
    """
    groups: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for line in lines_with_baseline(lines):
        titles = {("clean", 0): "clean"}
        if line.worst_noise_condition is not None:
            titles[line.worst_noise_condition] = "worst noise, severity 5"
        for condition, title in titles.items():
            kept = [
                details[row_key(row)]
                for row in rows
                if (row["arm"], row["view"]) == (line.arm, line.view)
                and (row["condition"], row["severity"]) == condition
                and row_key(row) in details
            ]
            pairs = [(d.correct, d.confidence) for d in kept if d.confidence is not None]
            if pairs:
                groups.setdefault(title, {})[line.label] = (
                    np.concatenate([pair[0] for pair in pairs]),
                    np.concatenate([pair[1] for pair in pairs]),
                )

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, 3, squeeze=False)[0]
        colors = {label: f"C{n}" for n, label in enumerate(groups["clean"])}
        handles: dict[str, Line2D] = {}
        for panel, (title, answers) in zip(panels, groups.items(), strict=False):
            panel.plot((0, 1), (0, 1), ":", color="grey")
            for label, pair in answers.items():
                _, accuracies, confidences = _bin(*pair)
                (handle,) = panel.plot(
                    confidences, accuracies, "o-", ms=3, color=colors.get(label, "grey")
                )
                handles[f"{label}: {calibration_error(*pair):.3f} {title.partition(',')[0]}"] = (
                    handle
                )
            panel.set(title=title, xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
            panel.grid(alpha=0.25)
        for panel in panels[len(groups) :]:
            panel.set_axis_off()
        draw_legend(figure, handles)

    return svg(draw, 1) if "clean" in groups else ""


def histories_svg(folder: Path) -> str:
    """Draw the loss and the accuracy of training runs over their epochs.

    Parameters
    ----------
    folder : Path
        Folder of results, whose training runs are folders in its folder "runs".

    Returns
    -------
    str
        The figure as an SVG element; empty without runs.
    """
    histories = {
        printable(path.parent.name): json.loads(path.read_text())
        for path in sorted(folder.glob(f"{RUNS}/*/{HISTORY}"))
    }
    curves = {
        (key, name): [(entry["epoch"], entry[key]) for entry in history if key in entry]
        for name, history in histories.items()
        for key in ("loss", "accuracy")
    }
    titles = {"loss": "loss on training images", "accuracy": "accuracy on held-out images"}
    return _two_panels(curves, titles, "epoch")


def certified_svg(rows: Iterable[Row]) -> str:
    """Draw the certified accuracy over the radius.

    Parameters
    ----------
    rows : iterable of dict
        Rows of certified.jsonl.

    Returns
    -------
    str
        The figure as an SVG element; empty without rows. Each measurement has a curve of its own;
        those of one arm and view are told apart by the settings in which they differ.

    Raises
    ------
    ValueError
        If rows are of different images, of different networks under one name and seed, or two of
        one measurement.
    """
    rows = list(rows)
    check_one_source(rows)
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: row["level"]):
        name = _measurement(row, [r for r in rows if _model(r) == _model(row)])
        curves.setdefault(("certified", name), []).append((row["level"], row["accuracy"]))
    return _two_panels(curves, {"certified": "certified accuracy"}, "radius, in the 2-norm")


def _model(row: Row) -> tuple[str, str]:
    """Return the arm and the view of a row."""
    return row["arm"], row["view"]


def _measurement(row: Row, alike: Sequence[Row]) -> str:
    """Return the arm and the view of a certified row, and its settings that `alike` differ in."""
    settings = [
        f"{key.replace('_', ' ')} {row.get(key)}"
        for key in CERTIFICATE
        if any(other.get(key) != row.get(key) for other in alike)
    ]
    return printable(f"{row['arm']} ({', '.join([row['view'], *settings])})")


def _two_panels(
    curves: Mapping[tuple[str, str], Sequence[tuple[float, float]]],
    titles: Mapping[str, str],
    horizontal: str,
) -> str:
    """Draw curves, by the key of their panel and their label, in up to two panels."""
    shown = [
        key for key in titles if any(part == key and curve for (part, _), curve in curves.items())
    ]
    labels = list(dict.fromkeys(label for _, label in curves))

    def draw(figure: "Figure") -> None:
        panels: list[Axes] = list(figure.subplots(1, 2, squeeze=False)[0])
        handles: dict[str, Any] = {}
        for key, panel in zip(shown, panels, strict=False):
            for label in labels:
                curve = curves.get((key, label))
                if curve:
                    color = f"C{labels.index(label) % 10}"
                    style = "o-" if labels.index(label) < 10 else "s--"
                    (handles[label],) = panel.plot(
                        *zip(*curve, strict=True), style, ms=3, color=color
                    )
            panel.set(title=titles[key], xlabel=horizontal)
            panel.grid(alpha=0.25)
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
        draw_legend(figure, handles)

    return svg(draw, 1) if shown else ""
