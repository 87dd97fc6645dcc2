import numpy as np
import pytest
import torch

from virolbi.data import Images
from virolbi.evaluation import load_subject, subject_from_network
from virolbi.recipes import Recipe
from virolbi.training import train


def images_of(*classes):
    return Images("some", np.zeros((2, 3, 8, 8), np.uint8), np.zeros(2, np.int64), classes)


def test_a_run_is_judged_as_it_was_meant_to_be_used(folder_of_images, tmp_path):
    for name, settings, views in (
        ("plain", {}, ["raw"]),
        ("fixed", {"procedure": "fixed", "sparsity": 0.7, "nu": 0.5}, ["raw", "smoothed"]),
        ("median", {"filter": "median"}, ["median"]),
    ):
        recipe = Recipe(data=str(folder_of_images), epochs=1, batch_size=16, seed=3, **settings)
        train(recipe, None, tmp_path / name)
        subject = load_subject(str(tmp_path / name))
        assert (subject.name, subject.seed, subject.data) == (name, 3, str(folder_of_images))
        assert [view.name for view in subject.views] == views
    smoother = load_subject(str(tmp_path / "fixed")).views[1].smoother
    assert (smoother.sparsity, smoother.form.nu, smoother.form.delta) == (0.7, 0.5, 0.1)
    assert [
        view.name for view in load_subject(str(tmp_path / "plain"), sparsities=[0.9, "auto"]).views
    ] == [
        "raw",
        "smoothed 0.9",
        "auto",
    ]


def test_logits_are_those_of_the_images_classes():
    subject = subject_from_network(
        lambda images: torch.arange(4.0).repeat(len(images), 1),
        "own",
        classes=(("n1", "cat"), ("n2",), ("dog",), ("ox",)),
    )
    chosen = subject.aligned_with(images_of("dog", "cat"))
    assert chosen.views[0].model(torch.zeros(1, 3, 8, 8)).tolist() == [[2, 0]]
    assert subject.aligned_with(images_of("n1", "n2", "dog", "ox")) is subject
    with pytest.raises(
        ValueError,
        match=r"images must have classes of the model, such as \['n1', 'n2', 'dog', 'ox'\], got 'bee'",
    ):
        subject.aligned_with(images_of("cat", "bee"))
    birds = subject_from_network(
        torch.nn.Flatten(),
        "own",
        classes=(("n1", "crane"), ("n2", "crane"), ("n3", "heron", "egret")),
    )
    with pytest.raises(ValueError, match=r"images must have one of \['n1', 'n2'\], got 'crane'"):
        birds.aligned_with(images_of("crane", "heron"))
    with pytest.raises(
        ValueError,
        match=r"must be different ones of the model, got \['heron', 'egret'\], two names of one",
    ):
        birds.aligned_with(images_of("n1", "heron", "egret"))
    with pytest.raises(
        ValueError, match="sparsities must differ in their first six digits, got views"
    ):
        subject_from_network(torch.nn.Flatten(), "own", [0.7000001, 0.7000002])
    anything = subject_from_network(lambda images: images.mean((2, 3)), "own")
    assert anything.aligned_with(images_of("a", "b", "c")).views == anything.views
    with pytest.raises(
        ValueError,
        match=r"model own must return logits of shape \(N, 2\), for classes \('a', 'b'\) in this",
    ):
        anything.aligned_with(images_of("a", "b"))


OWN = """
import torch

def network():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))

def function():
    return lambda images: images.mean((2, 3))

number = lambda: 3

def wanting(size):
    return function()

def broken():
    return 1 + "one"
"""


def test_a_network_of_ones_own_is_found_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    for name, classes in (("network", 2), ("function", 3)):
        subject = load_subject(f"own_models:{name}", sparsities=[0.8])
        assert [view.name for view in subject.views] == ["raw", "smoothed"]
        for view in subject.views:
            assert view.model(torch.rand(4, 3, 2, 2)).shape == (4, classes)
    with pytest.raises(
        ValueError, match="model must return a callable for images, 'own_models:number' returns int"
    ):
        load_subject("own_models:number")
    with pytest.raises(
        TypeError, match="unsupported operand"
    ):  # a fault of theirs is shown as it is
        load_subject("own_models:broken")
    for name in ("own_models:nothing", "own_models:wanting", "no_such_module:network"):
        with pytest.raises(
            ValueError,
            match=f"model must be a function without arguments by 'module:function', got '{name}'",
        ):
            load_subject(name)
    with pytest.raises(ValueError, match="must be the folder of a finished training run"):
        load_subject("nowhere")
    with pytest.raises(
        ValueError, match="model must be one that timm has weights for, got 'lenet'"
    ):
        load_subject("timm:lenet")


def test_networks_of_timm_know_the_classes_of_imagenet(monkeypatch):
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name))
    subject = load_subject("timm:mobilenetv3_small_050")
    assert subject.size == 224
    fitting = subject.aligned_with(images_of("tench", "n02102040", "golf ball"))
    assert fitting.views[0].model(torch.rand(1, 3, 64, 64)).shape == (1, 3)


def test_functions_without_weights_are_known_by_their_answers():
    images = Images(
        "some",
        np.arange(9 * 3 * 64, dtype=np.uint32).astype(np.uint8).reshape(9, 3, 8, 8),
        np.zeros(9, int),
        ("a", "b"),
    )
    one, same, other = (
        subject_from_network(lambda x, k=k: k * x.mean((2, 3))[:, :2], "f").aligned_with(images)
        for k in (1, 1, 2)
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert (
        subject_from_network(lambda x: torch.rand(len(x), 2), "g").aligned_with(images).fingerprint
        == "random"
    )
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    assert (
        subject_from_network(network, "h").aligned_with(images).fingerprint
        == subject_from_network(network, "h").fingerprint
    )
