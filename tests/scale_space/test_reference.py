import numpy as np
import pytest

from virolbi._engine.graph import variation, variation_adjoint
from virolbi.scale_space import largest_stable_step, lbi, region_means


def test_the_iteration_agrees_with_the_published_equations_in_numpy(planes):
    y, kappa, nu, delta = planes[0].astype(float)[:12, :10], 5.0, 0.7, 0.2
    alpha = largest_stable_step(kappa=kappa, nu=nu) * 0.8
    beta, z, gamma = np.zeros_like(y), np.zeros(218), np.zeros(218)
    for _ in range(300):
        force = (variation(beta) - gamma) / nu
        beta = beta - kappa * alpha * (
            np.clip(beta - y, -delta, delta) + variation_adjoint(force, 12, 10)
        )
        z = z + alpha * force
        gamma = kappa * np.sign(z) * np.maximum(np.abs(z) - 1, 0)
    result = lbi(
        y, kappa=kappa, nu=nu, delta=delta, step_size=alpha, max_iterations=300, start="blank"
    )
    np.testing.assert_allclose(result.beta, beta, atol=1e-12)
    np.testing.assert_allclose(result.gamma[0], gamma, atol=1e-10)
    assert 0 < result.support.sum() < 218


def test_the_blank_start_biases_the_mean_by_the_derived_factor(planes):
    y, kappa, alpha, k = planes[1].astype(float), 10.0, 0.01, 37
    blank = lbi(y, kappa=kappa, step_size=alpha, max_iterations=k, start="blank").beta.mean()
    np.testing.assert_allclose(blank, y.mean() * (1 - (1 - kappa * alpha) ** k), rtol=1e-12)
    np.testing.assert_allclose(
        lbi(y, kappa=kappa, step_size=alpha, max_iterations=k).beta.mean(), y.mean(), rtol=1e-12
    )


def test_kappa_has_the_unit_of_intensity(planes):
    y, c = planes[2].astype(float), 0.5
    whole = lbi(y, kappa=10.0, step_size=0.01, max_iterations=500)
    half = lbi(c * y, kappa=10.0 * c, step_size=0.01 / c, max_iterations=500)
    np.testing.assert_allclose(half.beta, c * whole.beta, atol=1e-12)
    np.testing.assert_array_equal(half.support, whole.support)


def test_a_resumed_iteration_gives_the_same_result_as_an_uninterrupted_one(planes):
    whole = lbi(planes[:2], kappa=10.0, sparsity=0.7)
    parts = lbi(
        planes[:2], kappa=10.0, sparsity=0.7, resume=lbi(planes[:2], kappa=10.0, sparsity=0.9)
    )
    np.testing.assert_array_equal(parts.beta, whole.beta)
    np.testing.assert_array_equal(parts.iterations, whole.iterations)


def test_a_step_above_the_bound_is_refused_and_one_below_it_is_stable(planes):
    bound = largest_stable_step(kappa=10.0, nu=1.0)
    assert bound == pytest.approx(2 / (10 * 9.90), rel=1e-3)
    with pytest.raises(ValueError, match="^step_size must"):
        lbi(planes[0], kappa=10.0, step_size=1.1 * bound)
    beta = lbi(planes[0], kappa=10.0, step_size=0.99 * bound, max_iterations=2000).beta
    assert np.abs(beta).max() < 2


def test_a_constant_plane_is_returned_and_an_unreached_sparsity_is_an_error(planes):
    np.testing.assert_array_equal(lbi(np.full((4, 4), 0.3), kappa=10.0, sparsity=0.5).beta, 0.3)
    with pytest.raises(RuntimeError, match=r"^sparsity .* on 1 of 1 planes"):
        lbi(planes[0], kappa=10.0, sparsity=0.5, max_iterations=10)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("kappa", 0.0, ValueError),
        ("nu", -1.0, ValueError),
        ("delta", 0.0, ValueError),
        ("sparsity", 1.5, ValueError),
        ("start", "zero", ValueError),
        ("max_iterations", 0, ValueError),
        ("kappa", "10", TypeError),
        ("step_size", "small", TypeError),
        ("sparsity", "auto", TypeError),
        ("sparsity", [0.5, 0.6], TypeError),
        ("max_iterations", 2.5, TypeError),
        ("resume", "x", TypeError),
    ],
)
def test_a_bad_setting_is_an_error_that_names_it(planes, name, value, error):
    with pytest.raises(error, match=f"^{name} must"):
        lbi(planes[0], **({"kappa": 10.0} | {name: value}))


@pytest.mark.parametrize(
    ("name", "value"), [("kappa", 5.0), ("nu", 2.0), ("delta", 0.1), ("step_size", 0.001)]
)
def test_a_result_with_other_settings_cannot_be_resumed(planes, name, value):
    earlier = lbi(planes[0], kappa=10.0, max_iterations=5)
    with pytest.raises(ValueError, match=f"^resume must .*{name}={value}"):
        lbi(planes[0], resume=earlier, **({"kappa": 10.0} | {name: value}))


def test_a_result_for_other_images_cannot_be_resumed(planes):
    earlier = lbi(planes[:2], kappa=10.0, max_iterations=5)
    with pytest.raises(ValueError, match="^resume must .*shape"):
        lbi(planes[0], kappa=10.0, resume=earlier)
    with pytest.raises(ValueError, match="^resume must .*these images"):
        lbi(planes[1:3], kappa=10.0, resume=earlier)


def test_regions_of_an_iterate_are_means_of_its_own_beta(planes):
    iterate = lbi(planes[:2], kappa=10.0, sparsity=0.8)
    means = region_means(iterate.last[:, None], iterate.labels)[:, 0].astype(np.float32)
    np.testing.assert_array_equal(iterate.regions, means)
    np.testing.assert_array_equal(iterate.output("regions"), iterate.regions)
    assert not iterate.regions.flags.writeable
