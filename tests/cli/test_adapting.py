"""The command that adapts a classifier."""

import json
from itertools import product

import numpy as np
import pytest
from PIL import Image

from virolbi.data import load
from virolbi.recipes import Recipe
from virolbi.training import train


@pytest.fixture
def trained(folder_of_images, tmp_path):
    recipe = Recipe(epochs=1, batch_size=16, crop=0, data=str(folder_of_images))
    train(recipe, load(recipe.data, "train"), tmp_path / "run")
    return tmp_path / "run"


def test_adapt_prints_a_mean_for_each_order_and_writes_rows(run, trained, tmp_path):
    arguments = ["adapt", trained, tmp_path / "out", "--smooth", "auto", "--method", "source,eata"]
    options = ["--corruptions", "gaussian_noise", "--stream", "iid,mixed", "--batch-size", "6"]
    output = run(*map(str, arguments + options))
    rows = [
        json.loads(line) for line in (tmp_path / "out" / "adapted.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 8
    for view in ("raw, source", "raw, eata", "auto, source", "auto, eata"):
        (line,) = [line for line in output.splitlines() if view in line]
        means = [f"{row['accuracy']:.3f}" for row in rows if row["view"] == view]
        assert line.split()[-2:] == means


def test_training_images_for_eata_keep_their_shape(run, tmp_path):
    rng = np.random.default_rng(0)
    for split, label in product(("train", "test"), ("a", "b")):
        (tmp_path / "data" / split / label).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / split / label / f"{number}.png")
    recipe = Recipe(epochs=1, batch_size=8, crop=0, data=str(tmp_path / "data"))
    train(recipe, load(recipe.data, "train"), tmp_path / "run")
    arguments = ["adapt", tmp_path / "run", tmp_path / "out", "--method", "eata", "--stream", "iid"]
    output = run(*map(str, arguments), "--corruptions", "gaussian_noise", "--batch-size", "8")
    assert "rows of 16 test images" in output


@pytest.mark.parametrize(
    ("option", "name"),
    [("--method", "methods"), ("--stream", "orders"), ("--severity", "severity")],
)
def test_wrong_options_are_named(run, trained, tmp_path, option, name):
    assert f"{name} must be" in run(
        "adapt", str(trained), str(tmp_path / "out"), option, "9", code=1
    )
