"""Large arrays in files: made chunk by chunk, whole before they are used, and gone on with where they were left."""

import glob
import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from virolbi._storage.files import write_atomic

CHUNK = 2**26  # bytes that are made, and may be lost, at once


def cached_array(
    path: Path, shape: tuple[int, ...], make: Callable[[slice], np.ndarray]
) -> np.ndarray:
    """The uint8 array kept at `path`, a .npy file, read-only and not in memory; `make` makes the rows not there yet."""
    if not path.exists():
        part = acquire_part(path)
        mark = part.with_name("done.json")
        done = json.loads(mark.read_text())["done"] if mark.exists() else 0
        array = np.lib.format.open_memmap(part, "r+" if done else "w+", np.uint8, shape)
        step = max(1, CHUNK // max(1, array[:1].nbytes))
        for first in range(done, len(array), step):
            rows = slice(first, min(first + step, len(array)))
            array[rows] = make(rows)
            array.flush()
            write_atomic(mark, json.dumps({"done": rows.stop}).encode())
        mark.unlink(missing_ok=True)
        publish_part(part, path)
    return np.load(path, mmap_mode="r")


def acquire_part(path: Path) -> Path:
    """A file to make `path` in that no other process writes; what a dead one of this machine has left of it is taken over."""
    ours = f"{path.stem}.{platform.node()}+"
    own = path.with_name(f"{ours}{os.getpid()}.part")
    for left in path.parent.glob(f"{glob.escape(ours)}*.part"):
        if not _is_running(int(left.stem.removeprefix(ours))):
            try:
                left.rename(own)
            except OSError:  # this process has one already, or another one was faster
                shutil.rmtree(left, ignore_errors=True)
    own.mkdir(parents=True, exist_ok=True)
    return own / "array.npy"


def publish_part(part: Path, path: Path) -> None:
    """Put a finished part in its place. Of several processes that make the same file, the last one replaces it by its equal."""
    part.replace(path)
    shutil.rmtree(part.parent)


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # the signal 0 asks on posix only
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
