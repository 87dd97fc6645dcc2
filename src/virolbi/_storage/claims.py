"""Claims on the parts of a job that several processes share, on one machine or several."""

import errno
import hashlib
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

HELD = (errno.EACCES, errno.EAGAIN)  # by another process


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
        yield fcntl is None or _lock(file.fileno(), _offset(part), wait)


def _offset(part: Hashable) -> int:
    """Return the byte of a part, below 2^62."""
    return int.from_bytes(hashlib.sha256(repr(part).encode()).digest()[:8]) >> 2


def _lock(descriptor: int, offset: int, wait: bool) -> bool:
    """Lock a byte of a file, and return whether it is locked or cannot be."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, offset)
    except OSError as error:
        return error.errno not in HELD
    return True
