"""The paper's iteration, as it is written: the reference for the limit path, and slow."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from virolbi._checks import check_count, check_number
from virolbi._engine import edge_count, iterate, pack, parallel
from virolbi.scale_space.form import Form, check_coupling, check_sparsity
from virolbi.scale_space.layout import Layout, check_intensities
from virolbi.scale_space.scale import Scale
from virolbi.scale_space.solver import Solver


def largest_stable_step(*, kappa: float, nu: float) -> float:
    """Bound on the step size alpha: kappa alpha < 2 / |Hess|, the Hessian of the loss at the grid's largest |D|^2 = 8.

    >>> round(largest_stable_step(kappa=1.0, nu=1.0), 4)
    0.202
    """
    check_coupling(nu, math.inf)
    check_number("kappa", kappa)
    if not 0 < kappa < math.inf:
        raise ValueError(f"kappa must be positive and finite, got {kappa}")
    slope = 8 / nu
    a, b, c = 1 + slope, -math.sqrt(8) / nu, 1 / nu
    return 2 / (kappa * ((a + c) / 2 + math.hypot((a - c) / 2, b)))


def lbi(
    image: Any,
    *,
    kappa: float,
    nu: float = Form.nu,
    delta: float = math.inf,
    step_size: float | None = None,
    sparsity: float | None = None,
    max_iterations: int = 1_000_000,
    start: str = "mean",
    resume: "Iterate | None" = None,
) -> "Iterate":
    """Linearised Bregman iteration of 1/2 |y - beta|^2 + 1/(2 nu) |D beta - gamma|^2, one grey plane or a stack of them.

        beta  <- beta - kappa alpha (clip(beta - y, -delta, delta) + D^T (D beta - gamma) / nu)
        z     <- z + alpha (D beta - gamma) / nu
        gamma <- kappa sign(z) max(|z| - 1, 0)

    image: uint8, uint16 or floating, shape (..., H, W); every plane runs until its own stop.
    kappa: damping, in units of intensity, > 0. A larger kappa is closer to the limit path and takes more iterations.
    nu, delta: as in `smooth`; the paper has delta = infinity.
    step_size: alpha, below `largest_stable_step`; half that bound when None.
    sparsity: stop when at most this fraction of edges is outside the support; None runs all `max_iterations`, which are counted
        from where `resume` stands.
    start: "mean" starts beta at the mean of the plane, "blank" at 0 as the paper does, which biases the mean early on.
    resume: an earlier result for this image, kappa, nu, delta and step size, to go on from.

    Raises TypeError or ValueError, naming the argument, its rule and the value, and RuntimeError if `max_iterations` do not
    reach the sparsity.
    Source: arXiv 2409.18419; the clipped data term is ours.
    """
    bound = largest_stable_step(kappa=kappa, nu=nu)
    step_size = bound / 2 if step_size is None else step_size
    check_coupling(nu, delta)
    check_number("step_size", step_size)
    check_count("max_iterations", max_iterations)
    if not 0 < step_size < bound:
        raise ValueError(
            f"step_size must be in (0, {bound:.6g}) to be stable at kappa={kappa} and nu={nu}, got {step_size}"
        )
    if start not in ("mean", "blank"):
        raise ValueError(f"start must be 'mean' or 'blank', got {start!r}")
    layout = Layout.of(image, channel_axis=None, joint=True)
    data = layout.planes(image, np.float64)[:, 0]
    check_intensities(data)
    planes, height, width = data.shape
    edges = edge_count(height, width)
    goal = edges + 1  # never reached
    if sparsity is not None:
        check_number("sparsity", sparsity)
        check_sparsity(np.array([sparsity]))
        goal = round((1 - sparsity) * edges)
    if resume is None:
        beta = np.zeros_like(data) + (
            data.mean(axis=(1, 2), keepdims=True) if start == "mean" else 0
        )
        z, gamma, iterations = (
            np.zeros((planes, edges)),
            np.zeros((planes, edges)),
            np.zeros(planes, np.int64),
        )
    else:
        _check_resume(resume, data, kappa=kappa, nu=nu, delta=delta, step_size=step_size)
        beta, z, gamma, iterations = (
            state.copy() for state in (resume.last, resume.z, resume.gamma, resume.iterations)
        )

    def work(n: int) -> None:
        if np.ptp(data[n]) == 0:
            beta[n] = data[n]  # a constant image has no path
        else:
            iterations[n] += iterate(
                data[n], beta[n], z[n], gamma[n], kappa, step_size, nu, delta, goal, max_iterations
            )

    parallel(work, range(planes), apart=True)
    support = gamma != 0
    late = (support.sum(axis=1) < goal) & (np.ptp(data, axis=(1, 2)) > 0)
    if sparsity is not None and late.any():
        raise RuntimeError(
            f"sparsity {sparsity} was not reached on {late.sum()} of {planes} planes in max_iterations={max_iterations}"
        )
    return Iterate(
        layout, Solver(nu, delta), 1, data[:, None], pack(~support, height, width), step_size * iterations,
        last=beta, z=z, gamma=gamma, iterations=iterations, kappa=kappa, step_size=step_size,
    )  # fmt: skip


def _check_resume(resume: object, data: np.ndarray, **settings: float) -> None:
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
            f"resume must be a result for these images, got one that differs by up to {np.abs(images - data).max():g}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Iterate(Scale):
    """A moment of the iteration, with the state it goes on from; arrays over planes, shape (N, E) and (N,).

    beta lags behind the equilibrium of its support the more the smaller kappa is; `pullback` is that of the equilibrium.
    """

    last: np.ndarray  # beta, (N, H, W)
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
        return (
            self._beta
        )  # of which `regions` are the means, for it is at no equilibrium with the input
