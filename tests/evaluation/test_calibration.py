import math

import numpy as np
import pytest
import torch

from helpers import Rough
from virolbi import smooth
from virolbi.corruptions import corrupt
from virolbi.data import Images
from virolbi.evaluation import (
    Attacks,
    Front,
    Level,
    Treatment,
    View,
    calibrate,
    evaluate,
    load_subject,
    read_calibration,
    subject_from_network,
    write_calibration,
)
from virolbi.evaluation.calibration import (
    STRONGEST,
    TREATMENTS,
    WEAKEST,
    _add_noise,
    _choose_levels,
)
from virolbi.nn import Smooth
from virolbi.robustness import ADAPTIVE, Budget

HALF, WHOLE = Treatment(0.5), Treatment(1.0, factor=2.0, nu=0.3, delta=math.inf)
LEVELS = [Level(True, 0.03, WHOLE), Level(False, 0.02, Treatment()), Level(False, 0.06, HALF)]


@pytest.fixture
def clean(photographs):
    """12 colour images, float32, (N, 3, 32, 32)."""
    return (photographs[:12] / np.float32(255)).transpose(0, 3, 1, 2).copy()


@pytest.fixture
def noisy(clean):
    """The same images under many small changes, and under few large ones."""
    return [
        torch.from_numpy(corrupt(clean, name, 5, resolution=64))
        for name in ("gaussian_noise", "impulse_noise")
    ]


def test_a_network_that_mixes_the_images_of_a_batch_is_not_calibrated(photographs):
    pixels = photographs[:12].transpose(0, 3, 1, 2)
    images = Images("mixed", pixels, np.arange(12) % 2, ("a", "b"))
    norm = torch.nn.BatchNorm2d(3, track_running_stats=False)
    network = torch.nn.Sequential(norm, torch.nn.Flatten(), torch.nn.Linear(3072, 2)).eval()
    with pytest.raises(ValueError, match="must treat each image independently .*batch norm"):
        calibrate(View("raw", network), images)
    calibrate(View("raw", network[1:]), images)


def test_images_without_noise_are_returned_bit_for_bit(clean):
    flat = torch.from_numpy(clean.round(1))
    assert torch.equal(
        Front(LEVELS)(torch.full((2, 3, 32, 32), 0.3)), torch.full((2, 3, 32, 32), 0.3)
    )
    assert torch.equal(Front([])(flat), flat)


def test_each_kind_and_strength_of_noise_gets_its_treatment(noisy):
    small, large = noisy
    front = Front(LEVELS)
    half = torch.lerp(small, Smooth("auto")(small), 0.5)
    torch.testing.assert_close(front(small), half)
    whole = smooth(large, lambda seen: 2 * seen, channel_axis=1, nu=0.3, delta=math.inf)
    torch.testing.assert_close(front(large), whole)
    weak = Front([Level(False, 0.9, HALF), Level(True, 0.9, WHOLE)])
    assert torch.equal(weak(small), small)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_no_exported_graph_holds_a_calibrated_model(noisy):
    front = Front([Level(False, 0.03, Treatment(1.0))])
    model, clean = torch.nn.Sequential(front, torch.nn.Flatten()), torch.zeros(2, 3, 16, 16)
    with pytest.raises(RuntimeError, match="images must be smoothed before the exported part"):
        torch.jit.trace(model, clean)
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(compiled(noisy[0]), model(noisy[0]))
    assert not torch.equal(model(noisy[0]), noisy[0].flatten(1))


def test_an_image_is_treated_alike_alone_and_in_a_batch(noisy):
    front, batch = Front(LEVELS), torch.cat(noisy)
    alone = torch.cat([front(image[None]) for image in batch])
    torch.testing.assert_close(front(batch), alone)


def test_the_derivative_is_that_of_the_treatment(noisy):
    results = []
    for function in (Front(LEVELS), lambda x: torch.lerp(x, Smooth("auto")(x), 0.5)):
        images = noisy[0].clone().requires_grad_()
        (function(images) ** 2).sum().backward()
        results.append(images.grad)
    torch.testing.assert_close(*results)


@pytest.fixture
def pictures(clean):
    """Clean images of small gradients, all of class 1."""
    pixels = np.rint(255 * smooth(clean, 0.97, channel_axis=1)).astype(np.uint8)
    return Images("pictures", pixels, np.ones(12, np.int64), ("rough", "smooth"))


@pytest.mark.parametrize("labelled", [False, True])
def test_a_network_that_noise_confuses_gets_smoothed_images(pictures, labelled):
    steps = []
    levels = calibrate(
        View("raw", Rough(0.06, gain=100)),
        pictures,
        labelled=labelled,
        batch_size=5,
        stepped=lambda *step: steps.append(step),
    )
    assert {level.outliers for level in levels} == {False, True}
    strongest = [level for level in levels if level.least > 0.05]
    assert strongest
    assert all(level.treatment.share > 0 for level in strongest)
    assert all(level.gain > level.error for level in strongest)
    assert all(level.auto_gain >= 0 for level in levels)
    assert steps[-1] == (72, 72)


def test_a_network_that_smoothing_confuses_gets_images_as_they_are(pictures):
    # rough is the answer to every image, unless it is smoothed
    levels = calibrate(View("raw", Rough(0.0, gain=100)), pictures)
    assert levels
    assert all(level.treatment == Treatment() for level in levels)
    assert all(level.gain == level.error == 0 for level in levels)
    # "auto" would have cost confidence
    assert all(level.beats_auto for level in levels if level.least > 0.05)
    with pytest.raises(ValueError, match=r"images must be 8 or more .* got 3"):
        calibrate(View("raw", Rough(0.0, gain=100)), pictures.subset(np.s_[:3]))
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        calibrate(View("raw", Rough(0.0, gain=100)), pictures, seed=-1)
    with pytest.raises(ValueError, match="network must take images of shape"):
        calibrate(View("raw", torch.nn.Conv2d(7, 2, 3)), pictures)
    with pytest.raises(ValueError, match="view must be a network without a smoother, got 'auto'"):
        calibrate(View("auto", Rough(0.0, gain=100), Smooth("auto")), pictures)


def test_a_network_that_returns_probabilities_is_warned_of(pictures):
    network = torch.nn.Sequential(Rough(0.06, gain=100), torch.nn.Softmax(dim=1))
    with pytest.warns(UserWarning, match="should return logits, .* sum to 1, as probabilities do"):
        calibrate(View("raw", network), pictures)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"share": 5.0}, ValueError, r"share must be in \[0, 1\], got 5.0"),
        ({"factor": "aut"}, TypeError, "factor must be a number, got 'aut'"),
        ({"factor": -1.0}, ValueError, "factor must be >= 0, got -1.0"),
        ({"nu": -1.0}, ValueError, r"nu must be .*, got -1.0"),
        ({"delta": 0.0}, ValueError, r"delta must be .*, got 0.0"),
    ],
)
def test_a_treatment_that_is_none_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        Treatment(**settings)


def test_a_calibration_does_not_depend_on_the_batch_size(pictures):
    view = View("raw", Rough(0.06, gain=100))
    by_size = [calibrate(view, pictures, batch_size=size) for size in (12, 5)]
    for one, other in zip(*by_size, strict=True):
        assert (one.least, one.treatment) == (other.least, other.treatment)
        assert one.gain == pytest.approx(other.gain, abs=2e-4)


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (lambda images: (images,), "got tuple"),
        (lambda images: images.mean((1, 2, 3)), r"got \(12,\)"),
        (lambda images: images.mean((2, 3))[:, :1], r"got \(12, 1\)"),  # always certain
        (lambda images: images.mean((2, 3)) + math.nan, "got NaN"),
    ],
)
def test_networks_without_logits_are_refused(pictures, answer, got):
    subject = subject_from_network(answer, "network")
    with pytest.raises(ValueError, match=f"view must return logits .*{got}"):
        calibrate(subject.views[0], pictures)
    with pytest.raises(ValueError, match=r"images must have shape \(N, C, H, W\), got \(3, 8, 8\)"):
        Front([])(torch.zeros(3, 8, 8))


MODULE = """
import torch

class Mean(torch.nn.Linear):
    def forward(self, images):
        return super().forward(images.mean((2, 3)))

def network():
    torch.manual_seed({seed})
    return Mean(1, 2)
"""


@pytest.mark.slow
def test_a_calibration_is_a_model(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first_net.py").write_text(MODULE.format(seed=0))
    (tmp_path / "second_net.py").write_text(MODULE.format(seed=1))
    plain = load_subject("first_net:network")
    folder = tmp_path / "calibrated"
    write_calibration(folder, "first_net:network", plain.fingerprint, LEVELS)
    assert set(read_calibration(folder).front.levels) == set(LEVELS)
    assert load_subject(str(folder)).size is None
    write_calibration(folder, "first_net:network", plain.fingerprint, LEVELS, np.int64(12))
    assert load_subject(str(folder)).size == 12
    subject = load_subject(str(folder))
    assert [view.name for view in subject.views] == ["raw", "calibrated"]
    assert subject.fingerprint == plain.fingerprint
    budget = Budget(0.05, steps=2, queries=3)
    rows = evaluate(subject, trained[1], tmp_path / "rows.jsonl", attacks=Attacks(budget, 2))
    attacks = {row["condition"] for row in rows if row["view"] == "calibrated" and "budget" in row}
    assert set(ADAPTIVE) < attacks
    write_calibration(folder, "second_net:network", plain.fingerprint, LEVELS)
    with pytest.raises(ValueError, match="source must .* second_net:network"):
        load_subject(str(folder))
    (folder / "calibration.json").write_text("{}")
    with pytest.raises(ValueError, match=r"calibration\.json must"):
        load_subject(str(folder))


def test_the_calibrated_view_is_the_front_and_the_network(noisy):
    subject = subject_from_network(Rough(0.1, gain=100), "rough")
    view = View("calibrated", subject.views[0].network, Front(LEVELS))
    torch.testing.assert_close(
        view.model(noisy[0]), Rough(0.1, gain=100)(Front(LEVELS)(noisy[0])), check_stride=False
    )


def test_gains_are_paired_differences_with_their_standard_errors():
    # 8 images of one level: "auto" (4) gains .1, the best (6) .3 on each second image, others lose
    confidence = np.full((len(TREATMENTS), 8), 0.1)
    confidence[0], confidence[4] = 0.5, 0.6
    confidence[6] = np.where(np.arange(8) % 2, 0.8, 0.5)
    noise, outliers = np.linspace(0.1, 0.2, 8), np.full(8, True)
    (level,) = _choose_levels(noise, outliers, np.arange(8), confidence)
    assert (level.outliers, level.treatment) == (True, TREATMENTS[6])
    assert (level.gain, level.auto_gain) == pytest.approx((0.15, 0.05))
    assert (level.error, level.auto_error) == pytest.approx((0.15 / 8**0.5,) * 2, abs=1e-4)
    assert not level.beats_auto
    # four copies of two images, which gain .3 and 0: no more is known than from one copy of each
    confidence[6] = np.where(np.arange(8) < 4, 0.8, 0.5)
    (level,) = _choose_levels(noise, outliers, np.arange(8) // 4, confidence)
    assert (level.gain, level.error) == pytest.approx((0.15, 0.15 / 2**0.5), abs=1e-4)


def test_made_noise_has_each_exponent_and_keeps_its_limits():
    rng = np.random.default_rng(0)
    grey = np.full((3, 16, 16), 0.25, np.float32)
    spread = np.array([(_add_noise(grey, rng) - grey).std() for _ in range(300)])
    assert 0.25 * WEAKEST * 0.9 < spread.min() < 0.02  # a weak factor, which .25 makes weaker
    assert 0.18 < spread.max() < STRONGEST.max()  # a strong constant, clipped
    black = np.array([_add_noise(0 * grey, rng).std() for _ in range(300)])
    assert 0.2 < (black > 0).mean() < 0.45  # a third is constant; the others need light
