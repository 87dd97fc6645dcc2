"""Clean print comes back as it is, and noise on it does not."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from virolbi import denoise, noise_strength, smooth

WORDS = "It is -3.5 in the limit of large damping; y - x = z, i.e. the path. "


def page(size):
    """Return print with dots and signs, uint8; each line begins at another word."""
    image, font = Image.new("L", (256, 256), 255), ImageFont.load_default(size)
    for line in range(256 // (size + 3)):
        text = (WORDS[3 * line % len(WORDS) :] + 5 * WORDS)[: 2 * 256 // size]
        ImageDraw.Draw(image).text((2, line * (size + 3)), text, fill=0, font=font)
    return np.asarray(image)


@pytest.mark.parametrize("size", [8, 9, 10, 11, 12, 14, 18])
def test_clean_print_comes_back_as_it_is(size):
    clean = page(size)
    assert noise_strength(clean) < 0.41 / 255  # no more than rounding
    np.testing.assert_array_equal(smooth(clean, "auto"), clean)
    np.testing.assert_array_equal(denoise(clean), clean)


def test_few_impulses_on_print_are_taken_for_its_dots():
    rng, noisy = np.random.default_rng(0), page(12).copy()
    hit = rng.random(noisy.shape) < 0.03
    noisy[hit] = rng.choice([0, 255], hit.sum())
    before, after = (
        np.mean((x.astype(float) - page(12)) ** 2) for x in (noisy, smooth(noisy, "auto"))
    )
    assert after < 1.1 * before


def test_many_impulses_on_print_are_seen():
    rng, noisy = np.random.default_rng(0), page(12).copy()
    hit = rng.random(noisy.shape) < 0.1
    noisy[hit] = rng.choice([0, 255], hit.sum())
    true = np.std((noisy.astype(float) - page(12)) / 255)
    assert noise_strength(noisy) == pytest.approx(true, rel=0.2)
