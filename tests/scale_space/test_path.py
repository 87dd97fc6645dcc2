import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from virolbi import PAPER, ScaleSpace, lbi, smooth

INF = float("inf")
DELTAS = pytest.mark.parametrize("delta", [INF, 0.1])
PRESETS = pytest.mark.parametrize("preset", [{}, PAPER], ids=["robust", "paper"])


def path_settings(preset):
    """Return the settings of a preset that `ScaleSpace` takes."""
    return {name: value for name, value in preset.items() if name != "output"}


@pytest.mark.slow
@DELTAS
def test_limit_path_agrees_with_the_reference_iteration(planes, delta):
    """98.5 % or more of the edges agree on average, for 25 real planes, kappa = 200 and nu = 1."""
    planes = planes[::2]
    space, reference = ScaleSpace(planes, delta=delta), None
    for sparsity in (0.8, 0.6, 0.4):
        reference = lbi(planes, kappa=200.0, delta=delta, sparsity=sparsity, resume=reference)
        assert (space.at(sparsity).support == reference.support).mean() >= 0.985


@pytest.mark.slow
@DELTAS
def test_limit_path_agrees_with_the_reference_when_edges_leave_the_support(planes, delta):
    """At nu = 0.1 many edges leave.

    A path on which edges only enter agrees on 97 to 98 % at sparsity 0.6.
    """
    space, reference = ScaleSpace(planes[:12], nu=0.1, delta=delta), None
    for sparsity in (0.8, 0.6):
        reference = lbi(
            planes[:12], kappa=50.0, nu=0.1, delta=delta, sparsity=sparsity, resume=reference
        )
        assert (space.at(sparsity).support == reference.support).mean() >= 0.985


@PRESETS
def test_the_sparsity_is_reached_to_within_one_edge(planes, preset):
    space = ScaleSpace(planes, **path_settings(preset))
    for sparsity in (0.99, 0.9, 0.61, 0.37):
        assert np.abs(space.at(sparsity).sparsity - sparsity).max() * 1984 <= 1


def test_with_time_sparsity_falls_and_beta_approaches_the_image(planes):
    space = ScaleSpace(planes)
    scales = [space.at(sparsity) for sparsity in (0.9, 0.6, 0.3)]
    assert (np.diff([scale.time for scale in scales], axis=0) > 0).all()
    errors = [np.abs(scale.beta - planes).mean() for scale in scales]
    assert errors[0] > errors[1] > errors[2] > 0


def test_the_path_starts_at_the_mean_and_ends_at_the_image(planes, photographs):
    np.testing.assert_array_equal(smooth(planes, 0.0), planes)
    np.testing.assert_array_equal(smooth(photographs, 0.0, channel_axis=-1), photographs)
    blank = smooth(planes, 1.0, **PAPER)
    means = np.broadcast_to(planes.mean(axis=(1, 2), keepdims=True), planes.shape)
    np.testing.assert_allclose(blank, means, atol=1e-6)
    assert np.ptp(blank, axis=(1, 2)).max() == 0


def test_a_path_that_has_ended_returns_the_input():
    plane = np.zeros((8, 8), np.float32)
    plane[2:5, 3:6] = 0.7  # 12 of 112 edges vary
    scale = ScaleSpace(plane).at(0.5)
    np.testing.assert_array_equal(scale.beta, plane)
    assert scale.support.sum() == 12
    assert scale.time == np.inf


@pytest.mark.parametrize("nu", [1.0, 0.05])
@DELTAS
def test_a_faint_image_has_a_path(nu, delta):
    # steps of 1.5e-5, and fainter ones at equilibrium
    plane = np.array([[32768, 32767, 32768, 32768, 32766]], np.uint16)
    scale = ScaleSpace(plane, nu=nu, delta=delta).at(0.75)
    np.testing.assert_array_equal(scale.support, [False, False, False, True])
    assert 0 < scale.time < np.inf


def test_a_long_contour_enters_before_a_speck_of_the_same_strength():
    plane = np.zeros((16, 16))
    plane[:, 8:] = 0.6
    plane[4, 3] = 0.6  # the speck
    support = ScaleSpace(plane).at(1 - 16 / 480).support
    np.testing.assert_array_equal(np.flatnonzero(support), [row * 15 + 7 for row in range(16)])


@pytest.mark.parametrize("output", ["beta", "regions"])
@pytest.mark.parametrize(
    "turn", [np.fliplr, np.flipud, np.transpose], ids=lambda turn: turn.__name__
)
def test_flips_and_transposes_commute(planes, turn, output):
    for plane in planes[:10].astype(float):
        turned = smooth(turn(plane), 0.7, output=output)
        expected = turn(smooth(plane, 0.7, output=output))
        np.testing.assert_allclose(turned, expected, atol=1e-6)


def test_the_robust_form_removes_impulses_and_the_published_form_keeps_them(photographs):
    """The robust form gains 3 dB or more of PSNR over the input, the published form about none."""
    clean = photographs / np.float32(255)
    rng = np.random.default_rng(0)
    draw = rng.random(clean.shape)
    impulse = np.where(draw < 0.025, 0, np.where(draw < 0.05, 1, clean)).astype(np.float32)

    def psnr(images):
        return -10 * np.log10(np.mean((images - clean) ** 2))

    assert psnr(smooth(impulse, 0.8, channel_axis=-1)) > psnr(impulse) + 3
    assert psnr(smooth(impulse, 0.6, channel_axis=-1, **PAPER)) < psnr(impulse) + 1


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 1.0])
def test_a_constant_image_is_returned(value, sparsity):
    image = np.full((5, 7), value)
    np.testing.assert_allclose(smooth(image, sparsity), image, atol=1e-12)
    assert ScaleSpace(image).at(sparsity).time == (0 if sparsity == 1 else np.inf)


@pytest.mark.parametrize("nu", [1.0, 0.1])
@PRESETS
def test_a_path_gives_the_same_moments_in_any_order_as_a_new_path(photographs, preset, nu):
    settings = path_settings(preset) | {"nu": nu, "channel_axis": -1}
    images = photographs[:6] / np.float32(255)
    space = ScaleSpace(images, **settings)
    one_for_each_image = np.array([0.97, 0.7, 0.6, 0.99, 1.0, 0.0])
    for sparsity in (0.9, 0.8, 0.95, 0.6, one_for_each_image, 0.7, 0.99, 1.0, 0.85):
        scale, fresh = space.at(sparsity), ScaleSpace(images, **settings).finish(sparsity)
        np.testing.assert_array_equal(scale.support, fresh.support)
        np.testing.assert_array_equal(scale.time, fresh.time)
        np.testing.assert_array_equal(scale.beta, fresh.beta)


def test_the_time_of_a_moment_gives_the_same_moment(planes):
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


def test_time_and_sparsity_of_every_support_give_the_same_moment(photographs):
    space = ScaleSpace(photographs[:4], channel_axis=-1, joint=False, delta=INF)
    scale = space.at(0.8)
    assert scale.time.shape == (4, 3)
    for again in (space.at(time=scale.time), space.at(scale.sparsity)):
        np.testing.assert_array_equal(again.support, scale.support)
    with pytest.raises(ValueError, match="^time must"):
        space.at(time=scale.time[:2])


def test_threads_can_use_one_path_at_the_same_time():
    image = np.random.default_rng(0).random((128, 128))
    sparsities = [0.95, 0.9, 0.8, 0.7] * 6
    expected = {sparsity: ScaleSpace(image).at(sparsity).support for sparsity in sparsities}
    for _ in range(3):
        space = ScaleSpace(image)
        with ThreadPoolExecutor(4) as pool:
            for sparsity, scale in zip(sparsities, pool.map(space.at, sparsities), strict=True):
                np.testing.assert_array_equal(scale.support, expected[sparsity])


def test_sparsity_and_time_together_are_refused(planes):
    with pytest.raises(ValueError, match="sparsity .* time"):
        ScaleSpace(planes).at(0.5, time=1.0)


@pytest.mark.parametrize("time", [-1.0, float("nan"), "late"])
def test_a_bad_time_is_an_error_that_names_it(planes, time):
    with pytest.raises(ValueError, match="^time must"):
        ScaleSpace(planes).at(time=time)


def test_an_infinite_time_gives_the_input(planes):
    images = np.stack([planes[0], np.full_like(planes[0], 0.3)])
    space = ScaleSpace(images)
    scale = space.at(0.8)
    again = space.at(time=scale.time)
    assert again.time[1] == np.inf
    np.testing.assert_array_equal(again.support, scale.support)
    np.testing.assert_array_equal(space.at(time=np.inf).beta, images)


MEASURE = """
import resource
from pathlib import Path
import numpy as np
from virolbi import ScaleSpace

def finish(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: compiling takes more
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    ScaleSpace(image, channel_axis=-1, copy=False).finish(time=0)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return (int(status["VmHWM"].split()[0]) * 1024 - before) / image.size

finish(600, 600)  # loads the compiled code
print(finish({}, {}))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="needs Linux; runs there, in .ci/run"
)
def test_a_large_image_takes_no_more_memory_than_its_planes_and_the_state_of_its_path():
    """Bytes for each number: 4 for the planes, 20 for the path: data, two of beta and two of z."""
    for size in (600, 600), (4000, 3000):  # the first run compiles, which takes more memory
        code = MEASURE.replace("{}, {}", "{}, {}".format(*size))
        measured = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    assert float(measured.stdout) < 25.5
