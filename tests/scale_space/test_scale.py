import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virolbi import ScaleSpace, smooth
from virolbi._engine.graph import variation

INF = float("inf")


def test_without_a_huber_threshold_regions_are_means_of_the_input(planes):
    scale = ScaleSpace(planes.astype(float), delta=INF).at(0.6)
    means = [
        np.bincount(label.ravel(), plane.ravel()) / np.bincount(label.ravel())
        for label, plane in zip(scale.labels, planes, strict=True)
    ]
    np.testing.assert_allclose(
        scale.regions,
        [mean[label] for mean, label in zip(means, scale.labels, strict=True)],
        atol=1e-9,
    )


def test_diagnostics_count_regions_and_idle_edges():
    plane = np.zeros((4, 6))
    plane[:, 3:], plane[1, 1] = 0.5, 0.3
    scale = ScaleSpace(plane).at(0.0)
    assert scale.diagnostics.regions == 3
    assert scale.diagnostics.largest == 12 / 24
    assert scale.diagnostics.idle_edges == 0
    slit = np.zeros((3, 5))
    slit[:2, 2:] = 0.5  # a contour that ends inside the image
    open_contour = ScaleSpace(slit).at(1 - 1 / 22)
    assert open_contour.diagnostics.regions == 1
    assert open_contour.diagnostics.idle_edges == open_contour.support.sum() > 0


def test_a_moment_is_read_only_and_does_not_share_memory_with_the_images(photographs):
    images = (photographs[0] / np.float32(255)).transpose(2, 0, 1).copy()
    space = ScaleSpace(images, channel_axis=0)
    before = space.at(0.8)
    for array in (before.beta, before.regions, before.support, before.time, before.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    images[:] = 0
    assert before.beta.max() > 0.1
    np.testing.assert_array_equal(space.at(0.8).beta, before.beta)


@pytest.mark.parametrize("min_area", [1, 3])
@pytest.mark.parametrize("output", ["beta", "regions"])
@pytest.mark.parametrize("form", [{}, {"delta": INF, "joint": False}], ids=["robust", "paper"])
def test_finish_and_at_give_the_same_moment(photographs, form, output, min_area):
    """`finish` computes an output in the same pass as the path, `at` when it is first used."""
    images = photographs[:3] / np.float32(255)
    # differences that are too small to enter the support, but must be in the output
    images[:, ::2] = images[:, 1::2] + np.float32(3e-7)
    space = ScaleSpace(images, channel_axis=-1, min_area=min_area, **form)
    sparsity = np.array([0.9, 0.8, 0.0])
    at, finished = space.at(sparsity), space.finish(sparsity, output=output)
    np.testing.assert_array_equal(finished.beta[2], images[2])
    for name in ("beta", "regions", "labels", "support", "time"):
        np.testing.assert_array_equal(getattr(finished, name), getattr(at, name))
    gradient = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    np.testing.assert_array_equal(
        finished.pullback(gradient, output), at.pullback(gradient, output)
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7),
    st.integers(1, 19),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.sampled_from([0.05, 1.0, 20.0]),
)
def test_small_images_of_any_shape_stay_in_range_and_reach_their_sparsity(
    height, width, seed, sparsity, nu
):
    rng = np.random.default_rng(seed)
    images = rng.random((3, height, width), dtype=np.float32).round(rng.integers(1, 4))
    for delta in (0.1, INF):
        scale = ScaleSpace(images, nu=nu, delta=delta).at(sparsity)
        assert scale.beta.min() >= images.min() - 1e-3
        assert scale.beta.max() <= images.max() + 1e-3
        edges = scale.support.shape[-1]
        varying = (np.abs(variation(images)) > 1e-6).sum(axis=-1)
        wanted = np.minimum(varying, np.rint((1 - sparsity) * edges))
        assert (scale.support.sum(axis=-1) >= wanted).all()


@pytest.mark.parametrize(
    "form",
    [{}, {"delta": INF, "joint": False}, {"delta": 0.001}],
    ids=["robust", "paper", "clipped"],
)
def test_results_stay_in_the_range_of_their_image(form):
    rng = np.random.default_rng(0)
    for image in (
        rng.random((3, 40, 50), dtype=np.float32),
        rng.integers(0, 2, (3, 40, 50)).astype(np.float32),
    ):
        for sparsity in (0.3, 0.5, 0.8):
            for output in ("beta", "regions"):
                smoothed = smooth(image, sparsity, channel_axis=0, output=output, **form)
                assert 0 <= smoothed.min() <= smoothed.max() <= image.max()


def test_regions_at_sparsity_0_are_the_input():
    # some neighbours differ by less than SMALLEST
    image = np.random.default_rng(0).random((316, 316), dtype=np.float32)
    for delta in (0.1, INF):
        np.testing.assert_array_equal(smooth(image, 0, delta=delta, output="regions"), image)
        np.testing.assert_array_equal(ScaleSpace(image, delta=delta).at(0).regions, image)


@pytest.mark.parametrize("delta", [0.1, np.inf])
def test_another_min_area_does_not_follow_the_path_again(photographs, monkeypatch, delta):
    space = ScaleSpace(photographs[:2], channel_axis=-1, delta=delta)
    moments = [space.at(0.8), space.finish(0.8, output="regions")]
    areas = (1, 5, 40)
    expected = [
        ScaleSpace(photographs[:2], channel_axis=-1, delta=delta, min_area=area).at(0.8)
        for area in areas
    ]
    monkeypatch.setattr("virolbi.scale_space.path.march", None)
    for scale in moments:
        for area, other in zip(areas, expected, strict=True):
            merged = scale.with_min_area(area)
            np.testing.assert_array_equal(merged.labels, other.labels)
            np.testing.assert_array_equal(merged.regions, other.regions)
            np.testing.assert_array_equal(merged.beta, other.beta)
    with pytest.raises(ValueError, match="min_area must be"):
        scale.with_min_area(0)
