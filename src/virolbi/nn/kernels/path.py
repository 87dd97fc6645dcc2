"""Kernels of a path: `begin`, `march`, `replay` and `settle`, with one program for each image.

The compiled twin is `virolbi._engine.kernels`. The state of an image lies in scratch memory that
its program alone uses, again and again, so it stays in the caches of one processor.
"""

import triton
import triton.language as tl

from virolbi import _engine
from virolbi.nn.kernels.records import Ends, Grid, Laplacian, Steps, Term
from virolbi.nn.kernels.relaxation import chebyshev, relax, solve
from virolbi.nn.kernels.time_steps import (
    ENTERED,
    exists,
    first_step,
    moment_of,
    next_step,
    record,
    step,
    variation,
)

SMALLEST = tl.constexpr(_engine.SMALLEST)
ROUNDING = tl.constexpr(_engine.SMALLEST**2)
INFINITY = tl.constexpr(float("inf"))


@triton.jit(do_not_specialize=["number", "relaxations", "begin_sweeps"])
def follow_kernel(
    data, beta, z, edges, goals, until, time, number, width, size, coupling, delta,
    power, relaxations, omega, radius, begin_sweeps,
    C: tl.constexpr, TERM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Follow the path of one image to its end.

    data: (N, C, size). beta, z: scratch memory, (N, 2, C, size). edges: (2, N, size), bytes, the
    result: 1 where an edge is open. goals: (N,), edges in the support. until: (N,), times / nu that
    count instead where they are finite. time: (N,), the result, time / nu.
    """
    n = tl.program_id(0).to(tl.int64)
    data, beta, z = data + n * C * size, beta + 2 * n * C * size, z + 2 * n * C * size
    grid, term = Grid(width, size), Term(data, data, delta)
    laplacian = Laplacian(edges + n * size, edges + (number + n) * size, coupling)
    ends = Ends(tl.load(goals + n), tl.load(until + n))
    steps = Steps(power, relaxations, omega, radius, begin_sweeps)
    turn = begin(term, laplacian, grid, beta, z, steps, C, TERM, BLOCK)
    moment, ended = march(term, laplacian, grid, beta, z, turn, ends, steps, C, TERM, BLOCK)
    tl.store(time + n, tl.where(ended, INFINITY, moment))


@triton.jit
def begin(
    term, laplacian, grid, beta, z, steps, C: tl.constexpr, TERM: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Bring an image to its first equilibrium, with all edges open; return which beta holds it."""
    prepare(term, laplacian, grid, beta, z, 0, grid.size, C, BLOCK)
    tl.debug_barrier()
    turn, weight = 0, 2.0
    for _sweep in range(steps.begin):
        omega, weight = chebyshev(weight, steps.radius)
        relax(term, laplacian, grid, beta, turn, omega, 0, grid.size, C, TERM, BLOCK)
        tl.debug_barrier()
        turn = 1 - turn
    return turn


@triton.jit
def prepare(
    term, laplacian, grid, beta, z, start, stop, C: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Start some pixels of a path: beta is the data, z is 0 and all edges are open."""
    for first in range(start, stop, BLOCK):
        k = first + tl.arange(0, BLOCK)
        inside = k < stop
        tl.store(laplacian.horizontal + k, exists(k, grid, 0).to(tl.uint8), mask=inside)
        tl.store(laplacian.vertical + k, exists(k, grid, 1).to(tl.uint8), mask=inside)
        for c in tl.static_range(C):
            p = k + c * grid.size
            data = tl.load(term.data + p, mask=inside, other=0.0)
            for row in tl.static_range(2):
                tl.store(beta + p + row * C * grid.size, data, mask=inside)
                tl.store(z + p + row * C * grid.size, data * 0.0, mask=inside)


@triton.jit
def march(
    term, laplacian, grid, beta, z, turn, ends, steps,
    C: tl.constexpr, TERM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Advance an image to its end; return the time / nu of it, and whether the path has ended."""
    widest = measure_variation(beta + turn * C * grid.size, grid, C, BLOCK)[0]
    varying = measure_variation(term.data, grid, C, BLOCK)[1]
    running, first = plan_path(ends, widest, varying, steps.power)
    inside, clock, rate, late = varying * 0, 0.0, 0.0, 0.0
    while running:
        clock = late
        rate = next_step(clock, first, steps.power)
        late = clock + rate
        present = beta + turn * C * grid.size
        inside += step(z, laplacian, grid, present, rate, 0, grid.size, C, BLOCK)
        tl.debug_barrier()
        running = goes_on(ends, inside, varying, late, first)
        # beta stays as it was in the last step
        for _sweep in range(tl.where(running, steps.relaxations, 0)):
            relax(term, laplacian, grid, beta, turn, steps.omega, 0, grid.size, C, TERM, BLOCK)
            tl.debug_barrier()
            turn = 1 - turn
    present = beta + turn * C * grid.size
    return finish(
        term.data, laplacian, grid, present, z, ends, inside, varying, clock, rate, late, C, BLOCK
    )  # fmt: skip


@triton.jit
def plan_path(ends, widest, varying, power):
    """Return whether a path begins, and the length of its first step."""
    goal = goal_of(ends, varying)
    running = (goal > 0) & ((ends.until < INFINITY) | (goal < varying)) & (widest > 0.0)
    return running, first_step(tl.where(running, widest, 1.0), power)


@triton.jit
def goal_of(ends, varying):
    """Return the edges in the support at which a path stops in any case."""
    return tl.where(ends.until < INFINITY, varying, ends.goal)


@triton.jit
def goes_on(ends, inside, varying, late, first):
    """Return whether a path goes on after a step that ended at `late`."""
    reached = (inside >= goal_of(ends, varying)) | (late >= ends.until)
    return (reached == 0) & (late * SMALLEST < first)


@triton.jit
def finish(
    data, laplacian, grid, beta, z, ends, inside, varying, clock, rate, late,
    C: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Cut the last step of a path, from `clock` to `late`, at its end; return as `march` does.

    beta: the one that was present in the step. z becomes the times of the step, see `record`.
    """
    width, vertical_z = grid.width, z + C * grid.size
    record(z, laplacian.horizontal, beta, 1, clock, rate, late, grid, 0, C, BLOCK)
    record(vertical_z, laplacian.vertical, beta, width, clock, rate, late, grid, 1, C, BLOCK)
    tl.debug_barrier()
    moment, ended = find_moment(z, ends, inside, varying, clock, late, grid, C, BLOCK)
    replay(data, laplacian.horizontal, z, 1, moment, ended, grid, 0, C, BLOCK)
    replay(data, laplacian.vertical, vertical_z, width, moment, ended, grid, 1, C, BLOCK)
    return moment, ended


@triton.jit
def find_moment(
    times, ends, inside, varying, clock, late, grid, C: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Return time / nu of the end of a path, and whether the path had ended before it."""
    timed, goal = ends.until < INFINITY, ends.goal
    early = (inside >= varying) & (ends.until >= late)
    ended = tl.where(timed, early, (goal > 0) & ((goal >= varying) | (inside < goal)))
    moment = tl.where(timed, ends.until, 0.0)
    if (goal > 0) & ((ended | timed) == 0):
        moment = moment_of(times, inside, goal, clock, late, grid, C, BLOCK)
    return moment, ended


@triton.jit
def replay(
    data, edges, times, ahead, moment, ended, grid, AXIS: tl.constexpr, C: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Open the edges of one direction that entered after a moment, and forget what was before.

    Where the path has ended, the open edges are those without any variation.
    """
    for first in range(0, grid.size, BLOCK):
        k = first + tl.arange(0, BLOCK)
        state = tl.load(edges + k, mask=k < grid.size, other=0)
        late = (state == ENTERED) & (tl.load(times + k, mask=k < grid.size, other=0.0) > moment)
        square = squared_variation(data, k, ahead, grid, AXIS, C)
        constant = exists(k, grid, AXIS) & (square <= ROUNDING)
        now = (ended & constant) | ((ended == 0) & (late | ((state & 1) != 0)))
        tl.store(edges + k, now.to(tl.uint8), mask=k < grid.size)


@triton.jit
def measure_variation(planes, grid, C: tl.constexpr, BLOCK: tl.constexpr):
    """Return the largest |D u|, a norm over channels, and the number of edges that vary.

    An edge varies where |D u| is more than a rounding error.
    """
    widest, varying = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.int32)
    for first in range(0, grid.size, BLOCK):
        k = first + tl.arange(0, BLOCK)
        across = squared_variation(planes, k, 1, grid, 0, C)
        down = squared_variation(planes, k, grid.width, grid, 1, C)
        widest = tl.maximum(widest, tl.maximum(across, down))
        varying += (across > ROUNDING).to(tl.int32) + (down > ROUNDING).to(tl.int32)
    return tl.sqrt(tl.max(widest, axis=0)), tl.sum(varying, axis=0)


@triton.jit
def squared_variation(planes, k, ahead, grid, AXIS: tl.constexpr, C: tl.constexpr):
    """Return |D u|^2 across edges, 0 where there is none."""
    square = k * 0.0
    for c in tl.static_range(C):
        across = variation(planes, k + c * grid.size, ahead, exists(k, grid, AXIS))
        square += across * across
    return square


@triton.jit(do_not_specialize=["number", "rounds_number"])
def settle_kernel(
    data, weight, edges, beta, solution, rounds, rounds_number, number, width, size, coupling,
    delta, C: tl.constexpr, TERM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write beta of one image at equilibrium for its open edges.

    data, solution: (N, C, size). weight: that of the data term, or any pointer without one. edges:
    (2, N, size), bytes. beta: scratch memory, (N, 2, C, size). rounds: (rounds_number, 3).
    """
    n = tl.program_id(0).to(tl.int64)
    offset = n * C * size
    beta, data, solution = beta + 2 * offset, data + offset, solution + offset
    grid, term = Grid(width, size), Term(data, weight + offset, delta)
    laplacian = Laplacian(edges + n * size, edges + (number + n) * size, coupling)
    copy(beta, data, C * size, BLOCK)
    copy(beta + C * size, data, C * size, BLOCK)
    tl.debug_barrier()
    turn = solve(term, laplacian, grid, beta, rounds, rounds_number, C, TERM, BLOCK)
    copy(solution, beta + turn * C * size, C * size, BLOCK)


@triton.jit
def copy(target, source, length, BLOCK: tl.constexpr):
    """Copy the numbers of one array to another."""
    for first in range(0, length, BLOCK):
        k = first + tl.arange(0, BLOCK)
        tl.store(target + k, tl.load(source + k, mask=k < length, other=0.0), mask=k < length)
