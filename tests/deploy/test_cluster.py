import json
import os
import shutil
import subprocess
import sys
import time
from threading import Thread

import datasets
import numpy as np
import psutil
import pytest
from PIL import Image, ImageOps

from virolbi import PAPER, smooth
from virolbi.data import load
from virolbi.deploy import smooth_dataset

pytestmark = [
    pytest.mark.slow,  # Ray starts for ten seconds
    pytest.mark.filterwarnings("ignore"),  # Ray warns about its own code
]


@pytest.fixture(scope="module")
def ray():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


def test_a_worker_loads_no_torch():
    program = "import sys, virolbi.deploy.cluster; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"


def test_two_workers_smooth_an_image_folder_and_a_second_call_completes_it(
    ray, folder_of_images, tmp_path
):
    out = tmp_path / "smoothed"
    assert smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=np.int64(13)) == 5
    shards = sorted(out.rglob("*.parquet"))
    stamps = {path: path.stat().st_mtime_ns for path in shards}
    shards[2].unlink()
    assert smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=13) == 1
    unchanged = [path.stat().st_mtime_ns == stamps[path] for path in shards]
    assert unchanged == [True, True, False, True, True]
    assert smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=13) == 0
    images = load(str(out), "train")
    assert images.classes == ("bright", "dark")
    table = datasets.concatenate_datasets([*datasets.load_dataset(str(out)).values()])
    assert len(table) == 60
    entries = table.cast_column("image", datasets.Image(decode=False))
    for row, entry in zip(table, entries, strict=True):
        original = np.asarray(Image.open(folder_of_images / entry["image"]["path"]))
        np.testing.assert_array_equal(np.asarray(row["image"]), smooth(original, 0.9))
        assert row["label"] == ["bright", "dark"].index(entry["image"]["path"].split("/")[0])


def test_images_that_are_held_out_of_the_source_are_not_trained_on(ray, folder_of_images, tmp_path):
    (folder_of_images / "dark" / "05.png").write_bytes(b"no picture")
    source, out = str(folder_of_images), str(tmp_path / "out")
    smooth_dataset(folder_of_images, tmp_path / "out", 0, rows_per_shard=13, corrupt="skip")
    for split in ("train", "test"):
        before, after = load(source, split, corrupt="skip"), load(out, split)
        assert sorted(map(bytes, before.pixels)) == sorted(map(bytes, after.pixels))
        assert before.classes == after.classes


def test_shards_of_a_version_that_held_no_images_out_are_refused(ray, folder_of_images, tmp_path):
    smooth_dataset(folder_of_images, tmp_path / "out", 0.9)
    manifest = tmp_path / "out" / ".smoothing.json"
    content = json.loads(manifest.read_text())
    del content["held_out"]
    manifest.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="^out must be new or hold the same data set"):
        smooth_dataset(folder_of_images, tmp_path / "out", 0.9)


def test_shards_of_two_smoothers_are_not_mixed(ray, folder_of_images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=20)
    with monkeypatch.context() as patch:
        patch.setattr("virolbi.deploy.cluster.SMOOTHER_DIGEST", "0ld")
        assert smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=20) == 0  # complete
        shards = sorted(out.rglob("*.parquet"))
        shards[0].unlink()
        with pytest.raises(ValueError, match="^out must be completed with the sources .* got 0ld"):
            smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=20)
    assert smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=20) == 1
    for path in out.rglob("*.parquet"):
        path.unlink()
    monkeypatch.setattr("virolbi.deploy.cluster.SMOOTHER_DIGEST", "new")
    assert smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=20) == len(shards)


SPLITS = """---
configs:
- config_name: default
  data_files:
  - {split: train, path: %s}
  - {split: test, path: %s}
---
"""


def test_shards_that_would_be_read_as_another_split_are_refused(ray, tmp_path, photographs):
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    columns = {"image": [Image.fromarray(photographs[0])] * 4, "label": [0, 1, 0, 1]}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    for names in (("main", "holdout"), ("train-0", "test-0")):
        source = tmp_path / names[0]
        for name in names:
            table.to_parquet(source / f"{name}.parquet")
        (source / "README.md").write_text(SPLITS % tuple(f"{name}.parquet" for name in names))
        assert len(load(str(source), "test")) == 4
    assert smooth_dataset(source, tmp_path / "out", 0.9) == 2
    assert len(load(str(tmp_path / "out"), "test")) == 4
    with pytest.raises(
        ValueError,
        match="^source must .* got holdout.parquet, .* 'test', and its shards as 'train'",
    ):
        smooth_dataset(tmp_path / "main", tmp_path / "none", 0.9)
    assert not (tmp_path / "none").exists()
    (source / "README.md").write_text("---\nconfigs:\n- config_name: a\n- config_name: b\n---\n")
    assert smooth_dataset(source, tmp_path / "several", 0.9) == 2  # which `load` does not read


def test_a_worker_that_is_killed_loses_nothing_and_repeats_nothing(ray, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(16):
        path = tmp_path / "in" / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (512, 512, 3), np.uint8)).save(path)
    assert smooth_dataset(tmp_path / "in", tmp_path / "calm", 0.5, rows_per_shard=4) == 4
    killed = []

    def kill_one():
        end = time.monotonic() + 60
        while not killed and time.monotonic() < end:
            for process in psutil.Process().children(recursive=True):
                if not killed and "_make_shard" in " ".join(process.cmdline()):
                    process.kill()
                    killed.append(process.pid)

    killer = Thread(target=kill_one)
    killer.start()
    assert smooth_dataset(tmp_path / "in", tmp_path / "disturbed", 0.5, rows_per_shard=4) == 4
    killer.join()
    assert killed
    calm, disturbed = (
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*.parquet")}
        for out in (tmp_path / "calm", tmp_path / "disturbed")
    )
    assert len(calm) == 4
    assert disturbed == calm


def test_row_groups_of_parquet_keep_their_other_columns(ray, tmp_path, photographs):
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "label": datasets.ClassLabel(names=["a", "b"]),
            "note": datasets.Value("string"),
        }
    )
    table = {
        "img": [Image.fromarray(pixels) for pixels in photographs[:10]],
        "label": [0, 1] * 5,
        "note": [str(index) for index in range(10)],
    }
    datasets.Dataset.from_dict(table, features=features).to_parquet(
        tmp_path / "in" / "test-0.parquet", batch_size=4
    )
    assert smooth_dataset(tmp_path / "in", tmp_path / "out", 0.7, preset="paper", size=16) == 3
    smoothed = datasets.load_dataset(str(tmp_path / "out"))["test"]
    assert smoothed.features == features
    assert smoothed["note"][:] == table["note"]
    small = np.asarray(ImageOps.fit(table["img"][3], (16, 16), Image.Resampling.BICUBIC))
    expected = smooth(small, 0.7, channel_axis=-1, **PAPER)
    np.testing.assert_array_equal(np.asarray(smoothed[3]["img"]), expected)


def test_tables_in_linked_folders_are_smoothed_and_hidden_ones_are_not(ray, tmp_path, photographs):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    source, out = tmp_path / "in", tmp_path / "out"
    images = [Image.fromarray(pixels) for pixels in photographs[:4]]
    for path in (source / "train" / "0", tmp_path / "elsewhere" / "1", source / ".old" / "test"):
        path.parent.mkdir(parents=True)
        datasets.Dataset.from_dict(
            {"image": images, "label": [0, 1, 0, 1]}, features=features
        ).to_parquet(path.with_suffix(".parquet"))
    (source / "test").symlink_to(tmp_path / "elsewhere")
    shutil.copy(source / "train" / "0.parquet", source / "train" / "0.PARQUET")
    with pytest.raises(ValueError, match="and are in no linked folder, got 2 that are in no split"):
        load(str(source), "test")
    assert smooth_dataset(source, out, 0.9) == 3
    assert (len(load(str(out), "train")), len(load(str(out), "test"))) == (8, 4)
    (source / "test" / "loop").symlink_to(source)
    with pytest.raises(ValueError, match="must have no links to folders around them"):
        smooth_dataset(source, tmp_path / "none", 0.9)


def test_images_lie_in_the_columns_that_load_reads(ray, tmp_path, photographs):
    names, image = ("image", "jpg", "label"), Image.fromarray(photographs[0])
    types = datasets.Value("string"), datasets.Image(), datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features(dict(zip(names, types, strict=True)))
    table = {"image": ["a note"] * 10, "jpg": [image] * 10, "label": [0, 1] * 5}
    for folder, columns in (("in", names), ("none", names[::2])):
        datasets.Dataset.from_dict(
            {name: table[name] for name in columns},
            features=datasets.Features({name: features[name] for name in columns}),
        ).to_parquet(tmp_path / folder / "test.parquet")
    assert smooth_dataset(tmp_path / "in", tmp_path / "out", 0.9) == 1
    before, after = (load(str(tmp_path / folder), "test") for folder in ("in", "out"))
    assert before.pixels.shape == after.pixels.shape
    np.testing.assert_array_equal(after.labels, before.labels)
    with pytest.raises(ValueError, match=r"none/test.parquet must have a column of images"):
        smooth_dataset(tmp_path / "none", tmp_path / "empty", 0.9)


def test_sixteen_bits_are_scaled_as_the_training_data_are(ray, tmp_path):
    for name, level in (("a", 10_000), ("b", 40_000)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for index in range(5):
            image = Image.fromarray(np.full((4, 4), level, np.uint16))
            image.save(tmp_path / "in" / name / f"{index}.png")
    smooth_dataset(tmp_path / "in", tmp_path / "out", 0.9)
    before, after = load(str(tmp_path / "in"), "train"), load(str(tmp_path / "out"), "train")
    assert set(before.pixels.ravel()) == set(after.pixels.ravel()) == {10_000 >> 8, 40_000 >> 8}


@pytest.mark.parametrize(
    ("settings", "error", "name"),
    [
        ({"sparsity": 2}, ValueError, "sparsity"),
        ({"preset": "best"}, ValueError, "preset"),
        ({"corrupt": "go on"}, ValueError, "corrupt"),
        ({"rows_per_shard": 0}, ValueError, "rows_per_shard"),
        ({"size": 0}, ValueError, "size"),
        ({"sparsity": "auto", "preset": "paper"}, ValueError, "sparsity"),
        ({"size": 12.5}, TypeError, "size"),
        ({"workers": 0}, ValueError, "workers"),
        ({"nu": 0, "corrupt": "skip"}, ValueError, "nu"),
    ],
)
def test_wrong_settings_are_refused(folder_of_images, tmp_path, settings, error, name):
    with pytest.raises(error, match=f"^{name} must be"):
        smooth_dataset(folder_of_images, tmp_path / "out", **({"sparsity": 0.9} | settings))
    assert not (tmp_path / "out").exists()


def test_wrong_folders_are_refused(folder_of_images, tmp_path):
    with pytest.raises(ValueError, match="source must be a folder"):
        smooth_dataset(tmp_path / "none", tmp_path / "out", 0.9)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="source must hold"):
        smooth_dataset(tmp_path / "empty", tmp_path / "out", 0.9)
    with pytest.raises(ValueError, match=f"{tmp_path} must be a new or an empty folder"):
        smooth_dataset(folder_of_images, tmp_path, 0.9)
    for inside in (folder_of_images, folder_of_images / "smoothed"):
        with pytest.raises(ValueError, match=f"out must not lie inside source, got {inside} in"):
            smooth_dataset(folder_of_images, inside, 0.9)
    assert not (tmp_path / "out").exists()
    assert not (folder_of_images / "smoothed").exists()


def test_a_broken_image_is_named_or_skipped(ray, folder_of_images, tmp_path):
    (folder_of_images / "dark" / "05.png").write_bytes(b"no picture")
    (folder_of_images / "dark" / "link.png").symlink_to(tmp_path / "nowhere.png")
    out = tmp_path / "out"
    with pytest.raises(
        ValueError, match=r"dark/(05|link).png, could not be decoded: .*corrupt='skip'"
    ):
        smooth_dataset(folder_of_images, out, 0.9)
    assert smooth_dataset(folder_of_images, out, 0.9, corrupt="skip") > 0  # as the error says
    assert sum(map(len, datasets.load_dataset(str(out)).values())) == 59
    for settings in ({"sparsity": 0.8, "corrupt": "skip"}, {"sparsity": 0.9}):
        with pytest.raises(ValueError, match="out must be new or hold the same data set"):
            smooth_dataset(folder_of_images, out, **settings)


@pytest.mark.parametrize("kind", ["added", "removed", "changed", "touched"])
def test_a_source_that_changed_is_refused(ray, folder_of_images, tmp_path, kind):
    out, image = tmp_path / "out", folder_of_images / "dark" / "05.png"
    smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=20)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    if kind == "added":
        shutil.copy(image, image.with_name("new.png"))
    elif kind == "removed":
        image.unlink()
    elif kind == "changed":
        Image.new("L", (32, 32), 250).save(image)
    else:  # another content of the same length
        os.utime(image, ns=(0, image.stat().st_mtime_ns + 1000))
    name = "dark/new.png" if kind == "added" else "dark/05.png"
    change = "changed" if kind == "touched" else kind
    for corrupt in ("stop", "skip"):
        with pytest.raises(ValueError, match=rf"^source must .* 1 {change} \(such as {name}\)"):
            smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=20, corrupt=corrupt)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_an_image_that_was_repaired_is_smoothed(ray, folder_of_images, tmp_path):
    out, image = tmp_path / "out", folder_of_images / "dark" / "05.png"
    content = image.read_bytes()
    image.write_bytes(content[:40])
    with pytest.raises(ValueError, match="05.png, could not be decoded"):
        smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=5, workers=1)
    image.write_bytes(content)
    assert smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=5, workers=1) > 0
    assert smooth_dataset(folder_of_images, out, 0.9, rows_per_shard=5, workers=1) == 0


def test_a_table_that_changed_is_refused(ray, tmp_path, photographs):
    features = datasets.Features({"image": datasets.Image()})
    for count in (2, 3):
        images = {"image": [Image.fromarray(pixels) for pixels in photographs[:count]]}
        table = datasets.Dataset.from_dict(images, features=features)
        table.to_parquet(tmp_path / "in" / "train.parquet")
        if count == 2:
            assert smooth_dataset(tmp_path / "in", tmp_path / "out", 0.9) == 1
            assert smooth_dataset(tmp_path / "in", tmp_path / "out", 0.9) == 0
    with pytest.raises(ValueError, match=r"^source must .* 1 changed \(such as train.parquet\)"):
        smooth_dataset(tmp_path / "in", tmp_path / "out", 0.9)


def test_a_missing_image_is_named_and_a_shard_without_any_is_refused(ray, tmp_path, photographs):
    features = datasets.Features({"image": datasets.Image()})
    for name, images in (("one", [None, photographs[0]]), ("none", [None, None])):
        entries = [None if pixels is None else Image.fromarray(pixels) for pixels in images]
        datasets.Dataset.from_dict({"image": entries}, features=features).to_parquet(
            tmp_path / name / "train.parquet"
        )
    with pytest.raises(
        ValueError, match="image 0 of .*one/train.parquet, None, .*: .*; corrupt='skip'"
    ):
        smooth_dataset(tmp_path / "one", tmp_path / "stopped", 0.9)
    with pytest.warns(UserWarning, match="^corrupt should be 'stop' .* without a test split"):
        assert smooth_dataset(tmp_path / "one", tmp_path / "skipped", 0.9, corrupt="skip") == 1
    assert len(datasets.load_dataset(str(tmp_path / "skipped"))["train"]) == 1
    with pytest.raises(
        ValueError, match="shard .*train-00000.parquet .* image 0 of .*none/train.parquet"
    ):
        smooth_dataset(tmp_path / "none", tmp_path / "out", 0.9, corrupt="skip")
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_12_bits_keep_their_levels_with_a_range_and_are_warned_about_without(
    ray, folder_with_12_bits, tmp_path
):
    smooth_dataset(folder_with_12_bits, tmp_path / "right", 0, data_range=4095)
    right = load(str(tmp_path / "right"), "train")
    expected = load(str(folder_with_12_bits), "train", data_range=4095)
    assert sorted(map(bytes, right.pixels)) == sorted(map(bytes, expected.pixels))
    with pytest.warns(UserWarning, match="microscope use .* data_range=4095"):
        smooth_dataset(folder_with_12_bits, tmp_path / "dark", 0)
    with pytest.raises(ValueError, match="^data_range must be positive"):
        smooth_dataset(folder_with_12_bits, tmp_path / "none", 0, data_range=0)
