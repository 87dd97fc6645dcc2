import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from virolbi.graph import edge_count, variation
from virolbi.projection import label_regions, region_means

HEIGHT, WIDTH = 7, 11


@pytest.fixture
def support():
    return np.random.default_rng(0).random((20, edge_count(HEIGHT, WIDTH))) < 0.6


def test_regions_are_the_connected_components_scipy_finds(support):
    pixels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    ends = np.stack(
        [np.r_[pixels[:, :-1].ravel(), pixels[:-1].ravel()], np.r_[pixels[:, 1:].ravel(), pixels[1:].ravel()]], axis=1
    )
    for edges, labels in zip(support, label_regions(support, HEIGHT, WIDTH), strict=True):
        low, high = ends[~edges].T
        count, expected = connected_components(coo_matrix((np.ones(len(low)), (low, high)), shape=(pixels.size,) * 2))
        assert labels.max() + 1 == count
        assert len(set(zip(labels.ravel(), expected, strict=True))) == count  # a bijection of names
        assert (np.diff(np.unique(labels, return_index=True)[1]) > 0).all()  # numbered in raster order


def test_region_means_are_the_least_squares_projection(support):
    labels = label_regions(support, HEIGHT, WIDTH)
    rng = np.random.default_rng(1)
    u, v = rng.normal(size=(2, len(labels), 3, HEIGHT, WIDTH))
    projected = region_means(u, labels)
    np.testing.assert_allclose(region_means(projected, labels), projected, atol=1e-14)  # idempotent
    np.testing.assert_allclose((projected * v).sum(), (u * region_means(v, labels)).sum())  # symmetric
    assert np.abs(variation(projected).swapaxes(1, 2)[~support]).max() == 0  # into the subspace
    np.testing.assert_allclose(((u - projected) * region_means(v, labels)).sum(), 0, atol=1e-12)  # residual orthogonal to it


def test_wrong_shapes_are_named(support):
    with pytest.raises(ValueError, match="support must have 12 edges for 3x3, got 136"):
        label_regions(support, 3, 3)
    with pytest.raises(ValueError, match=r"labels must have shape \(2, 2\), got \(3, 3\)"):
        region_means(np.zeros((1, 2, 2)), np.zeros((3, 3), np.int32))
