import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from skimage.restoration import denoise_tv_chambolle

from virolbi.data import Images
from virolbi.recipes import Recipe
from virolbi.training import (
    build_classifier,
    build_filter,
    build_network,
    channel_statistics,
    pretrained_normalisation,
)


@pytest.mark.parametrize(("name", "layers"), [("resnet8", 7), ("resnet20", 19)])
def test_resnets_have_their_depth_and_shape(name, layers):
    network = build_network(name, channels=3, classes=7, size=32)
    convolutions = [
        m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)
    ]
    assert len(convolutions) == layers
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 7)


def test_the_networks_for_small_images_keep_their_resolution():
    resnet = build_network("resnet18_cifar", channels=1, classes=7, size=32).eval()
    assert resnet(torch.rand(2, 1, 32, 32)).shape == (2, 7)
    assert resnet.forward_features(torch.rand(1, 1, 32, 32)).shape == (1, 512, 4, 4)
    assert 11.1e6 < sum(p.numel() for p in resnet.parameters()) < 11.3e6
    vit = build_network("vit_tiny_cifar", channels=3, classes=7, size=32).eval()
    tokens = vit.forward_features(torch.rand(1, 3, 32, 32))
    assert tokens.shape == (1, 65, 192)  # 8x8 patches and the class token
    for name, channels in (("efficientnet_cifar", 1280), ("convnext_cifar", 320)):
        network = build_network(name, channels=3, classes=7, size=32).eval()
        assert network.forward_features(torch.rand(1, 3, 32, 32)).shape == (1, channels, 2, 2)


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224", "mobilenetv3_small_050"]
)
def test_timm_networks_take_images_of_the_given_size_and_channels(name):
    network = build_network(name, channels=1, classes=3, size=64).eval()
    assert network(torch.rand(2, 1, 64, 64)).shape == (2, 3)
    mean, std = pretrained_normalisation(network)
    assert len(mean) == len(std) == 3


def test_the_normalisation_comes_with_the_weights(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 99, (6, 3, 16, 16)).astype(np.uint8)
    images = Images("dark", pixels, np.arange(6) % 2, ("a", "b"))
    network = build_network("mobilenetv3_small_050", channels=3, classes=7, size=16)
    weights = network.state_dict()
    expected = {  # by the file: nothing but the network, and a whole model
        "network": pretrained_normalisation(network),
        "model": (torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])),
    }
    mean, std = (part.view(3, 1, 1) for part in expected["model"])
    whole = {f"network.{name}": tensor for name, tensor in weights.items()}
    save_file(weights, tmp_path / "network")
    save_file(whole | {"mean": mean, "std": std}, tmp_path / "model")
    recipe = Recipe(model="mobilenetv3_small_050")
    for name, (mean, std) in expected.items():
        model = build_classifier(recipe.replace(weights=str(tmp_path / name)), images)
        torch.testing.assert_close(model.mean.flatten(), mean)
        torch.testing.assert_close(model.std.flatten(), std)
    of_images = channel_statistics(images.pixels)[0]
    torch.testing.assert_close(build_classifier(recipe, images).mean.flatten(), of_images)


@pytest.mark.parametrize("name", ["resnet8", "lcnet_035"])
def test_a_model_without_pretrained_weights_is_named_with_the_setting(name):
    with pytest.raises(ValueError, match=rf"weights='pretrained' needs .*, got model='{name}'"):
        build_network(name, channels=3, classes=10, size=32, pretrained=True)


@pytest.mark.parametrize("name", ["resnet", "resnet9", "vgg", ""])
def test_unknown_models_are_named(name):
    with pytest.raises(ValueError, match=rf"model .* resnet8, .*, got '{name}'"):
        build_network(name, channels=3, classes=2, size=32)


def test_statistics_are_those_of_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 200, (2100, 3, 5, 4)).astype(np.uint8)
    pixels[:, 2] = 7
    mean, std = channel_statistics(pixels)
    exact = pixels.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    np.testing.assert_allclose(mean, exact.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(std, [exact[0].std(), exact[1].std(), 1 / 255], rtol=1e-5)


def test_the_median_filter_is_that_of_numpy():
    images = torch.rand(2, 3, 6, 7)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    np.testing.assert_array_equal(
        build_filter("median")(images).numpy(), np.median(windows, axis=(-2, -1))
    )


def test_the_blur_is_binomial_and_keeps_constants():
    impulse = torch.zeros(1, 2, 5, 5)
    impulse[:, 1, 2, 2] = 1
    blurred = build_filter("blur")(impulse)
    assert blurred[0, 0].abs().max() == 0
    torch.testing.assert_close(
        blurred[0, 1, 1:4, 1:4], torch.outer(*[torch.tensor([1.0, 2, 1]) / 4] * 2)
    )
    torch.testing.assert_close(
        build_filter("blur")(torch.full((1, 3, 4, 4), 0.3)), torch.full((1, 3, 4, 4), 0.3)
    )


def test_total_variation_is_that_of_scikit_image_and_its_gradient_that_of_the_identity(photographs):
    images = torch.from_numpy(
        photographs[:2].transpose(0, 3, 1, 2) / np.float32(255)
    ).requires_grad_()
    filtered = build_filter("tv")(images)
    expected = denoise_tv_chambolle(
        photographs[1] / np.float32(255), weight=0.05, channel_axis=-1
    ).transpose(2, 0, 1)
    np.testing.assert_allclose(filtered[1].detach().numpy(), expected, atol=1e-6)
    filtered.sum().backward()
    assert (images.grad == 1).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["none", "median", "blur", "tv", "bilateral"])
def test_every_filter_keeps_shape_and_constants_and_reduces_noise(name, channels):
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 0.02 * torch.randn(2, channels, 8, 9, generator=generator)
    filtered = build_filter(name)(images)
    assert filtered.shape == images.shape
    assert filtered.dtype == torch.float32
    assert (filtered.std() < 0.8 * images.std()) == (name != "none")
    torch.testing.assert_close(
        build_filter(name)(torch.full_like(images, 0.25)), torch.full_like(images, 0.25)
    )
    with pytest.raises(ValueError, match="filter .*, got 'sharpen'"):
        build_filter("sharpen")


def test_standardised_images_forget_brightness_and_contrast():
    images = torch.rand(3, 3, 6, 7, dtype=torch.float64)
    standardise = build_filter("none", standardise=True)
    expected = standardise(images)
    torch.testing.assert_close(expected.mean(dim=(1, 2, 3)), torch.full((3,), 0.5).double())
    torch.testing.assert_close(standardise(0.3 + 0.2 * images), expected)
    flat = torch.full((1, 1, 4, 4), 0.7, requires_grad=True)
    standardise(flat).sum().backward()
    assert flat.grad.isfinite().all()
    median = build_filter("median", standardise=True)(images)
    torch.testing.assert_close(median, standardise(build_filter("median")(images)))


def test_both_heads_of_a_distilled_network_belong_to_its_classes(tmp_path):
    name = "deit_tiny_distilled_patch16_224"
    pixels = np.zeros((4, 3, 32, 32), np.uint8)
    images = Images("black", pixels, np.arange(4) % 2, ("a", "b"))
    other = build_network(name, channels=3, classes=5, size=32)
    torch.nn.init.ones_(other.blocks[0].mlp.fc1.weight)
    save_file(other.state_dict(), tmp_path / "weights")
    recipe = Recipe(model=name, weights=str(tmp_path / "weights"))
    network = build_classifier(recipe, images).network
    assert network.head.weight.shape == network.head_dist.weight.shape == (2, 192)
    assert (network.blocks[0].mlp.fc1.weight == 1).all()
