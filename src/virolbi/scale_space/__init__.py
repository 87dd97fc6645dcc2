"""The smoother for arrays: the scale path, moments on it, and how far along it to go."""

from virolbi.scale_space.block_noise import OUTLIER
from virolbi.scale_space.choosing import Online, from_pairs
from virolbi.scale_space.denoising import denoise
from virolbi.scale_space.form import (
    NU_RANGE,
    PAPER,
    PRESETS,
    Form,
    Output,
    Preset,
    check_delta,
    check_nu,
    check_sparsity_choice,
    depends_on_noise,
)
from virolbi.scale_space.input_checks import (
    OVERSHOOT,
    IntensityWarning,
    check_channel_axis,
    check_data_range,
    check_intensities,
    dtype_range,
    highest_unsaturated,
    used_range,
    warn_of_unused_range,
)
from virolbi.scale_space.layout import Layout, round_to
from virolbi.scale_space.noise import (
    NEGLIGIBLE,
    block_grid,
    blocks_noise,
    estimate_noise,
    noise_strength,
    planes_noise,
)
from virolbi.scale_space.noise_estimate import NoiseEstimate
from virolbi.scale_space.noise_level import fit_noise_level
from virolbi.scale_space.path import ScaleSpace, path_ends
from virolbi.scale_space.reference import Iterate, largest_stable_step, lbi
from virolbi.scale_space.regions import label_regions, merge_small, region_means
from virolbi.scale_space.scale import Diagnostics, Scale
from virolbi.scale_space.solver import Solver
from virolbi.scale_space.sources import SMOOTHER_DIGEST
from virolbi.scale_space.stopping import Chooser, stopping_time, time_for_noise
from virolbi.scale_space.theory import blank_radius, entry_time, noise_gain

__all__ = [
    "NEGLIGIBLE",
    "NU_RANGE",
    "OUTLIER",
    "OVERSHOOT",
    "PAPER",
    "PRESETS",
    "SMOOTHER_DIGEST",
    "Chooser",
    "Diagnostics",
    "Form",
    "IntensityWarning",
    "Iterate",
    "Layout",
    "NoiseEstimate",
    "Online",
    "Output",
    "Preset",
    "Scale",
    "ScaleSpace",
    "Solver",
    "blank_radius",
    "block_grid",
    "blocks_noise",
    "check_channel_axis",
    "check_data_range",
    "check_delta",
    "check_intensities",
    "check_nu",
    "check_sparsity_choice",
    "denoise",
    "depends_on_noise",
    "dtype_range",
    "entry_time",
    "estimate_noise",
    "fit_noise_level",
    "from_pairs",
    "highest_unsaturated",
    "label_regions",
    "largest_stable_step",
    "lbi",
    "merge_small",
    "noise_gain",
    "noise_strength",
    "path_ends",
    "planes_noise",
    "region_means",
    "round_to",
    "stopping_time",
    "time_for_noise",
    "used_range",
    "warn_of_unused_range",
]
