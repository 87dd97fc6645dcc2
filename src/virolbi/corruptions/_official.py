"""The published arrays of CIFAR-10-C and CIFAR-100-C."""

from pathlib import Path

import numpy as np

from virolbi.corruptions._constants import level_of

OFFICIAL_COUNT = 10_000  # images at each of five severities


def official(folder: Path | str, name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one type at one severity from a folder of CIFAR-10-C or CIFAR-100-C.

    Parameters
    ----------
    folder : path-like
        Folder with `<name>.npy`, uint8, shape (50000, 32, 32, 3), whose first 10,000 images have
        severity 1, and so on, and with `labels.npy`, integers, shape (50000,).
    name : str
        Type of corruption, one of `COMMON` or `HELD_OUT`.
    severity : {1, 2, 3, 4, 5}
        Severity to read.

    Returns
    -------
    pixels : ndarray of uint8, shape (10000, 3, 32, 32)
        Corrupted images.
    labels : ndarray of int64, shape (10000,)
        Their classes.

    Raises
    ------
    ValueError
        If the name or the severity does not exist, or a file is missing, cannot be read, or has
        another shape or dtype.

    Notes
    -----
    ImageNet-C and Tiny-ImageNet-C are folders of pictures, `name/severity/class/picture.JPEG`.
    `virolbi.data.load` reads each `name/severity` like any folder of classes.
    """
    level_of(name, severity, 32)
    images = _read_array(Path(folder) / f"{name}.npy", (5 * OFFICIAL_COUNT, 32, 32, 3))
    labels = _read_array(Path(folder) / "labels.npy", (5 * OFFICIAL_COUNT,))
    if images.dtype != np.uint8:
        raise ValueError(f"{name}.npy must be uint8, got {images.dtype}")
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels.npy must be integers, got {labels.dtype}")
    rows = slice((severity - 1) * OFFICIAL_COUNT, severity * OFFICIAL_COUNT)
    return np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2)), labels[rows].astype(np.int64)


def _read_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Open a NumPy file, mapped into memory, and check its shape."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise ValueError(f"folder must contain {path.name}, but there is no file {path}") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a NumPy array: {error}") from error
    if array.shape != shape:
        raise ValueError(f"{path} must have the shape {shape}, got {array.shape}")
    return array
