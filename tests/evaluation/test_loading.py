import numpy as np
import pytest
import torch

from virolbi.data import Images
from virolbi.evaluation import load_subject, subject_from_run
from virolbi.recipes import Recipe
from virolbi.training import Run, train


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
        view.name
        for view in load_subject(str(tmp_path / "plain"), sparsities=[0.9, "auto", 0.8]).views
    ] == [
        "raw",
        "smoothed 0.9",
        "auto",
        "smoothed 0.8",
    ]


SPARSITIES = (0.8, 0.9, 0.95, "auto")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ("smoothed 0.8", "smoothed 0.9", "smoothed 0.95", "auto")),
        ({"procedure": "fixed"}, ("smoothed", "smoothed 0.9", "smoothed 0.95", "auto")),
        (
            {"procedure": "fixed", "nu": 0.1},
            ("smoothed", *(f"{name}, nu 0.1" for name in ("smoothed 0.9", "smoothed 0.95"))),
        ),
        (
            {"procedure": "fixed", "sparsity": 0.9, "preset": "paper", "nu": 0.1},
            ("smoothed 0.8, paper, nu 0.1", "smoothed", "smoothed 0.95, paper, nu 0.1"),
        ),
        (
            {"procedure": "fixed", "sparsity": "auto", "nu": 0.1},
            (*(f"smoothed {number}, nu 0.1" for number in SPARSITIES[:3]), "auto, nu 0.1"),
        ),
    ],
)
def test_a_view_is_named_after_its_smoother(settings, names):
    data = {"name": "made up", "count": 2, "shape": (3, 2, 2), "digest": "1a2b"}
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()
    run = Run(network, Recipe(**settings), ("a", "b"), data, [])
    subject = subject_from_run(run, "run", SPARSITIES[: len(names)])
    assert [view.name for view in subject.views] == ["raw", *names]
    for view, sparsity in zip(subject.views[1:], SPARSITIES, strict=False):
        assert (view.smoother.sparsity, view.smoother.form) == (sparsity, run.recipe.form)


USER_MODULE = """
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
    (tmp_path / "own_models.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    for name, classes in (("network", 2), ("function", 3)):
        subject = load_subject(f"own_models:{name}", sparsities=[0.8])
        assert [view.name for view in subject.views] == ["raw", "smoothed 0.8"]
        for view in subject.views:
            assert view.model(torch.rand(4, 3, 2, 2)).shape == (4, classes)
    with pytest.raises(ValueError, match="source must .*'own_models:number' returns int"):
        load_subject("own_models:number")
    # an error in the user's function is not replaced
    with pytest.raises(TypeError, match="unsupported operand"):
        load_subject("own_models:broken")
    for name in ("own_models:nothing", "own_models:wanting", "no_such_module:network"):
        with pytest.raises(ValueError, match=f"source must .*'{name}'"):
            load_subject(name)
    for name in ("own_models.py:network", "./own_models:network"):
        with pytest.raises(ValueError, match=f"got '{name}': write 'own_models:network'"):
            load_subject(name)
    with pytest.raises(ValueError, match="'no_such_module.py:network': No module named"):
        load_subject("no_such_module.py:network")
    with pytest.raises(ValueError, match="must be the folder of a finished .* there is no file"):
        load_subject("nowhere")
    with pytest.raises(ValueError, match="source must .*lenet"):
        load_subject("timm:lenet")


def test_networks_of_timm_know_the_classes_of_imagenet(monkeypatch):
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name))
    subject = load_subject("timm:mobilenetv3_small_050")
    assert subject.size == 224
    classes = ("tench", "n02102040", "golf ball")
    images = Images("images", np.zeros((2, 3, 8, 8), np.uint8), np.zeros(2, np.int64), classes)
    fitting = subject.aligned_with(images)
    assert fitting.views[0].model(torch.rand(1, 3, 64, 64)).shape == (1, 3)
