"""Results as data: one row for each model, view, condition, severity and seed, kept as JSON lines."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from virolbi._files import write_whole

Row = dict[str, Any]
REQUIRED = ("arm", "seed", "view", "condition", "severity", "level", "count", "accuracy", "data", "images")


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON-lines file; none where there is no file. Raises ValueError with the line that is not a row."""
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            row = json.loads(line)
            for key in REQUIRED:
                row[key]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}:{number} must be a row of results: {error!r}") from error
        rows.append(row)
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replace a file of rows, whole or not at all."""
    write_whole(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


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
