"""The smoother for arrays: the scale path, moments on it, and how far along it to go."""

from virolbi.scale_space.choosing import Online, from_pairs
from virolbi.scale_space.layout import Layout, check_intensities, check_settings, check_sparsity
from virolbi.scale_space.noise import (
    CUT,
    GAP,
    NEGLIGIBLE,
    TEXTURE,
    Chooser,
    blocks,
    check_sparsity_choice,
    noise_strength,
    planes_noise,
    stopping_time,
)
from virolbi.scale_space.path import ScaleSpace, path_ends
from virolbi.scale_space.reference import Iterate, largest_stable_step, lbi
from virolbi.scale_space.regions import label_regions, merge_small, region_means
from virolbi.scale_space.scale import Diagnostics, Scale, check_output
from virolbi.scale_space.solver import Solver

__all__ = [
    "CUT",
    "Chooser",
    "Diagnostics",
    "GAP",
    "Iterate",
    "Layout",
    "NEGLIGIBLE",
    "Online",
    "Scale",
    "ScaleSpace",
    "Solver",
    "TEXTURE",
    "blocks",
    "check_intensities",
    "check_output",
    "check_settings",
    "check_sparsity",
    "check_sparsity_choice",
    "from_pairs",
    "label_regions",
    "largest_stable_step",
    "lbi",
    "merge_small",
    "noise_strength",
    "path_ends",
    "planes_noise",
    "region_means",
    "stopping_time",
]
