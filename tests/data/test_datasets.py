import re
import shutil

import datasets
import numpy as np
import pytest
from PIL import Image

from virolbi.data import Images, from_dataset, load, load_labels


def test_the_digits_are_split_once_and_for_all():
    train, test = load("digits", "train"), load("digits", "test")
    assert train.pixels.shape == (4000, 1, 28, 28)
    assert test.pixels.shape == (1000, 1, 28, 28)
    assert train.pixels.dtype == np.uint8
    assert train.classes == tuple("0123456789")
    np.testing.assert_array_equal(np.bincount(test.labels), 100)
    all_pixels = np.concatenate([train.pixels, test.pixels]).reshape(5000, -1)
    assert len(np.unique(all_pixels, axis=0)) == 5000  # no digit is in both splits
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
            "img": [Image.fromarray(pixels) for pixels in photographs[rows]],
            "label": [index // 8 % 2 for index in range(48)[rows]],
        }
        datasets.Dataset.from_dict(table, features=features).to_parquet(
            tmp_path / "data" / f"{split}-0.parquet"
        )
    test = load(str(tmp_path), "test")
    np.testing.assert_array_equal(test.pixels, photographs[1::8].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(test.labels, [0, 1, 0, 1, 0, 1])
    assert test.name == tmp_path.name
    assert len(load(str(tmp_path), "train")) == 24


def test_files_that_number_the_classes_differently_are_refused(tmp_path, photographs):
    for split, names in (("test", ["a", "c"]), ("train", ["a", "b", "c"]), ("train", ["a", "c"])):
        features = {"image": datasets.Image(), "label": datasets.Value("string")}
        columns = {"image": [Image.fromarray(photographs[0])] * len(names), "label": names}
        table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        table.class_encode_column("label").to_parquet(tmp_path / f"{split}-0.parquet")
        if names == ["a", "b", "c"]:
            with pytest.raises(
                ValueError, match=r"'label' alike, got class 1 named 'c' in test-0.* and 'b' in tr"
            ):
                load(str(tmp_path), "test")
    for split in ("train", "test"):
        images = load(str(tmp_path), split)
        assert {images.classes[label] for label in images.labels} == {"a", "c"}


def test_a_data_set_with_only_a_test_split_can_be_evaluated_but_not_trained_on(
    folder_of_images, tmp_path
):
    (tmp_path / "only").mkdir()
    folder_of_images.rename(tmp_path / "only" / "test")
    assert len(load(str(tmp_path / "only"), "test")) == 60
    with pytest.raises(ValueError, match=r"data '.*only' .*'train' split.* \['test'\]"):
        load(str(tmp_path / "only"), "train")


def test_a_name_that_neither_disk_nor_hub_knows_is_reported_as_unknown_to_both(monkeypatch):
    def unreachable(source):
        raise ConnectionError("no such data set")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(
        ValueError, match=r"data 'pets/cats' .*local folder .*hub: no such data set"
    ):
        load("pets/cats", "train")


def test_errors_name_what_cannot_be_used(tmp_path, folder_of_images):
    with pytest.raises(ValueError, match="data must be .* './nowhere'"):
        load("./nowhere", "train")
    with pytest.raises(ValueError, match="must have a 'dev' split"):
        load("digits", "dev")
    with pytest.raises(ValueError, match="limit must be .* 0"):
        load("digits", "train", limit=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"data '.*empty' could not be read"):
        load(str(tmp_path / "empty"), "train")
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "train.csv").write_text("x,label\n1,0\n2,1\n")
    with pytest.raises(ValueError, match=r"data '.*table' .*column of images .* \['label', 'x'\]"):
        load(str(tmp_path / "table"), "train")
    Image.new("L", (20, 10)).save(folder_of_images / "dark" / "wide.png")
    with pytest.raises(ValueError, match="images of data '.*pictures' must have one size, got 2"):
        load(str(folder_of_images), "train")
    assert load(str(folder_of_images), "train", size=10).pixels.shape[1:] == (1, 10, 10)
    (folder_of_images / "dark" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(
        ValueError,
        match=r"1 of 50 images of .* could not be decoded, .*image \d+, .*broken.png.* move or del",
    ):
        load(str(folder_of_images), "train", size=10)
    with pytest.raises(ValueError, match="corrupt must be .* 'go on'"):
        load(str(folder_of_images), "train", size=10, corrupt="go on")


def test_one_class_is_not_enough(tmp_path, photographs):
    (tmp_path / "only").mkdir()
    for index in range(4):
        Image.new("L", (8, 8), index).save(tmp_path / "only" / f"{index}.png")
    with pytest.raises(ValueError, match=r"data .* two classes or more, got 1: \('only',\)"):
        load(str(tmp_path), "train")
    table = {
        "image": [Image.fromarray(pixels) for pixels in photographs[:2]],
        "label": ["cat", "cat"],
    }
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "saved" / "train.parquet")
    with pytest.raises(ValueError, match=r"data .* two classes or more, got 1: \('cat',\)"):
        load(str(tmp_path / "saved"), "train")


def test_a_split_sorted_by_class_is_shuffled_so_that_its_front_is_mixed(folder_of_images, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(folder_of_images, tmp_path / "split" / split)
    assert set(load(str(tmp_path / "split"), "test", limit=12).labels) == {0, 1}


def rank_of_items(labels):
    """Return the places that items of these labels have in a data set, by the order of its images.

    The pixels of each item say its place.
    """
    pairs = [
        (np.full((1, 2), divmod(place, 256), np.uint8), int(label))
        for place, label in enumerate(labels)
    ]
    high, low = from_dataset(pairs).pixels[:, 0, 0].T.astype(int)
    return high * 256 + low


@pytest.mark.parametrize(
    "labels",
    [
        [2] * 5 + [0] * 5 + [1] * 5,
        [1, 1, 0, 0],
        np.repeat(np.arange(100)[::-1], 2),
        2 * [*([0] * 20 + [1] * 20 + [2] * 20)],  # two sorted parts
        10 * ([1] * 10 + [0] * 10),
        [1] * 990 + [0] * 10,
    ],
)
def test_a_split_grouped_by_class_is_shuffled_in_any_order_of_the_classes(labels):
    ranks, ascending = rank_of_items(labels), rank_of_items(sorted(labels))
    np.testing.assert_array_equal(ranks, ascending)  # the same order for as many images
    assert sorted(ranks) == list(range(len(labels)))
    front = np.asarray(labels)[ranks[: max(3, len(labels) // 3)]]
    assert len(set(front)) > 1


def test_a_split_in_random_order_stays_in_it():
    for shares in ([50, 50], [30, 30, 30, 30], [2] * 100, [1] * 50, [99, 1], [190, 10], [100] * 10):
        ordered = np.repeat(np.arange(len(shares)), shares)
        for seed in range(10):
            labels = np.random.default_rng(seed).permutation(ordered)
            np.testing.assert_array_equal(rank_of_items(labels), np.arange(len(labels)))
    alternating = [0, 1] * 10
    np.testing.assert_array_equal(rank_of_items(alternating), np.arange(20))


def test_the_front_of_a_csv_file_grouped_by_class_is_mixed(folder_of_images):
    lines = ["path,label,split"]
    for label, name in (("b", "dark"), ("a", "bright")):
        lines += [
            f"{name}/{path.name},{label},test" for path in (folder_of_images / name).iterdir()
        ]
    (folder_of_images / "set.csv").write_text("\n".join(lines))
    assert set(load(str(folder_of_images / "set.csv"), "test", limit=12).labels) == {0, 1}


def test_unlabelled_images_are_named(tmp_path, photographs):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    for split, labels in (("train", [0, 1]), ("test", [-1, -1])):
        table = {
            "image": [Image.fromarray(pixels) for pixels in photographs[:2]],
            "label": labels,
        }
        datasets.Dataset.from_dict(table, features=features).to_parquet(
            tmp_path / f"{split}.parquet"
        )
    with pytest.raises(ValueError, match="got 2 of 2 .* -1 in column 'label' .*'test'.* row 0"):
        load(str(tmp_path), "test")


def test_grey_images_have_three_channels_where_that_is_asked_for(folder_of_images, tmp_path):
    with pytest.raises(ValueError, match="channels must be .* 5"):
        load("digits", "test", limit=5, channels=5)
    for source in ("digits", str(folder_of_images)):
        grey, colour = (load(source, "test", limit=5, channels=channels) for channels in (None, 3))
        assert (grey.pixels.shape[1], colour.pixels.shape[1]) == (1, 3)
        np.testing.assert_array_equal(colour.pixels, np.repeat(grey.pixels, 3, axis=1))
        repeated = Images("x", np.repeat(grey.pixels, 3, axis=1), grey.labels, grey.classes)
        assert colour.metadata["digest"] == repeated.metadata["digest"]


def test_labels_are_those_of_the_images_before_they_are_decoded(folder_of_images):
    for source in ("digits", str(folder_of_images)):
        np.testing.assert_array_equal(
            load_labels(source, "train", limit=9), load(source, "train", limit=9).labels
        )


@pytest.mark.parametrize(
    "labels", [["a", None, "b", None], [0, None, 1, None], [5, -1, 7, -1], [0.0, None, 1.0, None]]
)
def test_missing_labels_are_counted_and_the_first_is_named(tmp_path, photographs, labels):
    images = [Image.fromarray(pixels) for pixels in photographs[:4]]
    for split, rows in (("train", [0, 2, 0, 2]), ("test", [0, 1, 2, 3])):
        table = {"image": images, "fine_label": [labels[row] for row in rows]}
        datasets.Dataset.from_dict(table).to_parquet(tmp_path / f"{split}.parquet")
    message = r"got 2 of 4 that are null or -1 in column 'fine_label' .*, the first in row 1"
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path), "test")
    train = load(str(tmp_path), "train")
    assert train.classes == (str(labels[0]), str(labels[2]))
    assert sorted(train.labels) == [0, 0, 1, 1]


def test_grey_images_saved_in_colour_become_grey_exactly(folder_of_images, tmp_path):
    source = str(folder_of_images)
    expected = load(source, "train")
    paths = sorted(folder_of_images.rglob("*.png"))
    for path in paths[::2]:
        Image.open(path).convert("RGB").save(path)
    assert load(source, "train").pixels.shape[1] == 3
    for cache in (None, tmp_path / "cache"):
        images = load(source, "train", channels=1, cache=cache)
        assert images.metadata == expected.metadata
    for path in paths:
        image = Image.open(path).convert("RGB")
        image.putpixel((3, 4), (10, 10, 11))
        image.save(path)
    with pytest.raises(ValueError, match=r"channels must be .* got 1, and image \d+ .*\d\d.png"):
        load(source, "train", channels=1)


def test_classes_that_a_held_out_split_lacks_are_named(tmp_path):
    for name, count in (("ant", 1), ("bee", 1), ("cat", 200)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(count):
            Image.new("L", (4, 4), index).save(tmp_path / "set" / name / f"{index}.png")
    source = str(tmp_path / "set")
    with pytest.raises(ValueError, match=r"got none of \['ant', 'bee'\]; only 'cat' is left"):
        load(source, "test")
    assert len(load(source, "train")) == 162
    for index in range(1, 5):
        Image.new("L", (4, 4), index).save(tmp_path / "set" / "bee" / f"{index}.png")
    with pytest.warns(UserWarning, match=r"no images of \['ant'\]") as caught:
        assert len(load(source, "test")) == 41
    assert [warning.filename for warning in caught] == [__file__]


PIXELS, LABELS = np.zeros((4, 3, 5, 6), np.uint8), np.arange(4) % 2


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"pixels": PIXELS.astype(np.float32)}, TypeError, "pixels must be uint8, got float32"),
        ({"pixels": PIXELS.tolist()}, TypeError, "pixels must be a NumPy array, got list"),
        (
            {"pixels": PIXELS.transpose(0, 2, 3, 1)},
            ValueError,
            "pixels must have the shape (N, C, H, W) with C = 1 or 3, got (4, 5, 6, 3)",
        ),
        ({"pixels": PIXELS[:, 0]}, ValueError, "pixels must have the shape (N, C, H, W)"),
        ({"pixels": PIXELS[:, :2]}, ValueError, "pixels must have the shape (N, C, H, W)"),
        (
            {"labels": LABELS[:3]},
            ValueError,
            "labels must have the shape (4,), one for each image, got (3,)",
        ),
        ({"labels": LABELS[:, None]}, ValueError, "labels must have the shape (4,)"),
        ({"labels": LABELS.astype(np.int32)}, TypeError, "labels must be int64, got int32"),
        ({"labels": LABELS.astype(float)}, TypeError, "labels must be int64, got float64"),
        ({"labels": [0, 1, 0, 1]}, TypeError, "labels must be a NumPy array, got list"),
        (
            {"labels": LABELS + 1},
            ValueError,
            "labels must be from 0 to 1, indices into the 2 classes, got 1 to 2",
        ),
        ({"labels": LABELS - 1}, ValueError, "labels must be from 0 to 1"),
        ({"classes": ["a", "b"]}, TypeError, "classes must be a tuple of str, got ['a', 'b']"),
        ({"classes": (0, 1)}, TypeError, "classes must be a tuple of str, got (0, 1)"),
        ({"classes": ("a", "a")}, ValueError, "classes must have different names, got 'a'"),
    ],
)
def test_images_are_checked_when_they_are_made(fields, error, message):
    correct = {"name": "x", "pixels": PIXELS, "labels": LABELS, "classes": ("a", "b")}
    Images(**correct)
    with pytest.raises(error, match="^" + re.escape(message)):
        Images(**(correct | fields))


def test_intensities_are_the_pixels_in_shares_of_255():
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    images = Images("x", pixels, np.zeros(4, np.int64), ("a",))
    expected = pixels.astype(np.float32) / 255
    assert images.intensities().dtype == np.float32
    np.testing.assert_array_equal(images.intensities(), expected)
    for rows in (2, slice(1, 3), np.array([3, 0])):
        np.testing.assert_array_equal(images.intensities(rows), expected[rows])


def test_the_pixels_of_images_are_not_read_when_these_are_made():
    class Unread(np.ndarray):
        def __array_ufunc__(self, *arguments, **options):
            raise AssertionError("these pixels may be in a file larger than the memory")

    pixels = PIXELS.view(Unread)
    with pytest.raises(AssertionError, match="larger"):
        pixels.max()
    images = Images("x", pixels, LABELS, ("a", "b"))
    assert [len(images.subset(slice(0, end, 2))) for end in (4, 0)] == [2, 0]
