"""Compiled kernels on arrays: sweeps, time steps, regions; they know nothing of what an image means."""

from virolbi._engine import kernels
from virolbi._engine.compile import compiled
from virolbi._engine.components import average_components, label_components, merge_components
from virolbi._engine.extremes import gap_energy
from virolbi._engine.graph import edge_count, split_edges, variation, variation_adjoint
from virolbi._engine.iteration import iterate
from virolbi._engine.kernels import EARLY, FASTER, FULL, SMALLEST, Settings
from virolbi._engine.memory import (
    BETA,
    Z,
    aligned,
    edge_words,
    flatten,
    grid_of,
    pack,
    unflatten,
    unpack,
)
from virolbi._engine.threads import batch_slices, copy_slices, parallel

__all__ = [
    "BETA",
    "EARLY",
    "FASTER",
    "FULL",
    "SMALLEST",
    "Settings",
    "Z",
    "aligned",
    "average_components",
    "batch_slices",
    "compiled",
    "copy_slices",
    "edge_count",
    "edge_words",
    "flatten",
    "gap_energy",
    "grid_of",
    "iterate",
    "kernels",
    "label_components",
    "merge_components",
    "pack",
    "parallel",
    "split_edges",
    "unflatten",
    "unpack",
    "variation",
    "variation_adjoint",
]
