import numpy as np
import pytest
from virolbi._engine.graph import variation, variation_adjoint
from virolbi.scale_space import largest_stable_step, lbi, region_means


def test_iteration_is_the_papers_written_in_numpy(planes):
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


def test_the_blank_start_biases_the_mean_as_derived(planes):
    y, kappa, alpha, k = planes[1].astype(float), 10.0, 0.01, 37
    blank = lbi(y, kappa=kappa, step_size=alpha, max_iterations=k, start="blank").beta.mean()
    np.testing.assert_allclose(blank, y.mean() * (1 - (1 - kappa * alpha) ** k), rtol=1e-12)
    np.testing.assert_allclose(
        lbi(y, kappa=kappa, step_size=alpha, max_iterations=k).beta.mean(), y.mean(), rtol=1e-12
    )


def test_kappa_carries_intensity_units(planes):
    y, c = planes[2].astype(float), 0.5
    whole = lbi(y, kappa=10.0, step_size=0.01, max_iterations=500)
    half = lbi(c * y, kappa=10.0 * c, step_size=0.01 / c, max_iterations=500)
    np.testing.assert_allclose(half.beta, c * whole.beta, atol=1e-12)
    np.testing.assert_array_equal(half.support, whole.support)


def test_resuming_is_going_on(planes):
    whole = lbi(planes[:2], kappa=10.0, sparsity=0.7)
    parts = lbi(
        planes[:2], kappa=10.0, sparsity=0.7, resume=lbi(planes[:2], kappa=10.0, sparsity=0.9)
    )
    np.testing.assert_array_equal(parts.beta, whole.beta)
    np.testing.assert_array_equal(parts.iterations, whole.iterations)


def test_a_step_at_the_bound_is_refused_and_one_beyond_it_would_explode(planes):
    bound = largest_stable_step(kappa=10.0, nu=1.0)
    assert bound == pytest.approx(2 / (10 * 9.90), rel=1e-3)
    with pytest.raises(
        ValueError, match=rf"step_size must be in \(0, {bound:.6g}\) .*, got {1.1 * bound}"
    ):
        lbi(planes[0], kappa=10.0, step_size=1.1 * bound)
    assert (
        np.abs(lbi(planes[0], kappa=10.0, step_size=0.99 * bound, max_iterations=2000).beta).max()
        < 2
    )


def test_a_constant_plane_has_no_path_and_an_unreached_sparsity_is_said(planes):
    np.testing.assert_array_equal(lbi(np.full((4, 4), 0.3), kappa=10.0, sparsity=0.5).beta, 0.3)
    with pytest.raises(
        RuntimeError, match="sparsity 0.5 was not reached on 1 of 1 planes in max_iterations=10"
    ):
        lbi(planes[0], kappa=10.0, sparsity=0.5, max_iterations=10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kappa": 0.0}, "kappa must be positive and finite, got 0"),
        ({"nu": -1.0}, r"nu must be in \[0.001, 1000\], got -1"),
        ({"delta": 0.0}, "delta must be >= 0.001, or infinite, got 0"),
        ({"sparsity": 1.5}, r"sparsity must be in \[0, 1\], got 1.5"),
        ({"start": "zero"}, "start must be 'mean' or 'blank', got 'zero'"),
        ({"max_iterations": 0}, "max_iterations must be >= 1, got 0"),
    ],
)
def test_bad_settings_are_named(planes, settings, message):
    with pytest.raises(ValueError, match=message):
        lbi(planes[0], **({"kappa": 10.0} | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kappa": "10"}, "kappa must be a number, got '10'"),
        ({"step_size": "small"}, "step_size must be a number, got 'small'"),
        ({"sparsity": "auto"}, "sparsity must be a number, got 'auto'"),
        ({"sparsity": [0.5, 0.6]}, r"sparsity must be a number, got \[0.5, 0.6\]"),
        ({"max_iterations": 2.5}, "max_iterations must be a whole number, got 2.5"),
        ({"resume": "x"}, "resume must be a result of lbi, got 'x'"),
    ],
)
def test_settings_of_another_type_are_named(planes, settings, message):
    with pytest.raises(TypeError, match=message):
        lbi(planes[0], **({"kappa": 10.0} | settings))


@pytest.mark.parametrize(
    ("name", "value"), [("kappa", 5.0), ("nu", 2.0), ("delta", 0.1), ("step_size", 0.001)]
)
def test_a_result_of_other_settings_cannot_be_resumed(planes, name, value):
    earlier = lbi(planes[0], kappa=10.0, max_iterations=5)
    with pytest.raises(
        ValueError, match=f"resume must be a result with {name}={value}, got one with {name}="
    ):
        lbi(planes[0], resume=earlier, **({"kappa": 10.0} | {name: value}))


def test_a_result_for_other_images_cannot_be_resumed(planes):
    earlier = lbi(planes[:2], kappa=10.0, max_iterations=5)
    with pytest.raises(
        ValueError,
        match=r"resume must be a result for images of shape \(1, 32, 32\), got one for \(2, 32, 32\)",
    ):
        lbi(planes[0], kappa=10.0, resume=earlier)
    with pytest.raises(
        ValueError,
        match="resume must be a result for these images, got one that differs by up to 0",
    ):
        lbi(planes[1:3], kappa=10.0, resume=earlier)


def test_regions_are_means_of_its_own_beta(planes):
    found = lbi(planes[:2], kappa=10.0, sparsity=0.8)
    np.testing.assert_array_equal(
        found.regions, region_means(found.last[:, None], found.labels)[:, 0].astype(np.float32)
    )
    np.testing.assert_array_equal(found.output("regions"), found.regions)
    assert not found.regions.flags.writeable
