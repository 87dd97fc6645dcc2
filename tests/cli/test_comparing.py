import shutil

import pytest
from PIL import Image

from virolbi.results import read_rows

FILES = [
    ".claims",
    "checks.jsonl",
    "comparison.json",
    "details.jsonl",
    "examples.png",
    "labels.json",
    "report.html",
    "rows.jsonl",
    "runs",
    "tiles-gaussian_noise-5.png",
    "tiles-impulse_noise-5.png",
    "tiles-shot_noise-5.png",
    "tiles.png",
]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_compare_fills_a_folder_that_a_second_call_leaves_alone(run, folder_of_images, tmp_path):
    out = tmp_path / "out"
    arguments = ["compare", "digits-resnet8", out, "--data", folder_of_images]
    arguments += ["--arms", "plain,mixed", "--seeds", "2", "--set", "epochs=1", "--attacked", "3"]
    arguments += ["--corruptions", "gaussian_noise,shot_noise,impulse_noise"]
    run(*arguments)
    rows = read_rows(out / "rows.jsonl")
    expected = {(arm, seed) for arm in ("plain", "mixed") for seed in (0, 1)}
    assert {(row["arm"], row["seed"]) for row in rows} == expected
    assert sorted(path.name for path in out.iterdir()) == FILES

    before = stamps(out / "runs")
    run(*arguments)
    assert read_rows(out / "rows.jsonl") == rows
    after = stamps(out / "runs")
    assert {path: after[path] for path in before} == before

    run(*arguments, "--smooth", "auto,0.8")
    views = {(row["arm"], row["view"]) for row in read_rows(out / "rows.jsonl")}
    mixed = {("mixed", view) for view in ("raw", "smoothed", "smoothed 0.8", "auto")}
    assert views == {("plain", "raw"), *mixed}


@pytest.mark.slow
def test_regions_are_compared_without_auto(run, folder_of_images, tmp_path):
    out = tmp_path / "out"
    arguments = ["compare", "digits-resnet8", out, "--data", folder_of_images]
    arguments += ["--arms", "fixed,paper-fixed", "--smooth", "auto", "--corruptions", "fog"]
    run(*arguments, "--set", "epochs=1", "--attacked", 0)
    views = {(row["arm"], row["view"]) for row in read_rows(out / "rows.jsonl")}
    assert views == {
        (arm, view) for arm in ("fixed", "paper-fixed") for view in ("raw", "smoothed")
    } | {("fixed", "auto")}
    trained = out / "runs" / "paper-fixed-0"
    assert "best one sparsity" in run("select", trained, "--limit", 4, "--smooth", ".9,0")


@pytest.mark.slow
def test_a_grey_test_split_is_judged_in_the_colours_of_training(run, folder_of_images, tmp_path):
    splits, out = tmp_path / "splits", tmp_path / "out"
    for split in ("train", "test"):
        shutil.copytree(folder_of_images, splits / split)
    Image.new("RGB", (12, 12), (200, 100, 50)).save(splits / "train" / "bright" / "00.png")
    options = ["--set", "epochs=1", "--attacked", "0", "--arms", "plain", "--corruptions", "fog"]
    run("compare", "digits-resnet8", out, "--data", splits, *options)
    trained = out / "runs" / "plain-0"
    run("evaluate", trained, tmp_path / "again", "--attacked", 0)
    run("select", trained, "--limit", 2, "--smooth", ".9")
    plan = run("train", "digits-resnet8-plain", tmp_path / "new", "--dry-run", "--data", splits)
    assert "training images of 1x12x12 (three channels if any is in colour)" in plan


@pytest.mark.slow
def test_another_comparison_is_not_mixed_into_a_folder(run, folder_of_images, tmp_path):
    out = tmp_path / "out"
    arguments = ["compare", "digits-resnet8", out, "--data", folder_of_images]
    arguments += ["--attacked", "0", "--set", "epochs=1", "--corruptions", "fog"]
    run(*arguments, "--arms", "plain")
    before = contents(out)
    for options, difference in (
        ("--arms plain --set epochs=2", "differs in epochs of plain"),
        ("--arms plain --test-limit 5", "differs in test images"),
    ):
        assert difference in run(*arguments, *options.split(), code=1)
    assert contents(out) == before
    run(*arguments, "--arms", "rival-median")
    arms = {row["arm"] for row in read_rows(out / "rows.jsonl")}
    assert arms == {"plain", "rival-median"}


@pytest.mark.slow
def test_a_study_runs_its_comparison_and_ends_with_the_table_that_answers_it(
    run, folder_of_images, tmp_path
):
    out = tmp_path / "out"
    arguments = ["study", "sparsities", out, "--data", folder_of_images, "--set", "epochs=1"]
    arguments += ["--set", "limit=20", "--test-limit", 8]
    printed = run(*arguments, "--arms", "plain,fixed 0.8")
    assert printed.startswith("Which sparsity should")
    rows = read_rows(out / "cifar10-resnet8" / "rows.jsonl")
    assert {row["arm"] for row in rows} == {"plain", "fixed 0.8"}
    assert {row["condition"] for row in rows} == {"clean", "gaussian_noise", "low_resolution"}
    assert {row["count"] for row in rows} == {8}
    table = printed[printed.rindex("gaussian noise") :].split()
    assert table[2:9] == ["clean", "1", "2", "3", "4", "5", "mean"]
    assert "plain" in table

    before = stamps(out / "cifar10-resnet8" / "runs")
    run(*arguments, "--arms", "plain,fixed 0.8,fixed 0.9")
    after = stamps(out / "cifar10-resnet8" / "runs")
    assert {path: after[path] for path in before} == before
    more = read_rows(out / "cifar10-resnet8" / "rows.jsonl")
    assert more[: len(rows)] == rows
    assert {row["arm"] for row in more} == {"plain", "fixed 0.8", "fixed 0.9"}


def test_a_study_that_does_not_exist_and_data_of_several_are_refused(run, tmp_path):
    out = tmp_path / "out"
    printed = run("study", "best", out, code=1)
    assert "name must be one of sparsities (Which sparsity" in printed
    printed = run("study", "domains", out, "--data", "eurosat", code=1)
    assert "--data needs --family, because the study has several data sets, eurosat, pn" in printed
    printed = run("study", "domains", out, "--family", "digits-resnet8", code=1)
    assert "--family must be one of eurosat-resnet8, pneumonia-resnet8" in printed
    printed = run("study", "domains", out, "--family", "pneumonia-resnet8", code=1)
    assert "--data must name the images of --family pneumonia-resnet8" in printed
    printed = run("study", "sparsities", out, "--set", "sparsity=.5", code=1)
    assert "must not change what makes an arm" in printed
    assert not out.exists()
