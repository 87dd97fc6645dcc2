"""Smoothing on the device of the training, with torch operations on the CPU in place of a GPU."""

import numpy as np
import pytest
import torch

from virolbi import smooth
from virolbi.data import Images
from virolbi.nn.path import TensorScale, kernels
from virolbi.recipes import Recipe
from virolbi.training import Batches, read_checkpoint, train
from virolbi.training.views import smooth_each

VIEWS = ("clean", "noise | clean", "noise smooth | smooth noise | smooth")
RECIPE = Recipe(
    batch_size=12,
    epochs=2,
    crop=2,
    procedure="mixed",
    mix=(0.0, 0.8, 0.95),
    noise=0.1,
    views=VIEWS,
    learning_rate=0.02,
)


@pytest.fixture
def images(photographs):
    pixels = photographs[::2, :8, :8].transpose(0, 3, 1, 2).copy()
    return Images("photographs", pixels, np.arange(24) % 2, ("a", "b"))


@pytest.fixture
def on_a_device(monkeypatch, act_as_accelerator):
    """Let the training run as on a GPU with kernels; record the sizes of what is smoothed there."""
    sizes = []
    of = TensorScale.of

    def record(images, sparsity, **settings):
        sizes.append((len(images), isinstance(sparsity, str)))
        return of(images, sparsity, **settings)

    monkeypatch.setattr("virolbi.training.loop.has_kernels", lambda device: True)
    act_as_accelerator()
    monkeypatch.setattr(TensorScale, "of", record)
    return sizes


class Tiny(torch.nn.Module):
    """A network without batch statistics, which would enlarge rounding errors."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.shown = []  # in training
        self.body = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, images):
        if self.training:
            self.shown.append(images.detach().clone())
        return self.head(self.body(images).relu().mean(dim=(2, 3)))


def finished(prepared, recipe):
    """Return the inputs of a batch after the smoothing that was left to do."""
    inputs = prepared.inputs.flatten(0, 1).clone()
    return smooth_each(inputs, prepared.unsmoothed, recipe).view_as(prepared.inputs)


def smoothed_one_by_one(prepared):
    """Return the inputs of a batch, each smoothed by itself, by the compiled engine."""
    inputs, left = prepared.inputs.clone(), prepared.unsmoothed
    for place in np.ndindex(left.auto.shape):
        sparsity = "auto" if left.auto[place] else left.values[place]
        if sparsity:
            array = smooth(inputs[place].numpy(), sparsity, channel_axis=0)
            inputs[place] = torch.from_numpy(array)
    return inputs


@pytest.mark.parametrize("sparsity", ["numbers", "auto", "both"])
@pytest.mark.parametrize("views", [(), VIEWS])
def test_a_batch_that_is_smoothed_on_the_device_is_the_ordinary_one(
    images, on_a_device, sparsity, views
):
    changes = {"views": views} if views else {"views": (), "order": "last", "untouched": 0.3}
    if sparsity == "auto":
        changes |= {"procedure": "fixed", "sparsity": "auto", "noise": 0.3}
    recipe = RECIPE.replace(**changes)
    batches, unfinished = Batches(recipe, images), Batches(recipe, images, finish=False)
    for step in (0, 3):
        inputs, labels, mean, nothing = batches[step]
        assert not (nothing.auto | (nothing.values > 0)).any()
        prepared = unfinished[step]
        unsmoothed = prepared.unsmoothed
        if sparsity == "both":  # no recipe has both
            unsmoothed.auto[-1, ::2], unsmoothed.values[-1, ::2] = True, 0
            inputs = smoothed_one_by_one(prepared)
        assert torch.equal(inputs, smoothed_one_by_one(prepared))
        result = finished(prepared, recipe)
        left = unsmoothed.auto | (unsmoothed.values > 0)
        assert 3 < left.sum() < left.size
        assert torch.equal(result[torch.from_numpy(~left)], inputs[torch.from_numpy(~left)])
        torch.testing.assert_close(result, inputs, rtol=0, atol=1e-4)
        assert not torch.allclose(prepared.inputs, inputs, atol=1e-2)
        assert torch.equal(prepared.labels, labels)
        assert prepared.sparsity == mean
    calls = [auto for _, auto in on_a_device]
    assert calls == 2 * {"numbers": [False], "auto": [True], "both": [True, False]}[sparsity]


def test_a_batch_that_is_smoothed_by_the_kernels_is_the_ordinary_one(
    images, on_a_device, monkeypatch
):
    pytest.importorskip("triton", reason="comes with PyTorch on Linux; runs there, in .ci/run")
    monkeypatch.setattr("virolbi.nn.path.operations_for", lambda images: kernels())
    recipe = RECIPE.replace(batch_size=4)
    result = finished(Batches(recipe, images, finish=False)[1], recipe)
    torch.testing.assert_close(result, Batches(recipe, images)[1].inputs, rtol=0, atol=1e-4)


def test_smoothing_in_the_middle_of_a_view_is_not_left_to_the_device(images):
    recipe = RECIPE.replace(views=("smooth noise", "clean"))
    prepared = Batches(recipe, images, finish=False)[0]
    assert torch.equal(prepared.inputs, Batches(recipe, images)[0].inputs)
    assert not prepared.unsmoothed.values.any()


def test_every_process_leaves_its_share_to_its_device(images):
    whole = Batches(RECIPE, images, finish=False)[1]
    shares = [Batches(RECIPE, images, share=(rank, 5), finish=False)[1] for rank in range(5)]
    assert torch.equal(torch.cat([share.inputs for share in shares], dim=1), whole.inputs)
    values = np.concatenate([share.unsmoothed.values for share in shares], axis=1)
    np.testing.assert_array_equal(values, whole.unsmoothed.values)


def close(run, other):
    for name, tensor in run.model.state_dict().items():
        torch.testing.assert_close(other.model.state_dict()[name], tensor, rtol=0, atol=2e-4)
    assert [entry["sparsity"] for entry in run.history] == [
        entry["sparsity"] for entry in other.history
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accumulate": 5, "consistency": 6.0, "validation": 0.25},
        {"adversarial": 0.02, "adversarial_steps": 2},
    ],
)
def test_training_that_smooths_on_the_device_ends_like_any_other(images, request, changes):
    recipe, expected, network = RECIPE.replace(**changes), Tiny(), Tiny()
    ordinary = train(recipe, images, network=expected)
    sizes = request.getfixturevalue("on_a_device")
    run = train(recipe, images, network=network)
    assert sizes  # smoothed there
    assert not any(auto for _, auto in sizes)
    close(ordinary, run)
    assert len(network.shown) == len(expected.shown)
    for shown, batch in zip(network.shown, expected.shown, strict=True):
        # images are divided by their deviation; attacks depend on the weights
        atol = 4 * recipe.adversarial / float(run.model.std.min()) + 1e-3
        torch.testing.assert_close(shown, batch, rtol=0, atol=atol)


def test_training_that_smooths_on_the_device_resumes(images, on_a_device, tmp_path):
    recipe = RECIPE.replace(sparsity="auto", procedure="fixed", accumulate=2)
    whole = train(recipe, images, network=Tiny())

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, images, tmp_path / "run", network=Tiny(), checkpoint_every=0, progress=stop)
    assert read_checkpoint(tmp_path / "run")[0].step == 2
    run = train(recipe, images, tmp_path / "run", network=Tiny())
    assert run.history == whole.history
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, whole.model.state_dict()[name])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "are smoothed on cpu, which has kernels"),
        ({"views": ("clean", "smooth noise")}, "on the CPU between the steps"),
        ({"views": (), "noise": 0}, "because the network trains there"),
    ],
)
def test_the_log_says_where_and_why(images, on_a_device, caplog, changes, expected):
    with caplog.at_level("INFO", "virolbi"):
        train(RECIPE.replace(epochs=1, **changes), images, network=Tiny())
    (message,) = caplog.messages
    assert expected in message
    assert bool(on_a_device) == (not changes)


# more workers than this machine may have cores
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_leave_smoothing_to_the_device(images, on_a_device):
    recipe = RECIPE.replace(epochs=1)
    run = train(recipe, images, network=Tiny(), workers=1)
    assert len(on_a_device) == 2
    again = train(recipe, images, network=Tiny())
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
