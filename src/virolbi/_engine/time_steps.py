"""Time steps of a path: explicit Euler for the dual variables, with the edges that change.

Every path visits the same moments, (1 + growth)^tick for whole numbers tick, whatever the size of
the image, the batch and the device: where the steps lie decides which edges enter wrongly.
"""

from typing import Any, NamedTuple

import numpy as np

from virolbi._engine.compile import compiled
from virolbi._engine.events import Log, encode, reserve
from virolbi._engine.records import WORD
from virolbi._engine.relaxation import fronts_of, relax, span_of, steps_in, visits
from virolbi._engine.simd import (
    LANES,
    count,
    larger,
    load,
    load_mask,
    lowest_bit,
    pointer,
    smaller,
    splat,
    sqrt,
    store,
    store_mask,
)

SOON = 2.0**-22  # of the time: so long after the start of a step is the first event in it
FULL = 1 - 4e-6  # in the support: |z|^2 >= FULL; projection leaves z a few roundings below 1


class Steps(NamedTuple):
    """Time steps of one image; each pair of pointers is for horizontal and vertical edges."""

    z: Any  # pair
    fresh: Any  # pair of words, equal to those of open edges except in the middle of a step
    edges: Any  # pair of words
    rates: Any  # pointer: length of the step before each sweep; 0 where there is none
    clocks: Any  # pointer: time / nu at the beginning of each step
    gains: Any  # (sweeps,), receives by how many edges the support grows before each sweep
    needed: Any  # gain of the support from which on the events of a step are logged


@compiled
def clock_at(growth, tick):
    """Return time / nu at a tick."""
    return np.exp(tick * np.log1p(growth))


@compiled
def tick_before(growth, time):
    """Return the last tick at or before a time / nu."""
    return np.int64(np.floor(np.log(time) / np.log1p(growth)))


@compiled
def march_part(term, laplacian, beta, turn, omegas, steps, part, log):
    """Sweep over a part of an image once for each weight in `omegas`, with time steps between.

    Returns the log.
    """
    grid, sweeps = laplacian.grid, len(omegas)
    start, stop = fronts_of(part, sweeps)
    for front in range(start, stop):
        for sweep in range(sweeps):
            span = span_of(grid, front - sweep)
            if steps.rates[sweep] > 0 and steps_in(part, sweep, front - sweep):
                present = beta[(turn + sweep) % 2]
                gain = _step(steps, sweep, laplacian, present, span)
                steps.gains[sweep] += gain
                if gain >= steps.needed:
                    log = _record(log, steps, sweep, laplacian, present, span)
                _adopt(laplacian.open, steps.fresh, span)
            if visits(part, sweep, front - sweep):
                relax(term, laplacian, beta, turn + sweep, omegas[sweep], span, None)
    return log


@compiled
def _step(steps, sweep, laplacian, beta, span):
    """Take a time step in both directions; return by how many edges the support grows."""
    gain = 0
    for axis in range(2):
        fresh, opened = steps.fresh[axis], laplacian.open[axis]
        _move(steps, axis, beta, span, laplacian.grid, steps.rates[sweep])
        for word in range(span[0] // WORD, -(-span[1] // WORD)):
            gain += count(opened[word]) - count(fresh[word])
    return gain


@compiled
def _move(steps, axis, beta, span, grid, rate):
    """Update z <- project(z) + rate D beta in one direction, and mark the edges open after it."""
    z, fresh, edges = steps.z[axis], steps.fresh[axis], steps.edges[axis]
    ahead = grid.width if axis else 1
    zero, one, full, step = splat(z, 0), splat(z, 1), splat(z, FULL), splat(z, rate)
    for vector in range(span[0] // LANES, span[1] // LANES):
        k = vector * LANES
        square = zero
        if len(grid.channels) == 1:
            moved = larger(smaller(load(z, k), one), zero - one) + step * (
                load(beta, k + ahead) - load(beta, k)
            )
            store(z, k, moved)
            square = moved * moved
        else:
            for c in range(len(grid.channels)):
                dual = load(z, k + c * grid.stride)
                square = square + dual * dual
            scale = one / sqrt(larger(square, one))
            square = zero
            for c in range(len(grid.channels)):
                p = k + c * grid.stride
                moved = load(z, p) * scale + step * (load(beta, p + ahead) - load(beta, p))
                store(z, p, moved)
                square = square + moved * moved
        store_mask(fresh, k, load_mask(edges, k) & (full >= square))


@compiled
def _adopt(opened, fresh, span):
    """Make the edges that are open after a step the open ones."""
    for axis in range(2):
        for word in range(span[0] // WORD, -(-span[1] // WORD)):
            opened[axis][word] = fresh[axis][word]


@compiled
def _record(log, steps, sweep, laplacian, beta, span):
    """Return the log with the changes of a step.

    An edge leaves at the start of the step and enters at the moment when |z| reached 1. Within a
    step beta stands still, and |z + theta m| = 1 is a quadratic equation for theta. Every event
    is later than the start of its step, so that its time tells the step.
    """
    grid = laplacian.grid
    log = reserve(log, 2 * grid.segment)
    times, events, length = pointer(log.times), pointer(log.events), log.length
    rate, clock = steps.rates[sweep], steps.clocks[sweep]
    one, zero = rate / rate, rate - rate  # in its type
    soon = one * np.float32(SOON)
    for axis in range(2):
        z, fresh, opened = steps.z[axis], steps.fresh[axis], laplacian.open[axis]
        ahead = grid.width if axis else 1
        for word in range(span[0] // WORD, -(-span[1] // WORD)):
            changed = opened[word] ^ fresh[word]
            while changed:
                k = WORD * word + lowest_bit(changed)
                rest = changed & (changed - np.uint64(1))
                leaves = fresh[word] & (changed ^ rest)
                changed = rest
                events[length] = encode(axis, k, leaves, grid)
                theta = zero
                if not leaves:
                    square, along, move = zero, zero, zero  # |z|^2, <z, m> and |m|^2
                    for c in range(len(grid.channels)):
                        p = k + c * grid.stride
                        m = rate * (beta[p + ahead] - beta[p])
                        dual = z[p] - m
                        square, along, move = square + dual * dual, along + dual * m, move + m * m
                    root = np.sqrt(max(along * along + move * (one - square), zero))
                    if along >= zero:
                        theta = (one - square) / (along + root)
                    else:
                        theta = (root - along) / move
                times[length] = max(clock + min(theta, one) * rate, clock + soon * clock)
                length += 1
    return Log(log.times, log.events, length)
