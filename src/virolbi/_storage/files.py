"""Files that appear complete or not at all."""

import json
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from virolbi._checks import plain_number

LOCK = ".virolbi-lock"  # empty file beside the others, see `locked_folder`
TEMPORARY = re.compile(r"\..+-[0-9a-f]{32}")  # incomplete files, which a killed process may leave


def check_empty_folder(folder: Path) -> None:
    """Check that a folder is new or empty, apart from a lock and temporary files of `write_atomic`.

    Parameters
    ----------
    folder : Path
        Folder to check. It need not exist.

    Raises
    ------
    ValueError
        If it is a file or holds anything else.
    """
    is_used = folder.exists() and (
        not folder.is_dir()
        or any(path.name != LOCK and not is_temporary(path) for path in folder.iterdir())
    )
    if is_used:
        raise ValueError(f"{folder} must be a new or an empty folder; it holds something already")


def file_status(path: Path) -> os.stat_result:
    """Return the status of a file, or that of the link itself where a link is broken.

    Parameters
    ----------
    path : Path
        File or link that exists.

    Returns
    -------
    stat_result
        The size, the times and the other fields of `os.stat`.
    """
    return path.stat(follow_symlinks=path.exists())


def is_temporary(path: Path) -> bool:
    """Return whether a path is a temporary file of `write_atomic`, left by a killed process.

    Parameters
    ----------
    path : Path
        File, of which only the name is looked at.

    Returns
    -------
    bool
        True for names of temporary files.
    """
    return TEMPORARY.fullmatch(path.name) is not None


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all, also after a power failure.

    A file that exists already is replaced, and its permissions are kept. If the path is a symbolic
    link, the file it points to is replaced, and the link is kept.

    Parameters
    ----------
    path : Path
        File to write. Its folder is created if necessary.
    content : bytes
        Content of the file.

    Raises
    ------
    OSError
        If it cannot be written. The error names the file.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".virolbi-{uuid4().hex}")  # not longer than a name that fits
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            # Otherwise the new name may reach the disk before the content.
            os.fsync(file.fileno())
        if path.is_file():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    _sync_folder(path.parent)


def write_json(path: Path, content: object, indent: int | None = None) -> None:
    """Write a file of JSON as `write_atomic` does.

    Parameters
    ----------
    path : Path
        File to write. Its folder is created if necessary.
    content : object
        What JSON can hold; numbers of NumPy become those of Python.
    indent : int, optional
        Spaces by which each level is indented. Default: all on one line.

    Raises
    ------
    OSError
        If it cannot be written. The error names the file.
    TypeError
        If JSON cannot hold the content.
    """
    text = json.dumps(content, indent=indent, default=plain_number)
    write_atomic(path, f"{text}\n".encode())


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk, where the system can."""
    if os.name != "posix":
        return  # only POSIX opens folders
    with suppress(OSError):  # some network file systems cannot; the file itself is complete
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
