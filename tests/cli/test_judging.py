import json
import re
import shutil
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

from virolbi.cli.choosing import _gained_nothing, _level_row
from virolbi.evaluation import (
    Level,
    Treatment,
    load_subject,
    read_calibration,
    write_calibration,
)
from virolbi.results import read_rows

MODULE = """
def brightness():
    def logits(images):
        mean = images.mean((1, 2, 3))
        return __import__("torch").stack([mean, 0.5 - mean], dim=1)

    return logits
"""


@pytest.mark.slow
def test_evaluate_prints_a_line_for_each_row_and_takes_a_part_of_a_split(
    run, folder_of_images, tmp_path, monkeypatch
):
    (tmp_path / "shades.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    arguments = ["evaluate", "shades:brightness", "out", "--data", folder_of_images]
    more = ["--split", "train", "--skip", "40", "--batch-size", "3", "--attacked", "0"]
    output = run(*arguments, *more, "--corruptions", "fog")
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert {row["count"] for row in rows} == {8}  # of 48 training images
    lines = re.findall(r"^raw, (\w+) (\d): [\d.]+$", output, flags=re.MULTILINE)
    assert lines == [(row["condition"], str(row["severity"])) for row in rows]
    for option, value in (("--skip", "48"), ("--skip", "-1"), ("--split", "dev")):
        assert option.strip("-") in run(*arguments, option, value, code=1)


def test_an_error_in_code_of_the_user_is_shown_with_its_place(
    run, folder_of_images, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for number, (line, message) in enumerate(
        (
            ("raise ValueError('boom')", "boom"),
            ("return 1 +", "SyntaxError: invalid syntax"),
            ("return {}['weights']", "KeyError: 'weights'"),
            ("import no_such_package", "No module named 'no_such_package'"),
            ("raise StopIteration", "virolbi: StopIteration"),
        )
    ):
        module = tmp_path / f"failing{number}.py"
        module.write_text(f"def net():\n    def logits(images):\n        {line}\n    return logits")
        arguments = ["evaluate", f"failing{number}:net", "out", "--data"]
        output = run(*arguments, folder_of_images, code=1)
        assert f"{message} ({module}, line 3)" in output
    assert ", line " not in run(*arguments, "./nowhere", code=1)  # an error of this package


def test_a_fault_of_this_package_has_a_traceback(run, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("virolbi.cli.images.contact_sheet", Mock(side_effect=KeyError("labels")))
    with pytest.raises(KeyError, match="labels"):
        run("corrupt", picture, tmp_path / "out.png", catch_exceptions=False)


def test_an_error_of_the_network_is_shown_once_and_on_request_with_its_traceback(
    run, picture, tmp_path, monkeypatch
):
    code = "def net():\n    return lambda images: images.mean((2, 3)) * float('nan')"
    (tmp_path / "odd_logits.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    arguments = "classify", "odd_logits:net", picture, picture
    (line,) = run(*arguments, code=1).splitlines()
    assert re.match(r"virolbi: view 'raw', for .*in\.png, must .* got NaN", line)
    monkeypatch.setenv("VIROLBI_TRACEBACK", "1")
    with pytest.raises(ValueError, match="must return logits"):
        run(*arguments, catch_exceptions=False)


@pytest.mark.slow
def test_a_folder_of_images_is_enough_to_calibrate_on(run, folder_of_images, tmp_path, monkeypatch):
    (tmp_path / "shades_unlabelled.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    arguments = ["calibrate", "shades_unlabelled:brightness"]
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted(folder_of_images.rglob("*.png"))):
        shutil.copy(path, flat / f"{number}.png")
    assert "calibrated on 60 images" in run(*arguments, "one", "--data", flat)
    assert "calibrated on 20 images" in run(*arguments, "two", "--data", flat, "--limit", 20)
    message = run(*arguments, "three", "--data", flat, "--labels", code=1)
    assert "must have each image in the folder of its class" in message


@pytest.mark.slow
def test_a_calibrated_model_is_judged(run, folder_of_images, tmp_path, monkeypatch):
    (tmp_path / "shades_too.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    output = run("calibrate", "shades_too:brightness", "best", "--data", folder_of_images)
    assert re.search(r"calibrated on 48 images in \d+ seconds", output)
    more = ["--attacked", "0", "--corruptions", "fog"]
    run("evaluate", "best", "out", "--data", folder_of_images, *more)
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert {(row["arm"], row["view"]) for row in rows} == {("best", "raw"), ("best", "calibrated")}
    for content in json.loads((tmp_path / "best" / "calibration.json").read_text())["levels"]:
        assert f"{content['gain']:+.3f} +- {content['error']:.3f}" in output  # no column is cut
    assert "holds something" in run("calibrate", "shades_too:brightness", "best", code=1)
    assert "without a calibration, got best" in run("calibrate", "best", "better", code=1)
    # another calibration under this name would not be what the rows are of
    front = read_calibration(tmp_path / "best").front
    changed = [replace(level, least=level.least + 0.001) for level in front.levels]
    weights = load_subject("shades_too:brightness").fingerprint
    write_calibration(tmp_path / "best", "shades_too:brightness", weights, changed)
    text = run("evaluate", "best", "out", "--data", folder_of_images, *more, code=1)
    assert "results of other weights" in text


def test_a_calibration_names_the_levels_in_which_it_gained_nothing():
    half = Treatment(0.5, factor=1.5, nu=0.3)
    levels = [
        Level(False, 0.02, Treatment()),
        Level(False, 0.1, half, 0.05, 0.01, 0.02, 0.01),
        Level(True, 0.03, half, 0.05, 0.01, 0.01, 0.02),
    ]
    assert _level_row(levels[1]) == {
        "kind": "noise",
        "from": "0.1",
        "treatment": "50% 1.5x noise, nu=0.3",
        "gain": "+0.050 +- 0.010",
        "over auto": "+0.020 +- 0.010",
    }
    assert _level_row(levels[0])["treatment"] == "as they are"
    assert _gained_nothing(levels) == (
        "nothing better than leaving images alone for noise from 0.02; "
        "nothing better than auto for outliers from 0.03"
    )
    assert _gained_nothing(levels[1:2]) == "too few images showed outliers, and are left alone"
    better = Level(True, 0.03, Treatment(1.0), 0.05, 0.01, 0.02, 0.01)
    assert _gained_nothing([levels[1], better]).startswith("better than auto and")
    assert "showed noise or outliers, and" in _gained_nothing([])
    assert _level_row(better)["treatment"] == "100% auto"


def test_the_published_protocol_certifies_every_twentieth_image(
    run, folder_of_images, tmp_path, monkeypatch
):
    (tmp_path / "shades_certified.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)

    def certify(out, *options, code=0):
        arguments = ["certify", "shades_certified:brightness", out, "--data", folder_of_images]
        text = run(*arguments, "--split", "train", "--samples", "20", *options, code=code)
        return [(row["count"], row["level"]) for row in read_rows(out / "certified.jsonl")], text

    every_twentieth, _ = certify(tmp_path / "a", "--protocol", "cohen")
    assert every_twentieth == [(3, radius) for radius in (0, 0.25, 0.5, 0.75, 1)]  # of 48
    two, _ = certify(tmp_path / "b", "--protocol", "cohen", "--limit", "2", "--radii", "0.1")
    assert two == [(2, 0.1)]
    quick, _ = certify(tmp_path / "c", "--limit", "4")
    assert quick == [(4, radius) for radius in (0, 0.1, 0.2, 0.3, 0.4, 0.5)]
    _, text = certify(tmp_path / "d", "--protocol", "cohn", code=1)
    assert "quick, cohen" in text


def test_image_files_are_classified(run, folder_of_images, tmp_path, monkeypatch):
    (tmp_path / "shades_of_files.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    files = sorted(folder_of_images.rglob("*.png"))[:2]
    text = run("classify", "shades_of_files:brightness", *files)
    assert re.findall(r"^\S+/(\w+)/\d+\.png: class ([01]) (0\.\d{3}), class", text, re.MULTILINE)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    text = run("classify", "shades_of_files:brightness", tmp_path / "broken.png", files[0], code=1)
    assert "broken.png must be an image file" in text
    assert f"{files[0]}: class" in text
    assert "1 of 2 images could not be classified" in text
    for file, value, error in (
        ("hole.npy", np.nan, "got NaN; fill it"),
        ("bright.npy", 9, "in [0,"),
    ):
        np.save(tmp_path / file, np.full((64, 64), value, np.float32))
        text = run("classify", "shades_of_files:brightness", tmp_path / file, code=1)
        assert re.search(rf"{file} must .*{re.escape(error)}", text)
    text = run("classify", "shades_of_files:brightness", folder_of_images, code=1)
    assert f"{folder_of_images} must be an image file, got a folder; name the files in it" in text
    for option, name in (("--size", "size"), ("--best", "best"), ("--data-range", "data_range")):
        text = run("classify", "shades_of_files:brightness", *files, option, 0, code=1)
        assert re.fullmatch(f"virolbi: {name} must be .*, got 0(.0)?\n", text)
    text = run("classify", "shades_of_files:brightness", files[0], "--smooth", "0.9", "--best", 1)
    assert "(raw): class" in text
    assert "(smoothed 0.9): class" in text
