"""Run compiled code on all cores."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import current_thread, main_thread
from typing import Any

import numpy as np

SHARE = 2**17  # numbers that visit compiled code together


LEAST = 2**14  # fewer are not worth a visit of their own


COPIED = (
    2**20
)  # numbers that are copied, or looked at, together: a thread takes as long to begin as a tenth of that takes


def batch_slices(planes: np.ndarray, share: int = SHARE, least: int = LEAST) -> list[slice]:
    """Slices of the first axis that threads take one after the other; what is computed does not depend on them.

    share, least: numbers in one, at most and, unless it is the only one, at least, give or take an image.
    """
    number = -(-len(planes) // max(1, share // planes[0].size))
    number = min(
        4 * -(-number // 4), max(1, planes.size // least)
    )  # a multiple of 4 slices: equal for 2 or 4 threads
    together = -(-len(planes) // number)
    return [slice(first, first + together) for first in range(0, len(planes), together)]


def copy_slices(planes: np.ndarray) -> list[slice]:
    """As `shares`, for what takes no longer than copying."""
    return batch_slices(planes, COPIED, COPIED)


def parallel(work: Callable[[Any], object], items: Iterable[Any], apart: bool = False) -> None:
    """Run `work`, which releases the GIL, on every item: on as many threads as there are cores, or OMP_NUM_THREADS if fewer.

    apart: not on the main thread, even where one will do. Ctrl-C raises its exception there, and Numba does not survive one
    while it makes arrays of what compiled code returns; nor does it wait for that code then. Items that have begun go on, so
    what they write to must not be looked at after an exception.
    """
    items = list(items)
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = min(len(items), cores, int(asked) if asked.isdecimal() and int(asked) else cores)
    if threads <= 1 and not (apart and current_thread() is main_thread()):
        for item in items:
            work(item)
        return
    futures = [_pool(threads, os.getpid()).submit(work, item) for item in items]
    try:
        for future in futures:
            future.result()
    except BaseException:
        for future in futures:
            future.cancel()
        _pool.cache_clear()  # the next call need not wait either
        raise


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay, for starting them takes as long as three small images; of this process, for a fork is without them."""
    return ThreadPoolExecutor(threads, "virolbi")
