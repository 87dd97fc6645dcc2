import json
import shutil

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from virolbi import PAPER, smooth
from virolbi.cli import app
from virolbi.recipes import load_recipe
from virolbi.results import read_rows
from virolbi.scale_space import noise_strength

COMMANDS = (
    "smooth",
    "path",
    "recipes",
    "train",
    "evaluate",
    "certify",
    "versus",
    "select",
    "corrupt",
    "export",
    "smooth-dataset",
    "report",
    "compare",
    "demo",
)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def picture(tmp_path, photographs):
    Image.fromarray(photographs[3]).save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_every_option_with_a_sentence(name):
    text = run(name, "--help")
    parameters = typer.main.get_command(app).commands[name].params
    assert parameters
    for parameter in parameters:
        assert parameter.name == "help" or (
            parameter.help and any(option in text for option in [*parameter.opts, parameter.name])
        )
    assert name in run("--help")


def test_smooth_says_what_noise_it_went_by(tmp_path, photographs):
    noisy = np.clip(
        photographs[3] + np.random.default_rng(0).normal(0, 25, (32, 32, 3)), 0, 255
    ).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    text = run("smooth", tmp_path / "noisy.png", tmp_path / "out.png", "--sparsity", "auto")
    assert (
        text
        == f"{tmp_path}/noisy.png: smoothed for noise of {noise_strength(noisy, channel_axis=-1):.3f} (of 1)\n"
    )
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "out.png")), smooth(noisy, "auto", channel_axis=-1)
    )


def test_noise_in_one_channel_is_seen_where_each_has_its_own_support(tmp_path):
    noisy = np.full((32, 32, 3), 128, np.uint8)
    noisy[..., 2] += np.random.default_rng(0).integers(-30, 30, (32, 32)).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    text = run(
        "smooth",
        tmp_path / "noisy.png",
        tmp_path / "out.png",
        "--sparsity",
        "auto",
        "--per-channel",
    )
    blue = noise_strength(noisy, channel_axis=-1, joint=False)[2]
    assert text == f"{tmp_path}/noisy.png: smoothed for noise of 0.000, 0.000, {blue:.3f} (of 1)\n"


def test_several_pictures_are_smoothed_into_a_folder(photographs, tmp_path):
    places = [tmp_path / f"{n}.png" for n in range(3)]
    for place, photograph in zip(places, photographs, strict=False):
        Image.fromarray(photograph).save(place)
    run("smooth", *places, tmp_path / "new" / "folder", "--sparsity", 0.9)
    run(
        "smooth", places[0], tmp_path / "new", "--sparsity", 0.9
    )  # one, into a folder that is there
    for place, photograph in zip(places, photographs, strict=False):
        found = np.asarray(Image.open(tmp_path / "new" / "folder" / place.name))
        np.testing.assert_array_equal(found, smooth(photograph, 0.9, channel_axis=-1))
        np.testing.assert_array_equal(np.asarray(Image.open(place)), photograph)
    assert (tmp_path / "new" / "0.png").exists()
    before = sorted(tmp_path.rglob("*"))
    for wrong, message in (
        (
            [*places, tmp_path],
            f"out must be another folder than that of the images, {places[0]} is one of them",
        ),
        (
            [places[0], tmp_path / "new" / "0.png", tmp_path / "other"],
            "images must have a name each, to go into one folder; several are called 0.png",
        ),
        (places, f"out must be a folder for 2 images, {places[2]} is a file"),
        (
            [*places[:2], tmp_path / "no.png"],
            f"out must be a folder for 2 images, {tmp_path}/no.png is named like an image",
        ),
        (
            [tmp_path, tmp_path / "x.png"],
            f"images must be files, got the folder {tmp_path}; name those in it",
        ),
        (
            [places[0], tmp_path / "none.png", tmp_path / "other"],
            f"there is no file {tmp_path}/none.png",
        ),
    ):
        assert message in run("smooth", *wrong, code=1)
    assert sorted(tmp_path.rglob("*")) == before
    run(
        "smooth", places[0], f"{tmp_path}/other/", "--sparsity", 0.9
    )  # one, into a folder that is not
    (tmp_path / "broken.png").write_bytes(places[0].read_bytes()[:500])
    said = run("smooth", tmp_path / "broken.png", *places, tmp_path / "rest", code=1)
    assert f"virolbi: {tmp_path}/broken.png must be an image file" in said
    assert "virolbi: 1 of 4 images were left out\n" in said
    assert sorted(path.name for path in (tmp_path / "rest").iterdir()) == [
        "0.png",
        "1.png",
        "2.png",
    ]


def test_a_picture_without_noise_is_copied(photographs, tmp_path):
    smooth_one = Image.fromarray(photographs[0]).resize((96, 96), Image.Resampling.BICUBIC)
    smooth_one.save(tmp_path / "in.jpg", quality=60)
    assert "no noise seen, left as it is" in run(
        "smooth", tmp_path / "in.jpg", tmp_path / "out.JPG", "--sparsity", "auto"
    )
    assert (tmp_path / "out.JPG").read_bytes() == (tmp_path / "in.jpg").read_bytes()
    run("smooth", tmp_path / "in.jpg", tmp_path / "out.png", "--sparsity", "auto")
    with Image.open(tmp_path / "out.png") as converted, Image.open(tmp_path / "in.jpg") as original:
        assert converted.format == "PNG"
        np.testing.assert_array_equal(np.asarray(converted), np.asarray(original))


def test_smooth_writes_what_the_function_returns(picture, photographs, tmp_path):
    run("smooth", picture, tmp_path / "out.png", "--sparsity", 0.9)
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "out.png")), smooth(photographs[3], 0.9, channel_axis=-1)
    )
    run(
        "smooth",
        picture,
        tmp_path / "paper.png",
        "--sparsity",
        0.6,
        "--preset",
        "paper",
        "--nu",
        0.5,
    )
    run("smooth", picture, tmp_path / "out.jpg", "--sparsity", 0.9)
    lossy = np.asarray(Image.open(tmp_path / "out.jpg")).astype(float)
    assert (
        np.abs(lossy - smooth(photographs[3], 0.9, channel_axis=-1)).mean() < 0.6
    )  # .84 at the default of Pillow
    expected = smooth(photographs[3], 0.6, nu=0.5, channel_axis=-1, **PAPER)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "paper.png")), expected)
    run(
        "smooth",
        picture,
        tmp_path / "own.png",
        "--preset",
        "paper",
        "--output",
        "beta",
        "--joint",
        "--delta",
        0.05,
    )
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "own.png")),
        smooth(photographs[3], 0.8, channel_axis=-1, delta=0.05),
    )


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [("L", np.uint8), ("I;16", np.uint16), ("LA", np.uint8), ("RGBA", np.uint8), ("P", np.uint8)],
)
def test_every_kind_of_picture_keeps_its_kind(photographs, tmp_path, mode, dtype):
    grey = Image.fromarray(photographs[0]).convert("L")
    image = (
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(photographs[0]).convert(mode)
    )
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32)))
    image.save(tmp_path / "in.png")
    run("smooth", tmp_path / "in.png", tmp_path / "out.png")
    result = Image.open(tmp_path / "out.png")
    assert result.mode == ("RGB" if mode == "P" else mode)
    if mode.endswith("A"):
        np.testing.assert_array_equal(np.asarray(result)[..., -1], np.asarray(image)[..., -1])
    assert np.asarray(result).dtype == dtype


def test_path_draws_one_labelled_picture_for_each_sparsity(picture, photographs, tmp_path):
    for options, form in (([], {}), (["--output", "regions"], {"output": "regions"})):
        run("path", picture, tmp_path / "strip.png", "--at", "1,0.8,0", "--columns", 2, *options)
        sheet = np.asarray(Image.open(tmp_path / "strip.png"))
        band, cell = sheet.shape[0] // 2 - 32, sheet.shape[1] // 2
        assert sheet.shape == (2 * (32 + band), 2 * cell, 3)
        for top, left, sparsity in ((band, 0, 1), (band, cell, 0.8), (2 * band + 32, 0, 0)):
            shown = sheet[top : top + 32, left : left + 32]
            np.testing.assert_array_equal(
                shown, smooth(photographs[3], sparsity, channel_axis=-1, **form)
            )
    run("path", picture, tmp_path / "strip.png", "--at", "auto,0")
    shown = np.asarray(Image.open(tmp_path / "strip.png"))[band:, :32]
    np.testing.assert_array_equal(shown, smooth(photographs[3], "auto", channel_axis=-1))
    assert "sparsity must be a number for output='regions'" in run(
        "path", picture, tmp_path / "strip.png", "--at", "auto", "--preset", "paper", code=1
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smooth", "{}/none.png", "{}/out.png"], "there is no file {}/none.png"),
        (["smooth", "{}/text.png", "{}/out.png"], "{}/text.png must be an image file"),
        (["smooth", "{}/cut.png", "{}/out.png"], "{}/cut.png must be an image file"),
        (["smooth", "{}/in.png", "{}/out"], "{}/out must end in the suffix of an image format"),
        (
            ["smooth", "{}/in.png", "{}/out.png", "--sparsity", "1.5"],
            "--sparsity must be a sparsity in [0, 1] or 'auto', got '1.5'",
        ),
        (
            ["smooth", "{}/in.png", "{}/out.png", "--nu", "0"],
            "nu must be in [0.001, 1000], got 0.0",
        ),
        (
            ["smooth", "{}/in.png", "{}/out.png", "--preset", "best"],
            "preset must be one of ('robust', 'paper'), got 'best'",
        ),
        (["smooth", "{}/alpha.png", "{}/out.jpg"], "{}/out.jpg cannot hold this picture as JPEG"),
        (
            ["path", "{}/in.png", "{}/out.png", "--at", "1,x"],
            "--at must be a sparsity in [0, 1] or 'auto', or several with commas between them, got '1,x'",
        ),
        (["path", "{}/in.png", "{}/out.png", "--columns", "0"], "--columns must be >= 1, got 0"),
        (
            ["train", "best", "{}/out"],
            "recipe must be one that `virolbi recipes` lists, or a .toml file, got 'best'",
        ),
        (
            ["train", "digits-resnet8-plain", "{}/out", "--data", "{}/nowhere"],
            "data must be 'digits', a folder or a name on the Hugging Face hub; there is no folder '{}/nowhere'",
        ),
        (
            ["train", "digits-resnet8-plain", "{}/out", "--set", "epochs"],
            "--set must be name=value, got 'epochs'",
        ),
        (
            ["train", "digits-resnet8-plain", "{}/out", "--set", "epochs=many"],
            "epochs must be an integer, got 'many'",
        ),
        (["train", "digits-resnet8-plain", "{}/out", "--set", "speed=9"], "speed is not a setting"),
        (
            ["train", "digits-resnet8-plain", "{}"],
            "{} must be a new or an empty folder; it holds something already",
        ),
        (
            ["train", "digits-resnet8-plain", "{}/out", "--set", "model=vgg99"],
            "model must be one of resnet8",
        ),
        (["compare", "digits-vgg", "{}/out"], "recipe must be one that"),
        (
            ["train", "images-resnet8-plain", "{}/out"],
            "data must name images to read, and this recipe leaves that open",
        ),
        (
            ["compare", "digits-resnet8", "{}/out", "--resolution", "100"],
            "resolution must be one of (32, 64, 224), got 100",
        ),
        (
            ["compare", "digits-resnet8", "{}"],
            "{} must be a new or an empty folder; it holds something already",
        ),
        (
            ["compare", "digits-resnet8", "{}/out", "--epsilon", "16/2"],
            "epsilon must be in [0, 1], got 8.0",
        ),
        (["evaluate", "{}", "{}/out"], "{} must be the folder of a finished training run"),
        (["report", "{}"], "{} must hold a rows.jsonl with at least one row"),
        (["compare", "digits-resnet8", "{}/out", "--arms", "best"], "arms must be some of"),
        (
            ["compare", "digits-resnet8", "{}/out", "--set", "procedure=fixed"],
            "settings must not change what makes an arm, got procedure for plain",
        ),
        (
            [
                "compare",
                "digits-resnet8",
                "{}/out",
                "--set",
                "mix=[0.5]",
                "--arms",
                "plain,recommended",
            ],
            "settings must not change",
        ),
        (["recipes", "vgg"], "match must be a part of the name of a recipe, got 'vgg'"),
    ],
)
def test_errors_are_one_line_and_leave_nothing_behind(picture, tmp_path, arguments, message):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:500])
    Image.new("RGBA", (8, 8), (1, 2, 3, 128)).save(tmp_path / "alpha.png")
    before = sorted(tmp_path.rglob("*"))
    output = run(*(argument.replace("{}", str(tmp_path)) for argument in arguments), code=1)
    (line,) = output.strip().splitlines()
    assert line.startswith(f"virolbi: {message.replace('{}', str(tmp_path))}")
    assert sorted(tmp_path.rglob("*")) == before


def test_train_evaluate_and_report_work_in_turn(folder_of_images, tmp_path):
    small = [
        "--set",
        "epochs=1",
        "--set",
        "batch_size=16",
        "--set",
        "size=12",
        "--set",
        "validation=0.2",
    ]
    logs = tmp_path / "logs"
    run(
        "train",
        "images-resnet8-fixed",
        tmp_path / "run",
        "--data",
        folder_of_images,
        *small,
        "--tensorboard",
        logs,
    )
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert (about["recipe"]["procedure"], about["recipe"]["data"]) == (
        "fixed",
        str(folder_of_images),
    )
    assert any("tfevents" in path.name for path in logs.iterdir())
    run("evaluate", tmp_path / "run", tmp_path / "results", "--attacked", 4)
    assert {row["arm"] for row in read_rows(tmp_path / "results" / "rows.jsonl")} == {"run"}
    assert "smoothed" in run("report", tmp_path / "results")
    assert (tmp_path / "results" / "report.html").stat().st_size > 10_000
    assert run("report", tmp_path / "results", "--markdown").startswith(
        "| trained on | tested | clean |"
    )
    few = ["--limit", 3, "--samples", 20, "--sigma", 0.1, "--radii", "0,0.05"]
    lines = run("certify", tmp_path / "run", tmp_path / "results", *few).splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "raw",
        "smoothed",
        *["raw"] * 2,
        *["smoothed"] * 2,
    ]
    assert all("sigma 0.1" in line for line in lines)
    certified = (tmp_path / "results" / "certified.jsonl").read_bytes()
    assert run("certify", tmp_path / "run", tmp_path / "results", *few).splitlines() == lines[2:]
    assert (tmp_path / "results" / "certified.jsonl").read_bytes() == certified
    text = run("versus", tmp_path / "results", "run/smoothed", "run/raw")
    assert "gaussian noise 5" in text
    assert "sign test" in text
    assert "a model must be named as one of ['run/raw', 'run/smoothed'], got 'run'" in run(
        "versus", tmp_path / "results", "run", "run/raw", code=1
    )


def test_a_run_that_skips_broken_images_is_judged_on_the_others(folder_of_images, tmp_path):
    for index in range(10):
        (folder_of_images / "dark" / f"broken{index}.png").write_bytes(b"no picture")
    small = [
        "--set",
        "corrupt=skip",
        "--set",
        "epochs=1",
        "--set",
        "batch_size=16",
        "--set",
        "size=12",
    ]
    run(
        "train",
        "images-resnet8-plain",
        tmp_path / "run",
        "--data",
        folder_of_images,
        "--cpu",
        *small,
    )
    text = run(
        "evaluate",
        tmp_path / "run",
        tmp_path / "results",
        "--attacked",
        0,
        "--corruptions",
        "brightness",
    )
    assert "Mean over the five severities" in text
    assert "brightness" in text


def test_recipes_are_listed_and_what_one_would_do_is_said(tmp_path):
    listed = run("recipes", "cifar10-vit").split()
    assert "cifar10-vit-tiny-mixed" in listed
    assert all("cifar10-vit" in name for name in listed)
    text = run(
        "train",
        "digits-resnet8-mixed",
        tmp_path / "run",
        "--dry-run",
        "--set",
        "mix=[0, 0.5]",
        "--set",
        "limit=640",
    )
    (tmp_path / "own.toml").write_text(text)
    recipe = load_recipe(str(tmp_path / "own.toml"))
    assert recipe == load_recipe("digits-resnet8-mixed").replace(mix=(0, 0.5), limit=640)
    assert "# 640 training images of 1x28x28, 10 classes\n" in text
    assert "80 steps of 64 images" in text
    held = run(
        "train",
        "digits-resnet8-mixed",
        tmp_path / "run",
        "--dry-run",
        "--set",
        "validation=0.2",
        "--set",
        "limit=640",
    )
    assert "# 640 training images of 1x28x28, 10 classes, 128 held out\n" in held
    assert "64 steps of 64 images" in held  # 512 images, eight epochs
    assert [path.name for path in tmp_path.iterdir()] == ["own.toml"]


def test_compare_fills_a_folder_that_a_second_call_leaves_alone(folder_of_images, tmp_path):
    settings = ["--data", folder_of_images, "--set", "epochs=1", "--attacked", 3]
    arguments = [
        "compare",
        "digits-resnet8",
        tmp_path / "out",
        "--arms",
        "plain,mixed",
        "--seeds",
        2,
        *settings,
    ]
    run(*arguments)
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert {(row["arm"], row["seed"]) for row in rows} == {
        ("plain", 0),
        ("plain", 1),
        ("mixed", 0),
        ("mixed", 1),
    }
    files = [
        "checks.jsonl",
        "comparison.json",
        "details.jsonl",
        "examples.png",
        "report.html",
        "rows.jsonl",
        "runs",
        "tiles.png",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == files
    stamps = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "out" / "runs").rglob("*")
        if path.is_file()
    }
    run(*arguments)
    assert read_rows(tmp_path / "out" / "rows.jsonl") == rows
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    run(*arguments, "--smooth", "auto,0.8")
    views = {(row["arm"], row["view"]) for row in read_rows(tmp_path / "out" / "rows.jsonl")}
    ours = {("mixed", view) for view in ("raw", "smoothed", "smoothed 0.8", "auto")}
    assert views == {("plain", "raw"), *ours}


def test_regions_are_compared_without_auto(folder_of_images, tmp_path):
    arguments = [
        "compare",
        "digits-resnet8",
        tmp_path / "out",
        "--arms",
        "fixed,paper-fixed",
        "--smooth",
        "auto",
    ]
    run(*arguments, "--data", folder_of_images, "--set", "epochs=1", "--attacked", 0)
    views = {(row["arm"], row["view"]) for row in read_rows(tmp_path / "out" / "rows.jsonl")}
    assert views == {
        (arm, view) for arm in ("fixed", "paper-fixed") for view in ("raw", "smoothed")
    } | {("fixed", "auto")}
    assert "best one sparsity" in run(
        "select", tmp_path / "out" / "runs" / "paper-fixed-0", "--limit", 4, "--smooth", ".9,0"
    )


def test_a_grey_test_split_is_judged_in_the_colours_of_training(folder_of_images, tmp_path):
    (tmp_path / "splits").mkdir()
    shutil.copytree(folder_of_images, tmp_path / "splits" / "train")
    shutil.copytree(folder_of_images, tmp_path / "splits" / "test")
    Image.new("RGB", (12, 12), (200, 100, 50)).save(
        tmp_path / "splits" / "train" / "bright" / "00.png"
    )
    settings = [
        "--data",
        tmp_path / "splits",
        "--set",
        "epochs=1",
        "--attacked",
        0,
        "--arms",
        "plain",
    ]
    run("compare", "digits-resnet8", tmp_path / "out", *settings)
    trained = tmp_path / "out" / "runs" / "plain-0"
    run("evaluate", trained, tmp_path / "again", "--attacked", 0)
    run("select", trained, "--limit", 2, "--smooth", ".9")
    plan = run(
        "train",
        "digits-resnet8-plain",
        tmp_path / "new",
        "--dry-run",
        "--data",
        tmp_path / "splits",
    )
    assert "training images of 1x12x12 (three channels if any is in colour)" in plan


def test_another_comparison_is_not_mixed_into_a_folder(folder_of_images, tmp_path):
    settings = ["--data", folder_of_images, "--attacked", 0, "--set", "epochs=1"]
    arguments = ["compare", "digits-resnet8", tmp_path / "out", *settings]
    run(*arguments, "--arms", "plain")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert "it holds one that differs in epochs of plain" in run(
        *arguments, "--arms", "plain", "--set", "epochs=2", code=1
    )
    assert "it holds one that differs in test images" in run(
        *arguments, "--arms", "plain", "--test-limit", 5, code=1
    )
    assert {
        path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    } == before
    run(*arguments, "--arms", "rival-median")
    assert {row["arm"] for row in read_rows(tmp_path / "out" / "rows.jsonl")} == {
        "plain",
        "rival-median",
    }
