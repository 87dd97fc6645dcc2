"""Answers, their files, and what is kept; files that people send."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from virolbi import denoise
from virolbi.explorer import CORRUPTIONS, SAMPLES, Explorer, Settings, Source, draw_sample
from virolbi.explorer.explorer import STRIP, Kept
from virolbi.explorer.markup import (
    difference_html,
    downloads_html,
    facts_html,
    input_html,
    other_html,
    strip_html,
)


def test_nineteen_corruptions_change_the_picture(explorer):
    image = draw_sample()[100:164, 60:124]
    assert len(CORRUPTIONS) == 20
    for name in CORRUPTIONS:
        noisy = Settings(corruption=name, severity=5).corrupted(image)
        assert (noisy.shape, noisy.dtype) == (image.shape, np.uint8)
        assert np.array_equal(noisy, image) == (name == "none"), name


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_pictures_with_8_bits(name):
    pixels = Source(name).pixels()
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] in ((), (3,))


def test_samples_are_named_in_the_error():
    with pytest.raises(ValueError, match="name must be one of .*'lena'"):
        Source("lena").pixels()


def test_one_path_answers_for_every_moment(explorer, photograph, monkeypatch):
    answers = [
        explorer.answer(photograph, Settings(choice="sparsity", sparsity=value, min_area=area))
        for value, area in ((0.9, 1), (0.3, 1), (0.9, 8))
    ]
    assert len({id(answer.image) for answer in answers}) == 1
    assert [round(float(answer.scale.sparsity), 1) for answer in answers] == [0.9, 0.3, 0.9]
    assert answers[2].scale.labels.max() < answers[0].scale.labels.max()
    photograph.path.unlink()  # not read again for another form either
    explorer.answer(photograph, Settings(nu=0.5))
    with pytest.raises(ValueError, match="must be a picture"):
        explorer.answer(photograph, Settings(corruption="fog"))


def test_the_paths_of_few_pictures_are_kept():
    explorer = Explorer(kept=2 * 256 * 256 * 3 / 1e6)
    for nu in (0.5, 0.6, 0.7, 0.5):
        explorer.answer(Source("drawn"), Settings(nu=nu))
    assert [key[1] for key in explorer._paths.keys] == [0.7, 0.5]


def test_a_value_that_is_too_heavy_alone_is_kept_alone():
    kept = Kept(1)
    kept.get("small", lambda: (0, 0.5))
    assert kept.get("large", lambda: (1, 5)) == 1
    assert kept.keys == ("large",)


def test_facts_tell_the_noise_and_the_moment(explorer, photograph):
    flat = np.full((48, 48), 128, np.uint8)
    Image.fromarray(flat).save(photograph.path)
    facts = explorer.answer(photograph, Settings(corruption="gaussian_noise", severity=1)).facts
    assert float(facts["noise seen"]) == pytest.approx(0.04, rel=0.2)
    # "auto" corrects the strength by up to a tenth
    assert float(facts["time"]) == pytest.approx(1 / float(facts["noise seen"]) + 4, rel=0.1)
    assert facts["size"] == "48 x 48"
    clean = explorer.answer(photograph, Settings(corruption="none"))
    assert (clean.facts["noise seen"], clean.facts["time"]) == ("0", "inf")
    np.testing.assert_array_equal(clean.result, flat)


def test_denoised_pictures_are_those_of_denoise(explorer, photograph):
    settings = Settings(output="denoised", corruption="gaussian_noise")
    answer = explorer.answer(photograph, settings)
    expected = denoise(answer.image, channel_axis=-1)
    np.testing.assert_array_equal(answer.result, expected)
    assert not np.array_equal(answer.result, answer.scale.beta)
    assert set(answer.facts) == {"size", "noise seen", "answered in"}
    assert set(answer.files()) == {"input.png", "result.png", "result.py", "result.sh"}
    assert "by the same noise" in other_html(answer)
    assert len(explorer.strip(photograph, settings)) == len(STRIP)
    stronger = explorer.answer(photograph, replace(settings, choice="noise", noise=0.3))
    np.testing.assert_array_equal(stronger.result, denoise(answer.image, 0.3, channel_axis=-1))


def test_denoising_needs_a_noise():
    with pytest.raises(ValueError, match="choice must .*'denoised', got 'sparsity'"):
        Settings(choice="sparsity", output="denoised")
    with pytest.raises(ValueError, match="output must be one of"):
        Settings(output="gamma")


def test_difference_is_on_grey_and_doubled(explorer, photograph):
    answer = explorer.answer(photograph, Settings(corruption="gaussian_noise"))
    change = answer.image.astype(int) - answer.result
    small = abs(change) < 60
    np.testing.assert_array_equal(answer.difference[small], (128 + 2 * change)[small])


def test_the_strip_goes_from_smooth_to_detailed(explorer, photograph):
    frames = explorer.strip(photograph, Settings())
    assert [frame.sparsity for frame in frames] == pytest.approx(STRIP, abs=0.02)
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    large = explorer.strip(Source("camera"), Settings())
    assert {frame.picture.shape for frame in large} == {(160, 160)}


def test_labels_that_a_png_cannot_hold_are_an_array(explorer, photograph):
    answer = explorer.answer(photograph, Settings(preset="paper"))
    files = answer.files()
    assert "labels.png" not in files
    labels = np.load(io.BytesIO(files["labels.npy"]))
    np.testing.assert_array_equal(labels, answer.scale.labels)
    assert labels.shape == (3, 48, 64)


def save_text(path):
    path.write_text("no picture")


def save_animation(path):
    frames = [Image.new("L", (9, 9), level) for level in (0, 99)]
    frames[0].save(path, save_all=True, append_images=frames[1:], format="GIF")


def save_half(path):
    buffer = io.BytesIO()
    Image.effect_noise((99, 99), 50).save(buffer, format="PNG")
    path.write_bytes(buffer.getvalue()[:3000])


@pytest.mark.parametrize("save", [save_text, save_animation, save_half])
def test_a_bad_file_is_named_without_its_folder(explorer, tmp_path, save):
    path = tmp_path / "upload.png"
    save(path)
    with pytest.raises(ValueError, match="upload.png") as error:
        explorer.answer(Source(path.name, path), Settings())
    assert str(tmp_path) not in str(error.value)


def test_a_large_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("1", (2000, 1500)).save(path)
    monkeypatch.setattr("virolbi.explorer.samples.decode_image", None)
    with pytest.raises(ValueError, match=r"at most 2 megapixels, got 3\.0"):
        Explorer(megapixels=2).answer(Source("large.png", path), Settings())


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"choice": "best"}, "choice"),
        ({"corruption": "rust"}, "corruption"),
        ({"preset": "old"}, "preset"),
        ({"nu": 0.0}, "nu"),
        ({"delta": 0.0}, "delta"),
        ({"output": "gamma"}, "output"),
        ({"min_area": 0}, "min_area"),
        ({"choice": "noise", "noise": "loud"}, "noise"),
    ],
)
def test_settings_name_what_is_wrong(changes, name):
    with pytest.raises((TypeError, ValueError), match=name):
        Settings(**changes)


def test_megapixels_must_be_positive():
    with pytest.raises(ValueError, match="megapixels"):
        Explorer(megapixels=0)


def test_texts_of_the_page_are_escaped(explorer, photograph):
    answer = explorer.answer(photograph, Settings())
    assert "Input, gaussian noise 3" in input_html(answer)
    assert "<b>" not in facts_html({"<b>": "<b>"}) + downloads_html({"<b>": b""})


def test_the_page_shows_the_other_output_beside_the_result(explorer, photograph):
    beta = explorer.answer(photograph, Settings())
    regions = explorer.answer(photograph, Settings(output="regions"))
    assert "Regions" in other_html(beta)
    assert "beta" in other_html(regions)
    assert difference_html(beta) != difference_html(regions)


def test_the_strip_can_be_reached_with_the_keyboard(explorer, photograph):
    html = strip_html(explorer.strip(photograph, Settings()))
    assert 'tabindex="0"' in html
    assert html.count("<img") == html.count("alt=") == len(STRIP)
