"""Figure of one scale path: sparsity, edges and regions along it."""

import math
from typing import TYPE_CHECKING

import numpy as np

from virolbi.results.figures import svg
from virolbi.scale_space import ScaleSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPARSITIES = np.linspace(1, 0.02, 50)  # of the moments that are drawn


def path_svg(space: ScaleSpace, stopped: float = math.inf) -> str:
    """Draw sparsity and edges over time, and the number of regions over sparsity.

    Parameters
    ----------
    space : ScaleSpace
        Path of one image; of channels with supports of their own, means are drawn.
    stopped : float, optional
        Time to mark, such as that of "auto". Default: none.

    Returns
    -------
    str
        The figure as an SVG element.

    Examples
    --------
    >>> path_svg(ScaleSpace(np.random.default_rng(0).random((8, 8))))[:4]
    '<svg'
    """
    scales = [space.at(float(sparsity)) for sparsity in SPARSITIES]
    sparsity = np.array([scale.sparsity.mean() for scale in scales])
    time = np.array([scale.time.mean() for scale in scales])
    edges = np.array([scale.support.sum(axis=-1).mean() for scale in scales])
    regions = np.array([(scale.labels.max(axis=(-2, -1)) + 1).mean() for scale in scales])
    shown = np.isfinite(time) & (time > 0)

    def draw(figure: "Figure") -> None:
        left, middle, right = figure.subplots(1, 3)
        left.plot(time[shown], sparsity[shown])
        left.set(xlabel="time, in 1 / intensity", ylabel="sparsity", ylim=(0, 1))
        middle.plot(time[shown], edges[shown])
        middle.set(xlabel="time, in 1 / intensity", ylabel="edges that have entered")
        right.plot(sparsity, regions)
        right.set(xlabel="sparsity", ylabel="regions", xlim=(1, 0), yscale="log")
        for panel in (left, middle, right):
            panel.grid(alpha=0.25)
        for panel in (left, middle) if math.isfinite(stopped) else ():
            panel.axvline(stopped, color="C1", ls="--")
            panel.set_title(f"auto stops at {stopped:.3g}")

    return svg(draw, 1)
