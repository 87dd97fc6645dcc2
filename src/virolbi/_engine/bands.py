"""Paths of large images, each on all threads: the twin of `kernels`, which has small ones.

An image is divided into bands of segments, one for each thread. A group of sweeps has two phases.
First every thread sweeps over its band, one segment less at each end with every sweep, so that it
never needs what a neighbour has not computed. Then the wedges left between the bands are swept.
Every sweep reads the same numbers as in one sweep after the other over the whole image, so results
do not depend on the number of threads.

All compiled code that takes time or returns arrays runs on other threads than the main one, which
waits for them: there Ctrl-C ends the computation, and progress is reported.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import numpy as np

from virolbi._engine import kernels
from virolbi._engine.events import GROUP, Log
from virolbi._engine.records import Grid, Paths, Settings
from virolbi._engine.relaxation import Part, chebyshev
from virolbi._engine.simd import LANES
from virolbi._engine.threads import Progress, allowed_threads, parallel


def begin(paths: Paths, grid: Grid, settings: Settings) -> None:
    """Bring every image to its first equilibrium, see `kernels.begin`."""
    if grid.depth == 1:
        kernels.begin(paths, grid, settings)
        return
    omegas = np.empty(settings.begin, paths.data.dtype)
    chebyshev(omegas, 2.0, settings.rounds[0, 0])
    for n in range(len(paths.data)):
        _begin_image(paths, n, omegas, grid, settings)


def _begin_image(paths: Paths, n: int, omegas: np.ndarray, grid: Grid, settings: Settings) -> None:
    """Bring one image to its first equilibrium, and measure when its first edge will enter."""
    _alone(partial(kernels.prepare, paths, n))
    for first in range(0, len(omegas), grid.depth):
        group = omegas[first : first + grid.depth]
        sweep = partial(kernels.begin_part, paths, n, group, grid, settings)
        _sweep(grid, len(group), sweep)
        paths.turn[n] = (paths.turn[n] + len(group)) % 2
    found = []

    def measure(span: tuple[int, int]) -> None:
        found.append(kernels.measure(paths, n, span, grid))

    parallel(measure, _spans(grid), apart=True)
    widest, varying = max(pair[0] for pair in found), sum(pair[1] for pair in found)
    kernels.set_start(paths, n, widest, varying, settings)


def march(
    paths: Paths, ends: kernels.Ends, grid: Grid, settings: Settings, progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Advance every image to its end, see `kernels.march`; report the fraction that is done."""
    if grid.depth == 1:
        log: tuple[np.ndarray, np.ndarray, np.ndarray] = kernels.march(paths, ends, grid, settings)
        return log
    starts = np.zeros_like(paths.starts)
    logs: list[tuple[np.ndarray, np.ndarray]] = []
    for n in range(len(paths.data)):
        events = slice(paths.starts[n], paths.starts[n + 1])
        first = len(logs)
        logs.append((paths.times[events], paths.events[events]))
        if paths.first[n] < np.inf:
            _march_image(paths, n, ends, grid, settings, logs, first, progress)
        starts[n + 1] = starts[n] + sum(len(times) for times, _ in logs[first:])
    all_times, all_codes = (list(arrays) for arrays in zip(*logs, strict=True))
    logs.clear()  # so that the times of all events are never held three times
    times = np.concatenate(all_times)
    all_times.clear()
    return starts, times, np.concatenate(all_codes)


def _march_image(
    paths: Paths,
    n: int,
    ends: kernels.Ends,
    grid: Grid,
    settings: Settings,
    logs: list[tuple[np.ndarray, np.ndarray]],
    first: int,
    progress: Progress,
) -> None:
    """Advance one image to its end, group by group; its log is what is in `logs` from `first`."""
    goal, dtype = kernels.goal_of(paths, n, ends), paths.data.dtype
    sweeps = grid.depth * settings.relaxations
    schedule = kernels.Schedule(
        np.zeros(sweeps, dtype), np.zeros(sweeps, dtype), np.full(sweeps, settings.omega)
    )
    fresh = paths.open[n].copy()
    reached = False
    while not reached and kernels.goes_on(paths, n, ends, goal):
        kernels.plan_group(schedule, paths, n, settings)
        if not ends.complete:
            del logs[first:]
            paths.logged[n] = paths.inside[n]
        gains = np.zeros(sweeps, np.int64)
        logs += _march_group(paths, n, schedule, fresh, gains, grid, settings)
        logs.append(_marks(schedule, paths, n, settings))
        paths.turn[n] = (paths.turn[n] + sweeps) % 2
        reached = bool((paths.inside[n] + np.cumsum(gains) >= goal).any())
        paths.inside[n] += gains.sum()
        progress(_fraction(paths, n, ends, goal))


def _march_group(
    paths: Paths,
    n: int,
    schedule: kernels.Schedule,
    fresh: np.ndarray,
    gains: np.ndarray,
    grid: Grid,
    settings: Settings,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Take the steps of a group; return times and codes of the events, and add to the gains."""
    results = []

    def work(part: Part) -> None:
        own = np.zeros_like(gains)
        # one event for each edge of the part; memory that is never written to costs nothing
        room = 2 * grid.segment * (part.stop - part.first + len(gains))
        times, codes = np.empty(room, paths.times.dtype), np.empty(room, np.int32)
        log = Log(times, codes, 0)
        log = kernels.march_group(
            paths, n, schedule, fresh, own, -kernels.EVER, part, grid, settings, log
        )
        results.append((own, log.times[: log.length], log.events[: log.length]))

    _sweep(grid, len(gains), work)
    gains += sum(own for own, _, _ in results)
    return [(times, codes) for _, times, codes in results]


def _marks(
    schedule: kernels.Schedule, paths: Paths, n: int, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Return the marks behind the events of a group, see `events.GROUP`."""
    ends = np.append(-schedule.clocks[settings.relaxations :: settings.relaxations], paths.clock[n])
    return ends.astype(paths.times.dtype), np.full(len(ends), GROUP)


def _fraction(paths: Paths, n: int, ends: kernels.Ends, goal: int) -> float:
    """Return the fraction of the path to its end that has been followed, by its steps or edges."""
    if ends.until[n] < np.inf:
        first, done = np.log(paths.first[n]), np.log(paths.clock[n])
        left = np.log(ends.until[n]) - first
        done_fraction = (done - first) / left if left > 0 else 1.0
    else:
        done_fraction = paths.inside[n] / goal
    return float(np.clip((n + done_fraction) / len(paths.data), 0, 1))


def settle(
    data: np.ndarray,
    weight: np.ndarray | None,
    beta: np.ndarray,
    opened: np.ndarray,
    grid: Grid,
    settings: Settings,
) -> None:
    """Replace the data of every image by beta at equilibrium, see `kernels.settle`."""
    if grid.depth == 1:
        kernels.settle(data, weight, beta, opened, grid, settings)
        return
    for n in range(len(data)):
        beta[:] = data[n]
        weights = None if weight is None else weight[n]
        turn = _solve(data[n], weights, beta, opened[n], grid, settings)
        _alone(partial(kernels.replace_data, data[n], beta[turn], weight is None))


def _solve(
    data: np.ndarray,
    weight: np.ndarray | None,
    beta: np.ndarray,
    opened: np.ndarray,
    grid: Grid,
    settings: Settings,
) -> int:
    """Bring beta to its equilibrium; return which of its two rows holds it. See `solve`."""
    moved = np.zeros((2, grid.stride // LANES + 8), np.uint8)
    moved[0, grid.first // LANES : (grid.first + grid.size) // LANES] = 1
    turn = 0
    for radius, tolerance, most in settings.rounds:
        omega = 2.0
        for _ in range(0, int(most), grid.depth):
            omegas = np.empty(grid.depth, beta.dtype)
            omega = chebyshev(omegas, omega, radius)
            scheme = omegas, turn, moved, tolerance
            work = partial(kernels.settle_part, data, weight, beta, opened, *scheme, grid, settings)
            _sweep(grid, grid.depth, work)
            turn = (turn + grid.depth) % 2
            if not moved[turn].any():
                return turn
    return turn


def _sweep(grid: Grid, sweeps: int, work: Callable[[Part], object]) -> None:
    """Run a group of sweeps over an image: `work` on the bands, then on the wedges between."""
    for parts in _phases(grid, sweeps):
        parallel(work, parts, apart=True)


def _phases(grid: Grid, sweeps: int) -> Iterator[list[Part]]:
    """Yield the parts of an image that threads can sweep over at the same time."""
    segments = -(-grid.size // grid.segment)
    # bands must not shrink to nothing, nor wedges meet
    number = max(1, min(allowed_threads(), segments // (2 * sweeps + 2)))
    cuts = [segments * band // number for band in range(number + 1)]
    bands = []
    for first, stop in pairwise(cuts):
        above, below = int(first > 0), int(stop < segments)
        bands.append(Part(first, stop - below, above, -below, above, 0))
    yield bands
    if number > 1:
        yield [Part(cut - 1, cut, -1, 1, 0, 1) for cut in cuts[1:-1]]


def _spans(grid: Grid) -> list[tuple[int, int]]:
    """Return pixels (first, stop) of as many stretches of an image as there are threads."""
    vectors, number = grid.size // LANES, allowed_threads()
    cuts = [grid.first + LANES * (vectors * i // number) for i in range(number + 1)]
    return list(pairwise(cuts))


def _alone(work: Callable[[], object]) -> None:
    """Run compiled code on a thread that is not the main one."""
    parallel(lambda _: work(), [None], apart=True)
