import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from PIL import Image
from sklearn.datasets import load_sample_image

from virolbi import PAPER, ScaleSpace, lbi, smooth
from virolbi._engine import kernels, memory, threads
from virolbi._engine.graph import variation, variation_adjoint
from virolbi.scale_space import path, solver

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


@SETTINGS
@pytest.mark.parametrize("nu", [1.0, 0.1])
def test_beta_solves_its_equilibrium(photographs, delta, nu):
    """clip(beta - y) + D^T (D beta off the support) / nu = 0: the optimality condition for the support reached."""
    y = (photographs / 255).transpose(0, 3, 1, 2)
    for sparsity in (0.95, 0.7):
        scale = ScaleSpace(y, nu=nu, delta=delta, channel_axis=1).at(sparsity)
        off = ~scale.support[:, None]
        gradient = (
            np.clip(scale.beta - y, -delta, delta)
            + variation_adjoint(variation(scale.beta) * off, 32, 32) / nu
        )
        assert np.abs(gradient).max() < 1e-6


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


@pytest.mark.parametrize("preset", [{}, PAPER])
def testthreads_do_not_depend_on_their_batch_or_on_how_they_are_laid_out(photographs, preset):
    images = (photographs[:21] / np.float32(255)).transpose(0, 3, 1, 2)
    together = smooth(images, 0.8, channel_axis=1, **preset)
    alone = np.stack([smooth(image, 0.8, channel_axis=0, **preset) for image in images])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(
        smooth(images[::-1], 0.8, channel_axis=1, **preset)[::-1], together
    )
    last = smooth(np.asfortranarray(images.transpose(0, 2, 3, 1)), 0.8, channel_axis=-1, **preset)
    np.testing.assert_array_equal(last.transpose(0, 3, 1, 2), together)
    np.testing.assert_array_equal(
        smooth(images.reshape(3, 7, 3, 32, 32), 0.8, channel_axis=2, **preset).reshape(
            images.shape
        ),
        together,
    )


def test_channels_without_a_common_support_are_planes(photographs):
    images = (photographs[:5] / np.float32(255)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(
        smooth(images, 0.8, channel_axis=1, joint=False), smooth(images, 0.8)
    )
    assert ScaleSpace(images, channel_axis=1, joint=False).at(0.8).support.shape == (5, 3, 1984)
    assert ScaleSpace(images, channel_axis=1).at(0.8).support.shape == (5, 1984)


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


def test_every_image_may_have_its_own_sparsity(photographs):
    images = (photographs[:4] / np.float32(255)).transpose(0, 3, 1, 2)
    wanted = np.array([0.9, 0.0, 0.5, 1.0])
    for joint in (True, False):
        each = smooth(images, wanted, channel_axis=1, joint=joint)
        for image, sparsity, result in zip(images, wanted, each, strict=True):
            np.testing.assert_array_equal(
                result, smooth(image, sparsity, channel_axis=0, joint=joint)
            )


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_dtype_shape_and_range_come_back(photographs, dtype):
    images = photographs[:2] / 255
    images = (
        np.rint(images * np.iinfo(dtype).max).astype(dtype)
        if np.issubdtype(dtype, np.integer)
        else images.astype(dtype)
    )
    result = smooth(images, 0.8, channel_axis=-1)
    assert result.dtype == dtype
    assert result.shape == images.shape
    unit = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    np.testing.assert_allclose(
        result / unit, smooth(photographs[:2] / 255, 0.8, channel_axis=-1), atol=0.02
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7),
    st.integers(1, 19),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.sampled_from([0.05, 1.0, 20.0]),
)
def test_small_oddthreads_stay_in_range_and_reach_their_sparsity(height, width, seed, sparsity, nu):
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


def test_a_solved_path_does_not_share_memory_with_itsthreads(photographs):
    images = (photographs[0] / np.float32(255)).transpose(2, 0, 1).copy()
    space = ScaleSpace(images, channel_axis=0)
    before = space.at(0.8)
    for array in (before.beta, before.regions, before.support, before.time, before.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    images[:] = 0
    assert before.beta.max() > 0.1
    np.testing.assert_array_equal(space.at(0.8).beta, before.beta)


def testthreads_that_are_not_copied_are_neither_changed_nor_needed_in_another_form(photographs):
    images = (photographs[:3] / np.float32(255)).transpose(0, 3, 1, 2).copy()
    before, read_only = images.copy(), images.view()
    read_only.flags.writeable = False
    for form in ({}, {"delta": INF, "joint": False}):
        expected = ScaleSpace(images, channel_axis=1, **form).at(0.8)
        for same in (images, read_only, images.astype(">f4"), np.asfortranarray(images)):
            scale = ScaleSpace(same, channel_axis=1, copy=False, **form).at(0.8)
            np.testing.assert_array_equal(scale.beta, expected.beta)
            np.testing.assert_array_equal(scale.regions, expected.regions)
        assert not np.shares_memory(
            ScaleSpace(images, channel_axis=1, copy=False, **form).at(0.0).output("beta"), images
        )
    np.testing.assert_array_equal(images, before)


def test_a_file_in_memory_is_smoothed_into_an_ordinary_array(photographs, tmp_path):
    images = np.memmap(tmp_path / "images", np.float32, "w+", shape=(2, 32, 32))
    images[:] = photographs[:2, ..., 0] / np.float32(255)
    for output in ("beta", "regions"):
        smoothed = smooth(images, 0.8, output=output)
        assert type(smoothed) is np.ndarray
        np.testing.assert_array_equal(smoothed, smooth(np.array(images), 0.8, output=output))


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


def test_memory_that_is_lent_again_leaves_no_trace(photographs, monkeypatch):
    """Whatever it holds and however large the images before were; a path that is kept has memory of its own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # memory is lent by thread
    images, given = photographs[:6, :31, :31] / np.float32(255), memory.aligned
    alone = [smooth(image, 0.8, channel_axis=-1) for image in images]
    outliers = ScaleSpace(images, channel_axis=-1, delta=0.05).at(0.9)
    gradient = outliers.pullback(images)

    def spoilt(*arguments, **settings):
        numbers = given(*arguments, **settings)
        numbers[...] = np.resize([1e30, 2.0, -5.0, 1e-3, 7.0], numbers.shape)
        return numbers

    for module in (memory, path, solver):
        monkeypatch.setattr(module, "aligned", spoilt)
    kept = ScaleSpace(images, channel_axis=-1)
    first = kept.at(0.95).beta
    for image, expected in zip(images, alone, strict=True):
        np.testing.assert_array_equal(smooth(image, 0.8, channel_axis=-1), expected)
    smooth(np.tile(images[0], (4, 4, 1)), 0.9, channel_axis=-1)
    np.testing.assert_array_equal(kept.at(0.8).beta, alone)
    np.testing.assert_array_equal(kept.at(0.95).beta, first)
    np.testing.assert_array_equal(outliers.pullback(images), gradient)


def test_float32_reaches_its_equilibrium_under_strong_noise_too():
    """Most pixels are outliers then, with small weights, and relaxation converges slowly."""
    rng = np.random.default_rng(0)
    y = np.clip(
        0.5 + 0.3 * np.sin(np.arange(32) / 5) + rng.normal(0, 0.38, (4, 32, 32)), 0, 1
    ).astype(np.float32)
    for nu, delta in ((1.0, 0.1), (1.0, 0.03), (0.1, 0.1)):
        scale = ScaleSpace(y, nu=nu, delta=delta).at(0.8)
        gradient = (
            np.clip(scale.beta - y, -delta, delta)
            + variation_adjoint(variation(scale.beta) * ~scale.support, 32, 32) / nu
        )
        assert np.abs(gradient).max() < 1e-3 * delta / 0.1 / nu


def test_small_nu_is_followed_nearly_as_by_smaller_steps(monkeypatch):
    photograph = np.asarray(Image.fromarray(load_sample_image("china.jpg")).reduce(3))
    image = photograph[20:116, 60:156] / np.float32(255)
    coarse = ScaleSpace(image, nu=0.01, channel_axis=-1).at(0.8)
    usual = solver.Solver.settings

    def finer(solver, kind):
        settings = usual(solver, kind)
        return settings._replace(
            growth=settings.growth / 4,
            relaxations=3 * settings.relaxations,
            begin=3 * settings.begin,
        )

    monkeypatch.setattr(solver.Solver, "settings", finer)
    assert (
        coarse.support == ScaleSpace(image, nu=0.01, channel_axis=-1).at(0.8).support
    ).mean() > 0.98


def test_colours_in_the_last_axis_without_a_word_are_a_warning(photographs):
    with pytest.warns(
        UserWarning,
        match=r"taken for planes of width 3; if their last axis holds colours, pass channel_axis=-1",
    ):
        smooth(photographs[0], 0.8)
    with pytest.warns(UserWarning, match="taken for planes of width 1"):
        smooth(photographs[0, ..., :1], 0.8)


def testthreads_of_one_pixel_or_one_row_are_allowed():
    np.testing.assert_array_equal(smooth(np.array([[0.3]]), 0.5), [[0.3]])
    np.testing.assert_array_equal(
        smooth(np.full((2, 1, 1, 3), 7, np.uint8), 0.5, channel_axis=-1, output="regions"), 7
    )
    assert ScaleSpace(np.array([[0.3]])).at(0.5).sparsity == 1
    row = np.array([[0.0, 0.01, 0.0, 0.8, 0.81, 0.8]])
    for image in (row, row.T):
        assert smooth(image, 0.8, **PAPER).ravel() == pytest.approx([0.01 / 3] * 3 + [2.41 / 3] * 3)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 1.0])
def test_a_constant_image_comes_back(value, sparsity):
    image = np.full((5, 7), value)
    np.testing.assert_allclose(smooth(image, sparsity), image, atol=1e-12)
    assert ScaleSpace(image).at(sparsity).time == (0 if sparsity == 1 else np.inf)


@pytest.mark.parametrize(
    ("size", "nu", "delta", "sparsity"),
    [((600, 500), 1.0, 0.1, 0.9), ((256, 256), 0.01, 0.02, 1.0)],
)
def test_largethreads_and_slow_equilibria_come_to_their_end(size, nu, delta, sparsity):
    """Images of more than 2**18 numbers are swept in segments; with weak coupling and many outliers a sweep moves little."""
    image = np.random.default_rng(0).normal(0, 0.1, size)
    image[60:190, 60:190] += 0.8
    scale = ScaleSpace(image, nu=nu, delta=delta).at(sparsity)
    pull = np.clip(scale.beta - image, -delta, delta)
    gradient = pull + variation_adjoint(variation(scale.beta[None]) * ~scale.support, *size)[0] / nu
    assert np.abs(gradient).max() < 1e-9
    if sparsity == 1:  # where the support is that of single precision too
        single = ScaleSpace(image.astype(np.float32), nu=nu, delta=delta).at(1)
        np.testing.assert_allclose(single.beta, scale.beta, atol=2e-3)


@pytest.mark.parametrize(
    ("images", "arguments", "error", "message"),
    [
        ([[0.1, 0.2]], {}, TypeError, r"images must be a NumPy array \(or, .* tensor\), got list"),
        (np.zeros((2, 2), int), {}, TypeError, "images must be uint8, .* got int64"),
        (np.zeros((2, 2), bool), {}, TypeError, "got bool"),
        (np.zeros((2, 2), complex), {}, TypeError, "got complex128"),
        (np.array([["a"]]), {}, TypeError, "got <U1"),
        (np.zeros(4), {}, ValueError, r"at least 2 axes .* got shape \(4,\)"),
        (np.zeros((4, 4)), {"channel_axis": 0}, ValueError, r"at least 3 axes with channel_axis=0, got shape \(4, 4\)"),
        (np.zeros((3, 4, 4)), {"channel_axis": 3}, ValueError, "channel_axis must be one of the 3 axes of images, got 3"),
        (np.zeros((0, 4)), {}, ValueError, r"must not be empty, got shape \(0, 4\)"),
        (np.zeros((0, 4, 4)), {}, ValueError, "must not be empty"),
        (np.array([[0.0, np.nan]]), {}, ValueError, "images must be finite, got NaN"),
        (np.array([[0.0, np.inf]]), {}, ValueError, "images must be finite, got values from 0.0 to inf"),
        (np.array([[0.0, 255.0]]), {}, ValueError, r"must be intensities in \[0, 1\], got values from 0 to 255"),
        (np.zeros((4, 4)), {"sparsity": 1.1}, ValueError, r"sparsity must be in \[0, 1\], got 1.1"),
        (np.zeros((4, 4)), {"sparsity": -0.1}, ValueError, r"sparsity must be in \[0, 1\], got -0.1"),
        (np.zeros((4, 4)), {"sparsity": float("nan")}, ValueError, r"sparsity must be in \[0, 1\], got nan"),
        (np.zeros((4, 4)), {"sparsity": "high"}, ValueError, "sparsity must be a number in .* or 'auto', got 'high'"),
        (np.zeros((2, 4, 4)), {"sparsity": [0.1, 0.2, 0.3]}, ValueError, r"broadcasts to shape \(2,\)"),
        (np.zeros((4, 4)), {"nu": 0.0}, ValueError, r"nu must be in \[0.001, 1000\], got 0.0"),
        (np.zeros((4, 4)), {"nu": float("nan")}, ValueError, r"nu must be in \[0.001, 1000\], got nan"),
        (np.zeros((4, 4)), {"delta": -1.0}, ValueError, "delta must be >= 0.001, or infinite, got -1.0"),
        (np.zeros((4, 4)), {"sparsity": None}, ValueError, "sparsity must be a number or an array .* got None"),
        (np.zeros((4, 4)), {"sparsity": "0.8"}, ValueError, "sparsity must be a number in .* or 'auto', got '0.8'"),
        (np.zeros((4, 4)), {"delta": None}, TypeError, "delta must be a number, got None"),
        (np.zeros((4, 4, 4)), {"channel_axis": "last"}, TypeError, "channel_axis must be a whole number or None, got 'last'"),
        (np.ma.masked_array(np.zeros((4, 4)), False), {}, TypeError, "images must be a NumPy array .*, got MaskedArray"),
        (np.zeros((4, 4)), {"nu": np.complex64(1)}, TypeError, "nu must be a number"),
        (np.zeros((4, 4)), {"joint": "no"}, TypeError, "joint must be true or false, got 'no'"),
        (np.zeros((4, 4)), {"sparsity": "auto", "output": "regions"}, ValueError, "sparsity must be a number for output='regi"),
        (np.zeros((4, 4)), {"output": "gamma"}, ValueError, "output must be 'beta' or 'regions', got 'gamma'"),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_its_rule_and_value(images, arguments, error, message):
    with pytest.raises(error, match=message):
        smooth(images, **({"sparsity": 0.5} | arguments))


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
    with pytest.raises(
        ValueError, match=r"time must be a number or an array that broadcasts to shape \(4,\)"
    ):
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


@pytest.mark.parametrize("preset", [{}, PAPER], ids=["robust", "paper"])
@pytest.mark.parametrize("axis", [0, 1, 2, 4])
def test_wherever_the_colours_are_each_image_comes_back_as_it_would_alone(
    preset, axis, monkeypatch
):
    monkeypatch.setattr(threads, "SHARE", 1000)  # numbers to a thread: several shares
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 3, 8, 9)).astype(np.uint8)
    smoothed = np.moveaxis(
        smooth(np.moveaxis(images, 2, axis), 0.7, channel_axis=axis, **preset), axis, 2
    )
    for place in np.ndindex(2, 5):
        np.testing.assert_array_equal(
            smoothed[place], smooth(images[place], 0.7, channel_axis=0, **preset)
        )


def test_the_other_byte_order_is_one_more_way_to_write_numbers(planes):
    native = planes.astype(np.float64)
    foreign = smooth(native.astype(native.dtype.newbyteorder("S")), 0.8)
    np.testing.assert_array_equal(foreign, smooth(native, 0.8))


def test_a_moment_is_named_once(planes):
    with pytest.raises(
        ValueError, match=r"give a sparsity or a time, not both, got sparsity=0.5 and time=1.0"
    ):
        ScaleSpace(planes).at(0.5, time=1.0)


@pytest.mark.parametrize("time", [-1.0, float("nan"), "late"])
def test_times_that_are_none_are_refused(planes, time):
    with pytest.raises(ValueError, match="time must be"):
        ScaleSpace(planes).at(time=time)


@pytest.mark.parametrize("preset", [{}, PAPER], ids=["robust", "paper"])
def testthreads_swept_in_segments_are_asthreads_swept_whole(photographs, preset, monkeypatch):
    """Large images pass through the cache segment by segment, eight steps in one go: the same to the last bit."""
    images = photographs[:4] / np.float32(255)
    results, original = [], memory.grid_of
    for cached, segment in ((0, None), (0, 10**6), (10**6, None)):

        def grid_of(*shape, cached=cached, segment=segment):
            monkeypatch.setattr(memory, "CACHED", cached)
            grid = original(*shape)
            return grid if segment is None else grid._replace(segment=segment)

        monkeypatch.setattr(path, "grid_of", grid_of)
        monkeypatch.setattr(solver, "grid_of", grid_of)
        results.append(smooth(images, 0.8, nu=0.1, channel_axis=-1, **preset))
    np.testing.assert_array_equal(results[0], results[1])
    assert (
        np.abs(results[0] - results[2]).mean() < 2e-3
    )  # the moment is looked for among eight steps, not in one


def test_sixteen_pixels_rest_where_nothing_next_to_them_has_moved():
    """Pixel k lies in vector k // 16; its neighbours are k - width, k - 1, k + 1 and k + width."""

    @njit
    def awake(before, after, width, first, last):
        activity, flags, vector = (
            kernels.Activity(kernels._pair((before, after)), width // 16, 0.0),
            [0] * 0,
            first,
        )
        while vector < last:
            resting = kernels._rest(activity, 0, vector, last)
            if resting == 0:
                flags.append(vector)
            vector += max(resting, 1)
        return flags

    rng = np.random.default_rng(0)
    for width in (1, 15, 16, 33, 80):
        first, last = width // 16 + 2, width // 16 + 60
        for share in (0.003, 0.03, 0.3):
            before, after = np.zeros(2 * first + 66, np.uint8), np.ones(2 * first + 66, np.uint8)
            before[first:last] = rng.random(last - first) < share
            pixels = np.arange(16 * first, 16 * last)
            near = [before[(pixels + step) // 16] for step in (-width, -1, 0, 1, width)]
            expected = np.flatnonzero(np.any(near, axis=0).reshape(-1, 16).any(1)) + first
            found = awake(before, after, width, first, last)
            assert (
                set(expected) <= set(found) <= set(expected) | set(expected + 1) | set(expected - 1)
            )  # by whole vectors
            assert set(np.flatnonzero(after[first:last]) + first) == set(found)
            assert after[:first].all()
            assert after[last:].all()


def test_results_do_not_depend_on_the_number_of_threads(photographs, monkeypatch):
    images = np.tile(photographs / np.float32(255), (3, 1, 1, 1))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    together, started, pool = smooth(images, 0.8, channel_axis=-1), [], threads._pool
    monkeypatch.setattr(
        threads, "_pool", lambda number, process: started.append(number) or pool(number, process)
    )
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    np.testing.assert_array_equal(smooth(images, 0.8, channel_axis=-1), together)
    assert set(started) == {3}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    np.testing.assert_array_equal(smooth(images, 0.8, channel_axis=-1), together)
    assert set(started) == {3, 1}  # beside the main thread, see `parallel`


def test_ctrl_c_is_an_exception_and_not_a_crash():
    """In a process of its own, for Numba used to take it down; the signal comes while the path is followed."""
    code = """
import os, signal, threading, numpy as np
from virolbi import smooth
image = np.random.default_rng(0).random((500, 500))
smooth(image[:8, :8], 0.9)                                                      # so that everything is loaded
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    for _ in range(100):
        smooth(image, 0.95, nu=0.01)
except KeyboardInterrupt:
    print("interrupted", smooth(np.zeros((2, 2)), 0.5).sum())
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "interrupted 0.0\n"), ended.stderr


def test_ctrl_c_does_not_wait_for_an_image_that_takes_long():
    """Nor does the next call; this one would take minutes."""
    code = """
import os, signal, threading, time, numpy as np
from virolbi import smooth
image = np.random.default_rng(0).random((400, 400))
smooth(image[:8, :8], 0.9, nu=0.001)
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
began = time.perf_counter()
try:
    smooth(image, 0.5, nu=0.001)
except KeyboardInterrupt:
    smooth(image[:8, :8], 0.9, nu=0.001)
    print("interrupted" if time.perf_counter() - began < 20 else "late", flush=True)
    os._exit(0)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "interrupted\n"), ended.stderr


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


@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="no forks on this system; runs on Linux, in .ci/run"
)
def test_a_fork_starts_threads_of_its_own(photographs, monkeypatch):
    """As the workers of a torch DataLoader are; the threads of the parent do not exist there."""
    monkeypatch.setattr(threads, "SHARE", 1000)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    images = photographs[:4] / np.float32(255)
    expected = smooth(images, 0.8, channel_axis=-1)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(smooth(images, 0.8, channel_axis=-1), expected) else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
    assert (done, status) == (child, 0)


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
    ("settings", "error", "message"),
    [
        (
            {"min_area": 4},
            ValueError,
            "min_area is for output='regions', got min_area=4 with output='beta'",
        ),
        ({"min_area": 0, "output": "regions"}, ValueError, "min_area must be >= 1, got 0"),
        (
            {"min_area": 2.5, "output": "regions"},
            TypeError,
            "min_area must be a whole number, got 2.5",
        ),
    ],
)
def test_area_criteria_that_make_no_sense_are_refused(planes, settings, error, message):
    with pytest.raises(error, match=message):
        smooth(planes, 0.8, **settings)


def testthreads_too_large_to_number_their_edges_are_refused():
    with pytest.raises(
        ValueError, match=r"images must have fewer than 2\*\*30 pixels each, got 32768x32768"
    ):
        smooth(np.broadcast_to(np.float32(0.5), (32768, 32768)), 0.8)
