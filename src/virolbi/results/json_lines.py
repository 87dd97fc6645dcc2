"""JSON-lines files that several processes append to and that survive a killed process."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from virolbi._storage import write_atomic

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


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
        Objects, one line each.

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
            lines.append(json.dumps(entry, allow_nan=False) + "\n")
        except ValueError as error:
            raise ValueError(f"lines of {path} must have finite numbers, got {entry}") from error
    return "".join(lines).encode()


@contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """Open a file to append to, and lock out other processes until it is closed.

    Parameters
    ----------
    path : Path
        File to open. It is created, with its folder, if it does not exist.

    Yields
    ------
    BinaryIO
        The file, open for reading and appending. It is not locked on systems and network file
        systems without locks.
    """
    with locked_folder(path), path.open("ab+") as file:
        _lock(file.fileno())  # for network file systems that lock files but not folders
        yield file


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Lock out other processes that write a JSON-lines file in the same folder.

    A lock on the file would be lost when the file is replaced: the processes that wait for it
    would get the lock of a file that is gone. The folder is not replaced, and a lock on it leaves
    no other file behind.

    Parameters
    ----------
    path : Path
        File to write, or a symbolic link to it. Its folder is created if it does not exist.

    Yields
    ------
    None
        Nothing. A process must not lock the same folder again before it is released.
    """
    folder = Path(os.path.realpath(path)).parent
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock an open file or folder until it is closed, where the system can."""
    if fcntl is not None:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)


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
