import numpy as np
import pytest
from virolbi import ScaleSpace

INF = float("inf")


def test_without_a_data_clip_regions_are_means_of_the_input(planes):
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


def test_diagnostics_count_what_they_say():
    plane = np.zeros((4, 6))
    plane[:, 3:], plane[1, 1] = 0.5, 0.3
    scale = ScaleSpace(plane).at(0.0)
    assert scale.diagnostics.regions == 3
    assert scale.diagnostics.largest == 12 / 24
    assert scale.diagnostics.idle_edges == 0
    slit = np.zeros((3, 5))
    slit[:2, 2:] = 0.5  # a contour that ends inside the image
    gap = ScaleSpace(slit).at(1 - 1 / 22)
    assert gap.diagnostics.regions == 1
    assert gap.diagnostics.idle_edges == gap.support.sum() > 0


def test_a_solved_path_does_not_share_memory_with_its_images(photographs):
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
def test_what_is_made_while_leaving_a_path_is_what_can_be_asked_of_it_later(
    photographs, form, output, min_area
):
    images = photographs[:3] / np.float32(255)
    images[:, ::2] = images[:, 1::2] + np.float32(
        3e-7
    )  # too little to be a variation, and yet not to be lost
    space = ScaleSpace(images, channel_axis=-1, min_area=min_area, **form)
    sparsity = np.array([0.9, 0.8, 0.0])
    later, left = space.at(sparsity), space.finish(sparsity, output=output)
    np.testing.assert_array_equal(left.beta[2], images[2])
    for name in ("beta", "regions", "labels", "support", "time"):
        np.testing.assert_array_equal(getattr(left, name), getattr(later, name))
    gradient = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
    np.testing.assert_array_equal(left.pullback(gradient, output), later.pullback(gradient, output))
