"""The limit path on a block of images: compiled loops on arrays given to them.

A block holds L images side by side, lane l of pixel j at column j L + l, so that one loop over a row of R = W L numbers
serves all of them and the right neighbour of column k is column k + L. Arithmetic never mixes lanes: an image's result does
not depend on its company. Shapes, with edge arrays as pairs (horizontal, vertical):

    data, beta, previous    (C, H, R)     pixels; the C channels share one support
    z                       (C, H, R - L), (C, H - 1, R)    dual variables; outside the unit ball right after a step
    bound, final            (H, R - L), (H - 1, R)    1 where an edge is outside the support, 0 inside
"""

import numpy as np
from numba import njit

FULL = 1 - 4e-6  # in the support: |z|^2 >= FULL, for projection onto the unit ball leaves it a few roundings below 1
SMALLEST = 1e-6  # variations up to this, in units of intensity, are rounding: they never enter
SWEEPS = 5000  # after which an equilibrium has to do

compiled = njit(cache=True, nogil=True, fastmath=True)


@compiled
def follow(data, goal, coupling, delta, growth, relaxations, radius, begin, end):
    """Follow each lane's path until its support holds `goal[lane]` edges.

    Time steps multiply the time by 1 + growth, each with some relaxations; `begin` and `end` are the tolerances of the first
    and the last equilibrium. Returns beta, the complement of the support, and time / nu for each lane.
    """
    channels, height, width = data.shape
    lanes, number = goal.size, data.dtype.type
    z = (np.zeros((channels, height, width - lanes), data.dtype), np.zeros((channels, height - 1, width), data.dtype))
    bound = (np.ones(z[0].shape[1:], data.dtype), np.ones(z[1].shape[1:], data.dtype))
    final = (bound[0].copy(), bound[1].copy())
    beta = settle(data, data.copy(), data.copy(), bound, coupling, delta, None, radius, begin, lanes)
    previous = beta.copy()
    omega = number(2 / (1 + np.sqrt(1 - radius**2)))  # stationary limit of the Chebyshev weights
    edges = (bound[0].size + bound[1].size) // lanes
    clock, rate = np.zeros(lanes, data.dtype), np.zeros(width, data.dtype)  # time / nu; its step, repeated for every pixel
    outside = np.empty(width, data.dtype)  # edges outside the support, counted per column
    widest = _widest_variation(beta, lanes)
    stopped = beta.copy()  # each lane as it was when it stopped, whatever its neighbours still need
    running = (goal > 0) & (widest > SMALLEST)
    for lane in np.flatnonzero(running):
        rate[lane::lanes] = number(1) / widest[lane]  # the first edge enters at t0 = nu / max |D beta|
    while running.any():
        _step(z, beta, rate, bound, outside)
        for lane in np.flatnonzero(running):
            step, finished = rate[lane], clock[lane] * SMALLEST > 1
            if edges - outside[lane::lanes].sum() >= goal[lane]:
                step *= _cut(z, beta, step, bound, final, goal[lane], lane)
                finished = True
            elif finished:
                final[0][:, lane::lanes] = bound[0][:, lane::lanes]
                final[1][:, lane::lanes] = bound[1][:, lane::lanes]
            clock[lane] += step
            rate[lane::lanes] = growth * clock[lane]
            if finished:
                running[lane] = False
                rate[lane::lanes] = number(0)
                stopped[:, :, lane::lanes] = beta[:, :, lane::lanes]
        for _ in range(relaxations):
            relax(data, beta, previous, bound, coupling, delta, None, omega)
            beta, previous = previous, beta
    return settle(data, stopped, previous, final, coupling, delta, None, radius, end, lanes), final, clock


@compiled
def settle(data, beta, previous, bound, coupling, delta, weight, radius, tolerance, lanes):
    """Solve (w + coupling L_S) beta = w data by Chebyshev-accelerated Jacobi sweeps, from `beta`, which is overwritten.

    A lane is done when a sweep changes none of its pixels by more than `tolerance`, or after SWEEPS of them. radius: spectral
    radius of the Jacobi iteration with w = 1, below 1; smaller weights, as of outliers, only converge more slowly.
    Source: Golub and Varga (1961), Chebyshev semi-iterative methods.
    """
    number = data.dtype.type
    omega = number(1)
    settled = np.empty_like(beta)
    moving = np.ones(lanes, np.bool_)
    for sweep in range(SWEEPS):
        relax(data, beta, previous, bound, coupling, delta, weight, omega)
        beta, previous = previous, beta
        omega = number(1 / (1 - radius**2 * (0.5 if sweep == 0 else omega / 4)))
        last = sweep == SWEEPS - 1
        if last or sweep % 4 == 3:
            change = _largest_change(beta, previous, lanes)
            for lane in np.flatnonzero(moving):
                if last or change[lane] <= tolerance:
                    settled[:, :, lane::lanes] = beta[:, :, lane::lanes]
                    moving[lane] = False
            if not moving.any():
                break
    return settled


@compiled
def _largest_change(beta, previous, lanes):
    largest = np.zeros(beta.shape[2], beta.dtype)
    for c in range(beta.shape[0]):
        for i in range(beta.shape[1]):
            _raise_to_change(largest, beta[c, i], previous[c, i])
    return np.array([largest[lane::lanes].max() for lane in range(lanes)])


@compiled
def _raise_to_change(largest, row, other):
    for k in range(row.size):
        change = abs(row[k] - other[k])
        largest[k] = change if change > largest[k] else largest[k]


@compiled
def relax(data, beta, previous, bound, coupling, delta, weight, omega):
    """One Jacobi sweep of (w + coupling L_S) beta = w data, over-relaxed: previous += omega (jacobi(beta) - previous).

    w is `weight` where that is given, and `data` then the whole right-hand side; else 1, or, for a `delta`, the Huber weight
    min(1, delta / |beta - data|). The caller swaps the two buffers.
    """
    channels, height, width = beta.shape
    horizontal, vertical = bound
    lanes = width - horizontal.shape[1]
    degree, total = np.empty(width, beta.dtype), np.empty(width, beta.dtype)
    for i in range(height):
        degree[:] = 0
        _add(degree[lanes:], horizontal[i])
        _add(degree[: width - lanes], horizontal[i])
        if i > 0:
            _add(degree, vertical[i - 1])
        if i < height - 1:
            _add(degree, vertical[i])
        for c in range(channels):
            total[:] = 0
            _add_product(total[lanes:], horizontal[i], beta[c, i, : width - lanes])
            _add_product(total[: width - lanes], horizontal[i], beta[c, i, lanes:])
            if i > 0:
                _add_product(total, vertical[i - 1], beta[c, i - 1])
            if i < height - 1:
                _add_product(total, vertical[i], beta[c, i + 1])
            if weight is None:
                _relax_row(data[c, i], beta[c, i], previous[c, i], total, degree, coupling, delta, None, omega)
            else:
                _relax_row(data[c, i], beta[c, i], previous[c, i], total, degree, coupling, None, weight[c, i], omega)


@compiled
def _add(total, row):
    for k in range(row.size):
        total[k] += row[k]


@compiled
def _add_product(total, row, other):
    for k in range(row.size):
        total[k] += row[k] * other[k]


@compiled
def _relax_row(data, beta, previous, total, degree, coupling, delta, weight, omega):
    if weight is not None:
        for k in range(data.size):
            jacobi = (data[k] + coupling * total[k]) / (weight[k] + coupling * degree[k])
            previous[k] += omega * (jacobi - previous[k])
    elif delta is None:
        one = data.dtype.type(1)
        for k in range(data.size):
            jacobi = (data[k] + coupling * total[k]) / (one + coupling * degree[k])
            previous[k] += omega * (jacobi - previous[k])
    else:
        for k in range(data.size):  # both sides times max(gap, delta), to divide once
            gap = abs(beta[k] - data[k])
            scaled = coupling * (gap if gap > delta else delta)
            jacobi = (delta * data[k] + scaled * total[k]) / (delta + scaled * degree[k])
            previous[k] += omega * (jacobi - previous[k])


@compiled
def _step(z, beta, rate, bound, outside):
    """Move the dual variables, z <- project(z) + rate D beta; refresh `bound` and count it per column in `outside`."""
    channels, height, width = beta.shape
    lanes = width - bound[0].shape[1]
    scale = np.empty(width, beta.dtype)
    outside[:] = 0
    for axis in range(2):
        right, down = (lanes, 0) if axis == 0 else (0, 1)
        for i in range(height - down):
            row = bound[axis][i]
            scale[:] = 0
            for c in range(channels):
                _add_square(scale[: width - right], z[axis][c, i])
            _invert_norm(scale)
            row[:] = 0
            for c in range(channels):
                dual = z[axis][c, i]
                _move(dual, scale, rate, beta[c, i], beta[c, i + down, right:])
                _add_square(row, dual)
            _mark_outside(row)
            _add(outside, row)


@compiled
def _add_square(total, row):
    for k in range(row.size):
        total[k] += row[k] * row[k]


@compiled
def _invert_norm(square):
    one = square.dtype.type(1)
    for k in range(square.size):
        square[k] = one / np.sqrt(square[k] if square[k] > one else one)


@compiled
def _move(dual, scale, rate, low, high):
    for k in range(dual.size):
        dual[k] = dual[k] * scale[k] + rate[k] * (high[k] - low[k])


@compiled
def _mark_outside(square):
    one, zero, full = square.dtype.type(1), square.dtype.type(0), square.dtype.type(FULL)
    for k in range(square.size):
        square[k] = zero if square[k] >= full else one


@compiled
def _cut(z, beta, rate, bound, final, goal, lane):
    """Cut one lane's last step at the moment its support holds `goal` edges; returns the fraction of the step taken.

    Within a step beta stands still, so an edge is in the support from the moment |z + theta rate D beta| reaches 1.
    """
    channels, height, width = beta.shape
    lanes = width - bound[0].shape[1]
    columns = width // lanes
    entry = np.empty((bound[0].size + bound[1].size) // lanes, beta.dtype)
    e = 0
    for axis in range(2):
        right, down = (1, 0) if axis == 0 else (0, 1)
        for i in range(height - down):
            for j in range(columns - right):
                k = j * lanes + lane
                before, along, ahead = 0.0, 0.0, 0.0
                for c in range(channels):
                    move = rate * (beta[c, i + down, k + right * lanes] - beta[c, i, k])
                    start = z[axis][c, i, k] - move
                    before += start * start
                    along += start * move
                    ahead += move * move
                entry[e] = _entry(before, along, ahead)
                if bound[axis][i, k] == 0:
                    entry[e] = min(entry[e], 1)
                e += 1
    theta = np.partition(entry, goal - 1)[goal - 1]
    e = 0
    for axis in range(2):
        right, down = (1, 0) if axis == 0 else (0, 1)
        for i in range(height - down):
            for j in range(columns - right):
                final[axis][i, j * lanes + lane] = 0 if entry[e] <= theta else 1
                e += 1
    return theta


@compiled
def _entry(before, along, ahead):
    """The smallest theta >= 0 with |z + theta m| >= 1, from |z|^2, <z, m> and |m|^2; large where there is none."""
    never = 1e30
    if before >= FULL:
        if along >= 0:
            return 0.0
        return -2 * along / ahead
    if ahead == 0:
        return never
    root = np.sqrt(along * along + ahead * (1 - before))
    return (1 - before) / (along + root) if along > 0 else (root - along) / ahead


@compiled
def _widest_variation(beta, lanes):
    """The largest |D beta| of each lane, a norm over channels."""
    channels, height, width = beta.shape
    widest = np.zeros(lanes, beta.dtype)
    for i in range(height):
        for k in range(width):
            right, down = beta.dtype.type(0), beta.dtype.type(0)
            for c in range(channels):
                if k + lanes < width:
                    right += (beta[c, i, k + lanes] - beta[c, i, k]) ** 2
                if i + 1 < height:
                    down += (beta[c, i + 1, k] - beta[c, i, k]) ** 2
            widest[k % lanes] = max(widest[k % lanes], right, down)
    return np.sqrt(widest)
