import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from virolbi import evaluation
from virolbi.corruptions import corrupt
from virolbi.data import load
from virolbi.evaluation import evaluate
from virolbi.recipes import Recipe
from virolbi.rows import read_rows, wilson_interval, write_rows
from virolbi.training import train


@pytest.fixture
def trained(folder_of_images):
    run = train(Recipe(procedure="fixed", epochs=1, batch_size=16, crop=2), load(str(folder_of_images), "train"))
    return run, load(str(folder_of_images), "test")


def test_every_condition_gets_a_row_in_both_views(trained, tmp_path):
    run, images = trained
    rows = evaluate("ours", run, images, tmp_path / "rows.jsonl", attacked=5)
    conditions = {(row["view"], row["condition"], row["severity"]) for row in rows}
    expected = {("clean", 0), ("low_resolution", 1), ("low_resolution", 2), ("fgsm", 1), ("pgd", 1)}
    expected |= {(f"{name}_noise", severity) for name in ("gaussian", "shot", "impulse") for severity in range(1, 6)}
    assert conditions == {(view, *condition) for view in ("raw", "smoothed") for condition in expected}
    assert read_rows(tmp_path / "rows.jsonl") == rows
    for row in rows:
        assert row["count"] == (5 if row["condition"] in ("fgsm", "pgd") else len(images))
        assert row["low"] <= round(row["accuracy"], 4) <= row["high"]
        assert row["seed"] == 0


class Roughness(torch.nn.Linear):
    """Tells images apart by their mean gradient, which smoothing lowers: a model whose views differ."""

    def forward(self, images):
        score = images.diff(dim=-1).abs().mean(dim=(1, 2, 3)) - 0.06
        return torch.stack([score, -score], dim=1)


def test_the_accuracy_is_that_of_the_model_on_those_images(trained, tmp_path):
    run, images = trained
    run, images = replace(run, model=Roughness(1, 1)), replace(images, labels=np.zeros_like(images.labels))
    rows = evaluate("ours", run, images, tmp_path / "rows.jsonl", attacked=0)
    noisy = torch.from_numpy(corrupt(images.pixels / np.float32(255), "gaussian_noise", 5))
    found = {}
    for view, shown in (("raw", noisy), ("smoothed", run.smoother()(noisy))):
        accuracy = (run.model(shown).argmax(dim=1).numpy() == images.labels).mean()
        (row,) = [r for r in rows if (r["view"], r["condition"], r["severity"]) == (view, "gaussian_noise", 5)]
        assert row["accuracy"] == accuracy
        found[view] = accuracy
    assert found["raw"] > found["smoothed"]


def test_an_interrupted_evaluation_resumes_where_it_stopped(trained, tmp_path):
    run, images = trained
    path, whole = tmp_path / "rows.jsonl", tmp_path / "whole.jsonl"
    evaluate("ours", run, images, whole, attacked=4)

    def stop(row):
        if row["condition"] == "shot_noise":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate("ours", run, images, path, attacked=4, progress=stop)
    done = len(read_rows(path))
    assert 0 < done < len(read_rows(whole))
    counted = []
    original = evaluation._count_correct
    try:
        evaluation._count_correct = lambda *a, **k: counted.append(1) or original(*a, **k)
        evaluate("ours", run, images, path, attacked=4)
    finally:
        evaluation._count_correct = original
    assert len(counted) == len(read_rows(whole)) - done
    assert path.read_bytes() == whole.read_bytes()


def test_results_of_other_images_or_weights_are_not_mixed_into_a_file(trained, tmp_path):
    run, images = trained
    path = tmp_path / "rows.jsonl"
    first = evaluate("ours", run, images, path, attacked=0)
    with pytest.raises(ValueError, match=r"holds results on other images, 12 of pictures; choose another place"):
        evaluate("inverted", run, replace(images, pixels=255 - images.pixels), path, attacked=0)
    with torch.no_grad():
        next(run.model.parameters()).add_(1.0)
    with pytest.raises(ValueError, match=r"holds results of other weights for 'ours', seed 0; choose another name"):
        evaluate("ours", run, images, path, attacked=0)
    assert read_rows(path) == first
    evaluate("changed", run, images, path, attacked=0)
    assert len(read_rows(path)) == 2 * len(first)


def test_images_that_do_not_fit_the_run_are_named(trained, tmp_path):
    run, _ = trained
    with pytest.raises(ValueError, match=r"images must have the classes of the run, \('bright', 'dark'\), got \('0', "):
        evaluate("ours", run, load("digits", "test", limit=4), tmp_path / "rows.jsonl")
    for settings, message in (
        ({"attacked": -1}, "attacked must be >= 0, got -1"),
        ({"epsilon": 0.0}, "epsilon must be in"),
        ({"resolution": 100}, "resolution must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate("ours", run, trained[1], tmp_path / "rows.jsonl", **settings)
    small = replace(trained[1], pixels=trained[1].pixels[:, :, :8])
    with pytest.raises(ValueError, match=r"images must have the shape of training, \[1, 12, 12\], got \[1, 8, 12\]"):
        evaluate("ours", run, small, tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()


def test_broken_rows_are_named_with_their_line(tmp_path):
    row = {"arm": "a", "view": "raw", "condition": "clean", "severity": 0, "seed": 0, "count": 10, "accuracy": 0.5}
    row |= {"level": 0.0, "data": "made up", "images": "1a2b"}
    write_rows(tmp_path / "rows.jsonl", [row])
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row)[:20] + "\n")
    with pytest.raises(ValueError, match=r"rows.jsonl:2 must be a row of results"):
        read_rows(tmp_path / "rows.jsonl")


def test_wilson_intervals_cover_as_they_promise():
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.97):
        hits = rng.binomial(200, share, 4000)
        covered = np.mean([low <= share <= high for low, high in (wilson_interval(int(h), 200) for h in hits)])
        assert 0.93 < covered < 0.97
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == pytest.approx(1)
