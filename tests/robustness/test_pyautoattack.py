import sys
from functools import partial

import pytest
import torch
from torch import nn

from virolbi.robustness import autoattack, pgd, square


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.8)])
def test_square_fools_a_linear_model_that_can_be_fooled_and_no_other(linear, norm, epsilon):
    images = torch.rand(40, 1, 8, 8, generator=seeded())
    labels = linear(images).argmax(dim=1)
    adversarial = square(
        linear, images, labels, epsilon=epsilon, norm=norm, queries=300, generator=seeded()
    )
    fooled = linear(adversarial).argmax(dim=1) != labels
    strongest = pgd(linear, images, labels, epsilon=epsilon, norm=norm, steps=100)
    possible = linear(strongest).argmax(dim=1) != labels
    assert not (fooled & ~possible).any()
    assert fooled.sum() > 0.5 * possible.sum() > 5
    torch.testing.assert_close(adversarial[~fooled], images[~fooled])


def test_square_stops_querying_images_that_it_has_fooled(linear):
    queries = []

    def model(images):
        queries.append(len(images))
        return linear(images)

    images = torch.rand(10, 1, 8, 8, generator=seeded())
    labels = linear(images).argmax(dim=1)
    labels[:5] = 1 - labels[:5]
    square(model, images, labels, epsilon=1e-6, queries=50, generator=seeded())
    assert 5 * 50 <= sum(queries) <= 5 * 50 + 5 * 10
    queries.clear()
    square(model, images[:5], labels[:5], epsilon=1e-6, queries=50, generator=seeded())
    assert sum(queries) <= 5 * 5


def test_square_does_not_change_its_input_and_never_passes_an_empty_batch():
    images, labels = torch.rand(4, 1, 5, 5, generator=seeded()), torch.zeros(4, dtype=torch.int64)
    copy = images.clone()

    def view(batch):  # logits that are the pixels themselves
        assert len(batch) > 0
        return batch.flatten(1)

    predicted = view(images).argmax(dim=1)
    adversarial = square(view, images, predicted, epsilon=0.01, queries=5, generator=seeded())
    assert adversarial.isfinite().all()
    assert torch.equal(images, copy)
    zero = torch.zeros(1, 1)
    tied = square(
        lambda batch: zero.expand(view(batch).shape),
        images,
        labels,
        epsilon=0.1,
        queries=5,
        generator=seeded(),
    )
    assert torch.equal(tied, images)


def trace(*_):
    """Stand in for the trace function that a debugger would set."""


def test_square_depends_on_its_seed_and_leaves_the_global_random_state_alone(problem):
    model, images, labels = problem
    attack = partial(square, model, images, labels, epsilon=0.05, queries=20)
    state, before = torch.random.get_rng_state(), sys.gettrace()
    first, again, other = (attack(generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)
    try:
        sys.settrace(trace)
        autoattack(model, images[:1], labels[:1], epsilon=0.5)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [3, 5])
def test_autoattack_fools_what_can_be_fooled_for_any_number_of_classes(classes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).eval()
    images = torch.rand(6, 1, 8, 8, generator=seeded()) * 0.2 + 0.4
    logits, weights = model(images), model[1].weight
    labels = logits.argmax(dim=1)
    gaps = logits.gather(1, labels[:, None]) - logits
    # epsilon that closes each gap, for a linear model and no pixel at the end of the range
    costs = gaps / (weights[labels][:, None] - weights).abs().sum(dim=2)
    needed = torch.where(gaps > 0, costs, torch.inf).amin(dim=1).detach()
    epsilon = float(needed.sort().values[-2:].mean())
    assert epsilon < 0.4
    fooled = model(autoattack(model, images, labels, epsilon=epsilon)).argmax(dim=1) != labels
    torch.testing.assert_close(fooled, needed < epsilon)


def test_bad_settings_are_named(linear):
    images, labels = torch.zeros(1, 1, 4, 4), torch.tensor([0])
    with pytest.raises(ValueError, match="queries"):
        square(linear, images, labels, epsilon=0.1, queries=0, generator=seeded())
    with pytest.raises(ValueError, match=r"images .*\(4, 4\)"):
        square(linear, images, labels, epsilon=0.1, norm="l2", generator=seeded())
    with pytest.raises(ValueError, match=r"images .*\(4, 4\)"):
        autoattack(linear, images, labels, epsilon=0.1, norm="l2")
    with pytest.raises(ValueError, match="version"):
        autoattack(linear, images, labels, epsilon=0.1, version="best")


def test_autoattack_leaves_the_gradients_of_the_model_alone(linear):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    images = torch.rand(6, 1, 8, 8, generator=seeded())
    labels = network(images).argmax(dim=1)
    kept = torch.ones_like(network[1].bias)
    network[1].bias.grad = kept
    autoattack(network, images, labels, epsilon=0.05)
    assert network[1].weight.grad is None
    assert network[1].bias.grad is kept
    assert (kept == 1).all()
