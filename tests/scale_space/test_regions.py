import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from virolbi import ScaleSpace, smooth
from virolbi._engine.graph import edge_count, variation
from virolbi.scale_space import label_regions, merge_small, region_means

INF = float("inf")
HEIGHT, WIDTH = 7, 11


@pytest.fixture
def support():
    return np.random.default_rng(0).random((20, edge_count(HEIGHT, WIDTH))) < 0.6


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [(HEIGHT, WIDTH), (40, 1), (1, 40), (20, 16), (9, 17), (60, 33), (64, 64), (25, 47)]
)
# regions have the longest outlines when half of the edges are in the support
@pytest.mark.parametrize("fraction", [0, 0.1, 0.45, 0.5, 0.6, 1])
def test_regions_agree_with_the_connected_components_of_scipy(shape, fraction):
    support = np.random.default_rng(0).random((20, edge_count(*shape))) < fraction
    check_regions(support, label_regions(support, *shape))


def test_a_spiral_and_the_space_between_its_arms_are_two_regions():
    """Each arm of a spiral has a mark of its own up to the centre, so marks are joined late."""
    arms = np.zeros((51, 51), bool)
    row, column, turn = 25, 25, ((0, 1), (1, 0), (0, -1), (-1, 0))
    for arm in range(48):
        for _ in range(2 * (arm // 2 + 1)):
            arms[row, column] = True
            row, column = row + turn[arm % 4][0], column + turn[arm % 4][1]
    support = np.concatenate(
        [(arms[:, 1:] != arms[:, :-1]).ravel(), (arms[1:] != arms[:-1]).ravel()]
    )[None]
    labels = label_regions(support, 51, 51)
    check_regions(support, labels)
    assert labels.max() == 1


def check_regions(support, labels):
    """Check labels against SciPy: the same regions, numbered in raster order."""
    pixels = np.arange(labels[0].size).reshape(labels[0].shape)
    ends = np.stack(
        [
            np.r_[pixels[:, :-1].ravel(), pixels[:-1].ravel()],
            np.r_[pixels[:, 1:].ravel(), pixels[1:].ravel()],
        ],
        axis=1,
    )
    for edges, plane in zip(support, labels, strict=True):
        low, high = ends[~edges].T
        count, expected = connected_components(
            coo_matrix((np.ones(len(low)), (low, high)), shape=(pixels.size,) * 2)
        )
        assert plane.max() + 1 == count
        assert len(set(zip(plane.ravel(), expected, strict=True))) == count  # a bijection of names
        first_pixels = np.unique(plane, return_index=True)[1]
        assert (np.diff(first_pixels) > 0).all()  # numbered in raster order


def test_region_means_are_the_least_squares_projection(support):
    labels = label_regions(support, HEIGHT, WIDTH)
    rng = np.random.default_rng(1)
    u, v = rng.normal(size=(2, len(labels), 3, HEIGHT, WIDTH))
    projected, other = region_means(u, labels), region_means(v, labels)
    # idempotent, symmetric, into the subspace, and with a residual orthogonal to it
    np.testing.assert_allclose(region_means(projected, labels), projected, atol=1e-14)
    np.testing.assert_allclose((projected * v).sum(), (u * other).sum())
    assert np.abs(variation(projected).swapaxes(1, 2)[~support]).max() == 0
    np.testing.assert_allclose(((u - projected) * other).sum(), 0, atol=1e-12)


def test_means_are_written_to_a_given_array_only_if_it_fits(support):
    labels = label_regions(support, HEIGHT, WIDTH)
    planes = np.random.default_rng(0).random((len(labels), 2, HEIGHT, WIDTH))
    array = np.empty_like(planes)
    assert region_means(planes, labels, array) is array
    np.testing.assert_array_equal(array, region_means(planes, labels))
    for out in (array[:, :1], array.astype(np.float32), np.asfortranarray(array)):
        with pytest.raises(ValueError, match="^out must"):
            region_means(planes, labels, out)


def merge_one_by_one(labels, plane, min_area):
    """Merge regions by the rule in the docstring of `merge_small`, one after the other.

    labels: (H, W). plane: (C, H, W).
    """
    labels = labels.copy()
    while True:
        names, areas = np.unique(labels, return_counts=True)
        if len(names) == 1 or areas.min() >= min_area:
            break
        region = names[areas.argmin()]  # the lowest label among the smallest
        mean = {
            name: plane[:, labels == name].sum(axis=1, dtype=np.float64) / area
            for name, area in zip(names, areas, strict=True)
        }
        pairs = np.concatenate(
            [
                np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()]),
                np.stack([labels[:-1].ravel(), labels[1:].ravel()]),
            ],
            axis=1,
        )
        neighbours = set(pairs[:, (pairs == region).any(axis=0)].ravel()) - {region}
        labels[labels == region] = min(
            neighbours, key=lambda name: (((mean[region] - mean[name]) ** 2).sum(), name)
        )
    return in_raster_order(labels)


def in_raster_order(labels):
    """Return labels numbered in raster order."""
    number = {name: n for n, name in enumerate(dict.fromkeys(labels.ravel()))}
    return np.vectorize(number.get)(labels)


@pytest.mark.slow
@pytest.mark.parametrize("min_area", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("grey_levels", [None, 3])  # with few levels, areas and distances tie
def test_merging_follows_the_rule_one_region_at_a_time(support, channels, min_area, grey_levels):
    labels = label_regions(support, HEIGHT, WIDTH)
    rng = np.random.default_rng(2)
    size = (len(labels), channels, HEIGHT, WIDTH)
    planes = (
        rng.normal(size=size)
        if grey_levels is None
        else rng.integers(grey_levels, size=size).astype(np.float32)
    )
    before = labels.copy()
    merged = merge_small(labels, planes, min_area)
    assert merged.dtype == np.int32
    np.testing.assert_array_equal(labels, before)  # the input is not changed
    for old, plane, new in zip(labels, planes, merged, strict=True):
        # one by one, and alone instead of in a batch
        np.testing.assert_array_equal(new, merge_one_by_one(old, plane, min_area))
        np.testing.assert_array_equal(new, merge_small(old, plane, min_area))
        assert np.bincount(new.ravel()).min() >= min(min_area, new.size)
    if min_area == 1:
        np.testing.assert_array_equal(merged, labels)
    if min_area == 100:
        assert (merged == 0).all()


def test_a_bright_pixel_is_merged_into_the_flat_region_around_it():
    plane = np.zeros((1, HEIGHT, WIDTH))
    plane[0, 3, 4] = 1
    labels = (plane[0] > 0).astype(np.int32)
    np.testing.assert_array_equal(merge_small(labels, plane, 1), labels)
    np.testing.assert_allclose(
        region_means(plane, merge_small(labels, plane, 2)), 1 / (HEIGHT * WIDTH)
    )


def test_merging_commutes_with_flips_and_transposes_if_there_are_no_ties():
    height, width, rng = 17, 15, np.random.default_rng(3)
    for min_area in (2, 3, 10, 60, 100):
        areas = rng.permutation(2 ** np.arange(8))  # 255 pixels; no two sums of them are equal
        labels = np.repeat(np.arange(8), areas).reshape(height, width)
        labels[1::2] = labels[1::2, ::-1]  # every other row reversed, so that regions are connected
        plane = rng.normal(size=(3, height, width))
        merged = merge_small(in_raster_order(labels), plane, min_area)
        assert 0 < merged.max() < 7
        for turn in (np.flipud, np.fliplr, np.transpose):
            turned_plane = np.stack([turn(channel) for channel in plane])
            turned = merge_small(in_raster_order(turn(labels)), turned_plane, min_area)
            np.testing.assert_array_equal(turned, in_raster_order(turn(merged)))


def test_shapes_that_do_not_fit_are_errors_that_name_the_argument(support):
    with pytest.raises(ValueError, match="^support must"):
        label_regions(support, 3, 3)
    with pytest.raises(ValueError, match="^labels must have shape"):
        region_means(np.zeros((1, 2, 2)), np.zeros((3, 3), np.int32))
    with pytest.raises(ValueError, match="^labels must have shape"):
        merge_small(np.zeros((3, 3), np.int32), np.zeros((1, 2, 2)), 2)


@pytest.mark.parametrize(
    ("min_area", "error"),
    [(0, ValueError), (-3, ValueError), (2.0, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_a_bad_min_area_is_an_error_that_names_it(min_area, error):
    with pytest.raises(error, match="^min_area must"):
        merge_small(np.zeros((2, 2), np.int32), np.zeros((1, 2, 2)), min_area)


@pytest.mark.parametrize(
    "function", [region_means, lambda planes, labels: merge_small(labels, planes, 2)]
)
@pytest.mark.parametrize(
    ("dtype", "labels", "error", "argument"),
    [
        (np.uint8, [[0, 1]], TypeError, "planes"),
        (np.float16, [[0, 1]], TypeError, "planes"),
        (np.float64, [[0.0, 1.0]], TypeError, "labels"),
        (np.float64, [[True, False]], TypeError, "labels"),
        (np.float64, [[0, -7]], ValueError, "labels"),
        (np.float64, [[0, 2**32]], ValueError, "labels"),
    ],
)
def test_arrays_that_compiled_code_cannot_use_are_refused(function, dtype, labels, error, argument):
    with pytest.raises(error, match=f"^{argument} must be"):
        function(np.zeros((1, 1, 2), dtype), np.array(labels))


def test_a_support_of_integers_is_refused(support):
    with pytest.raises(TypeError, match="^support must"):
        label_regions(support.astype(np.int64), HEIGHT, WIDTH)


def test_an_area_criterion_merges_small_regions(photographs):
    images = photographs[:4] / np.float32(255)
    form = {"channel_axis": -1, "delta": INF}
    scale = ScaleSpace(images, min_area=9, **form).at(0.6)
    for labels in scale.labels:
        sizes = np.bincount(labels.ravel())
        assert sizes.min() >= 9
        assert len(sizes) > 1
    smoothed = smooth(images, 0.6, output="regions", min_area=9, **form)
    np.testing.assert_array_equal(smoothed, scale.regions)
    for image, region, labels in zip(images, smoothed, scale.labels, strict=True):
        for label in range(labels.max() + 1):
            np.testing.assert_allclose(
                region[labels == label] - image[labels == label].mean(axis=0, dtype=float),
                0,
                atol=1e-6,
            )


def test_an_area_criterion_removes_an_impulse(photographs):
    image = photographs[0] / np.float32(255)
    impulse = image.copy()
    impulse[5, 5] = 1 - impulse[5, 5].round()

    def largest_change(min_area):
        form = {"channel_axis": -1, "delta": INF, "output": "regions", "min_area": min_area}
        return np.abs(smooth(impulse, 0.6, **form) - image)[5, 5].max()

    assert largest_change(2) < 0.5 < largest_change(1)


def test_the_derivative_of_merged_regions_is_their_mean(noisy):
    gradient = np.random.default_rng(0).normal(size=noisy.shape)
    for sparsity in (0.7, 0.0):
        scale = ScaleSpace(noisy, channel_axis=1, delta=INF, min_area=4).at(sparsity)
        merged = np.repeat(scale.labels[:, None], 3, axis=1)
        pulled = scale.pullback(gradient, "regions")
        for n, c in np.ndindex(pulled.shape[:2]):
            label = merged[n, c].ravel()
            means = np.bincount(label, gradient[n, c].ravel()) / np.bincount(label)
            np.testing.assert_allclose(pulled[n, c].ravel(), means[label], atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"min_area": 4}, ValueError),
        ({"min_area": 0, "output": "regions"}, ValueError),
        ({"min_area": 2.5, "output": "regions"}, TypeError),
    ],
)
def test_smooth_refuses_a_bad_min_area_or_one_without_regions(planes, settings, error):
    with pytest.raises(error, match="^min_area must"):
        smooth(planes, 0.8, **settings)
