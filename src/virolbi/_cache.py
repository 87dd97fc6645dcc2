"""Large arrays in files: made chunk by chunk, whole before they are used, and gone on with where they were left."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from virolbi._files import write_whole

CHUNK = 2**26  # bytes that are made, and may be lost, at once


def stored(path: Path, shape: tuple[int, ...], make: Callable[[slice], np.ndarray]) -> np.ndarray:
    """The uint8 array kept at `path`, a .npy file, read-only and not in memory; `make` makes the rows not there yet."""
    if not path.exists():
        part, mark = path.with_suffix(".part"), path.with_suffix(".json")
        done = json.loads(mark.read_text())["done"] if mark.exists() and part.exists() else 0
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.lib.format.open_memmap(part, "r+" if done else "w+", np.uint8, shape)
        step = max(1, CHUNK // max(1, array[:1].nbytes))
        for first in range(done, len(array), step):
            rows = slice(first, min(first + step, len(array)))
            array[rows] = make(rows)
            array.flush()
            write_whole(mark, json.dumps({"done": rows.stop}).encode())
        part.replace(path)
        mark.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")
