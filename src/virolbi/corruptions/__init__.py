"""Common corruptions at five severities, for images of 32, 64 and 224 pixels.

References
----------
.. [1] D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
   and Perturbations", ICLR 2019.
"""

from virolbi.corruptions._constants import (
    ALEXNET_ERRORS,
    COMMON,
    HELD_OUT,
    LEVELS,
    NOISES,
    RESOLUTIONS,
    SEVERITIES,
    check_severity,
    nearest_resolution,
    noise_level,
)
from virolbi.corruptions._corrupt import MIN_SIDE, corrupt
from virolbi.corruptions._official import OFFICIAL_COUNT, official
from virolbi.corruptions._resolution import low_resolution
from virolbi.corruptions._sheet import sheet

__all__ = [
    "ALEXNET_ERRORS",
    "COMMON",
    "HELD_OUT",
    "LEVELS",
    "MIN_SIDE",
    "NOISES",
    "OFFICIAL_COUNT",
    "RESOLUTIONS",
    "SEVERITIES",
    "check_severity",
    "corrupt",
    "low_resolution",
    "nearest_resolution",
    "noise_level",
    "official",
    "sheet",
]
