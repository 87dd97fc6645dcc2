import numpy as np
import pytest
from PIL import Image

from virolbi import PAPER, ScaleSpace, noise_strength, smooth
from virolbi.data import contact_sheet, read_picture
from virolbi.scale_space import stopping_time


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


@pytest.mark.parametrize("name", ["smooth", "path", "corrupt"])
def test_an_existing_file_is_replaced_only_by_force(run, three_files, name):
    """The shell expands `*.png` to two files where an output was forgotten."""
    before = three_files[1].read_bytes()
    message = run(name, *three_files[:2], code=1)
    assert f"{three_files[1]} exists; --force replaces it" in message
    assert three_files[1].read_bytes() == before
    run(name, *three_files[:2], "--force")
    assert three_files[1].read_bytes() != before


def test_an_existing_file_in_a_folder_is_named_and_the_others_are_smoothed(
    run, three_files, tmp_path
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_bytes(b"precious")
    text = run("smooth", *three_files, tmp_path / "out", code=1)
    assert f"{tmp_path}/out/1.png exists; --force replaces it" in text
    assert "virolbi: 1 of 3 images were left out\n" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "1.png", "2.png"]
    assert (tmp_path / "out" / "1.png").read_bytes() == b"precious"
    run("smooth", *three_files, tmp_path / "out", "-f")
    assert pixels(tmp_path / "out" / "1.png").shape == (32, 32, 3)


@pytest.mark.parametrize("option", ["--quiet", "-q"])
def test_quiet_leaves_out_notes_but_no_error(run, three_files, tmp_path, option):
    arguments = ["smooth", *three_files[:2], tmp_path / "out", "--sparsity", "auto", option]
    assert run(*arguments) == ""
    assert run(*arguments, code=1).count("exists; --force replaces it") == 2


def test_a_picture_without_noise_is_copied(run, photographs, tmp_path):
    clean = Image.fromarray(photographs[0]).resize((96, 96), Image.Resampling.BICUBIC)
    clean.save(tmp_path / "in.jpg", quality=60)
    auto = ["--sparsity", "auto"]
    text = run("smooth", tmp_path / "in.jpg", tmp_path / "out.JPG", *auto)
    assert "no independent noise seen, not smoothed (--noise states one)" in text
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
    coupling = {name: value for name, value in form.items() if name != "joint"}
    time = stopping_time(noise, channels=channels, **coupling)
    expected = ScaleSpace(photographs[3], channel_axis=-1, **form).at(time=time).beta
    assert (expected != photographs[3]).any()
    np.testing.assert_array_equal(pixels(out), expected)


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

    def draw(pictures, labels, columns):
        shown.extend(labels)
        return contact_sheet(pictures, labels, columns)

    monkeypatch.setattr("virolbi.cli.images.contact_sheet", draw)
    run("path", picture, tmp_path / "strip.png", "--at", ".8,auto", "--size", 24, option)
    assert pixels(tmp_path / "strip.png").shape[0] < 24 * 2
    joint = option == "--joint"
    photograph = read_picture(picture, 24).pixels
    space = ScaleSpace(photograph, channel_axis=-1, joint=joint)
    noise = noise_strength(photograph, channel_axis=-1, joint=joint)
    assert shown[0].startswith(f"sparsity 0.8, time {space.at(0.8).time.min():.3g}")
    assert shown[1].startswith(f"auto: noise seen {noise.min():.3g}")
    assert f", time {space.at('auto').time.min():.3g}" in shown[1]


def test_a_path_of_regions_merges_small_ones(run, picture, photographs, tmp_path):
    form = ["--output", "regions", "--min-area", 20]
    run("path", picture, tmp_path / "strip.png", "--at", "0.8", *form)
    expected = smooth(photographs[3], 0.8, channel_axis=-1, output="regions", min_area=20)
    np.testing.assert_array_equal(pixels(tmp_path / "strip.png")[-32:, :32], expected)
