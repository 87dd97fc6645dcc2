"""The compiled entry points of paths of small images: `begin`, `march`, `replay` and `settle`.

A path starts with all edges open. Each time step moves the dual variables, lets edges enter the
support or leave it, and relaxes beta a little; all events are logged, so that earlier moments can
be read from the log. Large images, which several threads share, are in `bands`.
"""

from typing import Any, NamedTuple

import numpy as np

from virolbi._engine.compile import compiled
from virolbi._engine.data_terms import Weighted, data_term
from virolbi._engine.events import GROUP, Log, close_group, copy_array, decode, extend, moment_of
from virolbi._engine.records import WORD
from virolbi._engine.relaxation import Activity, Laplacian, advance, chebyshev, pair, solve, whole
from virolbi._engine.simd import (
    LANES,
    count,
    larger,
    largest,
    load,
    load_mask,
    pointer,
    select,
    smaller,
    splat,
    store,
    store_mask,
)
from virolbi._engine.time_steps import Steps, clock_at, march_part, tick_before

SMALLEST = 1e-6  # variations up to this, in intensity, are rounding errors: they never enter
EVER = 2**62  # events


class Ends(NamedTuple):
    """Ends to which the paths of N images are followed."""

    goals: Any  # (N,), int64: edges in the support
    until: Any  # (N,), times / nu that count instead of the goals where they are finite
    complete: bool  # log all events, or only the last group of steps, which holds the end


class Schedule(NamedTuple):
    """The time steps of a group."""

    rates: Any  # (sweeps,), length of the step before each sweep, 0 where there is none
    clocks: Any  # (sweeps,), time / nu at the beginning of each step
    omegas: Any  # (sweeps,), over-relaxation of each sweep


@compiled
def begin(paths, grid, settings):
    """Bring every image to its first equilibrium, with all edges open.

    It also measures when the first edge will enter.
    """
    omegas = np.empty(settings.begin, paths.data.dtype)
    chebyshev(omegas, 2.0, settings.rounds[0, 0])
    for n in range(len(paths.data)):
        prepare(paths, n)
        begin_part(paths, n, omegas, grid, settings, whole(grid))
        paths.turn[n] = len(omegas) % 2
        extent = grid.first, grid.first + grid.size
        widest, varying = measure(paths, n, extent, grid)
        set_start(paths, n, widest, varying, settings)


@compiled
def prepare(paths, n):
    """Copy the data and the edges of an image to the start of its path."""
    for i in range(2):
        copy_array(paths.open[n, i], paths.edges[i])
        copy_array(paths.beta[n, i], paths.data[n])
    paths.turn[n] = 0


@compiled
def begin_part(paths, n, omegas, grid, settings, part):
    """Sweep over a part of an image towards its first equilibrium."""
    term = data_term(pointer(paths.data[n]), settings.delta)
    laplacian = Laplacian(pair(paths.edges), settings.coupling, grid)
    advance(term, laplacian, pair(paths.beta[n]), paths.turn[n], omegas, None, part)


@compiled
def measure(paths, n, span, grid):
    """Return the largest |D beta| between two pixels, and the number of edges that vary there."""
    widest, _ = _measure_variation(paths.beta[n, paths.turn[n]], paths.edges, span, grid)
    _, varying = _measure_variation(paths.data[n], paths.edges, span, grid)
    return widest, varying


@compiled
def set_start(paths, n, widest, varying, settings):
    """Set the start of a path: the last tick before its first edge enters, at 1 / max |D beta|."""
    paths.inside[n], paths.logged[n], paths.clock[n] = 0, 0, 0
    paths.varying[n], paths.first[n], paths.tick[n] = varying, np.inf, 0
    if widest > 0 and varying > 0:
        paths.first[n] = 1 / widest
        paths.tick[n] = tick_before(settings.growth, paths.first[n]) - 1


@compiled
def march(paths, ends, grid, settings):
    """Advance every image to its end, unless it has come that far; return the new log.

    The log is the start of each image in it, the times and the events.
    """
    starts = np.zeros_like(paths.starts)
    room = len(paths.times) + 2 * grid.size
    log = Log(np.empty(room, paths.times.dtype), np.empty(room, np.int32), np.int64(0))
    sweeps, dtype = settings.relaxations, paths.data.dtype
    omegas = np.full(sweeps, settings.omega)
    schedule = Schedule(np.zeros(sweeps, dtype), np.zeros(sweeps, dtype), omegas)
    fresh, gains = np.empty_like(paths.open[0]), np.zeros(sweeps, np.int64)
    for n in range(len(paths.data)):
        events = slice(paths.starts[n], paths.starts[n + 1])
        log = extend(log, paths.times[events], paths.events[events])
        if paths.first[n] < np.inf:
            for i in range(2):
                copy_array(fresh[i], paths.open[n, i])
            log = _march_image(paths, n, ends, grid, settings, schedule, fresh, gains, log)
        starts[n + 1] = log.length
    return starts, log.times[: log.length].copy(), log.events[: log.length].copy()


@compiled
def _march_image(paths, n, ends, grid, settings, schedule, fresh, gains, log):
    """Advance one image to its end, step by step; return the log with its events."""
    goal, first = goal_of(paths, n, ends), log.length - (paths.starts[n + 1] - paths.starts[n])
    while goes_on(paths, n, ends, goal):
        clock = plan_group(schedule, paths, n, settings)
        if not ends.complete:
            log, paths.logged[n] = Log(log.times, log.events, first), paths.inside[n]
        # else a step is logged only if it turns out to be the last
        log_all = ends.complete or clock >= ends.until[n]
        needed = -EVER if log_all else goal - paths.inside[n]
        gains[:] = 0
        log = march_group(
            paths, n, schedule, fresh, gains, needed, whole(grid), grid, settings, log
        )
        paths.turn[n] = (paths.turn[n] + len(gains)) % 2
        paths.inside[n] += gains.sum()
        log = close_group(log, paths.times.dtype.type(clock))
    return log


@compiled
def march_group(paths, n, schedule, fresh, gains, needed, part, grid, settings, log):
    """Take the steps of a group in a part of an image; return the log with the events.

    fresh: scratch memory, (2, words), equal to the open edges. gains: (sweeps,), receives by how
    many edges the support grows. needed: gain from which on the events of a step are logged.
    """
    term = data_term(pointer(paths.data[n]), settings.delta)
    laplacian = Laplacian(pair(paths.open[n]), settings.coupling, grid)
    rates, clocks = pointer(schedule.rates), pointer(schedule.clocks)
    steps = Steps(
        pair(paths.z[n]), pair(fresh), pair(paths.edges), rates, clocks, pointer(gains), needed
    )
    beta, turn = pair(paths.beta[n]), paths.turn[n]
    return march_part(term, laplacian, beta, turn, schedule.omegas, steps, part, log)


@compiled
def goal_of(paths, n, ends):
    """Return the number of edges in the support at which a path ends; 0 where it stands still."""
    if ends.until[n] < np.inf:
        return paths.varying[n]
    return ends.goals[n] if ends.goals[n] < paths.varying[n] else 0


@compiled
def goes_on(paths, n, ends, goal):
    """Return whether a path has not come to its end."""
    early = paths.inside[n] < goal and paths.clock[n] < ends.until[n]
    return early and paths.clock[n] * SMALLEST < paths.first[n]


@compiled
def plan_group(schedule, paths, n, settings):
    """Write the clocks and lengths of the next steps and move the clock behind them; return it."""
    for step in range(0, len(schedule.rates), settings.relaxations):
        paths.tick[n] += 1
        late = clock_at(settings.growth, paths.tick[n])
        schedule.clocks[step], schedule.rates[step] = paths.clock[n], late
        # in the type of the images, so that the sum of clock and length is the next clock exactly
        schedule.rates[step] -= schedule.clocks[step]
        paths.clock[n] = late
    return paths.clock[n]


@compiled
def replay(paths, ends, grid, opened, time):
    """Read from the log which edges were open when each support first held `goals[n]` edges.

    `time` receives time / nu of that moment, infinity where the path ended before. Where
    `until[n]` is finite, that time counts instead.
    """
    for n in range(len(time)):
        events = slice(paths.starts[n], paths.starts[n + 1])
        time[n] = _find_moment(paths, n, ends, paths.times[events], paths.events[events])
        if time[n] == np.inf:
            _open_constant(paths.data[n], paths.edges, opened[n], grid)
            continue
        for i in range(2):
            copy_array(opened[n, i], paths.open[n, i])
        moment = paths.times.dtype.type(time[n])
        for e in range(events.stop - 1, events.start - 1, -1):  # undo what happened later
            if paths.events[e] == GROUP:
                if 0 <= paths.times[e] <= moment:
                    break
            elif paths.times[e] > moment:
                axis, k = decode(paths.events[e], grid)
                opened[n, axis, k // WORD] ^= np.uint64(1) << np.uint64(k % WORD)


@compiled
def _find_moment(paths, n, ends, times, events):
    """Return time / nu at which one path reached its end, infinity where it ended before."""
    goal, until, varying = ends.goals[n], ends.until[n], paths.varying[n]
    if until < np.inf:
        return until if paths.inside[n] < varying or until < paths.clock[n] else np.inf
    if goal >= varying:
        return np.inf if goal > 0 else 0.0
    return float(moment_of(times, events, paths.logged[n], goal)) if goal > 0 else 0.0


@compiled
def settle(data, weight, beta, opened, grid, settings):
    """Replace the data of every image, (N, C stride), by beta at equilibrium for its open edges.

    weight: None, or that of the data term, (N, C stride); `data` is the whole right-hand side
    then. beta: scratch memory, (2, C stride). Means of the data, and of zeros, stay in their
    range; without a weight, roundings do too.
    """
    for n in range(len(data)):
        for i in range(2):
            copy_array(beta[i], data[n])
        laplacian = Laplacian(pair(opened[n]), settings.coupling, grid)
        if weight is None:
            term = data_term(pointer(data[n]), settings.delta)
            turn = solve(term, laplacian, beta, settings)
        else:
            turn = solve(Weighted(pointer(data[n]), pointer(weight[n])), laplacian, beta, settings)
        replace_data(data[n], beta[turn], weight is None)


@compiled
def settle_part(data, weight, beta, opened, omegas, turn, moved, tolerance, grid, settings, part):
    """Sweep over a part of one image towards its equilibrium; see `solve`."""
    laplacian = Laplacian(pair(opened), settings.coupling, grid)
    activity = Activity(pair(moved), grid.width // LANES, beta.dtype.type(tolerance))
    if weight is None:
        term = data_term(pointer(data), settings.delta)
        advance(term, laplacian, pair(beta), turn, omegas, activity, part)
    else:
        term_of_weight = Weighted(pointer(data), pointer(weight))
        advance(term_of_weight, laplacian, pair(beta), turn, omegas, activity, part)


@compiled
def replace_data(data, beta, within):
    """Replace the data of an image by beta, clipped to the range of the data and 0 if `within`."""
    if within:
        _copy_within(pointer(data), pointer(beta), len(data))
    else:
        copy_array(data, beta)


@compiled
def _copy_within(target, source, length):
    """Replace numbers by others, clipped to the range of the numbers they replace and 0."""
    low = high = load(target, 0)
    for k in range(0, length, LANES):
        low, high = smaller(low, load(target, k)), larger(high, load(target, k))
    zero = splat(target, 0)
    low, high = splat(target, -largest(zero - low)), splat(target, largest(high))
    for k in range(0, length, LANES):
        store(target, k, smaller(larger(load(source, k), low), high))


@compiled
def _measure_variation(beta, edges, span, grid):
    """Return the largest |D beta|, a norm over channels, and the number of edges that vary.

    Only edges at pixels of a span count. An edge varies where |D beta| is more than a rounding
    error.
    """
    numbers, words = pointer(beta), pair(edges)
    zero, rounding = splat(numbers, 0), splat(numbers, SMALLEST**2)
    widest, varying = zero, 0
    for k in range(span[0], span[1], LANES):
        for axis in range(2):
            exists = load_mask(words[axis], k)
            square = select(exists, _squared_variation(numbers, k, axis, grid), zero)
            varying += LANES - count(rounding >= square)
            widest = larger(widest, square)
    return np.sqrt(largest(widest)), varying


@compiled
def _squared_variation(beta, k, axis, grid):
    """Return |D beta|^2 across 16 edges."""
    ahead, square = grid.width if axis else 1, splat(beta, 0)
    for c in range(len(grid.channels)):
        p = k + c * grid.stride
        step = load(beta, p + ahead) - load(beta, p)
        square = square + step * step
    return square


@compiled
def _open_constant(data, edges, opened, grid):
    """Open exactly the edges without any variation."""
    for axis in range(2):
        opened[axis, :] = 0
    numbers, words, exists = pointer(data), pair(opened), pair(edges)
    rounding = splat(numbers, SMALLEST**2)
    for k in range(grid.first, grid.first + grid.size, LANES):
        for axis in range(2):
            constant = rounding >= _squared_variation(numbers, k, axis, grid)
            store_mask(words[axis], k, load_mask(exists[axis], k) & constant)
