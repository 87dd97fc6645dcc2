"""Compiled kernels on arrays: sweeps, time steps, regions; they know nothing of what an image means."""

from virolbi._engine import kernels
from virolbi._engine.compile import compiled
from virolbi._engine.components import average_components, label_components, merge_components
from virolbi._engine.extremes import gap_energy
from virolbi._engine.graph import edge_count, split_edges, variation, variation_adjoint
from virolbi._engine.iteration import iterate
from virolbi._engine.kernels import EARLY, FASTER, FULL, SMALLEST, Settings
from virolbi._engine.memory import BETA, Z, aligned, edge_words, flatten, grid_of, pack, unflatten, unpack
from virolbi._engine.threads import copies, parallel, shares
