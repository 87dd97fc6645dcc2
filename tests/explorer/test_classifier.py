"""Answers of a classifier, beside those of the plain computation."""

import numpy as np
import pytest
import torch
from torch import nn

from virolbi import smooth
from virolbi.evaluation import subject_from_network
from virolbi.explorer import Settings
from virolbi.explorer.classifier import Classifier
from virolbi.explorer.markup import answers_html


class Colours(nn.Module):
    """The mean of each channel and of half the picture, times 20."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.channels = channels

    def forward(self, images):
        means = images.mean(dim=(2, 3))
        left = images[..., : images.shape[-1] // 2].square().mean(dim=(1, 2, 3))[:, None]
        return self.scale * torch.cat([means, left], dim=1)


def classifier(channels, size=24, names=None):
    names = names or [(f"channel {index}",) for index in range(channels)] + [("left",)]
    return Classifier(
        subject_from_network(
            Colours(channels), "colours", classes=tuple(names), shape=(channels, size, size)
        )
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("moment", "title"),
    [
        ({}, "smoothed, auto"),
        ({"choice": "sparsity", "sparsity": 0.75}, "smoothed, sparsity 0.75"),
        ({"choice": "noise", "noise": 0.2}, "smoothed, sparsity"),
    ],
)
def test_answers_are_those_to_the_picture_and_to_the_smoothed_one(
    photographs, channels, moment, title
):
    image = photographs[3][:24, :24]
    image = image if channels == 3 else image[..., 1]
    settings = Settings(**moment)
    raw, smoothed = classifier(channels).answers(image, settings)
    assert raw.title == "raw"
    assert smoothed.title.startswith(title)

    pixels = (image / np.float32(255)).reshape(24, 24, channels).transpose(2, 0, 1)[None].copy()
    sparsity = settings.moment(channels).get("sparsity")
    if sparsity is None:
        sparsity = lambda seen: np.full_like(seen, 0.2)  # noqa: E731
    for answers, shown in ((raw, pixels), (smoothed, smooth(pixels, sparsity, channel_axis=1))):
        logits = Colours(channels)(torch.from_numpy(shown))[0]
        expected = logits.softmax(dim=0).sort(descending=True)
        assert answers.probabilities == pytest.approx(expected.values.tolist(), abs=1e-3)
        assert answers.classes[0] == (
            "left" if expected.indices[0] == channels else f"channel {expected.indices[0]}"
        )


@pytest.mark.parametrize("channels", [1, 3])  # of 1, two classes: away from one is to the other
def test_an_attack_makes_its_own_answer_less_probable(photographs, channels):
    plain = classifier(channels).answers(photographs[3], Settings())
    attacked = classifier(channels).answers(photographs[3], Settings(), epsilon=8 / 255)
    assert [answers.title for answers in attacked] == [
        "raw", "smoothed, auto", "raw, attacked", "smoothed, auto, attacked",
    ]  # fmt: skip
    assert attacked[:2] == plain
    for before, after in zip(attacked[:2], attacked[2:], strict=True):
        share = dict(zip(after.classes, after.probabilities, strict=True))[before.classes[0]]
        assert share < before.probabilities[0]


def test_pictures_are_resized_to_the_network_and_names_are_plain(photographs):
    names = [("n01", "fish", "ray"), ("n02", "bird"), ("n03", "cat"), ("left",)]
    wide = np.hstack(photographs[:3])
    answers = classifier(3, size=16, names=names).answers(wide, Settings())
    assert set(answers[0].classes) == {"fish", "bird", "cat", "left"}
    assert "fish" in answers_html(answers)


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="1 or 3 channels"):
        classifier(4)


class Halving(Colours):
    """The same of images at half the intensity, which it changes in place."""

    def forward(self, images):
        return super().forward(images.mul_(0.5))


def test_a_network_that_changes_images_in_place_is_shown_each_as_it_is(photographs):
    subject = subject_from_network(Halving(3), "halving", shape=(3, 24, 24))
    raw, smoothed = Classifier(subject).answers(photographs[3], Settings(choice="time", time=1e9))
    assert smoothed.probabilities == pytest.approx(raw.probabilities, abs=1e-2)
