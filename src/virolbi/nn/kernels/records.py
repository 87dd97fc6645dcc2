"""Records that the kernels share, as in `virolbi._engine.records`.

A plane is a line: pixel (i, j) of a plane of width W has the number k = i W + j. Kernels visit
BLOCK pixels at a time, and every thread of a program takes some of them. Each direction of edges
has a byte for the left or upper pixel of an edge: bit 0 is 1 while the edge is open, bit 1 tells
whether it was open before the last time step. Both are 0 where there is no edge.
"""

from typing import Any, NamedTuple


class Grid(NamedTuple):
    """Shape of a plane."""

    width: Any
    size: Any  # number of pixels, and of numbers from one channel to the next


class Term(NamedTuple):
    """Data term of an equilibrium; its kind is a constant of the kernel."""

    data: Any  # pointer: the image, or, with a weight, the whole right-hand side w y
    weight: Any  # pointer, for a WEIGHTED term only
    delta: Any  # for a HUBER term only


class Laplacian(NamedTuple):
    """The operator L_S / nu of one image: open edges and the coupling across them."""

    horizontal: Any  # pointer to bytes
    vertical: Any  # pointer to bytes
    coupling: Any  # 1 / nu


class Ends(NamedTuple):
    """End to which the path of an image is followed."""

    goal: Any  # edges in the support
    until: Any  # time / nu that counts instead of the goal where it is finite


class Steps(NamedTuple):
    """Settings of the time steps."""

    power: Any  # a step multiplies the time by exp(power)
    relaxations: Any  # sweeps of beta for each step
    omega: Any  # over-relaxation of these sweeps
    radius: Any  # spectral radius of the Jacobi iteration, for the first equilibrium
    begin: Any  # sweeps towards the first equilibrium
