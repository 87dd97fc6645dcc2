"""Relaxation towards the equilibrium (w + L_S / nu) beta = w y of an image, by Jacobi sweeps.

`relax` is one sweep and `solve` the equilibrium of a small image (that of a large one is in
`bands`); the weights w come from `data_terms`. The same in
torch operations is `virolbi.nn.equilibrium`.
"""

from typing import Any, NamedTuple

import numpy as np

from virolbi._engine.compile import compiled
from virolbi._engine.data_terms import jacobi
from virolbi._engine.simd import (
    LANES,
    count,
    larger,
    load,
    load_mask,
    load_word,
    magnitude,
    pointer,
    select,
    splat,
    store,
    store_word,
)


class Laplacian(NamedTuple):
    """The operator L_S / nu of one image: open edges and the coupling across them."""

    open: Any  # two pointers to words, for horizontal and vertical edges
    coupling: Any  # 1 / nu
    grid: Any


class Activity(NamedTuple):
    """Blocks of 16 pixels that still change, one flag each."""

    moved: Any  # two pointers to flags, for the last sweep and the one before, like beta
    row: int  # whole vectors in a row
    tolerance: Any  # largest change of a pixel at rest


@compiled
def pair(arrays):
    """Return pointers to the first two rows of an array."""
    return pointer(arrays[0]), pointer(arrays[1])


class Part(NamedTuple):
    """Segments of an image that several sweeps in a row visit.

    A thread sweeps over a part of a large image. Later sweeps visit less of it where a
    neighbouring part may not have come as far, and what they leave out is a part of its own.
    """

    first: int  # segment in the first sweep
    stop: int  # segment behind the last one, in the first sweep
    first_shift: int  # by how many segments each further sweep begins later
    stop_shift: int  # by how many each further sweep ends later, -1 or more
    # time steps change the edges to the pixels below, so sweeps need those of the segment before:
    step_first: int  # segments before the first one in which this part takes the time steps
    step_stop: int  # last segments in which another part has taken them


@compiled
def whole(grid):
    """Return the part that is the whole image."""
    return Part(0, count_segments(grid), 0, 0, 0, 0)


@compiled
def count_segments(grid):
    """Return the number of segments of an image."""
    return -(-grid.size // grid.segment)


@compiled
def fronts_of(part, sweeps):
    """Return the first front of a part and the one behind the last.

    In each front every sweep takes one segment, one segment behind the sweep before it. A large
    image then passes through the cache once for all sweeps; the result is that of one sweep after
    the other.
    """
    return part.first - part.step_first, part.stop + (part.stop_shift + 1) * (sweeps - 1)


@compiled
def visits(part, sweep, segment):
    """Return whether a sweep visits a segment."""
    first = part.first + part.first_shift * sweep
    return first <= segment < part.stop + part.stop_shift * sweep


@compiled
def steps_in(part, sweep, segment):
    """Return whether the time step before a sweep is taken in a segment."""
    first = part.first + part.first_shift * sweep - part.step_first
    return first <= segment < part.stop + part.stop_shift * sweep - part.step_stop


@compiled
def span_of(grid, segment):
    """Return the first pixel of a segment and the one behind the last."""
    start = grid.first + segment * grid.segment
    return start, min(start + grid.segment, grid.first + grid.size)


@compiled
def advance(term, laplacian, beta, turn, omegas, activity, part):
    """Sweep over a part of an image once for each weight in `omegas`.

    beta: two pointers, the present one at `turn` and the one before. activity: blocks that rest
    are left out, or None to visit all.
    """
    grid, sweeps = laplacian.grid, len(omegas)
    start, stop = fronts_of(part, sweeps)
    for front in range(start, stop):
        for sweep in range(sweeps):
            if visits(part, sweep, front - sweep):
                span = span_of(grid, front - sweep)
                relax(term, laplacian, beta, turn + sweep, omegas[sweep], span, activity)


@compiled
def relax(term, laplacian, beta, turn, omega, span, activity):
    """Do one over-relaxed Jacobi sweep over some pixels: previous += omega (jacobi - previous)."""
    grid, (right_edges, lower_edges) = laplacian.grid, laplacian.open
    present, previous = beta[turn % 2], beta[(turn + 1) % 2]
    coupling, relaxation = splat(present, laplacian.coupling), splat(present, omega)
    zero = splat(present, 0)
    vector = span[0] // LANES
    while vector < span[1] // LANES:
        if activity is not None:
            resting = _resting(activity, turn % 2, vector, span[1] // LANES)
            if resting > 0:
                vector += resting
                continue
        k = vector * LANES  # so the compiler sees that k is a multiple of 16
        right, left = load_mask(right_edges, k), load_mask(right_edges, k - 1)
        below, above = load_mask(lower_edges, k), load_mask(lower_edges, k - grid.width)
        degree = (select(right, coupling, zero) + select(left, coupling, zero)) + (
            select(below, coupling, zero) + select(above, coupling, zero)
        )
        change = zero
        for c in range(len(grid.channels)):
            p = k + c * grid.stride
            here = load(present, p)
            flux = (
                select(right, load(present, p + 1) - here, zero)
                + select(left, load(present, p - 1) - here, zero)
            ) + (
                select(below, load(present, p + grid.width) - here, zero)
                + select(above, load(present, p - grid.width) - here, zero)
            )
            target = jacobi(term, p, here, flux, degree, coupling)
            before = load(previous, p)
            after = before + relaxation * (target - before)
            store(previous, p, after)
            if activity is not None:
                change = larger(change, magnitude(after - here))
        if activity is not None:
            moved = count(change >= splat(present, activity.tolerance)) > 0
            activity.moved[(turn + 1) % 2][vector] = moved
        vector += 1


@compiled
def _resting(activity, turn, vector, stop):
    """Return how many vectors (8, 1 or 0) to skip because they and their neighbours did not change.

    The flags of these vectors are cleared.
    """
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
def solve(term, laplacian, beta, settings):
    """Bring beta to its equilibrium by accelerated sweeps; return which of its two rows holds it.

    beta: (2, C stride), both rows at the first guess. Sixteen pixels rest while neither they nor
    their neighbours change by more than a tolerance in a sweep; the solution is found when all
    rest.
    """
    grid = laplacian.grid
    moved = np.zeros((2, grid.stride // LANES + 8), np.uint8)
    omegas = np.empty(1, beta.dtype)
    moved[0, grid.first // LANES : (grid.first + grid.size) // LANES] = 1
    turn = 0
    for attempt in range(len(settings.rounds)):
        radius, tolerance, most = settings.rounds[attempt]
        activity = Activity(pair(moved), grid.width // LANES, beta.dtype.type(tolerance))
        omega = 2.0
        for _ in range(int(most)):
            omega = chebyshev(omegas, omega, radius)
            advance(term, laplacian, pair(beta), turn, omegas, activity, whole(grid))
            turn = 1 - turn
            if not moved[turn].any():
                return turn
    return turn


@compiled
def chebyshev(omegas, omega, radius):
    """Fill in the next weights of the Chebyshev semi-iteration; return the one after them.

    `omega` is 2 at the start. Source: Golub and Varga (1961), for a spectral radius of the Jacobi
    iteration; a larger radius only converges more slowly.
    """
    for sweep in range(len(omegas)):
        omegas[sweep] = omega if omega < 2 else 1
        omega = 1 / (1 - radius**2 * omega / 4)
    return omega
