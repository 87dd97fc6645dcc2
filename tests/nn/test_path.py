"""The path in torch operations against the compiled one, on the CPU with the same operations."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import virolbi
from virolbi import ScaleSpace
from virolbi._engine.graph import edge_count
from virolbi.nn import Smooth, TensorScale, equilibrium, has_kernels, noise, path
from virolbi.nn.equilibrium import Equilibrium
from virolbi.nn.layer import _on_accelerator
from virolbi.scale_space import label_regions, region_means

INF = float("inf")
DELTAS = pytest.mark.parametrize("delta", [0.1, INF])
JOINT = pytest.mark.parametrize("joint", [True, False])
OUTPUTS = ("beta", "regions")


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread: small images gain nothing from more, and lose time if all cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def as_on_an_accelerator(act_as_accelerator):
    """Let the layer use torch operations for tensors on the CPU."""
    act_as_accelerator()


def moments(images, sparsity, **settings):
    """Return the moment of the compiled engine and that of the path in torch operations."""
    settings = {"nu": 1.0, "delta": 0.1, "channel_axis": 1, "joint": True, "step": 0.05} | settings
    return ScaleSpace(images, **settings).at(sparsity), TensorScale.of(
        torch.from_numpy(images), sparsity, **settings
    )


@pytest.mark.parametrize(
    ("shape", "channel_axis", "joint"),
    [
        ((5, 6), None, True),
        ((2, 3, 3, 5, 6), 2, True),
        ((2, 5, 6, 3), -1, False),
        ((1, 1), None, True),
    ],
)
def test_support_and_time_have_the_shapes_of_the_compiled_engine(shape, channel_axis, joint):
    images = np.random.default_rng(0).random(shape)
    expected, scale = moments(images, 0.5, channel_axis=channel_axis, joint=joint)
    assert (scale.support.shape, scale.support.dtype) == (expected.support.shape, torch.bool)
    np.testing.assert_array_equal(scale.support.numpy(), expected.support)
    assert scale.time.shape == expected.time.shape
    np.testing.assert_allclose(scale.time.numpy(), expected.time, rtol=1e-9)


@pytest.mark.slow
@DELTAS
@JOINT
@pytest.mark.parametrize("nu", [1.0, 0.1])
def test_both_paths_agree(photographs, delta, joint, nu):
    images = (photographs[::6] / 255).transpose(0, 3, 1, 2)
    sparsity = np.linspace(0.95, 0.4, len(images))
    expected, scale = moments(images, sparsity, nu=nu, delta=delta, joint=joint)
    same_edges = expected._support == scale._support.numpy()
    assert same_edges.mean() > 0.999
    same = same_edges.all(axis=1)
    assert same.mean() > 0.8
    np.testing.assert_allclose(scale._time.numpy()[same], expected._time[same], rtol=1e-9)
    for output in OUTPUTS:
        result, reference = (
            np.asarray(getattr(moment, output)).reshape(expected._data.shape)
            for moment in (scale, expected)
        )
        np.testing.assert_allclose(result[same], reference[same], atol=1e-9)


@pytest.mark.slow
@DELTAS
@JOINT
@pytest.mark.parametrize("nu", [1.0, 0.1])
def test_both_paths_nearly_agree_in_single_precision(photographs, delta, joint, nu):
    images = (photographs[3::6] / np.float32(255)).transpose(0, 3, 1, 2)
    expected, scale = moments(
        images, np.linspace(0.95, 0.4, len(images)), nu=nu, delta=delta, joint=joint
    )
    same_edges = expected._support == scale._support.numpy()
    assert same_edges.mean() > 0.995
    same = same_edges.all(axis=1)
    np.testing.assert_allclose(scale._beta.numpy()[same], expected._beta[same], atol=2e-4)


@DELTAS
@JOINT
def test_both_paths_agree_at_their_ends_and_for_images_without_a_path(noisy, delta, joint):
    """One batch holds all cases.

    They are a blank result, the input, a constant image, a drawing whose path ends, a drawing with
    ties, and an ordinary image.
    """
    images = np.stack(
        [
            noisy[0],
            noisy[0],
            np.full((3, 12, 12), 0.3),
            np.zeros((3, 12, 12)),
            np.zeros((3, 12, 12)),
            noisy[1],
        ]
    )
    images[3, :, 2:6, 3:8] = images[4, :, :, 6:] = 0.7
    sparsity = np.array([1.0, 0.0, 0.5, 0.5, 1 - 8 / 264, 0.7])
    expected, scale = moments(images, sparsity, delta=delta, joint=joint)
    np.testing.assert_array_equal(scale._support.numpy(), expected._support)
    np.testing.assert_allclose(scale._time.numpy(), expected._time, rtol=1e-9)
    assert (expected._time.reshape(6, -1).max(axis=1)[:4] == [0, INF, INF, INF]).all()
    for output in OUTPUTS:
        np.testing.assert_allclose(
            getattr(scale, output).numpy(), getattr(expected, output), atol=1e-9
        )
    np.testing.assert_array_equal(scale.beta[1:4].numpy(), images[1:4])


def test_both_paths_agree_for_variations_near_rounding_errors():
    noise = np.random.default_rng(0).random((1, 8, 8))
    # rounding errors; variations under 1e-6 at the first equilibrium; variations above
    images = 0.5 + np.stack([1e-7 * noise, 2e-6 * noise, 4e-6 * noise])
    expected, scale = moments(images, 0.9, delta=INF)
    assert expected._time[0] == INF
    assert ((expected._time[1:] > 1e5) & (expected._time[1:] < INF)).all()
    np.testing.assert_array_equal(scale._support.numpy(), expected._support)
    np.testing.assert_allclose(scale._time.numpy(), expected._time, rtol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 9), (9, 1), (2, 3)])
@JOINT
def test_both_paths_agree_for_planes_of_any_shape(shape, joint):
    images = np.random.default_rng(0).random((3, 3, *shape))
    for sparsity in (1.0, 0.6, 0.0):
        expected, scale = moments(images, sparsity, joint=joint)
        np.testing.assert_array_equal(scale._support.numpy(), expected._support)
        for output in OUTPUTS:
            np.testing.assert_allclose(
                getattr(scale, output).numpy(), getattr(expected, output), atol=1e-9
            )


@DELTAS
@JOINT
@pytest.mark.parametrize("output", OUTPUTS)
def test_pullbacks_of_both_paths_agree(noisy, delta, joint, output):
    images = noisy.copy()
    images[0] = 0.5
    # outliers, some of them in a region without any inlier
    images[1:4, :, 4, 4] = images[1:4, :, 7:10, 2] = 1.0
    sparsity = np.array([0.5, 1.0, 0.9, 0.7, 0.9, 0.7, 0.5, 0.0])
    expected, scale = moments(images, sparsity, delta=delta, joint=joint)
    size = np.logspace(-9, 9, 8)[:, None, None, None]
    gradient = np.random.default_rng(0).normal(size=images.shape) * size
    result = scale.pullback(torch.from_numpy(gradient), output).numpy()
    reference = expected.pullback(gradient, output)
    largest = np.abs(gradient).max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(result / largest, reference / largest, atol=1e-9)
    np.testing.assert_array_equal(result[[0, 7]], gradient[[0, 7]])


def test_a_region_without_any_inlier_has_a_gradient_of_zero():
    expected, scale = moments(np.array([[[[0.0, 1.0]]]]), 1.0)
    assert np.abs(expected._data - expected._beta).min() > 0.1
    for output in OUTPUTS:
        np.testing.assert_array_equal(
            scale.pullback(torch.ones(1, 1, 1, 2, dtype=torch.float64), output), 0
        )


@pytest.mark.slow
def test_solving_with_a_tolerance_of_zero_ends_within_rounding_errors(noisy):
    _, scale = moments(noisy, 0.8)
    settings = scale._settings._replace(rounds=scale._settings.rounds * [1, 0, 1])  # tolerances: 0
    nearest = Equilibrium(scale._data, None, scale._opened, settings).solve()
    np.testing.assert_allclose(nearest, scale._beta, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("output", OUTPUTS)
def test_backward_is_the_exact_derivative(noisy, as_on_an_accelerator, output):
    images = torch.from_numpy(noisy[:1, :, :4, :5]).requires_grad_()
    layer = Smooth(0.7, output=output)
    assert torch.autograd.gradcheck(layer, images, eps=1e-7, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@DELTAS
def test_results_do_not_depend_on_the_batch(noisy, delta):
    sparsity = np.linspace(0.9, 0.2, len(noisy))
    order = np.random.default_rng(0).permutation(len(noisy))
    _, together = moments(noisy, sparsity, delta=delta)
    _, shuffled = moments(noisy[order], sparsity[order], delta=delta)
    np.testing.assert_array_equal(shuffled._support.numpy(), together._support.numpy()[order])
    np.testing.assert_allclose(shuffled.beta.numpy(), together.beta.numpy()[order], rtol=1e-14)
    for n, image in enumerate(noisy):
        _, alone = moments(image[None], sparsity[n], delta=delta)
        np.testing.assert_allclose(alone.beta[0].numpy(), together.beta[n].numpy(), rtol=1e-14)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float64]
)
def test_results_have_the_dtype_of_the_images(photographs, as_on_an_accelerator, dtype):
    top = 1 if dtype.is_floating_point else torch.iinfo(dtype).max
    images = torch.from_numpy(photographs[:2, :16, :16] / 255 * top).permute(0, 3, 1, 2).to(dtype)
    computed = images.to(torch.promote_types(dtype, torch.float32)) / top  # in this precision
    expected = virolbi.smooth(computed.numpy(), 0.7, channel_axis=1)
    result = Smooth(0.7)(images)
    assert result.dtype == dtype
    assert result.stride() == images.stride()
    rounding = torch.finfo(dtype).eps / 2 if dtype.is_floating_point else 0.5 / top
    near = np.abs(result.double().numpy() / top - expected) < rounding + 1e-4
    # edges tie in numbers of few digits, and may enter in either order
    assert near.mean() > 0.998


@pytest.mark.slow
@pytest.mark.parametrize("axis", [None, 0, -1])
@JOINT
def test_every_layout_gives_the_result_of_arrays(as_on_an_accelerator, axis, joint):
    images = np.random.default_rng(0).random((3, 2, 5, 3))
    settings = {"channel_axis": axis, "joint": joint}
    for output in OUTPUTS:
        expected = virolbi.smooth(images, 0.6, output=output, **settings)
        result = virolbi.smooth(torch.from_numpy(images), 0.6, output=output, **settings)
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-9)
    gradient = torch.from_numpy(images - 0.5)
    scale = TensorScale.of(torch.from_numpy(images), 0.6, nu=1.0, delta=0.1, step=0.05, **settings)
    expected = ScaleSpace(images, **settings).at(0.6).pullback(images - 0.5)
    np.testing.assert_allclose(scale.pullback(gradient, "beta").numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("images", "sparsity", "error", "argument"),
    [
        (torch.full((1, 1, 4, 4), float("nan")), 0.5, ValueError, "images"),
        (torch.full((1, 1, 4, 4), 3.0), 0.5, ValueError, "floating images"),
        (torch.zeros((1, 1, 4, 4), dtype=torch.int64), 0.5, TypeError, "images"),
        (torch.zeros((1, 1, 0, 4)), 0.5, ValueError, "images"),
        (torch.zeros((4, 4)), 0.5, ValueError, "images"),
        (torch.zeros((1, 1, 4, 4)), 1.5, ValueError, "sparsity"),
        (torch.zeros((2, 1, 4, 4)), [0.1, 0.2, 0.3], ValueError, "sparsity"),
    ],
)
def test_bad_input_is_an_error_that_names_the_argument(
    as_on_an_accelerator, images, sparsity, error, argument
):
    with pytest.raises(error, match=f"^{argument} must"):
        Smooth()(images, sparsity=sparsity)


def test_every_tensor_is_created_on_the_device_of_the_images(noisy):
    """The default device holds no data here, so a tensor created there would give no result."""
    images = torch.from_numpy(noisy)
    with torch.device("meta"):
        for sparsity in (0.7, "auto"):
            scale = TensorScale.of(
                images, sparsity, nu=1.0, delta=0.1, channel_axis=1, joint=True, step=0.05
            )
            for output in OUTPUTS:
                assert getattr(scale, output).device == images.device
                assert scale.pullback(images, output).device == images.device


def test_only_tensors_on_an_accelerator_take_this_path():
    assert not _on_accelerator(torch.zeros(1))
    assert _on_accelerator(torch.zeros(1, device="meta"))


def test_only_nvidia_gpus_with_triton_have_kernels(monkeypatch):
    gpu, found, capability = torch.device("cuda"), {"triton": True}, [(9, 0)]
    monkeypatch.setattr("virolbi.nn.path.find_spec", found.get)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability[0])
    monkeypatch.setattr("torch.version.cuda", "12.8")
    driver = SimpleNamespace(active=SimpleNamespace(utils=None))
    monkeypatch.setattr("triton.runtime.driver", driver)
    path._triton_starts.cache_clear()
    assert has_kernels(gpu)
    assert not has_kernels(torch.device("cpu"))
    assert not has_kernels(torch.device("mps"))
    capability[0] = (6, 1)
    assert not has_kernels(gpu)
    capability[0], found["triton"] = (9, 0), None
    assert not has_kernels(gpu)
    found["triton"] = True
    monkeypatch.setattr("torch.version.cuda", None)  # as on an AMD GPU
    assert not has_kernels(gpu)
    monkeypatch.setattr("torch.version.cuda", "12.8")
    del driver.active.utils
    path._triton_starts.cache_clear()
    with pytest.warns(
        UserWarning, match="by torch operations, .* Triton does not start: .*utils"
    ) as caught:
        assert not has_kernels(gpu)
    assert [warning.filename for warning in caught] == [__file__]
    assert not has_kernels(gpu)  # and warns once
    path._triton_starts.cache_clear()


def test_images_of_many_channels_or_numbers_take_no_kernels(monkeypatch):
    monkeypatch.setattr(path, "has_kernels", lambda device: True)
    monkeypatch.setattr(path, "kernels", lambda: "kernels")
    for shape, fitting in (
        ((9, 3, 32, 32), True),
        ((9, 8, 32, 32), True),
        ((1, 9, 32, 32), False),
        ((1, 3, 26_000, 26_000), True),
        ((1, 3, 27_000, 27_000), False),
    ):
        images = torch.empty(shape, device="meta")
        assert (path.operations_for(images) == "kernels") is fitting


class Waits(TorchDispatchMode):
    """Count the operations whose result an accelerator has to hand to the host."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        indices = arguments[1] if function._schema.name.startswith("aten::index") else []
        masked = isinstance(indices, list) and any(
            index is not None and index.dtype == torch.bool for index in indices
        )
        self.count += masked or function._schema.name in (
            "aten::_local_scalar_dense",
            "aten::equal",
        )
        return function(*arguments, **(keywords or {}))


def test_a_path_waits_for_the_accelerator_at_every_eighth_step_only(noisy, monkeypatch):
    steps, step = [], path._Path._step
    monkeypatch.setattr(path._Path, "_step", lambda self: steps.append(1) or step(self))
    layout = {"nu": 1.0, "delta": 0.1, "channel_axis": 1, "joint": True, "step": 0.02}
    for sparsity in (np.linspace(0.95, 0.3, len(noisy)), "auto"):
        steps.clear()
        with Waits() as waits:
            TensorScale.of(torch.from_numpy(noisy), sparsity, **layout)
        assert len(steps) > 20
        assert waits.count == len(steps) / equilibrium.PATIENCE + 1


def test_an_area_criterion_uses_the_compiled_engine(noisy, as_on_an_accelerator):
    settings = {"channel_axis": 1, "output": "regions", "min_area": 4}
    result = virolbi.smooth(torch.from_numpy(noisy), 0.6, **settings)
    np.testing.assert_array_equal(result.numpy(), virolbi.smooth(noisy, 0.6, **settings))


def test_changing_input_or_output_in_place_does_not_change_the_gradient(
    noisy, as_on_an_accelerator
):
    expected, leaf = (torch.from_numpy(noisy[:2]).requires_grad_() for _ in range(2))
    (Smooth()(expected) - 0.5).square().sum().backward()
    images = leaf.clone()
    smoothed = Smooth()(images)
    images.detach().zero_()
    smoothed.sub_(0.5).square().sum().backward()
    torch.testing.assert_close(leaf.grad, expected.grad)


@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.5, 0.6, 1.0])
def test_region_means_agree_with_the_compiled_engine(fraction):
    rng = np.random.default_rng(0)
    planes = rng.random((3, 2, 17, 23))
    support = rng.random((3, edge_count(17, 23))) >= fraction
    opened = np.zeros((2, 3, 17, 23), bool)
    opened[0, ..., :-1] = ~support[:, : 17 * 22].reshape(3, 17, 22)
    opened[1, ..., :-1, :] = ~support[:, 17 * 22 :].reshape(3, 16, 23)
    means = equilibrium.region_means(
        torch.from_numpy(planes), equilibrium.label_regions(torch.from_numpy(opened))
    ).numpy()
    np.testing.assert_allclose(
        means, region_means(planes, label_regions(support, 17, 23)), rtol=1e-12
    )


def test_means_over_large_regions_keep_single_precision():
    plane = torch.full((1, 1, 1024, 1024), 0.1)
    means = equilibrium.region_means(plane, torch.zeros((1, 1024, 1024), dtype=torch.int64))
    np.testing.assert_allclose(means, 0.1, rtol=1e-6)


def test_the_noise_of_many_images_is_seen_in_parts(monkeypatch):
    images = torch.rand(7, 3, 20, 24)
    whole = noise.planes_noise(images)
    monkeypatch.setattr(noise, "NUMBERS", 2 * images[0].numel())
    for one, other in zip(whole, noise.planes_noise(images), strict=True):
        np.testing.assert_array_equal(one, other)
    assert noise.planes_noise(images[:0]).grain.shape == (0,)


@pytest.mark.parametrize(("brightest", "warns"), [(4095, True), (30000, False)])
def test_few_bits_beside_white_are_told_as_on_the_cpu(brightest, warns):
    images = torch.tensor([100, 2000, brightest, 65535] * 16).reshape(1, 1, 8, 8).to(torch.uint16)
    settings = {"nu": 1.0, "delta": 0.1, "channel_axis": 1, "joint": True, "step": 0.05}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TensorScale.of(images, 0.7, **settings)
    assert any("of their range" in str(warning.message) for warning in caught) == warns
