"""Kernels for large images, each of which several programs share: one for each band of pixels.

A band may be used by others only after the launch that wrote it, so each sweep and each half of a
time step is a launch. What an image has reached is kept on the device, in `state` and `clocks`, and
images that have arrived stand still, so the host need not know. The device functions are those of
`path`.
"""

import triton
import triton.language as tl

from virolbi.nn.kernels.path import (
    INFINITY,
    finish,
    goes_on,
    measure_variation,
    plan_path,
    prepare,
)
from virolbi.nn.kernels.records import Ends, Grid, Laplacian, Term
from virolbi.nn.kernels.relaxation import relax
from virolbi.nn.kernels.time_steps import next_step, step

# rows of `state`, (4, N) int32
RUNNING = tl.constexpr(0)
INSIDE = tl.constexpr(1)  # edges in the support
VARYING = tl.constexpr(2)  # edges with any variation
TURN = tl.constexpr(3)  # the beta that is present
# rows of `clocks`, (4, N) float32
CLOCK = tl.constexpr(0)  # time / nu at the beginning of the last step
LATE = tl.constexpr(1)  # and behind it
RATE = tl.constexpr(2)  # its length
FIRST = tl.constexpr(3)


@triton.jit
def band_of(size, band):
    """Return the image of this program, its first pixel and the one behind its last."""
    start = tl.program_id(1) * band
    return tl.program_id(0).to(tl.int64), start, tl.minimum(start + band, size)


@triton.jit(do_not_specialize=["number"])
def prepare_kernel(
    data, beta, z, edges, number, width, size, band, C: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Start paths, see `prepare`."""
    n, start, stop = band_of(size, band)
    data, beta, z = data + n * C * size, beta + 2 * n * C * size, z + 2 * n * C * size
    laplacian = Laplacian(edges + n * size, edges + (number + n) * size, 0.0)
    prepare(Term(data, data, 0.0), laplacian, Grid(width, size), beta, z, start, stop, C, BLOCK)


@triton.jit(do_not_specialize=["number", "sweep"])
def relax_kernel(
    data, beta, edges, state, sweep, omega, coupling, delta, number, width, size, band,
    C: tl.constexpr, TERM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Do one sweep over images whose paths run; `sweep` is counted from the last step."""
    n, start, stop = band_of(size, band)
    if tl.load(state + RUNNING * number + n) != 0:
        turn = (tl.load(state + TURN * number + n) + sweep) % 2
        data, beta = data + n * C * size, beta + 2 * n * C * size
        laplacian = Laplacian(edges + n * size, edges + (number + n) * size, coupling)
        term, grid = Term(data, data, delta), Grid(width, size)
        relax(term, laplacian, grid, beta, turn, omega, start, stop, C, TERM, BLOCK)


@triton.jit(do_not_specialize=["number", "begin_sweeps"])
def measure_kernel(
    data, beta, goals, until, state, clocks, power, begin_sweeps, number, width, size,
    C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Plan the path of an image from its first equilibrium, after so many sweeps."""
    n = tl.program_id(0).to(tl.int64)
    turn, grid = begin_sweeps % 2, Grid(width, size)
    widest = measure_variation(beta + (2 * n + turn) * C * size, grid, C, BLOCK)[0]
    varying = measure_variation(data + n * C * size, grid, C, BLOCK)[1]
    ends = Ends(tl.load(goals + n), tl.load(until + n))
    running, first = plan_path(ends, widest, varying, power)
    tl.store(state + RUNNING * number + n, running.to(tl.int32))
    tl.store(state + INSIDE * number + n, 0)
    tl.store(state + VARYING * number + n, varying)
    tl.store(state + TURN * number + n, turn)
    tl.store(clocks + CLOCK * number + n, 0.0)
    tl.store(clocks + LATE * number + n, 0.0)
    tl.store(clocks + RATE * number + n, 0.0)
    tl.store(clocks + FIRST * number + n, first)


@triton.jit(do_not_specialize=["number"])
def step_kernel(
    beta, z, edges, state, clocks, gains, power, number, width, size, band,
    C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take a time step in images whose paths run.

    gains: (N, bands), the result, by how many edges the support grows in each band.
    """
    n, start, stop = band_of(size, band)
    if tl.load(state + RUNNING * number + n) != 0:
        turn, rate = tl.load(state + TURN * number + n), rate_of(clocks, n, number, power)
        beta, z = beta + (2 * n + turn) * C * size, z + 2 * n * C * size
        laplacian = Laplacian(edges + n * size, edges + (number + n) * size, 0.0)
        gain = step(z, laplacian, Grid(width, size), beta, rate, start, stop, C, BLOCK)
        tl.store(gains + n * tl.num_programs(1) + tl.program_id(1), gain)


@triton.jit
def rate_of(clocks, n, number, power):
    """Return the length of the next step of an image."""
    clock, first = tl.load(clocks + LATE * number + n), tl.load(clocks + FIRST * number + n)
    return next_step(clock, first, power)


@triton.jit(do_not_specialize=["number", "relaxations", "bands"])
def advance_kernel(
    goals, until, state, clocks, gains, power, relaxations, number, bands, BLOCK: tl.constexpr
):  # fmt: skip
    """Count a time step of one image, and decide whether its path goes on.

    If it does, beta will be present after the relaxations; else it stays as it was in the step.
    """
    n = tl.program_id(0).to(tl.int64)
    if tl.load(state + RUNNING * number + n) != 0:
        gain = tl.zeros((BLOCK,), tl.int32)
        for first in range(0, bands, BLOCK):
            k = first + tl.arange(0, BLOCK)
            gain += tl.load(gains + n * bands + k, mask=k < bands, other=0)
        clock, rate = tl.load(clocks + LATE * number + n), rate_of(clocks, n, number, power)
        inside = tl.load(state + INSIDE * number + n) + tl.sum(gain, axis=0)
        varying, late = tl.load(state + VARYING * number + n), clock + rate
        ends = Ends(tl.load(goals + n), tl.load(until + n))
        running = goes_on(ends, inside, varying, late, tl.load(clocks + FIRST * number + n))
        turn = tl.load(state + TURN * number + n)
        tl.debug_barrier()  # all threads have read what one of them writes
        tl.store(state + INSIDE * number + n, inside)
        tl.store(state + RUNNING * number + n, running.to(tl.int32))
        tl.store(state + TURN * number + n, tl.where(running, turn + relaxations, turn) % 2)
        tl.store(clocks + CLOCK * number + n, clock)
        tl.store(clocks + RATE * number + n, rate)
        tl.store(clocks + LATE * number + n, late)


@triton.jit(do_not_specialize=["number"])
def replay_kernel(
    data, beta, z, edges, goals, until, time, state, clocks, number, width, size,
    C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Find the moment at which the path of one image ends, and open the edges that enter later."""
    n = tl.program_id(0).to(tl.int64)
    turn, grid = tl.load(state + TURN * number + n), Grid(width, size)
    data, beta, z = data + n * C * size, beta + (2 * n + turn) * C * size, z + 2 * n * C * size
    laplacian = Laplacian(edges + n * size, edges + (number + n) * size, 0.0)
    clock, late = tl.load(clocks + CLOCK * number + n), tl.load(clocks + LATE * number + n)
    rate = tl.load(clocks + RATE * number + n)
    inside, varying = tl.load(state + INSIDE * number + n), tl.load(state + VARYING * number + n)
    ends = Ends(tl.load(goals + n), tl.load(until + n))
    moment, ended = finish(
        data, laplacian, grid, beta, z, ends, inside, varying, clock, rate, late, C, BLOCK
    )  # fmt: skip
    tl.store(time + n, tl.where(ended, INFINITY, moment))


@triton.jit(do_not_specialize=["number", "sweep"])
def settle_band_kernel(
    data, weight, beta, edges, changes, sweeps, sweep, omega, before, coupling, delta, number,
    width, size, band, bands, C: tl.constexpr, TERM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Do one sweep towards the equilibrium of images that have not come to rest.

    changes: (2, N, bands), the largest change in each band by the last sweep, and by this one.
    sweeps: (N,), int32, counts the sweeps of each image. before: the tolerance of the last sweep.
    """
    n, start, stop = band_of(size, band)
    turn, own = sweep % 2, n * bands + tl.program_id(1)
    change = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, bands, BLOCK):
        k = first + tl.arange(0, BLOCK)
        last = changes + (turn * number + n) * bands + k
        change = tl.maximum(change, tl.load(last, mask=k < bands, other=0.0))
    moved = 0.0
    if tl.max(change, axis=0) >= before:
        offset = n * C * size
        term, grid = Term(data + offset, weight + offset, delta), Grid(width, size)
        laplacian = Laplacian(edges + n * size, edges + (number + n) * size, coupling)
        beta = beta + 2 * offset
        moved = relax(term, laplacian, grid, beta, turn, omega, start, stop, C, TERM, BLOCK)
        if tl.program_id(1) == 0:
            tl.store(sweeps + n, sweep + 1)
    tl.store(changes + ((1 - turn) * number * bands + own), moved)
