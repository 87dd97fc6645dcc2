from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from virolbi.nn import Smooth
from virolbi.robustness import autoattack, fgsm, pgd, square


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def badness(model, images, labels):
    """Return what attacks maximise for each image: misclassified, then the loss."""
    logits = model(images).detach().double()
    loss = nn.functional.cross_entropy(logits, labels, reduction="none")
    return torch.where(logits.argmax(dim=1) != labels, 1e6, 0.0) + loss


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_gradient_that_is_not_a_number_moves_nothing(linear, norm):
    images, labels = torch.rand(4, 1, 5, 5, generator=seeded()), torch.zeros(4, dtype=torch.long)

    def model(images):  # its value is right, its derivative 0 / 0
        return linear(images) + 0 * (images - images.detach()).sqrt().sum()

    assert torch.equal(pgd(model, images, labels, epsilon=0.3, norm=norm, steps=3), images)


def test_on_a_linear_model_both_attacks_find_the_worst_corner(linear):
    images = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64)
    labels = torch.tensor([0, 1])
    direction = torch.where(torch.linspace(-1, 1, 16) > 0, 1, -1).reshape(1, 4, 4)
    expected = torch.stack([images[0] - 0.1 * direction, images[1] + 0.1 * direction])
    torch.testing.assert_close(fgsm(linear, images, labels, epsilon=0.1), expected)
    torch.testing.assert_close(pgd(linear, images, labels, epsilon=0.1), expected)
    random_start = pgd(linear, images, labels, epsilon=0.1, generator=seeded())
    torch.testing.assert_close(random_start, expected)


def test_on_a_linear_model_both_attacks_find_the_worst_point_of_a_sphere(linear):
    images, labels = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64), torch.tensor([0, 1])
    weights = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 4, 4)
    expected = torch.stack(
        [images[0] - 0.3 * weights / weights.norm(), images[1] + 0.3 * weights / weights.norm()]
    )
    attack = partial(pgd, linear, images, labels, epsilon=0.3, norm="l2")
    torch.testing.assert_close(fgsm(linear, images, labels, epsilon=0.3, norm="l2"), expected)
    torch.testing.assert_close(attack(), expected, rtol=1e-3, atol=1e-3)
    random_start = attack(restarts=2, generator=seeded())
    reached = ((random_start - images) * (expected - images)).flatten(1).sum(dim=1) / 0.3**2
    torch.testing.assert_close(reached, torch.ones_like(reached), rtol=0, atol=0.03)


def test_pixels_at_the_end_of_the_range_use_up_none_of_the_length_of_a_change(linear):
    uniform = torch.rand(200, 1, 4, 4, generator=seeded(), dtype=torch.float64)
    images = uniform.sub(0.5).mul(3).add(0.5).clamp(0, 1)
    labels = torch.zeros(200, dtype=torch.int64)
    weights = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 4, 4)
    low = torch.zeros(200, 1, 1, 1, dtype=torch.float64)
    high = torch.full((200, 1, 1, 1), 100.0, dtype=torch.float64)
    for _ in range(60):  # the worst point is the clipped ray whose length is epsilon
        middle = (low + high) / 2
        length = ((images - middle * weights).clamp(0, 1) - images).flatten(1).norm(dim=1)
        short = (length < 0.5)[:, None, None, None]
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    best_change = ((images - low * weights).clamp(0, 1) - images).flatten(1)
    change = (pgd(linear, images, labels, epsilon=0.5, norm="l2") - images).flatten(1)
    ratio = (change @ weights.flatten()) / (best_change @ weights.flatten())
    assert ratio.max() < 1 + 1e-9
    assert ratio.min() > 0.95
    assert ratio.mean() > 0.995


ATTACKS = {
    "fgsm": fgsm,
    "pgd": pgd,
    "random start": lambda *data, **ball: pgd(*data, **ball, generator=seeded()),
    "negligible steps": lambda *data, **ball: pgd(
        *data, **ball, steps=1, step_size=1e-9, restarts=2, generator=seeded()
    ),
    "square": lambda *data, **ball: square(*data, **ball, queries=30, generator=seeded()),
    "autoattack": autoattack,
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.2), ("l2", 1.5)])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_attacks_stay_in_the_ball_and_in_range(problem, attack, norm, epsilon, dtype):
    model, images, labels = problem
    images, model = images.to(dtype), model.to(dtype)
    adversarial = attack(model, images, labels, epsilon=epsilon, norm=norm)
    change = (adversarial - images).flatten(1)
    size = change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)
    assert (size <= epsilon + 1e-6).all()
    assert size.max() > epsilon / 4
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert adversarial.dtype == dtype
    assert not adversarial.requires_grad


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_step_goes_as_far_as_its_size(linear, norm):
    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    adversarial = pgd(linear, images, labels, epsilon=0.3, norm=norm, steps=1, step_size=0.2)
    change = adversarial - images
    size = change.abs().max() if norm == "linf" else change.norm()
    torch.testing.assert_close(size, torch.tensor(0.2))


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.2), ("l2", 1.5)])
def test_a_random_start_is_in_the_ball_and_in_range_too(problem, norm, epsilon):
    model, images, labels = problem
    queries = []

    def recorded(images):
        queries.append(images.detach())
        return model(images)

    pgd(recorded, images, labels, epsilon=epsilon, norm=norm, generator=seeded())
    start = queries[0]
    change = (start - images).flatten(1)
    size = change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)
    assert (size <= epsilon + 1e-6).all()
    assert size.min() > epsilon / 3
    assert start.min() >= 0
    assert start.max() <= 1
    assert (change.std(dim=1) > 0.01).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", [fgsm, pgd], ids=["fgsm", "pgd"])
def test_a_ball_without_extent_leaves_images_as_they_are(problem, attack, norm):
    model, images, labels = problem
    torch.testing.assert_close(attack(model, images, labels, epsilon=0, norm=norm), images)
    assert attack(model, images[:0], labels[:0], epsilon=0.1, norm=norm).shape == (0, 2, 8, 8)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_steps_of_one_size_are_never_weaker_on_any_image(problem, norm):
    model, images, labels = problem
    attack = partial(pgd, model, images, labels, epsilon=0.1, norm=norm, step_size=0.08)
    worst = [
        badness(model, attack(steps=steps, generator=seeded()), labels)
        for steps in (1, 2, 4, 7, 12)
    ]
    for fewer, more in pairwise(worst):
        assert (more >= fewer - 1e-6).all()
    assert worst[-1].sum() > worst[0].sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_restarts_are_never_weaker_on_any_image(problem, norm):
    model, images, labels = problem
    attack = partial(pgd, model, images, labels, epsilon=0.1, norm=norm, steps=3)
    worst = [
        badness(model, attack(restarts=restarts, generator=seeded()), labels)
        for restarts in (1, 2, 3, 5)
    ]
    for fewer, more in pairwise(worst):
        assert (more >= fewer - 1e-6).all()
    assert worst[-1].sum() > worst[0].sum()


def test_a_misclassified_version_is_kept_before_one_of_larger_loss():
    def model(images):
        # brighter is worse; on the way it is narrowly misclassified, then right but most unsure
        x = images.flatten(1).mean(dim=1)
        second = torch.where((x > 0.5) & (x < 0.6), 0.1, -0.1)
        others = torch.where(x < 0.6, -9.0, -0.1)
        return torch.stack([-0.01 * x, second, *[others] * 8], dim=1)

    images, labels = torch.full((1, 1, 4, 4), 0.45), torch.tensor([0])
    losses = {x: nn.functional.cross_entropy(model(images * 0 + x), labels) for x in (0.55, 0.65)}
    assert losses[0.65] > losses[0.55]
    adversarial = pgd(model, images, labels, epsilon=0.2, steps=2, step_size=0.1)
    torch.testing.assert_close(adversarial, images * 0 + 0.55)


def test_a_gradient_whose_square_underflows_still_has_a_direction(linear):
    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    adversarial = fgsm(lambda x: 1e-30 * linear(x), images, labels, epsilon=0.3, norm="l2")
    torch.testing.assert_close(adversarial, fgsm(linear, images, labels, epsilon=0.3, norm="l2"))


def test_averaging_over_passes_finds_the_direction_of_a_random_model(linear):
    generator = seeded()

    def model(images):
        weights = torch.linspace(-1, 1, 16) + torch.randn(16, generator=generator)
        score = images.flatten(1) @ weights
        return torch.stack([score, -score], dim=1)

    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    best = fgsm(linear, images, labels, epsilon=0.1)
    attack = partial(pgd, model, images, labels, epsilon=0.1, steps=1, step_size=0.1)
    agreement = []
    for samples in (1, 400):
        repeats = [attack(samples=samples) for _ in range(5)]
        agreement.append(torch.stack([(each == best).float().mean() for each in repeats]).mean())
    assert agreement[1] > 0.9 > 0.8 > agreement[0]


def test_an_attack_sees_through_the_smoothing():
    generator = seeded()
    images = 0.5 + 0.2 * torch.rand(4, 1, 8, 8, generator=generator)
    weights = torch.randn(2, 64, generator=generator)
    model = nn.Sequential(Smooth(0.9, delta=float("inf")), nn.Flatten(), nn.Linear(64, 2))
    model[2].load_state_dict({"weight": weights, "bias": torch.zeros(2)})
    labels = model(images).argmax(dim=1)

    def loss(images):
        return nn.functional.cross_entropy(model(images), labels)

    through = loss(pgd(model, images, labels, epsilon=0.02))
    around = loss(pgd(model[1:], images, labels, epsilon=0.02))
    assert through > around > loss(images)


def test_bad_settings_are_named(linear):
    images, labels = torch.zeros(1, 1, 4, 4), torch.tensor([0])
    attack = partial(pgd, linear, images, labels)
    with pytest.raises(ValueError, match="epsilon"):
        fgsm(linear, images, labels, epsilon=8)
    with pytest.raises(ValueError, match="epsilon"):
        attack(epsilon=float("inf"), norm="l2")
    with pytest.raises(ValueError, match="norm"):
        attack(epsilon=0.1, norm="l1")
    with pytest.raises(ValueError, match="steps"):
        attack(epsilon=0.1, steps=0)
    with pytest.raises(ValueError, match="samples"):
        attack(epsilon=0.1, samples=0)
    with pytest.raises(ValueError, match="restarts"):
        attack(epsilon=0.1, restarts=2)
    with pytest.raises(ValueError, match=r"images .*\[0, 255\]"):
        pgd(linear, torch.tensor([0.0, 255]).reshape(1, 1, 1, 2), labels, epsilon=0.1)
    with pytest.raises(ValueError, match=r"images .*\[nan, nan\]"):
        pgd(linear, images * torch.nan, labels, epsilon=0.1)
    with pytest.raises(ValueError, match=r"images .*uint8"):
        pgd(linear, images.byte(), labels, epsilon=0.1)
    with pytest.raises(ValueError, match="labels"):
        pgd(linear, images, torch.tensor([0, 1]), epsilon=0.1)
    with pytest.raises(ValueError, match="model"):
        pgd(lambda x: linear(x.detach()), images, labels, epsilon=0.1)
