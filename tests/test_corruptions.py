import numpy as np
import pytest

from virolbi.corruptions import LEVELS, RESOLUTIONS, corrupt, low_resolution, noise_level

GREY = np.full((40, 3, 32, 32), 0.5, np.float32)


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_noise_has_the_statistics_of_its_constants(severity, resolution):
    """On mid-grey: 122,880 draws, so the standard deviation of an estimate of sigma is 0.2 % and of a share p sqrt(p / n)."""
    sigma = noise_level("gaussian_noise", severity, resolution)
    if sigma < 0.15:  # beyond it clipping narrows the spread
        assert corrupt(GREY, "gaussian_noise", severity, resolution=resolution).std() == pytest.approx(sigma, rel=0.01)
    photons = noise_level("shot_noise", severity, resolution)
    if photons > 30:
        shot = corrupt(GREY, "shot_noise", severity, resolution=resolution)
        assert shot.std() == pytest.approx(np.sqrt(0.5 / photons), rel=0.01)
        assert shot.mean() == pytest.approx(0.5, abs=0.002)
    share = noise_level("impulse_noise", severity, resolution)
    impulse = corrupt(GREY, "impulse_noise", severity, resolution=resolution)
    for value in (0, 1):
        assert (impulse == value).mean() == pytest.approx(share / 2, abs=5 * np.sqrt(share / 2 / GREY.size))


@pytest.mark.parametrize("name", LEVELS)
def test_noise_is_the_same_for_the_same_image_and_stronger_with_severity(photographs, name):
    images = (photographs / np.float32(255)).transpose(0, 3, 1, 2)
    whole, part = corrupt(images, name, 3), corrupt(images[:5], name, 3)
    np.testing.assert_array_equal(whole[:5], part)
    assert (corrupt(images, name, 3, seed=1) != whole).any()
    assert whole.dtype == np.float32
    assert whole.min() >= 0
    assert whole.max() <= 1
    errors = [np.abs(corrupt(images, name, severity) - images).mean() for severity in range(1, 6)]
    assert (np.diff(errors) > 0).all()


def test_low_resolution_removes_what_the_smaller_grid_cannot_hold():
    checkers = np.indices((16, 16)).sum(axis=0) % 2
    images = np.stack([checkers, np.linspace(0, 1, 16) + np.zeros((16, 1))])[:, None].astype(np.float32)
    fine, coarse = low_resolution(images, 2), low_resolution(images, 4)
    np.testing.assert_allclose(fine[0, 0, 4:-4, 4:-4], 0.5, atol=1e-6)
    np.testing.assert_allclose(coarse[1, 0, :, 4:-4], images[1, 0, :, 4:-4], atol=0.02)
    np.testing.assert_array_equal(low_resolution(images, 1), images)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"name must be one of .*, got 'fog'"):
        corrupt(GREY, "fog", 1)
    with pytest.raises(ValueError, match="severity must be 1, 2, 3, 4 or 5, got 6"):
        corrupt(GREY, "shot_noise", 6)
    with pytest.raises(ValueError, match=r"resolution must be one of \(32, 64, 224\), got 100"):
        corrupt(GREY, "shot_noise", 1, resolution=100)
    with pytest.raises(ValueError, match="factor must be from 1 to the shorter side of 32x32 images, got 40"):
        low_resolution(GREY, 40)
