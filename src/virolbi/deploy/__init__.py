"""Trained networks as ONNX or safetensors, and whole data sets smoothed on a cluster."""

from typing import TYPE_CHECKING, Any

from virolbi.deploy.cluster import smooth_dataset

if TYPE_CHECKING:
    from virolbi.deploy.networks import export

__all__ = [
    "export",
    "smooth_dataset",
]


def __getattr__(name: str) -> Any:
    """Import `export` when it is first used (PEP 562).

    Ray's workers import this package to unpickle functions of `virolbi.deploy.cluster`, and
    would otherwise load torch, which only `virolbi.deploy.networks` needs.
    """
    if name == "export":
        from virolbi.deploy.networks import export

        return export
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
