import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from helpers import Applied
from virolbi.nn import Smooth
from virolbi.robustness import (
    Budget,
    WorstCase,
    check_black_box,
    check_gradients,
    check_large_epsilon,
    check_masking,
    check_one_step,
    check_probabilities,
    check_randomness,
    check_saturation,
)

BUDGET = Budget(0.1, steps=20, queries=300)
NAMES = [
    "randomness",
    "probabilities",
    "saturation",
    "gradients",
    "one step beats many",
    "black box beats white box",
    "large epsilon",
]


@pytest.fixture(scope="module")
def digits():
    """A network, 100 handwritten digits, (N, 1, 8, 8), and their labels.

    The network is trained on other digits and classifies about 90 % of these correctly.
    """
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(data.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        for _ in range(10):
            for batch in torch.randperm(1500).split(50):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
                optimizer.step()
    return network.eval(), images[1500:1600], labels[1500:1600]


def resize_at_random(images):
    size = int(torch.randint(5, 9, ()))
    small = nn.functional.interpolate(images, size=(size, size), mode="bilinear")
    return nn.functional.interpolate(small, size=(8, 8), mode="bilinear")


def ripple(images, *, amplitude, waves):
    """Add an invisible ripple whose slope, about amplitude * waves * 2 pi, has either sign.

    That number is far above 1, the slope of the image itself.
    """
    return images + amplitude * torch.sin(2 * math.pi * waves * images)


def suspicions(findings):
    return {finding.name for finding in findings if finding.suspicious}


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.3])
def test_a_sound_model_raises_no_suspicion(digits, epsilon):
    findings = check_masking(*digits, Budget(epsilon, steps=20, queries=300))
    assert [finding.name for finding in findings] == NAMES
    assert not suspicions(findings)


PLANTED = {
    "quantised": (
        "gradients",
        lambda network: nn.Sequential(Applied(lambda x: (8 * x).round() / 8), network),
    ),
    "not a number": (
        "gradients",
        lambda network: nn.Sequential(Applied(lambda x: x + 0 * (x - x.detach()).sqrt()), network),
    ),
    "faint": (
        "gradients",
        lambda network: nn.Sequential(
            network, Applied(lambda z: torch.sigmoid(z + 50) + z.detach())
        ),
    ),
    "resized at random": (
        "randomness",
        lambda network: nn.Sequential(Applied(resize_at_random), network),
    ),
    "scaled logits": (
        "saturation",
        lambda network: nn.Sequential(network, Applied(lambda z: 1e4 * z)),
    ),
    "softmax": ("probabilities", lambda network: nn.Sequential(network, nn.Softmax(dim=1))),
    "shattered": (
        "black box beats white box",
        lambda network: nn.Sequential(
            Applied(lambda x: ripple(x, amplitude=1e-3, waves=1.6e4 / 1.01)), network
        ),
    ),
    "shattered everywhere": (
        "large epsilon",
        lambda network: nn.Sequential(
            Applied(lambda x: ripple(x, amplitude=1e-3, waves=1.6e4 / 1.01)), network
        ),
    ),
    # the slope has the right sign at the 17 grey levels of the digits and nowhere else, so that
    # the second step is misled
    "true only at the images": (
        "one step beats many",
        lambda network: nn.Sequential(
            Applied(lambda x: ripple(x, amplitude=2e-3, waves=1024)), network
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "defend"), PLANTED.values(), ids=PLANTED)
def test_each_obfuscated_defence_is_caught_by_the_check_for_it(digits, name, defend):
    network, images, labels = digits
    with torch.random.fork_rng():
        torch.manual_seed(0)
        findings = check_masking(defend(network).eval(), images, labels, BUDGET)
    assert name in suspicions(findings)
    assert all(
        len(finding.sentence) > 20 and finding.sentence.endswith(".") for finding in findings
    )


def count_correct(model, images, labels):
    return int((model(images).argmax(dim=1) == labels).sum())


@pytest.mark.slow
def test_measured_numbers_are_the_counts_of_the_images(digits):
    network, images, labels = digits
    quantised = nn.Sequential(Applied(lambda x: (8 * x).round() / 8), network)
    measured = check_gradients(quantised, images, labels, batch_size=30).measured
    correct = count_correct(quantised, images, labels)
    assert [measured[key] for key in ("found", "zero", "count")] == [correct] * 3
    assert measured["differentiable"] == 1
    scaled = nn.Sequential(network, Applied(lambda z: 1e4 * z))
    measured = check_saturation(scaled, images, labels, batch_size=30).measured
    correct = count_correct(network, images, labels)
    assert (measured["found"], measured["count"]) == (correct, correct)
    assert check_saturation(network, images, labels).measured["found"] == 0
    measured = check_randomness(
        Applied(lambda x: torch.stack([x.mean(dim=(1, 2, 3)), torch.randn(len(x))], dim=1)), images
    ).measured
    assert (measured["random"], measured["count"]) == (32, 32)
    measured = check_large_epsilon(network, images, labels, batch_size=30).measured
    assert (measured["correct"], measured["count"], measured["chance"]) == (0, 100, 0.1)


def test_log_probabilities_are_logits(digits):
    network, images, labels = digits
    assert check_probabilities(nn.Sequential(network, nn.Softmax(dim=1)), images).suspicious
    assert not check_probabilities(nn.Sequential(network, nn.LogSoftmax(dim=1)), images).suspicious
    assert not check_probabilities(nn.Sequential(network, nn.Sigmoid()), images).suspicious
    assert not check_probabilities(network, images, batch_size=np.int64(7)).suspicious
    assert not check_probabilities(
        Applied(lambda x: 0.1 + network(x) - network(x).mean(dim=1, keepdim=True)), images
    ).suspicious
    assert not suspicions(
        check_masking(nn.Sequential(network, nn.LogSoftmax(dim=1)), images, labels, BUDGET)
    )


def test_a_model_without_a_derivative_is_caught_before_it_is_attacked(digits):
    network, images, labels = digits
    findings = check_masking(
        nn.Sequential(Applied(lambda x: x.detach()), network), images, labels, BUDGET
    )
    assert [finding.name for finding in findings] == NAMES[:4]
    assert suspicions(findings) == {"gradients"}


def test_one_batch_without_a_derivative_is_enough(digits):
    network, images, labels = digits
    first = images[network(images).argmax(dim=1) == labels][0]
    half = Applied(lambda x: network(x.detach() if torch.equal(x[0], first) else x))
    finding = check_gradients(half, images, labels, batch_size=50)
    assert finding.measured["differentiable"] == 0


def test_a_model_that_smooths_is_checked_with_adaptive_attacks(digits):
    network, images, labels = digits
    smoothed, budget = nn.Sequential(Smooth(0.5), network), Budget(0.05, steps=3, queries=5)
    findings = check_masking(smoothed, images[:10], labels[:10], budget)
    assert [finding.name for finding in findings] == NAMES
    with pytest.raises(ValueError, match="model .*Sequential"):
        check_masking(nn.Sequential(nn.Identity(), smoothed), images[:10], labels[:10], budget)


def test_the_attacks_of_a_given_case_are_not_repeated(digits):
    network, images, labels = digits
    weak, strong = survivors(6, 1)
    case = WorstCase({"clean": torch.ones_like(weak), "fgsm": weak, "pgd": strong, "square": weak})
    findings = check_masking(network, images, labels, BUDGET, case=case)
    assert [finding.measured["count"] for finding in findings[4:6]] == [57, 57]
    assert findings[4].measured["wins"] == 6


def survivors(only_first, only_second, both=0, neither=50):
    """Return which images survive two attacks, from how many are fooled by one, both or neither."""
    first = [False] * only_first + [True] * only_second + [False] * both + [True] * neither
    second = [True] * only_first + [False] * only_second + [False] * both + [True] * neither
    return torch.tensor(first), torch.tensor(second)


@pytest.mark.parametrize(
    ("wins", "losses", "suspicious"),
    [
        (0, 0, False),
        (5, 0, False),
        (6, 0, True),
        (6, 6, False),
        (9, 3, False),
        (11, 3, False),
        (12, 3, True),
        (3, 30, False),
    ],
)
def test_a_weak_attack_is_suspicious_beyond_sampling_error_only(wins, losses, suspicious):
    weak, strong = survivors(wins, losses, both=7)
    clean = torch.ones_like(weak)
    finding = check_one_step(
        WorstCase({"clean": clean, "fgsm": weak, "pgd": strong, "square": clean})
    )
    assert finding.suspicious == suspicious
    assert (finding.measured["wins"], finding.measured["losses"]) == (wins, losses)
    finding = check_black_box(
        WorstCase({"clean": clean, "fgsm": clean, "pgd": strong, "square": weak})
    )
    assert finding.suspicious == suspicious
    finding = check_black_box(
        WorstCase(
            {"clean": clean, "identity": strong, "exact": clean, "square": clean, "transfer": weak}
        )
    )
    assert finding.suspicious == suspicious
    assert "transfer fools" in finding.sentence
    finding = check_black_box(
        WorstCase(
            {"clean": clean, "identity": strong, "exact": clean, "square": weak, "transfer": clean}
        )
    )
    assert "square fools" in finding.sentence


def test_a_share_is_suspicious_only_where_it_is_certain(digits):
    network, images, labels = digits
    right = network(images).argmax(dim=1) == labels
    images, labels = images[right][:80], labels[right][:80]

    def quantise_first(count):
        return Applied(lambda x: network(torch.cat([(8 * x[:count]).round() / 8, x[count:]])))

    for count, suspicious in ((0, False), (1, False), (2, False), (4, True)):
        assert check_gradients(quantise_first(count), images, labels).suspicious == suspicious


def test_a_check_needs_an_image_the_model_gets_right_and_attacks_to_compare(digits):
    network, images, _ = digits
    with pytest.raises(ValueError, match="images .*got 100"):
        check_gradients(network, images, (network(images).argmax(dim=1) + 1) % 10)
    mask = torch.ones(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="case .*'fgsm'"):
        check_one_step(WorstCase({"clean": mask, "pgd": mask}))
    with pytest.raises(ValueError, match="case .*'pgd', 'exact', 'identity', 'eot'"):
        check_one_step(WorstCase({"clean": mask, "fgsm": mask}))
    with pytest.raises(ValueError, match="case .*'square', 'transfer'"):
        check_black_box(WorstCase({"clean": mask, "fgsm": mask}))
