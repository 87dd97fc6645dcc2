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
    """Return logits for class 1 where the weighted sum is above that of a grey image.

    The radius that can be certified is the distance to the boundary.
    """
    score = (images - 0.5).flatten(1) @ WEIGHTS.to(images.dtype)
    return torch.stack([-score, score], dim=1)


WEIGHTS = F.normalize(torch.linspace(-1, 2, 16), dim=0)


def at_distances(distances):
    """Return images of 4x4 pixels at these signed distances from the boundary of `half_space`."""
    along = torch.tensor(distances)[:, None] * WEIGHTS
    across = torch.randn(16, generator=torch.Generator().manual_seed(1))
    across = 0.05 * F.normalize(across - across @ WEIGHTS * WEIGHTS, dim=0)
    return (0.5 + along + across).reshape(-1, 1, 4, 4)


@pytest.mark.parametrize("sigma", [0.12, 0.25])
def test_on_a_half_space_the_radius_is_the_distance_to_the_boundary_and_never_more(sigma):
    distances = [0.5 * sigma, -sigma, 1.5 * sigma, -2 * sigma]
    certificate = certify(
        half_space,
        at_distances(distances),
        sigma=sigma,
        samples=50_000,
        batch_size=10_000,
        clip=None,
    )
    np.testing.assert_array_equal(certificate.predicted, [1, 0, 1, 0])
    assert (certificate.radius <= np.abs(distances)).all()
    assert (certificate.radius >= 0.93 * np.abs(distances)).all()


def test_the_radius_of_a_unanimous_vote_is_bounded_by_the_number_of_samples():
    certificate = certify(half_space, at_distances([0.9]), sigma=0.1, samples=200, clip=None)
    assert certificate.votes[0] == 200
    assert certificate.radius[0] == pytest.approx(0.1 * ndtri(0.001 ** (1 / 200)))


@pytest.mark.slow
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
    chance, hits = ndtr(0.1 / 0.2), np.arange(101)  # of the class at this distance
    too_high = np.array([clopper_pearson(int(h), 100, alpha) for h in hits]) > chance
    # a little below alpha, because votes are whole numbers
    expected = binom.pmf(hits, 100, chance)[too_high].sum()
    deviation = math.sqrt(expected * (1 - expected) / len(radii))
    assert abs(np.mean(np.array(radii) > 0.1) - expected) < 4 * deviation


def test_at_a_tie_it_abstains_except_for_a_share_of_alpha():
    image, alpha = at_distances([0.0]), 0.1
    certificates = [
        certify(half_space, image, sigma=0.2, samples=100, alpha=alpha, clip=None, seed=seed)
        for seed in range(400)
    ]
    abstained = np.array([certificate.predicted[0] == ABSTAINED for certificate in certificates])
    # it would be nearly 2 alpha if the same samples selected the class
    assert 1 - abstained.mean() < 1.3 * alpha
    assert all(certificate.radius[0] == 0 for certificate in np.array(certificates)[abstained])


class Recorder:
    """A classifier that records its inputs."""

    def __init__(self, classify=half_space):
        self.batches, self.classify = [], classify

    def __call__(self, images):
        self.batches.append(images.clone())
        return self.classify(images)

    @property
    def noisy(self):
        return torch.cat(self.batches)


def test_the_base_classifier_sees_unclipped_gaussian_noise_that_is_new_for_the_bound():
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


def test_the_certificate_of_an_image_does_not_depend_on_the_other_images():
    images = at_distances([0.02, -0.05, 0.1, -0.2, 0.3])
    steps = []
    together = certify(
        half_space, images, sigma=0.2, samples=300, batch_size=77, progress=steps.append
    )
    assert steps == [1, 2, 3, 4, 5]
    reversed_order = certify(half_space, images.flip(0), sigma=0.2, samples=300, batch_size=1000)
    parts = [
        certify(half_space, image[None], sigma=0.2, samples=300, batch_size=13) for image in images
    ]
    for name in ("predicted", "radius", "lower", "votes"):
        expected = getattr(together, name)
        np.testing.assert_array_equal(getattr(reversed_order, name)[::-1], expected)
        np.testing.assert_array_equal(
            np.concatenate([getattr(part, name) for part in parts]), expected
        )
    other_seed = certify(half_space, images, sigma=0.2, samples=300, seed=1)
    assert (other_seed.votes != together.votes).any()


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
    """A small network, and images of 2x2 pixels near to and far from the middle of [0, 1]^4.

    The network is trained to tell the two classes apart.
    """
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
    """Return the image under the worst of four changes of L2 norm `radius`.

    They are found by gradient ascent on the expected loss under noise, from random starts.
    """
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
    """Return the class that the model predicts most often under noise."""
    with torch.no_grad():
        noisy = image + sigma * torch.randn(samples, *image.shape, generator=generator)
        return int(torch.bincount(model(noisy).argmax(dim=1), minlength=2).argmax())


@pytest.mark.slow
def test_no_attack_on_the_smoothed_classifier_succeeds_within_the_certificate(ring):
    model, images = ring
    sigma, generator = 0.15, torch.Generator().manual_seed(2)
    certificate = certify(model, images, sigma=sigma, samples=20_000, batch_size=20_000, clip=None)
    certified = np.flatnonzero(certificate.predicted != ABSTAINED)
    assert len(certified) > 18
    moved = {0.99: 0, 1.5: 0}
    for index in certified:
        image, label = images[index], int(certificate.predicted[index])
        radius = float(certificate.radius[index])
        for factor in moved:
            changed = attack_smoothed(model, image, label, factor * radius, sigma, generator)
            moved[factor] += majority(model, changed, sigma, generator) != label
    assert moved[0.99] == 0
    assert moved[1.5] >= 15  # the attack is a strong one


def test_our_smoother_denoises_at_any_sigma_within_its_range():
    image = at_distances([0.3])
    certificate = certify(half_space, image, sigma=0.5, samples=200, denoiser=Smooth(0.9))
    assert certificate.votes[0] > 100
    with pytest.raises(ValueError, match="images"):
        certify(half_space, image, sigma=1.0, samples=200, denoiser=Smooth(0.9), clip=None)


def test_certified_accuracy_counts_images_that_are_right_and_certified():
    certificate = Certificate(
        predicted=np.array([0, 1, 2, ABSTAINED, 1]),
        radius=np.array([0.1, 0.5, 0.9, 0.0, 0.25]),
        lower=np.array([0.6, 0.8, 0.9, 0.4, 0.7]),
        votes=np.array([60, 80, 90, 40, 70]),
        sigma=0.25, selection=10, samples=100, alpha=0.01, clip=(0.0, 1.0), seed=3,
    )  # fmt: skip
    rows = certified_accuracy(certificate, torch.tensor([0, 1, 0, 0, 1]), [0, 0.25, 0.4, 0.8])
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
    unclipped = replace(certificate, clip=None)
    assert certified_accuracy(unclipped, np.zeros(5, int), [0])[0]["clip"] is None
    for labels in (np.zeros(4, int), np.zeros(5)):
        with pytest.raises(ValueError, match="labels"):
            certified_accuracy(certificate, labels, [0.1])
    with pytest.raises(ValueError, match="labels must be >= 0, got -1"):
        certified_accuracy(certificate, np.full(5, -1), [0.1])
    for radii in ([], [-0.1], [0.2, 0.1], [0.1, 0.1], [math.nan], [math.inf]):
        with pytest.raises(ValueError, match="radii"):
            certified_accuracy(certificate, np.zeros(5, int), radii)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"sigma": 0}, ValueError),
        ({"sigma": "0.1"}, TypeError),
        ({"sigma": math.nan}, ValueError),
        ({"alpha": 1.0}, ValueError),
        ({"selection": 0}, ValueError),
        ({"samples": 10.0}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"seed": -1}, ValueError),
        ({"clip": (1.0, 0.0)}, ValueError),
    ],
)
def test_bad_settings_are_named(settings, error):
    image = torch.full((1, 1, 4, 4), 0.5)
    (name,) = settings
    with pytest.raises(error, match=name):
        certify(half_space, image, **{"sigma": 0.1} | settings)


def test_the_error_for_too_few_samples_says_how_many_are_enough():
    image = torch.full((1, 1, 4, 4), 0.5)
    with pytest.raises(ValueError, match="samples must be >= 10 at alpha=0.001"):
        certify(half_space, image, sigma=0.1, samples=9)


def test_bad_images_are_named():
    image = torch.full((1, 1, 4, 4), 0.5)
    for images, error, value in (
        (image.numpy(), TypeError, "ndarray"),
        (image.half(), TypeError, "torch.float16"),
        (image[0], ValueError, r"\(1, 4, 4\)"),
        (image[:0], ValueError, r"\(0, 1, 4, 4\)"),
        (image * 255, ValueError, "127.5 to 127.5"),
        (image * math.nan, ValueError, "nan to nan"),
    ):
        with pytest.raises(error, match=f"images .*{value}"):
            certify(half_space, images, sigma=0.1)


def test_a_base_classifier_that_breaks_the_certificate_is_refused():
    image = torch.full((1, 1, 4, 4), 0.5)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(ValueError, match="model .*batch norm"):
        certify(model, image, sigma=0.1)
    with pytest.raises(ValueError, match="denoiser .*batch norm"):
        certify(half_space, image, sigma=0.1, denoiser=model)
    with pytest.raises(ValueError, match=r"denoiser .*Online\(\)"):
        certify(half_space, image, sigma=0.1, denoiser=nn.Sequential(Smooth(Online())))
    assert certify(model.eval(), image, sigma=0.1, samples=20).votes[0] <= 20
    with pytest.raises(ValueError, match=r"model .*\(100, classes\).*\(100, 1\)"):
        certify(lambda x: x.flatten(1)[:, :1], image, sigma=0.1)
    with pytest.raises(ValueError, match="model .*NaN"):
        certify(lambda x: x.flatten(1) / 0 - math.inf, image, sigma=0.1)


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (lambda images: (images,), "got tuple"),
        (lambda images: images.mean((2, 3))[:, :1], r"got \(\d+, 1\)"),
        (lambda images: images.mean((2, 3)) + math.nan, "got NaN"),
        (lambda images: images.mean((2, 3)) + math.inf, "got inf"),
    ],
)
def test_models_without_logits_are_refused(answer, got):
    with pytest.raises(ValueError, match=f"model must return logits .*{got}"):
        certify(answer, torch.full((1, 3, 4, 4), 0.5), sigma=0.1)
