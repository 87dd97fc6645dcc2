from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virolbi import PAPER, ScaleSpace, lbi, smooth
from virolbi._engine.graph import variation

INF = float("inf")
SETTINGS = pytest.mark.parametrize("delta", [INF, 0.1])


@SETTINGS
def test_limit_path_agrees_with_the_reference_iteration(planes, delta):
    """50 real planes, kappa = 200, nu = 1: the same edges in the support, 98.5 % or more of them on average."""
    space, reference = ScaleSpace(planes, delta=delta), None
    for sparsity in (0.8, 0.6, 0.4):
        reference = lbi(planes, kappa=200.0, delta=delta, sparsity=sparsity, resume=reference)
        assert (space.at(sparsity).support == reference.support).mean() >= 0.985


@SETTINGS
def test_limit_path_agrees_where_edges_leave_the_support_too(planes, delta):
    """At nu = 0.1 many do: a path that only ever lets edges in agrees on 97 to 98 % at sparsity 0.6."""
    space, reference = ScaleSpace(planes[:12], nu=0.1, delta=delta), None
    for sparsity in (0.8, 0.6):
        reference = lbi(
            planes[:12], kappa=50.0, nu=0.1, delta=delta, sparsity=sparsity, resume=reference
        )
        assert (space.at(sparsity).support == reference.support).mean() >= 0.985


@pytest.mark.parametrize("preset", [{}, PAPER])
def test_reached_sparsity_is_the_asked_one_to_within_one_edge(planes, preset):
    settings = {key: value for key, value in preset.items() if key != "output"}
    space = ScaleSpace(planes, **settings)
    for sparsity in (0.99, 0.9, 0.61, 0.37):
        assert np.abs(space.at(sparsity).sparsity - sparsity).max() * 1984 <= 1


def test_sparsity_falls_and_the_image_comes_back_as_time_runs(planes):
    space = ScaleSpace(planes)
    scales = [space.at(sparsity) for sparsity in (0.9, 0.6, 0.3)]
    assert (np.diff([scale.time for scale in scales], axis=0) > 0).all()
    errors = [np.abs(scale.beta - planes).mean() for scale in scales]
    assert errors[0] > errors[1] > errors[2] > 0


def test_the_ends_of_the_path(planes, photographs):
    np.testing.assert_array_equal(smooth(planes, 0.0), planes)
    np.testing.assert_array_equal(smooth(photographs, 0.0, channel_axis=-1), photographs)
    blank = smooth(planes, 1.0, **PAPER)
    np.testing.assert_allclose(
        blank, np.broadcast_to(planes.mean(axis=(1, 2), keepdims=True), planes.shape), atol=1e-6
    )
    assert np.ptp(blank, axis=(1, 2)).max() == 0


def test_a_path_that_has_ended_is_the_input():
    plane = np.zeros((8, 8), np.float32)
    plane[2:5, 3:6] = 0.7  # 12 of 112 edges vary
    scale = ScaleSpace(plane).at(0.5)
    np.testing.assert_array_equal(scale.beta, plane)
    assert scale.support.sum() == 12
    assert scale.time == np.inf


@pytest.mark.parametrize("nu", [1.0, 0.05])
@pytest.mark.parametrize("delta", [np.inf, 0.1])
def test_a_faint_image_has_its_path_too(nu, delta):
    plane = np.array(
        [[32768, 32767, 32768, 32768, 32766]], np.uint16
    )  # steps of 1.5e-5, and fainter ones at equilibrium
    scale = ScaleSpace(plane, nu=nu, delta=delta).at(0.75)
    np.testing.assert_array_equal(scale.support, [False, False, False, True])
    assert 0 < scale.time < np.inf


def test_strong_large_variations_enter_first():
    plane = np.zeros((16, 16))
    plane[:, 8:] = 0.6
    plane[4, 3] = 0.6  # a speck as strong as the contour
    support = ScaleSpace(plane).at(1 - 16 / 480).support
    np.testing.assert_array_equal(np.flatnonzero(support), [row * 15 + 7 for row in range(16)])


@pytest.mark.parametrize("output", ["beta", "regions"])
@pytest.mark.parametrize(
    "turn", [np.fliplr, np.flipud, np.transpose], ids=lambda turn: turn.__name__
)
def test_flips_and_transposes_commute(planes, turn, output):
    for plane in planes[:10].astype(float):
        turned, expected = (
            smooth(turn(plane), 0.7, output=output),
            turn(smooth(plane, 0.7, output=output)),
        )
        np.testing.assert_allclose(turned, expected, atol=1e-6)


def test_the_robust_path_shuts_impulses_out_and_the_paper_form_lets_them_in(photographs):
    """DESIGN 3b in small: PSNR against the clean images gains 3 dB or more over the input, the paper's form about none."""
    clean = photographs / np.float32(255)
    rng = np.random.default_rng(0)
    draw = rng.random(clean.shape)
    impulse = np.where(draw < 0.025, 0, np.where(draw < 0.05, 1, clean)).astype(np.float32)

    def psnr(images):
        return -10 * np.log10(np.mean((images - clean) ** 2))

    assert psnr(smooth(impulse, 0.8, channel_axis=-1)) > psnr(impulse) + 3
    assert psnr(smooth(impulse, 0.6, channel_axis=-1, **PAPER)) < psnr(impulse) + 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7),
    st.integers(1, 19),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.sampled_from([0.05, 1.0, 20.0]),
)
def test_small_odd_images_stay_in_range_and_reach_their_sparsity(height, width, seed, sparsity, nu):
    rng = np.random.default_rng(seed)
    images = rng.random((3, height, width), dtype=np.float32).round(rng.integers(1, 4))
    for delta in (0.1, INF):
        scale = ScaleSpace(images, nu=nu, delta=delta).at(sparsity)
        assert scale.beta.min() >= images.min() - 1e-3
        assert scale.beta.max() <= images.max() + 1e-3
        edges = scale.support.shape[-1]
        varying = (np.abs(variation(images)) > 1e-6).sum(axis=-1)
        assert (
            scale.support.sum(axis=-1) >= np.minimum(varying, np.rint((1 - sparsity) * edges))
        ).all()


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 1.0])
def test_a_constant_image_comes_back(value, sparsity):
    image = np.full((5, 7), value)
    np.testing.assert_allclose(smooth(image, sparsity), image, atol=1e-12)
    assert ScaleSpace(image).at(sparsity).time == (0 if sparsity == 1 else np.inf)


@pytest.mark.parametrize("nu", [1.0, 0.1])
@pytest.mark.parametrize("preset", [{}, PAPER], ids=["robust", "paper"])
def test_one_path_answers_for_every_sparsity_in_any_order_as_a_fresh_one_would(
    photographs, preset, nu
):
    settings = {key: value for key, value in preset.items() if key != "output"} | {
        "nu": nu,
        "channel_axis": -1,
    }
    images = photographs[:6] / np.float32(255)
    space = ScaleSpace(images, **settings)
    each = np.array([0.97, 0.7, 0.6, 0.99, 1.0, 0.0])
    for sparsity in (0.9, 0.8, 0.95, 0.6, each, 0.7, 0.99, 1.0, 0.85):
        scale, fresh = space.at(sparsity), ScaleSpace(images, **settings).finish(sparsity)
        np.testing.assert_array_equal(scale.support, fresh.support)
        np.testing.assert_array_equal(scale.time, fresh.time)
        np.testing.assert_array_equal(scale.beta, fresh.beta)


def test_a_moment_on_the_path_can_be_named_by_its_time(planes):
    space = ScaleSpace(planes)
    for sparsity in (0.8, 0.95, 0.6):
        scale = space.at(sparsity)
        for again in (space, ScaleSpace(planes)):
            np.testing.assert_array_equal(again.at(time=scale.time).support, scale.support)
        np.testing.assert_array_equal(
            ScaleSpace(planes).finish(time=scale.time).support, scale.support
        )
        before = space.at(time=scale.time * (1 - 1e-4))
        assert (before.support.sum(axis=-1) < scale.support.sum(axis=-1)).all()
    assert not space.at(time=0).support.any()
    plane = np.zeros((8, 8), np.float32)
    plane[2:5, 3:6] = 0.7
    late = ScaleSpace(plane).at(time=1e5)
    np.testing.assert_array_equal(late.beta, plane)
    assert late.time == np.inf


def test_what_a_moment_says_of_itself_names_it_again_for_every_support(photographs):
    space = ScaleSpace(photographs[:4], channel_axis=-1, joint=False, delta=INF)
    scale = space.at(0.8)
    assert scale.time.shape == (4, 3)
    for again in (space.at(time=scale.time), space.at(scale.sparsity)):
        np.testing.assert_array_equal(again.support, scale.support)
    with pytest.raises(ValueError, match="^time must"):
        space.at(time=scale.time[:2])


def test_threads_that_ask_one_path_get_what_one_after_the_other_would():
    image = np.random.default_rng(0).random((128, 128))
    sparsities = [0.95, 0.9, 0.8, 0.7] * 6
    expected = {sparsity: ScaleSpace(image).at(sparsity).support for sparsity in sparsities}
    for _ in range(3):
        space = ScaleSpace(image)
        with ThreadPoolExecutor(4) as pool:
            for sparsity, scale in zip(sparsities, pool.map(space.at, sparsities), strict=True):
                np.testing.assert_array_equal(scale.support, expected[sparsity])


def test_a_moment_is_named_once(planes):
    with pytest.raises(ValueError, match="a sparsity or a time"):
        ScaleSpace(planes).at(0.5, time=1.0)


@pytest.mark.parametrize("time", [-1.0, float("nan"), "late"])
def test_times_that_are_none_are_refused(planes, time):
    with pytest.raises(ValueError, match="^time must"):
        ScaleSpace(planes).at(time=time)


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


def test_regions_at_sparsity_0_are_the_input_too():
    image = np.random.default_rng(0).random(
        (316, 316), dtype=np.float32
    )  # some neighbours are closer than SMALLEST
    for delta in (0.1, INF):
        np.testing.assert_array_equal(smooth(image, 0, delta=delta, output="regions"), image)
        np.testing.assert_array_equal(ScaleSpace(image, delta=delta).at(0).regions, image)


def test_infinity_is_a_time_too(planes):
    images = np.stack([planes[0], np.full_like(planes[0], 0.3)])
    space = ScaleSpace(images)
    scale = space.at(0.8)
    again = space.at(time=scale.time)
    assert again.time[1] == np.inf
    np.testing.assert_array_equal(again.support, scale.support)
    np.testing.assert_array_equal(space.at(time=np.inf).beta, images)


def test_an_area_criterion_merges_small_regions(photographs):
    images = photographs[:4] / np.float32(255)
    space = ScaleSpace(images, channel_axis=-1, delta=INF, min_area=9)
    scale = space.at(0.6)
    for labels in scale.labels:
        sizes = np.bincount(labels.ravel())
        assert sizes.min() >= 9
        assert len(sizes) > 1
    smoothed = smooth(images, 0.6, channel_axis=-1, delta=INF, output="regions", min_area=9)
    np.testing.assert_array_equal(smoothed, scale.regions)
    for image, region, labels in zip(images, smoothed, scale.labels, strict=True):
        for label in range(labels.max() + 1):
            np.testing.assert_allclose(
                region[labels == label] - image[labels == label].mean(axis=0, dtype=float),
                0,
                atol=1e-6,
            )
    impulse = images[0].copy()
    impulse[5, 5] = 1 - impulse[5, 5].round()
    rest = np.abs(
        smooth(impulse, 0.6, channel_axis=-1, delta=INF, output="regions", min_area=2) - images[0]
    )[5, 5].max()
    assert (
        rest
        < 0.5
        < np.abs(smooth(impulse, 0.6, channel_axis=-1, delta=INF, output="regions") - images[0])[
            5, 5
        ].max()
    )


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
def test_area_criteria_that_make_no_sense_are_refused(planes, settings, error):
    with pytest.raises(error, match="^min_area must"):
        smooth(planes, 0.8, **settings)


def test_images_too_large_to_number_their_edges_are_refused():
    with pytest.raises(
        ValueError, match=r"images must have fewer than 2\*\*30 pixels each, got 32768x32768"
    ):
        smooth(np.broadcast_to(np.float32(0.5), (32768, 32768)), 0.8)
