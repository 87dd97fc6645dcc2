"""Records that the kernels share: where pixels lie, how finely a path is followed, and its state.

A plane is a line: pixel (i, j) of a plane of width W has the number k = i W + j, its right
neighbour is k + 1 and the one below is k + W, so one loop over k, sixteen pixels at a time, serves
every shape. No edge crosses the end of a row; this is stored in bits: `open` has one bit for each
edge, 1 while the edge is outside the support, 0 inside the support or where no edge exists. The C
channels of an image share these bits; each channel fills `stride` numbers of a flat array, with
zeros before its first pixel and behind its last one.
"""

from typing import Any, NamedTuple

WORD = 64  # bits in a word of edges


class Grid(NamedTuple):
    """Positions of the pixels of an image in flat arrays, and the order of visiting them."""

    width: int
    first: int  # index of pixel 0, a multiple of 16, more than a row
    size: int  # number of pixels, rounded up to a multiple of 16
    stride: int  # numbers in a channel
    segment: int  # pixels swept in one go, more than a row
    depth: int  # time steps in a group, or sweeps of an equilibrium: more than 1 in `bands`
    channels: Any  # C zeros: a tuple, whose length kernels know when they compile, or an array


class Settings(NamedTuple):
    """Form of the path and the accuracy of following it.

    Floating numbers have the type of the images.
    """

    coupling: Any  # 1 / nu
    delta: Any  # Huber threshold, or None for infinity
    growth: float  # of the time in one step
    relaxations: int  # sweeps of beta for each step
    omega: Any  # over-relaxation of these sweeps
    begin: int  # sweeps towards the first equilibrium
    rounds: Any  # (K, 3) for the last equilibrium: spectral radius, tolerance, most sweeps


class Paths(NamedTuple):
    """State of the paths of N images, with a log of all events so far.

    Times are divided by nu. Vertical edges come behind horizontal ones.
    """

    data: Any  # (N, C stride)
    beta: Any  # (N, 2, C stride): the present one and the one before, swapped by every sweep
    z: Any  # (N, 2, C stride): dual variables, outside the unit ball right after a step
    edges: Any  # (2, words) of 64 bits: 1 where there is an edge
    open: Any  # (N, 2, words) of 64 bits: 1 where an edge is outside the support
    clock: Any  # (N,), time / nu reached
    tick: Any  # (N,), int64: its tick, see `time_steps`; before the first step the one before
    first: Any  # (N,), when the first edge enters; infinite for an image without variation
    inside: Any  # (N,), int64: edges in the support
    varying: Any  # (N,), int64: edges with any variation
    logged: Any  # (N,), int64: edges in the support where the log begins
    turn: Any  # (N,), int64: 0 or 1, the beta that is present
    starts: Any  # (N + 1,), int64: where the events of each image begin
    times: Any  # (events,), time / nu of every event
    events: Any  # (events,), int32 codes, see `events.encode`
