from dataclasses import replace

import numpy as np
import pytest
import torch

from virolbi import smooth
from virolbi.data import load
from virolbi.models import Median, ResNet, build
from virolbi.training import PROCEDURES, Recipe, load_run, save, train

SMALL = Recipe(epochs=2, batch_size=16, crop=2)


@pytest.fixture
def images(folder_of_images):
    return load(str(folder_of_images), "train")


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_every_procedure_learns_to_tell_bright_from_dark(images, procedure):
    run = train(replace(SMALL, procedure=procedure, epochs=12, learning_rate=0.02), images)
    pixels = torch.from_numpy(images.pixels).float() / 255
    with torch.no_grad():
        assert (run.model(pixels).argmax(dim=1) == torch.from_numpy(images.labels)).float().mean() == 1
    assert [entry["epoch"] for entry in run.history] == list(range(1, 13))
    assert not run.model.training


def test_training_is_decided_by_the_recipe(images):
    first, again, other = (train(replace(SMALL, procedure="mixed", noise=0.1, seed=seed), images) for seed in (0, 0, 1))
    for one, same in zip(first.model.state_dict().values(), again.model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, same, rtol=0, atol=0)
    assert first.history == again.history != other.history


def test_a_saved_run_comes_back(images, tmp_path):
    run = train(replace(SMALL, median=3), images)
    save(run, tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "run"]
    loaded = load_run(tmp_path / "run")
    assert (loaded.recipe, loaded.classes, loaded.data, loaded.history) == (run.recipe, run.classes, run.data, run.history)
    pixels = torch.rand(5, 1, 12, 12)
    torch.testing.assert_close(loaded.model(pixels), run.model(pixels))
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"")
    for folder in ("run", "nowhere"):
        with pytest.raises(ValueError, match=f"{folder} must be the folder of a training run"):
            load_run(tmp_path / folder)


def test_schedules_are_what_the_procedures_say():
    rng = np.random.default_rng(0)

    def of(procedure):
        recipe = Recipe(procedure=procedure, epochs=9)
        return np.stack([recipe.sparsities(epoch, 1000, rng) for epoch in range(9)])

    assert (of("plain") == 0).all()
    assert (of("fixed") == 0.8).all()
    iterative = of("iterative")
    assert iterative[0] == pytest.approx(0.95)
    assert (np.diff(iterative[:5], axis=0) < 0).all()
    assert iterative[4:] == pytest.approx(0.8)
    mixed = of("mixed")
    assert set(np.unique(mixed)) == {0.0, 0.65, 0.8, 0.9}
    assert (np.abs([(mixed == s).mean() for s in (0.0, 0.65, 0.8, 0.9)] - np.array(0.25)) < 0.02).all()
    assert (mixed[0] != mixed[1]).any()


def test_networks_are_shown_smoothed_images(images, monkeypatch):
    """What the first step of a fixed run sees is the smoothed training set, in some order, when nothing augments it."""
    seen = []
    monkeypatch.setattr(
        ResNet, "forward", lambda self, x: seen.append(x.detach().clone()) or self.head(torch.zeros(len(x), 64) + x.mean())
    )
    run = train(replace(SMALL, procedure="fixed", epochs=1, batch_size=48, crop=0, flip=False), images)
    shown = (seen[0] * run.model.std + run.model.mean).numpy()
    expected = smooth(images.pixels / np.float32(255), 0.8, channel_axis=1)
    np.testing.assert_allclose(np.sort(shown.mean(axis=(1, 2, 3))), np.sort(expected.mean(axis=(1, 2, 3))), atol=1e-5)
    np.testing.assert_allclose(np.sort(shown.std(axis=(1, 2, 3))), np.sort(expected.std(axis=(1, 2, 3))), atol=1e-5)


def test_the_median_filter_is_numpys():
    images = torch.rand(2, 3, 6, 7)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    np.testing.assert_array_equal(Median(3)(images).numpy(), np.median(windows, axis=(-2, -1)))


def test_a_run_does_not_replace_anything(images, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("years of work")
    run = train(replace(SMALL, epochs=1), images)
    for place in ("results", "results/thesis.txt"):
        with pytest.raises(ValueError, match="must be a new or an empty folder; it holds something already"):
            save(run, tmp_path / place)
    assert (tmp_path / "results" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    save(run, tmp_path / "empty")
    with pytest.raises(ValueError, match="empty must be a new or an empty folder"):
        save(run, tmp_path / "empty")


@pytest.mark.parametrize(("name", "layers"), [("resnet8", 7), ("resnet20", 19)])
def test_resnets_have_their_depth_and_shape(name, layers):
    network = build(name, channels=3, classes=7)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == layers
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 7)


def test_a_diverging_loss_is_said(images):
    with pytest.raises(RuntimeError, match=r"the loss became .* lower learning_rate=1e\+20"):
        train(replace(SMALL, learning_rate=1e20), images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"procedure": "slow"}, r"procedure must be one of .*, got 'slow'"),
        ({"preset": "fast"}, r"preset must be one of \('robust', 'paper'\), got 'fast'"),
        ({"sparsity": 1.5}, r"sparsity must be in \[0, 1\], got 1.5"),
        ({"mix": (0.5, 2.0)}, r"mix must hold sparsities in \[0, 1\], got \(0.5, 2.0\)"),
        ({"procedure": "iterative", "start_sparsity": 0.5}, "start_sparsity must be >= sparsity=0.8, got 0.5"),
        ({"epochs": 0}, "epochs must be > 0, got 0"),
        ({"crop": -1}, "crop must be >= 0, got -1"),
        ({"median": 4}, "median must be odd, or 0 for none, got 4"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


@pytest.mark.parametrize("name", ["resnet", "resnet9", "vgg", "resnet2"])
def test_unknown_models_are_named(name):
    with pytest.raises(ValueError, match=rf"model must be 'resnet' and a depth 6n \+ 2 .*, got '{name}'"):
        build(name, channels=3, classes=2)
