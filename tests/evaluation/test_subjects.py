import numpy as np
import pytest
import torch
from torchvision.transforms import Normalize

from virolbi.data import Images
from virolbi.evaluation import View, subject_from_network


def images_of(*classes):
    return Images("images", np.zeros((2, 3, 8, 8), np.uint8), np.zeros(2, np.int64), classes)


def test_logits_are_those_of_the_images_classes():
    subject = subject_from_network(
        lambda images: torch.arange(4.0).repeat(len(images), 1),
        "own",
        classes=(("n1", "cat"), ("n2",), ("dog",), ("ox",)),
    )
    chosen = subject.aligned_with(images_of("dog", "cat"))
    assert chosen.views[0].model(torch.zeros(1, 3, 8, 8)).tolist() == [[2, 0]]
    assert subject.aligned_with(images_of("n1", "n2", "dog", "ox")).views == subject.views
    with pytest.raises(ValueError, match=r"images must .*\['n1', 'n2', 'dog', 'ox'\], got 'bee'"):
        subject.aligned_with(images_of("cat", "bee"))
    birds = subject_from_network(
        lambda images: images.mean((2, 3)),
        "own",
        classes=(("n1", "crane"), ("n2", "crane"), ("n3", "heron", "egret")),
    )
    with pytest.raises(ValueError, match=r"images must .*'crane'.*\['n1', 'n2'\]"):
        birds.aligned_with(images_of("crane", "heron"))
    with pytest.raises(ValueError, match=r"images must .*\['heron', 'egret'\]"):
        birds.aligned_with(images_of("n1", "heron", "egret"))
    with pytest.raises(ValueError, match="sparsities must"):
        subject_from_network(torch.nn.Flatten(), "own", [0.7000001, 0.7000002])
    anything = subject_from_network(lambda images: images.mean((2, 3)), "own")
    assert anything.aligned_with(images_of("a", "b", "c")).views == anything.views
    with pytest.raises(ValueError, match=r"model own must .*\(2, 2\).* classes a, b in"):
        anything.aligned_with(images_of("a", "b"))


@pytest.mark.parametrize("count", [2, 4])
def test_a_network_with_other_logits_than_its_classes_is_refused(count):
    classes = tuple((name,) for name in "abc")
    subject = subject_from_network(lambda x: torch.ones(len(x), count), "own", classes=classes)
    with pytest.raises(ValueError, match=rf"model own must .*\(2, 3\).* a, b, c .*\(2, {count}\)"):
        subject.aligned_with(images_of("a", "b", "c"))


def test_images_that_a_network_does_not_take_are_named():
    images = images_of("a", "b")
    subject = subject_from_network(torch.nn.Conv2d(1, 2, 3), "grey")
    with pytest.raises(ValueError, match=r"network must take images of shape \(3, 8, 8\), got an"):
        subject.aligned_with(images)


def test_no_images_are_refused_by_all_that_judge():
    subject = subject_from_network(lambda images: images.mean((2, 3)), "own")
    with pytest.raises(ValueError, match="the number of images must be >= 1, got 0"):
        subject.aligned_with(images_of("a", "b", "c").subset(np.s_[:0]))


def test_functions_without_weights_are_known_by_their_answers():
    images = Images(
        "images",
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


def test_networks_are_known_by_what_is_in_front_of_them_too():
    pixels = np.random.default_rng(0).integers(256, size=(20, 3, 8, 8), dtype=np.uint8)
    images = Images("images", pixels, np.zeros(20, int), ("a", "b"))
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))

    def fingerprint(network, **fields):
        return subject_from_network(network, "h", **fields).aligned_with(images).fingerprint

    normalised = torch.nn.Sequential(Normalize([0.4], [0.2]), network)
    other = torch.nn.Sequential(Normalize([0.1], [0.2]), network)
    assert subject_from_network(normalised, "h").fingerprint == (
        subject_from_network(other, "h").fingerprint
    )
    fingerprints = [
        fingerprint(normalised),
        fingerprint(other),
        fingerprint(network),
        fingerprint(network, classes=(("a",), ("b",))),
        fingerprint(network, classes=(("b",), ("a",))),
    ]
    assert fingerprints[2] == fingerprints[3] == fingerprint(network)
    assert len(set(fingerprints)) == 4
    noisy = torch.nn.Sequential(network, torch.nn.Softplus())
    nearly = lambda x: noisy(x) + 1e-6 * torch.rand(())  # noqa: E731
    assert fingerprint(nearly) == fingerprint(nearly)  # as rounding errors do


@pytest.mark.parametrize("part", [torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5)])
def test_networks_in_training_mode_are_refused_before_any_pass(part):
    network = torch.nn.Sequential(part, torch.nn.Flatten(), torch.nn.Linear(192, 2)).train()
    with pytest.raises(ValueError, match=f"evaluation mode, got the {type(part).__name__} '0'"):
        View("raw", network)
    View("raw", network.eval())


def test_probabilities_in_place_of_logits_are_warned_of():
    images = images_of("a", "b", "c")
    logits, probabilities = (
        subject_from_network(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3), end), "n"
        )
        for end in (torch.nn.Identity(), torch.nn.Softmax(dim=1))
    )
    logits.aligned_with(images)
    with pytest.warns(UserWarning, match="should return logits, .* sum to 1, as probabilities do"):
        probabilities.aligned_with(images)
