"""The smoother for PyTorch tensors, as a layer with its exact derivative."""

from virolbi.nn.layer import Smooth, outside_of_graphs, smooth_tensor
from virolbi.nn.path import TensorScale, has_kernels

__all__ = [
    "Smooth",
    "TensorScale",
    "has_kernels",
    "outside_of_graphs",
    "smooth_tensor",
]
