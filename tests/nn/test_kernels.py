"""The Triton kernels against the compiled engine, on a GPU or in Triton's interpreter on the CPU.

In the interpreter the kernels are Python, two seconds for an image, so images and steps are few.
The file needs nothing but PyTorch, Triton and the package: `pytest --noconftest` runs it on a GPU
with TRITON_INTERPRET=0 in the environment (`benchmarks/device.py` does).
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from virolbi import ScaleSpace
from virolbi.nn import Smooth, TensorScale
from virolbi.nn.path import TORCH, kernels, operations_for
from virolbi.scale_space import label_regions, region_means

pytest.importorskip("triton", reason="comes with PyTorch on Linux; runs there, in .ci/run")
from virolbi.nn.kernels import launch  # a fault in it must not skip its tests

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("needs a GPU or Triton's interpreter; runs in .ci/run", allow_module_level=True)

INF = float("inf")
DELTAS = pytest.mark.parametrize("delta", [0.1, INF])
JOINT = pytest.mark.parametrize("joint", [True, False])
OUTPUTS = ("beta", "regions")
EDGES = 1e-3  # share of edges that may differ, by rounding


@pytest.fixture(autouse=True)
def in_the_interpreter(monkeypatch):
    """Without a GPU, let tensors on the CPU use the kernels, with a plane in one block."""
    if INTERPRETED:
        monkeypatch.setattr(launch, "BLOCK", 2**14)
        monkeypatch.setattr("virolbi.nn.path.operations_for", lambda images: kernels())
        monkeypatch.setattr("virolbi.nn.layer._on_accelerator", lambda images: True)


def use_small_programs(monkeypatch):
    """Let programs have the fewest threads, and visit as many pixels at once."""
    monkeypatch.setattr(launch, "WARPS", 1)
    monkeypatch.setattr(launch, "BLOCK", 32)


def pictures(number, channels, height, width, noise=0.03):
    """Return colour gradients with discs and noise, float32, (N, C, H, W)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    images = np.empty((number, channels, height, width))
    for image in images:
        slopes = rng.uniform(-0.2, 0.2, (2, channels, 1, 1))
        image[:] = 0.5 + slopes[0] * rows / height + slopes[1] * columns / width
        for _ in range(6):
            row, column, radius = rng.random(3) * [height, width, max(height, width) / 4]
            disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
            image[:, disc] = rng.random((channels, 1))
    return np.clip(images + rng.normal(0, noise, images.shape), 0, 1).astype(np.float32)


def moments(images, sparsity, **settings):
    """Return the moment of the compiled engine and that of the kernels."""
    settings = {"nu": 1.0, "delta": 0.1, "channel_axis": 1, "joint": True, "step": 0.1} | settings
    return ScaleSpace(images, **settings).at(sparsity), TensorScale.of(
        torch.from_numpy(images).to(DEVICE), sparsity, **settings
    )


def assert_equal_moments(expected, scale):
    """Assert that supports, times, betas and regions are those of the compiled engine."""
    same_edges = expected._support == scale._support.cpu().numpy()
    assert same_edges.mean() >= 1 - EDGES
    same = same_edges.all(axis=1)
    assert same.mean() >= 0.5
    np.testing.assert_allclose(scale._time.cpu().numpy()[same], expected._time[same], rtol=1e-5)
    for output in OUTPUTS:
        result = getattr(scale, output).cpu().numpy().reshape(expected._data.shape)
        reference = np.asarray(getattr(expected, output)).reshape(expected._data.shape)
        np.testing.assert_allclose(result[same], reference[same], atol=1e-4)


@DELTAS
@pytest.mark.parametrize(
    ("shape", "joint"),
    [
        ((2, 3, 32, 32), True),
        ((1, 3, 32, 32), False),
        ((2, 1, 28, 28), True),
        ((1, 3, 48, 40), True),
    ],
)
def test_the_kernels_agree_with_the_compiled_engine(shape, delta, joint):
    sparsity = np.array([0.95, 0.85])[: shape[0]]
    assert_equal_moments(*moments(pictures(*shape), sparsity, delta=delta, joint=joint))


@DELTAS
def test_auto_agrees_with_the_compiled_engine(delta):
    assert_equal_moments(*moments(pictures(1, 3, 32, 32, noise=0.1), "auto", delta=delta))


def test_images_that_several_programs_share_agree_with_the_compiled_engine(monkeypatch):
    """Small ones here, in two bands; one of them has no path."""
    monkeypatch.setattr(launch, "LARGE", 0)
    use_small_programs(monkeypatch)
    images = np.concatenate([pictures(1, 2, 6, 7), np.full((1, 2, 6, 7), 0.4, np.float32)])
    expected, scale = moments(images, np.array([0.9, 0.5]))
    np.testing.assert_array_equal(scale._support.cpu().numpy(), expected._support)
    np.testing.assert_allclose(scale._time.cpu().numpy(), expected._time, rtol=1e-5)
    for output in OUTPUTS:
        np.testing.assert_allclose(
            getattr(scale, output).cpu().numpy(), getattr(expected, output), atol=1e-4
        )
    gradient = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    result = scale.pullback(torch.from_numpy(gradient).to(DEVICE), "beta").cpu().numpy()
    np.testing.assert_allclose(result, expected.pullback(gradient), atol=1e-4)


def test_large_images_agree_with_the_compiled_engine():
    images = pictures(1, 3, 112, 112, noise=0.1)
    assert_equal_moments(*moments(images, "auto"))


def test_a_small_nu_agrees_with_the_compiled_engine():
    assert_equal_moments(*moments(pictures(1, 1, 12, 12), 0.9, nu=0.1))


@DELTAS
def test_the_kernels_agree_at_ends_of_paths_and_for_images_without_one(delta):
    """One batch holds a blank result, the input, a constant image, drawings and a photograph."""
    images = np.repeat(pictures(1, 1, 12, 12), 6, axis=0)
    images[2], images[3:5] = 0.3, 0
    images[3, :, 2:6, 3:8] = images[4, :, :, 6:] = 0.7  # a path that ends; ties
    sparsity = np.array([1.0, 0.0, 0.5, 0.5, 1 - 8 / 264, 0.7])
    expected, scale = moments(images, sparsity, delta=delta)
    np.testing.assert_array_equal(scale._support.cpu().numpy(), expected._support)
    np.testing.assert_allclose(scale._time.cpu().numpy(), expected._time, rtol=1e-5)
    assert (expected._time[:4] == [0, INF, INF, INF]).all()
    for output in OUTPUTS:
        np.testing.assert_allclose(
            getattr(scale, output).cpu().numpy(), getattr(expected, output), atol=1e-4
        )
    np.testing.assert_array_equal(scale.beta[1:4].cpu().numpy(), images[1:4])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_the_kernels_agree_for_planes_of_any_shape(shape):
    images = np.random.default_rng(0).random((2, 3, *shape), np.float32)
    expected, scale = moments(images, np.array([0.6, 0.0]))
    np.testing.assert_array_equal(scale._support.cpu().numpy(), expected._support)
    for output in OUTPUTS:
        np.testing.assert_allclose(
            getattr(scale, output).cpu().numpy(), getattr(expected, output), atol=1e-4
        )


@DELTAS
@JOINT
@pytest.mark.parametrize("output", OUTPUTS)
def test_gradients_agree_with_the_compiled_engine(delta, joint, output):
    images = pictures(2, 2, 12, 12)
    images[0] = 0.5  # no path
    images[1, :, 4, 4] = images[1, :, 7:10, 2] = 1.0  # outliers; a region without any inlier
    size = np.array([1, 1e6], np.float32)[:, None, None, None]
    gradient = np.random.default_rng(1).normal(size=images.shape).astype(np.float32) * size
    expected, scale = moments(images, np.array([0.5, 0.9]), delta=delta, joint=joint)
    np.testing.assert_array_equal(scale._support.cpu().numpy(), expected._support)
    result = scale.pullback(torch.from_numpy(gradient).to(DEVICE), output).cpu().numpy()
    np.testing.assert_allclose(result / size, expected.pullback(gradient, output) / size, atol=1e-4)
    np.testing.assert_array_equal(result[0], gradient[0])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's in the interpreter
@pytest.mark.parametrize("value", [np.nan, INF])
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_gradient_that_is_not_finite_stays_so(output, value):
    """Training in half precision finds out by it that a step is to be left out."""
    _, scale = moments(pictures(2, 1, 8, 8), 0.9)
    gradient = torch.ones((2, 1, 8, 8), device=DEVICE)
    gradient[0, 0, 3, 3] = value
    result = scale.pullback(gradient, output)
    assert not result[0].isfinite().all()
    assert result[1].isfinite().all()


def test_the_layer_uses_the_kernels_and_has_a_gradient():
    images = pictures(1, 3, 12, 12)
    leaf = torch.tensor(images, device=DEVICE, requires_grad=True)
    result = Smooth(0.9)(leaf)
    result.square().sum().backward()
    moment = ScaleSpace(images, channel_axis=1).at(0.9)
    np.testing.assert_allclose(result.detach().cpu(), moment.beta, atol=1e-4)
    pulled = moment.pullback(2 * moment.beta)
    np.testing.assert_allclose(leaf.grad.cpu(), pulled, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.uint8])
def test_images_of_other_dtypes_are_converted(dtype):
    top = 1 if dtype.is_floating_point else 255
    images = torch.from_numpy(pictures(1, 1, 12, 12) * np.float32(top)).to(dtype)
    result = Smooth(0.9)(images.to(DEVICE)).cpu()
    assert result.dtype == dtype
    expected = ScaleSpace((images.float() / top).numpy(), channel_axis=1).at(0.9).beta
    step = torch.finfo(dtype).eps if dtype.is_floating_point else 1 / 255
    near = np.abs(result.float().numpy() / top - expected) < step
    assert near.mean() > 0.99  # edges tie in numbers of few digits, and may enter in either order


def test_results_do_not_depend_on_the_batch_or_the_run():
    images = torch.from_numpy(pictures(2, 1, 10, 10)).to(DEVICE)
    sparsity = np.array([0.95, 0.9])
    together = Smooth(output="regions")(images, sparsity=sparsity)
    assert torch.equal(Smooth(output="regions")(images, sparsity=sparsity), together)
    for n in range(2):
        alone = Smooth(output="regions")(images[n : n + 1], sparsity=sparsity[n : n + 1])
        assert torch.equal(alone[0], together[n])


def test_results_do_not_depend_on_the_size_of_a_block(monkeypatch):
    """Pixels that are visited later must not see what the same sweep has written before."""
    images = torch.from_numpy(pictures(1, 2, 9, 7)).to(DEVICE)
    whole = Smooth(0.85, output="regions")(images)
    use_small_programs(monkeypatch)
    parts = Smooth(0.85, output="regions")(images)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.5, 0.6, 1.0])
def test_regions_agree_with_the_compiled_engine(fraction):
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(2, 2, 17, 23)).astype(np.float32)
    opened = rng.random((2, 2, 17, 23)) < fraction
    opened[0, ..., -1] = opened[1, ..., -1, :] = False
    support = ~np.concatenate(
        [opened[0, ..., :-1].reshape(2, -1), opened[1, ..., :-1, :].reshape(2, -1)], axis=1
    )
    expected = label_regions(support, 17, 23)
    labels = kernels().label_regions(torch.from_numpy(opened).to(DEVICE))
    for n in range(2):  # the first pixel of each region
        first = np.unique(expected[n], return_index=True)[1]
        np.testing.assert_array_equal(labels[n].cpu().numpy(), first[expected[n]])
    means = kernels().region_means(torch.from_numpy(planes).to(DEVICE), labels)
    np.testing.assert_allclose(means.cpu(), region_means(planes, expected), atol=1e-6)


@pytest.mark.parametrize("size", [1, 9, 200, 1000, 10**6])
def test_every_thread_of_a_program_has_a_pixel_of_its_own(size):
    """Else threads that share one would race, which the interpreter does not show."""
    block = launch._block(size)
    assert block >= 32 * launch.WARPS
    assert block & (block - 1) == 0


def test_only_float32_on_a_gpu_uses_the_kernels():
    images = torch.zeros(1, 1, 4, 4)
    assert operations_for(images) is TORCH
    if torch.cuda.is_available():
        assert operations_for(images.cuda()) == kernels()
        assert operations_for(images.cuda().double()) is TORCH


@pytest.mark.skipif(not INTERPRETED, reason="a GPU compiles them anyway; runs in .ci/run")
def test_the_kernels_compile_for_a_gpu():
    """The interpreter accepts what the compiler does not; the compiler needs no GPU."""
    command = [sys.executable, Path(__file__).parent / "compile_kernels.py", "90"]
    environment = os.environ | {"TRITON_INTERPRET": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.count("of code") == 14
