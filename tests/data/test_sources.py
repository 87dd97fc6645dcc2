import io
import shutil
import tarfile

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import Normalize, ToTensor

from virolbi.data import from_dataset, load, load_labels


@pytest.fixture
def paths(folder_of_images):
    """The image files, with both classes in every few of them, and a function of their labels."""
    bright, dark = (sorted((folder_of_images / name).iterdir()) for name in ("bright", "dark"))
    return [path for pair in zip(dark, bright, strict=True) for path in pair]


def write_csv(folder, header, paths, *columns):
    lines = [
        f"{path.relative_to(folder)},{','.join(row)}"
        for path, *row in zip(paths, *columns, strict=True)
    ]
    (folder / "labels.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8-sig")
    return str(folder / "labels.csv")


def test_a_csv_file_of_paths_and_labels_is_a_data_set(folder_of_images, paths, tmp_path):
    for path in paths:
        path.rename(folder_of_images / f"{path.parent.name} {path.name}")
    paths = [folder_of_images / f"{path.parent.name} {path.name}" for path in paths]
    labels = ["10" if path.name.startswith("bright") else "9" for path in paths]
    source = write_csv(folder_of_images, "File_Name,Label", paths, labels)
    for split, count in (("train", 48), ("test", 12)):
        images = load(source, split, cache=tmp_path / "cache")
        assert (len(images), images.classes) == (count, ("9", "10"))
        assert ((images.pixels.mean(axis=(1, 2, 3)) > 125) == (images.labels == 1)).all()
        np.testing.assert_array_equal(load_labels(source, split), images.labels)


def test_a_csv_file_can_name_splits_any_of_which_can_be_chosen(folder_of_images, paths):
    splits = ["train"] * 30 + ["test"] * 20 + ["validation"] * 10
    labels = [path.parent.name for path in paths]
    source = write_csv(folder_of_images, "path,label,split", paths, labels, splits)
    for split, rows in (
        ("train", slice(0, 30)),
        ("test", slice(30, 50)),
        ("validation", slice(50, 60)),
    ):
        expected = [np.asarray(Image.open(path)) for path in paths[rows]]
        np.testing.assert_array_equal(load(source, split).pixels[:, 0], expected)
    with pytest.raises(ValueError, match=r"'val' split, got \['test', 'train', 'validation'\]"):
        load(source, "val")


@pytest.mark.parametrize(
    ("train", "test"), [("train", "Test"), ("Training", "testing"), ("TRAIN", "Val_set")]
)
def test_a_csv_file_names_splits_as_folders_do(folder_of_images, paths, train, test):
    splits = [train] * 40 + [test] * 20
    labels = [path.parent.name for path in paths]
    source = write_csv(folder_of_images, "path,label,split", paths, labels, splits)
    for split, rows in (("train", slice(0, 40)), ("test", slice(40, 60))):
        expected = [np.asarray(Image.open(path)) for path in paths[rows]]
        np.testing.assert_array_equal(load(source, split).pixels[:, 0], expected)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "dev"), r"in column 'split' .* got \['dev'\]"),
        (("train", "eval", "test"), r"in column 'split' .* got \['eval'\]"),
        (("train", "", "test"), r"in column 'split' .* got \[''\]"),
        (("train", "Train", "test"), "one name for each split, got 'train' and 'Train' for"),
    ],
)
def test_rows_of_a_csv_file_with_other_splits_are_refused(folder_of_images, paths, names, message):
    splits, labels = (list(names) * 60)[:60], [path.parent.name for path in paths]
    source = write_csv(folder_of_images, "path,label,split", paths, labels, splits)
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=f"{source}' must have .*{message}"):
            load(source, split)


def save_splits(folder, names):
    """Save a data set with a Parquet file for each split, whose images tell the splits apart."""
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    for number, name in enumerate(names):
        images = [Image.new("L", (8, 8), 10 * number + index) for index in range(10)]
        table = datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 5}, features)
        table.to_parquet(folder / f"{name}.parquet")


def test_splits_of_a_saved_data_set_are_named_as_folders_are(tmp_path, monkeypatch):
    save_splits(tmp_path, ["train", "test", "validation"])
    stored = datasets.load_dataset(str(tmp_path))

    def load_named(*names):
        tables = (stored[name] for name in ("train", "test", "validation"))
        found = dict(zip(names, tables, strict=False))
        monkeypatch.setattr("datasets.load_dataset", lambda _: found)
        return lambda split: sorted(load("some/where", split).pixels[:, 0, 0, 0])

    first, second, third = np.arange(30).reshape(3, 10).tolist()
    read = load_named("Train", "testing", "extra")
    assert [read(name) for name in ("train", "test", "extra")] == [first, second, third]
    read = load_named("train", "holdout")
    assert read("holdout") == second
    for split in ("train", "test"):
        with pytest.raises(
            ValueError, match=r"must have a split with one .*\['holdout', 'train'\]"
        ):
            read(split)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "Test"), r"1 that are in no split: \['Test.parquet'\]"),
        (("train", "test", "holdout"), r"1 that are in no split: \['holdout.parquet'\]"),
        (("train", "test", "train-1.PARQUET"), r"1 that are in no split: \['train-1.PARQUET'\]"),
        (("Train", "Test"), r"1 that are read as 'train': \['Test.parquet'\]"),
    ],
)
def test_files_of_a_saved_data_set_that_would_be_left_out_are_refused(tmp_path, names, message):
    save_splits(tmp_path, names)
    for path in tmp_path.glob("*.PARQUET.parquet"):
        path.rename(path.with_suffix(""))
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path), "train")


def test_a_cache_gives_each_image_its_own_pixels_after_a_label_is_corrected(
    folder_of_images, paths, tmp_path
):
    cache, labels = tmp_path / "cache", [path.parent.name for path in paths]
    wrong = labels.copy()
    wrong[0] = labels[1]  # one more of a class: other images are held out
    load(write_csv(folder_of_images, "path,label", paths, wrong), "train", cache=cache)
    source = write_csv(folder_of_images, "path,label", paths, labels)
    expected = load(source, "train")
    for _ in range(2):
        cached = load(source, "train", cache=cache)
        np.testing.assert_array_equal(cached.pixels, expected.pixels)
        np.testing.assert_array_equal(cached.labels, expected.labels)


@pytest.mark.parametrize("appears", [True, False])
def test_a_cache_is_not_of_the_same_files_with_and_without_a_test_split(
    folder_of_images, tmp_path, appears
):
    cache, test = tmp_path / "cache", folder_of_images / "test"
    for name in ("bright", "dark"):
        (folder_of_images / "train").mkdir(exist_ok=True)
        (folder_of_images / name).rename(folder_of_images / "train" / name)
    shutil.copytree(folder_of_images / "train", tmp_path / "test")
    moves = [(tmp_path / "test", test), (test, tmp_path / "test")]
    if not appears:
        (tmp_path / "test").rename(test)
        moves.reverse()
    source = str(folder_of_images)
    load(source, "train", cache=cache)
    moves[0][0].rename(moves[0][1])
    expected, cached = load(source, "train"), load(source, "train", cache=cache)
    assert len(expected) == (60 if appears else 48)
    np.testing.assert_array_equal(cached.pixels, expected.pixels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,label\na.png,x\n", r"column of paths named one of .*, got \['label', 'name'\]"),
        ("path,name\na.png,x\n", r"column of labels named one of .*, got \['name', 'path'\]"),
        ("path,label,Label\na.png,x,y\n", r"different names, .* got \['label', 'Label'\]"),
        ("path,label,path\na.png,x,b.png\n", r"different names, .* got \['path', 'path'\]"),
        ("path;label\na.png;x\n", r"separated by commas, got ';' in \['path;label'\]"),
        ("path\tlabel\na.png\tx\n", "separated by commas"),
        ("path\na.png\n", "column of labels"),
        ("path,label\n", "row of names and a row for each image, got 1"),
        ("path,label\na.png,x\nb.png\n", "2 columns in each row, got 1 in row 3"),
        ("path,label\na.png,x\nb.png,\nc.png,-1\n", "got 2 of 3 that are empty or -1, .* row 3"),
        ("path,label\na.png,x\nb.png,x\n", "two classes or more, got 1"),
        ('path,label\n"a.png,x\n', "must be a CSV file in UTF-8"),
        (b"path,label\n\xff\xfe,x\n", "must be a CSV file in UTF-8"),
        (
            "path,label\na.png,x\nb.png,y\n",
            r"\(train\) could not be decoded, the first is .*[ab].png",
        ),
    ],
)
def test_a_csv_file_that_cannot_be_used_is_named(tmp_path, content, message):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "set.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"data '.*set.csv' .*{message}"):
        load(str(tmp_path / "set.csv"), "train")


def test_columns_of_a_csv_file_without_a_name_are_left_alone(folder_of_images, paths):
    labels, notes = [path.parent.name for path in paths], ["note"] * len(paths)
    source = write_csv(folder_of_images, "path,label,,", paths, labels, notes, notes)
    assert len(load(source, "test")) == 12


def test_test_images_without_class_folders_do_not_stop_training(folder_of_images, tmp_path):
    shutil.copytree(folder_of_images, tmp_path / "split" / "train")
    (tmp_path / "split" / "Test").mkdir()
    for path in folder_of_images.glob("dark/0*.png"):
        shutil.copy(path, tmp_path / "split" / "Test")
    for split, count in (("train", 48), ("test", 12)):
        with pytest.warns(UserWarning, match="/Test' are left out: .* no label") as caught:
            images = load(str(tmp_path / "split"), split)
        assert [warning.filename for warning in caught] == [__file__]
        assert (len(images), images.classes) == (count, ("bright", "dark"))
        assert images.left_out == {"images without a class in 'Test'": 10}


def test_any_stored_split_can_be_chosen(folder_of_images, tmp_path):
    for number, split in enumerate(("train", "test", "validation")):
        shutil.copytree(folder_of_images, tmp_path / "split" / split)
        for path in sorted((tmp_path / "split" / split).glob("*/*.png"))[:number]:
            path.unlink()
    source = str(tmp_path / "split")
    counts = {split: len(load(source, split)) for split in ("train", "test", "validation")}
    assert counts == {"train": 60, "test": 59, "validation": 58}
    for wrong, name in ((source, "val"), ("digits", "validation")):
        with pytest.raises(ValueError, match=f"data '{wrong}' must have a '{name}' split, got"):
            load(wrong, name)


def test_shards_of_webdataset_are_a_data_set(tmp_path, photographs):
    (tmp_path / "shards").mkdir()
    for split, rows in (("train", range(8)), ("test", range(8, 12))):
        with tarfile.open(tmp_path / "shards" / f"{split}-000.tar", "w") as archive:
            for row in rows:
                buffer = io.BytesIO()
                Image.fromarray(photographs[row]).save(buffer, "PNG")
                for suffix, content in (("png", buffer.getvalue()), ("cls", b"%d" % (row % 2))):
                    member = tarfile.TarInfo(f"{row:04}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    test = load(str(tmp_path / "shards"), "test")
    np.testing.assert_array_equal(test.pixels, photographs[8:12].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(test.labels, [0, 1, 0, 1])
    assert test.classes == ("0", "1")


@pytest.mark.parametrize("transform", [None, ToTensor(), np.asarray])
def test_an_image_folder_of_torchvision_holds_the_images_that_load_finds(
    folder_of_images, tmp_path, transform
):
    for path in folder_of_images.glob("*/*.png"):
        Image.open(path).convert("RGB").save(path)
    shutil.copytree(folder_of_images, tmp_path / "split" / "train")
    shutil.copytree(folder_of_images, tmp_path / "split" / "test")
    for options in ({}, {"size": 8}, {"channels": 1}):
        expected = load(str(tmp_path / "split"), "train", **options)
        images = from_dataset(ImageFolder(folder_of_images, transform), **options)
        assert images.metadata["digest"] == expected.metadata["digest"]
        assert (images.classes, images.name) == (expected.classes, "ImageFolder")


def test_labels_of_data_sets_in_python_are_numbered_by_their_classes():
    grey = [np.full((4, 4), level, np.uint8) for level in (10, 20, 30)]
    pairs = list(zip(grey, [7, torch.tensor(5), np.int64(7)], strict=True))
    images = from_dataset(pairs, name="seven")
    assert (images.name, images.classes, list(images.labels)) == ("seven", ("5", "7"), [1, 0, 1])
    images = from_dataset(list(zip(grey, "aca", strict=True)), classes=["c", "b", "a"])
    assert (images.classes, list(images.labels)) == (("c", "b", "a"), [2, 0, 2])
    with pytest.raises(ValueError, match="labels .* among its 2 classes, got 7 for item 0"):
        from_dataset(pairs, classes=["a", "b"])
    with pytest.raises(ValueError, match="two classes or more, got 1"):
        from_dataset(pairs[::2])


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (
            (Normalize(0.5, 0.5)(torch.zeros(1, 4, 4)), 0),
            ValueError,
            "image 1 .* before any normalisation",
        ),
        ((np.zeros((4, 4, 2), np.uint8), 0), ValueError, r"image 1 .* channels, got shape \(4, 4"),
        ((Image.new("F", (4, 4)), 0), ValueError, "image 1 .* 8 or 16 bits .* got mode F"),
        ((np.zeros((4, 4), np.uint8), 0.5), TypeError, "item 1 .* whole number"),
        ((np.zeros((4, 4), np.uint8), "b"), TypeError, "labels .* all be numbers or all be texts"),
        ((np.zeros((4, 4), np.uint8), 0, 0), TypeError, "pairs .* got tuple for item 1"),
        ({"image": 0, "label": 0}, TypeError, "pairs .* got dict for item 1"),
    ],
)
def test_items_that_are_no_images_with_labels_are_named(item, error, message):
    with pytest.raises(error, match=message):
        from_dataset([(np.zeros((4, 4), np.uint8), 1), item])


def test_a_data_set_that_can_only_be_iterated_is_named():
    with pytest.raises(TypeError, match="data 'generator' must have a length and an item for each"):
        from_dataset((np.zeros((4, 4), np.uint8), label) for label in (0, 1))


@pytest.mark.parametrize("kind", [Image.fromarray, np.asarray, np.float32, torch.from_numpy])
def test_items_with_12_bits_keep_their_levels_with_a_data_range(kind):
    stored = np.arange(4096, dtype=np.uint16).reshape(2, 32, 64)
    if kind is torch.from_numpy:
        stored = stored.astype(np.float64)
    pairs = [(kind(image), label) for label, image in enumerate(stored)]
    images = from_dataset(pairs, data_range=4095)
    np.testing.assert_array_equal(
        np.sort(images.pixels.ravel()), np.rint(stored.ravel() * (255 / 4095))
    )
    if kind in (Image.fromarray, np.asarray):
        with pytest.warns(UserWarning, match="use 6.2% of their range"):
            from_dataset(pairs)
    with pytest.raises(ValueError, match=r"must be in \[0, data_range\], here \[0, 1023\]"):
        from_dataset(pairs, data_range=1023)


def test_a_data_range_of_the_digits_brightens_them():
    digits = load("digits", "train", limit=10).pixels
    np.testing.assert_array_equal(load("digits", "train", limit=10, data_range=255).pixels, digits)
    with pytest.raises(ValueError, match=r"digits must be in \[0, data_range\], here \[0, 127\]"):
        load("digits", "train", limit=10, data_range=127)


def test_a_data_set_in_python_is_no_source_of_load(folder_of_images):
    with pytest.raises(TypeError, match="source must be a str, got ImageFolder; `from_dataset`"):
        load(ImageFolder(folder_of_images), "train")


@pytest.mark.parametrize("labels", [(0, 1), ("a", "b")])
def test_two_classes_of_one_name_are_refused(labels):
    class WithClasses(list):
        classes = ("a", "b", "a")

    pairs = [(np.zeros((4, 4), np.uint8), label) for label in labels]
    message = "^classes must have different names, got 'a' for class 0 and class 2$"
    with pytest.raises(ValueError, match=message):
        from_dataset(pairs, classes=["a", "b", "a"])
    with pytest.raises(ValueError, match=message):
        from_dataset(WithClasses(pairs))
    assert from_dataset(WithClasses(pairs), classes=["a", "b", "c"]).classes == ("a", "b", "c")


def test_folders_without_classes_are_taken_where_no_labels_are_needed(folder_of_images):
    labelled = load(str(folder_of_images), "train", labelled=False)
    assert len(labelled.classes) == 2  # as with labels
    np.testing.assert_array_equal(labelled.pixels, load(str(folder_of_images), "train").pixels)
    one = str(folder_of_images / "dark")
    with pytest.raises(ValueError, match="must have each image in the folder of its class"):
        load(one, "train")
    for split in ("train", "test", "all"):
        images = load(one, split, labelled=False, limit=25)
        assert (len(images), images.classes) == (25, ("unlabelled",))
        assert (images.pixels.mean(axis=(1, 2, 3)) < 125).all()
    for path in (folder_of_images / "bright").iterdir():
        path.unlink()
    only = load(str(folder_of_images), "train", labelled=False)
    assert (len(only), only.classes) == (30, ("unlabelled",))


def test_a_class_that_only_another_split_has_is_refused_before_the_training(tmp_path, photographs):
    for name in ("train/cat", "train/dog", "val/cat", "val/dog", "val/fox"):
        (tmp_path / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(photographs[number]).save(tmp_path / name / f"{number}.png")
    for split in ("train", "val"):
        with pytest.raises(ValueError, match="'train' for each class, got .*'fox'"):
            load(str(tmp_path), split)
    for path in (tmp_path / "val" / "fox").iterdir():
        path.unlink()
    assert load(str(tmp_path), "train").classes == ("cat", "dog")


def test_test_images_without_labels_do_not_stop_a_training(tmp_path, photographs):
    for name in ("train/cat", "train/dog", "test/unknown"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(photographs[0]).save(tmp_path / name / "0.png")
    assert load(str(tmp_path), "train").classes == ("cat", "dog")
    with pytest.raises(ValueError, match="'train' for each class, got none for 'unknown'"):
        load(str(tmp_path), "test")


def test_the_only_split_is_no_class(folder_of_images, tmp_path):
    folder_of_images.rename(tmp_path / "train")
    (tmp_path / "all").mkdir()
    source = (tmp_path / "train").rename(tmp_path / "all" / "train").parent
    held_out = load(str(source), "test", labelled=False)
    np.testing.assert_array_equal(held_out.pixels, load(str(source), "test").pixels)
    assert len(held_out.classes) == 2
