"""A digest of the sources of the smoother, which tells results of different sources apart."""

import hashlib
from pathlib import Path

FOLDERS = ("_engine", "scale_space", "nn")  # on GPUs, networks smooth by nn


def digest_sources(package: Path) -> str:
    """Return a digest of the files that decide what the smoother returns.

    Parameters
    ----------
    package : Path
        Folder of the package `virolbi`.

    Returns
    -------
    str
        Digest of the names and the contents of all Python files of the engine, `scale_space` and
        `nn`.
    """
    digest = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


# of the sources that this process runs, also if they are changed later
SMOOTHER_DIGEST = digest_sources(Path(__file__).parents[1])
