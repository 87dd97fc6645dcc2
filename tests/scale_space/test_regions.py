import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from virolbi._engine.graph import edge_count, variation
from virolbi.scale_space import label_regions, merge_small, region_means

HEIGHT, WIDTH = 7, 11


@pytest.fixture
def support():
    return np.random.default_rng(0).random((20, edge_count(HEIGHT, WIDTH))) < 0.6


@pytest.mark.parametrize(
    "shape", [(HEIGHT, WIDTH), (40, 1), (1, 40), (20, 16), (9, 17), (60, 33), (64, 64), (25, 47)]
)
@pytest.mark.parametrize(
    "share", [0, 0.1, 0.45, 0.5, 0.6, 1]
)  # half of the edges is where regions wind most
def test_regions_are_the_connected_components_scipy_finds(shape, share):
    support = np.random.default_rng(0).random((20, edge_count(*shape))) < share
    check_regions(support, label_regions(support, *shape))


def test_a_spiral_is_one_region_beside_another():
    """Of all shapes the one whose marks meet last: each arm has a mark of its own until the centre."""
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
        assert (
            np.diff(np.unique(plane, return_index=True)[1]) > 0
        ).all()  # numbered in raster order


def test_region_means_are_the_least_squares_projection(support):
    labels = label_regions(support, HEIGHT, WIDTH)
    rng = np.random.default_rng(1)
    u, v = rng.normal(size=(2, len(labels), 3, HEIGHT, WIDTH))
    projected = region_means(u, labels)
    np.testing.assert_allclose(region_means(projected, labels), projected, atol=1e-14)  # idempotent
    np.testing.assert_allclose(
        (projected * v).sum(), (u * region_means(v, labels)).sum()
    )  # symmetric
    assert np.abs(variation(projected).swapaxes(1, 2)[~support]).max() == 0  # into the subspace
    np.testing.assert_allclose(
        ((u - projected) * region_means(v, labels)).sum(), 0, atol=1e-12
    )  # residual orthogonal to it


def test_means_are_written_only_where_they_fit(support):
    labels = label_regions(support, HEIGHT, WIDTH)
    planes = np.random.default_rng(0).random((len(labels), 2, HEIGHT, WIDTH))
    given = np.empty_like(planes)
    assert region_means(planes, labels, given) is given
    np.testing.assert_array_equal(given, region_means(planes, labels))
    for out in (given[:, :1], given.astype(np.float32), np.asfortranarray(given)):
        with pytest.raises(
            ValueError, match=r"out must be contiguous float64 of shape \(20, 2, 7, 11\), got float"
        ):
            region_means(planes, labels, out)


def merge_one_by_one(labels, plane, min_area):
    """The rule of `merge_small` word by word: labels (H, W), plane (C, H, W)."""
    labels = labels.copy()
    while True:
        names, areas = np.unique(labels, return_counts=True)
        if len(names) == 1 or areas.min() >= min_area:
            break
        region = names[areas.argmin()]  # the first, so the lowest label, of the smallest
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
    number = {name: n for n, name in enumerate(dict.fromkeys(labels.ravel()))}
    return np.vectorize(number.get)(labels)


@pytest.mark.parametrize("min_area", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "grey_levels", [None, 3]
)  # few levels: areas and distances tie at every turn
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
    np.testing.assert_array_equal(labels, before)  # the caller's are left alone
    for old, plane, new in zip(labels, planes, merged, strict=True):
        np.testing.assert_array_equal(new, merge_one_by_one(old, plane, min_area))
        np.testing.assert_array_equal(new, merge_small(old, plane, min_area))  # batch = loop
        assert np.bincount(new.ravel()).min() >= min(min_area, new.size)
    if min_area == 1:
        np.testing.assert_array_equal(merged, labels)
    if min_area == 100:
        assert (merged == 0).all()


def test_a_bright_pixel_joins_the_mean_of_the_flat_region_around_it():
    plane = np.zeros((1, HEIGHT, WIDTH))
    plane[0, 3, 4] = 1
    labels = (plane[0] > 0).astype(np.int32)
    np.testing.assert_array_equal(merge_small(labels, plane, 1), labels)
    np.testing.assert_allclose(
        region_means(plane, merge_small(labels, plane, 2)), 1 / (HEIGHT * WIDTH)
    )


def test_merging_commutes_with_flips_and_transposes_where_nothing_ties():
    height, width, rng = 17, 15, np.random.default_rng(3)
    for min_area in (2, 3, 10, 60, 100):
        areas = rng.permutation(2 ** np.arange(8))  # 255 pixels; no two sums of them are equal
        labels = np.repeat(np.arange(8), areas).reshape(height, width)
        labels[1::2] = labels[1::2, ::-1]  # along a snake, so that every region hangs together
        plane = rng.normal(size=(3, height, width))
        merged = merge_small(in_raster_order(labels), plane, min_area)
        assert 0 < merged.max() < 7
        for change in (np.flipud, np.fliplr, np.transpose):
            changed = merge_small(
                in_raster_order(change(labels)),
                np.stack([change(channel) for channel in plane]),
                min_area,
            )
            np.testing.assert_array_equal(changed, in_raster_order(change(merged)))


def test_wrong_shapes_are_named(support):
    with pytest.raises(ValueError, match="support must have 12 edges for 3x3, got 136"):
        label_regions(support, 3, 3)
    with pytest.raises(ValueError, match=r"labels must have shape \(2, 2\), got \(3, 3\)"):
        region_means(np.zeros((1, 2, 2)), np.zeros((3, 3), np.int32))
    with pytest.raises(ValueError, match=r"labels must have shape \(2, 2\), got \(3, 3\)"):
        merge_small(np.zeros((3, 3), np.int32), np.zeros((1, 2, 2)), 2)


@pytest.mark.parametrize(
    ("min_area", "error", "message"),
    [
        (0, ValueError, "min_area must be >= 1, got 0"),
        (-3, ValueError, "min_area must be >= 1, got -3"),
        (2.0, TypeError, "min_area must be a whole number, got 2.0"),
        ("2", TypeError, "min_area must be a whole number, got '2'"),
        (True, TypeError, "min_area must be a whole number, got True"),
    ],
)
def test_a_min_area_that_makes_no_sense_is_named(min_area, error, message):
    with pytest.raises(error, match=message):
        merge_small(np.zeros((2, 2), np.int32), np.zeros((1, 2, 2)), min_area)


@pytest.mark.parametrize(
    "use", [region_means, lambda planes, labels: merge_small(labels, planes, 2)]
)
@pytest.mark.parametrize(
    ("planes", "labels", "error", "message"),
    [
        (np.uint8, [[0, 1]], TypeError, "planes must be float32 or float64, got uint8"),
        (np.float16, [[0, 1]], TypeError, "planes must be float32 or float64, got float16"),
        (np.float64, [[0.0, 1.0]], TypeError, "labels must be integers, got float64"),
        (np.float64, [[True, False]], TypeError, "labels must be integers, got bool"),
        (np.float64, [[0, -7]], ValueError, r"labels must be in \[0, 2\*\*31\), got -7"),
        (np.float64, [[0, 2**32]], ValueError, r"labels must be in \[0, 2\*\*31\), got 4294967296"),
    ],
)
def test_what_compiled_code_would_get_wrong_is_named(use, planes, labels, error, message):
    with pytest.raises(error, match=message):
        use(np.zeros((1, 1, 2), planes), np.array(labels))


def test_a_support_of_zeros_and_ones_is_refused(support):
    with pytest.raises(TypeError, match="support must be bool, got int64"):
        label_regions(support.astype(np.int64), HEIGHT, WIDTH)
