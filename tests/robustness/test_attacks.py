import sys
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from virolbi.nn import Smooth
from virolbi.robustness import (
    ADAPTIVE,
    Budget,
    StraightThrough,
    adaptive_attacks,
    attacks_for,
    autoattack,
    fgsm,
    logit_spread,
    pgd,
    square,
    worst_case,
)


def linear(images):
    """Two logits whose difference is a fixed linear form of the image: the worst case in a box is known."""
    weights = torch.linspace(-1, 1, images[0].numel(), dtype=images.dtype)
    score = images.flatten(1) @ weights
    return torch.stack([score, -score], dim=1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(seed=0, classes=4, channels=2):
    """A small network with random weights, curved enough that the last of many steps is seldom the worst."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [
            nn.Conv2d(channels, 8, 3),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(classes),
        ]
        model = nn.Sequential(*layers)
        model(torch.zeros(1, channels, 8, 8))
    for parameter in model.parameters():
        parameter.data *= 4
    return model.eval()


def problem(seed=0, count=12):
    """Images with many pixels at the ends of the range, and labels that the network gives them."""
    images = (1.6 * torch.rand(count, 2, 8, 8, generator=seeded(seed)) - 0.3).clamp(0, 1)
    return network(), images, network()(images).argmax(dim=1)


def badness(model, images, labels):
    """What attacks maximise for each image: misclassified, then the loss."""
    logits = model(images).detach().double()
    loss = nn.functional.cross_entropy(logits, labels, reduction="none")
    return torch.where(logits.argmax(dim=1) != labels, 1e6, 0.0) + loss


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def test_a_gradient_that_is_not_a_number_moves_nothing():
    images, labels = (
        torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0)),
        torch.zeros(4, dtype=torch.long),
    )

    def lost(shown):  # its value is right, its derivative 0 / 0
        return linear(shown) + 0 * (shown - shown.detach()).sqrt().sum()

    for norm in ("linf", "l2"):
        assert torch.equal(pgd(lost, images, labels, epsilon=0.3, norm=norm, steps=3), images)


def test_on_a_linear_model_both_attacks_find_the_worst_corner():
    images = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64)
    labels = torch.tensor([0, 1])
    direction = torch.where(torch.linspace(-1, 1, 16) > 0, 1, -1).reshape(1, 4, 4)
    expected = torch.stack([images[0] - 0.1 * direction, images[1] + 0.1 * direction])
    torch.testing.assert_close(fgsm(linear, images, labels, epsilon=0.1), expected)
    torch.testing.assert_close(pgd(linear, images, labels, epsilon=0.1), expected)
    started = pgd(linear, images, labels, epsilon=0.1, generator=seeded())
    torch.testing.assert_close(started, expected)


def test_on_a_linear_model_both_attacks_find_the_worst_point_of_a_sphere():
    images, labels = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64), torch.tensor([0, 1])
    weights = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 4, 4)
    expected = torch.stack(
        [images[0] - 0.3 * weights / weights.norm(), images[1] + 0.3 * weights / weights.norm()]
    )
    torch.testing.assert_close(fgsm(linear, images, labels, epsilon=0.3, norm="l2"), expected)
    torch.testing.assert_close(
        pgd(linear, images, labels, epsilon=0.3, norm="l2"), expected, rtol=1e-3, atol=1e-3
    )
    started = pgd(linear, images, labels, epsilon=0.3, norm="l2", restarts=2, generator=seeded())
    reached = ((started - images) * (expected - images)).flatten(1).sum(dim=1) / 0.3**2
    torch.testing.assert_close(reached, torch.ones_like(reached), rtol=0, atol=0.03)


def test_where_pixels_are_at_their_end_a_sphere_loses_nothing_to_them():
    images = (
        torch.rand(200, 1, 4, 4, generator=seeded(), dtype=torch.float64)
        .sub(0.5)
        .mul(3)
        .add(0.5)
        .clamp(0, 1)
    )
    labels = torch.zeros(200, dtype=torch.int64)
    weights = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 4, 4)
    low, high = (
        torch.zeros(200, 1, 1, 1, dtype=torch.float64),
        torch.full((200, 1, 1, 1), 100.0, dtype=torch.float64),
    )
    for _ in range(60):  # the worst point is the clipped ray whose length is epsilon
        middle = (low + high) / 2
        short = ((images - middle * weights).clamp(0, 1) - images).flatten(1).norm(dim=1) < 0.5
        low, high = (
            torch.where(short[:, None, None, None], *pair)
            for pair in ((middle, low), (high, middle))
        )
    optimum = ((images - low * weights).clamp(0, 1) - images).flatten(1) @ weights.flatten()
    found = (pgd(linear, images, labels, epsilon=0.5, norm="l2") - images).flatten(
        1
    ) @ weights.flatten()
    assert (found / optimum).max() < 1 + 1e-9
    assert (found / optimum).min() > 0.95
    assert (found / optimum).mean() > 0.995


ATTACKS = {
    "fgsm": fgsm,
    "pgd": pgd,
    "random start": lambda *data, **ball: pgd(*data, **ball, generator=seeded()),
    "no steps to speak of": lambda *data, **ball: pgd(
        *data, **ball, steps=1, step_size=1e-9, restarts=2, generator=seeded()
    ),
    "square": lambda *data, **ball: square(*data, **ball, queries=30, generator=seeded()),
    "autoattack": autoattack,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.2), ("l2", 1.5)])
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_attacks_stay_in_the_ball_and_in_range(attack, norm, epsilon, dtype):
    model, images, labels = problem()
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
def test_a_step_goes_as_far_as_its_size(norm):
    images = torch.full((1, 1, 4, 4), 0.5)
    change = (
        pgd(linear, images, torch.tensor([0]), epsilon=0.3, norm=norm, steps=1, step_size=0.2)
        - images
    )
    torch.testing.assert_close(
        change.abs().max() if norm == "linf" else change.norm(), torch.tensor(0.2)
    )


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.2), ("l2", 1.5)])
def test_a_random_start_is_in_the_ball_and_in_range_too(norm, epsilon):
    model, images, labels = problem()
    asked = []
    pgd(
        lambda x: asked.append(x.detach()) or model(x),
        images,
        labels,
        epsilon=epsilon,
        norm=norm,
        generator=seeded(),
    )
    change = (asked[0] - images).flatten(1)
    size = change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)
    assert (size <= epsilon + 1e-6).all()
    assert size.min() > epsilon / 3
    assert asked[0].min() >= 0
    assert asked[0].max() <= 1
    assert (change.std(dim=1) > 0.01).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", [fgsm, pgd], ids=["fgsm", "pgd"])
def test_a_ball_without_extent_leaves_images_as_they_are(attack, norm):
    model, images, labels = problem()
    torch.testing.assert_close(attack(model, images, labels, epsilon=0, norm=norm), images)
    assert attack(model, images[:0], labels[:0], epsilon=0.1, norm=norm).shape == (0, 2, 8, 8)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_steps_of_one_size_are_never_weaker_on_any_image(norm):
    model, images, labels = problem()
    attack = partial(pgd, model, images, labels, epsilon=0.1, norm=norm, step_size=0.08)
    worst = [
        badness(model, attack(steps=steps, generator=seeded()), labels)
        for steps in (1, 2, 4, 7, 12)
    ]
    for fewer, more in pairwise(worst):
        assert (more >= fewer - 1e-6).all()
    assert worst[-1].sum() > worst[0].sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_restarts_are_never_weaker_on_any_image(norm):
    model, images, labels = problem()
    attack = partial(pgd, model, images, labels, epsilon=0.1, norm=norm, steps=3)
    worst = [
        badness(model, attack(restarts=restarts, generator=seeded()), labels)
        for restarts in (1, 2, 3, 5)
    ]
    for fewer, more in pairwise(worst):
        assert (more >= fewer - 1e-6).all()
    assert worst[-1].sum() > worst[0].sum()


def test_a_misclassified_version_is_kept_before_one_of_larger_loss():
    def model(
        images,
    ):  # brighter is worse; on the way it is wrong by little, then right again but most unsure
        x = images.flatten(1).mean(dim=1)
        second = torch.where((x > 0.5) & (x < 0.6), 0.1, -0.1)
        rest = torch.where(x < 0.6, -9.0, -0.1)
        return torch.stack([-0.01 * x, second, *[rest] * 8], dim=1)

    images, labels = torch.full((1, 1, 4, 4), 0.45), torch.tensor([0])
    losses = {x: nn.functional.cross_entropy(model(images * 0 + x), labels) for x in (0.55, 0.65)}
    assert losses[0.65] > losses[0.55]
    found = pgd(model, images, labels, epsilon=0.2, steps=2, step_size=0.1)
    torch.testing.assert_close(found, images * 0 + 0.55)


def test_a_gradient_whose_square_underflows_still_points_somewhere():
    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    found = fgsm(lambda x: 1e-30 * linear(x), images, labels, epsilon=0.3, norm="l2")
    torch.testing.assert_close(found, fgsm(linear, images, labels, epsilon=0.3, norm="l2"))


def test_averaging_over_passes_finds_the_direction_of_a_random_model():
    generator = seeded()

    def model(images):
        weights = torch.linspace(-1, 1, 16) + torch.randn(16, generator=generator)
        score = images.flatten(1) @ weights
        return torch.stack([score, -score], dim=1)

    images, labels = torch.full((1, 1, 4, 4), 0.5), torch.tensor([0])
    best = fgsm(linear, images, labels, epsilon=0.1)
    agreement = []
    for samples in (1, 400):
        found = [
            pgd(model, images, labels, epsilon=0.1, steps=1, step_size=0.1, samples=samples)
            for _ in range(5)
        ]
        agreement.append(torch.stack([(each == best).float().mean() for each in found]).mean())
    assert agreement[1] > 0.9 > 0.8 > agreement[0]


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.8)])
def test_square_fools_a_linear_model_that_can_be_fooled_and_no_other(norm, epsilon):
    images = torch.rand(40, 1, 8, 8, generator=seeded())
    labels = linear(images).argmax(dim=1)
    found = square(
        linear, images, labels, epsilon=epsilon, norm=norm, queries=300, generator=seeded()
    )
    wrong = linear(found).argmax(dim=1) != labels
    possible = (
        linear(pgd(linear, images, labels, epsilon=epsilon, norm=norm, steps=100)).argmax(dim=1)
        != labels
    )
    assert not (wrong & ~possible).any()
    assert wrong.sum() > 0.5 * possible.sum() > 5
    torch.testing.assert_close(found[~wrong], images[~wrong])


def test_square_asks_no_further_about_images_it_has_fooled():
    asked = []

    def model(images):
        asked.append(len(images))
        return linear(images)

    images = torch.rand(10, 1, 8, 8, generator=seeded())
    labels = linear(images).argmax(dim=1)
    labels[:5] = 1 - labels[:5]
    square(model, images, labels, epsilon=1e-6, queries=50, generator=seeded())
    assert 5 * 50 <= sum(asked) <= 5 * 50 + 5 * 10
    asked.clear()
    square(model, images[:5], labels[:5], epsilon=1e-6, queries=50, generator=seeded())
    assert sum(asked) <= 5 * 5


def test_square_spares_the_images_and_never_asks_about_none():
    images, labels = torch.rand(4, 1, 5, 5, generator=seeded()), torch.zeros(4, dtype=torch.int64)
    copy = images.clone()

    def views(some):  # logits that are the pixels themselves
        assert len(some) > 0
        return some.flatten(1)

    assert (
        square(
            views, images, views(images).argmax(dim=1), epsilon=0.01, queries=5, generator=seeded()
        )
        .isfinite()
        .all()
    )
    assert torch.equal(images, copy)
    nought = torch.zeros(1, 1)
    tied = square(
        lambda some: nought.expand(views(some).shape),
        images,
        labels,
        epsilon=0.1,
        queries=5,
        generator=seeded(),
    )
    assert torch.equal(tied, images)


def trace(*_):
    """What a debugger would set."""


def test_square_is_its_seed_and_leaves_the_global_random_state_alone():
    model, images, labels = problem()
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


@pytest.mark.parametrize("classes", [3, 5])
def test_autoattack_fools_what_can_be_fooled_for_any_number_of_classes(classes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).eval()
    images = torch.rand(6, 1, 8, 8, generator=seeded()) * 0.2 + 0.4
    logits, weights = model(images), model[1].weight
    labels = logits.argmax(dim=1)
    gaps = (
        logits.gather(1, labels[:, None]) - logits
    )  # epsilon that closes each: a linear model, and no pixel at its end
    costs = gaps / (weights[labels][:, None] - weights).abs().sum(dim=2)
    needed = torch.where(gaps > 0, costs, torch.inf).amin(dim=1).detach()
    epsilon = float(needed.sort().values[-2:].mean())
    assert epsilon < 0.4
    wrong = model(autoattack(model, images, labels, epsilon=epsilon)).argmax(dim=1) != labels
    torch.testing.assert_close(wrong, needed < epsilon)


def test_an_attack_sees_through_the_smoothing():
    generator = seeded()
    images = 0.5 + 0.2 * torch.rand(4, 1, 8, 8, generator=generator)
    weights = torch.randn(2, 64, generator=generator)
    model = nn.Sequential(Smooth(0.9, delta=float("inf")), nn.Flatten(), nn.Linear(64, 2))
    model[2].load_state_dict({"weight": weights, "bias": torch.zeros(2)})
    labels = model(images).argmax(dim=1)
    before = nn.functional.cross_entropy(model(images), labels)
    through = nn.functional.cross_entropy(model(pgd(model, images, labels, epsilon=0.02)), labels)
    around = nn.functional.cross_entropy(
        model(pgd(model[1:], images, labels, epsilon=0.02)), labels
    )
    assert through > around > before


def test_straight_through_computes_the_same_with_the_derivative_of_the_identity():
    _, images, _ = problem()
    images.requires_grad_()
    smooth, incoming = Smooth(0.8), torch.randn(images.shape, generator=seeded())
    assert torch.equal(StraightThrough(smooth)(images), smooth(images))
    (around,) = torch.autograd.grad(StraightThrough(smooth)(images), images, incoming)
    assert torch.equal(around, incoming)
    (exact,) = torch.autograd.grad(smooth(images), images, incoming)
    assert (exact - incoming).abs().mean() > 0.1


def test_the_adaptive_attacks_are_what_their_names_say():
    model, images, labels = problem()
    smooth, budget = Smooth(0.8), Budget(0.05, steps=3, queries=10, seed=3)
    whole = nn.Sequential(smooth, model)
    attacks = adaptive_attacks(smooth, model, budget)
    about = {"epsilon": 0.05, "steps": 3}
    expected = {
        "fgsm": fgsm(whole, images, labels, epsilon=0.05),
        "exact": pgd(whole, images, labels, **about, generator=seeded(3)),
        "identity": pgd(
            nn.Sequential(StraightThrough(smooth), model),
            images,
            labels,
            **about,
            generator=seeded(3),
        ),
        "transfer": pgd(model, images, labels, **about, generator=seeded(3)),
        "square": square(whole, images, labels, epsilon=0.05, queries=10, generator=seeded(3)),
    }
    assert list(attacks) == list(expected)
    for name, images_of in expected.items():
        assert torch.equal(attacks[name](images, labels), images_of), name
    assert not any(
        torch.equal(expected["exact"], expected[name])
        for name in ("fgsm", "identity", "transfer", "square")
    )
    assert set(ADAPTIVE) < set(attacks)


def test_the_attacks_on_a_model_follow_from_what_it_is():
    model, _, _ = problem()
    smoothed = nn.Sequential(Smooth(), model)
    assert list(attacks_for(model, Budget(0.1))) == ["fgsm", "pgd", "square"]
    assert list(attacks_for(model, Budget(0.1, samples=2))) == ["fgsm", "pgd", "eot", "square"]
    assert list(attacks_for(smoothed, Budget(0.1))) == [
        "fgsm",
        "exact",
        "identity",
        "transfer",
        "square",
    ]
    assert list(attacks_for(smoothed, Budget(0.1, samples=2))) == [
        "fgsm",
        "exact",
        "identity",
        "eot",
        "transfer",
        "square",
    ]
    for hidden in (
        nn.Sequential(nn.Identity(), Smooth(), model),
        nn.Sequential(smoothed),
        nn.Sequential(Smooth(), Smooth()),
    ):
        with pytest.raises(
            ValueError,
            match=r"model must be nn.Sequential\(smooth, network\) where it smooths, got Sequential",
        ):
            attacks_for(hidden, Budget(0.1))


def shown(*correct):
    """Images whose first pixel says which attack fools them, for a model that reads off the rest, and labels of zero."""
    return torch.tensor(correct, dtype=torch.float32).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8) / 8


def test_the_worst_case_is_a_conjunction():
    model = Applied(
        lambda x: torch.stack([0.95 - x[:, 0, 0, 0], x[:, 0, 0, 1] * 0], dim=1)
    ).eval()  # right below 0.95
    images, labels = shown(0, 1, 2, 3, 8), torch.zeros(5, dtype=torch.int64)

    def fools(*which):
        return lambda some, _: torch.where(
            torch.isin(some * 8, torch.tensor(which)), torch.tensor(1.0), some
        )

    attacks = {"odd": fools(1.0, 3.0), "two": fools(2.0), "mends": lambda some, _: some * 0}
    for batch_size in (1, 2, 250):
        case = worst_case(model, attacks, images, labels, batch_size=batch_size)
        assert list(case.correct) == ["clean", "odd", "two", "mends"]
        assert case.correct["clean"].tolist() == [True, True, True, True, False]
        assert case.correct["odd"].tolist() == [True, False, True, False, False]
        assert case.correct["two"].tolist() == [True, True, False, True, False]
        assert case.correct["mends"].tolist() == [
            True,
            True,
            True,
            True,
            False,
        ]  # wrong without any change stays wrong
        assert case.robust.tolist() == [True, False, False, False, False]


def test_no_worst_case_of_a_smoothing_model_from_attacks_blind_to_it():
    model, images, labels = problem()
    smoothed, budget = nn.Sequential(Smooth(), model), Budget(0.02, steps=2, queries=5)
    plain = {"fgsm": budget.fgsm(smoothed), "pgd": budget.pgd(smoothed)}
    with pytest.raises(
        ValueError,
        match=r"attacks must have exact, identity, square, transfer for a model that smooths",
    ):
        worst_case(smoothed, plain, images, labels)
    with pytest.raises(
        ValueError,
        match=r"attacks must have exact, identity, square, transfer for a model that smooths",
    ):
        worst_case(nn.Sequential(nn.Identity(), smoothed), plain, images, labels)
    with pytest.raises(
        TypeError,
        match=r"model must be an nn.Module, so that smoothing in it can be seen, got function",
    ):
        worst_case(lambda x: smoothed(x), plain, images, labels)
    full = attacks_for(smoothed, budget)
    for name in ADAPTIVE:
        with pytest.raises(ValueError, match=rf"attacks must have {name} for a model that smooths"):
            worst_case(
                smoothed, {other: full[other] for other in full if other != name}, images, labels
            )
    case = worst_case(smoothed, full, images, labels)
    assert case.robust.sum() <= min(mask.sum() for mask in case.correct.values())


def test_no_worst_case_of_a_random_model_from_single_passes():
    model, images, labels = problem()
    noisy = nn.Sequential(Applied(lambda x: x + 0.01 * torch.randn(x.shape)), model).eval()
    assert logit_spread(noisy, images).min() > 1e-4
    assert logit_spread(model, images).max() == 0
    with pytest.raises(
        ValueError, match="attacks must have eot for a model that smooths or is random"
    ):
        worst_case(noisy, attacks_for(noisy, Budget(0.02, steps=2, queries=5)), images, labels)
    worst_case(
        noisy, attacks_for(noisy, Budget(0.02, steps=2, queries=5, samples=2)), images, labels
    )


def test_a_worst_case_needs_a_model_in_evaluation_mode_and_images():
    images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(
        ValueError,
        match="in evaluation mode, got batch norm that takes its statistics from the batch",
    ):
        worst_case(model, {}, images, labels)
    worst_case(
        nn.Sequential(model.eval()), {}, images, labels
    )  # a container in training mode changes nothing
    with pytest.raises(ValueError, match="images must be some, with a label each, got 0"):
        worst_case(model, {}, images[:0], labels[:0])
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        worst_case(model, {}, images, labels, batch_size=0)


def test_bad_settings_are_named():
    images, labels = torch.zeros(1, 1, 4, 4), torch.tensor([0])
    ask = partial(pgd, linear, images, labels)
    with pytest.raises(ValueError, match=r"epsilon must be in \[0, 1\], got 8"):
        fgsm(linear, images, labels, epsilon=8)
    with pytest.raises(ValueError, match="epsilon must be >= 0 and finite, got inf"):
        ask(epsilon=float("inf"), norm="l2")
    with pytest.raises(ValueError, match="norm must be 'linf' or 'l2', got 'l1'"):
        ask(epsilon=0.1, norm="l1")
    with pytest.raises(TypeError, match="steps must be a whole number, got 2.5"):
        Budget(0.02, steps=2.5)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        ask(epsilon=0.1, steps=0)
    with pytest.raises(ValueError, match="samples must be >= 1, got 0"):
        ask(epsilon=0.1, samples=0)
    with pytest.raises(
        ValueError,
        match="restarts must be 1 without a generator, for all would start at the image, got 2",
    ):
        ask(epsilon=0.1, restarts=2)
    with pytest.raises(ValueError, match=r"images must be in \[0, 1\], got \[0, 255\]"):
        pgd(linear, torch.tensor([0.0, 255]).reshape(1, 1, 1, 2), labels, epsilon=0.1)
    with pytest.raises(ValueError, match=r"images must be in \[0, 1\], got \[nan, nan\]"):
        pgd(linear, images * torch.nan, labels, epsilon=0.1)
    with pytest.raises(
        ValueError,
        match=r"images must be floating of shape \(N, C, H, W\), got torch.uint8 of \(1, 1, 4, 4\)",
    ):
        pgd(linear, images.byte(), labels, epsilon=0.1)
    with pytest.raises(
        ValueError, match=r"labels must have shape \(1,\), one for each image, got \(2,\)"
    ):
        pgd(linear, images, torch.tensor([0, 1]), epsilon=0.1)
    with pytest.raises(ValueError, match="model must have a derivative with respect to its images"):
        pgd(lambda x: linear(x.detach()), images, labels, epsilon=0.1)
    with pytest.raises(ValueError, match="queries must be >= 1, got 0"):
        square(linear, images, labels, epsilon=0.1, queries=0, generator=seeded())
    with pytest.raises(
        ValueError, match=r"images must be at least 5x5 for Square in 'l2', got \(4, 4\)"
    ):
        square(linear, images, labels, epsilon=0.1, norm="l2", generator=seeded())
    with pytest.raises(
        ValueError, match=r"images must be at least 5x5 for Square in 'l2', got \(4, 4\)"
    ):
        autoattack(linear, images, labels, epsilon=0.1, norm="l2")
    with pytest.raises(
        ValueError, match="version must be 'standard', 'plus' or 'rand', got 'best'"
    ):
        autoattack(linear, images, labels, epsilon=0.1, version="best")
    with pytest.raises(ValueError, match="queries must be >= 1, got 0"):
        Budget(0.1, queries=0)
    with pytest.raises(ValueError, match=r"epsilon must be in \[0, 1\], got 8"):
        Budget(8)
    with pytest.raises(ValueError, match="passes must be >= 2, got 1"):
        logit_spread(linear, images, passes=1)


def test_batch_norm_without_statistics_of_its_own_has_no_worst_case():
    model = nn.Sequential(
        nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(64, 2)
    ).eval()
    with pytest.raises(ValueError, match="got batch norm that takes its statistics from the batch"):
        worst_case(model, {}, torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="got batch norm that takes its statistics from the batch"):
        attacks_for(model, Budget(0.01))
