"""Robust image classification by inverse-scale-space smoothing."""

from virolbi.scale_space import Scale, ScaleSpace, denoise, lbi, noise_strength
from virolbi.smooth import PAPER, smooth

__all__ = ["PAPER", "Scale", "ScaleSpace", "denoise", "lbi", "noise_strength", "smooth"]
__version__ = "0.3.0"
