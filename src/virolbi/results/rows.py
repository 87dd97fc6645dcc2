"""Results as data: one row for each model, view, condition, severity and seed, kept as JSON lines."""

import base64
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from scipy.special import betainc

from virolbi._files import write_whole

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

Row = dict[str, Any]
MEASURE = ("level", "count", "noise_seed", "resolution", "budget", "samples")  # by which rows of one condition can be compared
IDENTITY = ("arm", "seed", "view", "condition", "severity", *MEASURE)
REQUIRED = ("arm", "seed", "view", "condition", "severity", "level", "count", "accuracy", "data", "images", "weights")


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON-lines file; none where there is no file. Raises ValueError with the line that is not a row.

    A last line that a kill has cut short is left out.
    """
    rows = read_lines(path)
    for number, row in enumerate(rows, start=1):
        missing = [key for key in REQUIRED if key not in row]
        if missing:
            raise ValueError(f"{path}:{number} must be a row of results, there is no {missing[0]!r}")
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replace a file of rows, whole or not at all."""
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def add_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file, but those that are there; other processes may be adding to it as well."""
    with held(path) as file:
        there = {identity(json.loads(line)) for line in _whole_lines(file)}
        file.write("".join(json.dumps(row) + "\n" for row in rows if identity(row) not in there).encode())


def identity(row: Row) -> tuple[Any, ...]:
    """What a row is about: two rows with one identity are of the same measurement."""
    return tuple(row.get(key) for key in IDENTITY)


def add_detail(path: Path, row: Row, correct: np.ndarray, seconds: float) -> None:
    """Append to a file of details which images a row counts as right, bool (count,), and how long that took."""
    about = {key: row.get(key) for key in IDENTITY}
    bits = base64.b64encode(np.packbits(correct).tobytes()).decode()
    with held(path) as file:
        _whole_lines(file)
        file.write((json.dumps(about | {"correct": bits, "seconds": round(seconds, 3)}) + "\n").encode())


@contextmanager
def held(path: Path) -> Iterator[BinaryIO]:
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
        found[identity(entry)] = np.unpackbits(bits, count=entry["count"]).astype(bool), float(entry["seconds"])
    return found


class Pair(NamedTuple):
    """Two models on the same images. gain: accuracy of the first less that of the second; p: were they equally good."""

    gain: float
    low: float
    high: float
    p: float


def paired(first: np.ndarray, second: np.ndarray) -> Pair:
    """Compare which images two models get right, (seeds, images) each; the images are the sample, averaged over seeds.

    p: of the exact two-sided sign test over the images on which they differ, for one seed McNemar's (1947). low, high: 95 %
    interval of the gain, with half an image added to each of the four cases (Agresti & Min, 2005), so not quite around it.

    >>> right, wrong = np.ones((1, 30), bool), np.zeros((1, 30), bool)
    >>> paired(right, wrong).gain, paired(right, wrong).p < 1e-6, paired(right, right).p
    (1.0, True, 1.0)
    """
    difference = first.mean(axis=0) - second.mean(axis=0)
    total, squares, count = float(difference.sum()), float((difference**2).sum()) + 1, len(difference) + 2
    half = 1.959964 * math.sqrt((squares / count - (total / count) ** 2) / count)
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    p = min(1.0, 2 * sign_tail(max(wins, losses), min(wins, losses)))
    return Pair(float(difference.mean()), total / count - half, total / count + half, p)


def sign_tail(wins: int, losses: int) -> float:
    """The chance of so many wins or more, of so many games, where neither side is the stronger."""
    return float(betainc(wins, losses + 1, 0.5)) if wins else 1.0


def holm(chances: Sequence[float]) -> list[float]:
    """The p of several tests, each raised so that all of them together err one time in twenty at .05 (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    raised, least = list(chances), 0.0
    for rank, index in enumerate(sorted(range(len(raised)), key=raised.__getitem__)):
        least = max(least, min(1.0, (len(raised) - rank) * chances[index]))
        raised[index] = least
    return raised


def share(hits: float, count: int) -> Row:
    """What a row says of `hits` in `count` images: the accuracy and its 95 % interval."""
    low, high = wilson_interval(hits, count)
    return {"accuracy": hits / count, "low": round(low, 4), "high": round(high, 4)}


def wilson_interval(correct: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927).

    >>> [round(bound, 3) for bound in wilson_interval(90, 100)]
    [0.826, 0.945]
    """
    z = 1.959964
    share, scale = correct / count, 1 + z * z / count
    centre = (share + z * z / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
