import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from helpers import Rough
from virolbi.cli import app
from virolbi.data import Images, held_out_mask, load
from virolbi.evaluation import (
    Selection,
    View,
    judge,
    load_subject,
    select_sparsity,
    selection_images,
)
from virolbi.nn import Smooth
from virolbi.recipes import Recipe
from virolbi.scale_space import PRESETS, Form
from virolbi.training import train

FLAT_OR_ROUGH = Rough(0.05, gain=-1.0)  # class 1 if pixels differ much from their neighbours


@pytest.fixture
def images():
    levels = np.arange(20, dtype=np.uint8)[:, None] * 12
    pixels = np.repeat(levels, 32 * 32 * 3, axis=1).reshape(20, 3, 32, 32)
    return Images("flat", pixels, np.zeros(20, np.int64), ("flat", "rough"))


@pytest.mark.slow
def test_what_keeps_the_labels_is_found(images):
    selection = select_sparsity(FLAT_OR_ROUGH, images, sparsities=(0.9, 0.2, 0.0))
    assert selection.conditions[0] == "clean"
    assert len(selection.conditions) == 17
    noisy = selection.conditions.index("gaussian_noise 5")
    np.testing.assert_array_equal(selection.accuracy[noisy], [1, 0, 0, 1])  # 0.9, 0.2, 0 and auto
    assert selection.best == 0.9
    rows = {row["condition"]: row for row in selection.rows()}
    assert (rows["gaussian_noise 5"]["best sparsity"], rows["gaussian_noise 5"]["regret"]) == (
        0.9,
        0,
    )
    assert rows["gaussian_noise 5"]["nearest"] > 0.9
    for key in ("auto", "0.2", "regret"):
        assert rows["mean"][key] == pytest.approx(
            np.mean([rows[name][key] for name in selection.conditions]), abs=1e-4
        )
    with pytest.raises(ValueError, match="sparsities must"):
        select_sparsity(FLAT_OR_ROUGH, images, sparsities=())
    with pytest.raises(ValueError, match="the number of images must be >= 1, got 0"):
        select_sparsity(FLAT_OR_ROUGH, images.subset(np.s_[:0]))
    with pytest.raises(ValueError, match=r"network must return .* \(2, 3\), got \(2, 2\)"):
        select_sparsity(FLAT_OR_ROUGH, replace(images, classes=("flat", "rough", "other")))


def test_the_least_area_of_the_form_is_kept(images, monkeypatch):
    areas = []

    def judge_and_record(views, *arguments):
        areas.extend(view.smoother.form.min_area for view in views)
        return judge(views, *arguments)

    monkeypatch.setattr("virolbi.evaluation.selection.judge", judge_and_record)
    form = Form(output="regions", min_area=9)
    select_sparsity(FLAT_OR_ROUGH, images, form=form, sparsities=(0.9,))
    assert set(areas) == {9}


def test_regret_is_what_auto_loses_to_the_best_of_a_condition():
    right = np.array(
        [[[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]], [[0, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 1]]],
        bool,
    )
    rows = Selection(("clean", "noisy"), (0.9, 0.5, "auto"), right, (0.0, 0.8)).rows()
    assert [row["regret"] for row in rows] == [0.25, -0.25, 0.0]
    assert [row["oracle"] for row in rows] == [0.75, 0.5, 0.625]
    assert [row["best"] for row in rows] == [0.75, 0.5, 0.625]
    assert [row.get("best sparsity") for row in rows] == [0.9, 0.5, None]


def test_images_are_judged_smoothed_as_the_choice_says(images):
    noise = np.random.default_rng(0).normal(0, 0.1, images.pixels.shape).astype(np.float32)
    views = [View(str(choice), FLAT_OR_ROUGH, Smooth(choice)) for choice in (0.0, "auto")]
    raw, auto = (
        result.correct
        for result in judge(
            views, images.pixels, images.labels, lambda clean: (clean + noise).clip(0, 1)
        )
    )
    np.testing.assert_array_equal(raw, False)
    np.testing.assert_array_equal(auto, True)


def test_a_run_is_chosen_for_on_what_it_held_out(folder_of_images, tmp_path):
    recipe = Recipe(
        data=str(folder_of_images), epochs=1, batch_size=8, validation=0.25, procedure="fixed"
    )
    train(recipe, None, tmp_path / "run")
    images = load(str(folder_of_images), "train")
    subject = load_subject(str(tmp_path / "run"))
    held_out, trained_on = selection_images(subject, None, size=None, limit=1000)
    np.testing.assert_array_equal(
        held_out.pixels, images.pixels[held_out_mask(images.labels, 0.25)]
    )
    assert not trained_on
    assert len(selection_images(subject, None, size=None, limit=3)[0]) == 3
    for limit in (0, -3):
        with pytest.raises(ValueError, match=f"limit must be >= 1, got {limit}"):
            selection_images(subject, None, size=None, limit=limit)


@pytest.mark.slow
@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_the_training_images_are_known_however_their_folder_is_spelled(
    folder_of_images, tmp_path, monkeypatch, validation
):
    recipe = Recipe(data=str(folder_of_images), epochs=1, batch_size=8, validation=validation)
    train(recipe, None, tmp_path / "run")
    subject = load_subject(str(tmp_path / "run"))
    expected, trained_on = selection_images(subject, None, size=None, limit=1000)
    assert trained_on == (validation == 0)
    (tmp_path / "link").symlink_to(folder_of_images)
    shutil.copytree(folder_of_images, tmp_path / "copy")
    monkeypatch.chdir(folder_of_images.parent)
    for source in (f"{folder_of_images}/", "pictures", "./pictures", "link", "copy"):
        found, trained_on = selection_images(subject, source, size=None, limit=1000)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        assert trained_on == (validation == 0)


def test_other_images_are_not_taken_for_those_of_the_training(folder_of_images, tmp_path):
    recipe = Recipe(data=str(folder_of_images), epochs=1, batch_size=8, validation=0.25)
    train(recipe, None, tmp_path / "run")
    subject = load_subject(str(tmp_path / "run"))
    for path in (folder_of_images / "dark").glob("*.png"):
        path.write_bytes((folder_of_images / "bright" / path.name).read_bytes())
    found, trained_on = selection_images(subject, str(folder_of_images), size=None, limit=1000)
    assert (len(found), trained_on) == (48, False)
    with pytest.raises(ValueError, match="source .* does not hold the images"):
        selection_images(subject, None, size=None, limit=1000)


@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_a_run_that_skipped_broken_images_is_chosen_for_without_them(
    folder_of_images, tmp_path, validation
):
    for path in (folder_of_images / "dark").glob("0*.png"):
        path.write_bytes(b"")
    recipe = Recipe(
        data=str(folder_of_images), epochs=1, batch_size=8, validation=validation, corrupt="skip"
    )
    train(recipe, None, tmp_path / "run")
    images = load(str(folder_of_images), "train", corrupt="skip")
    mask = held_out_mask(images.labels, validation) | (validation == 0)
    loaded, _ = selection_images(load_subject(str(tmp_path / "run")), None, size=None, limit=1000)
    np.testing.assert_array_equal(loaded.pixels, images.pixels[mask])


def test_other_images_are_read_as_the_run_read_its_own(folder_of_images, tmp_path):
    recipe = Recipe(data=str(folder_of_images), epochs=1, batch_size=8, size=12, corrupt="skip")
    train(recipe, None, tmp_path / "run")
    other = tmp_path / "other"
    shutil.copytree(folder_of_images, other)
    broken = sorted(other.glob("*/*.png"))[3]
    broken.write_bytes(b"")
    subject = load_subject(str(tmp_path / "run"))
    loaded, trained_on = selection_images(subject, str(other), size=None, limit=1000)
    assert not trained_on
    assert len(loaded.skipped) == 1
    assert loaded.pixels.shape[-2:] == (12, 12)
    assert subject.load_options(8, 4095.0) == {
        "size": 8,
        "channels": loaded.pixels.shape[1],
        "data_range": 4095.0,
        "corrupt": "skip",
    }


@pytest.mark.slow
def test_the_command_prints_and_writes_the_choice(folder_of_images, tmp_path, capsys):
    recipe = Recipe(data=str(folder_of_images), epochs=1, batch_size=8)
    train(recipe, None, tmp_path / "run")
    rows = tmp_path / "rows.jsonl"
    app(
        ["select", str(tmp_path / "run"), "--smooth", "0.8,0", "--limit", "20", "--out", str(rows)],
        standalone_mode=False,
    )
    text = capsys.readouterr().out
    assert "best one sparsity for all: " in text
    assert "20 images" in text
    assert "the network was trained on these images" in text
    other = str(folder_of_images / ".." / folder_of_images.name)
    command = ["select", str(tmp_path / "run"), "--smooth", "0", "--limit", "9", "--data", other]
    app(command, standalone_mode=False)
    assert "the network was trained on these images" in capsys.readouterr().out
    table = [line for line in text.splitlines() if not line.startswith("data ")][:19]
    assert max(map(len, table)) <= 80
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [lines[0]["condition"], lines[-1]["condition"]] == ["clean", "mean"]
    assert {"0.8", "0", "auto", "best", "regret", "oracle", "nearest"} <= lines[0].keys()
    with pytest.raises(SystemExit, match="--smooth must"):
        app(["select", str(tmp_path / "run"), "--smooth", "most"], standalone_mode=False)


@pytest.mark.slow
def test_regions_have_no_auto_to_choose(images):
    selection = select_sparsity(FLAT_OR_ROUGH, images, form=PRESETS["paper"], sparsities=(0.9, 0.0))
    assert selection.choices == selection.sparsities == (0.9, 0.0)
    assert selection.best == 0.9
    for row in selection.rows():
        assert "regret" not in row
        assert row["best"] == max(row["0.9"], row["0"]) or row["condition"] == "mean"
        assert row["oracle"] >= row["best"]


@pytest.mark.slow
def test_auto_is_a_choice_once_wherever_it_is_named(images):
    assert select_sparsity(FLAT_OR_ROUGH, images, sparsities=("auto", 0.9)).choices == (0.9, "auto")
    with pytest.raises(ValueError, match="sparsities must .*none"):
        select_sparsity(FLAT_OR_ROUGH, images, sparsities=("auto",))
