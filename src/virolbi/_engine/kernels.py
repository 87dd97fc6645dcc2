"""The four compiled entry points of a path: `begin`, `march`, `replay` and `settle`.

A path starts with all edges open. Each time step moves the dual variables, lets edges enter the
support or leave it, and relaxes beta a little; all events are logged, so that earlier moments can
be read from the log.
"""

from typing import Any, NamedTuple

import numpy as np

from virolbi._engine.compile import compiled
from virolbi._engine.data_terms import Weighted, data_term
from virolbi._engine.events import GROUP, Log, close_group, copy_array, decode, extend, moment_of
from virolbi._engine.records import WORD
from virolbi._engine.relaxation import Laplacian, advance, chebyshev, pair, solve
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
from virolbi._engine.time_steps import Steps, march_group

SMALLEST = 1e-6  # variations up to this, in intensity, are rounding errors: they never enter
EARLY = 200  # until one in so many of the edges that vary has entered, time grows ...
FASTER = 4  # ... this many times faster: few events, and little of the path yet to bend
EVER = 2**62  # events


class Ends(NamedTuple):
    """Ends to which the paths of N images are followed."""

    goals: Any  # (N,), int64: edges in the support
    until: Any  # (N,), times / nu that count instead of the goals where they are finite
    complete: bool  # log all events, or only the last group of steps, which holds the end


class Schedule(NamedTuple):
    """The time steps of a group, and scratch memory for their edges."""

    rates: Any  # (sweeps,), length of the step before each sweep, 0 where there is none
    clocks: Any  # (sweeps,), time / nu at the beginning of each step
    omegas: Any  # (sweeps,), over-relaxation of each sweep
    fresh: Any  # (2, words), edges that are open after a step


@compiled
def begin(paths, grid, settings):
    """Bring every image to its first equilibrium, with all edges open.

    It also measures when the first edge will enter.
    """
    edges = paths.edges
    omegas = np.empty(settings.begin, paths.data.dtype)
    chebyshev(omegas, 2.0, settings.rounds[0, 0])
    for n in range(len(paths.data)):
        for i in range(2):
            copy_array(paths.open[n, i], edges[i])
            copy_array(paths.beta[n, i], paths.data[n])
        term = data_term(pointer(paths.data[n]), settings.delta)
        laplacian, beta = Laplacian(pair(edges), settings.coupling, grid), pair(paths.beta[n])
        turn = 0
        for first in range(0, len(omegas), grid.depth):
            turn = advance(term, laplacian, beta, turn, omegas[first : first + grid.depth], None)
        widest, _ = _measure_variation(paths.beta[n, turn], edges, grid)
        _, varying = _measure_variation(paths.data[n], edges, grid)
        paths.clock[n], paths.inside[n], paths.logged[n], paths.turn[n] = 0, 0, 0, turn
        # t0 = nu / max |D beta|
        paths.first_step[n] = 1 / widest if widest > 0 and varying > 0 else np.inf
        paths.varying[n] = varying


@compiled
def march(paths, ends, grid, settings):
    """Advance every image to its end, unless it has come that far; return the new log.

    The log is the start of each image in it, the times and the events.
    """
    starts = np.zeros_like(paths.starts)
    room = len(paths.times) + 2 * grid.size
    log = Log(np.empty(room, paths.times.dtype), np.empty(room, np.int32), np.int64(0))
    sweeps = grid.depth * settings.relaxations
    schedule = Schedule(
        np.zeros(sweeps, paths.data.dtype),
        np.zeros(sweeps, paths.data.dtype),
        np.full(sweeps, settings.omega),
        np.empty_like(paths.open[0]),
    )
    for n in range(len(paths.data)):
        events = slice(paths.starts[n], paths.starts[n + 1])
        log = extend(log, paths.times[events], paths.events[events])
        if paths.first_step[n] < np.inf:
            log = _march_image(paths, n, ends, grid, settings, schedule, log)
        starts[n + 1] = log.length
    return starts, log.times[: log.length].copy(), log.events[: log.length].copy()


@compiled
def _march_image(paths, n, ends, grid, settings, schedule, log):
    """Advance one image to its end; return the log with its events."""
    timed, varying = ends.until[n] < np.inf, paths.varying[n]
    if not timed and ends.goals[n] >= varying:
        return log
    goal = varying if timed else ends.goals[n]
    first = log.length - (paths.starts[n + 1] - paths.starts[n])
    for i in range(2):
        copy_array(schedule.fresh[i], paths.open[n, i])
    clock, inside, turn = paths.clock[n], paths.inside[n], paths.turn[n]
    term = data_term(pointer(paths.data[n]), settings.delta)
    laplacian = Laplacian(pair(paths.open[n]), settings.coupling, grid)
    rates, clocks = pointer(schedule.rates), pointer(schedule.clocks)
    while inside < goal and clock < ends.until[n] and clock * SMALLEST < paths.first_step[n]:
        early = EARLY * inside <= varying
        clock = _plan_group(schedule, clock, early, paths.first_step[n], settings)
        if not ends.complete:
            log, paths.logged[n] = Log(log.times, log.events, first), inside
        # else a group is logged only if it turns out to be the last
        log_all = ends.complete or grid.depth > 1 or clock >= ends.until[n]
        needed = -EVER if log_all else goal - inside
        steps = Steps(
            pair(paths.z[n]), pair(schedule.fresh), pair(paths.edges), rates, clocks, needed
        )
        turn, gained, log = march_group(
            term, laplacian, pair(paths.beta[n]), turn, schedule.omegas, steps, log
        )
        inside += gained
        log = close_group(log, clock)
    paths.clock[n], paths.inside[n], paths.turn[n] = clock, inside, turn
    return log


@compiled
def _plan_group(schedule, clock, early, first_step, settings):
    """Write the clocks and lengths of the steps of a group; return the clock behind it."""
    growth = settings.growth * FASTER if early else settings.growth
    for step in range(0, len(schedule.rates), settings.relaxations):
        schedule.clocks[step] = clock
        schedule.rates[step] = growth * schedule.clocks[step] if clock > 0 else first_step
        clock = schedule.clocks[step] + schedule.rates[step]
    return clock


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
                if paths.times[e] <= moment:
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
        copy_array(beta[0], data[n])
        copy_array(beta[1], data[n])
        laplacian = Laplacian(pair(opened[n]), settings.coupling, grid)
        if weight is None:
            turn = solve(data_term(pointer(data[n]), settings.delta), laplacian, beta, settings)
            _copy_within(pointer(data[n]), pointer(beta[turn]), len(data[n]))
        else:
            term = Weighted(pointer(data[n]), pointer(weight[n]))
            turn = solve(term, laplacian, beta, settings)
            copy_array(data[n], beta[turn])


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
def _measure_variation(beta, edges, grid):
    """Return the largest |D beta|, a norm over channels, and the number of edges that vary.

    An edge varies where |D beta| is more than a rounding error.
    """
    numbers, words = pointer(beta), pair(edges)
    zero, rounding = splat(numbers, 0), splat(numbers, SMALLEST**2)
    widest, varying = zero, 0
    for k in range(grid.first, grid.first + grid.size, LANES):
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
