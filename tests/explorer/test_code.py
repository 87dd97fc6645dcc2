"""The lines that the explorer shows make what it shows: all of them run here."""

import itertools
import shlex

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from virolbi.cli import app
from virolbi.explorer import Settings, Source

MOMENTS = (
    {"choice": "auto"},
    {"choice": "sparsity", "sparsity": 0.83},
    {"choice": "noise", "noise": 0.13},
    {"choice": "time", "time": 7.25},
)
FORMS = (
    {},
    {"nu": 0.35, "delta": 0.07, "min_area": 6},
    {"preset": "paper", "min_area": 3},
    {"preset": "paper", "nu": 0.6},
)
CASES = [
    Settings(**moment, **form, output=output, corruption=corruption, severity=2)
    for (moment, form), (output, corruption) in itertools.product(
        itertools.product(MOMENTS, FORMS),
        (("beta", "shot_noise"), ("regions", "none"), ("regions", "impulse_noise")),
    )
]
DENOISED = [
    Settings(**moment, output="denoised", corruption=corruption)
    for moment, corruption in itertools.product(
        (*MOMENTS[::2], {"choice": "auto", "nu": 0.3, "preset": "paper"}), ("shot_noise", "none")
    )
]


def run_python(code):
    names = {}
    exec(compile(code, "result.py", "exec"), names)
    return names["result"], names.get("labels")


@pytest.mark.parametrize("settings", CASES + DENOISED, ids=repr)
@pytest.mark.parametrize("grey", [False, True])
def test_the_lines_of_python_and_of_the_shell_make_the_answer(
    explorer, photograph, settings, grey, monkeypatch
):
    folder = photograph.path.parent
    if grey:
        Image.open(photograph.path).convert("L").save(photograph.path)
    answer = explorer.answer(photograph, settings)
    assert answer.result.shape == ((48, 64) if grey else (48, 64, 3))

    monkeypatch.chdir(folder)
    result, labels = run_python(answer.python)
    np.testing.assert_array_equal(result, answer.result)
    if settings.output == "denoised":
        assert labels is None
    else:
        np.testing.assert_array_equal(labels, answer.scale.labels)

    files = answer.files()
    (folder / "input.png").write_bytes(files["input.png"])
    for line in answer.shell.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "virolbi"
        run = CliRunner().invoke(app, arguments)
        assert run.exit_code == 0, run.output
        made, name = np.asarray(Image.open(arguments[2])), arguments[2]
        (folder / "downloaded.png").write_bytes(files[name])
        np.testing.assert_array_equal(made, np.asarray(Image.open("downloaded.png")))
    if settings.output == "denoised":
        assert len(answer.shell.splitlines()) == 1
    elif settings.preset == "robust" or grey:
        assert len(answer.shell.splitlines()) == 2


@pytest.mark.parametrize("name", ["drawn", "camera", "coffee"])
def test_the_lines_of_a_sample_make_its_answer(explorer, name):
    answer = explorer.answer(Source(name), Settings())
    result, labels = run_python(answer.python)
    np.testing.assert_array_equal(result, answer.result)
    np.testing.assert_array_equal(labels, answer.scale.labels)


def test_large_pictures_are_reduced_in_the_lines_too(explorer, tmp_path, monkeypatch, photographs):
    pixels = np.tile(photographs[0], (40, 40, 1))
    Image.fromarray(pixels).save(tmp_path / "it's large.png")
    answer = explorer.answer(Source("it's large.png", tmp_path / "it's large.png"), Settings())
    assert answer.image.shape == (640, 640, 3)
    assert answer.facts["size"] == "640 x 640, reduced by 2"
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(run_python(answer.python)[0], answer.result)
