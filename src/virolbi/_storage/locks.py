"""Locks that processes hold against each other, on one machine or several.

`locked` and `locked_folder` are for processes that write one file; `claimed` is for those that
share the parts of a job.
"""

import errno
import hashlib
import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from virolbi._storage.files import LOCK

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

HELD = (errno.EACCES, errno.EAGAIN)  # by another process


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
        yield file


@contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Lock out other processes that write a file in the same folder.

    A lock on the file would be lost when the file is replaced: the processes that wait for it
    would get the lock of a file that is gone. The folder is not replaced, and a lock on it leaves
    no other file behind. Network file systems lock files but no folders: there, an empty file
    is locked in its place.

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
        if _lock_whole(descriptor):
            yield
        else:
            with (folder / LOCK).open("ab") as file:
                _lock_whole(file.fileno())
                yield
    finally:
        os.close(descriptor)


@contextmanager
def claimed(path: Path, part: Hashable, *, wait: bool = False) -> Iterator[bool]:
    """Claim a part of a job, which no other process then has until the block ends.

    A claim also ends with its process, however that ends. It is a lock on one byte of a file, the
    byte that the name of the part says; so one empty file holds the claims on any number of parts.

    Parameters
    ----------
    path : Path
        File of the claims, which is made if it does not exist, with its folder.
    part : hashable
        Name of the part, equal in all processes: strings, numbers and tuples of these.
    wait : bool, optional
        Whether to wait while another process has the part.

    Yields
    ------
    bool
        Whether this process has the part. True as well on systems and network file systems
        without locks, where several processes may do the same part.

    Notes
    -----
    The threads of a process share its claims, and a process must not nest two on the same file:
    the end of one would end both.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        yield fcntl is None or _lock_byte(file.fileno(), _offset(part), wait)


def _lock_whole(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed, and return whether the system can."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _offset(part: Hashable) -> int:
    """Return the byte of a part, below 2^62."""
    return int.from_bytes(hashlib.sha256(repr(part).encode()).digest()[:8]) >> 2


def _lock_byte(descriptor: int, offset: int, wait: bool) -> bool:
    """Lock a byte of a file, and return whether it is locked or cannot be."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, offset)
    except OSError as error:
        return error.errno not in HELD
    return True
