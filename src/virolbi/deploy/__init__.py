"""Trained networks as ONNX or safetensors, and whole data sets smoothed on a cluster."""

from virolbi.deploy.cluster import smooth_dataset
from virolbi.deploy.networks import export

__all__ = [
    "export",
    "smooth_dataset",
]
