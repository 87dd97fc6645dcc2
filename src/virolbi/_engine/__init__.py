"""Compiled kernels on arrays: paths, equilibria, connected components, statistics of blocks.

Nothing here knows what an image means: arrays are flat, edges are bits, and arguments have been
checked by the caller.
"""

from virolbi._engine.averaging import average_alike
from virolbi._engine.bands import begin, march, settle
from virolbi._engine.blocks import (
    ALIKE,
    ALONE,
    BLACK,
    COARSE,
    COARSE_FILTER,
    FINE,
    FINE_FILTER,
    FLAT,
    GAINS,
    LIMITS,
    MEAN,
    OUTLIERS,
    PAIRS,
    ROUNDED,
    SHARED,
    STATISTICS,
    STEP,
    WITHIN,
    block_edges,
    block_statistics,
)
from virolbi._engine.compile import compiled
from virolbi._engine.components import average_components, label_components, merge_components
from virolbi._engine.graph import edge_count, split_edges, variation, variation_adjoint
from virolbi._engine.iteration import iterate
from virolbi._engine.kernels import SMALLEST, Ends, replay
from virolbi._engine.memory import (
    BETA,
    WORKSPACE,
    Z,
    aligned,
    edge_words,
    flatten,
    grid_of,
    pack,
    unflatten,
    unpack,
)
from virolbi._engine.records import Grid, Paths, Settings
from virolbi._engine.tables import look_up
from virolbi._engine.threads import (
    Progress,
    batch_slices,
    copy_slices,
    each_batch,
    no_progress,
    parallel,
)
from virolbi._engine.time_steps import FULL, SOON

__all__ = [
    "ALIKE",
    "ALONE",
    "BETA",
    "BLACK",
    "COARSE",
    "COARSE_FILTER",
    "FINE",
    "FINE_FILTER",
    "FLAT",
    "FULL",
    "GAINS",
    "LIMITS",
    "MEAN",
    "OUTLIERS",
    "PAIRS",
    "ROUNDED",
    "SHARED",
    "SMALLEST",
    "SOON",
    "STATISTICS",
    "STEP",
    "WITHIN",
    "WORKSPACE",
    "Ends",
    "Grid",
    "Paths",
    "Progress",
    "Settings",
    "Z",
    "aligned",
    "average_alike",
    "average_components",
    "batch_slices",
    "begin",
    "block_edges",
    "block_statistics",
    "compiled",
    "copy_slices",
    "each_batch",
    "edge_count",
    "edge_words",
    "flatten",
    "grid_of",
    "iterate",
    "label_components",
    "look_up",
    "march",
    "merge_components",
    "no_progress",
    "pack",
    "parallel",
    "replay",
    "settle",
    "split_edges",
    "unflatten",
    "unpack",
    "variation",
    "variation_adjoint",
]
