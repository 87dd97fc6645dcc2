"""Figures from rows."""

import io
from collections.abc import Sequence

from virolbi.results.summary import Line, as_meant, line_name


def curves_svg(lines: Sequence[Line]) -> str:
    """Accuracy over severity for every corruption, as SVG: each arm as it is meant to be tested, rivals dashed, bands 95 %."""
    import matplotlib
    from matplotlib.figure import Figure

    shown = as_meant(lines)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "virolbi", "font.size": 9}):
        corruptions = list(
            dict.fromkeys(name for line in lines for name, severity in line.cells if severity == 3)
        )
        rows = -(-len(corruptions) // 3)
        figure = Figure(figsize=(11, 0.4 + 3.2 * max(rows, 1)), layout="constrained")
        panels = figure.subplots(max(rows, 1), 3, sharey=True, squeeze=False)
        for panel in panels.flat[len(corruptions) :]:
            panel.set_axis_off()
        for panel, condition in zip(panels.flat, corruptions, strict=False):
            for index, line in enumerate(shown):
                keys = [
                    key
                    for key in [("clean", 0), *((condition, s) for s in range(1, 6))]
                    if key in line.cells
                ]
                if len(keys) < 2:
                    continue
                cells, style = (
                    [line.cells[key] for key in keys],
                    "--" if line.arm.startswith(("rival", "plain")) else "-",
                )
                ticks = [key[1] for key in keys]
                panel.fill_between(
                    ticks,
                    [c.low for c in cells],
                    [c.high for c in cells],
                    color=f"C{index}",
                    alpha=0.1,
                    lw=0,
                )
                panel.plot(
                    ticks,
                    [c.mean for c in cells],
                    style,
                    color=f"C{index}",
                    marker="o",
                    ms=3,
                    label=line_name(line),
                )
            panel.set(
                title=condition.replace("_", " "), xlabel="severity (0: clean)", xticks=range(6)
            )
            panel.grid(alpha=0.25)
        for panel in panels[:, 0]:
            panel.set_ylabel("accuracy")
        drawn = {
            name: handle
            for panel in panels.flat
            for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(drawn.values(), drawn.keys(), loc="outside right center", frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]
