"""Results as rows: one for each model, view, condition, severity and seed, kept as JSON lines."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from virolbi._storage import locked
from virolbi.results.files import ROWS
from virolbi.results.json_lines import complete_lines, encode_lines, read_lines

Row = dict[str, Any]
RowKey = tuple[Any, ...]

# Keys in which rows of one condition must agree to be compared.
MEASURE = ("level", "count", "noise_seed", "resolution", "budget", "samples")
# Keys that identify a measurement.
IDENTITY = ("arm", "seed", "view", "condition", "severity", *MEASURE)
# Keys that every row has.
REQUIRED = (
    *("arm", "seed", "view", "condition", "severity"),
    *("level", "count", "accuracy", "data", "images", "weights"),
)


def row_key(row: Row) -> RowKey:
    """Return the identity of a row.

    Parameters
    ----------
    row : dict
        A row of results.

    Returns
    -------
    tuple
        The values of the keys in `IDENTITY`, None for those that the row does not have. Rows with
        equal identities are of the same measurement.
    """
    return tuple(row.get(key) for key in IDENTITY)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a JSON-lines file.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    list of dict
        The rows; empty if there is no file. A last line that a killed process left incomplete is
        left out.

    Raises
    ------
    ValueError
        If a line is not a row, or its accuracy no number in [0, 1]. The message has the number of
        the line.
    """
    rows = read_lines(path)
    for number, row in enumerate(rows, start=1):
        missing = [key for key in REQUIRED if key not in row]
        if missing:
            raise ValueError(
                f"{path}:{number} must be a row of results with the key {missing[0]!r}, "
                f"got the keys {list(row)}"
            )
        accuracy = row["accuracy"]
        if not isinstance(accuracy, int | float) or not 0 <= accuracy <= 1:
            raise ValueError(f"{path}:{number} must have an accuracy in [0, 1], got {accuracy!r}")
    return rows


def check_one_source(rows: Iterable[Row]) -> None:
    """Check that rows, which may be of several files, can be shown together.

    Parameters
    ----------
    rows : iterable of dict
        Rows of results.

    Raises
    ------
    ValueError
        If they are of several sets of images, if those of one name and seed are of several
        networks, or if two are of one measurement.
    """
    first: Row | None = None
    weights: dict[tuple[str, int], str] = {}
    keys = set[RowKey]()
    for row in rows:
        first = row if first is None else first
        if row["images"] != first["images"]:
            raise ValueError(
                f"rows must have one set of images, got {first['images']} and {row['images']}"
            )
        model = row["arm"], row["seed"]
        known = weights.setdefault(model, row["weights"])
        if row["weights"] != known:
            raise ValueError(
                f"rows must have the weights of one network for {model[0]!r}, seed {model[1]}, "
                f"got {known} and {row['weights']}"
            )
        key = row_key(row)
        if key in keys:
            raise ValueError(f"rows must be one for each measurement, got two of {key}")
        keys.add(key)


def read_results(folder: Path) -> list[Row]:
    """Return the rows of a folder of results.

    Parameters
    ----------
    folder : Path
        Folder with a rows.jsonl.

    Returns
    -------
    list of dict
        At least one row.

    Raises
    ------
    ValueError
        If there are no rows, or if a line is not a row.
    """
    rows = read_rows(folder / ROWS)
    if not rows:
        raise ValueError(f"{folder} must hold a rows.jsonl with at least one row")
    return rows


def add_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append the rows that a file does not have yet.

    Parameters
    ----------
    path : Path
        File to append to, created if it does not exist. Other processes may append to it at the
        same time.
    rows : iterable of dict
        Rows to add; those whose identity (`row_key`) is in the file already are skipped.

    Raises
    ------
    ValueError
        If a row has a number that is not finite; then none is added.
    """
    with locked(path) as file:
        known = {row_key(json.loads(line)) for line in complete_lines(file)}
        new = [row for row in rows if row_key(row) not in known]
        file.write(encode_lines(path, new))
