"""JSON-lines files that several processes append to and that survive a killed process."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from virolbi._checks import plain_number
from virolbi._storage import locked, locked_folder, write_atomic


def read_lines(path: Path, *, must_exist: bool = False) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file.

    Parameters
    ----------
    path : Path
        File to read.
    must_exist : bool, optional
        Whether a file that does not exist is an error, for commands that only read. Else it has no
        lines yet, for those that add to it.

    Returns
    -------
    list of dict
        One object for each line. A last line that a killed process left incomplete is left out.

    Raises
    ------
    FileNotFoundError
        If there is no file, and `must_exist`.
    ValueError
        If another line is not a JSON object. The message has the number of the line.
    """
    exists = must_exist or path.exists()
    lines = path.read_bytes().splitlines(keepends=True) if exists else []
    if lines and _is_incomplete(lines[-1]):
        lines.pop()
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}:{number} must be a row of results, a JSON object, got {error!r}"
            ) from error
    return entries


def add_lines(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Append objects to a JSON-lines file.

    Parameters
    ----------
    path : Path
        File to append to, created if it does not exist. Other processes may append to it at the
        same time.
    entries : iterable of dict
        Objects to append, one line each.

    Raises
    ------
    ValueError
        If an object has a number that is not finite; then none is appended.
    """
    content = encode_lines(path, entries)
    with locked(path) as file:
        complete_lines(file)
        file.write(content)


def write_lines(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write a JSON-lines file in one atomic step.

    Parameters
    ----------
    path : Path
        File to create or replace.
    entries : iterable of dict
        Its new objects, one line each.

    Raises
    ------
    ValueError
        If an object has a number that is not finite; then the file is left as it is.
    """
    write_atomic(path, encode_lines(path, entries))


def rewrite_lines(
    path: Path, change: Callable[[list[dict[str, Any]]], Iterable[dict[str, Any]]]
) -> None:
    """Replace the objects of a file by a function of them, while no other process writes the file.

    Parameters
    ----------
    path : Path
        File to create or replace.
    change : callable
        Function of the objects that the file holds at this moment, which returns its new ones.

    Raises
    ------
    ValueError
        If a new object has a number that is not finite; then the file is left as it is.
    """
    with locked_folder(path):
        write_lines(path, change(read_lines(path)))


def encode_lines(path: Path, entries: Iterable[dict[str, Any]]) -> bytes:
    """Return objects as lines of JSON.

    JSON has no NaN and no infinity, and other tools cannot read a file with one of them.

    Parameters
    ----------
    path : Path
        File that they are for, which the error names.
    entries : iterable of dict
        Objects, one line each; numbers may be of NumPy.

    Returns
    -------
    bytes
        The lines.

    Raises
    ------
    ValueError
        If an object has a number that is not finite.
    """
    lines = []
    for entry in entries:
        try:
            lines.append(json.dumps(entry, allow_nan=False, default=plain_number) + "\n")
        except ValueError as error:
            raise ValueError(f"lines of {path} must have finite numbers, got {entry}") from error
    return "".join(lines).encode()


def complete_lines(file: BinaryIO) -> list[bytes]:
    """Return the lines of a locked file, and make it ready for the next line.

    Parameters
    ----------
    file : BinaryIO
        File from `locked`. A last line that a killed process left incomplete is removed from it; a
        complete last line without a line end gets one.

    Returns
    -------
    list of bytes
        The complete lines.
    """
    file.seek(0)
    lines = file.read().splitlines(keepends=True)
    if lines and _is_incomplete(lines[-1]):
        lines.pop()
        file.truncate(sum(map(len, lines)))
    elif lines and not lines[-1].endswith(b"\n"):
        file.write(b"\n")
    return lines


def _is_incomplete(line: bytes) -> bool:
    """Return whether the last line of a file was cut off by a killed process."""
    if line.endswith(b"\n"):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False
