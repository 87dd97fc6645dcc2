"""The command that adapts a classifier."""

import json

import pytest

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


@pytest.mark.parametrize(
    ("option", "name"),
    [("--method", "methods"), ("--stream", "orders"), ("--severity", "severity")],
)
def test_wrong_options_are_named(run, trained, tmp_path, option, name):
    assert f"{name} must be" in run(
        "adapt", str(trained), str(tmp_path / "out"), option, "9", code=1
    )
