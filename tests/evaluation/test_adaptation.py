"""Methods of adaptation do what their papers say, on networks small enough to see it."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from virolbi import smooth
from virolbi.corruptions import corrupt
from virolbi.data import Images
from virolbi.evaluation import View, adapt, subject_from_network
from virolbi.evaluation.adaptation import METHODS, STREAMS, Setting, streams
from virolbi.evaluation.adaptation.balanced_memory import BalancedMemory
from virolbi.evaluation.adaptation.methods import entropy
from virolbi.evaluation.adaptation.views import view_maker
from virolbi.nn import Smooth
from virolbi.scale_space import Online

CLASSES = 3


@pytest.fixture
def network():
    """A small network in evaluation mode, whose statistics are those of images in [0, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, CLASSES),
        )
        layers(torch.rand(64, 3, 16, 16))
    return layers.eval()


@pytest.fixture
def batch():
    return torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.3


def adapter(name, network, source=None, batch_size=20, **options):
    setting = Setting(deepcopy(network), source, CLASSES, batch_size)
    return METHODS[name](setting, **options), setting.network


def test_nothing_changes_without_a_method(network, batch):
    method, after = adapter("source", network)
    torch.testing.assert_close(method(batch), network(batch).detach())
    assert all(
        torch.equal(a, b)
        for a, b in zip(after.state_dict().values(), network.state_dict().values(), strict=True)
    )


def test_bn_is_a_network_in_training_mode(network, batch):
    method, _ = adapter("bn", network)
    torch.testing.assert_close(method(batch), deepcopy(network).train()(batch).detach())


@pytest.mark.parametrize(("share", "other"), [(0.0, "source"), (1.0, "bn")])
def test_bn_alpha_lies_between_the_statistics_of_training_and_those_of_the_batch(
    network, batch, share, other
):
    method, _ = adapter("bn-alpha", network, share=share)
    for _ in range(2):  # the statistics of training are not forgotten
        torch.testing.assert_close(method(batch), adapter(other, network)[0](batch))


def test_tent_lowers_the_entropy_by_scales_and_shifts_alone(network, batch):
    method, after = adapter("tent", network, rate=0.05)
    first = method(batch)
    torch.testing.assert_close(first, adapter("bn", network)[0](batch))
    for _ in range(20):
        last = method(batch)
    assert entropy(last).mean() < 0.9 * entropy(first).mean()
    changed = {
        name
        for name, value in after.named_parameters()
        if not torch.equal(value, network.get_parameter(name))
    }
    assert changed == {"1.weight", "1.bias"}


def test_eata_learns_from_nothing_that_is_unsure_and_stays_near_the_weights_of_training(
    network, batch
):
    source = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    unsure, after = adapter("eata", network, source, margin=1e-3)
    unsure(batch)
    assert torch.equal(after[1].weight, network[1].weight)
    distances = []
    for weight in (0.0, 1e6):
        free, after = adapter(
            "eata", network, source, margin=1.0, similarity=2.0, rate=0.01, weight=weight
        )
        for _ in range(10):
            free(batch)
            free(source)
        distances.append(float((after[1].weight - network[1].weight).detach().norm()))
    assert 0 < distances[1] < distances[0]
    with pytest.raises(ValueError, match="source_images"):
        adapter("eata", network)


def test_eata_leaves_out_what_is_like_the_mean_prediction(network, batch):
    source = torch.rand(40, 3, 16, 16)
    method, after = adapter("eata", network, source, margin=1.0, similarity=0.0)
    method(batch)
    weights = after[1].weight.detach().clone()
    assert not torch.equal(weights, network[1].weight)
    method(batch)  # no prediction is orthogonal to the mean
    assert torch.equal(after[1].weight, weights)


def test_note_follows_an_image_that_is_unlike_the_training_images_and_no_other(network, batch):
    method, _ = adapter("note", network, width=1e9, capacity=64)
    torch.testing.assert_close(method(batch), adapter("source", network)[0](batch))
    method, _ = adapter("note", network, width=0.0, capacity=64)
    one_by_one = torch.cat([adapter("bn", network)[0](image[None]) for image in batch])
    torch.testing.assert_close(method(batch), one_by_one, atol=2e-3, rtol=2e-3)  # n - 1 for n


def test_note_takes_batch_norms_of_vectors(batch):
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(batch[0].numel(), 8), nn.BatchNorm1d(8), nn.Linear(8, 3)]
    network = nn.Sequential(*layers).eval()
    method, _ = adapter("note", network, capacity=64)
    torch.testing.assert_close(method(batch), adapter("source", network)[0](batch))


def test_note_learns_when_the_memory_is_full(network, batch):
    method, after = adapter("note", network, rate=0.01, capacity=8)
    method(batch[:7])
    assert torch.equal(after[1].weight, network[1].weight)
    method(batch[7:8])
    assert not torch.equal(after[1].weight, network[1].weight)
    assert not torch.equal(after[1].running_mean, network[1].running_mean)


def test_the_memory_keeps_as_many_of_each_class_as_it_can():
    memory = BalancedMemory(9, 3)
    for index in range(200):
        memory.add(torch.full((1, 1, 1), float(index)), 0)
    for index in range(200, 230):
        memory.add(torch.full((1, 1, 1), float(index)), 1 + index % 2)
    kept = memory.images().flatten()
    assert [int((kept < 200).sum()), len(kept)] == [3, 9]


def test_memo_starts_every_image_from_the_same_weights(network, batch):
    method, after = adapter("memo", network, rate=0.5, views=4)
    first = method(batch[:3])
    assert not torch.allclose(first, network(batch[:3]))
    assert all(
        torch.equal(a, b)
        for a, b in zip(after.state_dict().values(), network.state_dict().values(), strict=True)
    )
    alone, _ = adapter("memo", network, rate=0.5, views=4)
    torch.testing.assert_close(alone(batch[:1]), first[:1])


def test_views_of_memo_are_images(batch):
    views = torch.stack([view_maker((16, 16))(batch[0]) for _ in range(20)])
    assert views.shape == (20, 3, 16, 16)
    assert views.min() >= 0
    assert views.max() <= 1
    assert len({view.numpy().tobytes() for view in views}) > 15


def test_views_of_memo_may_be_long(batch):
    assert view_maker((8, 128))(torch.rand(3, 8, 128)).shape == (3, 8, 128)


def test_lame_gives_alike_images_one_answer(network, batch):
    method, _ = adapter("lame", network)
    answers = method(torch.cat([batch[:1]] * 9 + [batch[1:2]]))
    assert (answers[:9].argmax(dim=1) == answers[0].argmax()).all()
    torch.testing.assert_close(answers.exp().sum(dim=1), torch.ones(10))
    images = torch.cat([batch, batch.flip(0)])
    torch.testing.assert_close(method(images)[:20], method(images)[20:].flip(0))


@pytest.mark.parametrize("name", ["bn", "bn-alpha", "tent", "eata", "note"])
def test_a_network_without_normalisation_is_refused(name, batch):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, CLASSES))
    with pytest.raises(ValueError, match="network must have"):
        adapter(name, network, batch)


def test_layer_norms_adapt_too(batch):
    network = nn.Sequential(nn.Flatten(), nn.LayerNorm(768), nn.Linear(768, CLASSES)).eval()
    method, after = adapter("tent", network)
    method(batch)
    assert not torch.equal(after[1].weight, network[1].weight)


@pytest.mark.parametrize("name", STREAMS)
def test_streams_hold_every_image_under_every_type_once(name):
    labels = np.random.default_rng(0).integers(0, 5, 43)
    found = list(streams(name, labels, 3, 10, seed=1))
    assert sum((stream.types for stream in found), ()) == (0, 1, 2)
    pairs = [
        pair
        for stream in found
        for batch in stream.batches
        for pair in zip(batch.types.tolist(), batch.rows.tolist(), strict=True)
    ]
    assert sorted(pairs) == [(kind, row) for kind in range(3) for row in range(43)]
    size = max(len(batch.rows) for stream in found for batch in stream.batches)
    assert size == found[0].batch_size == (1 if name == "single" else 10)
    first = np.concatenate([batch.rows for batch in found[0].batches])
    changes = np.count_nonzero(np.diff(labels[first]))
    assert (changes == 4) == (name == "correlated")


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % CLASSES
    pixels = rng.integers(0, 60, (30, 3, 16, 16)) + 80 * labels[:, None, None, None]
    return Images("levels", pixels.astype(np.uint8), labels, ("dark", "grey", "bright"))


def test_rows_are_those_of_views_methods_orders_and_types(network, images, tmp_path):
    subject = subject_from_network(network, "small", sparsities=(0.9,))
    path, types = tmp_path / "adapted.jsonl", ("gaussian_noise", "contrast")
    options = {"corruptions": types, "batch_size": 8, "orders": ("iid", "mixed")}
    rows = adapt(subject, images, path, methods=("source", "tent"), **options)
    assert [(row["view"], row["budget"], row["condition"]) for row in rows] == [
        (f"{view}, {method}", f"{order}, batches of 8, of gaussian_noise contrast", name)
        for view in ("raw", "smoothed 0.9")
        for method in ("source", "tent")
        for order in ("iid", "mixed")
        for name in types
    ]
    stamp = path.read_bytes()
    assert adapt(subject, images, path, methods=("source", "tent"), **options) == rows
    assert path.read_bytes() == stamp
    assert len(adapt(subject, images, path, methods=("source", "bn"), **options)) == 16
    assert len(path.read_text().splitlines()) == 24
    # one of the types alone is another stream
    one = {"corruptions": types[:1], "batch_size": 8, "orders": ("mixed",)}
    (alone,) = adapt(subject_from_network(network, "small"), images, path, methods=["bn"], **one)
    assert alone not in rows


def test_batches_have_a_size_of_numpy_too(network, images, tmp_path):
    options = {"corruptions": ("contrast",), "orders": ("iid",), "source_images": images}
    options |= {"methods": ("eata", "source"), "batch_size": np.int64(8)}
    subject = subject_from_network(network, "small")
    assert len(adapt(subject, images, tmp_path / "a.jsonl", **options)) == 2


def test_source_has_the_same_accuracy_in_every_order_and_that_of_evaluate(
    network, images, tmp_path
):
    from virolbi.evaluation import Attacks, Conditions, evaluate

    subject = subject_from_network(network, "small", sparsities=("auto",))
    rows = adapt(
        subject, images, tmp_path / "a.jsonl", methods=("source",), corruptions=("shot_noise",)
    )
    judged = evaluate(
        subject,
        images,
        tmp_path / "e.jsonl",
        conditions=Conditions(("shot_noise",)),
        attacks=Attacks(attacked=0),
    )
    for view in ("raw", "auto"):
        accuracies = {row["accuracy"] for row in rows if row["view"] == f"{view}, source"}
        (expected,) = (
            row["accuracy"]
            for row in judged
            if (row["view"], row["condition"], row["severity"]) == (view, "shot_noise", 5)
        )
        assert accuracies == {expected}


class Recorder(nn.Module):
    """Network that records what it sees; copies of it share the record."""

    seen: ClassVar[list[torch.Tensor]] = []

    def forward(self, images):
        self.seen.append(images.clone())
        return images.mean(dim=(2, 3))


@pytest.mark.parametrize("order", STREAMS)
def test_a_view_that_smooths_shows_smoothed_images(images, tmp_path, monkeypatch, order):
    subject = subject_from_network(Recorder(), "recorder", sparsities=(0.9,))
    monkeypatch.setattr(Recorder, "seen", [])
    adapt(
        subject,
        images,
        tmp_path / "a.jsonl",
        methods=("source",),
        orders=(order,),
        corruptions=("gaussian_noise",),
        batch_size=7,
    )
    seen = torch.cat([batch for batch in Recorder.seen if len(batch) <= 7])[-60:]
    noisy = corrupt(images.pixels.astype(np.float32) / 255, "gaussian_noise", 5)
    smoothed = smooth(noisy, 0.9, channel_axis=1)
    (stream,) = streams(order, images.labels, 1, 7, seed=0)
    rows = np.concatenate([batch.rows for batch in stream.batches])
    np.testing.assert_array_equal(seen[:30].numpy(), noisy[rows])
    np.testing.assert_array_equal(seen[30:].numpy(), smoothed[rows])


def test_networks_are_never_changed(network, images, tmp_path):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    methods = tuple(name for name in METHODS if name != "memo")
    adapt(
        subject_from_network(network, "small"),
        images,
        tmp_path / "a.jsonl",
        methods=methods,
        corruptions=("gaussian_noise",),
        source_images=images,
    )
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"methods": ("tend",)}, "methods"),
        ({"methods": ()}, "methods"),
        ({"methods": ("bn", "bn")}, "methods must be some of .*each once, got .'bn', 'bn'"),
        ({"corruptions": ("fog", "fog")}, "corruptions"),
        ({"noise_seed": -1}, "noise_seed"),
        ({"orders": ("sorted",)}, "orders"),
        ({"corruptions": ("rain",)}, "corruptions"),
        ({"severity": 6}, "severity"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_arguments_are_named(network, images, tmp_path, arguments, name):
    with pytest.raises(ValueError, match=name):
        adapt(subject_from_network(network, "small"), images, tmp_path / "a.jsonl", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_method_that_does_not_fit_the_network_is_named(images, tmp_path):
    subject = subject_from_network(Recorder(), "recorder")
    with pytest.raises(ValueError, match="method 'lame': network must have a linear layer"):
        adapt(subject, images, tmp_path / "a.jsonl", methods=("lame",))


def test_a_batch_that_a_method_cannot_take_is_named(images, tmp_path):
    layers = [nn.Flatten(), nn.Linear(768, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES)]
    subject = subject_from_network(nn.Sequential(*layers).eval(), "vectors")
    with pytest.raises(ValueError, match="method 'bn' must .* error for a batch of 1: Expected"):
        adapt(subject, images, tmp_path / "a.jsonl", methods=("bn",), orders=("single",))


def test_logits_that_are_no_numbers_are_no_answers(network, images, tmp_path):
    class Overflow(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, shown):  # NaN for images that are brighter than all that are looked at
            logits = self.network(shown)
            return logits.masked_fill(shown.mean(dim=(1, 2, 3))[:, None] > 0.99, math.nan)

    subject = subject_from_network(Overflow(), "overflow")
    bright = images.pixels.copy()
    bright[-1] = 255
    some = Images("bright", bright, images.labels, images.classes)
    with pytest.raises(ValueError, match="view 'raw' with method 'source' must return .*NaN"):
        adapt(subject, some, tmp_path / "a.jsonl", methods=("source",), corruptions=("brightness",))


def test_a_view_that_remembers_images_is_refused(network, images, tmp_path):
    subject = subject_from_network(network, "small")
    view = View("online", network, Smooth(Online()))
    with pytest.raises(ValueError, match="'online' of model small must treat each image indep"):
        adapt(replace(subject, views=(view,)), images, tmp_path / "a.jsonl")


@pytest.mark.parametrize("rows", [np.s_[:0], np.s_[:, :, :8]])
def test_source_images_must_be_like_the_images(network, images, tmp_path, rows):
    pixels = images.pixels[rows]
    others = replace(images, pixels=pixels, labels=images.labels[: len(pixels)])
    options = {"methods": ("eata",), "source_images": others}
    with pytest.raises(ValueError, match="source_images must be one or more of the shape"):
        adapt(subject_from_network(network, "small"), images, tmp_path / "a.jsonl", **options)


class Halving(nn.Module):
    """Network that halves its images, in place or not; copies of it share the record of logits."""

    seen: ClassVar[list[torch.Tensor]] = []

    def __init__(self, network, in_place):
        super().__init__()
        self.network, self.in_place = network, in_place

    def forward(self, images):
        logits = self.network(images.mul_(0.5) if self.in_place else images * 0.5)
        self.seen.append(logits.detach())
        return logits


@pytest.mark.parametrize("method", ["eata", "note"])
def test_a_network_that_changes_images_in_place_adapts_as_any_other(
    network, images, tmp_path, monkeypatch, method
):
    seen = {}
    for in_place in (False, True):
        monkeypatch.setattr(Halving, "seen", seen.setdefault(in_place, []))
        adapt(
            subject_from_network(Halving(network, in_place), "small"),
            images,
            tmp_path / f"{in_place}.jsonl",
            methods=(method,),
            orders=("iid", "mixed"),
            corruptions=("gaussian_noise", "fog", "contrast"),
            source_images=images,
        )
    for usual, other in zip(*seen.values(), strict=True):
        torch.testing.assert_close(usual, other)


def test_entropy_is_that_of_the_definition():
    logits = torch.tensor([[0.0, 0, 0], [100, 0, 0]])
    torch.testing.assert_close(entropy(logits), torch.tensor([math.log(3), 0]))


def test_lame_ends_where_another_step_changes_nothing(network, batch):
    images = torch.cat([batch, batch.flip(3), batch.roll(4, 2)])
    results = {steps: adapter("lame", network, steps=steps)[0](images) for steps in (1, 100, 101)}
    assert not torch.allclose(results[1], results[100], atol=1e-3)
    torch.testing.assert_close(results[100].exp(), results[101].exp(), rtol=0, atol=1e-6)
