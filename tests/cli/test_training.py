import json

import pytest

from virolbi.data import load
from virolbi.recipes import load_recipe
from virolbi.results import read_rows

SMALL = ["--set", "epochs=1", "--set", "batch_size=16", "--set", "size=12"]


@pytest.mark.slow
def test_train_evaluate_and_report_work_in_turn(run, folder_of_images, tmp_path):
    trained, results, logs = (tmp_path / name for name in ("run", "results", "logs"))
    options = ["--data", folder_of_images, *SMALL, "--set", "validation=0.2"]
    run("train", "images-resnet8-fixed", trained, *options, "--tensorboard", logs)
    recipe = json.loads((trained / "recipe.json").read_text())["recipe"]
    assert (recipe["procedure"], recipe["data"]) == ("fixed", str(folder_of_images))
    assert any("tfevents" in path.name for path in logs.iterdir())

    run("evaluate", trained, results, "--attacked", 4)
    assert {row["arm"] for row in read_rows(results / "rows.jsonl")} == {"run"}
    assert "smoothed" in run("report", results)
    assert (results / "report.html").stat().st_size > 10_000
    table = run("report", results, "--markdown")
    assert table.startswith("| trained on | tested | clean |")

    few = ["--limit", "3", "--samples", "20", "--sigma", "0.1", "--radii", "0,0.05"]
    text = run("certify", trained, results, *few)
    assert "(test): took 3 images of 2 classes" in " ".join(text.split())
    lines = text[text.index("raw") :].splitlines()
    views = [line.split(",")[0] for line in lines]
    assert views == ["raw", "smoothed", "raw", "raw", "smoothed", "smoothed"]
    assert all("sigma 0.1" in line for line in lines)
    certified = (results / "certified.jsonl").read_bytes()
    text = run("certify", trained, results, *few)
    assert text[text.index("raw") :].splitlines() == lines[2:]
    assert (results / "certified.jsonl").read_bytes() == certified

    text = run("versus", results, "run/smoothed", "run/raw")
    assert "gaussian noise 5" in text
    assert "McNemar's exact test" in " ".join(text.split())
    message = run("versus", results, "run", "run/raw", code=1)
    assert "['run/raw', 'run/smoothed'], got 'run'" in message


@pytest.mark.slow
def test_a_run_that_skips_broken_images_is_judged_on_the_others(run, folder_of_images, tmp_path):
    for index in range(10):
        (folder_of_images / "dark" / f"broken{index}.png").write_bytes(b"no picture")
    for index in range(60):
        (folder_of_images / "dark" / f"note.kind{index}").write_bytes(b"no picture")
    options = ["--data", folder_of_images, "--cpu", *SMALL, "--set", "corrupt=skip"]
    text = run("train", "images-resnet8-plain", tmp_path / "run", *options)
    loaded = text[: text.index("1 epoch")].splitlines()
    assert "left out 1 .kind0 files" in " ".join(loaded)
    assert "left out: image" in " ".join(loaded)
    assert len(loaded) <= 3 * 5  # the summary, three images, and how many more there are
    options = ["--attacked", "0", "--corruptions", "brightness"]
    text = run("evaluate", tmp_path / "run", tmp_path / "results", *options)
    line = f"data '{folder_of_images}' (test): took "
    assert "".join(line.split()) in "".join(text.split())  # however it is wrapped
    assert "left out" in text
    text = run("select", tmp_path / "run", "--smooth", "0.8", "--limit", 8)
    assert "(train): took " in text
    run("evaluate", tmp_path / "run", tmp_path / "other", *options, "--split", "dev", code=1)
    text = run("evaluate", tmp_path / "run", tmp_path / "other", *options, "--split", "train")
    assert "(train): took " in text
    assert "Mean over the five severities" in text
    assert "brightness" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("error:.*of their range:UserWarning")
def test_a_data_range_counts_in_training_and_in_what_judges_the_run(
    run, folder_with_12_bits, tmp_path
):
    def digest(split, **options):
        return load(str(folder_with_12_bits), split, channels=1, **options).metadata["digest"]

    trained, options = tmp_path / "run", ["--data", folder_with_12_bits, "--data-range", 4095]
    text = run("train", "images-resnet8-plain", trained, *options, *SMALL, "--dry-run")
    assert "data_range = 4095.0" in text
    run("train", "images-resnet8-plain", trained, *options, *SMALL)
    written = json.loads((trained / "recipe.json").read_text())
    assert written["recipe"]["data_range"] == 4095
    assert written["data"]["digest"] == digest("train", data_range=4095)
    few = ["--attacked", 0, "--corruptions", "brightness"]
    run("evaluate", trained, tmp_path / "inherited", *few)
    run("evaluate", trained, tmp_path / "stated", *few, "--data-range", 65535)
    for name, data_range in (("inherited", 4095), ("stated", 65535)):
        (row, *_) = read_rows(tmp_path / name / "rows.jsonl")
        assert row["images"] == digest("test", data_range=data_range)
    assert "the network was trained on these images" in run("select", trained, "--smooth", 0.8)
    sizes = ["--arms", "plain", "--corruptions", "brightness", "--attacked", 0]
    run("compare", "images-resnet8", tmp_path / "compared", *options, *SMALL, *sizes)


@pytest.mark.slow
def test_recipes_are_listed_and_a_dry_run_prints_one_with_its_plan(run, tmp_path):
    listed = run("recipes", "cifar10-vit").split()
    assert "cifar10-vit-tiny-mixed" in listed
    assert all("cifar10-vit" in name for name in listed)
    dry_run = ["train", "digits-resnet8-mixed", tmp_path / "run", "--dry-run", "--set", "limit=640"]
    text = run(*dry_run, "--set", "mix=[0, 0.5]")
    (tmp_path / "own.toml").write_text(text)
    recipe = load_recipe(str(tmp_path / "own.toml"))
    assert recipe == load_recipe("digits-resnet8-mixed").replace(mix=(0, 0.5), limit=640)
    assert "# 640 training images of 1x28x28, 10 classes\n" in text
    assert "80 steps of 64 images" in text
    text = run(*dry_run, "--set", "validation=0.2")
    assert "# 640 training images of 1x28x28, 10 classes, 128 held out\n" in text
    assert "64 steps of 64 images" in text  # 512 images, eight epochs
    assert "validation must leave" in run(*dry_run, "--set", "validation=0.999", code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["own.toml"]
