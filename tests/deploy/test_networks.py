import json
import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open

import virolbi.deploy
from virolbi.data import load
from virolbi.deploy import export
from virolbi.recipes import Recipe
from virolbi.training import train

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


def trained(folder_of_images, **settings):
    recipe = Recipe(epochs=1, batch_size=16, crop=2, **settings)
    return train(recipe, load(str(folder_of_images), "train"))


def test_the_package_has_no_other_names():
    with pytest.raises(AttributeError, match="exports"):
        virolbi.deploy.exports  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{"procedure": "fixed"}, {"filter": "median"}, {"model": "vit_tiny_cifar"}]
)
def test_an_exported_network_gives_the_same_logits(folder_of_images, tmp_path, settings):
    run = trained(folder_of_images, **settings)
    path = tmp_path / "net.onnx"
    description = export(run, path)
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert description == json.loads(metadata["virolbi"])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 6):
        images = np.random.default_rng(count).random((count, 1, 12, 12), np.float32)
        (logits,) = session.run(["logits"], {"images": images})
        expected = run.model(torch.from_numpy(images)).detach().numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert description["classes"] == ["bright", "dark"]
    assert "grey intensities in [0, 1], float32, (N, 1, 12, 12)" in description["input"]
    sparsity = (description["smoothing"] or {"sparsity": None})["sparsity"]
    assert sparsity == (0.8 if "procedure" in settings else None)


class OneOrMany(torch.nn.Module):
    """Network that treats a single image in another way."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(144, 2)

    def forward(self, images):
        logits = self.layer(images.flatten(1))
        return 2 * logits if len(images) == 1 else logits


def test_a_network_that_does_not_take_any_number_of_images_is_named(folder_of_images, tmp_path):
    recipe = Recipe(epochs=1, batch_size=16, crop=2)
    run = train(recipe, load(str(folder_of_images), "train"), network=OneOrMany())
    with pytest.raises(RuntimeError, match="the exported network must take any number of images"):
        export(run, tmp_path / "net.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_safetensors_describe_themselves(folder_of_images, tmp_path):
    run = trained(folder_of_images, procedure="fixed", preset="paper")
    description = export(run, tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        assert json.loads(file.metadata()["virolbi"]) == description
        assert torch.equal(file.get_tensor("network.head.weight"), run.model.network.head.weight)
    assert description["smoothing"]["delta"] == "inf"


def test_a_network_that_cannot_be_exported_is_refused_and_nothing_is_written(
    folder_of_images, tmp_path, monkeypatch
):
    run = trained(folder_of_images, filter="bilateral")
    with pytest.raises(ValueError, match="filter must be .* got 'bilateral'"):
        export(run, tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="path must end in"):
        export(run, tmp_path / "net.pt")
    for change in (1, math.nan):
        weights = {name: value + change for name, value in run.model.state_dict().items()}
        monkeypatch.setattr("virolbi.deploy.networks.load", lambda _, weights=weights: weights)
        with pytest.raises(RuntimeError, match="the exported network must give the same logits"):
            export(run, tmp_path / "net.safetensors")
    assert not list(tmp_path.glob("net.*"))


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(144, 144)
        self.second = torch.nn.Linear(144, 144)
        self.second.weight = self.first.weight
        self.head = torch.nn.Linear(144, 2)

    def forward(self, images):
        return self.head(self.second(self.first(images.flatten(1)).relu()))


def test_tied_weights_are_exported_and_the_network_stays_unchanged(folder_of_images, tmp_path):
    images = load(str(folder_of_images), "train")
    run = train(Recipe(epochs=1, batch_size=16, crop=2), images, network=Tied())
    run.model.train()
    export(run, tmp_path / "net.safetensors")
    assert run.model.training
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("network.second.weight"), run.model.network.first.weight)
