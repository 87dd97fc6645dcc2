import os
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from virolbi.data import Images, decode_image, load
from virolbi.data import labels as labels_of


def test_the_digits_are_split_once_and_for_all():
    train, test = load("digits", "train"), load("digits", "test")
    assert train.pixels.shape == (4000, 1, 28, 28)
    assert test.pixels.shape == (1000, 1, 28, 28)
    assert train.pixels.dtype == np.uint8
    assert train.classes == tuple("0123456789")
    np.testing.assert_array_equal(np.bincount(test.labels), 100)
    everything = np.concatenate([train.pixels, test.pixels]).reshape(5000, -1)
    assert len(np.unique(everything, axis=0)) == 5000  # no digit on both sides
    np.testing.assert_array_equal(load("digits", "test", limit=10).labels, test.labels[:10])
    assert load("digits", "train", limit=3, size=32).pixels.shape == (3, 1, 32, 32)


def test_a_folder_of_images_is_split_the_same_way_each_time(folder_of_images):
    train, test = load(str(folder_of_images), "train"), load(str(folder_of_images), "test")
    assert (len(train), len(test)) == (48, 12)
    assert train.classes == ("bright", "dark")
    for images in (train, test):
        assert ((images.pixels.mean(axis=(1, 2, 3)) > 125) == (images.labels == 0)).all()
    np.testing.assert_array_equal(load(str(folder_of_images), "test").pixels, test.pixels)


def test_a_saved_data_set_keeps_its_splits_and_colours(tmp_path, photographs):
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])}
    )
    for split, rows in (("train", slice(0, 48, 2)), ("test", slice(1, 48, 8))):
        table = {
            "img": [Image.fromarray(p) for p in photographs[rows]],
            "label": [i // 8 % 2 for i in range(48)[rows]],
        }
        datasets.Dataset.from_dict(table, features=features).to_parquet(
            tmp_path / "data" / f"{split}-0.parquet"
        )
    test = load(str(tmp_path), "test")
    np.testing.assert_array_equal(test.pixels, photographs[1::8].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(test.labels, [0, 1, 0, 1, 0, 1])
    assert test.name == tmp_path.name
    assert len(load(str(tmp_path), "train")) == 24


def test_images_for_testing_alone_can_be_judged_and_not_trained_on(folder_of_images, tmp_path):
    (tmp_path / "only").mkdir()
    folder_of_images.rename(tmp_path / "only" / "test")
    assert len(load(str(tmp_path / "only"), "test")) == 60
    with pytest.raises(ValueError, match=r"must have a 'train' split, it has \['test'\]"):
        load(str(tmp_path / "only"), "train")


def test_folders_say_what_is_a_split_and_a_class_and_names_of_files_do_not(
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


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("wide.png", "each image in the folder of its class, wide.png is in none"),
        ("test/wide.png", "each image in the folder of its class, wide.png is in none"),
        ("more/wide.png", r"all of its images in \['test', 'train'\], there are some in 'more'"),
        ("test/eel/wide.png", "a folder in 'train' for each class, there is none for 'eel'"),
    ],
)
def test_images_that_are_in_no_class_or_split_are_named(folder_of_images, tmp_path, place, message):
    for split in ("train", "test"):
        shutil.copytree(folder_of_images, tmp_path / "split" / split)
    (tmp_path / "split" / place).parent.mkdir(exist_ok=True)
    Image.new("L", (20, 10)).save(tmp_path / "split" / place)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "split"), "test")


def test_a_name_that_neither_disk_nor_hub_knows_is_said_to_be_unknown_to_both(monkeypatch):
    def unreachable(source):
        raise ConnectionError("no such data set")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(
        ValueError,
        match="data 'pets/cats' is no folder here and could not be read from .* hub: no such data set",
    ):
        load("pets/cats", "train")


def test_what_cannot_be_used_is_named(tmp_path, folder_of_images):
    with pytest.raises(ValueError, match="there is no folder './nowhere'"):
        load("./nowhere", "train")
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'dev'"):
        load("digits", "dev")
    with pytest.raises(ValueError, match="limit must be >= 1, got 0"):
        load("digits", "train", limit=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"data '.*empty' could not be read"):
        load(str(tmp_path / "empty"), "train")
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "train.csv").write_text("x,label\n1,0\n2,1\n")
    with pytest.raises(
        ValueError, match=r"must have a column of images named one of .*, it has \['label', 'x'\]"
    ):
        load(str(tmp_path / "table"), "train")
    Image.new("L", (20, 10)).save(folder_of_images / "dark" / "wide.png")
    with pytest.raises(ValueError, match="must have one size, got 2 such as .* give a size"):
        load(str(folder_of_images), "train")
    assert load(str(folder_of_images), "train", size=10).pixels.shape[1:] == (1, 10, 10)
    (folder_of_images / "dark" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(
        ValueError,
        match=r"1 of 50 images of data .* could not be decoded, first image \d+, .*broken.png: cannot",
    ):
        load(str(folder_of_images), "train", size=10)
    with pytest.raises(ValueError, match="corrupt must be 'stop' or 'skip', got 'go on'"):
        load(str(folder_of_images), "train", size=10, corrupt="go on")


def test_what_cannot_be_decoded_is_skipped_where_that_is_asked_for(folder_of_images, tmp_path):
    whole = load(str(folder_of_images), "train")
    for path in (folder_of_images / "dark").glob("0*.png"):
        path.write_bytes(path.read_bytes()[:60])
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        images = load(str(folder_of_images), "train", corrupt="skip", cache=cache)
        assert len(images) + len(images.skipped) == len(whole)
        assert 5 <= len(images.skipped) <= 10
        assert all("dark/0" in text for text in images.skipped)
        assert images.metadata["skipped"] == list(images.skipped)
        assert ((images.pixels.mean(axis=(1, 2, 3)) > 125) == (images.labels == 0)).all()
    assert isinstance(images.pixels, np.memmap)
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".npy"]
    for path in folder_of_images.glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="48 of 48 images of data"):
        load(str(folder_of_images), "train", corrupt="skip")


def test_processes_that_decode_into_the_same_cache_leave_each_other_alone(
    folder_of_images, tmp_path, monkeypatch
):
    whole, beside, cache = load(str(folder_of_images), "train"), [], tmp_path / "cache"

    def decode_beside(file, size):
        if len(list(cache.glob("*"))) == 1:  # this process has begun
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 1)
                patch.setattr("virolbi.data.datasets.decode", decode_image)
                beside.append(load(str(folder_of_images), "train", cache=cache))
        return decode_image(file, size)

    monkeypatch.setattr("virolbi.data.datasets.decode", decode_beside)
    monkeypatch.setattr("virolbi.data.datasets.DECODED_AT_ONCE", 1)
    np.testing.assert_array_equal(
        load(str(folder_of_images), "train", cache=cache).pixels, whole.pixels
    )
    np.testing.assert_array_equal(beside[0].pixels, whole.pixels)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]


def test_one_class_is_not_enough(tmp_path, photographs):
    (tmp_path / "only").mkdir()
    for index in range(4):
        Image.new("L", (8, 8), index).save(tmp_path / "only" / f"{index}.png")
    with pytest.raises(ValueError, match=r"must have two classes or more, it has 1: \('only',\)"):
        load(str(tmp_path), "train")
    table = {"image": [Image.fromarray(p) for p in photographs[:2]], "label": ["cat", "cat"]}
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "saved" / "train.parquet")
    with pytest.raises(ValueError, match=r"must have two classes or more, it has 1: \('cat',\)"):
        load(str(tmp_path / "saved"), "train")


def test_a_split_sorted_by_class_is_shuffled_so_that_its_front_is_mixed(folder_of_images, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(folder_of_images, tmp_path / "split" / split)
    assert set(load(str(tmp_path / "split"), "test", limit=12).labels) == {0, 1}


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    for name, level in (("a", 10_000), ("b", 40_000)):
        (tmp_path / name).mkdir()
        for index in range(5):
            Image.fromarray(np.full((4, 4), level, np.uint16)).save(
                tmp_path / name / f"{index}.png"
            )
    images = load(str(tmp_path), "train")
    np.testing.assert_array_equal(
        images.pixels[:, 0, 0, 0], np.where(images.labels == 0, 10_000 >> 8, 40_000 >> 8)
    )


def test_unlabelled_images_are_named(tmp_path, photographs):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    for split, labels in (("train", [0, 1]), ("test", [-1, -1])):
        table = {"image": [Image.fromarray(p) for p in photographs[:2]], "label": labels}
        datasets.Dataset.from_dict(table, features=features).to_parquet(
            tmp_path / f"{split}.parquet"
        )
    with pytest.raises(ValueError, match="labels of data .* must be from 0 to 1, got -1 to -1"):
        load(str(tmp_path), "test")


def test_grey_images_have_three_channels_where_that_is_asked_for(folder_of_images, tmp_path):
    with pytest.raises(ValueError, match="channels must be 1, 3 or None, got 5"):
        load("digits", "test", limit=5, channels=5)
    for source in ("digits", str(folder_of_images)):
        grey, colours = (load(source, "test", limit=5, channels=channels) for channels in (None, 3))
        assert (grey.pixels.shape[1], colours.pixels.shape[1]) == (1, 3)
        np.testing.assert_array_equal(colours.pixels, np.repeat(grey.pixels, 3, axis=1))
        repeated = Images("x", np.repeat(grey.pixels, 3, axis=1), grey.labels, grey.classes)
        assert colours.metadata["digest"] == repeated.metadata["digest"]


@pytest.mark.parametrize("coloured", [0, 7])
def test_one_picture_in_colour_gives_all_three_channels(folder_of_images, tmp_path, coloured):
    source = str(folder_of_images)
    before = load(source, "train", cache=tmp_path / "cache")
    assert before.pixels.shape[1:] == (1, 12, 12)
    assert (
        sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.npy"))
        < 2 * before.pixels.nbytes
    )
    red = np.zeros((12, 12, 3), np.uint8) + np.array([200, 10, 10], np.uint8)
    row = np.flatnonzero((before.pixels == before.pixels[coloured]).all(axis=(1, 2, 3)))
    for path in folder_of_images.rglob("*.png"):
        if np.array_equal(np.asarray(Image.open(path)), before.pixels[coloured, 0]):
            Image.fromarray(red).save(path)
    expected = np.repeat(before.pixels, 3, axis=1)
    expected[row] = red.transpose(2, 0, 1)
    for cache in (None, tmp_path / "cache"):
        np.testing.assert_array_equal(load(source, "train", cache=cache).pixels, expected)


def test_labels_are_those_of_the_images_before_they_are_decoded(folder_of_images):
    for source in ("digits", str(folder_of_images)):
        np.testing.assert_array_equal(
            labels_of(source, "train", limit=9), load(source, "train", limit=9).labels
        )


def test_hidden_folders_hold_no_images_at_any_depth(folder_of_images):
    before = load(str(folder_of_images), "train")
    copies = folder_of_images / "bright" / ".ipynb_checkpoints"
    copies.mkdir()
    for path in (folder_of_images / "bright").glob("*.png"):
        (copies / path.name).write_bytes(path.read_bytes())
    np.testing.assert_array_equal(load(str(folder_of_images), "train").pixels, before.pixels)
