"""The published arrays of CIFAR-10-C and CIFAR-100-C."""

from pathlib import Path

import numpy as np

from virolbi.corruptions._constants import level_of

EACH = 10_000  # images, at each of five severities


def official(folder: Path | str, name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a type at a severity from a folder of CIFAR-10-C or CIFAR-100-C: uint8, (N, 3, 32, 32), and int64 labels, (N,).

    folder: has <name>.npy, uint8, (50000, 32, 32, 3), where 10,000 images of severity 1 come first, and labels.npy, (50000,).
    Raises ValueError for a name or a severity that is not one, and for a file that is missing, cannot be read or has another
    shape or type.

    ImageNet-C and Tiny-ImageNet-C are folders of pictures, name/severity/class/picture.JPEG: `virolbi.data.load` reads each
    name/severity as it does any folder of classes.
    """
    level_of(name, severity, 32)
    images = _read(Path(folder) / f"{name}.npy", (5 * EACH, 32, 32, 3))
    labels = _read(Path(folder) / "labels.npy", (5 * EACH,))
    if images.dtype != np.uint8:
        raise ValueError(f"{name}.npy must be uint8, got {images.dtype}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels.npy must be integers, got {labels.dtype}")
    rows = slice((severity - 1) * EACH, severity * EACH)
    return np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2)), labels[rows].astype(np.int64)


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; a CIFAR-C folder must have it") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a NumPy array: {error}") from error
    if array.shape != shape:
        raise ValueError(f"{path} must have the shape {shape}, got {array.shape}")
    return array
