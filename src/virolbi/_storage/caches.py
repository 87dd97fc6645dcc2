"""Caches of large arrays in files, which are computed in chunks and complete before they are used.

A computation that was interrupted resumes from its last complete chunk.
"""

import glob
import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from virolbi._storage.files import write_json

CHUNK = 2**26  # bytes that are computed, and may be lost, at once


def cached_array(
    path: Path, shape: tuple[int, ...], make: Callable[[slice], np.ndarray]
) -> np.ndarray:
    """Return the array of a cache file, and compute the rows that are missing first.

    Parameters
    ----------
    path : Path
        A .npy file.
    shape : tuple of int
        Shape of the array.
    make : callable
        Function that returns the rows of a slice of the first axis, as uint8.

    Returns
    -------
    ndarray of uint8
        The array, read-only and mapped from the file, not in memory.
    """
    if not path.exists():
        part = acquire_part(path)
        progress_file = part.with_name("done.json")
        done = json.loads(progress_file.read_text())["done"] if progress_file.exists() else 0
        array = np.lib.format.open_memmap(part, "r+" if done else "w+", np.uint8, shape)
        step = max(1, CHUNK // max(1, array[:1].nbytes))
        for start in range(done, len(array), step):
            rows = slice(start, min(start + step, len(array)))
            array[rows] = make(rows)
            array.flush()
            write_json(progress_file, {"done": rows.stop})
        progress_file.unlink(missing_ok=True)
        publish_part(part, path)
    cached: np.ndarray = np.load(path, mmap_mode="r")
    return cached


def acquire_part(path: Path) -> Path:
    """Return a file in which this process alone prepares the content of another file.

    A part that a dead process of this machine has started is taken over.

    Parameters
    ----------
    path : Path
        File to prepare.

    Returns
    -------
    Path
        The part, in a folder beside `path` that names the machine and the process.
    """
    prefix = f"{path.stem}.{platform.node()}+"
    folder = path.with_name(f"{prefix}{os.getpid()}.part")
    for other in path.parent.glob(f"{glob.escape(prefix)}*.part"):
        if not _is_running(int(other.stem.removeprefix(prefix))):
            try:
                other.rename(folder)
            except OSError:  # this process has a part already, or another one was faster
                shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "array.npy"


def publish_part(part: Path, path: Path) -> None:
    """Move a finished part to its final path.

    If several processes prepare the same file, the last one replaces it by an equal one.

    Parameters
    ----------
    part : Path
        Finished part, from `acquire_part`.
    path : Path
        Final path.
    """
    part.replace(path)
    shutil.rmtree(part.parent)


def _is_running(process: int) -> bool:
    """Return whether a process of this machine is running, or True if that is unknown."""
    if os.name != "posix":
        return True  # signal 0 tests for a process on POSIX only
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
