"""The smoother for arrays: the scale path, moments on it, and how far along it to go."""

from virolbi.scale_space.choosing import Online, from_pairs
from virolbi.scale_space.layout import Layout, check_intensities, check_settings, check_sparsity
from virolbi.scale_space.noise import (
    CUT,
    GAP,
    QUIET,
    TEXTURE,
    Chooser,
    blocks,
    check_choice,
    noise_strength,
    stopping_time,
    strengths,
)
from virolbi.scale_space.path import ScaleSpace, ends
from virolbi.scale_space.reference import largest_stable_step, lbi
from virolbi.scale_space.regions import label_regions, merge_small, region_means
from virolbi.scale_space.scale import Scale, check_output
from virolbi.scale_space.solver import Solver

__all__ = ['CUT', 'Chooser', 'GAP', 'Layout', 'Online', 'QUIET', 'Scale', 'ScaleSpace', 'Solver', 'TEXTURE', 'blocks', 'check_choice', 'check_intensities', 'check_output', 'check_settings', 'check_sparsity', 'ends', 'from_pairs', 'label_regions', 'largest_stable_step', 'lbi', 'merge_small', 'noise_strength', 'region_means', 'stopping_time', 'strengths']
