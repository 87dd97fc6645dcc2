import numpy as np
import pytest

from virolbi import ScaleSpace, smooth
from virolbi.scale_space import Online, from_pairs, noise_strength


def test_online_follows_the_noise_of_the_stream():
    online = Online(memory=5)
    assert online.noise == 0
    drift = np.linspace(0.02, 0.08, 40)
    chosen = np.concatenate([online(batch) for batch in drift.reshape(8, 5)])
    np.testing.assert_allclose(chosen[4:], drift[2:-2])  # the median of the last five
    chosen = online(np.array([0.5, 0.08, 0.08, 0.2, 0.2, 0.2, 0.2, 0.2]))
    assert chosen[0] < 0.09  # a single outlier is ignored
    assert chosen[-1] == 0.2  # a jump is followed
    np.testing.assert_array_equal(Online(memory=1)(drift), drift)


def test_online_can_be_used_as_the_sparsity_of_smooth():
    rng = np.random.default_rng(0)
    stream = (0.5 + rng.normal(0, 0.1, (12, 32, 32))).clip(0, 1)
    whole, parts = Online(memory=7), Online(memory=7)
    smoothed = smooth(stream, whole)
    np.testing.assert_array_equal(
        smoothed, np.concatenate([smooth(part, parts) for part in np.split(stream, 3)])
    )
    level = Online(memory=7)(noise_strength(stream))
    np.testing.assert_array_equal(smoothed, smooth(stream, lambda _: level))
    for memory, error in ((0, ValueError), (2.5, TypeError)):
        with pytest.raises(error, match="^memory must"):
            Online(memory)


@pytest.mark.parametrize("output", ["beta", "regions"])
def test_from_pairs_returns_the_sparsity_of_least_error(planes, output):
    rng = np.random.default_rng(1)
    clean = planes[:12]
    chosen = {}
    for sigma in (0.03, 0.1):
        noisy = (clean + rng.normal(0, sigma, clean.shape)).clip(0, 1).astype(np.float32)
        chosen[sigma] = from_pairs(clean, noisy, output=output)
        space = ScaleSpace(noisy)
        errors = {
            s: np.mean((space.at(s).output(output) - clean) ** 2)
            for s in (*np.linspace(0, 1, 11), chosen[sigma])
        }
        assert min(errors, key=errors.get) == chosen[sigma]
    assert chosen[0.03] < chosen[0.1]
    np.testing.assert_array_equal(
        smooth(clean, from_pairs(clean, clean, output=output), output=output), clean
    )
    with pytest.raises(ValueError, match="^noisy must"):
        from_pairs(clean, clean[:3])


@pytest.mark.parametrize(
    ("clean", "error"),
    [
        (np.full((4, 4), np.nan), ValueError),
        (np.full((4, 4), 255.0), ValueError),
        (np.ma.zeros((4, 4)), TypeError),
    ],
)
def test_errors_name_the_clean_images_if_those_are_not_images(clean, error):
    with pytest.raises(error, match="^clean: .*images must"):
        from_pairs(clean, np.full((4, 4), 0.5))


def test_pairs_of_different_shapes_are_named():
    with pytest.raises(ValueError, match=r"noisy must have .* of clean, \(3, 4\) of float64"):
        from_pairs([[0.5] * 4] * 3, np.full((4, 4), 0.5))
