"""Answers to single image files."""

import numpy as np
import pytest
import torch
from PIL import Image

from virolbi.data import load
from virolbi.evaluation import classify_file, subject_from_network, subject_from_run
from virolbi.recipes import Recipe
from virolbi.training import train


def colours(images):
    return 9 * images.mean((2, 3))


def test_a_file_gets_the_answers_that_its_image_gets_in_an_evaluation(folder_of_images, tmp_path):
    recipe = Recipe(procedure="fixed", epochs=1, batch_size=16, size=20)
    data = str(folder_of_images)
    run = train(recipe, load(data, "train", size=20))
    subject = subject_from_run(run, "ours")
    test = load(data, "train", size=20)
    files = sorted(folder_of_images.rglob("*.png"))
    for view in subject.views:
        with torch.inference_mode():
            logits = view.model(torch.from_numpy(test.pixels / np.float32(255)))
        expected = sorted(logits.softmax(1).max(1).values.tolist())
        found = [
            answer
            for file in files
            for answer in classify_file(subject, file, most=2)
            if answer.title == view.name
        ]
        assert {name for answer in found for name in answer.classes} == {"bright", "dark"}
        probabilities = np.array([answer.probabilities[0] for answer in found])
        # every training image is one of the files
        assert all(np.abs(probabilities - one).min() < 1e-5 for one in expected)


def test_channels_and_size_are_those_of_the_network(tmp_path):
    subject = subject_from_network(colours, "colours", classes=[["red"], ["green"], ["blue"]])
    grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
    Image.new("L", (9, 7), 200).save(grey)
    Image.new("RGB", (9, 7), (10, 20, 250)).save(colour)
    (answers,) = classify_file(subject, colour)
    assert answers.classes == ("blue", "green", "red")
    assert sum(answers.probabilities) == pytest.approx(1)
    with pytest.raises(ValueError, match="most must be >= 1"):
        classify_file(subject, colour, most=0)


def test_images_that_do_not_fit_a_network_are_refused(tmp_path):
    fields = {"shape": (1, 7, 9), "classes": [["dark"], ["bright"]]}
    subject = subject_from_network(
        lambda x: torch.cat([-x.mean((2, 3)), x.mean((2, 3)) - 1], dim=1), "brightness", **fields
    )
    Image.new("L", (9, 7), 200).save(tmp_path / "grey.png")
    Image.new("RGB", (9, 7), (200, 200, 200)).save(tmp_path / "saved in colour.png")
    Image.new("RGB", (9, 7), (200, 0, 0)).save(tmp_path / "red.png")
    Image.new("L", (8, 7), 200).save(tmp_path / "narrow.png")
    grey, saved = (
        classify_file(subject, tmp_path / f"{name}.png") for name in ("grey", "saved in colour")
    )
    assert grey == saved
    assert grey[0].classes[0] == "bright"
    with pytest.raises(ValueError, match=r"images must have 1 channels .*, got 3 in .*red.png"):
        classify_file(subject, tmp_path / "red.png")
    with pytest.raises(ValueError, match=r"must be of 9x7 pixels for brightness, got 8x7 in"):
        classify_file(subject, tmp_path / "narrow.png")


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (lambda images: (images.mean((2, 3)),), "got tuple"),
        (lambda images: images.mean((2, 3)) / 0, "got inf"),
        (lambda images: images.mean((2, 3)) + torch.nan, "got NaN"),
    ],
)
def test_networks_without_logits_do_not_answer(tmp_path, answer, got):
    Image.new("RGB", (9, 7), (200, 9, 9)).save(tmp_path / "red.png")
    with pytest.raises(ValueError, match=f"view 'raw', for .*red.png, must return logits .*{got}"):
        classify_file(subject_from_network(answer, "odd"), tmp_path / "red.png")


def test_probabilities_in_place_of_logits_are_warned_of(tmp_path):
    Image.new("RGB", (9, 7), (200, 9, 9)).save(tmp_path / "red.png")
    subject = subject_from_network(lambda images: colours(images).softmax(dim=1), "sure")
    with pytest.warns(UserWarning, match="should return logits, .* sum to 1, as probabilities do"):
        classify_file(subject, tmp_path / "red.png")
    logarithms = subject_from_network(lambda images: colours(images).log_softmax(dim=1), "logs")
    classify_file(logarithms, tmp_path / "red.png")
