import json

import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors import safe_open

from virolbi.data import decode_image
from virolbi.evaluation import write_calibration
from virolbi.recipes import Recipe
from virolbi.training import train


@pytest.fixture
def resized(folder_of_images, tmp_path):
    recipe = Recipe(data=str(folder_of_images), epochs=1, batch_size=16, crop=0, size=8)
    train(recipe, None, tmp_path / "run")
    return tmp_path / "run"


def test_export_says_what_an_image_needs_and_replaces_nothing(run, resized, tmp_path):
    out = tmp_path / "net.safetensors"
    text = " ".join(run("export", resized, out).split())  # of lines of any width
    assert "grey intensities in [0, 1], float32, (N, 1, 8, 8)" in text
    assert "resize images to 8 pixels: the shorter side becomes the size" in text
    with safe_open(out, "pt") as file:
        description = json.loads(file.metadata()["virolbi"])
    assert (description["size"], description["resizing"] in text) == (8, True)
    written = out.read_bytes()
    assert "--force replaces it" in run("export", resized, out, code=1)
    assert out.read_bytes() == written
    run("export", resized, out, "--force")
    write_calibration(tmp_path / "best", str(resized), "0", [])
    text = run("export", tmp_path / "best", tmp_path / "best.onnx", code=1)
    assert f"got the calibration {tmp_path / 'best'}" in text


def test_the_resizing_that_export_states_is_that_of_training(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8))
    image.save(tmp_path / "in.png")
    stated = np.asarray(ImageOps.fit(image, (8, 8), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(decode_image(tmp_path / "in.png", 8), stated)
