"""Each statement of docs/proofs.md, on random images and supports."""

import math

import numpy as np
import pytest

from virolbi import ScaleSpace
from virolbi.scale_space import blank_radius, entry_time, noise_gain


def dense_operator(closed, shape, nu):
    """Return G for a support, as a matrix, from its definition; True in `closed` are its edges."""
    number = np.arange(math.prod(shape)).reshape(shape)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    ends = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in pairs])
    matrix = np.eye(number.size)
    for first, second in ends[~closed]:
        difference = np.zeros(number.size)
        difference[first], difference[second] = 1, -1
        matrix += np.outer(difference, difference) / nu
    return np.linalg.inv(matrix)


@pytest.fixture(params=[(1.0, 0.6), (0.1, 0.8)], ids=str)
def moment(request, planes):
    """A moment of the path of a noisy photograph of 16x14 pixels, and G there as a matrix."""
    nu, sparsity = request.param
    scale = ScaleSpace(planes[3, :16, :14].astype(np.float64), nu=nu, delta=np.inf).at(sparsity)
    return scale, dense_operator(scale.support, (16, 14), nu)


def test_the_equilibrium_is_a_symmetric_average(moment, planes):
    scale, matrix = moment
    image = planes[3, :16, :14].astype(np.float64)
    np.testing.assert_allclose(scale.beta.ravel(), matrix @ image.ravel(), atol=1e-8)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    assert matrix.min() >= 0


def test_no_norm_of_a_change_grows_at_a_fixed_support(moment):
    scale, _ = moment
    rng = np.random.default_rng(0)
    for _ in range(200):
        change = rng.standard_t(2, scale.beta.shape)
        after = scale.pullback(change)  # G is symmetric, so this is G times the change
        for order in (1, 2, np.inf):
            before = np.linalg.norm(change.ravel(), order)
            assert np.linalg.norm(after.ravel(), order) <= before * (1 + 1e-9)


def test_the_robust_equilibrium_keeps_order_and_commutes_with_constants():
    rng = np.random.default_rng(0)
    image = rng.uniform(0.2, 0.6, (100, 12, 12))
    higher = image + rng.uniform(0, 0.4, image.shape) * (rng.random(image.shape) < 0.1)
    shifted = image + 0.1

    def blank(images):
        return ScaleSpace(images, delta=0.05).at(time=0).beta

    assert (blank(higher) - blank(image)).min() > -1e-6
    np.testing.assert_allclose(blank(shifted), blank(image) + 0.1, atol=1e-6)
    change = np.abs(higher - image).max(axis=(1, 2))
    assert (np.abs(blank(higher) - blank(image)).max(axis=(1, 2)) <= change + 1e-6).all()


def test_the_gain_is_the_trace(moment):
    scale, matrix = moment
    exact = math.sqrt(np.trace(matrix @ matrix) / len(matrix))
    assert float(noise_gain(scale, probes=1000)) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize(("nu", "gain"), [(1.0, 0.313), (0.1, 0.105)])
def test_measured_noise_is_what_the_gain_says(nu, gain):
    noise = np.random.default_rng(1).normal(0, 0.01, (400, 32, 32))
    blank = ScaleSpace(0.5 + noise, nu=nu, delta=np.inf).at(time=0)
    measured = (blank.beta - 0.5).std() / 0.01
    assert measured == pytest.approx(gain, rel=0.01)
    assert noise_gain(blank, probes=4).mean() == pytest.approx(measured, rel=0.01)


def test_the_gain_does_not_depend_on_the_units_and_has_the_shape_of_the_supports():
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), np.uint8)
    gain = noise_gain(ScaleSpace(image, channel_axis=-1).at(0.7))
    same = noise_gain(ScaleSpace(image / 255 * 100, channel_axis=-1, data_range=100).at(0.7))
    assert gain.shape == (2,)
    np.testing.assert_allclose(gain, same, rtol=1e-5)
    assert ((gain > 0) & (gain < 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("nu", "factor"), [(1.0, 0.574), (0.1, 0.367)])
def test_noise_does_not_enter_before_its_proven_time(nu, factor):
    time = entry_time(0.05, (32, 32), nu=nu)
    assert time == pytest.approx(factor / 0.05, rel=2e-3)
    noise = np.random.default_rng(2).normal(0, 0.05, (2000, 32, 32))
    support = ScaleSpace(0.5 + noise, nu=nu, delta=np.inf).finish(time=time).support
    assert support.any(axis=1).mean() <= 0.05
    assert ScaleSpace(0.5 + noise, nu=nu, delta=np.inf).finish(time=2.5 * time).support.any()


def test_joint_channels_have_a_proven_time_too():
    time = entry_time(0.05, (16, 16), channels=3)
    assert time < entry_time(0.05, (16, 16))
    noise = np.random.default_rng(3).normal(0, 0.05, (1000, 16, 16, 3))
    path = ScaleSpace(0.5 + noise, delta=np.inf, channel_axis=-1)
    assert path.at(time=time).support.any(axis=1).mean() <= 0.05


@pytest.mark.parametrize("nu", [1.0, 0.1])
def test_nothing_enters_within_the_radius_and_something_beyond(planes, nu):
    images = 0.5 + 0.2 * (planes[:20, :9, :12] - 0.5).astype(np.float64)
    time, blank = 20 * nu, np.zeros(8 * 12 + 9 * 11, bool)
    radius = blank_radius(images, time, nu=nu)
    matrix = dense_operator(blank, (9, 12), nu)
    for image, size in zip(images[radius > 0], radius[radius > 0], strict=True):
        beta = (matrix @ image.ravel()).reshape(image.shape)
        changes = {}  # the least for each edge, along G d
        for y, x in np.ndindex(image.shape):
            for edge in ((y + 1, x), (y, x + 1)):
                if edge[0] < 9 and edge[1] < 12:
                    difference = np.zeros_like(image)
                    difference[edge], difference[y, x] = 1, -1
                    spread = matrix @ difference.ravel()
                    step = beta[edge] - beta[y, x]
                    reach = (nu / time - abs(step)) / np.linalg.norm(spread)
                    changes[reach] = math.copysign(1, step) * spread / np.linalg.norm(spread)
        assert size == pytest.approx(min(changes), rel=1e-6)
        change = changes[min(changes)].reshape(image.shape)
        near, far = (image + factor * size * change for factor in (0.99, 1.1))
        path = ScaleSpace(np.stack([near, far]), nu=nu, delta=np.inf)
        assert path.at(time=time).support.any(axis=1).tolist() == [False, True]
    assert (radius > 0).sum() > 3
    directions = np.random.default_rng(4).normal(size=(100, *images.shape))
    directions *= (radius / np.linalg.norm(directions, axis=(2, 3)))[:, :, None, None]
    changed = (images + directions)[:, radius > 0]
    assert not ScaleSpace(changed, nu=nu, delta=np.inf).at(time=time).support.any()


def test_the_path_is_not_lipschitz_at_a_fixed_time():
    gap, nu = 0.3, 1.0
    jump = (nu + 2) / gap
    path = ScaleSpace(np.array([[0.3, 0.3 + gap]]), nu=nu, delta=np.inf)
    before, after = (np.ptp(path.at(time=time).beta) for time in (0.99 * jump, 1.1 * jump))
    assert before == pytest.approx(gap * nu / (nu + 2))
    assert after == pytest.approx(gap)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"noise": 0}, "noise"),
        ({"noise": math.nan}, "noise"),
        ({"shape": (0, 3)}, "shape"),
        ({"nu": 0}, "nu"),
        ({"channels": 0}, "channels"),
        ({"confidence": 1}, "confidence"),
    ],
)
def test_wrong_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        entry_time(**{"noise": 0.1, "shape": (8, 8)} | arguments)


def test_images_without_edges_let_nothing_in():
    assert entry_time(0.1, (1, 1)) == math.inf
    assert blank_radius(np.full((2, 1, 1), 0.5), 3).tolist() == [math.inf, math.inf]
    assert entry_time(0.1, (1, 9)) > 0
