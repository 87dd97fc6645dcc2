"""The limit path of some images: compiled loops on arrays given to them.

A plane is a line: pixel (i, j) of a plane of width W is number k = i W + j, its right neighbour k + 1 and the one below k + W,
so one loop over k, sixteen at a time, serves every shape. Where a row ends there is no edge, and that is a bit: `open` holds
one for each edge, 1 while it is outside the support, 0 inside or where there is no edge at all. The C channels of an image
share these bits; each fills `stride` numbers of a flat array, with zeros before its first pixel and behind its last.
"""

from typing import Any, NamedTuple

import numpy as np

from virolbi._engine.compile import compiled
from virolbi._engine.simd import (
    LANES,
    count,
    larger,
    largest,
    load,
    load_mask,
    load_word,
    lowest_bit,
    magnitude,
    pointer,
    select,
    smaller,
    splat,
    sqrt,
    store,
    store_mask,
    store_word,
)

FULL = (
    1 - 4e-6
)  # in the support: |z|^2 >= FULL, for projection onto the unit ball leaves it a few roundings below 1
SMALLEST = 1e-6  # variations up to this, in units of intensity, are rounding: they never enter
EARLY = 200  # until one in so many of the edges that vary has entered, time grows ...
FASTER = 4  # ... this much faster: few events, and little of the path yet to bend
GROUP = np.int32(-(2**31))  # in a log, behind the events of each group of steps
EVER = 2**62  # events
WORD = 64  # bits
CLOCK, START, INSIDE, TURN, VARYING, LOGGED = range(STATUS := 6)  # columns of `status`


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
    begin: int  # sweeps towards the first equilibrium
    rounds: Any  # (K, 3), of attempts at the last: spectral radius, largest change in a sweep that will do, and most sweeps


class Paths(NamedTuple):
    """N images on their way, and all that has happened to them."""

    data: Any  # (N, C stride)
    beta: (
        Any  # (N, 2, C stride): the present one and the one before, changing places at every sweep
    )
    z: Any  # (N, 2, C stride): dual variables of horizontal and vertical edges, outside the unit ball right after a step
    open: Any  # (N, 2, words) of 64 bits
    status: Any  # (N, 6): time / nu, its first step, edges in the support, which beta is present, edges with any variation,
    # and edges in the support when the log begins
    logs: Any  # (N + 1,): where the events of each image begin
    times: Any  # time / nu of every event
    events: Any  # int32: the edge that entered, ~edge for one that left, or GROUP; vertical edges come `size` later


class Steps(NamedTuple):
    """What the time steps of one image need; pointers, each pair for horizontal and vertical edges."""

    z: Any
    fresh: Any  # words, equal to those of open edges except in the middle of a step
    edges: Any  # words
    rates: Any  # of each sweep; 0 for one without a time step
    clocks: Any  # time / nu at the beginning of each


class Activity(NamedTuple):
    """Where an equilibrium still moves; pointers to flags of 16 pixels each."""

    moved: Any  # a pair like beta: what the last sweep has changed, and the one before
    row: int  # whole vectors in a row
    tolerance: Any  # of a change


@compiled
def _copy(target, source):
    for i in range(len(source)):
        target[i] = source[i]


@compiled
def begin(paths, edges, grid, channels, settings):
    """Bring every image to its first equilibrium, with all edges open, and see when the first of them will enter.

    channels: a tuple of C zeros, so that C is known when this compiles. edges: like `open`, 1 where there is an edge.
    """
    omegas = np.empty(settings.begin, paths.data.dtype)
    _chebyshev(omegas, 2.0, settings.rounds[0, 0])
    for n in range(len(paths.data)):
        for i in range(2):
            _copy(paths.open[n, i], edges[i])
            _copy(paths.beta[n, i], paths.data[n])
        turn = 0
        for first in range(0, len(omegas), grid.depth):
            turn, _, _, _ = _advance(
                pointer(paths.data[n]), None, _pair(paths.beta[n]), _pair(edges), grid, channels, settings,
                pointer(omegas[first:]), min(grid.depth, len(omegas) - first), turn, None, None, None, 0, 0,
            )  # fmt: skip
        widest, _ = _variation(paths.beta[n, turn], edges, grid, channels)
        _, varying = _variation(paths.data[n], edges, grid, channels)
        (
            paths.status[n, CLOCK],
            paths.status[n, INSIDE],
            paths.status[n, LOGGED],
            paths.status[n, TURN],
        ) = 0, 0, 0, turn
        paths.status[n, START] = (
            1 / widest if widest > 0 and varying > 0 else np.inf
        )  # t0 = nu / max |D beta|
        paths.status[n, VARYING] = varying


@compiled
def march(paths, goals, until, edges, grid, channels, settings, complete):
    """Advance every image, unless it has come that far, until its support holds `goals[n]` edges. Returns the new logs.

    until: times / nu that count instead of the goals where they are finite. complete: whether to log all events, or only those
    of the last group of steps, in which the moment asked for lies.
    """
    logs, length = np.zeros_like(paths.logs), 0
    log = (
        np.empty(len(paths.times) + 2 * grid.size, paths.times.dtype),
        np.empty(len(paths.times) + 2 * grid.size, np.int32),
    )
    sweeps = grid.depth * settings.relaxations
    rates, clocks = np.zeros(sweeps, paths.data.dtype), np.zeros(sweeps, paths.data.dtype)
    omegas, fresh = np.full(sweeps, settings.omega), np.empty_like(edges)
    for n in range(len(paths.data)):
        begin, end = paths.logs[n], paths.logs[n + 1]
        log = _with_room(log, length, end - begin)
        _copy(log[0][length:], paths.times[begin:end])
        _copy(log[1][length:], paths.events[begin:end])
        length += end - begin
        for i in range(2):
            _copy(fresh[i], paths.open[n, i])
        clock, inside, turn = (
            paths.status[n, CLOCK],
            int(paths.status[n, INSIDE]),
            int(paths.status[n, TURN]),
        )
        timed = until[n] < np.inf
        possible = paths.status[n, START] < np.inf and (
            timed or goals[n] < paths.status[n, VARYING]
        )
        wanted = int(paths.status[n, VARYING]) if timed else goals[n]
        steps = Steps(
            _pair(paths.z[n]), _pair(fresh), _pair(edges), pointer(rates), pointer(clocks)
        )
        while (
            possible
            and inside < wanted
            and clock < until[n]
            and clock * SMALLEST < paths.status[n, START]
        ):
            early = EARLY * inside <= paths.status[n, VARYING]
            growth = settings.growth * FASTER if early else settings.growth
            for step in range(0, sweeps, settings.relaxations):
                clocks[step] = clock
                rates[step] = growth * clocks[step] if clock > 0 else paths.status[n, START]
                clock = clocks[step] + rates[step]
            if not complete:
                length, paths.status[n, LOGGED] = logs[n], inside
            log_all = (
                complete or grid.depth > 1 or clock >= until[n]
            )  # else log a group only if it turns out to be the last
            turn, gained, log, length = _advance(
                pointer(paths.data[n]), None, _pair(paths.beta[n]), _pair(paths.open[n]), grid, channels, settings,
                pointer(omegas), sweeps, turn, None, steps, log, length, -EVER if log_all else wanted - inside,
            )  # fmt: skip
            inside += gained
            log = _with_room(log, length, 1)
            log[0][length], log[1][length] = clock, GROUP
            length += 1
        paths.status[n, CLOCK], paths.status[n, INSIDE], paths.status[n, TURN] = clock, inside, turn
        logs[n + 1] = length
    return logs, log[0][:length].copy(), log[1][:length].copy()


@compiled
def replay(paths, goals, until, edges, grid, channels, opened, time):
    """Which edges were open when each support first held `goals[n]` edges, and time / nu of that; inf where the path ended.

    Or at the time `until[n]` where that is finite.
    """
    for n in range(len(goals)):
        log, varying = slice(paths.logs[n], paths.logs[n + 1]), paths.status[n, VARYING]
        if until[n] < np.inf:
            time[n] = (
                until[n]
                if paths.status[n, INSIDE] < varying or until[n] < paths.status[n, CLOCK]
                else np.inf
            )
        elif goals[n] >= varying:
            time[n] = np.inf if goals[n] > 0 else 0
        else:
            inside = int(paths.status[n, LOGGED])
            time[n] = (
                _moment(paths.times[log], paths.events[log], inside, goals[n])
                if goals[n] > 0
                else 0
            )
        if time[n] == np.inf:
            _close_varying(paths.data[n], edges, opened[n], grid, channels)
            continue
        for i in range(2):
            _copy(opened[n, i], paths.open[n, i])
        moment = paths.times.dtype.type(time[n])
        for e in range(log.stop - 1, log.start - 1, -1):  # undo what has happened since
            if paths.events[e] == GROUP:
                if paths.times[e] <= moment:
                    break
            elif paths.times[e] > moment:
                edge = paths.events[e] if paths.events[e] >= 0 else ~paths.events[e]
                axis = edge // grid.size
                k = grid.first + edge - axis * grid.size
                opened[n, axis, k // WORD] ^= np.uint64(1) << np.uint64(k % WORD)


@compiled
def _moment(times, events, inside, goal):
    """A time at which, from `inside` on, `goal` edges have entered and not left again; inf if the path ended before.

    Events are in order of time group by group, but not within a group, where the time is bisected.
    """
    start, after, early = 0, inside, times.dtype.type(0)
    for stop in range(len(events)):
        if events[stop] != GROUP:
            after += 1 if events[stop] >= 0 else -1
            continue
        if after >= goal:
            return _bisect(
                times[start:stop].copy(),
                events[start:stop].copy(),
                inside,
                goal,
                early,
                times[stop],
            )
        inside, start, early = after, stop + 1, times[stop]
    return times.dtype.type(np.inf)


@compiled
def _bisect(times, events, inside, goal, early, late):
    """A time up to which `goal` edges have entered, between `early`, when they have not, and `late`; reorders the events."""
    left = len(times)
    while True:
        middle = early + (late - early) / 2
        if not early < middle < late:
            return late
        reached, before = inside, 0
        for e in range(
            left
        ):  # to the front, those up to the middle; the others may move too, so nothing has to be guessed
            time, event = times[e], events[e]
            times[e], events[e] = times[before], events[before]
            times[before], events[before] = time, event
            before += time <= middle
            reached += (time <= middle) * (1 if event >= 0 else -1)
        if reached >= goal:
            late, left = middle, before
        else:
            early, inside, times, events, left = (
                middle,
                reached,
                times[before:],
                events[before:],
                left - before,
            )


@compiled
def settle(data, weight, beta, opened, grid, channels, settings):
    """Replace the data of every image, (N, C stride), by beta at equilibrium with it and the edges that are open.

    weight: None, or that of the data term, (N, C stride); `data` is the whole right-hand side then. beta: room to work,
    (2, C stride). Means of the data, and of zeros, stay in their range; without a weight, roundings do too.
    """
    for n in range(len(data)):
        _copy(beta[0], data[n])
        _copy(beta[1], data[n])
        if weight is None:
            turn = _settle(data[n], None, beta, opened[n], grid, channels, settings)
            _copy_within(pointer(data[n]), pointer(beta[turn]), len(data[n]))
        else:
            turn = _settle(data[n], pointer(weight[n]), beta, opened[n], grid, channels, settings)
            _copy(data[n], beta[turn])


@compiled
def _copy_within(target, source, length):
    """Replace numbers by others, or by the least or greatest of themselves where these go beyond it."""
    low = high = load(target, 0)
    for k in range(0, length, LANES):
        low, high = smaller(low, load(target, k)), larger(high, load(target, k))
    zero = splat(target, 0)
    low, high = splat(target, -largest(zero - low)), splat(target, largest(high))
    for k in range(0, length, LANES):
        store(target, k, smaller(larger(load(source, k), low), high))


@compiled
def _settle(data, weight, beta, opened, grid, channels, settings):
    """Solve (w + coupling L_S) beta = w data by Chebyshev-accelerated Jacobi sweeps; returns which of the two betas it is.

    Sixteen pixels rest while neither they nor their neighbours change by more than a tolerance in a sweep; done when all do.
    """
    moved, omegas = (
        np.zeros((2, grid.stride // LANES + 8), np.uint8),
        np.empty(grid.depth, data.dtype),
    )
    pixels = slice(grid.first // LANES, (grid.first + grid.size) // LANES)
    moved[0, pixels] = 1
    turn = 0
    for n in range(len(settings.rounds)):
        radius, tolerance, most = settings.rounds[n]
        activity, omega = (
            Activity(_pair(moved), grid.width // LANES, data.dtype.type(tolerance)),
            2.0,
        )
        for _ in range(0, int(most), grid.depth):
            omega = _chebyshev(omegas, omega, radius)
            turn, _, _, _ = _advance(
                pointer(data), weight, _pair(beta), _pair(opened), grid, channels, settings, pointer(omegas), grid.depth, turn,
                activity, None, None, 0, 0,
            )  # fmt: skip
            if not moved[turn].any():
                return turn
    return turn


@compiled
def _chebyshev(omegas, omega, radius):
    """The next weights of the Chebyshev semi-iteration, 2 standing for the start; returns the one after them.

    Source: Golub and Varga (1961), for a spectral radius of the Jacobi iteration. A larger one only converges more slowly.
    """
    for sweep in range(len(omegas)):
        omegas[sweep] = omega if omega < 2 else 1
        omega = 1 / (1 - radius**2 * omega / 4)
    return omega


@compiled
def _pair(arrays):
    return pointer(arrays[0]), pointer(arrays[1])


@compiled
def _advance(
    data,
    weight,
    beta,
    opened,
    grid,
    channels,
    settings,
    omegas,
    sweeps,
    turn,
    activity,
    steps,
    log,
    length,
    needed,
):
    """Sweep over an image as often as there are `omegas`, and before some sweeps take a time step.

    Sweep s + 1 follows sweep s one segment behind, so that a large image passes through the cache once for all of them; the
    result is that of one sweep after the other. Returns which beta is present now, the gain of the support, and the log and
    its length.
    """
    segments = -(-grid.size // grid.segment)
    gained = 0
    for front in range(segments + sweeps - 1):
        for sweep in range(max(0, front - segments + 1), min(sweeps, front + 1)):
            start = grid.first + (front - sweep) * grid.segment
            stop = min(start + grid.segment, grid.first + grid.size)
            present, previous = beta[(turn + sweep) % 2], beta[(turn + sweep + 1) % 2]
            if steps is not None:  # noqa: SIM102 -- known when this compiles
                if steps.rates[sweep] > 0:
                    gained += _step(steps, sweep, opened, present, start, stop, grid, channels)
                    if gained >= needed:
                        log = _with_room(log, length, 2 * grid.segment)
                        length = _record(
                            steps,
                            sweep,
                            opened,
                            present,
                            start,
                            stop,
                            grid,
                            channels,
                            pointer(log[0]),
                            pointer(log[1]),
                            length,
                        )
                    _adopt(opened, steps.fresh, start, stop)
            _relax(
                data, weight, settings.delta, settings.coupling, omegas[sweep], present, previous, opened, start, stop,
                grid, channels, activity, (turn + sweep) % 2,
            )  # fmt: skip
    return (turn + sweeps) % 2, gained, log, length


@compiled
def _with_room(log, length, more):
    """The log, moved to larger arrays where it could not hold that many more events."""
    if length + more <= len(log[0]):
        return log
    room = length + more + len(log[0]) // 2
    larger_log = np.empty(room, log[0].dtype), np.empty(room, np.int32)
    _copy(larger_log[0], log[0][:length])
    _copy(larger_log[1], log[1][:length])
    return larger_log


@compiled
def _step(steps, sweep, opened, beta, start, stop, grid, channels):
    """Take a time step in both directions; returns how many edges it brings into the support, less those that leave it."""
    gain = 0
    for axis in range(2):
        fresh, edges, ahead = steps.fresh[axis], steps.edges[axis], grid.width if axis else 1
        _move(
            steps.z[axis],
            fresh,
            edges,
            beta,
            ahead,
            start,
            stop,
            grid,
            channels,
            steps.rates[sweep],
        )
        for word in range(start // WORD, -(-stop // WORD)):
            gain += count(opened[axis][word]) - count(fresh[word])
    return gain


@compiled
def _move(z, fresh, edges, beta, ahead, start, stop, grid, channels, rate):
    """Move the dual variables of one direction, z <- project(z) + rate D beta, and see which edges are open then."""
    zero, one, full, step = splat(z, 0), splat(z, 1), splat(z, FULL), splat(z, rate)
    for vector in range(start // LANES, stop // LANES):
        k = vector * LANES
        square = zero
        if len(channels) == 1:
            moved = larger(smaller(load(z, k), one), zero - one) + step * (
                load(beta, k + ahead) - load(beta, k)
            )
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
def _adopt(opened, fresh, start, stop):
    for axis in range(2):
        for word in range(start // WORD, -(-stop // WORD)):
            opened[axis][word] = fresh[axis][word]


@compiled
def _record(steps, sweep, opened, beta, start, stop, grid, channels, times, events, length):
    """Log what a step has changed: entries at the moment of the step when |z| reached 1, exits at its start.

    Within a step beta stands still, and |z + theta m| = 1 is a quadratic equation for theta.
    """
    rate, clock = steps.rates[sweep], steps.clocks[sweep]
    one, zero = rate / rate, rate - rate  # in its type
    for axis in range(2):
        z, fresh, ahead, number = (
            steps.z[axis],
            steps.fresh[axis],
            grid.width if axis else 1,
            axis * grid.size - grid.first,
        )
        for word in range(start // WORD, -(-stop // WORD)):
            changed = opened[axis][word] ^ fresh[word]
            while changed:
                k = WORD * word + lowest_bit(changed)
                rest = changed & (changed - np.uint64(1))
                left = fresh[word] & (changed ^ rest)
                changed = rest
                events[length], times[length] = ~(number + k) if left else number + k, clock
                if not left:
                    square, along, move = zero, zero, zero  # |z|^2, <z, m> and |m|^2
                    for c in range(len(channels)):
                        p = k + c * grid.stride
                        m = rate * (beta[p + ahead] - beta[p])
                        dual = z[p] - m
                        square, along, move = square + dual * dual, along + dual * m, move + m * m
                    root = np.sqrt(max(along * along + move * (one - square), zero))
                    theta = (
                        (one - square) / (along + root) if along >= zero else (root - along) / move
                    )
                    times[length] += min(theta, one) * rate
                length += 1
    return length


@compiled
def _relax(
    data,
    weight,
    delta,
    coupling,
    omega,
    beta,
    previous,
    opened,
    start,
    stop,
    grid,
    channels,
    activity,
    turn,
):
    """One Jacobi sweep of (w + coupling L_S) beta = w data, over-relaxed: previous += omega (jacobi(beta) - previous).

    w is `weight` where that is given, and `data` then the whole right-hand side; else 1, or, for a `delta`, the Huber weight
    min(1, delta / |beta - data|).
    """
    zero, one, coupling, relaxation = (
        splat(beta, 0),
        splat(beta, 1),
        splat(beta, coupling),
        splat(beta, omega),
    )
    vector = start // LANES
    while vector < stop // LANES:
        if activity is not None:
            resting = _rest(activity, turn, vector, stop // LANES)
            if resting > 0:
                vector += resting
                continue
        k = vector * LANES  # so the compiler sees that k is a multiple of 16
        right, left = load_mask(opened[0], k), load_mask(opened[0], k - 1)
        below, above = load_mask(opened[1], k), load_mask(opened[1], k - grid.width)
        degree = (select(right, coupling, zero) + select(left, coupling, zero)) + (
            select(below, coupling, zero) + select(above, coupling, zero)
        )
        inverse = one / (one + degree)
        change = zero
        for c in range(len(channels)):
            p = k + c * grid.stride
            here = load(beta, p)
            flux = (
                select(right, load(beta, p + 1) - here, zero)
                + select(left, load(beta, p - 1) - here, zero)
            ) + (
                select(below, load(beta, p + grid.width) - here, zero)
                + select(above, load(beta, p - grid.width) - here, zero)
            )
            if weight is not None:
                w = load(weight, p)
                jacobi = here + (load(data, p) - w * here + coupling * flux) / (w + degree)
            elif delta is None:
                jacobi = here + (load(data, p) - here + coupling * flux) * inverse
            else:  # numerator and denominator times max(gap, delta), to divide once
                gap = load(data, p) - here
                wide = larger(magnitude(gap), splat(beta, delta))
                jacobi = here + (splat(beta, delta) * gap + wide * coupling * flux) / (
                    splat(beta, delta) + wide * degree
                )
            before = load(previous, p)
            after = before + relaxation * (jacobi - before)
            store(previous, p, after)
            if activity is not None:
                change = larger(change, magnitude(after - here))
        if activity is not None:
            activity.moved[1 - turn][vector] = count(change >= splat(beta, activity.tolerance)) > 0
        vector += 1


@compiled
def _rest(activity, turn, vector, stop):
    """How many vectors from one on rest, for none next to them has moved: 8, 1 or 0; none of these will have moved."""
    before, after, row = activity.moved[turn], activity.moved[1 - turn], activity.row
    beside = load_word(before, vector - 1) | load_word(before, vector + 1)
    above = load_word(before, vector - row - 1) | load_word(before, vector - row)
    below = load_word(before, vector + row) | load_word(before, vector + row + 1)
    flags = beside | above | below
    if flags == 0 and vector + 8 <= stop:
        store_word(after, vector, 0)
        return 8
    if (flags | before[vector]) & 0xFF == 0:
        after[vector] = 0
        return 1
    return 0


@compiled
def _variation(beta, edges, grid, channels):
    """The largest |D beta|, a norm over channels, and the number of edges where it is more than rounding."""
    numbers, words = pointer(beta), _pair(edges)
    zero, rounding = splat(numbers, 0), splat(numbers, SMALLEST**2)
    widest, varying = zero, 0
    for k in range(grid.first, grid.first + grid.size, LANES):
        for axis in range(2):
            square = select(
                load_mask(words[axis], k), _square(numbers, k, axis, grid, channels), zero
            )
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
def _close_varying(data, edges, opened, grid, channels):
    """Open all edges but those with any variation."""
    for axis in range(2):
        opened[axis, :] = 0
    numbers, words, places = pointer(data), _pair(opened), _pair(edges)
    rounding = splat(numbers, SMALLEST**2)
    for k in range(grid.first, grid.first + grid.size, LANES):
        for axis in range(2):
            still = rounding >= _square(numbers, k, axis, grid, channels)
            store_mask(words[axis], k, load_mask(places[axis], k) & still)
