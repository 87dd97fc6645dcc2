"""Heat maps of a score over pairs of settings, as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

Row = dict[str, Any]
Scores = dict[tuple[float, float], float]  # by the values of two settings

CELL_WIDTH, CELL_HEIGHT, LEFT, TOP, GAP = 27, 17, 74, 40, 26  # pixels
GOOD, BAD = (38, 120, 90), (250, 236, 215)  # colours of the best score, and of the tolerance


def heat_maps(
    rows: Sequence[Row],
    *,
    score: str,
    panels: Sequence[str],
    defaults: Mapping[str, float],
    worst: float,
    factor: float = 1.0,
) -> str:
    """Draw how much each pair of settings loses to the best settings of its column of panels.

    Parameters
    ----------
    rows : sequence of dict
        One row for each path: the settings, `None` for infinity; a list of sparsities; and the
        score at each of them.
    score : str
        Name of the list of scores.
    panels : sequence of str
        Names of the fields that tell the columns of panels apart.
    defaults : mapping of str to float
        Default of each setting but the sparsity. In each panel, the settings that it does not show
        have their defaults, and the sparsity is the best.
    worst : float
        Loss at which the colour is the weakest.
    factor : float, optional
        Factor of the losses that are printed.

    Returns
    -------
    str
        An SVG with a row of panels for each pair.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in panels), []).append(row)
    pairs = list(combinations(["sparsity", *defaults], 2))
    parts, y, width = list[str](), TOP, 0.0
    for pair in pairs:
        x = height = 0.0
        for names, group in groups.items():
            scores = _scores(group, score, pair, defaults)
            best = max(max(row[score]) for row in group)
            losses = {key: best - value for key, value in scores.items()}
            parts += _panel(x + LEFT, y, ", ".join(names), pair, losses, worst, factor)
            x += LEFT + CELL_WIDTH * len({key[0] for key in losses}) + GAP
            height = max(height, CELL_HEIGHT * len({key[1] for key in losses}))
        y, width = y + int(height) + TOP + GAP, max(width, x)
    size = f'width="{width:.0f}" height="{y}" viewBox="0 0 {width:.0f} {y}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    back = f'<rect width="{width:.0f}" height="{y}" fill="#fff"/>'
    return "\n".join([head, back, *parts, "</svg>\n"])


def _value(row: Row, name: str) -> float:
    """Return the value of a setting; None stands for infinity."""
    return float("inf") if row[name] is None else float(row[name])


def _scores(
    rows: Sequence[Row], score: str, pair: tuple[str, str], defaults: Mapping[str, float]
) -> Scores:
    """Return the score for the values of two settings, with the others as the panel has them."""
    scores: Scores = {}
    for row in rows:
        if any(_value(row, name) != v for name, v in defaults.items() if name not in pair):
            continue
        if pair[0] == "sparsity":
            for sparsity, value in zip(row["sparsity"], row[score], strict=True):
                scores[sparsity, _value(row, pair[1])] = value
        else:
            scores[_value(row, pair[0]), _value(row, pair[1])] = max(row[score])
    return scores


def _panel(
    x: float,
    y: float,
    title: str,
    pair: tuple[str, str],
    losses: Scores,
    worst: float,
    factor: float,
) -> Iterator[str]:
    """Draw one panel with its corner at a position."""
    columns, lines = (sorted({key[axis] for key in losses}) for axis in (0, 1))
    yield f'<text x="{x}" y="{y - 22}" font-size="12" font-weight="600">{title}</text>'
    yield f'<text x="{x - 8}" y="{y - 6}" font-size="11" text-anchor="end">{pair[1]}</text>'
    for column, value in enumerate(columns):
        middle = x + CELL_WIDTH * (column + 0.5)
        yield f'<text x="{middle}" y="{y - 6}" font-size="9" text-anchor="middle">{value:g}</text>'
    for line, value in enumerate(lines):
        top = y + CELL_HEIGHT * line
        yield f'<text x="{x - 8}" y="{top + 12}" font-size="9" text-anchor="end">{value:g}</text>'
        for column, other in enumerate(columns):
            loss = losses[other, value]
            share = min(loss / worst, 1.0)
            color = [round(a + share * (b - a)) for a, b in zip(GOOD, BAD, strict=True)]
            left, ink = x + CELL_WIDTH * column, "#fff" if share < 0.45 else "#333"
            yield (
                f'<rect x="{left}" y="{top}" width="{CELL_WIDTH - 1}" height="{CELL_HEIGHT - 1}" '
                f'fill="rgb({color[0]},{color[1]},{color[2]})"/>'
                f'<text x="{left + CELL_WIDTH / 2}" y="{top + 12}" font-size="8" fill="{ink}" '
                f'text-anchor="middle">{factor * loss:.1f}</text>'
            )
    bottom = y + CELL_HEIGHT * len(lines) + 12
    yield f'<text x="{x}" y="{bottom}" font-size="11">{pair[0]}</text>'
