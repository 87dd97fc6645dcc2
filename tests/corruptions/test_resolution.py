import numpy as np
import pytest
from PIL import Image

from virolbi.corruptions import low_resolution


def test_low_resolution_removes_what_the_smaller_grid_cannot_hold():
    checkers = np.indices((16, 16)).sum(axis=0) % 2
    ramp = np.linspace(0, 1, 16) + np.zeros((16, 1))
    images = np.stack([checkers, ramp])[:, None].astype(np.float32)
    for filter in ("bilinear", "bicubic", "box"):
        fine = low_resolution(images, 2, filter=filter)
        np.testing.assert_allclose(fine[0, 0, 4:-4, 4:-4], 0.5, atol=1e-4)
        aliased = low_resolution(images, 2, filter=filter, antialias=False)
        assert aliased.shape == images.shape
        np.testing.assert_allclose(low_resolution(images, 1, filter=filter), images, atol=1e-6)
    assert np.ptp(aliased[0]) == 0  # one pixel of four: all of one colour, which is not the mean
    assert aliased[0].mean() in (0, 1)
    steps = low_resolution(images, 2.5, filter="box")[1, 0, 0]
    assert np.flatnonzero(np.diff(steps)).tolist() == [2, 4, 7, 10, 12]  # 16 pixels as 6
    coarse = low_resolution(images, 4)
    np.testing.assert_allclose(coarse[1, 0, :, 4:-4], images[1, 0, :, 4:-4], atol=0.02)
    np.testing.assert_array_equal(low_resolution(images, 1), images)


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "box"])
def test_low_resolution_is_that_of_pillow(small, filter):
    resampling = Image.Resampling[filter.upper()]
    image = small[[small.std(axis=(1, 2, 3)).argmax()]]
    for factor, side in ((2, 16), (2.5, 12), (4, 8)):
        reduced = Image.fromarray(image[0, 0]).resize((side, side), resampling)
        theirs = reduced.resize((32, 32), resampling)
        ours = low_resolution(image[:, :1], factor, filter=filter)[0, 0]
        np.testing.assert_allclose(ours, np.clip(theirs, 0, 1), atol=1e-3)


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "box"])
def test_low_resolution_without_antialias_looks_at_the_middle_only(small, filter):
    image = small[[small.std(axis=(1, 2, 3)).argmax()]]
    middle = image.copy()
    middle[..., np.isin(np.arange(32) % 8, (0, 1, 6, 7))] = 0
    aliased, aliased_middle = (
        low_resolution(images, 8, filter=filter, antialias=False) for images in (image, middle)
    )
    smooth, smooth_middle = (low_resolution(images, 8, filter=filter) for images in (image, middle))
    np.testing.assert_allclose(aliased, aliased_middle, atol=1e-6)
    assert np.abs(aliased - smooth).max() > 0.05
    assert np.abs(smooth_middle - smooth).max() > 0.05


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda images: (255 * images).astype(np.uint8), TypeError, "float32 array, got uint8"),
        (lambda images: images.astype(np.float64), TypeError, "float32 array, got float64"),
        (lambda images: 255 * images, ValueError, r"in \[0, 1\]"),
        (lambda images: images - 0.5, ValueError, r"in \[0, 1\]"),
        (lambda images: images[0], ValueError, r"\(N, C, H, W\), got \(3, 32, 32\)"),
    ],
)
def test_images_that_are_no_intensities_are_refused(small, change, error, message):
    with pytest.raises(error, match=f"images must .*{message}"):
        low_resolution(change(small), 2)


def test_views_of_arrays_are_reduced_as_copies_are(small):
    for view in (small[:, :, ::-1], small[..., ::2], small.transpose(0, 1, 3, 2)):
        np.testing.assert_array_equal(low_resolution(view, 2), low_resolution(view.copy(), 2))
    with pytest.raises(TypeError, match="factor must be a number, got '2'"):
        low_resolution(small, "2")


@pytest.mark.parametrize(
    ("argument", "factor", "options"),
    [("factor", 40, {}), ("factor", 0.5, {}), ("filter", 2, {"filter": "lanczos"})],
)
def test_bad_settings_are_named(small, argument, factor, options):
    with pytest.raises(ValueError, match=f"^{argument} "):
        low_resolution(small, factor, **options)
