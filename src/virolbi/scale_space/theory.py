"""Bounds that are proved for the path: when noise can enter, and how much of it remains.

The proofs are in docs/proofs.md. G = (I + L/nu)^-1 maps the data to the equilibrium, where L is the
graph Laplacian of the edges outside the support. Before anything has entered, these are all edges
of the grid, and the discrete cosine transform (DCT-II) diagonalises G.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from virolbi._checks import check_count, check_number
from virolbi._engine import edge_count
from virolbi.scale_space.form import Form, check_nu
from virolbi.scale_space.input_checks import as_images
from virolbi.scale_space.path import ScaleSpace
from virolbi.scale_space.scale import Scale


def entry_time(
    noise: float,
    shape: tuple[int, int],
    *,
    nu: float = Form.nu,
    channels: int = 1,
    confidence: float = 0.95,
) -> float:
    """Return a time before which noise on a flat image enters nowhere, with a stated probability.

    The proven counterpart of `stopping_time`, which is fitted to photographs and later: there, a
    few false edges cost less than the structure that is still missing.

    Parameters
    ----------
    noise : float
        Standard deviation of independent Gaussian noise, in intensity, > 0.
    shape : tuple of int
        Height and width of the image in pixels. A larger image has more chances of a false edge.
    nu : float, optional
        Coupling, see `Form`. `delta` has no part in it, as long as no pixel is an outlier.
    channels : int, optional
        Number of channels that share a support, >= 1.
    confidence : float, optional
        Probability, in (0, 1). More confidence means an earlier time.

    Returns
    -------
    float
        Time as in `ScaleSpace.at`, in 1 / intensity; infinite for an image of one pixel.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    ``time = nu / (noise * s * q)``, where s is the largest norm of G d over the differences d
    across an edge, and q bounds the largest of m standard normal vectors: q^2 = 2 log(2 m / a) for
    one channel and C + 2 sqrt(C x) + 2 x with x = log(m / a) for C of them [1]_, for m edges and
    a = 1 - confidence. The bound on the union is not tight: the noise enters later than this in
    more than the stated share of images.

    References
    ----------
    .. [1] B. Laurent and P. Massart, "Adaptive estimation of a quadratic functional by model
       selection", Annals of Statistics 28, 2000, lemma 1.

    Examples
    --------
    >>> round(entry_time(0.1, (32, 32)), 2)
    5.74
    """
    check_number("noise", noise)
    check_number("confidence", confidence)
    check_count("channels", channels)
    check_nu(nu)
    if not 0 < noise < math.inf:
        raise ValueError(f"noise must be > 0 and finite, got {noise}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    height, width = (check_count("shape", side) for side in shape)
    edges = edge_count(height, width)
    if edges == 0:
        return math.inf
    risk = 1 - confidence
    if channels == 1:
        bound = math.sqrt(2 * math.log(2 * edges / risk))
    else:
        x = math.log(edges / risk)
        bound = math.sqrt(channels + 2 * math.sqrt(channels * x) + 2 * x)
    spread = max(float(part.max()) for part in _edge_spread((height, width), nu) if part.size)
    return nu / (noise * spread * bound)


def blank_radius(images: ArrayLike, time: float, *, nu: float = Form.nu) -> np.ndarray:
    """Return by how much planes may change before anything enters the path by a given time.

    Parameters
    ----------
    images : array_like of float, shape (..., H, W)
        Intensities; every plane is an image of its own, in the published form (no outliers).
    time : float
        Time on the path, in 1 / intensity, > 0.
    nu : float, optional
        Coupling, see `Form`.

    Returns
    -------
    ndarray of float64, shape (...)
        Radius in the 2-norm of a plane, in intensity. Whatever is added to the plane within it, the
        support is empty until `time`. It is 0 where something has entered already.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    The least of (nu / time - abs(d' G y)) / norm(G d) over the differences d across an edge.

    Examples
    --------
    >>> float(blank_radius(np.full((8, 8), 0.5), 20)) > 0
    True
    """
    check_number("time", time)
    if not 0 < time < math.inf:
        raise ValueError(f"time must be > 0 and finite, got {time}")
    planes = as_images(images).astype(np.float64)
    beta = ScaleSpace(planes, nu=nu, delta=math.inf).finish(time=0).beta
    radius = np.full(planes.shape[:-2], np.inf)
    for axis, spread in zip((-2, -1), _edge_spread(planes.shape[-2:], nu), strict=True):
        margin = (nu / time - np.abs(np.diff(beta, axis=axis))) / spread
        radius = np.minimum(radius, margin.min(axis=(-2, -1), initial=np.inf))
    return np.asarray(np.maximum(radius, 0))


def noise_gain(scale: Scale, *, probes: int = 16, seed: int = 0) -> np.ndarray:
    """Return how much of independent noise remains in `beta` at a moment on the path.

    Parameters
    ----------
    scale : Scale
        Moment of the path; its support is held fixed. Outliers of a finite `delta` pass no noise.
    probes : int, optional
        Number of random images, >= 1. The relative error falls with its square root.
    seed : int, optional
        Seed of these images, >= 0.

    Returns
    -------
    ndarray of float64
        For each support, in (0, 1]: the root mean square of what white noise of unit strength
        becomes, sqrt(trace(G' G) / n).

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    References
    ----------
    .. [1] M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for
       Laplacian smoothing splines", Communications in Statistics 18, 1989.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0.5, 0.1, (32, 32))
    >>> blank = ScaleSpace(noise, delta=np.inf).at(time=0)
    >>> abs(float(noise_gain(blank)) - 0.313) < 0.01
    True
    """
    check_count("probes", probes)
    rng = np.random.default_rng(check_count("seed", seed, least=0))
    layout = scale._layout

    def powers(images: np.ndarray) -> np.ndarray:
        squares: np.ndarray = layout.planes(images) ** 2
        return np.asarray(squares.mean(axis=(1, 2, 3)).reshape(layout.groups))

    remaining = np.zeros(layout.groups)
    for _ in range(probes):
        signs = rng.choice([-1.0, 1.0], layout.shape)
        remaining += powers(scale.pullback(signs)) / powers(signs)  # in units of data_range
    return np.asarray(np.sqrt(remaining / probes))


def _edge_spread(shape: tuple[int, ...], nu: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the norms of G d for vertical (H - 1, W) and horizontal (H, W - 1) neighbours.

    With the cosine basis a of the columns and b of the rows, G has the eigenvalues g, and so
    norm(G d)^2 = sum over p, q of g[p, q]^2 a[p, y]^2 (b[q, x + 1] - b[q, x])^2.
    """
    (tall, high), (wide, low) = (_cosines(side) for side in shape)
    squares = (1 + (high[:, None] + low) / nu) ** -2
    vertical = (np.diff(tall, axis=1) ** 2).T @ squares @ wide**2
    horizontal = (tall**2).T @ squares @ np.diff(wide, axis=1) ** 2
    return np.sqrt(vertical), np.sqrt(horizontal)


def _cosines(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the orthonormal DCT-II basis, (frequency, place), and the eigenvalues of L for it."""
    frequency = np.arange(size)
    basis = np.cos(np.pi * frequency[:, None] * (np.arange(size) + 0.5) / size)
    basis *= math.sqrt(2 / size)
    basis[0] = math.sqrt(1 / size)
    return basis, 4 * np.sin(np.pi * frequency / (2 * size)) ** 2
