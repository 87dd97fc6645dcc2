import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import ndtr, ndtri
from scipy.stats import binom, binomtest, kstest
from torch import nn
from torch.nn import functional as F

from virolbi.nn import Smooth
from virolbi.results import wilson_interval
from virolbi.robustness import ABSTAINED, Certificate, certified_accuracy, certify, clopper_pearson
from virolbi.scale_space import Online


def half_space(images):
    """Class 1 where the weighted sum is above that of a grey image: the certified radius is the distance to the boundary."""
    score = (images - 0.5).flatten(1) @ WEIGHTS.to(images.dtype)
    return torch.stack([-score, score], dim=1)


WEIGHTS = F.normalize(torch.linspace(-1, 2, 16), dim=0)


def at_distances(distances):
    """Images of 4x4 pixels at these distances from the boundary of `half_space`, signed."""
    along = torch.tensor(distances)[:, None] * WEIGHTS
    across = torch.randn(16, generator=torch.Generator().manual_seed(1))
    across = 0.05 * F.normalize(across - across @ WEIGHTS * WEIGHTS, dim=0)
    return (0.5 + along + across).reshape(-1, 1, 4, 4)


@pytest.mark.parametrize("sigma", [0.12, 0.25])
def test_on_a_half_space_the_radius_is_the_distance_to_the_boundary_and_never_more(sigma):
    distances = [0.5 * sigma, -sigma, 1.5 * sigma, -2 * sigma]
    found = certify(
        half_space,
        at_distances(distances),
        sigma=sigma,
        samples=50_000,
        batch_size=10_000,
        clip=None,
    )
    np.testing.assert_array_equal(found.predicted, [1, 0, 1, 0])
    assert (found.radius <= np.abs(distances)).all()
    assert (found.radius >= 0.93 * np.abs(distances)).all()


def test_the_radius_of_a_unanimous_vote_is_bounded_by_the_number_of_samples():
    found = certify(half_space, at_distances([0.9]), sigma=0.1, samples=200, clip=None)
    assert found.votes[0] == 200
    assert found.radius[0] == pytest.approx(0.1 * ndtri(0.001 ** (1 / 200)))


def test_the_lower_bound_holds_as_often_as_it_promises():
    for count, alpha in ((10, 0.05), (100, 0.001), (1000, 0.01)):
        hits = np.arange(count + 1)
        bounds = np.array([clopper_pearson(int(h), count, alpha) for h in hits])
        for share in (0.05, 0.5, 0.51, 0.8, 0.99):
            assert binom.pmf(hits, count, share)[bounds > share].sum() <= alpha
        peers = [
            binomtest(int(h), count, alternative="greater")
            .proportion_ci(1 - alpha, method="exact")
            .low
            for h in hits
        ]
        np.testing.assert_allclose(bounds, peers, atol=1e-12)


def test_a_certificate_is_wrong_as_rarely_as_alpha_says_from_end_to_end():
    image, alpha, seeds = at_distances([0.1]), 0.1, range(400)
    radii = [
        certify(half_space, image, sigma=0.2, samples=100, alpha=alpha, clip=None, seed=s).radius[0]
        for s in seeds
    ]
    chance, hits = ndtr(0.1 / 0.2), np.arange(101)  # of the class, by the distance
    too_high = np.array([clopper_pearson(int(h), 100, alpha) for h in hits]) > chance
    expected = binom.pmf(hits, 100, chance)[
        too_high
    ].sum()  # a little below alpha: votes are whole numbers
    assert abs(np.mean(np.array(radii) > 0.1) - expected) < 4 * math.sqrt(
        expected * (1 - expected) / len(radii)
    )


def test_it_abstains_at_a_tie_but_for_an_alpha_share():
    image, alpha = at_distances([0.0]), 0.1
    found = [
        certify(half_space, image, sigma=0.2, samples=100, alpha=alpha, clip=None, seed=seed)
        for seed in range(400)
    ]
    abstained = np.array([certificate.predicted[0] == ABSTAINED for certificate in found])
    assert (
        1 - abstained.mean() < 1.3 * alpha
    )  # nearly 2 alpha, were the class chosen by the same samples
    assert all(certificate.radius[0] == 0 for certificate in np.array(found)[abstained])


class Recorder:
    """A classifier that keeps what it is shown."""

    def __init__(self, classify=half_space):
        self.shown, self.classify = [], classify

    def __call__(self, images):
        self.shown.append(images.clone())
        return self.classify(images)

    @property
    def noisy(self):
        return torch.cat(self.shown)


def test_the_base_classifier_sees_the_image_under_uncut_gaussian_noise_fresh_for_the_bound():
    base, image = Recorder(), torch.full((1, 1, 4, 4), 0.02)
    certify(base, image, sigma=0.3, selection=300, samples=700, batch_size=128, clip=None)
    noise = ((base.noisy - image) / 0.3).double().numpy()
    assert noise.shape == (1000, 1, 4, 4)
    assert kstest(noise.ravel(), "norm").pvalue > 0.01
    assert np.abs(np.corrcoef(noise.reshape(1000, 16), rowvar=False) - np.eye(16)).max() < 0.15
    assert len(np.unique(noise)) > 0.99 * noise.size


def test_clip_and_denoiser_belong_to_the_base_classifier_in_this_order():
    image = at_distances([0.1])
    bare, denoiser, model = Recorder(), Recorder(lambda noisy: 0.5 * noisy), Recorder()
    certify(bare, image, sigma=0.5, samples=50, clip=None)
    certify(model, image, sigma=0.5, samples=50, denoiser=denoiser, clip=(-0.2, 1.1))
    assert bare.noisy.min() < -0.2
    torch.testing.assert_close(denoiser.noisy, bare.noisy.clamp(-0.2, 1.1), rtol=0, atol=0)
    torch.testing.assert_close(model.noisy, 0.5 * denoiser.noisy, rtol=0, atol=0)


def test_an_image_has_the_same_certificate_in_any_company():
    images = at_distances([0.02, -0.05, 0.1, -0.2, 0.3])
    steps = []
    whole = certify(
        half_space, images, sigma=0.2, samples=300, batch_size=77, progress=steps.append
    )
    assert steps == [1, 2, 3, 4, 5]
    turned = certify(half_space, images.flip(0), sigma=0.2, samples=300, batch_size=1000)
    parts = [
        certify(half_space, image[None], sigma=0.2, samples=300, batch_size=13) for image in images
    ]
    for name in ("predicted", "radius", "lower", "votes"):
        expected = getattr(whole, name)
        np.testing.assert_array_equal(getattr(turned, name)[::-1], expected)
        np.testing.assert_array_equal(
            np.concatenate([getattr(part, name) for part in parts]), expected
        )
    assert (certify(half_space, images, sigma=0.2, samples=300, seed=1).votes != whole.votes).any()


def test_no_two_images_share_their_noise():
    base, images = Recorder(), torch.full((2, 1, 4, 4), 0.5)
    images[1, 0, 0, 0] = 0.75
    certify(base, images, sigma=0.2, selection=10, samples=10, clip=None)
    first, second = (
        noisy - image for noisy, image in zip(base.noisy.split(20), images, strict=True)
    )
    assert not torch.isclose(first[:, 0, 1:], second[:, 0, 1:], atol=1e-4).any(dim=0).all()


@pytest.fixture(scope="module")
def ring():
    """A small network that tells images of 2x2 pixels near the middle of [0, 1]^4 from those farther away, and both kinds."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2000, 1, 2, 2, generator=generator)
    labels = ((images - 0.5).flatten(1).norm(dim=1) > 0.55).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        noisy = images + 0.1 * torch.randn(images.shape, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(noisy), labels).backward()
        optimizer.step()
    assert (model(images).argmax(dim=1) == labels).float().mean() > 0.9
    return model.eval(), images[:24]


def attack_smoothed(model, image, label, radius, sigma, generator):
    """The worst of four changes of L2 norm `radius`, by ascent on the expected loss under noise, from random starts."""
    noise = sigma * torch.randn(400, *image.shape, generator=generator)
    change = torch.randn(4, 1, *image.shape, generator=generator)
    for _ in range(40):
        change = (radius * F.normalize(change.flatten(1), dim=1)).view_as(change).requires_grad_()
        chances = (
            model((image + change + noise).flatten(0, 1))
            .softmax(dim=1)[:, label]
            .view(4, -1)
            .mean(dim=1)
        )
        (gradient,) = torch.autograd.grad(-chances.sum(), change)
        change = (
            change.detach() + radius * F.normalize(gradient.flatten(1), dim=1).view_as(change) / 4
        )
    change = (radius * F.normalize(change.flatten(1), dim=1)).view_as(change)
    return (image + change[chances.argmin()])[0]


def majority(model, image, sigma, generator, samples=40_000):
    with torch.no_grad():
        noisy = image + sigma * torch.randn(samples, *image.shape, generator=generator)
        return int(torch.bincount(model(noisy).argmax(dim=1), minlength=2).argmax())


def test_no_attack_on_the_smoothed_classifier_succeeds_within_the_certificate(ring):
    model, images = ring
    sigma, generator = 0.15, torch.Generator().manual_seed(2)
    found = certify(model, images, sigma=sigma, samples=20_000, batch_size=20_000, clip=None)
    certified = np.flatnonzero(found.predicted != ABSTAINED)
    assert len(certified) > 18
    moved = {0.99: 0, 1.5: 0}
    for index in certified:
        image, label, radius = (
            images[index],
            int(found.predicted[index]),
            float(found.radius[index]),
        )
        for reach in moved:
            changed = attack_smoothed(model, image, label, reach * radius, sigma, generator)
            moved[reach] += majority(model, changed, sigma, generator) != label
    assert moved[0.99] == 0
    assert moved[1.5] >= 15  # the attack is one to be feared


def test_our_smoother_denoises_at_any_sigma_within_its_range():
    image = at_distances([0.3])
    found = certify(half_space, image, sigma=0.5, samples=200, denoiser=Smooth(0.9))
    assert found.votes[0] > 100
    with pytest.raises(ValueError, match="floating images must be intensities"):
        certify(half_space, image, sigma=1.0, samples=200, denoiser=Smooth(0.9), clip=None)


def test_certified_accuracy_counts_what_is_right_and_certified():
    found = Certificate(
        predicted=np.array([0, 1, 2, ABSTAINED, 1]),
        radius=np.array([0.1, 0.5, 0.9, 0.0, 0.25]),
        lower=np.array([0.6, 0.8, 0.9, 0.4, 0.7]),
        votes=np.array([60, 80, 90, 40, 70]),
        sigma=0.25, selection=10, samples=100, alpha=0.01, clip=(0.0, 1.0), seed=3,
    )  # fmt: skip
    rows = certified_accuracy(found, torch.tensor([0, 1, 0, 0, 1]), [0, 0.25, 0.4, 0.8])
    assert [row["accuracy"] for row in rows] == [0.6, 0.4, 0.2, 0.0]
    assert [(row["condition"], row["severity"], row["level"]) for row in rows[:2]] == [
        ("certified", 1, 0),
        ("certified", 2, 0.25),
    ]
    assert (rows[0]["low"], rows[0]["high"]) == tuple(
        round(bound, 4) for bound in wilson_interval(3, 5)
    )
    shared = {
        "count": 5,
        "abstained": 0.2,
        "sigma": 0.25,
        "samples": 100,
        "alpha": 0.01,
        "clip": [0.0, 1.0],
        "noise_seed": 3,
    }
    assert all(shared.items() <= row.items() for row in rows)
    assert certified_accuracy(replace(found, clip=None), np.zeros(5, int), [0])[0]["clip"] is None
    for labels in (np.zeros(4, int), np.zeros(5)):
        with pytest.raises(ValueError, match=r"labels must be integers of shape \(5,\), got "):
            certified_accuracy(found, labels, [0.1])
    for radii in ([], [-0.1], [0.2, 0.1], [0.1, 0.1], [math.nan], [math.inf]):
        with pytest.raises(ValueError, match="radii must be finite, >= 0 and rising, got"):
            certified_accuracy(found, np.zeros(5, int), radii)


def test_bad_input_is_named():
    image = torch.full((1, 1, 4, 4), 0.5)
    for settings, kind, message in (
        ({"sigma": 0}, ValueError, "sigma must be finite and > 0, got 0"),
        ({"sigma": "0.1"}, TypeError, "sigma must be a number, got '0.1'"),
        ({"sigma": math.nan}, ValueError, "sigma must be finite and > 0, got nan"),
        ({"alpha": 1.0}, ValueError, r"alpha must be in \(0, 1\), got 1.0"),
        ({"selection": 0}, ValueError, "selection must be >= 1, got 0"),
        ({"samples": 10.0}, TypeError, "samples must be a whole number, got 10.0"),
        (
            {"samples": 9},
            ValueError,
            "samples must be >= 10 at alpha=0.001, else no image can be certified, got 9",
        ),
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"seed": -1}, ValueError, "seed must be >= 0, got -1"),
        (
            {"clip": (1.0, 0.0)},
            ValueError,
            r"clip must be None or two intensities, the lower one first, got \(1.0, 0.0\)",
        ),
    ):
        with pytest.raises(kind, match=message):
            certify(half_space, image, **{"sigma": 0.1} | settings)
    for images, kind, message in (
        (image.numpy(), TypeError, "images must be a torch tensor, got ndarray"),
        (image.half(), TypeError, "images must be float32 or float64, got torch.float16"),
        (
            image[0],
            ValueError,
            r"images must have shape \(N, C, H, W\), none of them 0, got \(1, 4, 4\)",
        ),
        (
            image[:0],
            ValueError,
            r"images must have shape \(N, C, H, W\), none of them 0, got \(0, 1, 4, 4\)",
        ),
        (image * 255, ValueError, r"images must be in \[0, 1\], got values from 127.5 to 127.5"),
        (image * math.nan, ValueError, r"images must be in \[0, 1\], got values from nan to nan"),
    ):
        with pytest.raises(kind, match=message):
            certify(half_space, images, sigma=0.1)


def test_a_base_classifier_that_breaks_the_certificate_is_refused():
    image = torch.full((1, 1, 4, 4), 0.5)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 2))
    message = "{} must judge each image on its own, got batch norm that takes its statistics from the batch"
    with pytest.raises(ValueError, match=message.format("model")):
        certify(model, image, sigma=0.1)
    with pytest.raises(ValueError, match=message.format("denoiser")):
        certify(half_space, image, sigma=0.1, denoiser=model)
    with pytest.raises(
        ValueError,
        match=r"denoiser must .* on its own, got a smoother whose Online\(\) remembers the others",
    ):
        certify(half_space, image, sigma=0.1, denoiser=nn.Sequential(Smooth(Online())))
    assert certify(model.eval(), image, sigma=0.1, samples=20).votes[0] <= 20
    with pytest.raises(
        ValueError, match=r"model must give logits of shape \(100, classes\), got \(100, 1\)"
    ):
        certify(lambda x: x.flatten(1)[:, :1], image, sigma=0.1)
    with pytest.raises(ValueError, match="model must give numbers for logits, got NaN"):
        certify(lambda x: x.flatten(1) / 0 - math.inf, image, sigma=0.1)
