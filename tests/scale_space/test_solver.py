import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from virolbi import ScaleSpace
from virolbi._engine.graph import variation, variation_adjoint
from virolbi.scale_space import solver

INF = float("inf")


@pytest.mark.parametrize("delta", [INF, 0.1])
@pytest.mark.parametrize("nu", [1.0, 0.1])
def test_beta_satisfies_its_optimality_condition(photographs, delta, nu):
    """clip(beta - y) + D^T (D beta off the support) / nu = 0, for the support that is reached."""
    y = (photographs / 255).transpose(0, 3, 1, 2)
    for sparsity in (0.95, 0.7):
        scale = ScaleSpace(y, nu=nu, delta=delta, channel_axis=1).at(sparsity)
        off = ~scale.support[:, None]
        gradient = (
            np.clip(scale.beta - y, -delta, delta)
            + variation_adjoint(variation(scale.beta) * off, 32, 32) / nu
        )
        assert np.abs(gradient).max() < 1e-6


def test_single_precision_reaches_equilibrium_under_strong_noise():
    """Most pixels are outliers then, with small weights, and relaxation converges slowly."""
    rng = np.random.default_rng(0)
    noisy = 0.5 + 0.3 * np.sin(np.arange(32) / 5) + rng.normal(0, 0.38, (4, 32, 32))
    y = np.clip(noisy, 0, 1).astype(np.float32)
    for nu, delta in ((1.0, 0.1), (1.0, 0.03), (0.1, 0.1)):
        scale = ScaleSpace(y, nu=nu, delta=delta).at(0.8)
        gradient = (
            np.clip(scale.beta - y, -delta, delta)
            + variation_adjoint(variation(scale.beta) * ~scale.support, 32, 32) / nu
        )
        assert np.abs(gradient).max() < 1e-3 * delta / 0.1 / nu


@pytest.mark.slow
def test_smaller_time_steps_change_few_edges_at_small_nu(monkeypatch):
    photograph = np.asarray(Image.fromarray(load_sample_image("china.jpg")).reduce(3))
    image = photograph[20:116, 60:156] / np.float32(255)
    coarse = ScaleSpace(image, nu=0.01, channel_axis=-1).at(0.8)
    original = solver.Solver.settings

    def finer(self, dtype):
        settings = original(self, dtype)
        return settings._replace(
            growth=settings.growth / 4,
            relaxations=3 * settings.relaxations,
            begin=3 * settings.begin,
        )

    monkeypatch.setattr(solver.Solver, "settings", finer)
    fine = ScaleSpace(image, nu=0.01, channel_axis=-1).at(0.8)
    assert (coarse.support == fine.support).mean() > 0.98


@pytest.mark.filterwarnings(
    "ignore::virolbi.scale_space.IntensityWarning"
)  # noise that is not clipped
@pytest.mark.parametrize(
    ("size", "nu", "delta", "sparsity"),
    [((600, 500), 1.0, 0.1, 0.9), ((256, 256), 0.01, 0.02, 1.0)],
)
def test_large_images_and_slow_equilibria_converge(size, nu, delta, sparsity):
    """Sweeping in segments and slow sweeps reach the equilibrium too.

    Images of more than 2**18 numbers are swept in segments. With a small `nu` and many outliers,
    a sweep changes little.
    """
    image = np.random.default_rng(0).normal(0, 0.1, size)
    image[60:190, 60:190] += 0.8
    scale = ScaleSpace(image, nu=nu, delta=delta).at(sparsity)
    pull = np.clip(scale.beta - image, -delta, delta)
    gradient = pull + variation_adjoint(variation(scale.beta[None]) * ~scale.support, *size)[0] / nu
    assert np.abs(gradient).max() < 1e-9
    if sparsity == 1:  # here the support is the same in single precision
        single = ScaleSpace(image.astype(np.float32), nu=nu, delta=delta).at(1)
        np.testing.assert_allclose(single.beta, scale.beta, atol=2e-3)
