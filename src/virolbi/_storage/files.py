"""Files that appear complete or not at all."""

import re
import stat
from pathlib import Path
from uuid import uuid4

TEMPORARY = re.compile(
    r"\..+-[0-9a-f]{32}"
)  # files on their way to completeness, which a kill may have left


def check_empty_folder(folder: Path) -> None:
    """Refuse a place that holds anything but what a kill has left half written."""
    if folder.exists() and (not folder.is_dir() or not all(map(is_temporary, folder.iterdir()))):
        raise ValueError(f"{folder} must be a new or an empty folder; it holds something already")


def is_temporary(path: Path) -> bool:
    """Whether a file is what `write_whole` was writing when it was killed."""
    return TEMPORARY.fullmatch(path.name) is not None


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all; one that it replaces hands down its permissions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        with scratch.open("xb") as file:
            file.write(content)
        if path.is_file():
            scratch.chmod(stat.S_IMODE(path.stat().st_mode))
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
