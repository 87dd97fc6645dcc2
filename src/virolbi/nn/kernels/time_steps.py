"""Time steps of a path: explicit Euler for the dual variables, with the edges that change.

The compiled twins are `virolbi._engine.time_steps` and `virolbi._engine.events`.
"""

import triton
import triton.language as tl

from virolbi import _engine

FULL = tl.constexpr(_engine.FULL)
ENTERED = tl.constexpr(2)  # the byte of an edge that was open before the step, and not after it


@triton.jit
def first_step(widest, power):
    """Return the length of the first step: time / nu of the last tick before an edge enters.

    Ticks are at exp(power tick). The first edge enters at 1 / max |D beta|.
    """
    return tl.exp(power * tl.floor(-tl.log(widest) / power))


@triton.jit
def next_step(clock, first, power):
    """Return the length of the next step, to the tick after the one at `clock`."""
    started = clock > 0.0
    tick = tl.floor(tl.log(tl.where(started, clock, 1.0)) / power + 0.5)
    return tl.where(started, tl.exp(power * (tick + 1.0)) - clock, first)


@triton.jit
def step(
    z, laplacian, grid, beta, rate, start, stop, C: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Take a time step in both directions; return by how many edges the support grows."""
    gain = tl.zeros((BLOCK,), tl.int32)
    for first in range(start, stop, BLOCK):
        k = first + tl.arange(0, BLOCK)
        across = (k < stop) & exists(k, grid, 0)
        gain += move(z, laplacian.horizontal, beta, k, 1, across, rate, grid, C)
        down = (k < stop) & exists(k, grid, 1)
        vertical_z = z + C * grid.size
        gain += move(vertical_z, laplacian.vertical, beta, k, grid.width, down, rate, grid, C)
    return tl.sum(gain, axis=0)


@triton.jit
def exists(k, grid, AXIS: tl.constexpr):
    """Return whether pixels have a right neighbour (axis 0), or one below (axis 1)."""
    if AXIS == 0:
        return (k < grid.size) & (k % grid.width < grid.width - 1)
    else:
        return k < grid.size - grid.width


@triton.jit
def move(z, edges, beta, k, ahead, real, rate, grid, C: tl.constexpr):
    """Update z <- project(z) + rate D beta in one direction, and mark the edges open after it.

    Returns 1 for edges that enter the support, and -1 for those that leave it.
    """
    if C == 1:
        dual = tl.load(z + k, mask=real, other=0.0)
        clipped = tl.minimum(tl.maximum(dual, -1.0), 1.0)
        moved = clipped + rate * variation(beta, k, ahead, real)
        tl.store(z + k, moved, mask=real)
        square = moved * moved
    else:
        square = k * 0.0
        for c in tl.static_range(C):
            dual = tl.load(z + k + c * grid.size, mask=real, other=0.0)
            square += dual * dual
        scale = 1.0 / tl.sqrt(tl.maximum(square, 1.0))
        square = k * 0.0
        for c in tl.static_range(C):
            p = k + c * grid.size
            dual = tl.load(z + p, mask=real, other=0.0)
            moved = dual * scale + rate * variation(beta, p, ahead, real)
            tl.store(z + p, moved, mask=real)
            square += moved * moved
    before = (tl.load(edges + k, mask=real, other=0) & 1).to(tl.int32)
    after = (real & (square <= FULL)).to(tl.int32)
    tl.store(edges + k, (after + 2 * before).to(tl.uint8), mask=real)
    return before - after


@triton.jit
def variation(planes, p, ahead, real):
    """Return D u across edges, 0 where there is none."""
    return tl.load(planes + p + ahead, mask=real, other=0.0) - tl.load(
        planes + p, mask=real, other=0.0
    )


@triton.jit
def record(
    z, edges, beta, ahead, clock, rate, late, grid, AXIS: tl.constexpr, C: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Replace z of one direction, in channel 0, by the times at which edges entered in a step.

    Other edges get time 0. Within a step beta stands still, and |z + theta m| = 1 is a quadratic
    equation for theta.
    """
    for first in range(0, grid.size, BLOCK):
        k = first + tl.arange(0, BLOCK)
        real = exists(k, grid, AXIS)
        entered = real & (tl.load(edges + k, mask=real, other=0) == ENTERED)
        square, along, length = k * 0.0, k * 0.0, k * 0.0  # |z|^2, <z, m> and |m|^2
        for c in tl.static_range(C):
            p = k + c * grid.size
            m = rate * variation(beta, p, ahead, entered)
            dual = tl.load(z + p, mask=entered, other=0.0) - m
            square, along, length = square + dual * dual, along + dual * m, length + m * m
        root = tl.sqrt(tl.maximum(along * along + length * (1.0 - square), 0.0))
        forward = along >= 0.0
        above, under = (
            tl.where(forward, 1.0 - square, root - along),
            tl.where(forward, along + root, length),
        )
        theta = tl.minimum(above / tl.where(entered, under, 1.0), 1.0)
        time = tl.minimum(clock + theta * rate, late)  # rounding may differ from that of `late`
        tl.store(z + k, tl.where(entered, time, 0.0), mask=k < grid.size)


@triton.jit
def moment_of(times, inside, goal, early, late, grid, C: tl.constexpr, BLOCK: tl.constexpr):
    """Return the time between `early` and `late` by which `goal` edges have entered.

    times: (2, C size), see `record`. inside: edges in the support at `late`, at least `goal`.
    """
    middle = early + (late - early) / 2.0
    while (early < middle) & (middle < late):
        entering = count_later(times, middle, grid.size, BLOCK)
        entering += count_later(times + C * grid.size, middle, grid.size, BLOCK)
        reached = inside - entering >= goal
        early, late = tl.where(reached, early, middle), tl.where(reached, middle, late)
        middle = early + (late - early) / 2.0
    return late


@triton.jit
def count_later(times, moment, size, BLOCK: tl.constexpr):
    """Return how many edges of one direction entered after a moment."""
    later = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, size, BLOCK):
        k = first + tl.arange(0, BLOCK)
        later += (tl.load(times + k, mask=k < size, other=0.0) > moment).to(tl.int32)
    return tl.sum(later, axis=0)
