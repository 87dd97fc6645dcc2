"""Division of arrays among threads that run compiled code on all cores."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import current_thread, main_thread
from typing import Any

import numpy as np

TASK = 2**17  # numbers that a thread takes at once, at most
SMALLEST_TASK = 2**14  # fewer are not worth a task of their own
COPY_TASK = 2**20  # numbers that are copied at once: starting a thread takes a tenth of that time


def batch_slices(planes: np.ndarray) -> list[slice]:
    """Return slices of the first axis for threads to compute on, one after the other.

    Results do not depend on the slices.
    """
    return _slices(planes, TASK, SMALLEST_TASK)


def copy_slices(planes: np.ndarray) -> list[slice]:
    """Return slices of the first axis for work that takes no longer than copying."""
    return _slices(planes, COPY_TASK, COPY_TASK)


def _slices(planes: np.ndarray, most: int, least: int) -> list[slice]:
    """Return slices of `least` to `most` numbers, give or take an image, or one that is smaller."""
    number = -(-len(planes) // max(1, most // planes[0].size))
    number = 4 * -(-number // 4)  # a multiple of 4: equal work for 2 or 4 threads
    number = min(number, max(1, planes.size // least))
    length = -(-len(planes) // number)
    return [slice(first, first + length) for first in range(0, len(planes), length)]


def parallel(work: Callable[[Any], object], items: Iterable[Any], *, apart: bool = False) -> None:
    """Run `work` on every item, on as many threads as there are cores.

    OMP_NUM_THREADS limits the number of threads.

    Parameters
    ----------
    work : callable
        Function of one item that releases the GIL.
    items : iterable
        Items to work on.
    apart : bool, optional
        Never run on the main thread, even if one thread is enough. Ctrl-C raises its exception
        there, and Numba does not survive an exception while it makes arrays of what compiled code
        returns; the main thread then does not wait for that code either. Items that have begun
        continue, so the arrays that they write to must not be used after an exception.
    """
    items = list(items)
    threads = min(len(items), _allowed_threads())
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
        _pool.cache_clear()  # so that the next call does not wait either
        raise


def _allowed_threads() -> int:
    """Return the number of cores of this process, or OMP_NUM_THREADS if that is fewer."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdecimal() and int(limit) else cores


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return a pool of threads that is kept, since starting them takes as long as three images.

    It belongs to one process: after a fork, the child has none of its parent's threads.
    """
    return ThreadPoolExecutor(threads, "virolbi")
