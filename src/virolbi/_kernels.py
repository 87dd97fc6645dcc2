"""The limit path of some images: compiled loops on arrays given to them.

A plane is a line: pixel (i, j) of a plane of width W is number k = i W + j, its right neighbour k + 1 and the one below k + W,
so one loop over k, sixteen at a time, serves every shape. Where a row ends there is no edge, and that is a bit: `open` holds
one for each edge, 1 while it is outside the support, 0 inside or where there is no edge at all. The C channels of an image
share these bits; each fills `stride` numbers of a flat array, with zeros before its first pixel and behind its last.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from virolbi._simd import (
    LANES,
    count,
    larger,
    largest,
    load,
    load_mask,
    lowest_bit,
    magnitude,
    pointer,
    select,
    smaller,
    splat,
    sqrt,
    store,
    store_mask,
)

FULL = 1 - 4e-6  # in the support: |z|^2 >= FULL, for projection onto the unit ball leaves it a few roundings below 1
SMALLEST = 1e-6  # variations up to this, in units of intensity, are rounding: they never enter
PATIENCE = 100  # sweeps of an equilibrium without progress
LEAST = -(2**62)
GROUP = np.int32(-(2**31))  # in a log, behind the events of each group of steps
CLOCK, START, INSIDE, TURN, VARYING, LOGGED = range(STATUS := 6)  # columns of `status`

compiled = njit(cache=True, nogil=True, fastmath={"contract", "arcp", "afn", "nsz"})


class Grid(NamedTuple):
    """Where the pixels of an image are in flat arrays, and in which order they are visited."""

    width: int
    first: int  # index of pixel 0, a multiple of 16, more than a row
    size: int  # number of pixels, rounded up to a multiple of 16
    stride: int  # numbers in a channel
    segment: int  # pixels swept in one go, more than a row
    depth: int  # time steps in a group, or sweeps of an equilibrium, that follow each other segment by segment


class Settings(NamedTuple):
    """The form of the path, and how finely it is followed. Floating numbers have the type of the images."""

    coupling: Any  # 1 / nu
    delta: Any  # or None for infinity
    growth: Any  # of the time in one step
    relaxations: int  # sweeps of beta for each step
    omega: Any  # their over-relaxation
    radius: float  # spectral radius of the Jacobi iteration with all edges open
    begin: Any  # largest change in a sweep at which the first equilibrium is good enough
    end: Any  # and the last one


class Paths(NamedTuple):
    """N images on their way, and all that has happened to them."""

    data: Any  # (N, C stride)
    beta: Any  # (N, 2, C stride): the present one and the one before, changing places at every sweep
    z: Any  # (N, 2, C stride): dual variables of horizontal and vertical edges, outside the unit ball right after a step
    open: Any  # (N, 2, words) of 64 bits
    status: Any  # (N, 6): time / nu, its first step, edges in the support, which beta is present, edges with any variation,
    # and edges in the support when the log begins
    logs: Any  # (N + 1,): where the events of each image begin
    times: Any  # time / nu of every event
    events: Any  # int32: the edge that entered, ~edge for one that left, or GROUP; vertical edges come `size` later


@compiled
def begin(paths, edges, grid, channels, settings):
    """Bring every image to its first equilibrium, with all edges open, and see when the first of them will enter.

    channels: a tuple of C zeros, so that C is known when this compiles. edges: like `open`, 1 where there is an edge.
    """
    for n in range(len(paths.data)):
        paths.open[n] = edges
        paths.beta[n, 0], paths.beta[n, 1] = paths.data[n], paths.data[n]
        turn = _settle(paths.data[n], None, paths.beta[n], edges, grid, channels, settings, settings.begin)
        widest, _ = _variation(paths.beta[n, turn], edges, grid, channels)
        _, varying = _variation(paths.data[n], edges, grid, channels)
        paths.status[n, CLOCK], paths.status[n, INSIDE], paths.status[n, LOGGED], paths.status[n, TURN] = 0, 0, 0, turn
        paths.status[n, START] = 1 / widest if widest > SMALLEST else np.inf  # t0 = nu / max |D beta|
        paths.status[n, VARYING] = varying


@compiled
def march(paths, goals, edges, grid, channels, settings, complete):
    """Advance every image, unless it has come that far, until its support holds `goals[n]` edges. Returns the new logs.

    complete: whether to log all events, or only those of the last group of steps, which `goals` depends on.
    """
    logs, length = np.zeros_like(paths.logs), 0
    log = np.empty(len(paths.times) + 2 * grid.size, paths.times.dtype), np.empty(len(paths.times) + 2 * grid.size, np.int32)
    sweeps = grid.depth * settings.relaxations
    rates, clocks = np.zeros(sweeps, paths.data.dtype), np.zeros(sweeps, paths.data.dtype)
    omegas, fresh = np.full(sweeps, settings.omega), np.empty_like(edges)
    for n in range(len(paths.data)):
        old = slice(paths.logs[n], paths.logs[n + 1])
        log = _with_room(log, length, old.stop - old.start)
        log[0][length : length + old.stop - old.start] = paths.times[old]
        log[1][length : length + old.stop - old.start] = paths.events[old]
        length += old.stop - old.start
        fresh[:] = paths.open[n]
        clock, inside, turn = paths.status[n, CLOCK], int(paths.status[n, INSIDE]), int(paths.status[n, TURN])
        while inside < goals[n] < paths.status[n, VARYING] and clock * SMALLEST < 1 and paths.status[n, START] < np.inf:
            for step in range(0, sweeps, settings.relaxations):
                clocks[step] = clock
                rates[step] = settings.growth * clocks[step] if clock > 0 else paths.status[n, START]
                clock = clocks[step] + rates[step]
            if not complete:
                length, paths.status[n, LOGGED] = logs[n], inside
            log, length, entered, turn, _ = _advance(
                pointer(paths.data[n]), None, _pair(paths.beta[n]), _pair(paths.z[n]), _pair(paths.open[n]), _pair(fresh),
                _pair(edges), grid, channels, settings, sweeps, pointer(omegas), pointer(rates), pointer(clocks),
                LEAST if complete or grid.depth > 1 else goals[n] - inside, log, length, turn, None,
            )  # fmt: skip
            inside += entered
            log = _with_room(log, length, 1)
            log[0][length], log[1][length] = clock, GROUP
            length += 1
        paths.status[n, CLOCK], paths.status[n, INSIDE], paths.status[n, TURN] = clock, inside, turn
        logs[n + 1] = length
    return logs, log[0][:length].copy(), log[1][:length].copy()


@compiled
def replay(paths, goals, edges, grid, channels, opened, time):
    """Which edges were open when each support first held `goals[n]` edges, and time / nu of that; inf where the path ended."""
    for n in range(len(goals)):
        if goals[n] == 0:
            opened[n], time[n] = edges, 0
        elif goals[n] >= paths.status[n, VARYING]:
            opened[n], time[n] = edges, np.inf
            _close_varying(paths.data[n], opened[n], grid, channels)
        else:
            opened[n] = paths.open[n]
            log = slice(paths.logs[n], paths.logs[n + 1])
            time[n] = _moment(paths.times[log], paths.events[log], int(paths.status[n, LOGGED]), goals[n])
            for e in range(log.stop - 1, log.start - 1, -1):  # undo what has happened since
                if paths.events[e] == GROUP:
                    if paths.times[e] <= time[n]:
                        break
                elif paths.times[e] > time[n]:
                    edge = paths.events[e] if paths.events[e] >= 0 else ~paths.events[e]
                    axis = edge // grid.size
                    k = grid.first + edge - axis * grid.size
                    opened[n, axis, k // 64] ^= np.uint64(1) << np.uint64(k % 64)


@compiled
def _moment(times, events, inside, goal):
    """The first time at which, from `inside` on, `goal` edges have entered and not left again; the last one if there is none.

    Events are in order of time group by group, but not within a group.
    """
    start, after = 0, inside
    for stop in range(len(events)):
        if events[stop] != GROUP:
            after += 1 if events[stop] >= 0 else -1
            continue
        if after >= goal:
            order = start + np.argsort(times[start:stop])
            for i in range(len(order)):
                inside += 1 if events[order[i]] >= 0 else -1
                if inside >= goal and (i + 1 == len(order) or times[order[i + 1]] > times[order[i]]):
                    return times[order[i]]
        inside, start = after, stop + 1
    return times[-1] if len(times) > 0 else times.dtype.type(0)


@compiled
def settle(data, weight, opened, grid, channels, settings):
    """Replace the data of every image, (N, C stride), by beta at equilibrium with it and the edges that are open.

    weight: None, or that of the data term, (N, C stride); `data` is the whole right-hand side then.
    """
    beta = np.empty((2, data.shape[1]), data.dtype)
    for n in range(len(data)):
        beta[0], beta[1] = data[n], data[n]
        weights = None if weight is None else pointer(weight[n])
        turn = _settle(data[n], weights, beta, opened[n], grid, channels, settings, settings.end)
        data[n] = beta[turn]


@compiled
def _settle(data, weight, beta, opened, grid, channels, settings, tolerance):
    """Solve (w + coupling L_S) beta = w data by Chebyshev-accelerated Jacobi sweeps; returns which of the two betas it is.

    Done when a sweep changes no pixel by more than `tolerance`, or when PATIENCE sweeps bring no smaller change: rounding.
    Source: Golub and Varga (1961), Chebyshev semi-iterative methods.
    """
    omega, turn, smallest, since = 1.0, 0, np.inf, 0
    omegas, none = np.empty(grid.depth, data.dtype), np.zeros(grid.depth, data.dtype)
    log = np.empty(0, data.dtype), np.empty(0, np.int32)
    numbers, betas, bits = pointer(data), _pair(beta), _pair(opened)
    while since < PATIENCE:
        for sweep in range(grid.depth):
            omegas[sweep] = omega
            omega = 1 / (1 - settings.radius**2 * (0.5 if smallest == np.inf and sweep == 0 else omega / 4))
        _, _, _, turn, change = _advance(
            numbers, weight, betas, betas, bits, bits, bits, grid, channels, settings,
            grid.depth, pointer(omegas), pointer(none), pointer(none), 0, log, 0, turn, True,
        )  # fmt: skip
        since += grid.depth
        if change < smallest:
            smallest, since = change, 0
        if change <= tolerance:
            break
    return turn


@compiled
def _pair(arrays):
    return pointer(arrays[0]), pointer(arrays[1])


@compiled
def _advance(data, weight, beta, z, opened, fresh, edges, grid, channels, settings, sweeps, omegas, rates, clocks, needed, log, length, turn, watch):
    """Sweep over an image once for each of `omegas`, after a time step where its rate is not 0. All arrays are pointers.

    Sweep s + 1 follows sweep s one segment behind, so that a large image passes through the cache once for all of them; the
    result is that of one sweep after the other. Returns the log and its length, the gain of the support, which beta is the
    present one, and the largest change in the last sweep. `fresh` must equal `opened` and does so again at the end.
    """
    segments = -(-grid.size // grid.segment)
    entered, change = 0, splat(data, 0)
    for front in range(segments + sweeps - 1):
        for sweep in range(max(0, front - segments + 1), min(sweeps, front + 1)):
            start = grid.first + (front - sweep) * grid.segment
            stop = min(start + grid.segment, grid.first + grid.size)
            present, previous = beta[(turn + sweep) % 2], beta[(turn + sweep + 1) % 2]
            if rates[sweep] > 0:
                gain = 0
                for axis in range(2):
                    ahead = grid.width if axis else 1
                    _step(z[axis], fresh[axis], edges[axis], present, ahead, start, stop, grid, channels, rates[sweep])
                    gain += _gain(opened[axis], fresh[axis], start, stop)
                entered += gain
                if entered >= needed:
                    log = _with_room(log, length, 2 * grid.segment)
                    for axis in range(2):
                        length = _record(
                            z[axis], opened[axis], fresh[axis], present, grid.width if axis else 1, start, stop,
                            axis * grid.size - grid.first, grid, channels, rates[sweep], clocks[sweep],
                            pointer(log[0]), pointer(log[1]), length,
                        )  # fmt: skip
                _adopt(opened, fresh, start, stop)
            step = _relax(
                data, weight, settings.delta, present, previous, opened, start, stop, grid, channels, settings.coupling,
                omegas[sweep], watch,
            )  # fmt: skip
            if sweep == sweeps - 1:
                change = larger(change, step)
    return log, length, entered, (turn + sweeps) % 2, largest(change)


@compiled
def _with_room(log, length, more):
    """The log, moved to larger arrays where it could not hold that many more events."""
    if length + more <= len(log[0]):
        return log
    room = length + more + len(log[0]) // 2
    larger_log = np.empty(room, log[0].dtype), np.empty(room, np.int32)
    larger_log[0][:length], larger_log[1][:length] = log[0][:length], log[1][:length]
    return larger_log


@compiled
def _step(z, fresh, edges, beta, ahead, start, stop, grid, channels, rate):
    """Move the dual variables of one axis, z <- project(z) + rate D beta, and see which edges are now open."""
    zero, one, full, step = splat(z, 0), splat(z, 1), splat(z, FULL), splat(z, rate)
    for vector in range(start // LANES, stop // LANES):  # so that the compiler sees that k is a multiple of 16
        k = vector * LANES
        square = zero
        if len(channels) == 1:
            moved = larger(smaller(load(z, k), one), zero - one) + step * (load(beta, k + ahead) - load(beta, k))
            store(z, k, moved)
            square = moved * moved
        else:
            for c in range(len(channels)):
                dual = load(z, k + c * grid.stride)
                square = square + dual * dual
            scale = one / sqrt(larger(square, one))
            square = zero
            for c in range(len(channels)):
                p = k + c * grid.stride
                moved = load(z, p) * scale + step * (load(beta, p + ahead) - load(beta, p))
                store(z, p, moved)
                square = square + moved * moved
        store_mask(fresh, k, load_mask(edges, k) & (full >= square))


@compiled
def _gain(opened, fresh, start, stop):
    """How many edges a step has brought into the support, less those that have left it."""
    gain = 0
    for word in range(start // 64, (stop + 63) // 64):
        gain += count(opened[word]) - count(fresh[word])
    return gain


@compiled
def _adopt(opened, fresh, start, stop):
    for word in range(start // 64, (stop + 63) // 64):
        opened[0][word] = fresh[0][word]
        opened[1][word] = fresh[1][word]


@compiled
def _record(z, opened, fresh, beta, ahead, start, stop, number, grid, channels, rate, clock, times, events, length):
    """Log what a step has changed: entries at the moment of the step when |z| reached 1, exits at its start.

    Within a step beta stands still, and |z + theta m| = 1 is a quadratic equation for theta.
    """
    for word in range(start // 64, (stop + 63) // 64):
        changed, left = opened[word] ^ fresh[word], fresh[word]
        while changed:
            bit = lowest_bit(changed)
            changed &= changed - np.uint64(1)
            k = 64 * word + bit
            if (left >> np.uint64(bit)) & np.uint64(1):
                times[length], events[length] = clock, ~(number + k)
            else:
                one, zero = rate / rate, rate - rate  # in its type
                square, along, move = zero, zero, zero  # |z|^2, <z, m> and |m|^2
                for c in range(len(channels)):
                    p = k + c * grid.stride
                    m = rate * (beta[p + ahead] - beta[p])
                    dual = z[p] - m
                    square, along, move = square + dual * dual, along + dual * m, move + m * m
                root = np.sqrt(max(along * along + move * (one - square), zero))
                theta = (one - square) / (along + root) if along >= zero else (root - along) / move
                times[length], events[length] = clock + min(theta, one) * rate, number + k
            length += 1
    return length


@compiled
def _relax(data, weight, delta, beta, previous, opened, start, stop, grid, channels, coupling, omega, watch):
    """One Jacobi sweep of (w + coupling L_S) beta = w data, over-relaxed: previous += omega (jacobi(beta) - previous).

    w is `weight` where that is given, and `data` then the whole right-hand side; else 1, or, for a `delta`, the Huber weight
    min(1, delta / |beta - data|). Returns a vector that bounds the change.
    """
    zero, one, coupling, relaxation = splat(beta, 0), splat(beta, 1), splat(beta, coupling), splat(beta, omega)
    change = zero
    for vector in range(start // LANES, stop // LANES):
        k = vector * LANES
        right, left = load_mask(opened[0], k), load_mask(opened[0], k - 1)
        below, above = load_mask(opened[1], k), load_mask(opened[1], k - grid.width)
        degree = (select(right, coupling, zero) + select(left, coupling, zero)) + (
            select(below, coupling, zero) + select(above, coupling, zero)
        )
        inverse = one / (one + degree)
        for c in range(len(channels)):
            p = k + c * grid.stride
            here = load(beta, p)
            flux = (select(right, load(beta, p + 1) - here, zero) + select(left, load(beta, p - 1) - here, zero)) + (
                select(below, load(beta, p + grid.width) - here, zero) + select(above, load(beta, p - grid.width) - here, zero)
            )
            if weight is not None:
                w = load(weight, p)
                jacobi = here + (load(data, p) - w * here + coupling * flux) / (w + degree)
            elif delta is None:
                jacobi = here + (load(data, p) - here + coupling * flux) * inverse
            else:  # numerator and denominator times max(gap, delta), to divide once
                gap = load(data, p) - here
                wide = larger(magnitude(gap), splat(beta, delta))
                jacobi = here + (splat(beta, delta) * gap + wide * coupling * flux) / (splat(beta, delta) + wide * degree)
            before = load(previous, p)
            after = before + relaxation * (jacobi - before)
            if watch is not None:
                change = larger(change, magnitude(after - here))
            store(previous, p, after)
    return change


@compiled
def _variation(beta, edges, grid, channels):
    """The largest |D beta|, a norm over channels, and the number of edges where it is more than rounding."""
    numbers, words = pointer(beta), _pair(edges)
    zero, rounding = splat(numbers, 0), splat(numbers, SMALLEST**2)
    widest, varying = zero, 0
    for k in range(grid.first, grid.first + grid.size, LANES):
        for axis in range(2):
            square = select(load_mask(words[axis], k), _square(numbers, k, axis, grid, channels), zero)
            varying += LANES - count(rounding >= square)
            widest = larger(widest, square)
    return np.sqrt(largest(widest)), varying


@compiled
def _square(beta, k, axis, grid, channels):
    """|D beta|^2 across 16 edges."""
    ahead, square = grid.width if axis else 1, splat(beta, 0)
    for c in range(len(channels)):
        p = k + c * grid.stride
        step = load(beta, p + ahead) - load(beta, p)
        square = square + step * step
    return square


@compiled
def _close_varying(data, opened, grid, channels):
    """Put every edge with any variation into the support."""
    numbers, words = pointer(data), _pair(opened)
    rounding = splat(numbers, SMALLEST**2)
    for k in range(grid.first, grid.first + grid.size, LANES):
        for axis in range(2):
            still = rounding >= _square(numbers, k, axis, grid, channels)
            store_mask(words[axis], k, load_mask(words[axis], k) & still)
