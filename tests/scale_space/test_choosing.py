import numpy as np
import pytest
from virolbi import ScaleSpace, smooth
from virolbi.scale_space import Online, from_pairs, noise_strength


def test_online_follows_the_noise_of_the_stream():
    online = Online(memory=5)
    assert online.noise == 0
    drift = np.linspace(0.02, 0.08, 40)
    chosen = np.concatenate([online(batch) for batch in drift.reshape(8, 5)])
    np.testing.assert_allclose(chosen[4:], drift[2:-2])  # the middle one of the last five
    chosen = online(np.array([0.5, 0.08, 0.08, 0.2, 0.2, 0.2, 0.2, 0.2]))
    assert chosen[0] < 0.09  # one alone is not believed
    assert chosen[-1] == 0.2  # a jump is followed
    np.testing.assert_array_equal(Online(memory=1)(drift), drift)


def test_online_is_a_way_to_smooth():
    rng = np.random.default_rng(0)
    stream = (0.5 + rng.normal(0, 0.1, (12, 32, 32))).clip(0, 1)
    whole, parts = Online(memory=7), Online(memory=7)
    smoothed = smooth(stream, whole)
    np.testing.assert_array_equal(
        smoothed, np.concatenate([smooth(part, parts) for part in np.split(stream, 3)])
    )
    level = Online(memory=7)(noise_strength(stream))
    np.testing.assert_array_equal(smoothed, smooth(stream, lambda _: level))
    for wrong, message in (
        (0, "memory must be >= 1, got 0"),
        (2.5, "memory must be a whole number, got 2.5"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            Online(wrong)


@pytest.mark.parametrize("output", ["beta", "regions"])
def test_pairs_choose_the_sparsity_of_least_error(planes, output):
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
    with pytest.raises(
        ValueError,
        match="^noisy must",
    ):
        from_pairs(clean, clean[:3])


@pytest.mark.parametrize(
    ("clean", "error", "message"),
    [
        (np.full((4, 4), np.nan), ValueError, "clean: images must be finite, got NaN"),
        (
            np.full((4, 4), 255.0),
            ValueError,
            "clean: floating images must be intensities in .*, got values from 255 to 255",
        ),
        (np.ma.zeros((4, 4)), TypeError, "clean: images must be an array without a mask"),
        ([[0.5] * 4] * 3, ValueError, r"noisy must have .* of clean, \(3, 4\) of float64"),
    ],
)
def test_clean_partners_that_are_no_images_are_named(clean, error, message):
    with pytest.raises(error, match=message):
        from_pairs(clean, np.full((4, 4), 0.5))
