"""Figures of summarised rows."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from virolbi.corruptions import SEVERITIES
from virolbi.results.summary import Line, lines_with_baseline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PANELS_PER_ROW = 3


def curves_svg(lines: Sequence[Line]) -> str:
    """Draw the accuracy over the severity of every corruption.

    Parameters
    ----------
    lines : sequence of Line
        Lines from `summarise`. Each arm is drawn in the view that it is intended to be tested in
        and, dotted, without a smoother; rivals and plain training are dashed. Bands are 95 %
        intervals.

    Returns
    -------
    str
        The figure as an SVG element. The same lines give the same text.
    """
    shown = lines_with_baseline(lines)
    corruptions = list(
        dict.fromkeys(name for line in lines for name, severity in line.cells if severity == 3)
    )
    rows = max(-(-len(corruptions) // PANELS_PER_ROW), 1)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(rows, PANELS_PER_ROW, sharey=True, squeeze=False)
        for panel in panels.flat[len(corruptions) :]:
            panel.set_axis_off()
        handles: dict[str, Line2D] = {}
        for panel, corruption in zip(panels.flat, corruptions, strict=False):
            handles |= _draw_panel(panel, corruption, shown)
        for panel in panels[:, 0]:
            panel.set_ylabel("accuracy")
        draw_legend(figure, handles)

    return svg(draw, rows)


def svg(draw: Callable[["Figure"], None], rows: int) -> str:
    """Draw a figure of rows of panels.

    Parameters
    ----------
    draw : callable
        Draws into a figure.
    rows : int
        Number of rows, which sets the height.

    Returns
    -------
    str
        The figure as an SVG element without a background, whose texts and axes have the colour of
        the text around it. The same drawing gives the same text.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "virolbi",
            "font.size": 9,
            "text.parse_math": False,  # a name may have a "$"
        }
    ):
        figure = Figure(figsize=(11, 0.4 + 3.2 * rows), layout="constrained")
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace("#000000", "currentColor")


def draw_legend(figure: "Figure", handles: Mapping[str, "Line2D"]) -> None:
    """Draw the legend of a figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure.
    handles : mapping
        Its curves by their labels.
    """
    numbers = [str(number) for number in range(len(handles))]
    legend = figure.legend([*handles.values()], numbers, loc="outside right center", frameon=False)
    # Matplotlib leaves out labels that begin with "_", but not texts that are set afterwards.
    for text, label in zip(legend.get_texts(), handles, strict=True):
        text.set_text(label)


def _line_style(line: Line, lines: Sequence[Line]) -> str:
    """Return dots for a network that is drawn with a smoother too, dashes for rivals, or a line."""
    if line.view == "raw" and any(other.arm == line.arm for other in lines if other is not line):
        return ":"
    return "--" if line.arm.startswith(("rival", "plain")) else "-"


def _draw_panel(panel: "Axes", corruption: str, lines: Sequence[Line]) -> dict[str, "Line2D"]:
    """Draw and return one curve for each line that has two severities or more, clean included."""
    curves = {}
    for index, line in enumerate(lines):
        conditions = [("clean", 0), *((corruption, severity) for severity in SEVERITIES)]
        severities = [key[1] for key in conditions if key in line.cells]
        if len(severities) < 2:
            continue
        cells = [line.cells[key] for key in conditions if key in line.cells]
        color = f"C{index}"
        low, high = zip(*(cell.interval for cell in cells), strict=True)
        panel.fill_between(severities, low, high, color=color, alpha=0.1, lw=0)
        (curves[line.label],) = panel.plot(
            severities,
            [cell.mean for cell in cells],
            _line_style(line, lines),
            color=color,
            marker="o",
            ms=3,
        )
    panel.set(title=corruption.replace("_", " "), xlabel="severity (0: clean)", xticks=range(6))
    panel.grid(alpha=0.25)
    return curves
