"""Results as data: one row for each model, view, condition, severity and seed, kept as JSON lines."""

import base64
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from virolbi._storage import write_atomic

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

Row = dict[str, Any]
MEASURE = (
    "level",
    "count",
    "noise_seed",
    "resolution",
    "budget",
    "samples",
)  # by which rows of one condition can be compared
IDENTITY = ("arm", "seed", "view", "condition", "severity", *MEASURE)
REQUIRED = (
    "arm",
    "seed",
    "view",
    "condition",
    "severity",
    "level",
    "count",
    "accuracy",
    "data",
    "images",
    "weights",
)


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON-lines file; none where there is no file. Raises ValueError with the line that is not a row.

    A last line that a kill has cut short is left out.
    """
    rows = read_lines(path)
    for number, row in enumerate(rows, start=1):
        missing = [key for key in REQUIRED if key not in row]
        if missing:
            raise ValueError(
                f"{path}:{number} must be a row of results, there is no {missing[0]!r}"
            )
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replace a file of rows, whole or not at all."""
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def add_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file, but those that are there; other processes may be adding to it as well."""
    with locked(path) as file:
        there = {row_key(json.loads(line)) for line in _whole_lines(file)}
        file.write(
            "".join(json.dumps(row) + "\n" for row in rows if row_key(row) not in there).encode()
        )


def row_key(row: Row) -> tuple[Any, ...]:
    """What a row is about: two rows with one identity are of the same measurement."""
    return tuple(row.get(key) for key in IDENTITY)


def add_detail(path: Path, row: Row, correct: np.ndarray, seconds: float) -> None:
    """Append to a file of details which images a row counts as right, bool (count,), and how long that took."""
    about = {key: row.get(key) for key in IDENTITY}
    bits = base64.b64encode(np.packbits(correct).tobytes()).decode()
    with locked(path) as file:
        _whole_lines(file)
        file.write(
            (json.dumps(about | {"correct": bits, "seconds": round(seconds, 3)}) + "\n").encode()
        )


@contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """A file to add to, made if need be, that other processes leave alone meanwhile, where the system knows how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if fcntl is not None:
            with suppress(OSError):  # some network file systems do not
                fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
        yield file


def _whole_lines(file: BinaryIO) -> list[bytes]:
    """The lines of a file to add to, after a last one that a kill has cut short is gone from it."""
    file.seek(0)
    lines = file.read().splitlines(keepends=True)
    if lines and _is_cut(lines[-1]):
        lines.pop()
        file.truncate(sum(map(len, lines)))
    elif lines and not lines[-1].endswith(b"\n"):
        file.write(b"\n")
    return lines


def _is_cut(line: str | bytes) -> bool:
    """Whether the last line of a file is one that a kill has cut short."""
    if line[-1:] in ("\n", b"\n"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every line of a JSON-lines file, nothing where there is none; a last one that a kill has cut short is left out.

    Raises ValueError with the line that is none.
    """
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    if lines and _is_cut(lines[-1]):
        lines.pop()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}:{number} must be a row of results: {error!r}") from error
    return found


def read_details(path: Path) -> dict[tuple[Any, ...], tuple[np.ndarray, float]]:
    """What `add_detail` wrote, by the identity of its row; a last line that a kill has cut short is left out."""
    found = {}
    for entry in read_lines(path):
        bits = np.frombuffer(base64.b64decode(entry["correct"]), np.uint8)
        found[row_key(entry)] = (
            np.unpackbits(bits, count=entry["count"]).astype(bool),
            float(entry["seconds"]),
        )
    return found
