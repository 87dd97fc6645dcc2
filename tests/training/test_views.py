import numpy as np
import pytest
import torch

from virolbi.data import Images
from virolbi.recipes import STEPS, Recipe
from virolbi.scale_space import Form, ScaleSpace
from virolbi.training import Batches
from virolbi.training import equaliser as equaliser_module
from virolbi.training.equaliser import equalise
from virolbi.training.mixing import OPERATIONS, augmix, from_picture, mix_chains, to_picture
from virolbi.training.prime import _deform, _filter, _recolor, prime
from virolbi.training.recombination import recombine, recombine_pair, recombine_single

BARE = Recipe(batch_size=48, epochs=1, crop=0, flip=False)


@pytest.fixture
def images(photographs):
    pixels = photographs.transpose(0, 3, 1, 2).copy()
    return Images("photographs", pixels, np.arange(48), tuple(map(str, range(48))))


@pytest.fixture
def intensities(images):
    return images.pixels / np.float32(255)


def rng(seed=0):
    return np.random.default_rng(seed)


def every_step(recipe=BARE):
    """Yield a recipe for each step alone, with the settings that it needs."""
    for step in STEPS:
        needs = {"noise": {"noise": 0.1}, "smooth": {"procedure": "fixed", "sparsity": 0.9}}
        yield recipe.replace(views=(step,), **needs.get(step, {}))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_step_changes_images_alike_in_every_process(images, channels):
    images = Images("a", images.pixels[:, :channels].copy(), images.labels, images.classes)
    for recipe in every_step():
        inputs, labels, *_ = Batches(recipe, images)[0]
        assert inputs.shape == (1, 48, channels, 32, 32)
        assert inputs.dtype == torch.float32
        assert inputs.min() >= 0
        assert inputs.max() <= 1
        shown = (inputs[0] - torch.from_numpy(images.pixels[labels]) / 255).abs().amax((1, 2, 3))
        assert (shown > 0.01).float().mean() > 0.3, recipe.views
        shares = [Batches(recipe, images, share=(rank, 3))[0][0] for rank in range(3)]
        torch.testing.assert_close(torch.cat(shares, dim=1), inputs)


def test_views_share_the_crop_and_nothing_else(images):
    recipe = BARE.replace(crop=4, flip=True, noise=0.2, views=("clean", "noise", "noise"))
    clean, first, second = Batches(recipe, images)[0][0]
    assert torch.equal(clean, Batches(recipe.replace(views=(), noise=0), images)[0][0][0])
    assert (first - clean).abs().mean() < 0.1
    assert not torch.equal(first, second)


def test_each_image_gets_one_alternative(images):
    recipe = BARE.replace(noise=0.1, noise_draw="constant", views=("clean", "noise | clean"))
    noisy = np.zeros(48)
    for seed in range(20):
        clean, changed = Batches(recipe.replace(seed=seed), images)[0][0]
        difference = (changed - clean)[(clean > 0.35) & (clean < 0.65)].std()
        spread = (changed - clean).flatten(1).std(dim=1)
        noisy += (spread > 0).numpy()
        assert 0.03 < difference < 0.09
        inside = ((clean > 0.35) & (clean < 0.65)).flatten(1)
        for image in np.flatnonzero((spread > 0).numpy() & (inside.sum(dim=1) > 1000).numpy()):
            values = (changed - clean).flatten(1)[image][inside[image]]
            assert values.std() == pytest.approx(0.1, rel=0.1)
    assert noisy.mean() == pytest.approx(10, abs=1.5)


def test_the_mean_sparsity_counts_every_view(images):
    recipe = BARE.replace(procedure="fixed", sparsity=0.8, views=("clean", "smooth"))
    assert Batches(recipe, images)[0][2] == pytest.approx(0.4)


def test_smoothing_last_in_a_view_is_that_of_a_test(images):
    recipe = BARE.replace(procedure="fixed", sparsity=0.8, noise=0.1, views=("noise smooth",))
    older = BARE.replace(procedure="fixed", sparsity=0.8, noise=0.1, order="last")
    assert torch.equal(Batches(recipe, images)[0][0], Batches(older, images)[0][0])


def test_a_mixture_has_three_chains_of_one_to_three_operations():
    depths, shares = [], []
    image = np.zeros((1, 2, 2), np.float32)

    def finish(depth):
        depths.append(depth)
        return np.ones_like(image)

    for seed in range(2000):
        operations = [lambda depth, rng: depth + 1]
        mixed = mix_chains(image, rng(seed), operations, lambda image: 0, finish)
        assert len(depths) == 3 * (seed + 1)
        shares.append(mixed[0, 0, 0])
    assert np.bincount(depths) / 6000 == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.03)
    shares = np.sort(shares)  # of the mixture: Beta(1, 1) is uniform
    assert np.abs(shares - np.linspace(0, 1, 2000)).max() < 0.04


def test_augmix_has_the_nine_operations_at_the_published_strengths(intensities):
    assert len(OPERATIONS) == 9
    image = np.zeros((1, 30, 30), np.float32)
    image[0, 15, 15] = 1
    moves, operations = [], {operation.__name__: operation for operation in OPERATIONS}
    for seed in range(300):
        moved = from_picture(operations["_translate_x"](to_picture(image), rng(seed)))
        assert moved.sum() == 1
        moves.append(int(np.argmax(moved[0, 15])) - 15)
    assert set(moves) == {-2, -1, 0, 1, 2}  # a third of the side, times .3 and less
    grey = to_picture(np.full((3, 8, 8), 0.5, np.float32))
    for name in ("_autocontrast", "_rotate", "_solarize", "_shear_y"):
        centre = from_picture(operations[name](grey, rng()))[:, 4, 4]
        np.testing.assert_allclose(centre, 128 / 255 if name != "_autocontrast" else centre)
    mixed = np.stack([augmix(image, rng(k)) for k, image in enumerate(intensities)])
    assert 0 < np.abs(mixed - intensities).mean() < 0.15


def test_prime_filters_recolours_and_deforms(intensities):
    image = intensities[0]
    point = np.zeros((2, 7, 7), np.float32)
    point[1, 3, 3] = 0.1
    filtered = _filter(point, rng(3))
    assert not filtered[0].any()
    assert not filtered[1, [0, 1, 5, 6]].any()
    ends = np.array([[[0, 1]], [[0, 1]]], np.float32)
    np.testing.assert_allclose(_recolor(ends, rng()), ends, atol=1e-3)
    flat = np.full((3, 4, 5), 0.37, np.float32)
    recoloured = _recolor(flat, rng())
    assert np.ptp(recoloured, axis=(1, 2)).max() == 0
    spread = [_recolor(flat, rng(seed))[0, 0, 0] for seed in range(400)]
    # the variance of the sum of 100 sines, each of variance .01 times sin(k pi .37)^2
    expected = np.sqrt(0.01 * (np.sin(np.arange(1, 101) * np.pi * 0.37) ** 2).sum())
    assert np.std(np.array(spread)) < expected  # clipped
    assert np.std(np.array(spread)) > 0.25
    np.testing.assert_array_equal(_deform(flat, rng()), flat)
    mixed = np.stack([prime(image, rng(seed)) for seed in range(20)])
    assert 0.02 < np.abs(mixed - image).mean() < 0.4


def test_a_deformation_keeps_the_border_and_moves_by_half_a_pixel_or_more():
    ramp = np.broadcast_to(np.linspace(0, 1, 32, dtype=np.float32), (1, 32, 32))
    moves = []
    for seed in range(200):
        deformed = _deform(ramp, rng(seed))
        np.testing.assert_allclose(deformed[0][:, [0, -1]], ramp[0][:, [0, -1]], atol=1e-5)
        moves.append(31 * (deformed - ramp)[0, 8:24, 8:24].std())
        assert (np.diff(deformed) < 0).mean() < 0.3
    assert np.mean(moves) > 0.4
    assert np.max(moves) < 5


def test_recombination_keeps_the_phases_and_takes_the_amplitudes(intensities):
    image = 0.4 + 0.2 * intensities[0]
    np.testing.assert_allclose(recombine(image, image), image, atol=1e-5)
    np.testing.assert_allclose(recombine(np.roll(image, 5, axis=1), image), image, atol=1e-5)
    np.testing.assert_allclose(recombine(0.5 * image, image), 0.5 * image, atol=1e-5)
    np.testing.assert_allclose(
        recombine(image, np.roll(image, 5, axis=2)), np.roll(image, 5, axis=2), atol=1e-5
    )
    other = intensities[30]
    kept = [np.array_equal(recombine_pair(image, other, rng(seed)), image) for seed in range(500)]
    assert np.mean(kept) == pytest.approx(0.4, abs=0.06)
    single = np.stack([recombine_single(image, rng(seed)) for seed in range(50)])
    assert 0 < np.abs(single - image).mean() < 0.2


def test_the_bands_of_the_equaliser_add_up_to_the_image(intensities, monkeypatch):
    rngs = [rng(k) for k in range(4)]
    images = intensities[:4]
    monkeypatch.setattr(equaliser_module, "_draw", lambda rng, bands: (np.ones(bands), 0.0, 1.0))
    np.testing.assert_allclose(equalise(images, rngs, Form()), images, atol=1e-5)
    coarse = np.array([1.0, 0, 0, 0, 0, 0])
    monkeypatch.setattr(equaliser_module, "_draw", lambda rng, bands: (coarse, 0.0, 1.0))
    expected = ScaleSpace(images, channel_axis=1).at(0.98).beta.clip(0, 1)
    np.testing.assert_allclose(equalise(images, rngs, Form()), expected, atol=1e-5)
    monkeypatch.setattr(equaliser_module, "_draw", lambda rng, bands: (0 * coarse, 0.1, 0.5))
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    expected = (0.5 * images + 0.5 * (mean + 0.1)).clip(0, 1)
    np.testing.assert_allclose(equalise(images, rngs, Form()), expected, atol=1e-5)


def test_the_equaliser_treats_each_image_alone(intensities):
    form = Form(nu=0.5)
    together = equalise(intensities[:9], [rng(k) for k in range(9)], form)
    for k in (0, 8):
        alone = equalise(intensities[k : k + 1], [rng(k)], form)[0]
        np.testing.assert_array_equal(alone, together[k])
    assert not np.allclose(together[0], equalise(intensities[:1], [rng(5)], form)[0], atol=0.01)


@pytest.mark.parametrize("width", [4, 40])
def test_a_reflected_crop_shows_windows_of_the_reflected_image(images, width):
    recipe = BARE.replace(crop=width, padding="reflect")
    (cropped,), labels, *_ = Batches(recipe, images)[0]
    raw = images.pixels[labels] / np.float32(255)
    padded = np.pad(raw, ((0, 0), (0, 0), (width, width), (width, width)), mode="reflect")
    for image, wide in zip(cropped.numpy()[:6], padded, strict=False):
        corner = np.lib.stride_tricks.sliding_window_view(wide[0], (32, 32))
        assert (corner == image[0]).all(axis=(2, 3)).any()
    assert cropped[:, :, 0].amax(dim=(1, 2)).min() > 0 or width > 4
