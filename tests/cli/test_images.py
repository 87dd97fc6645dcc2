import re
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw

from virolbi import PAPER, ScaleSpace, denoise, noise_strength, smooth
from virolbi.cli import batches
from virolbi.data import Picture, contact_sheet, read_picture, read_plain_picture, write_picture
from virolbi.scale_space import Form, stopping_time


def pixels(path):
    return np.asarray(Image.open(path))


def test_smooth_reports_the_noise_that_it_found(run, tmp_path, photographs):
    noise = np.random.default_rng(0).normal(0, 25, (32, 32, 3))
    noisy = np.clip(photographs[3] + noise, 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    text = run("smooth", tmp_path / "noisy.png", tmp_path / "out.png", "--sparsity", "auto")
    strength = noise_strength(noisy, channel_axis=-1)
    assert text.startswith(f"{tmp_path}/noisy.png: smoothed for noise of {strength:.3f} (")
    assert text.count("\n") == 1
    np.testing.assert_array_equal(
        pixels(tmp_path / "out.png"), smooth(noisy, "auto", channel_axis=-1)
    )


def test_noise_in_one_channel_is_found_where_each_has_its_own_support(run, tmp_path):
    noisy = np.full((32, 32, 3), 128, np.uint8)
    noisy[..., 2] += np.random.default_rng(0).integers(-30, 30, (32, 32)).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    options = ["--sparsity", "auto", "--per-channel"]
    text = run("smooth", tmp_path / "noisy.png", tmp_path / "out.png", *options)
    blue = noise_strength(noisy, channel_axis=-1, joint=False)[2]
    assert text.startswith(
        f"{tmp_path}/noisy.png: smoothed for noise of 0.000, 0.000, {blue:.3f} ("
    )
    assert text.count("\n") == 1


@pytest.fixture
def three_files(tmp_path, photographs):
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for file, photograph in zip(files, photographs, strict=False):
        Image.fromarray(photograph).save(file)
    return files


def test_several_pictures_are_smoothed_into_a_folder(run, three_files, photographs, tmp_path):
    run("smooth", *three_files, tmp_path / "new" / "folder", "--sparsity", 0.9)
    for file, photograph in zip(three_files, photographs, strict=False):
        smoothed = pixels(tmp_path / "new" / "folder" / file.name)
        np.testing.assert_array_equal(smoothed, smooth(photograph, 0.9, channel_axis=-1))
        np.testing.assert_array_equal(pixels(file), photograph)


def test_one_picture_is_smoothed_into_a_folder(run, three_files, tmp_path):
    (tmp_path / "existing").mkdir()
    run("smooth", three_files[0], tmp_path / "existing", "--sparsity", 0.9)
    assert (tmp_path / "existing" / "0.png").exists()
    run("smooth", three_files[0], f"{tmp_path}/new/", "--sparsity", 0.9)
    assert (tmp_path / "new" / "0.png").exists()


def test_two_results_in_one_file_are_refused(run, three_files, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "0.png").write_bytes(three_files[0].read_bytes())
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in (
        ([*three_files, tmp_path], f"out must not be the folder of the images, {three_files[0]}"),
        (
            [three_files[0], tmp_path / "new" / "0.png", tmp_path / "other"],
            "images must have different names to go into one folder, got several 0.png",
        ),
        (three_files, f"out must be a folder for 2 images, got the file {three_files[2]}"),
        (
            [*three_files[:2], tmp_path / "no.png"],
            f"out must be a folder for 2 images, got {tmp_path}/no.png",
        ),
        ([tmp_path, tmp_path / "x.png"], f"images must be files, got the folder {tmp_path}"),
        (
            ["-r", tmp_path, tmp_path],
            f"out must not be the folder of the images or around it, got {tmp_path}",
        ),
        (["-r", tmp_path / "new", tmp_path], "out must not be the folder of the images or"),
        (["-r", tmp_path, tmp_path / "x.jpg"], f"got {tmp_path}/x.jpg, which has the suffix of"),
        (["-r", tmp_path, tmp_path / "x.npy"], f"got {tmp_path}/x.npy, which has the suffix of"),
        (
            [three_files[0], tmp_path / "none.png", tmp_path / "other"],
            f"images must exist, there is no file {tmp_path}/none.png",
        ),
    ):
        assert message in run("smooth", *arguments, code=1)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_broken_picture_among_several_is_named_and_left_out(run, three_files, tmp_path):
    (tmp_path / "broken.png").write_bytes(three_files[0].read_bytes()[:500])
    text = run("smooth", tmp_path / "broken.png", *three_files, tmp_path / "rest", code=1)
    assert f"virolbi: {tmp_path}/broken.png must be an image file" in text
    assert "virolbi: 1 of 4 images were left out\n" in text
    names = sorted(path.name for path in (tmp_path / "rest").iterdir())
    assert names == ["0.png", "1.png", "2.png"]


def test_a_file_that_cannot_be_smoothed_is_named_too(run, three_files, tmp_path):
    np.save(tmp_path / "flags.npy", np.zeros((8, 8), bool))
    text = run("denoise", tmp_path / "flags.npy", *three_files, tmp_path / "rest", code=1)
    assert f"virolbi: {tmp_path}/flags.npy: images must be uint8" in text


@pytest.mark.parametrize("command", ["smooth", "denoise"])
def test_hidden_pixels_do_not_count_in_the_noise(run, tmp_path, command):
    rng = np.random.default_rng(0)
    noisy = (0.5 + rng.normal(0, 0.1, (64, 64))).clip(0, 1).astype(np.float32)
    noisy[:40] = np.nan
    np.save(tmp_path / "noisy.npy", noisy)
    options = ["--sparsity", "auto"] if command == "smooth" else []
    text = run(command, tmp_path / "noisy.npy", tmp_path / "out.npy", *options)
    assert 0.09 < float(re.search(r"noise of (0\.\d+)", text)[1]) < 0.11
    cleaned = np.load(tmp_path / "out.npy")
    assert np.isnan(cleaned[:40]).all()
    assert cleaned[40:].std() < 0.03


@pytest.mark.parametrize("name", ["smooth", "path", "corrupt"])
def test_an_existing_file_is_replaced_only_by_force(run, three_files, name):
    """The shell expands `*.png` to two files where an output was forgotten."""
    before = three_files[1].read_bytes()
    message = run(name, *three_files[:2], code=1)
    assert f"{three_files[1]} exists; --force replaces it" in message
    assert three_files[1].read_bytes() == before
    run(name, *three_files[:2], "--force")
    assert three_files[1].read_bytes() != before


def test_a_batch_is_resumed_and_says_in_one_line_what_was_done(run, three_files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_bytes(b"precious")
    text = run("smooth", *three_files, tmp_path / "out")
    assert text == "2 smoothed, 1 exist already and stay as they are (--force replaces them)\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "2.png"]
    assert (tmp_path / "out" / "1.png").read_bytes() == b"precious"
    run("smooth", *three_files, tmp_path / "out", "-f")
    assert pixels(tmp_path / "out" / "1.png").shape == (32, 32, 3)
    (tmp_path / "broken.jpg").write_bytes(b"")
    options = [tmp_path / "broken.jpg", tmp_path / "new", "--sparsity", 0]
    text = run("smooth", *three_files, *options, code=1)
    assert f"virolbi: {tmp_path}/broken.jpg must be an image file" in text
    assert "3 unchanged, 1 left out\nvirolbi: 1 of 4 images were left out\n" in text


@pytest.mark.parametrize("option", ["--quiet", "-q"])
def test_quiet_leaves_out_notes_but_no_error(run, three_files, tmp_path, option):
    arguments = ["smooth", *three_files[:2], tmp_path / "out", "--sparsity", "auto", option]
    assert run(*arguments) == ""
    (tmp_path / "out" / "0.png").unlink()
    three_files[0].write_bytes(b"")
    assert "virolbi: 1 of 2 images were left out\n" in run(*arguments, code=1)


def test_a_picture_without_noise_is_copied(run, photographs, tmp_path):
    clean = Image.fromarray(photographs[0]).resize((96, 96), Image.Resampling.BICUBIC)
    clean.save(tmp_path / "in.jpg", quality=60)
    auto = ["--sparsity", "auto"]
    text = run("smooth", tmp_path / "in.jpg", tmp_path / "out.JPG", *auto)
    assert "no independent noise seen, not smoothed (--noise .02 states one)" in text
    assert (tmp_path / "out.JPG").read_bytes() == (tmp_path / "in.jpg").read_bytes()
    run("smooth", tmp_path / "in.jpg", tmp_path / "out.png", *auto)
    with Image.open(tmp_path / "out.png") as converted, Image.open(tmp_path / "in.jpg") as original:
        assert converted.format == "PNG"
        np.testing.assert_array_equal(np.asarray(converted), np.asarray(original))


def test_smooth_writes_what_the_function_returns(run, picture, photographs, tmp_path):
    out = tmp_path / "out.png"
    run("smooth", picture, out, "--sparsity", 0.9)
    expected = smooth(photographs[3], 0.9, channel_axis=-1)
    np.testing.assert_array_equal(pixels(out), expected)
    run("smooth", picture, tmp_path / "out.jpg", "--sparsity", 0.9)
    lossy = pixels(tmp_path / "out.jpg").astype(float)
    assert np.abs(lossy - expected).mean() < 0.6  # .84 at the default quality of Pillow


@pytest.mark.parametrize("form", [{}, {"joint": False}, {"delta": 0.05, "nu": 0.5}])
@pytest.mark.parametrize("noise", [0.002, 0.1])  # the first is below one grey level, and counts
def test_a_stated_noise_stops_at_its_time(run, picture, photographs, tmp_path, form, noise):
    options = {"joint": "--per-channel", "delta": "--delta=0.05", "nu": "--nu=0.5"}
    out = tmp_path / "out.png"
    run("smooth", picture, out, "--noise", noise, *(options[name] for name in form))
    channels = 3 if form.get("joint", True) else 1
    time = stopping_time(noise, channels=channels, delta=form.get("delta", Form.delta))
    expected = ScaleSpace(photographs[3], channel_axis=-1, **form).at(time=time).beta
    assert (expected != photographs[3]).any()
    np.testing.assert_array_equal(pixels(out), expected)


def test_a_multiple_of_the_noise_that_is_seen_is_smoothed_for(run, photographs, tmp_path):
    noisy = (photographs[3] + np.random.default_rng(0).normal(0, 9, (32, 32, 3))).clip(0, 255)
    noisy = noisy.astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "in.png")
    text = run("smooth", tmp_path / "in.png", tmp_path / "out.png", "--noise", "2.5x")
    assert "smoothed for 2.5 times the noise of" in text
    expected = smooth(noisy, lambda seen: 2.5 * seen, channel_axis=-1)
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), expected)
    for noise in ("2.5x", "0.1"):
        arguments = ["smooth", tmp_path / "in.png", tmp_path / "no.png", "--noise", noise]
        assert "--noise needs --output beta" in run(*arguments, "--output", "regions", code=1)
    for wrong in ("x", "0x", "-1x", "infx", "1.5", "0", "much"):
        message = run("smooth", tmp_path / "in.png", tmp_path / "no.png", "--noise", wrong, code=1)
        assert "--noise must be a fraction of white, > 0 and <= 1, or a multiple" in message


def test_a_grey_picture_of_stated_noise_has_one_channel(run, photographs, tmp_path):
    grey = np.asarray(Image.fromarray(photographs[3]).convert("L"))
    Image.fromarray(grey).save(tmp_path / "in.png")
    run("smooth", tmp_path / "in.png", tmp_path / "out.png", "--noise", 0.1)
    expected = ScaleSpace(grey).at(time=stopping_time(0.1)).beta
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), expected)


@pytest.mark.parametrize("output", ["beta", "regions"])
def test_a_stated_time_is_where_smoothing_stops(run, picture, photographs, tmp_path, output):
    run("smooth", picture, tmp_path / "out.png", "--time", 9.5, "--output", output)
    expected = ScaleSpace(photographs[3], channel_axis=-1).at(time=9.5).output(output)
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), expected)


def test_options_change_the_preset(run, picture, photographs, tmp_path):
    out = tmp_path / "out.png"
    run("smooth", picture, out, "--sparsity", 0.6, "--preset", "paper", "--nu", 0.5)
    expected = smooth(photographs[3], 0.6, nu=0.5, channel_axis=-1, **PAPER)
    np.testing.assert_array_equal(pixels(out), expected)
    beta = ["--output", "beta", "--joint", "--delta", 0.05]
    run("smooth", picture, out, "--preset", "paper", *beta, "--force")
    expected = smooth(photographs[3], 0.8, channel_axis=-1, delta=0.05)
    np.testing.assert_array_equal(pixels(out), expected)


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [("L", np.uint8), ("I;16", np.uint16), ("LA", np.uint8), ("RGBA", np.uint8), ("P", np.uint8)],
)
def test_a_picture_keeps_its_mode(run, photographs, tmp_path, mode, dtype):
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


def test_path_draws_one_labelled_picture_for_each_sparsity(run, picture, photographs, tmp_path):
    strip = tmp_path / "strip.png"
    for options, form in (([], {}), (["--output", "regions"], {"output": "regions"})):
        run("path", picture, strip, "--at", "1,0.8,0", "--columns", 2, "--force", *options)
        sheet = pixels(strip)
        band, cell = sheet.shape[0] // 2 - 32, sheet.shape[1] // 2
        assert sheet.shape == (2 * (32 + band), 2 * cell, 3)
        for top, left, sparsity in ((band, 0, 1), (band, cell, 0.8), (2 * band + 32, 0, 0)):
            shown = sheet[top : top + 32, left : left + 32]
            expected = smooth(photographs[3], sparsity, channel_axis=-1, **form)
            np.testing.assert_array_equal(shown, expected)
    run("path", picture, strip, "--at", "auto,0", "--force")
    shown = pixels(strip)[band:, :32]
    np.testing.assert_array_equal(shown, smooth(photographs[3], "auto", channel_axis=-1))
    assert "sparsity must be a number for output='regions'" in run(
        "path", picture, strip, "--at", "auto", "--preset", "paper", "--force", code=1
    )


@pytest.mark.parametrize("option", ["--joint", "--per-channel"])
def test_labels_of_a_path_say_sparsity_time_and_noise(
    run, picture, photographs, tmp_path, monkeypatch, option
):
    shown = []

    def draw(pictures, labels, *options):
        shown.extend(labels)
        return contact_sheet(pictures, labels, *options)

    monkeypatch.setattr("virolbi.cli.images.contact_sheet", draw)
    run("path", picture, tmp_path / "strip.png", "--at", ".8,auto", "--size", 24, option)
    assert pixels(tmp_path / "strip.png").shape[0] < 24 * 2
    joint = option == "--joint"
    photograph = read_plain_picture(picture, 24).pixels
    space = ScaleSpace(photograph, channel_axis=-1, joint=joint)
    noise = noise_strength(photograph, channel_axis=-1, joint=joint)
    assert shown[0].startswith(f"sparsity 0.8, time {space.at(0.8).time.min():.3g}")
    times = space.at("auto").time
    if joint:  # the one case in which nothing is smoothed
        assert np.isinf(times)
        assert shown[1] == f"auto: not smoothed, noise seen {noise:.3g}"
    else:
        assert shown[1].startswith(f"auto: noise seen {noise.min():.3g}")
        assert f", time {times.min():.3g}" in shown[1]


def test_a_path_of_regions_merges_small_ones(run, picture, photographs, tmp_path):
    form = ["--output", "regions", "--min-area", 20]
    run("path", picture, tmp_path / "strip.png", "--at", "0.8", *form)
    expected = smooth(photographs[3], 0.8, channel_axis=-1, output="regions", min_area=20)
    np.testing.assert_array_equal(pixels(tmp_path / "strip.png")[-32:, :32], expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bits_are_smoothed_in_16_bits(run, photographs, tmp_path, suffix, channels):
    deep = photographs[3].astype(np.uint16) * 251
    deep = deep[..., 0] if channels == 1 else deep
    write_picture(tmp_path / f"in{suffix}", Picture(deep))
    run("smooth", tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", "--sparsity", 0.9)
    written = read_picture(tmp_path / f"out{suffix}").pixels
    expected = smooth(deep, 0.9, channel_axis=None if channels == 1 else -1)
    np.testing.assert_array_equal(written, expected)


def test_a_data_range_counts_in_smooth_and_path(run, photographs, tmp_path):
    twelve = photographs[3].astype(np.uint16) * 16
    write_picture(tmp_path / "in.png", Picture(twelve))
    run("smooth", tmp_path / "in.png", tmp_path / "out.png", "--time", 9, "--data-range", 4080)
    expected = ScaleSpace(photographs[3] / 255, channel_axis=-1).at(time=9).beta
    written = read_picture(tmp_path / "out.png").pixels
    np.testing.assert_allclose(written, expected * 4080, atol=0.6)
    run("path", tmp_path / "in.png", tmp_path / "strip.png", "--at", "0", "--data-range", 4080)
    np.testing.assert_array_equal(pixels(tmp_path / "strip.png")[-32:, :32], photographs[3])


def test_path_shows_a_transparent_picture_on_the_white_of_its_data_range(
    run, photographs, tmp_path
):
    alpha = np.full((32, 32), 65535, np.uint16)
    alpha[:, 16:] = 0
    write_picture(tmp_path / "in.png", Picture(photographs[3].astype(np.uint16) * 16, alpha))
    run("path", tmp_path / "in.png", tmp_path / "strip.png", "--at", "0", "--data-range", 4080)
    shown = pixels(tmp_path / "strip.png")[-32:, :32]
    np.testing.assert_array_equal(shown[:, :16], photographs[3][:, :16])
    np.testing.assert_array_equal(shown[:, 16:], 255)


def test_hidden_colours_do_not_bleed_and_stay(run, photographs, tmp_path):
    alpha = np.full((32, 32), 255, np.uint8)
    alpha[:, 16:] = 0
    results = []
    for hidden in (0, 255):
        colours = photographs[3].copy()
        colours[:, 16:] = hidden
        write_picture(tmp_path / "in.png", Picture(colours, alpha))
        run("smooth", tmp_path / "in.png", tmp_path / "out.png", "--sparsity", 0.9, "--force")
        written = read_picture(tmp_path / "out.png")
        np.testing.assert_array_equal(written.alpha, alpha)
        np.testing.assert_array_equal(written.pixels[:, 16:], hidden)
        results.append(written.pixels[:, :16])
    np.testing.assert_array_equal(*results)
    assert (results[0] != photographs[3][:, :16]).any()


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_slices_are_smoothed_one_by_one_and_bands_together(run, photographs, tmp_path, suffix):
    stack = photographs[:5, ..., 0]
    path, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    write_picture(path, Picture(stack, slice_axes=1))
    text = run("smooth", path, out, "--sparsity", 0.9)
    assert ("5 images, each by itself (--channel-axis names" in text) == (suffix == ".npy")
    np.testing.assert_array_equal(read_picture(out).pixels, smooth(stack, 0.9))
    run("smooth", path, out, "--sparsity", 0.9, "--channel-axis", 0, "--force")
    together = smooth(stack, 0.9, channel_axis=0)
    assert (together != smooth(stack, 0.9)).any()
    np.testing.assert_array_equal(read_picture(out).pixels, together)
    assert "--channel-axis must be" in run("smooth", path, out, "--channel-axis", "x", code=1)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_band_that_a_file_calls_opacity_is_named_or_smoothed(run, photographs, tmp_path, planar):
    bands = np.append(photographs[3], photographs[2][..., :1], axis=-1).astype(np.uint16) * 16
    array, axis = (bands, -1) if planar == "contig" else (np.moveaxis(bands, -1, 0), 0)
    path, out = tmp_path / "in.tif", tmp_path / "out.tif"
    options = {"photometric": "rgb", "planarconfig": planar, "extrasamples": [2]}
    tifffile.imwrite(path, array, **options)
    arguments = ["smooth", path, out, "--sparsity", 0.9, "--data-range", 4095, "--force"]
    assert "calls its last band opacity, so it is kept as it is" in run(*arguments)
    np.testing.assert_array_equal(read_picture(out).alpha, bands[..., 3])
    assert "opacity" not in run(*arguments, "--channel-axis", axis)
    expected = smooth(bands, 0.9, channel_axis=-1, data_range=4095)
    np.testing.assert_array_equal(np.moveaxis(tifffile.imread(out), axis, -1), expected)
    bands[0, 0, 3] = 65535  # an opaque pixel
    tifffile.imwrite(path, array, **options)
    assert "opacity" not in run(*arguments)


@pytest.mark.parametrize("shape", [(20, 16, 3), (20, 16, 4), (2, 20, 16, 3)])
def test_colours_that_are_guessed_from_the_axes_of_an_array_are_named(run, tmp_path, shape):
    path = tmp_path / "in.npy"
    np.save(path, np.random.default_rng(0).random(shape))
    arguments = ["smooth", path, tmp_path / "out.npy", "--force"]
    text = run(*arguments)
    assert f"the last axis is read as {shape[-1]} colours (--channel-axis names" in text
    assert ("2 images, each by itself" in text) == (len(shape) == 4)
    assert "colours" not in run(*arguments, "--channel-axis", -1)
    assert "colours" not in run(*arguments, "--quiet")


def test_what_has_no_data_is_kept_and_does_not_bleed(run, photographs, tmp_path):
    grey = photographs[3][..., 0].astype(np.float32) / 255
    results = []
    for value, options in ((np.nan, []), (-9999, ["--nodata", -9999]), (0.25, ["--nodata", 0.25])):
        holed = grey.copy()
        holed[10:20, 10:20] = value
        write_picture(tmp_path / "in.tif", Picture(holed))
        run("smooth", tmp_path / "in.tif", tmp_path / "out.tif", "--force", *options)
        written = read_picture(tmp_path / "out.tif").pixels
        np.testing.assert_array_equal(written[10:20, 10:20], holed[10:20, 10:20])
        results.append(np.delete(written, np.s_[10:20], axis=0))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("least", [0, -9000])
def test_signed_numbers_are_smoothed_as_their_shifted_ones(run, photographs, tmp_path, least):
    signed = photographs[3][..., 0].astype(np.int16) * 100 + least
    signed[0, 0] = least
    write_picture(tmp_path / "in.tif", Picture(signed))
    run("smooth", tmp_path / "in.tif", tmp_path / "out.tif", "--time", 30)
    written = read_picture(tmp_path / "out.tif").pixels
    expected = ScaleSpace((signed - least).astype(np.uint16), data_range=65535).at(time=30).beta
    assert written.dtype == np.int16
    np.testing.assert_allclose(written, expected.astype(int) + least, atol=1)
    assert np.mean(written != expected.astype(int) + least) < 0.01  # halves that round apart
    assert (written != signed).any()


@pytest.mark.parametrize(
    ("dtype", "scale", "data_range"),
    [(np.int16, 6000, 9000), (np.float32, 1, 1), (np.float64, 1000, 1500)],
)
def test_the_range_of_signed_numbers_is_their_span(
    run, photographs, tmp_path, recwarn, dtype, scale, data_range
):
    signed = (photographs[3][..., 0] / 127.5 - 1) * scale
    signed[:2, 0] = -scale, scale
    write_picture(tmp_path / "in.tif", Picture(signed.astype(dtype)))
    arguments = ["smooth", tmp_path / "in.tif", tmp_path / "out.tif", "-f", "--sparsity", "auto"]
    run(*arguments, "--data-range", data_range)
    (warning,) = map(str, (found.message for found in recwarn.list))
    assert warning.startswith(
        f"{tmp_path}/in.tif: pixels should span at most {data_range}, the data range, got val"
    )
    assert f"values from {-scale} to {scale}; state white or their span, such as --data" in warning
    recwarn.clear()
    run(*arguments, "--data-range", 2 * scale)
    assert not recwarn.list
    strip = ["path", tmp_path / "in.tif", tmp_path / "strip.png", "--at", 0, "--data-range"]
    run(*strip, 2 * scale)
    shown = pixels(tmp_path / "strip.png")[-32:, :32].astype(int)
    np.testing.assert_allclose(shown, (signed / scale + 1) * 127.5, atol=1)
    message = run(*arguments, "--data-range", 0.5 * scale, code=1)
    assert f"pixels must span at most {0.5 * scale:g}" in message
    assert f"got values from {-scale} to {scale};" in message


@pytest.mark.parametrize("white", [900, 700])
def test_levels_above_the_range_are_kept_and_named(run, photographs, tmp_path, recwarn, white):
    deep = photographs[3][..., 0].astype(np.uint16) * 4
    deep[:9, :9], deep[20:, 20:] = 1000, np.arange(0, 720, 5).reshape(12, 12)
    write_picture(tmp_path / "in.tif", Picture(deep))
    form = ["--sparsity", 0, "--data-range", white]
    run("smooth", tmp_path / "in.tif", tmp_path / "out.tif", *form)
    np.testing.assert_array_equal(read_picture(tmp_path / "out.tif").pixels, deep)
    warnings = [str(found.message) for found in recwarn.list]
    if white == 900:  # little more than white is an overshoot
        assert not warnings
    else:
        assert "should span at most 700, the data range, got values from" in warnings[0]
        assert "to 1000; state white or their span, such as --data-range" in warnings[0]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_an_offset_is_no_part_of_the_range(run, photographs, tmp_path, recwarn, dtype):
    written = []
    for offset in (0, 7000) if dtype == np.uint16 else (-3000, 0, 7000):
        file = tmp_path / f"{offset}.tif"
        write_picture(file, Picture((photographs[3][..., 0] * 4.0 + offset).astype(dtype)))
        out = tmp_path / f"out{offset}.tif"
        run("smooth", file, out, "--sparsity", 0.8, "--data-range", 1020)
        written.append(read_picture(out).pixels.astype(float) - offset)
        assert (written[-1] != photographs[3][..., 0] * 4.0).any()
    for other in written[1:]:
        np.testing.assert_allclose(written[0], other, atol=1e-2 if dtype == np.float32 else 1)
        assert np.mean(np.abs(written[0] - other) > 0.01) < 0.01  # halves that round apart
    assert not recwarn.list
    message = run("smooth", file, tmp_path / "o.tif", "--data-range", 20, code=1)
    high, low = 4 * int(photographs[3][..., 0].max()), 4 * int(photographs[3][..., 0].min())
    assert f"pixels must span at most 20, the data range, got values from {low + 7000}" in message
    assert f"such as --data-range {high - low}" in message


@pytest.mark.parametrize(
    ("dtype", "value"), [(np.int16, -9999), (np.float32, -9999), (np.float32, 1e20)]
)
def test_a_value_that_looks_like_no_data_is_named(run, photographs, tmp_path, dtype, value):
    grey = (photographs[3][..., 0] * 30.0 - 200).astype(dtype)
    grey[5, 5] = value
    write_picture(tmp_path / "in.tif", Picture(grey))
    large = max(20000, value)
    arguments = ["smooth", tmp_path / "in.tif", tmp_path / "out.tif", "-f", "--data-range"]
    run(*arguments, large)  # one pixel may be one
    grey[5, 5:9] = value
    write_picture(tmp_path / "in.tif", Picture(grey))
    text = str(dtype(value))
    expected = f"4 values of {text} are far from all others; --nodata {text} leaves them out"
    if value < 0:
        with pytest.warns(UserWarning, match=re.escape(expected)):
            run(*arguments, large)
    message = run(*arguments, 4000, code=1)  # too small for them
    assert "pixels must span at most 4000" in message
    assert expected in message
    assert "or their span" not in message
    run(*arguments, 8000, "--nodata", text)


@pytest.mark.parametrize("suffix", [".png", ".npy", ".tif"])
def test_labels_of_regions_are_counted_from_1(run, picture, photographs, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    form = ["--output", "regions", "--min-area", 5]
    text = run("smooth", picture, out, "--sparsity", 0.9, "--labels", *form)
    labels = read_picture(out).pixels
    scale = ScaleSpace(photographs[3], channel_axis=-1, min_area=5).at(0.9)
    np.testing.assert_array_equal(labels, scale.labels + 1)
    assert (labels.dtype, labels.min()) == (np.uint16, 1)
    assert text == f"{picture}: regions: {labels.max()}\n"
    assert "does not keep 16 bits" in run("smooth", picture, tmp_path / "o.jpg", "--labels", code=1)
    message = run("smooth", picture, tmp_path / "o.png", "--labels", "--per-channel", code=1)
    assert "--labels needs --joint" in message


def test_corrupt_takes_floats_in_any_size(run, photographs, tmp_path):
    bars = np.tile(np.arange(80) // 5 % 2, (80, 1)).astype(np.float32)
    np.save(tmp_path / "in.npy", bars)
    run("corrupt", tmp_path / "in.npy", tmp_path / "out.png", "--size", 64, "--severities", 1)
    assert (tmp_path / "out.png").exists()


def test_path_does_not_advise_options_that_it_lacks(run, tmp_path):
    np.save(tmp_path / "in.npy", np.zeros((20, 20, 12), np.float32))
    message = run("path", tmp_path / "in.npy", tmp_path / "out.png", code=1)
    assert "in.npy must be one picture in grey or three colours, got shape (20, 20, 12)" in message
    assert "save the slice, or the one or three bands" in message
    assert "--channel-axis" not in message


def test_labels_of_a_map_stay_at_its_place(run, photographs, tmp_path):
    place = {33550: (10.0, 10.0, 0.0), 33922: (0.0, 0.0, 0.0, 5e5, 4e6, 0.0)}
    tags = [(tag, "d", len(value), value) for tag, value in place.items()]
    tags += [
        (34735, "H", 4, (1, 1, 0, 0)),
        (42113, "s", 0, "1"),
        (42112, "s", 0, "<GDALMetadata/>"),
    ]
    options = {"resolution": (300, 300), "resolutionunit": "INCH", "metadata": None}
    for channels in (None, 3, 4):
        pixels = photographs[0][..., [0, 1, 2, 0]][..., : channels or 1].squeeze()
        photometric = "minisblack" if channels is None else "rgb"
        extra = {"extrasamples": [0]} if channels == 4 else {}
        tifffile.imwrite(
            tmp_path / "in.tif", pixels, photometric=photometric, extratags=tags, **options, **extra
        )
        run("smooth", tmp_path / "in.tif", tmp_path / "out.tif", "--labels", "--force", "--joint")
        with tifffile.TiffFile(tmp_path / "out.tif") as written:
            (page,) = written.pages
            assert {tag: page.tags[tag].value for tag in place} == place
            assert page.tags[34735].value == (1, 1, 0, 0)
            assert page.tags["XResolution"].value == (300, 1)
            assert not {42112, 42113} & {tag.code for tag in page.tags}  # of intensities
            assert (page.dtype, page.shape) == (np.uint16, pixels.shape[:2])


@pytest.mark.parametrize(("channel_axis", "pages"), [("auto", 6), (1, 2)])
def test_labels_of_imagej_keep_its_calibration(run, photographs, tmp_path, channel_axis, pages):
    stack = photographs[:6, ..., 0].reshape(2, 3, *photographs.shape[1:3])
    metadata = {"axes": "ZCYX", "unit": "um", "spacing": 2.5, "min": 0, "max": 99}
    tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, resolution=(5, 5), metadata=metadata)
    axis = ("--channel-axis", channel_axis)
    run("smooth", tmp_path / "in.tif", tmp_path / "out.tif", "--labels", "--joint", *axis)
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        assert (len(written.pages), written.pages[0].dtype) == (pages, np.uint16)
        assert written.pages[0].tags["XResolution"].value == (5, 1)
        known = written.imagej_metadata
        assert (known["unit"], known["spacing"], known["images"]) == ("um", 2.5, pages)
        assert not {"min", "max", "mode"} & known.keys()
        assert written.series[0].axes == ("ZCYX" if pages == 6 else "ZYX")


def test_labels_of_a_turned_photograph_are_turned_as_it_is(run, photographs, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(photographs[0][:20]).save(tmp_path / "in.png", exif=exif)
    for suffix in (".png", ".tif"):
        run("smooth", tmp_path / "in.png", tmp_path / f"out{suffix}", "--labels")
        assert read_picture(tmp_path / f"out{suffix}").size == (20, photographs.shape[2])


def test_labels_are_0_where_nothing_is_visible(run, photographs, tmp_path):
    alpha = np.full((32, 32), 255, np.uint8)
    alpha[:, 16:] = 0
    write_picture(tmp_path / "in.png", Picture(photographs[3], alpha))
    text = run("smooth", tmp_path / "in.png", tmp_path / "out.png", "--labels")
    labels = read_picture(tmp_path / "out.png").pixels
    np.testing.assert_array_equal(labels == 0, alpha == 0)
    assert f": regions: {len(np.unique(labels)) - 1}\n" in text


def test_folders_are_smoothed_recursively_into_folders_like_them(run, three_files, tmp_path):
    for name in ("in/a", "in/b"):
        (tmp_path / name).mkdir(parents=True)
        three_files[0].rename(tmp_path / name / "0.png") if name == "in/a" else None
    three_files[1].rename(tmp_path / "in" / "b" / "0.png")
    (tmp_path / "in" / "note.txt").write_text("no image")
    out = tmp_path / "in" / "out"
    for options in ([], ["--force"]):  # the second time, the results are there and no input
        with pytest.warns(UserWarning, match="that are no images are left out: 1 .txt$"):
            run("smooth", tmp_path / "in", out, "--recursive", *options)
        names = sorted(path.relative_to(out) for path in out.rglob("*.*"))
        assert [str(name) for name in names] == ["a/0.png", "b/0.png"]
    (tmp_path / "empty").mkdir()
    message = run("smooth", tmp_path / "empty", out, "-r", code=1)
    assert "images must be in the folders, got none" in message


def test_links_are_followed_and_broken_ones_are_named(run, three_files, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for index, folder in enumerate(("in", "elsewhere")):
        three_files[index].rename(tmp_path / folder / f"{index}.png")
    (tmp_path / "in" / "day").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.warns(UserWarning, match=f"left out: 1 broken link {tmp_path}/in/gone$"):
        text = run("smooth", "-r", tmp_path / "in", tmp_path / "out", code=1)
    assert f"virolbi: there is no file {tmp_path}/in/gone.png\n" in text
    assert "2 smoothed, 1 left out\n" in text
    names = sorted(
        str(path.relative_to(tmp_path / "out")) for path in tmp_path.glob("out/**/*.png")
    )
    assert names == ["0.png", "day/1.png"]
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "in")
    message = run("smooth", "-r", tmp_path / "in", tmp_path / "out", code=1)
    assert "must have no links to folders around them" in message


@pytest.mark.parametrize("suffix", [".HEIC", ".CR2", ".dng"])
def test_photographs_that_are_not_read_are_named_and_counted(run, three_files, tmp_path, suffix):
    photograph = tmp_path / f"photo{suffix}"
    photograph.write_bytes(b"II*\0" + bytes(900))
    message = f"{photograph} must be converted first, for example to TIFF with 16 bits"
    assert message in run("smooth", photograph, tmp_path / "out.png", code=1)
    text = run("smooth", "-r", tmp_path, tmp_path / "out", code=1)
    assert message in text
    assert "3 smoothed, 1 left out\nvirolbi: 1 of 4 images were left out\n" in text


def test_a_format_that_is_only_read_is_left_out_of_a_batch(run, three_files, tmp_path):
    (tmp_path / "drawing.psd").write_bytes(three_files[0].read_bytes())
    text = run("smooth", "-r", tmp_path, tmp_path / "out", code=1)
    assert "out/drawing.psd must end in the suffix of an image format" in text
    assert "3 smoothed, 1 left out\n" in text


def test_a_file_says_what_was_not_kept_or_not_found(run, photographs, tmp_path):
    cmyk, out = Image.fromarray(photographs[3]).convert("CMYK"), tmp_path / "out.jpg"
    cmyk.save(tmp_path / "in.jpg", icc_profile=b"of an ink")
    text = run("smooth", tmp_path / "in.jpg", out)
    assert f"{tmp_path}/in.jpg: CMYK became RGB; its colour profile and its quality are not" in text
    assert "CMYK" not in run("smooth", tmp_path / "in.jpg", out, "--force", "--sparsity", 0)
    bands = photographs[3][..., :2] / np.float32(255)
    arguments = ["smooth", tmp_path / "in.npy", tmp_path / "out.npy", "--channel-axis=-1", "-f"]
    for axes, there in (([0], False), ([0, 1], True)):
        bands[:5, :, axes] = -9999
        bands[9, 9] = np.nan
        np.save(tmp_path / "in.npy", np.where(bands == -9999, 0.25, bands))
        text = run(*arguments, "--nodata", 0.25)
        assert ("in.npy: no pixel has the value 0.25 in all bands\n" in text) != there
        assert run(*arguments, "--nodata", "nan") == ""


def test_noise_that_is_seen_but_weak_is_said(run, tmp_path):
    ramp = np.linspace(0, 65535, 64)[:, None] + np.random.default_rng(0).normal(0, 30, (64, 64))
    faint = np.rint(ramp).clip(0, 65535).astype(np.uint16)
    write_picture(tmp_path / "in.png", Picture(faint))
    for command in (["smooth", "--sparsity", "auto"], ["denoise"]):
        text = run(*command, tmp_path / "in.png", tmp_path / "out.png", "--force")
        assert f"noise of {noise_strength(faint):.2g} seen, weak or not told from texture" in text
        assert "not smoothed (--noise 1x smooths for all of it, --noise .02 for a stated" in text
    run("denoise", tmp_path / "in.png", tmp_path / "out.png", "--force", "--noise", "1x")
    assert np.std(np.diff(read_picture(tmp_path / "out.png").pixels.astype(float))) < 20


def test_the_noise_of_many_slices_is_a_range(run, photographs, tmp_path):
    stack = np.full((12, 32, 32), 100, np.uint8)
    noise = np.random.default_rng(0).integers(-40, 40, (9, 32, 32))
    stack[:9] += (noise * np.arange(1, 10)[:, None, None] // 9).astype(np.uint8)
    write_picture(tmp_path / "in.tif", Picture(stack, slice_axes=1))
    text = run("smooth", tmp_path / "in.tif", tmp_path / "out.tif", "--sparsity", "auto")
    seen = noise_strength(stack)
    seen = seen[np.isfinite(ScaleSpace(stack).at("auto").time)]
    assert 4 < len(seen) < 12
    expected = f"noise of {seen.min():.3f} to {seen.max():.3f} in {len(seen)} of 12 planes"
    assert expected in text
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    text = run("smooth", tmp_path / "one.png", tmp_path / "two.png", "--sparsity", "auto")
    assert "no independent noise seen" in text


def test_verbose_says_what_was_done(run, three_files, tmp_path):
    text = run("smooth", *three_files[:2], tmp_path / "out", "--sparsity", 0.9, "-v")
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{three_files[0]}: uint8 of shape (32, 32, 3), sparsity 0.9, time ")
    assert "not both" in run("smooth", *three_files[:2], tmp_path / "out", "-v", "-q", code=1)


def test_a_bar_moves_within_each_of_several_images(run, three_files, tmp_path, monkeypatch):
    moves = []

    @contextmanager
    def recording():
        yield lambda done, total, text: moves.append((done, total, text))

    monkeypatch.setattr(batches, "progress_bar", recording)
    run("smooth", *three_files[:2], tmp_path / "out", "--sparsity", 0.9)
    done, totals, names = zip(*moves, strict=True)
    assert set(totals) == {2}
    assert list(done) == sorted(done)
    assert set(done) == {0, 1, 2}
    assert {*names} == {file.name for file in three_files[:2]}


def test_path_shows_a_part_of_the_image(run, picture, photographs, tmp_path):
    run("path", picture, tmp_path / "strip.png", "--at", "0", "--crop", "4,6,20,10")
    expected = photographs[3][6:16, 4:24]
    np.testing.assert_array_equal(pixels(tmp_path / "strip.png")[-10:, :20], expected)
    for text in ("4,6,20", "20,0,20,10", "-1,0,5,5", "0,0,0,5", "a,b,c,d"):
        message = run("path", picture, tmp_path / "no.png", f"--crop={text}", code=1)
        assert "--crop must be X,Y,WIDTH,HEIGHT inside the 32x32 pixels" in message


def test_a_transparent_picture_is_shown_on_white(run, photographs, tmp_path):
    alpha = np.zeros((32, 32), np.uint8)
    alpha[:, :16] = 255
    write_picture(tmp_path / "in.png", Picture(np.zeros((32, 32, 3), np.uint8), alpha))
    run("path", tmp_path / "in.png", tmp_path / "strip.png", "--at", "0")
    shown = pixels(tmp_path / "strip.png")[-32:, :32]
    assert (shown[:, :16] == 0).all()
    assert (shown[:, 16:] == 255).all()


def test_the_limit_of_megapixels_can_be_raised(run, picture, tmp_path):
    arguments = ["smooth", picture, tmp_path / "out.png", "--max-megapixels"]
    message = run(*arguments, "0.0005", code=1)
    assert "in.png must have at most 0.0005 megapixels" in message
    assert "--max-megapixels" in message
    run(*arguments, "0.01")
    assert "--max-megapixels must be > 0" in run(*arguments, "0", "-f", code=1)


@pytest.mark.slow
def test_the_plot_of_a_path_shows_its_curves(run, picture, tmp_path):
    plot = tmp_path / "path.svg"
    run("path", picture, tmp_path / "strip.png", "--plot", plot)
    first = plot.read_text()
    assert first.startswith("<svg")
    for label in ("sparsity", "edges that have entered", "regions"):
        assert f">{label}</text>" in first
    run("path", picture, tmp_path / "strip.png", "--plot", plot, "--force", "--nu", "0.2")
    assert plot.read_text() != first
    Image.effect_noise((40, 40), 60).save(picture)
    run("path", picture, tmp_path / "strip.png", "--plot", plot, "--force")
    assert "auto stops at" in plot.read_text()


@pytest.mark.parametrize("command", [("smooth", "--sparsity", "auto"), ("denoise",)])
def test_each_file_of_a_batch_has_warnings_of_its_own(run, tmp_path, recwarn, command):
    for name in "ab":
        dark = np.arange(256, dtype=np.uint16).reshape(16, 16)
        Image.fromarray(dark).save(tmp_path / f"{name}.png")
    run(command[0], tmp_path / "a.png", tmp_path / "b.png", tmp_path / "out", *command[1:])
    texts = [str(warning.message) for warning in recwarn.list]
    assert [text.partition(": ")[0] for text in texts] == [f"{tmp_path}/{n}.png" for n in "ab"]
    assert all("data_range=4095" in text for text in texts)


def noisy_photograph(photographs, folder):
    noise = np.random.default_rng(0).normal(0, 25, (32, 32, 3))
    noisy = np.clip(photographs[3] + noise, 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(folder / "noisy.png")
    return noisy


@pytest.mark.parametrize(
    ("options", "noise", "note"),
    [
        ([], "auto", "smoothed for noise of 0."),
        (["--noise", ".2"], 0.2, ""),
        (["--noise", "2x"], lambda seen: 2 * seen, "smoothed for 2 times the noise of 0."),
    ],
)
def test_denoise_removes_the_noise_that_is_seen_or_stated(
    run, tmp_path, photographs, options, noise, note
):
    noisy = noisy_photograph(photographs, tmp_path)
    text = run("denoise", tmp_path / "noisy.png", tmp_path / "out.png", *options)
    assert text.startswith(f"{tmp_path}/noisy.png: {note}" if note else "")
    expected = denoise(noisy, noise, channel_axis=-1)
    np.testing.assert_array_equal(pixels(tmp_path / "out.png"), expected)


def test_denoise_copies_pictures_without_noise(run, tmp_path):
    files = [tmp_path / "grey.png", tmp_path / "colour.jpg"]
    picture = np.full((40, 50), 90, np.uint8)
    picture[10:30, 20:] = 180
    Image.fromarray(picture).save(files[0])
    Image.fromarray(picture).convert("RGB").save(files[1], quality=95)
    assert run("denoise", *files, tmp_path / "out").splitlines()[-1] == "2 unchanged"
    for file in files:
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("options", [["denoise"], ["smooth", "--sparsity", "auto"]])
def test_floats_without_noise_are_left_as_they_are_whatever_their_range(run, tmp_path, options):
    grey = np.random.default_rng(0).normal(500, 0.5, (64, 64)).astype(np.float32)
    grey[:, 32:] += 2000
    write_picture(tmp_path / "in.tif", Picture(grey))
    text = run(
        options[0], tmp_path / "in.tif", tmp_path / "out.tif", *options[1:], "--data-range", 3000
    )
    assert "not smoothed" in text
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "in.tif").read_bytes()


def test_a_picture_without_suffix_becomes_the_array_that_is_asked_for(run, tmp_path):
    picture = np.full((40, 50), 90, np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo", "PNG")
    run("denoise", tmp_path / "photo", tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), picture)


@pytest.mark.parametrize("dtype", [">i2", ">u2", ">f4"])
def test_arrays_of_the_other_byte_order_are_those_of_this_machine(run, tmp_path, dtype):
    numbers = np.random.default_rng(0).random((32, 32)) * (1 if dtype == ">f4" else 30_000)
    numbers = numbers.astype(dtype)
    np.save(tmp_path / "other.npy", numbers)
    np.save(tmp_path / "here.npy", numbers.astype(numbers.dtype.newbyteorder("=")))
    for name in ("other", "here"):
        run("smooth", tmp_path / f"{name}.npy", tmp_path / f"{name}-out.npy")
    other, here = (np.load(tmp_path / f"{name}-out.npy") for name in ("other", "here"))
    assert other.dtype == here.dtype
    np.testing.assert_array_equal(other, here)


def test_denoise_treats_the_slices_of_a_stack_one_by_one(run, tmp_path):
    rng = np.random.default_rng(0)
    stack = np.full((3, 40, 50), 0.5, np.float32)
    stack[1] += rng.normal(0, 0.1, (40, 50))
    np.save(tmp_path / "stack.npy", stack)
    text = run("denoise", tmp_path / "stack.npy", tmp_path / "out.npy", "--channel-axis", "none")
    assert "smoothed for noise of 0.000, 0." in text
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), denoise(stack))


def test_denoise_names_a_bad_noise(run, tmp_path, photographs):
    noisy_photograph(photographs, tmp_path)
    files = tmp_path / "noisy.png", tmp_path / "out.png"
    assert "--noise must be a fraction of white, > 0" in run(
        "denoise", *files, "--noise", "-1", code=1
    )
    assert not files[1].exists()


EXTENTS = (50, 450), (100, 300)  # of the corners of shapes, and of their sides


@pytest.mark.parametrize("seed", range(8))
def test_colours_that_are_hardly_seen_are_not_taken_for_noise(run, tmp_path, seed):
    """Where alpha is low, files round colours to few levels: here in contours of flat shapes."""
    rng, large = np.random.default_rng(seed), Image.new("RGBA", (800, 800))
    draw = ImageDraw.Draw(large)
    for shape in (draw.ellipse, draw.rectangle) * 2:
        colour = tuple(rng.integers(0, 255, 3).tolist())
        (x, y), (width, height) = (rng.integers(*ends, 2).tolist() for ends in EXTENTS)
        shape((x, y, x + width, y + height), fill=(*colour, 255))
    large.resize((160, 160), Image.Resampling.LANCZOS).save(tmp_path / "logo.png")
    run("denoise", tmp_path / "logo.png", tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "logo.png").read_bytes()


@pytest.mark.parametrize("least", [0, 200])
def test_noise_of_pictures_that_are_partly_transparent_is_seen(run, tmp_path, least):
    """In the opaque half; or everywhere, if hardly a pixel is opaque."""
    noisy = np.random.default_rng(0).normal(128, 12, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[:, : 32 if least == 0 else 63] = np.linspace(least, 254, 64)[:, None].astype(np.uint8)
    write_picture(tmp_path / "in.png", Picture(noisy, alpha))
    text = run("denoise", tmp_path / "in.png", tmp_path / "out.png")
    assert "smoothed for noise of 0.0" in text
    assert read_picture(tmp_path / "out.png").pixels[:, 40:60].std() < 6
