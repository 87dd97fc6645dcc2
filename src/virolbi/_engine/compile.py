"""Compilation with Numba: cached between processes, and announced where it takes time."""

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import event

LOG = logging.getLogger("virolbi")

# without the GIL; rounding may differ between processors (fused multiply-add, approximate
# reciprocals), but never between runs on one
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "arcp", "afn", "nsz"}}


@cache
def _digest_of_sources(folder: Path) -> str:
    """Return a digest of the sources of a package, from which compiled code is made."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with Numba and cache the code.

    The cache lies in the first of these folders that can be written: NUMBA_CACHE_DIR, if it is
    set; the folder of the function's file; the user's cache folder. Without any, each process
    compiles anew. Numba would compile again only after a change in the file of the function
    itself; here a change in any file of its package or of the engine does, since kernels compile
    the functions that they call, and the constants.

    Parameters
    ----------
    function : callable
        A function in the subset of Python that Numba compiles.

    Returns
    -------
    callable
        The compiled function.
    """
    try:
        dispatcher: Callable[..., Any] = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # "no locator available": the installation and the home are read-only
        uncached: Callable[..., Any] = njit(**OPTIONS)(function)
        return uncached
    with suppress(AttributeError):  # not part of Numba's public interface; a test watches it
        file = dispatcher._cache._cache_file  # type: ignore[attr-defined]
        sources = (Path(__file__), Path(function.__code__.co_filename))
        digests = (_digest_of_sources(path.parent) for path in sources)
        file._source_stamp = (file._source_stamp, *digests)
    return dispatcher


class _Announcer(event.Listener):
    """Log for each kind of image that code is compiled; loading it from the cache is silent.

    The kinds are those of the arguments of the first entry point of a path. Functions that are
    compiled before it, such as the estimator of noise, are announced with the first kind.
    """

    first_entry_point = "begin"

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.announced = self.is_ahead = False  # is_ahead: of the first entry point of its kind

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if not function.__module__.startswith("virolbi."):
            return
        if function.__name__ == self.first_entry_point:
            kind = str(event.data["args"])
            is_new = kind not in self.kinds and not self.is_ahead
            self.kinds.add(kind)
            self.is_ahead = False
        else:
            is_new = self.is_ahead = not self.announced
        if is_new:
            self.announced = True
            LOG.warning(
                "compiling for this processor: 10 to 60 seconds, once for each kind of image "
                "(type of its numbers, number of its channels: 1, 2, 3 or more)"
            )

    def on_end(self, event: Any) -> None:
        pass


ANNOUNCER = _Announcer()
event.register("numba:compile", ANNOUNCER)
