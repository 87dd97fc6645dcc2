"""Time steps of a path: explicit Euler for the dual variables, with the edges that change.

The length of each step is planned in `kernels` (`_plan_group`), from the growth of time that
`virolbi.scale_space.solver` sets for a form.
"""

from typing import Any, NamedTuple

import numpy as np

from virolbi._engine.compile import compiled
from virolbi._engine.events import Log, encode, reserve
from virolbi._engine.records import WORD
from virolbi._engine.relaxation import count_fronts, relax, span_of, sweeps_of
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

FULL = 1 - 4e-6  # in the support: |z|^2 >= FULL; projection leaves z a few roundings below 1


class Steps(NamedTuple):
    """Time steps of one image; each pair of pointers is for horizontal and vertical edges."""

    z: Any  # pair
    fresh: Any  # pair of words, equal to those of open edges except in the middle of a step
    edges: Any  # pair of words
    rates: Any  # pointer: length of the step before each sweep; 0 where there is none
    clocks: Any  # pointer: time / nu at the beginning of each step
    needed: Any  # gain of the support from which on events are logged


@compiled
def march_group(term, laplacian, beta, turn, omegas, steps, log):
    """Sweep over an image once for each weight in `omegas`, with time steps before some sweeps.

    Returns which beta is present then, the gain of the support, and the log.
    """
    grid, sweeps = laplacian.grid, len(omegas)
    gained = 0
    for front in range(count_fronts(grid, sweeps)):
        first, stop = sweeps_of(grid, sweeps, front)
        for sweep in range(first, stop):
            span = span_of(grid, front - sweep)
            if steps.rates[sweep] > 0:
                present = beta[(turn + sweep) % 2]
                gained += _step(steps, sweep, laplacian, present, span)
                if gained >= steps.needed:
                    log = _record(log, steps, sweep, laplacian, present, span)
                _adopt(laplacian.open, steps.fresh, span)
            relax(term, laplacian, beta, turn + sweep, omegas[sweep], span, None)
    return (turn + sweeps) % 2, gained, log


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
    step beta stands still, and |z + theta m| = 1 is a quadratic equation for theta.
    """
    grid = laplacian.grid
    log = reserve(log, 2 * grid.segment)
    times, events, length = pointer(log.times), pointer(log.events), log.length
    rate, clock = steps.rates[sweep], steps.clocks[sweep]
    one, zero = rate / rate, rate - rate  # in its type
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
                events[length], times[length] = encode(axis, k, leaves, grid), clock
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
                    times[length] += min(theta, one) * rate
                length += 1
    return Log(log.times, log.events, length)
