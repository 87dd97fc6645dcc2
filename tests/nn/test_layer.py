import io

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import virolbi
from virolbi import PAPER, ScaleSpace
from virolbi._engine.graph import variation
from virolbi.nn import Smooth

FORMS = [
    {"delta": delta, "joint": joint, "output": output}
    for delta in (0.1, float("inf"))
    for joint in (True, False)
    for output in ("beta", "regions")
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", FORMS, ids=lambda form: "-".join(str(value) for value in form.values())
)
@pytest.mark.parametrize("nu", [1.0, 0.3])
def test_backward_is_the_exact_derivative(noisy, form, nu):
    images = torch.from_numpy(noisy[:2, :, :6, :7]).requires_grad_()
    assert torch.autograd.gradcheck(
        Smooth(0.7, nu=nu, **form), images, eps=1e-7, atol=1e-5, rtol=1e-4
    )


def test_an_outlier_has_no_gradient_but_follows_its_neighbours():
    images = torch.full((1, 1, 7, 7), 0.4, dtype=torch.float64)
    images[0, 0, 3, 3] = 0.9
    images.requires_grad_()
    smoothed = Smooth(1.0)(images)
    smoothed[0, 0, 3, 3].backward()
    assert smoothed[0, 0, 3, 3] < 0.5
    assert images.grad[0, 0, 3, 3] == 0
    np.testing.assert_allclose(images.grad.sum(), 1)
    assert images.grad[0, 0, 3, 4] > 0.05


def test_a_region_without_any_inlier_has_a_finite_gradient_of_zero():
    images = torch.tensor([[[[0.0, 1.0]]]], dtype=torch.float64, requires_grad=True)
    smoothed = Smooth(1.0)(images)
    assert (images - smoothed).abs().min() > 0.1
    smoothed.sum().backward()
    np.testing.assert_array_equal(images.grad, 0)


@pytest.mark.parametrize("delta", [0.1, 0.03])
def test_backward_agrees_with_a_dense_solve_under_strong_noise(delta):
    rng = np.random.default_rng(0)
    noisy = 0.5 + 0.3 * np.sin(np.arange(16) / 5) + rng.normal(0, 0.38, (16, 16))
    y = np.clip(noisy, 0, 1).astype(np.float32)
    scale = ScaleSpace(y, delta=delta).at(0.8)
    inlier = (np.abs(y - scale.beta) < delta).ravel().astype(float)
    assert inlier.mean() < 0.6
    differences = variation(np.eye(256).reshape(256, 16, 16)).T[~scale.support]
    matrix = np.diag(inlier) + differences.T @ differences
    gradient = rng.normal(size=256)
    exact = inlier * (np.linalg.pinv(matrix, rcond=1e-9) @ gradient)
    without_inlier = np.bincount(scale.labels.ravel(), inlier)[scale.labels.ravel()] == 0
    exact[without_inlier] = 0
    result = scale.pullback(gradient.reshape(16, 16).astype(np.float32)).ravel()
    np.testing.assert_allclose(result, exact, atol=1e-3 * np.abs(exact).max())


def test_the_derivative_is_the_identity_if_the_path_has_ended(photographs):
    flat = torch.zeros(1, 1, 6, 6)
    flat[0, 0, 2:4, 2:4] = 1.0
    for images, sparsity in (
        (flat, 0.5),
        (torch.from_numpy(photographs[:1]).permute(0, 3, 1, 2) / 255, 0.0),
    ):
        images.requires_grad_()
        gradient = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        smoothed = Smooth(sparsity)(images)
        smoothed.backward(gradient)
        torch.testing.assert_close(images.grad, gradient)


def test_changing_the_output_in_place_does_not_change_the_gradient(noisy):
    expected, images = (torch.from_numpy(noisy[:2]).requires_grad_() for _ in range(2))
    (Smooth()(expected) - 0.5).square().sum().backward()
    Smooth()(images).sub_(0.5).square().sum().backward()
    torch.testing.assert_close(images.grad, expected.grad)


def test_a_gradient_of_another_shape_is_refused(photographs):
    scale = ScaleSpace(photographs[:2], channel_axis=-1).at(0.8)
    with pytest.raises(ValueError, match="^gradient must"):
        scale.pullback(np.zeros((2, 3)))
    assert scale.pullback(np.ones(photographs[:2].shape, np.float32)).dtype == np.float32


def test_tensors_and_arrays_give_the_same_result(photographs):
    images = (photographs[:4] / np.float32(255)).transpose(0, 3, 1, 2)
    sparsity = np.array([0.6, 0.7, 0.8, 0.9])
    expected = virolbi.smooth(images, sparsity, channel_axis=1)
    np.testing.assert_array_equal(
        Smooth()(torch.from_numpy(images), sparsity=torch.from_numpy(sparsity)).numpy(), expected
    )
    np.testing.assert_array_equal(
        virolbi.smooth(torch.from_numpy(images), sparsity, channel_axis=1).numpy(), expected
    )
    last = torch.from_numpy(images).to(memory_format=torch.channels_last)
    np.testing.assert_array_equal(Smooth()(last, sparsity=sparsity).numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float16, torch.float64])
def test_results_have_the_dtype_and_shape_of_the_images(photographs, dtype):
    images = torch.from_numpy(photographs[:2]).permute(0, 3, 1, 2)
    images = images if dtype == torch.uint8 else (images / 255).to(dtype)
    result = Smooth(0.5)(images)
    assert result.dtype == dtype
    assert result.shape == images.shape


def test_images_in_half_precision_have_a_gradient(photographs):
    images = torch.from_numpy(photographs[:2]).permute(0, 3, 1, 2) / 255
    images = images.to(torch.bfloat16).requires_grad_()
    Smooth()(images).float().sum().backward()
    assert images.grad.dtype == torch.bfloat16
    assert images.grad.abs().sum() > 0


def test_pullback_of_the_published_form_is_linear_and_symmetric(noisy):
    scale = ScaleSpace(noisy, delta=float("inf"), channel_axis=1).at(0.7)
    u, v = np.random.default_rng(0).normal(size=(2, *noisy.shape))
    for output in ("beta", "regions"):
        left, right = (scale.pullback(u, output) * v).sum(), (u * scale.pullback(v, output)).sum()
        np.testing.assert_allclose(left, right, rtol=1e-9)
        combined = scale.pullback(2 * u - v, output)
        np.testing.assert_allclose(
            combined, 2 * scale.pullback(u, output) - scale.pullback(v, output), atol=1e-9
        )


def test_the_layer_merges_small_regions_like_smooth(photographs):
    images = torch.from_numpy(photographs[:2].transpose(0, 3, 1, 2) / np.float32(255))
    merged = Smooth(0.7, **PAPER, min_area=9)(images)
    np.testing.assert_array_equal(
        merged, virolbi.smooth(images.numpy(), 0.7, channel_axis=1, **PAPER, min_area=9)
    )
    assert not torch.equal(merged, Smooth(0.7, **PAPER)(images))


def test_a_network_compiled_by_torch_gives_the_same_result_and_gradient(noisy):
    network = torch.nn.Sequential(Smooth(0.8), torch.nn.Flatten())
    images = torch.from_numpy(noisy).requires_grad_()
    outputs = [model(images) for model in (network, torch.compile(network, backend="eager"))]
    assert torch.equal(*outputs)
    gradients = [torch.autograd.grad(output.square().sum(), images) for output in outputs]
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_the_representation_of_the_layer_holds_its_settings():
    assert (
        repr(Smooth(0.6, **PAPER))
        == "Smooth(sparsity=0.6, nu=1.0, delta=inf, joint=False, output='regions', min_area=1, "
        "step=0.05)"
    )


def test_bad_settings_and_images_are_errors_that_name_the_argument():
    for settings in ({"sparsity": 1.2}, {"nu": 0}, {"output": "z"}):
        with pytest.raises(ValueError, match=f"^{next(iter(settings))} must"):
            Smooth(**settings)
    with pytest.raises(ValueError, match="^sparsity must be a number for output='regions'"):
        Smooth(0.8, output="regions")(torch.zeros(1, 1, 4, 4), sparsity="auto")
    with pytest.raises(ValueError, match="^images must"):
        Smooth()(torch.full((1, 1, 4, 4), float("nan")))
    with pytest.raises(TypeError, match="^images must"):
        Smooth()(torch.zeros(1, 1, 4, 4, dtype=torch.int64))


@pytest.mark.parametrize("output", ["beta", "regions"])
def test_images_may_be_written_to_between_the_forward_and_the_backward_pass(output):
    torch.manual_seed(0)
    images, gradients = torch.rand(2, 3, 12, 12), []
    for overwrite in (False, True):
        leaf = images.clone().requires_grad_()
        inputs = leaf * 1
        smoothed = Smooth(0.7, delta=0.05, output=output)(inputs)
        if overwrite:
            inputs.data.zero_()
        (smoothed * torch.linspace(0, 1, 12)).sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("pre_dispatch", [False, True])
def test_a_graph_of_torch_fx_does_not_hold_smoothed_images_as_a_constant(pre_dispatch):
    model, images = torch.nn.Sequential(Smooth(), torch.nn.Flatten()), torch.rand(1, 1, 8, 8)
    with pytest.raises(RuntimeError, match="images must be smoothed before the exported part"):
        make_fx(model, pre_dispatch=pre_dispatch)(images)
    assert model(images).shape == (1, 64)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "export",
    [
        lambda model, images: torch.onnx.export(
            model, (images,), io.BytesIO(), dynamo=False, verbose=False
        ),
        lambda model, images: torch.export.export(model, (images,), strict=False),
        lambda model, images: torch.jit.trace(model, images),
        lambda model, images: torch.jit.script(model),
    ],
)
def test_an_exported_graph_does_not_hold_smoothed_images_as_a_constant(export):
    model, images = torch.nn.Sequential(Smooth(), torch.nn.Flatten()), torch.rand(1, 1, 8, 8)
    with pytest.raises(RuntimeError, match="images must be smoothed before the exported part"):
        export(model, images)
    assert torch.equal(torch.compile(model, backend="eager")(images), model(images))


def smoothed_energy(images):
    """Return a number to differentiate."""
    return Smooth(0.8)(images).square().sum()


def test_torch_func_differentiates_and_maps_over_the_layer(noisy):
    images = torch.from_numpy(noisy[:3])
    expected = images.clone().requires_grad_()
    smoothed_energy(expected).backward()
    layer, by_example = Smooth(0.8), torch.func.vmap(torch.func.grad(smoothed_energy))(images)
    np.testing.assert_array_equal(torch.func.grad(smoothed_energy)(images), expected.grad)
    np.testing.assert_array_equal(by_example, expected.grad)
    np.testing.assert_array_equal(torch.func.vmap(layer)(images), layer(images))
    axis_last = images.movedim(0, 3)
    np.testing.assert_array_equal(
        torch.func.vmap(layer, in_dims=3, out_dims=3)(axis_last), layer(images).movedim(0, 3)
    )
    by_axis = torch.func.vmap(lambda image: virolbi.smooth(image, 0.8, channel_axis=0))(images)
    np.testing.assert_array_equal(by_axis, layer(images))
    of_joined = torch.func.grad(lambda these: torch.func.vmap(layer)(these).square().sum())(images)
    np.testing.assert_array_equal(of_joined, expected.grad)


@pytest.mark.parametrize("output", ["beta", "regions"])
def test_jacobians_are_those_of_one_gradient_after_the_other(noisy, output):
    images = torch.from_numpy(noisy[:2, ..., :5, :6].copy())

    def means(images):  # two numbers for each image
        smoothed = Smooth(0.6, output=output)(images)
        return torch.stack([smoothed[..., :3].mean((1, 2, 3)), smoothed.square().mean((1, 2, 3))])

    expected = torch.autograd.functional.jacobian(means, images)
    assert expected.abs().max() > 0
    torch.testing.assert_close(torch.func.jacrev(means)(images), expected, rtol=1e-6, atol=1e-9)
    alone = torch.func.vmap(torch.func.jacrev(lambda image: means(image[None])))(images)
    own = torch.stack([expected[:, k, k] for k in range(2)])
    torch.testing.assert_close(alone[:, :, 0], own, rtol=1e-6, atol=1e-9)


def test_a_second_derivative_is_refused(noisy):
    images = torch.from_numpy(noisy[:1]).requires_grad_()
    (gradient,) = torch.autograd.grad(smoothed_energy(images), images, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        gradient.sum().backward()


def test_channels_that_come_last_in_memory_stay_there(noisy):
    images = torch.from_numpy(noisy[:2]).float().contiguous(memory_format=torch.channels_last)
    images.requires_grad_()
    smoothed = Smooth(0.8)(images)
    assert smoothed.is_contiguous(memory_format=torch.channels_last)
    assert Smooth(0.8)(images.contiguous()).is_contiguous()
    np.testing.assert_array_equal(smoothed.detach(), Smooth(0.8)(images.detach().contiguous()))


def test_sparsities_may_be_tensors_of_half_precision(noisy):
    images, sparsity = torch.from_numpy(noisy[:2]), torch.tensor([0.5, 0.75], dtype=torch.bfloat16)
    smoothed = Smooth()(images, sparsity=sparsity)
    np.testing.assert_array_equal(smoothed, Smooth()(images, sparsity=[0.5, 0.75]))


@pytest.mark.parametrize("sparsity", [0.8, "auto"])
def test_no_images_give_no_images(sparsity):
    images = torch.zeros(0, 3, 8, 8, requires_grad=True)
    Smooth(sparsity)(images).sum().backward()
    assert images.grad.shape == images.shape
    assert virolbi.smooth(np.zeros((0, 8, 8, 3)), sparsity, channel_axis=-1).shape == (0, 8, 8, 3)
    space = ScaleSpace(np.zeros((0, 4, 8, 8)))
    moment = space.at(sparsity)
    assert moment.support.shape == (0, 4, 112)
    assert moment.regions.shape == moment.labels.shape == (0, 4, 8, 8)
    assert moment.diagnostics.largest.shape == (0, 4)
    assert repr(moment) == "<Scale of images (0, 4, 8, 8)>"
    assert virolbi.noise_strength(np.zeros((0, 8, 8))).shape == (0,)
    for shape in ((2, 0, 8), (0, 8, 0)):
        with pytest.raises(ValueError, match="images must not be empty, got shape"):
            ScaleSpace(np.zeros(shape))
