"""FGSM and PGD compared with those of foolbox, an independent implementation."""

import warnings

import pytest
import torch

from virolbi.robustness import fgsm, pgd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from the imports of foolbox
    import foolbox


@pytest.fixture
def task(photographs):
    """A small network, 48 photographs, and the labels it gives them."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3),
        torch.nn.ReLU(),
        torch.nn.AvgPool2d(5),
        torch.nn.Flatten(),
        torch.nn.Linear(576, 10),
    ).eval()
    images = torch.from_numpy(photographs).permute(0, 3, 1, 2) / 255
    return network, images, network(images).argmax(dim=1)


@pytest.mark.parametrize("epsilon", [0.004, 0.02, 0.08])
def test_fgsm_makes_the_same_images(task, epsilon):
    network, images, labels = task
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    expected = foolbox.attacks.FGSM()(model, images, labels, epsilons=epsilon)[1]
    torch.testing.assert_close(fgsm(network, images, labels, epsilon=epsilon), expected)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "name"), [("linf", "LinfPGD"), ("l2", "L2PGD")])
def test_pgd_is_as_strong(task, norm, name):
    network, images, labels = task
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = getattr(foolbox.attacks, name)
    correct_counts = []
    for epsilon in (0.004, 0.01, 0.02, 0.04) if norm == "linf" else (0.1, 0.2, 0.4, 0.8):
        step = epsilon / 8
        theirs = attack(abs_stepsize=step, steps=20, random_start=False)(
            model, images, labels, epsilons=epsilon
        )[1]
        ours = pgd(network, images, labels, epsilon=epsilon, norm=norm, steps=20, step_size=step)
        correct = [
            int((network(adversarial).argmax(dim=1) == labels).sum())
            for adversarial in (ours, theirs)
        ]
        # one image of 48, because foolbox keeps the last step and this package the worst one
        assert abs(correct[0] - correct[1]) <= 1
        correct_counts.append(correct[0])
    assert correct_counts[0] > correct_counts[-1]
