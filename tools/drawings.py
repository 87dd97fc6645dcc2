"""Drawings of the developer guide, as SVG: the house (layers of packages) and the engine."""

from collections.abc import Sequence

STYLE = 'font-family="sans-serif" font-size="13" text-anchor="middle"'
ARROW = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#666"/></marker></defs>'
)
FLOOR, GAP, WALL = 34, 6, 620  # height of a floor, gap between rooms, width of the house
# Colour of the floors by the first package of a layer; layers without an entry are grey.
COLORS = {
    "cli": "#d8e6f7",
    "explorer": "#d8e6f7",
    "deploy": "#d8e6f7",
    "training": "#dff0dc",
    "robustness": "#dff0dc",
    "results": "#dff0dc",
    "corruptions": "#fbe9d0",
    "nn": "#fbe9d0",
    "scale_space": "#fbe9d0",
    "_engine": "#f7d9dc",
}


def house(layers: Sequence[str]) -> str:
    """Draw the packages as floors of a house; each may use the floors below it.

    Parameters
    ----------
    layers : sequence of str
        Layers of the import contract from top to bottom, with " | " between packages.

    Returns
    -------
    str
        The drawing as SVG.
    """
    parts = [f'<path d="M{WALL / 2 + 10} 6L{WALL + 18} 56H2z" fill="#b9c3cf"/>']
    for floor, layer in enumerate(layers):
        names = layer.split(" | ")
        width = (WALL - GAP * (len(names) - 1)) / len(names)
        for room, name in enumerate(names):
            x, y = 10 + room * (width + GAP), 62 + floor * (FLOOR + GAP)
            parts.append(_box(x, y, width, FLOOR, [name], COLORS.get(names[0], "#e6e6e6")))
    return _svg(WALL + 20, 62 + len(layers) * (FLOOR + GAP) + 4, parts)


def engine() -> str:
    """Draw the way of an image through the kernels of the engine.

    Returns
    -------
    str
        The drawing as SVG.
    """
    boxes = [
        (10, 20, 150, ["data y", "planes as lines,", "edges as bits"], "#e6e6e6"),
        (190, 20, 150, ["begin", "equilibrium with", "all edges open"], "#f7d9dc"),
        (370, 20, 250, ["march", "time steps until the goal", ""], "#f7d9dc"),
        (390, 120, 210, ["1  z + dt D beta / nu", "projected: |z| at most 1"], "#fbe9d0"),
        (390, 180, 210, ["2  S = edges with |z| = 1", "changes go to the log"], "#fbe9d0"),
        (390, 240, 210, ["3  relax beta a little", "(w + L_S / nu) beta = w y"], "#fbe9d0"),
        (10, 180, 150, ["log of events", "edge, enters or leaves,", "time"], "#e6e6e6"),
        (190, 180, 150, ["replay", "the support at any", "moment of the log"], "#f7d9dc"),
        (190, 320, 150, ["settle", "beta at equilibrium", "with this support"], "#f7d9dc"),
        (10, 320, 150, ["label, average, merge", "regions and their means", ""], "#f7d9dc"),
        (
            390,
            320,
            210,
            ["settle, transposed", "the exact derivative:", "one more solve"],
            "#f7d9dc",
        ),
    ]
    lines = [
        *("M160 51H186", "M340 51H366", "M495 82V116", "M495 162V176", "M495 222V236"),
        *("M600 261H614V141H604", "M390 201H370V150H85V176", "M160 211H186"),
        *("M265 242V316", "M230 242V280H85V316", "M340 351H386"),
    ]
    parts = [ARROW]
    parts += [
        f'<path d="{line}" fill="none" stroke="#666" marker-end="url(#arrow)"/>' for line in lines
    ]
    parts += [
        _box(x, y, width, 14 + 16 * len(text), text, color) for x, y, width, text, color in boxes
    ]
    return _svg(630, 392, parts)


def _box(x: float, y: float, width: float, height: float, lines: Sequence[str], color: str) -> str:
    """Draw a box with centred lines of text, the first in bold."""
    lines = [line for line in lines if line]
    first = y + height / 2 - 8 * (len(lines) - 1) + 4
    text = "".join(
        f'<text x="{x + width / 2:g}" y="{first + 16 * index:g}"'
        f"{'' if index else ' font-weight=' + chr(34) + 'bold' + chr(34)}>{line}</text>"
        for index, line in enumerate(lines)
    )
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" '
        f'fill="{color}" stroke="#999"/>{text}'
    )


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    """Return parts as an SVG on a white ground."""
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    ground = f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {STYLE}>'
    return "\n".join([head, ground, *parts, "</svg>\n"])
