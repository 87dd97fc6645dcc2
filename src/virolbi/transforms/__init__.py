"""The smoother and the augmentation of the recipes as torchvision transforms, for any loop."""

from virolbi.transforms.equalising import ScaleEqualizer
from virolbi.transforms.recommended import Recommended
from virolbi.transforms.smoothing import Smooth

__all__ = [
    "Recommended",
    "ScaleEqualizer",
    "Smooth",
]
