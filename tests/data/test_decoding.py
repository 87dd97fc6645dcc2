import io
import os
import warnings

import numpy as np
import pytest
from PIL import Image

from virolbi.data import Picture, decode_image, load, read_plain_picture, write_picture
from virolbi.data.decoding import decode_images


def test_images_that_cannot_be_decoded_are_skipped_where_that_is_asked_for(
    folder_of_images, tmp_path
):
    complete = load(str(folder_of_images), "train")
    for path in (folder_of_images / "dark").glob("0*.png"):
        path.write_bytes(path.read_bytes()[:60])
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        images = load(str(folder_of_images), "train", corrupt="skip", cache=cache)
        assert len(images) + len(images.skipped) == len(complete)
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


def test_processes_that_decode_into_the_same_cache_do_not_disturb_each_other(
    folder_of_images, tmp_path, monkeypatch
):
    expected, cache = load(str(folder_of_images), "train"), tmp_path / "cache"
    loaded_by_other = []

    def read_while_another_process_does(*arguments):
        if len(list(cache.glob("*"))) == 1:  # only this process has started
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 1)
                patch.setattr("virolbi.data.reading.read_plain_picture", read_plain_picture)
                loaded_by_other.append(load(str(folder_of_images), "train", cache=cache))
        return read_plain_picture(*arguments)

    monkeypatch.setattr("virolbi.data.reading.read_plain_picture", read_while_another_process_does)
    monkeypatch.setattr("virolbi.data.decoding.DECODE_BATCH_SIZE", 1)
    np.testing.assert_array_equal(
        load(str(folder_of_images), "train", cache=cache).pixels, expected.pixels
    )
    np.testing.assert_array_equal(loaded_by_other[0].pixels, expected.pixels)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]


def levels_of(rows, cache_file, *, size=None, broken=()):
    """Levels of images that are as bright as their row, and the rows that cannot be decoded."""

    def entry_at(row):
        buffer = io.BytesIO()
        Image.new("L", (8, 8), row).save(buffer, "PNG")
        return {"bytes": buffer.getvalue()[: 20 if row in broken else None], "path": f"{row}.png"}

    pixels, errors = decode_images(
        entry_at, np.array(rows), size=size, source="here", cache_file=cache_file
    )
    assert pixels.shape[2] == (size or 8)
    return list(pixels[:, 0, 0, 0]), list(errors)


def test_a_cache_is_that_of_its_rows_in_their_order_and_size(tmp_path):
    for rows in ([3, 1, 2], [1, 2, 3], [1, 2], [1, 2, 4]):
        for size in (None, 4):
            for _ in range(2):
                assert levels_of(rows, tmp_path / "a.npy", size=size) == (rows, [])


def test_images_that_could_not_be_decoded_are_tried_again_by_a_cache(tmp_path):
    for broken in ([1, 3], [1, 3], [3], []):
        expected = [row for row in range(5) if row not in broken]
        assert levels_of(range(5), tmp_path / "a.npy", broken=broken) == (expected, broken)


@pytest.mark.parametrize("damage", ["fewer", "truncated", "missing", "text"])
def test_a_cache_of_another_number_of_images_is_made_again(tmp_path, damage):
    levels_of(range(5), tmp_path / "a.npy")
    (file,) = tmp_path.glob("*.npy")
    if damage == "fewer":
        np.save(file, np.load(file)[:4])
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-64])
    elif damage == "missing":
        file.unlink()
    else:
        next(tmp_path.glob("*.json")).write_text("{")
    for _ in range(2):
        assert levels_of(range(5), tmp_path / "a.npy") == ([0, 1, 2, 3, 4], [])


def test_a_cache_is_not_of_a_file_that_another_one_of_the_same_size_and_time_replaced(
    folder_of_images, tmp_path
):
    source = str(folder_of_images)
    for path in folder_of_images.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    load(source, "train", cache=tmp_path / "cache")
    for path in folder_of_images.rglob("*.bmp"):
        status = path.stat()
        Image.eval(Image.open(path), lambda level: 255 - level).save(path)
        assert path.stat().st_size == status.st_size
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    np.testing.assert_array_equal(
        load(source, "train", cache=tmp_path / "cache").pixels, load(source, "train").pixels
    )


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


@pytest.mark.parametrize("colour", [False, True])
def test_12_bits_keep_their_levels_with_a_range_and_are_warned_about_without(tmp_path, colour):
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    write_picture(
        tmp_path / "a.png", Picture(np.stack([levels] * 3, axis=-1) if colour else levels)
    )
    settings = {"size": None, "source": "here"}

    def decode(cache, data_range):
        entry = {"bytes": None, "path": str(tmp_path / "a.png")}
        cache_file = tmp_path / "cache.npy" if cache else None
        return decode_images(
            lambda row: entry,
            np.arange(1),
            cache_file=cache_file,
            data_range=data_range,
            **settings,
        )[0]

    for cache in (False, True, True):
        with pytest.warns(UserWarning, match="'here' use 6.2% of their range; .* data_range=4095"):
            decode(cache, None)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(np.unique(decode(cache, 4095))) == 256
    (error,) = decode_images(
        lambda row: {"bytes": (tmp_path / "a.png").read_bytes(), "path": "a.png"},
        np.arange(1),
        cache_file=None,
        data_range=1023,
        **settings,
    )[1].values()
    assert "must be in [0, data_range], here [0, 1023], got values from 0 to 4095" in error


def test_floats_in_0_1_with_a_data_range_are_warned_about(tmp_path):
    write_picture(tmp_path / "a.tif", Picture(np.full((8, 8), 0.5, np.float32)))
    with pytest.warns(UserWarning, match="use 0.024% of their range; .*; floats in"):
        assert decode_image(tmp_path / "a.tif", None, 4095).max() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode_image(tmp_path / "a.tif", None)
    bits = np.arange(64, dtype=np.uint16).reshape(8, 8) * 64
    bits[0, 0] = 65535
    write_picture(tmp_path / "b.png", Picture(bits))
    with pytest.warns(UserWarning, match="use 6.2% of their range"):
        decode_image(tmp_path / "b.png", None)


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
    rows = np.flatnonzero((before.pixels == before.pixels[coloured]).all(axis=(1, 2, 3)))
    for path in folder_of_images.rglob("*.png"):
        if np.array_equal(np.asarray(Image.open(path)), before.pixels[coloured, 0]):
            Image.fromarray(red).save(path)
    expected = np.repeat(before.pixels, 3, axis=1)
    expected[rows] = red.transpose(2, 0, 1)
    for cache in (None, tmp_path / "cache"):
        np.testing.assert_array_equal(load(source, "train", cache=cache).pixels, expected)


@pytest.mark.parametrize("cache", [None, "cache"])
def test_loading_with_a_data_range_keeps_the_levels_of_12_bits(
    folder_with_12_bits, tmp_path, cache
):
    files = sorted(folder_with_12_bits.glob("*/*.png"))
    stored = np.stack([np.asarray(Image.open(path)) for path in files])
    expected = np.rint(stored * (255 / 4095)).astype(np.uint8)
    options = {"cache": cache and tmp_path / cache}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits = [
            load(str(folder_with_12_bits), split, data_range=4095, **options)
            for split in ("train", "test")
        ]
    loaded = np.concatenate([images.pixels[:, 0] for images in splits])
    assert sorted(map(bytes, loaded)) == sorted(map(bytes, expected))
    with pytest.warns(UserWarning, match="microscope' use 6.2% of their range"):
        load(str(folder_with_12_bits), "train", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the caller says that these are dark images
        dark = load(str(folder_with_12_bits), "train", data_range=65535, **options)
    assert dark.pixels.max() == 16


def test_a_data_range_beyond_the_dtype_of_images_is_refused(folder_of_images):
    with pytest.raises(ValueError, match="48 of 48 .* data_range must be at most 255 for uint8"):
        load(str(folder_of_images), "train", data_range=4095)
    for value, error in ((0, ValueError), (np.inf, ValueError), ("12 bits", TypeError)):
        with pytest.raises(error, match="^data_range must be"):
            load(str(folder_of_images), "train", data_range=value)


def test_one_image_of_12_bits_is_warned_about_at_the_line_of_the_caller(folder_with_12_bits):
    path = folder_with_12_bits / "bright" / "00.png"
    with pytest.warns(UserWarning, match=r"pixels of .*00\.png use .* data_range=4095") as caught:
        decode_image(path, None)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode_image(path, None, 4095)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint16),
        np.full((4, 4), 0.01, np.float32),  # floats state their range: it is [0, 1]
        np.full((4, 4), 2, np.uint8),
    ],
)
def test_dark_images_that_leave_no_bits_unused_are_not_warned_about(tmp_path, pixels):
    np.save(tmp_path / "dark.npy", pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = decode_image(tmp_path / "dark.npy", None)
    assert decoded.max() <= 3
