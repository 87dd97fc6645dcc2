"""Compile with Numba: kept between processes where there is a place to keep it, announced where it takes time."""

import logging
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import event

LOG = logging.getLogger("virolbi")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`numba.njit` without the GIL; cached beside this file, in the user's cache, or in NUMBA_CACHE_DIR, if one can be written.

    Rounding may differ between processors (fused multiply-add, approximate reciprocals), never between runs on one.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract", "arcp", "afn", "nsz"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": read-only installation and home
        return njit(**options)(function)


class _Announcer(event.Listener):
    """Says once in a process that it is compiling; loading from the cache is silent."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("virolbi."):
            self.said = True
            LOG.warning(
                "compiling for this processor: 10 to 30 seconds, once for each kind of image"
            )

    def on_end(self, event: Any) -> None:
        pass


ANNOUNCER = _Announcer()
event.register("numba:compile", ANNOUNCER)
