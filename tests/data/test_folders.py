import shutil

import numpy as np
import pytest
from PIL import Image

from virolbi.data import load
from virolbi.data.folders import SPLIT_NAME


def test_names_of_folders_mark_splits_and_classes_and_names_of_files_do_not(
    folder_of_images, tmp_path
):
    for split in ("Train", "TEST"):
        shutil.copytree(folder_of_images, tmp_path / "split" / split)
    assert [len(load(str(tmp_path / "split"), split)) for split in ("train", "test")] == [60, 60]
    for number, path in enumerate(sorted(folder_of_images.glob("*/*.png"))):
        path.rename(
            path.with_name(("train_{}.png", "test-{}.PNG", "val{}.png")[number % 3].format(number))
        )
    (folder_of_images / "dark").rename(folder_of_images / "train")
    (folder_of_images / "bright").rename(folder_of_images / "test pattern")
    for split, count in (("train", 48), ("test", 12)):
        images = load(str(folder_of_images), split)
        assert (images.classes, len(images)) == (("test pattern", "train"), count)
        assert ((images.pixels.mean(axis=(1, 2, 3)) > 125) == (images.labels == 0)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("wide.png", "data .* each image in the folder of its class, .*wide.png"),
        ("test/wide.png", "data .* each image in the folder of its class, .*wide.png"),
        ("more/wide.png", r"data .* all of its images in \['test', 'train'\], .*'more'"),
        ("test/eel/wide.png", "data .* a folder in 'train' for each class, .*'eel'"),
    ],
)
def test_images_that_are_in_no_class_or_split_are_named(folder_of_images, tmp_path, file, message):
    for split in ("train", "test"):
        shutil.copytree(folder_of_images, tmp_path / "split" / split)
    (tmp_path / "split" / file).parent.mkdir(exist_ok=True)
    Image.new("L", (20, 10)).save(tmp_path / "split" / file)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "split"), "test")


def test_hidden_folders_hold_no_images_at_any_depth(folder_of_images):
    before = load(str(folder_of_images), "train")
    copies = folder_of_images / "bright" / ".ipynb_checkpoints"
    copies.mkdir()
    for path in (folder_of_images / "bright").glob("*.png"):
        (copies / path.name).write_bytes(path.read_bytes())
    np.testing.assert_array_equal(load(str(folder_of_images), "train").pixels, before.pixels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training", "testing"),
        ("seg_train", "seg_test"),
        ("Train_data", "VALID"),
        ("train2017", "val2017"),
        ("TrainSet", "my-test images"),
    ],
)
def test_usual_names_of_splits_are_recognised(folder_of_images, tmp_path, train, test):
    shutil.copytree(folder_of_images, tmp_path / "split" / train)
    (folder_of_images / "dark" / "00.png").unlink()
    shutil.copytree(folder_of_images, tmp_path / "split" / test)
    for split, count in (("train", 60), ("test", 59)):
        images = load(str(tmp_path / "split"), split)
        assert (images.classes, len(images)) == (("bright", "dark"), count)


def test_a_split_that_only_holds_a_folder_of_its_name_is_unpacked(folder_of_images, tmp_path):
    for split in ("seg_train", "seg_test"):
        shutil.copytree(folder_of_images, tmp_path / "split" / split / split)
    assert load(str(tmp_path / "split"), "test").classes == ("bright", "dark")


def test_folders_that_hold_the_same_classes_are_not_taken_for_classes(folder_of_images, tmp_path):
    for part in ("first", "second", "split/train/first", "split/train/second"):
        shutil.copytree(folder_of_images, tmp_path / "parts" / part)
    for source in (tmp_path / "parts", tmp_path / "parts" / "split"):
        with pytest.raises(ValueError, match=r"each class, got \['first', 'second'\].*'dark'\]"):
            load(str(source), "train")


def test_two_folders_of_one_split_are_named(folder_of_images, tmp_path):
    for split in ("train", "Training", "test"):
        shutil.copytree(folder_of_images, tmp_path / "split" / split)
    with pytest.raises(ValueError, match="for each split, got 'Training' and 'train'"):
        load(str(tmp_path / "split"), "train")


def test_a_long_folder_name_is_read_at_once():
    names = [
        "dataset" * 36 + "x",
        "data_set" * 30 + "?",
        "images" * 40,
        "train" + "set_" * 60 + "x",
    ]
    assert not any(SPLIT_NAME.fullmatch(name) for name in names)
    assert SPLIT_NAME.fullmatch("my_dataset_2017_train_images")


def test_linked_folders_are_read_like_others(folder_of_images, tmp_path):
    expected = load(str(folder_of_images), "train")
    (tmp_path / "linked" / "dark").mkdir(parents=True)
    (tmp_path / "linked" / "bright").symlink_to(folder_of_images / "bright")
    (tmp_path / "linked" / "dark" / "part").symlink_to(folder_of_images / "dark")
    linked = load(str(tmp_path / "linked"), "train")
    np.testing.assert_array_equal(linked.pixels, expected.pixels)
    np.testing.assert_array_equal(linked.labels, expected.labels)


@pytest.mark.parametrize("target", ["", "bright", ".."])
def test_a_loop_of_links_is_named(folder_of_images, target):
    (folder_of_images / "bright" / "again").symlink_to(folder_of_images / target)
    with pytest.raises(ValueError, match="no links to folders around them, got '.*again'"):
        load(str(folder_of_images), "train")


def test_links_that_lead_to_each_other_are_named(folder_of_images):
    (folder_of_images / "bright" / "first").symlink_to(folder_of_images / "dark")
    (folder_of_images / "dark" / "second").symlink_to(folder_of_images / "bright")
    with pytest.raises(ValueError, match="no links to folders around them, got '.*(first|second)'"):
        load(str(folder_of_images), "train")


def test_broken_links_are_images_that_cannot_be_read(folder_of_images, tmp_path):
    for index in range(10):
        (folder_of_images / "dark" / f"gone{index}.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=r"\d+ of 56 images .* decoded, the first is .*gone\d.png"):
        load(str(folder_of_images), "train")
    images = load(str(folder_of_images), "train", corrupt="skip")
    assert len(images) + len(images.skipped) == 56


def test_a_load_says_what_it_left_out(folder_of_images, tmp_path, caplog):
    assert "left_out" not in load(str(folder_of_images), "train").metadata
    for name in ("a.heic", "b.HEIC", "notes.txt", "table.h5", "LICENSE", ".hidden.txt"):
        (folder_of_images / "dark" / name).write_bytes(b"no picture")
    (folder_of_images / "old").symlink_to(tmp_path / "nowhere")
    for path in (folder_of_images / "bright").iterdir():
        path.write_bytes(b"no picture any more")
    (folder_of_images / "blank").mkdir()
    with caplog.at_level("INFO", "virolbi"):
        images = load(str(folder_of_images), "train", corrupt="skip")
    expected = {".h5 files": 1, ".heic files": 2, ".txt files": 1, "files without a suffix": 1}
    expected |= {"folders without images (blank)": 1}
    assert images.metadata["left_out"] == expected | {"unreadable": 25}
    summary, *named, rest = caplog.messages
    start = "(train): took 24 images of 1 classes of 2 (none of bright), left out 1 .h5 files, 2 "
    assert start in summary
    assert "1 folders without images (blank)" in summary
    assert len(named) == 3
    assert all("no format that can be read" in line for line in named)
    assert rest == "and 21 more that could not be decoded"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        *((f"all{suffix}", "unpacked") for suffix in (".zip", ".tar.gz", ".tgz", ".7z", ".rar")),
        *((f"cat/1{suffix}", "converted") for suffix in (".heic", ".DNG", ".CR2", ".svg", ".h5")),
    ],
)
def test_files_that_are_not_read_are_named_where_there_are_no_others(tmp_path, name, remedy):
    (tmp_path / "set" / name).parent.mkdir(parents=True)
    (tmp_path / "set" / name).write_bytes(b"something")
    suffix = (tmp_path / name).suffix.lower()
    with pytest.raises(ValueError, match=f"got only 1 {suffix} files, which must be {remedy}"):
        load(str(tmp_path / "set"), "train")
