"""Jacobi steps of the data terms against the scalar equation of each pixel."""

import numpy as np
import pytest
from numba import njit

from virolbi._engine.data_terms import Huber, Quadratic, Weighted, data_term, jacobi
from virolbi._engine.simd import LANES, load, pointer, splat, store

DELTA, COUPLING = 0.1, 0.7  # COUPLING is 1 / nu
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def step_quadratic(data, beta, flux, degree, coupling, result):
    _step(Quadratic(pointer(data)), beta, flux, degree, coupling, result)


@njit
def step_huber(data, delta, beta, flux, degree, coupling, result):
    _step(Huber(pointer(data), delta), beta, flux, degree, coupling, result)


@njit
def step_weighted(data, weight, beta, flux, degree, coupling, result):
    _step(Weighted(pointer(data), pointer(weight)), beta, flux, degree, coupling, result)


@njit
def step_of_path(data, delta, beta, flux, degree, coupling, result):
    _step(data_term(pointer(data), delta), beta, flux, degree, coupling, result)


@njit
def _step(term, beta, flux, degree, coupling, result):
    for p in range(0, len(beta), LANES):
        here = load(pointer(beta), p)
        after = jacobi(
            term,
            p,
            here,
            load(pointer(flux), p),
            load(pointer(degree), p),
            splat(pointer(beta), coupling),
        )
        store(pointer(result), p, after)


class Pixels:
    """Random pixels with 0 to 4 neighbours across open edges."""

    def __init__(self, dtype):
        rng = np.random.default_rng(0)
        self.data, self.beta = rng.random((2, 64)).astype(dtype)
        self.data[::8] = self.beta[::8]  # at rest in the data term
        self.neighbours = rng.random((64, 4)).astype(dtype)
        self.open = np.arange(4) < (np.arange(64) % 5)[:, None]

    def step(self, kernel, *term):
        """Return the pixels after a Jacobi step of a kernel."""
        flux = (self.open * (self.neighbours - self.beta[:, None])).sum(axis=1)
        coupling = self.beta.dtype.type(COUPLING)
        degree = self.open.sum(axis=1).astype(self.beta.dtype) * coupling
        result = np.empty_like(self.beta)
        kernel(*term, self.beta, flux, degree, coupling, result)
        return result

    def residual(self, pixels, data, weight):
        """Return w x - w y + sum(x - neighbours) / nu, for the right-hand side w y in `data`."""
        differences = self.open * (pixels[:, None] - self.neighbours.astype(float))
        return weight * pixels - data + COUPLING * differences.sum(axis=1)


def check(residual, dtype):
    np.testing.assert_allclose(residual, 0, atol=1e-6 if dtype == np.float32 else 1e-14)


@DTYPES
def test_a_quadratic_step_solves_the_equation_with_weight_1(dtype):
    pixels = Pixels(dtype)
    result = pixels.step(step_quadratic, pixels.data)
    check(pixels.residual(result, pixels.data, 1.0), dtype)


@pytest.mark.slow
@DTYPES
def test_a_huber_step_solves_the_equation_with_the_weight_of_each_pixel(dtype):
    """The weight is min(1, delta / |y - beta|), at the pixel before the step."""
    pixels = Pixels(dtype)
    gap = np.abs(pixels.data.astype(float) - pixels.beta)
    weight = DELTA / np.maximum(gap, DELTA)
    assert 0 < (weight == 1).mean() < 1
    result = pixels.step(step_huber, pixels.data, dtype(DELTA))
    check(pixels.residual(result, weight * pixels.data, weight), dtype)


@pytest.mark.slow
@DTYPES
def test_a_weighted_step_solves_the_equation_with_the_weights_it_is_given(dtype):
    """The data are the whole right-hand side, the products of weights and intensities."""
    pixels = Pixels(dtype)
    weight = np.random.default_rng(1).random(64).astype(dtype)
    weight[1::5] = 0  # pixels with one neighbour
    weight[::5] += 0.5  # pixels without neighbours
    result = pixels.step(step_weighted, pixels.data, weight)
    check(pixels.residual(result, pixels.data, weight), dtype)


@pytest.mark.slow
@DTYPES
def test_the_data_term_of_a_path_is_quadratic_without_a_delta_and_huber_with_one(dtype):
    pixels, delta = Pixels(dtype), dtype(DELTA)
    quadratic, huber = step_quadratic, step_huber
    for of_path, expected in (
        (pixels.step(step_of_path, pixels.data, None), pixels.step(quadratic, pixels.data)),
        (pixels.step(step_of_path, pixels.data, delta), pixels.step(huber, pixels.data, delta)),
    ):
        np.testing.assert_array_equal(of_path, expected)
