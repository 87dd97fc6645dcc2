"""Make image classifiers robust to noise nobody planned for: an inverse-scale-space smoother, training on it, judging it."""

from virolbi.lbi import lbi
from virolbi.path import ScaleSpace
from virolbi.smoothing import PAPER, smooth

__all__ = ["PAPER", "ScaleSpace", "lbi", "smooth"]
__version__ = "0.1.0"
