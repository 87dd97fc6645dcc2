"""Division of arrays among threads that run compiled code on all cores."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import current_thread, main_thread
from typing import Any

import numpy as np

from virolbi._engine.memory import WORKSPACE
from virolbi._engine.records import Grid

Progress = Callable[[float], object]  # is told the fraction that is done

TASK = 2**17  # numbers that a thread takes at once, at most
SMALLEST_TASK = 2**14  # fewer are not worth a task of their own
COPY_TASK = 2**20  # numbers that are copied at once: starting a thread takes a tenth of that time


def no_progress(fraction: float) -> None:
    """Report nothing."""


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
    if not planes.size:
        return []
    number = -(-len(planes) // max(1, most // planes[0].size))
    number = 4 * -(-number // 4)  # a multiple of 4: equal work for 2 or 4 threads
    number = min(number, max(1, planes.size // least))
    length = -(-len(planes) // number)
    return [slice(first, first + length) for first in range(0, len(planes), length)]


def parallel(
    work: Callable[[Any], object],
    items: Iterable[Any],
    *,
    apart: bool = False,
    progress: Progress = no_progress,
) -> None:
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
    progress : callable, optional
        Called on this thread with the fraction of the items that are done.
    """
    items = list(items)
    if not items:
        return
    threads = min(len(items), allowed_threads())
    if threads <= 1 and not (apart and current_thread() is main_thread()):
        _one_by_one(work, items, progress)
        return
    try:
        pool = _pool(allowed_threads(), os.getpid())
        futures = [pool.submit(work, item) for item in items]
    except RuntimeError:  # the interpreter shuts down, and pools accept no more work
        _one_by_one(work, items, progress)
        return
    try:
        for done, future in enumerate(futures, 1):
            future.result()
            progress(done / len(items))
    except BaseException:
        for future in futures:
            future.cancel()
        _pool.cache_clear()  # so that the next call does not wait either
        raise


def _one_by_one(work: Callable[[Any], object], items: Sequence[Any], progress: Progress) -> None:
    """Run `work` on every item on this thread."""
    for done, item in enumerate(items, 1):
        work(item)
        progress(done / len(items))


def each_batch(
    work: Callable[[slice], object], planes: np.ndarray, grid: Grid, progress: Progress
) -> None:
    """Run `work` on slices of a batch: small images on different threads, large ones one by one.

    Parameters
    ----------
    work : callable
        Function of a slice of the first axis. For large images it divides them among threads.
    planes : ndarray, shape (N, C, H, W)
        Images.
    grid : Grid
        Their grid.
    progress : callable
        Called on this thread with the fraction of the slices that are done.
    """
    slices = batch_slices(planes)
    if grid.depth == 1:
        parallel(work, slices, apart=True, progress=progress)
        return
    try:
        for done, rows in enumerate(slices, 1):
            work(rows)
            progress(done / len(slices))
    except BaseException:
        WORKSPACE.clear()  # other threads may still be writing to it
        raise


def allowed_threads() -> int:
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
