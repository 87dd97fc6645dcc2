"""Relaxation towards the equilibrium (w + L_S / nu) beta = w y of an image, by Jacobi sweeps.

The compiled twins are `virolbi._engine.relaxation` and `virolbi._engine.data_terms`.
"""

import triton
import triton.language as tl

# kinds of data terms: the weight w of a pixel is 1, or min(1, delta / |y - beta|), or given
QUADRATIC = tl.constexpr(0)
HUBER = tl.constexpr(1)
WEIGHTED = tl.constexpr(2)


@triton.jit
def jacobi(term, p, inside, here, flux, degree, coupling, TERM: tl.constexpr):
    """Return pixels after a Jacobi step: each at rest while its neighbours stand still."""
    data = tl.load(term.data + p, mask=inside, other=0.0)
    if TERM == QUADRATIC:
        numerator = data - here + coupling * flux
        denominator = 1.0 + degree
    elif TERM == HUBER:
        # numerator and denominator are multiplied by max(gap, delta), to divide once
        gap = data - here
        wide = tl.maximum(tl.abs(gap), term.delta)
        numerator = term.delta * gap + wide * coupling * flux
        denominator = term.delta + wide * degree
    else:
        weight = tl.load(term.weight + p, mask=inside, other=1.0)
        numerator = data - weight * here + coupling * flux
        denominator = weight + degree
    return here + numerator / denominator


@triton.jit
def relax(
    term, laplacian, grid, beta, turn, omega, start, stop,
    C: tl.constexpr, TERM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Do one over-relaxed Jacobi sweep over some pixels: previous += omega (jacobi - previous).

    Returns the largest change of a pixel.
    """
    width, size, coupling = grid.width, grid.size, laplacian.coupling
    present, previous = beta + turn * C * size, beta + (1 - turn) * C * size
    change = tl.zeros((BLOCK,), tl.float32)
    for first in range(start, stop, BLOCK):
        k = first + tl.arange(0, BLOCK)
        inside = k < stop
        has_left, has_above = inside & (k >= 1), inside & (k >= width)
        right = is_open(laplacian.horizontal, k, inside)
        left = is_open(laplacian.horizontal, k - 1, has_left)
        below = is_open(laplacian.vertical, k, inside)
        above = is_open(laplacian.vertical, k - width, has_above)
        degree = (tl.where(right, coupling, 0.0) + tl.where(left, coupling, 0.0)) + (
            tl.where(below, coupling, 0.0) + tl.where(above, coupling, 0.0)
        )
        for c in tl.static_range(C):
            p = k + c * size
            here = tl.load(present + p, mask=inside, other=0.0)
            # a neighbour across an edge that is not open does not matter: its load may be left out
            flux = (
                difference(present, p + 1, here, right, inside & (k < size - 1))
                + difference(present, p - 1, here, left, has_left)
            ) + (
                difference(present, p + width, here, below, inside & (k < size - width))
                + difference(present, p - width, here, above, has_above)
            )
            target = jacobi(term, p, inside, here, flux, degree, coupling, TERM)
            before = tl.load(previous + p, mask=inside, other=0.0)
            after = before + omega * (target - before)
            tl.store(previous + p, after, mask=inside)
            change = tl.maximum(change, tl.where(inside, tl.abs(after - here), 0.0))
    return tl.max(change, axis=0)


@triton.jit
def is_open(edges, k, inside):
    """Return whether edges are open."""
    return (tl.load(edges + k, mask=inside, other=0) & 1) != 0


@triton.jit
def difference(planes, p, here, opened, inside):
    """Return the difference to neighbours across open edges, 0 across others."""
    return tl.where(opened, tl.load(planes + p, mask=inside, other=0.0) - here, 0.0)


@triton.jit
def solve(
    term, laplacian, grid, beta, rounds, number,
    C: tl.constexpr, TERM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Bring beta to its equilibrium by accelerated sweeps; return which of its two rows holds it.

    beta: (2, C size), both rows at the first guess. rounds: (number, 3), see `Settings`. The
    solution is found when no pixel changes by more than a tolerance in a sweep.
    """
    turn, attempt, moving = 0, 0, True
    while moving & (attempt < number):
        radius = tl.load(rounds + 3 * attempt)
        tolerance = tl.load(rounds + 3 * attempt + 1)
        most = tl.load(rounds + 3 * attempt + 2).to(tl.int32)
        omega, sweep = 2.0, 0
        while moving & (sweep < most):
            weight, omega = chebyshev(omega, radius)
            change = relax(
                term, laplacian, grid, beta, turn, weight, 0, grid.size, C, TERM, BLOCK
            )  # fmt: skip
            tl.debug_barrier()  # other threads read what this one wrote
            turn, sweep, moving = 1 - turn, sweep + 1, change >= tolerance
        attempt += 1
    return turn


@triton.jit
def chebyshev(omega, radius):
    """Return the weight of the next sweep of the Chebyshev semi-iteration, and the one after it.

    `omega` is 2 at the start. Source: Golub and Varga (1961), for a spectral radius of the Jacobi
    iteration; a larger radius only converges more slowly.
    """
    return tl.where(omega < 2.0, omega, 1.0), 1.0 / (1.0 - radius * radius * omega / 4.0)
