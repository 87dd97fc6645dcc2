import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors import safe_open

from virolbi.data import decode_image
from virolbi.deploy.networks import describe
from virolbi.evaluation import read_image_for, subject_from_run, write_calibration
from virolbi.recipes import Recipe
from virolbi.training import Run, train

BICUBIC = Image.Resampling.BICUBIC


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
    assert "read images: virolbi.data.decode_image(file, 8, None) / 255: upright by EXIF" in text
    with safe_open(out, "pt") as file:
        description = json.loads(file.metadata()["virolbi"])
    assert description["size"] == 8
    assert all(description[name] in text for name in ("reading", "resizing"))
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


@pytest.fixture
def pictures(photographs, tmp_path):
    """Files of each kind that is read in a way of its own, with what export states about them."""
    image = Image.fromarray(photographs[0][:, :20])
    exif = Image.Exif()
    exif[0x112] = 6  # turned by a quarter
    image.save(tmp_path / "turned.png", exif=exif)
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(photographs[1][:, :20, 0]))
    alpha.save(tmp_path / "transparent.png")
    image.convert("CMYK").save(tmp_path / "cmyk.tif")
    image.convert("P").save(tmp_path / "palette.png")
    deep = np.asarray(image.convert("L")).astype(np.uint16) * 200 + 100
    Image.fromarray(deep).save(tmp_path / "deep.png")
    opacity = np.asarray(alpha)[..., 3:] / 255
    white = np.rint(255 - (255 - np.asarray(image)) * opacity).astype(np.uint8)
    fitted = ImageOps.fit(Image.fromarray(deep.astype(np.float32)), (8, 8), BICUBIC)
    clipped = np.rint(np.clip(fitted, deep.min(), deep.max()))
    stated = {
        "turned.png": ImageOps.exif_transpose(Image.open(tmp_path / "turned.png")),
        "transparent.png": Image.fromarray(white),
        "cmyk.tif": Image.open(tmp_path / "cmyk.tif").convert("RGB"),
        "palette.png": Image.open(tmp_path / "palette.png").convert("RGB"),
    }
    planes = {name: np.asarray(ImageOps.fit(im, (8, 8), BICUBIC)) for name, im in stated.items()}
    planes["deep.png"] = np.repeat(np.rint(clipped * (255 / 65535))[..., None], 3, axis=-1)
    return {tmp_path / name: pixels / np.float32(255) for name, pixels in planes.items()}


def test_classify_reads_files_as_export_states(pictures):
    data = {"shape": [3, 8, 8]}
    run = Run(torch.nn.Identity(), Recipe(), ("a", "b"), data, [])
    description = describe(run)
    assert description["size"] == 8  # of square images without a size in the recipe too
    assert "upright by EXIF" in description["reading"]
    assert "shown on white" in description["reading"]
    assert "the largest value of its integers" in description["reading"]
    subject = subject_from_run(run, "run")
    for path, intensities in pictures.items():
        read = read_image_for(subject, path)[0].numpy().transpose(1, 2, 0)
        np.testing.assert_array_equal(read, intensities.astype(np.float32), err_msg=path.name)
    of_12_bits = replace(run, recipe=Recipe(data_range=4095))
    assert "4095 becomes 255" in describe(of_12_bits)["reading"]
    assert describe(replace(run, data={"shape": [1, 8, 9]}))["size"] is None
