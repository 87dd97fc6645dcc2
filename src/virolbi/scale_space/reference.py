"""The paper's iteration as published: the reference for the limit path, and slow."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from virolbi._checks import check_count, check_number
from virolbi._engine import edge_count, iterate, pack, parallel
from virolbi.scale_space.form import Form, check_delta, check_nu
from virolbi.scale_space.input_checks import check_intensities
from virolbi.scale_space.layout import Layout
from virolbi.scale_space.scale import Scale
from virolbi.scale_space.solver import Solver


def largest_stable_step(*, kappa: float, nu: float) -> float:
    """Return the bound on the step size alpha below which the iteration is stable.

    Parameters
    ----------
    kappa : float
        Damping in units of intensity, > 0.
    nu : float
        Coupling, see `Form`.

    Returns
    -------
    float
        ``2 / (kappa |Hess|)``, with the largest eigenvalue of the Hessian of the loss at the
        largest ``|D|^2 = 8`` of the grid.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> round(largest_stable_step(kappa=1.0, nu=1.0), 4)
    0.202
    """
    check_nu(nu)
    check_number("kappa", kappa)
    if not 0 < kappa < math.inf:
        raise ValueError(f"kappa must be positive and finite, got {kappa}")
    slope = 8 / nu
    a, b, c = 1 + slope, -math.sqrt(8) / nu, 1 / nu
    return 2 / (kappa * ((a + c) / 2 + math.hypot((a - c) / 2, b)))


@dataclass(frozen=True, eq=False, repr=False)
class Iterate(Scale):
    """A moment of the iteration, with the state from which it can be resumed.

    beta lags behind the equilibrium of its support, the more the smaller kappa is; `pullback` is
    that of the equilibrium.

    Attributes
    ----------
    last : ndarray of float64, shape (N, H, W)
        beta.
    z, gamma : ndarray of float64, shape (N, E)
        Dual variables and variations.
    iterations : ndarray of int64, shape (N,)
        Numbers of iterations so far.
    kappa, step_size : float
        Settings of the iteration.
    """

    last: np.ndarray
    z: np.ndarray
    gamma: np.ndarray
    iterations: np.ndarray
    kappa: float
    step_size: float

    @property
    def _beta(self) -> np.ndarray:
        return self.last[:, None]

    @property
    def _source(self) -> np.ndarray:
        return self._beta  # not at equilibrium with the input, so regions are means of beta


def lbi(
    image: np.ndarray,
    *,
    kappa: float,
    nu: float = Form.nu,
    delta: float = math.inf,
    step_size: float | None = None,
    sparsity: float | None = None,
    max_iterations: int = 1_000_000,
    start: Literal["mean", "blank"] = "mean",
    resume: Iterate | None = None,
) -> Iterate:
    """Run the linearised Bregman iteration on one grey plane or a stack of them.

    Parameters
    ----------
    image : ndarray, shape (..., H, W)
        Intensities: uint8, uint16, or floating in [0, 1]. Every plane runs until its own stop.
    kappa : float
        Damping in units of intensity, > 0. A larger `kappa` is closer to the limit path and takes
        more iterations.
    nu, delta : float, optional
        Coupling and threshold of the data term, see `Form`; the paper has infinite `delta`.
    step_size : float, optional
        Step size alpha, below `largest_stable_step`; half that bound for None.
    sparsity : float, optional
        Stop when at most this fraction of edges is outside the support; None runs all
        `max_iterations`.
    max_iterations : int, optional
        Most iterations, counted from where `resume` stands.
    start : {"mean", "blank"}, optional
        "mean" starts beta at the mean of the plane, "blank" at 0 as the paper does, which biases
        the mean early on.
    resume : Iterate, optional
        An earlier result for this image, kappa, nu, delta and step size, from which to continue.

    Returns
    -------
    Iterate
        The moment reached.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or `resume` does not belong to the other arguments.
    RuntimeError
        If `max_iterations` do not reach the sparsity.

    Notes
    -----
    The iteration descends ``1/2 |y - beta|^2 + 1/(2 nu) |D beta - gamma|^2`` [1]_; the clipped
    data term is an addition of this package::

        beta  <- beta - kappa alpha (clip(beta - y, -delta, delta) + D^T (D beta - gamma) / nu)
        z     <- z + alpha (D beta - gamma) / nu
        gamma <- kappa sign(z) max(|z| - 1, 0)

    References
    ----------
    .. [1] "Robust Network Learning via Inverse Scale Variational Sparsification",
       arXiv:2409.18419.
    """
    step_size = _check_step(step_size, kappa, nu)
    _check_settings(delta, max_iterations, start)
    layout = Layout.of(image, channel_axis=None, joint=True)
    data = layout.planes(image, np.float64)[:, 0]
    check_intensities(data)
    edges = edge_count(*data.shape[1:])
    goal = _goal(sparsity, edges)
    if resume is None:
        beta, z, gamma, iterations = _initial_state(data, edges, start)
    else:
        _check_resume(resume, data, kappa=kappa, nu=nu, delta=delta, step_size=step_size)
        state = (resume.last, resume.z, resume.gamma, resume.iterations)
        beta, z, gamma, iterations = (array.copy() for array in state)

    def work(n: int) -> None:
        if np.ptp(data[n]) == 0:
            beta[n] = data[n]  # a constant image has no path
        else:
            arrays = (data[n], beta[n], z[n], gamma[n])
            iterations[n] += iterate(*arrays, kappa, step_size, nu, delta, goal, max_iterations)

    parallel(work, range(len(data)), apart=True)
    support = gamma != 0
    missed = (support.sum(axis=1) < goal) & (np.ptp(data, axis=(1, 2)) > 0)
    if sparsity is not None and missed.any():
        raise RuntimeError(
            f"sparsity {sparsity} was not reached on {missed.sum()} of {len(data)} planes "
            f"in max_iterations={max_iterations}"
        )
    return Iterate(
        _layout=layout,
        _solver=Solver(nu, delta, Form.step),
        _min_area=1,
        _data=data[:, None],
        _opened=pack(~support, *data.shape[1:]),
        _time=step_size * iterations,
        last=beta,
        z=z,
        gamma=gamma,
        iterations=iterations,
        kappa=kappa,
        step_size=step_size,
    )


def _check_step(step_size: float | None, kappa: float, nu: float) -> float:
    """Return the step size, by default half of the largest stable one."""
    bound = largest_stable_step(kappa=kappa, nu=nu)
    if step_size is None:
        return bound / 2
    check_number("step_size", step_size)
    if not 0 < step_size < bound:
        raise ValueError(
            f"step_size must be in (0, {bound:.6g}) to be stable at kappa={kappa} and nu={nu}, "
            f"got {step_size}"
        )
    return step_size


def _check_settings(delta: float, max_iterations: int, start: str) -> None:
    """Check the settings of the iteration but those of its steps."""
    check_delta(delta)
    check_count("max_iterations", max_iterations)
    if start not in ("mean", "blank"):
        raise ValueError(f"start must be 'mean' or 'blank', got {start!r}")


def _goal(sparsity: float | None, edges: int) -> int:
    """Return the number of edges in the support at which to stop."""
    if sparsity is None:
        return edges + 1  # never reached
    check_number("sparsity", sparsity, 0, 1)
    return round((1 - sparsity) * edges)


def _initial_state(data: np.ndarray, edges: int, start: str) -> tuple[np.ndarray, ...]:
    """Return beta, z, gamma and the number of iterations at the start."""
    mean = data.mean(axis=(1, 2), keepdims=True) if start == "mean" else 0
    beta, planes = np.zeros_like(data) + mean, len(data)
    return (
        beta,
        np.zeros((planes, edges)),
        np.zeros((planes, edges)),
        np.zeros(planes, np.int64),
    )


def _check_resume(resume: object, data: np.ndarray, **settings: Any) -> None:
    """Check that a result was made from these images with these settings."""
    if not isinstance(resume, Iterate):
        raise TypeError(f"resume must be a result of lbi, got {resume!r}")
    before = {
        "kappa": resume.kappa,
        "nu": resume._solver.nu,
        "delta": resume._solver.delta,
        "step_size": resume.step_size,
    }
    for name, value in settings.items():
        if before[name] != value:
            raise ValueError(
                f"resume must be a result with {name}={value}, got one with {name}={before[name]}"
            )
    images = resume._data[:, 0]
    if images.shape != data.shape:
        raise ValueError(
            f"resume must be a result for images of shape {data.shape}, got one for {images.shape}"
        )
    if not np.array_equal(images, data):
        raise ValueError(
            "resume must be a result for these images, "
            f"got one that differs by up to {np.abs(images - data).max():g}"
        )
