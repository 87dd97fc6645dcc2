import numpy as np
import pytest

from virolbi.corruptions import (
    COMMON,
    HELD_OUT,
    LEVELS,
    RESOLUTIONS,
    _corrupt,
    _weather,
    corrupt,
    noise_level,
)
from virolbi.corruptions._corrupt import FIXED, RANDOM

ALL = COMMON + HELD_OUT
GREY = np.full((40, 3, 32, 32), 0.5, np.float32)
# Equal images would have equal noise
GREY += np.linspace(0, 1e-5, 40, dtype=np.float32)[:, None, None, None]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_every_type_keeps_shape_type_and_range_and_leaves_its_input_alone(large, name, channels):
    for height, width in ((8, 8), (9, 37), (33, 20)):
        images = large[:2, :channels, 20 : 20 + height, 50 : 50 + width]
        before = images.copy()
        for resolution in RESOLUTIONS:
            for severity in (1, 5):
                result = corrupt(images, name, severity, resolution=resolution)
                assert result.dtype == np.float32
                assert result.shape == images.shape
                assert result.flags.c_contiguous
                assert result.min() >= 0
                assert result.max() <= 1
        np.testing.assert_array_equal(images, before)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_an_image_comes_out_the_same_to_the_last_bit_wherever_it_stands(
    small, name, channels, monkeypatch
):
    small = small[:, :channels]
    expected = corrupt(small, name, 3)
    np.testing.assert_array_equal(corrupt(small[::-1], name, 3), expected[::-1])
    np.testing.assert_array_equal(corrupt(small[7:8], name, 3)[0], expected[7])
    np.testing.assert_array_equal(corrupt(np.asfortranarray(small[5:12]), name, 3), expected[5:12])
    np.testing.assert_array_equal(corrupt(small[[3, 3]], name, 3), expected[[3, 3]])
    monkeypatch.setattr(_corrupt, "CHUNK", 5 * small[0].size)
    np.testing.assert_array_equal(corrupt(small, name, 3), expected)


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_random_depends_on_seed_and_image_and_severity(small, name):
    image = small[:1]
    assert (corrupt(image, name, 3, seed=1) != corrupt(image, name, 3)).any()
    other = image.copy()
    other[0, 0, 0, 0] = 1 - other[0, 0, 0, 0]  # one pixel: all other differences are new draws
    differ = corrupt(other, name, 3)[..., 8:, 8:] != corrupt(image, name, 3)[..., 8:, 8:]
    assert differ.mean() > 0.02


def test_severities_and_types_have_draws_of_their_own():
    cases = [("gaussian_noise", 1), ("gaussian_noise", 2), ("speckle_noise", 1)]
    draws = [(corrupt(GREY, name, severity) - GREY).ravel() for name, severity in cases]
    assert np.abs(np.corrcoef(draws)[np.triu_indices(3, 1)]).max() < 0.02


@pytest.mark.parametrize("name", FIXED)
def test_what_is_not_random_takes_no_notice_of_the_seed(small, name):
    np.testing.assert_array_equal(corrupt(small, name, 3, seed=1), corrupt(small, name, 3))


# glass_blur, frost, elastic_transform: the published constants do not grow, or trade one for
# another. motion_blur: two pairs of severities have nearly the same kernel. spatter: 1 to 3 are
# water, 4 and 5 mud. saturate: 1 and 2 take colour away, 3 to 5 add it.
UNORDERED = ("glass_blur", "frost", "elastic_transform", "motion_blur", "spatter", "saturate")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if name not in UNORDERED])
@pytest.mark.parametrize("resolution", [32, 64])
def test_a_higher_severity_changes_images_more(small, large, name, resolution):
    corners = [large[..., y : y + 64, x : x + 64] for y in (0, 48) for x in (0, 48)]
    images = small if resolution == 32 else np.concatenate(corners)
    errors = [
        np.square(corrupt(images, name, severity) - images).mean() for severity in range(1, 6)
    ]
    assert (np.diff(errors) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_noise_has_the_statistics_of_its_constants(severity, resolution):
    """Grey images have 122,880 draws.

    So the standard deviation of an estimate of sigma is 0.2 %, and that of a share p is
    sqrt(p / n).
    """

    def spread(name, value):
        values = corrupt(GREY * np.float32(2 * value), name, severity, resolution=resolution)
        assert values.mean() == pytest.approx(value, abs=5 * values.std() / np.sqrt(values.size))
        return values.std()

    for value in (0.25, 0.5, 0.75):
        sigmas = {
            "gaussian_noise": noise_level("gaussian_noise", severity, resolution),
            "speckle_noise": value * noise_level("speckle_noise", severity, resolution),
            "shot_noise": np.sqrt(value / noise_level("shot_noise", severity, resolution)),
        }
        for name, sigma in sigmas.items():
            if 4 * sigma < min(value, 1 - value):  # beyond it, clipping narrows the spread
                assert spread(name, value) == pytest.approx(sigma, rel=0.01)
    share = noise_level("impulse_noise", severity, resolution)
    impulse = corrupt(GREY, "impulse_noise", severity, resolution=resolution)
    tolerance = 5 * np.sqrt(share / 2 / GREY.size)
    for value in (0, 1):
        assert (impulse == value).mean() == pytest.approx(share / 2, abs=tolerance)
    assert ((impulse == 0) | (impulse == 1) | (impulse == GREY)).all()


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_constants_show_in_the_blur_of_a_point(severity, resolution):
    point = np.zeros((1, 1, 81, 81), np.float32)
    point[..., 40, 40] = 1
    steps = np.arange(-40, 41)
    sigma = LEVELS["gaussian_blur"][resolution][severity - 1]
    expected = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * sigma**2)) * (
        np.maximum(abs(steps[:, None]), abs(steps)) <= 4 * sigma + 0.5
    )
    blurred = corrupt(point, "gaussian_blur", severity, resolution=resolution)[0, 0]
    np.testing.assert_allclose(blurred, expected / expected.sum(), atol=1e-6)
    radius, _ = LEVELS["defocus_blur"][resolution][severity - 1]
    blurred = corrupt(point, "defocus_blur", severity, resolution=resolution)[0, 0]
    # At radius 8 the published kernel loses its softened rim
    assert blurred.sum() == pytest.approx(1, abs=0.07)
    if radius >= 2:
        area = (steps[:, None] ** 2 + steps**2 <= radius**2).sum()
        assert 1 / blurred.max() == pytest.approx(area, rel=0.07)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_constants_show_in_contrast_and_brightness(small, severity, resolution):
    share = LEVELS["contrast"][resolution][severity - 1]
    flatter = corrupt(small, "contrast", severity, resolution=resolution)
    np.testing.assert_allclose(flatter.std(axis=(2, 3)), share * small.std(axis=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(flatter.mean(axis=(2, 3)), small.mean(axis=(2, 3)), atol=1e-5)
    added = LEVELS["brightness"][resolution][severity - 1]
    brighter = corrupt(small, "brightness", severity, resolution=resolution)
    np.testing.assert_allclose(
        brighter.max(axis=1), np.minimum(small.max(axis=1) + added, 1), atol=1e-6
    )


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_constants_show_in_saturation(small, severity, resolution):
    def saturation(images):
        return 1 - images.min(axis=1) / np.maximum(images.max(axis=1), 1e-6)

    factor, added = LEVELS["saturate"][resolution][severity - 1]
    bright = small * np.float32(0.5) + np.float32(0.25)
    expected = np.clip(saturation(bright) * factor + added, 0, 1)
    saturated = corrupt(bright, "saturate", severity, resolution=resolution)
    np.testing.assert_allclose(saturation(saturated), expected, atol=1e-4)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_constants_show_in_pixels_and_zoom(severity, resolution):
    side = int(32 * LEVELS["pixelate"][resolution][severity - 1])
    ramp = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (1, 1, 32, 1))
    pixelated = corrupt(ramp, "pixelate", severity, resolution=resolution)
    assert len(np.unique(pixelated[0, 0, 0])) == side
    factors = np.arange(1, *LEVELS["zoom_blur"][resolution][severity - 1])
    straight = np.tile(np.arange(101, dtype=np.float32) / 100, (1, 1, 101, 1))
    zoomed = corrupt(straight, "zoom_blur", severity, resolution=resolution)
    slope = (zoomed[0, 0, 50, [35, 65]] @ [-1, 1]) / 0.3
    assert slope == pytest.approx((1 + (1 / factors).sum()) / (len(factors) + 1), rel=0.005)


def test_jpeg_is_made_from_the_nearest_levels(small):
    images = small * np.float32(0.8) + np.float32(0.1)
    levels = np.rint(images * 255) / np.float32(255)
    np.testing.assert_array_equal(
        corrupt(images, "jpeg_compression", 3), corrupt(levels, "jpeg_compression", 3)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("size", "resolution"), [(32, 32), (64, 64), (112, 224)])
def test_frost_is_blended_with_the_published_weights_and_looks_like_the_photographs(
    size, resolution
):
    """The published photographs of frost have a mean of .64.

    Crops of them have a spread of .08 to .09, at the three scales that the scripts use.
    """
    black = np.zeros((60, 3, size, size), np.float32)
    black += np.linspace(0, 1e-6, 60, dtype=np.float32)[:, None, None, None]
    for severity, (weight, frost_weight) in enumerate(LEVELS["frost"][resolution], start=1):
        ice = corrupt(black, "frost", severity, resolution=resolution) / frost_weight
        assert ice.mean() == pytest.approx(0.63, abs=0.06)
        assert ice.std(axis=(2, 3)).mean() == pytest.approx(0.085, abs=0.02)
        assert ice.mean(axis=(0, 2, 3)).argsort().tolist() == [0, 1, 2]  # pale blue
        images = np.full((1, 3, size, size), 0.2, np.float32)
        level = (weight, frost_weight)
        alone = _weather.frost(0 * images, level, [np.random.default_rng(0)])
        both = _weather.frost(images, level, [np.random.default_rng(0)])
        np.testing.assert_allclose(both - alone, 0.2 * weight, atol=1e-6)


@pytest.mark.parametrize("name", [*tuple(FIXED)[:6], "jpeg_compression"])
def test_grey_images_get_the_grey_of_the_fixed_types(small, name):
    grey = small[:4].mean(axis=1, keepdims=True)
    coloured = corrupt(grey.repeat(3, axis=1), name, 4)
    np.testing.assert_allclose(coloured[:, :1], corrupt(grey, name, 4), atol=2.5 / 255)


def test_grey_images_are_not_saturated(small):
    grey = small[:4].mean(axis=1, keepdims=True)
    np.testing.assert_array_equal(corrupt(grey, "saturate", 5), grey)


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("snow", 3),
        ("motion_blur", 3),
        ("fog", 3),
        ("frost", 3),
        ("spatter", 3),
        ("spatter", 5),
    ],
)
def test_grey_images_get_the_grey_of_what_is_coloured(small, name, severity):
    grey = small[:4].mean(axis=1, keepdims=True)
    change, level = RANDOM[name], LEVELS[name][32][severity - 1]
    coloured, plain = (
        change(images, level, [np.random.default_rng(i) for i in range(4)])
        for images in (grey.repeat(3, axis=1), grey)
    )
    luma = np.tensordot(coloured, np.array([0.299, 0.587, 0.114]), axes=(1, 0))
    np.testing.assert_allclose(plain[:, 0], luma, atol=1e-5)


@pytest.mark.parametrize(
    ("argument", "arguments", "options"),
    [
        ("name", ("rain", 1), {}),
        ("severity", ("shot_noise", 6), {}),
        ("resolution", ("shot_noise", 1), {"resolution": 100}),
        ("resolution", ("shot_noise", 1), {"resolution": 0}),
    ],
)
def test_bad_settings_are_named(argument, arguments, options):
    with pytest.raises(ValueError, match=f"^{argument} "):
        corrupt(GREY, *arguments, **options)


@pytest.mark.parametrize(
    ("argument", "arguments", "options"),
    [
        ("images", ([0.5], "fog", 1), {}),
        ("images", (GREY.astype(float), "fog", 1), {}),
        ("severity", (GREY, "fog", 2.0), {}),
        ("severity", (GREY, "fog", True), {}),
        ("seed", (GREY, "fog", 1), {"seed": 0.5}),
    ],
)
def test_arguments_of_a_wrong_type_are_named(argument, arguments, options):
    with pytest.raises(TypeError, match=f"^{argument} "):
        corrupt(*arguments, **options)


@pytest.mark.parametrize(
    "images",
    [
        GREY[:, :2],
        GREY[..., :7],
        *(np.full((1, 1, 8, 8), value, np.float32) for value in (-0.1, 1.5, np.nan)),
    ],
    ids=["two channels", "seven pixels", "negative", "over one", "not a number"],
)
def test_bad_images_are_named(images):
    with pytest.raises(ValueError, match="^images "):
        corrupt(images, "fog", 1)


def test_no_images_are_corrupted_to_no_images():
    assert corrupt(GREY[:0], "fog", 1).shape == (0, 3, 32, 32)
