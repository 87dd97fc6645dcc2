"""Data terms of an equilibrium, one class each; the class is known when a kernel compiles.

A data term gives the pixels their weights w in (w + L_S / nu) beta = w y. Kernels take it as one
argument and call `jacobi`, which compiles to the code of its class. A new term is a class, its
function in `_jacobi`, and its choice in `_data_term`; its twin is in `virolbi.nn.equilibrium`.
"""

from typing import Any, NamedTuple

from numba import types
from numba.extending import overload

from virolbi._engine.compile import OPTIONS
from virolbi._engine.simd import larger, load, magnitude, splat


class Quadratic(NamedTuple):
    """Half the squared distance to the data: w = 1."""

    data: Any  # pointer


class Huber(NamedTuple):
    """The Huber function of the distance to the data: w = min(1, delta / |y - beta|)."""

    data: Any  # pointer
    delta: Any


class Weighted(NamedTuple):
    """Half the weighted squared distance, for a right-hand side w y that is given as `data`."""

    data: Any  # pointer
    weight: Any  # pointer


def data_term(data, delta):
    """Return the data term of a path: Huber, or quadratic where `delta` is None for infinity.

    Parameters
    ----------
    data : pointer
        The image.
    delta : float or None
        Threshold of the Huber function.
    """
    raise NotImplementedError("data_term exists only in compiled code")


@overload(data_term, jit_options=OPTIONS)  # type: ignore[arg-type]
def _data_term(data, delta):
    if isinstance(delta, types.NoneType):
        return lambda data, delta: Quadratic(data)
    return lambda data, delta: Huber(data, delta)


def jacobi(term, p, here, flux, degree, coupling):
    """Return 16 pixels after a Jacobi step: each at rest while its neighbours stand still.

    Parameters
    ----------
    term : Quadratic, Huber or Weighted
        The data term.
    p : int
        Index of the first pixel.
    here : Vector
        The pixels now.
    flux : Vector
        Sum of the differences to their neighbours across open edges.
    degree : Vector
        Number of these edges, times the coupling.
    coupling : Vector
        1 / nu.
    """
    raise NotImplementedError("jacobi exists only in compiled code")


@overload(jacobi, jit_options=OPTIONS)  # type: ignore[arg-type]
def _jacobi(term, p, here, flux, degree, coupling):
    return {Quadratic: _quadratic, Huber: _huber, Weighted: _weighted}[term.instance_class]


def _quadratic(term, p, here, flux, degree, coupling):
    inverse = splat(term.data, 1) / (splat(term.data, 1) + degree)
    return here + (load(term.data, p) - here + coupling * flux) * inverse


def _huber(term, p, here, flux, degree, coupling):
    # numerator and denominator are multiplied by max(gap, delta), to divide once
    delta = splat(term.data, term.delta)
    gap = load(term.data, p) - here
    wide = larger(magnitude(gap), delta)
    return here + (delta * gap + wide * coupling * flux) / (delta + wide * degree)


def _weighted(term, p, here, flux, degree, coupling):
    weight = load(term.weight, p)
    return here + (load(term.data, p) - weight * here + coupling * flux) / (weight + degree)
