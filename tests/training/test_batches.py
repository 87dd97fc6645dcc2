import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from virolbi import smooth
from virolbi._storage.caches import cached_array
from virolbi.data import Images
from virolbi.recipes import Recipe
from virolbi.training import Batches
from virolbi.training.batches import _zoom

BARE = Recipe(batch_size=8, epochs=2, crop=0, flip=False)


@pytest.fixture
def images(photographs):
    return Images(
        "photographs", photographs.transpose(0, 3, 1, 2).copy(), np.arange(48), tuple("ab")
    )


def same(one, other):
    return all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one, other, strict=True)
    )


def test_an_epoch_shows_every_image_once_as_the_procedure_says(images):
    batches = Batches(BARE.replace(procedure="fixed"), images)
    assert (len(batches), batches.per_epoch) == (12, 6)
    expected = smooth(images.pixels, 0.8, channel_axis=1)
    for epoch in range(2):
        inputs, labels, _ = (
            list(part) for part in zip(*(batches[6 * epoch + k] for k in range(6)), strict=True)
        )
        labels = torch.cat(labels)
        np.testing.assert_array_equal(labels.sort().values, images.labels)
        np.testing.assert_array_equal((torch.cat(inputs) * 255).round().numpy(), expected[labels])
    assert not torch.equal(batches[0][1], batches[6][1])


EVERYTHING = BARE.replace(procedure="mixed", noise=0.1, augmix=True, crop=4, flip=True, zoom=0.5)


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_batch_depends_on_its_number_alone(images, order):
    recipe = EVERYTHING.replace(order=order)
    first, again = Batches(recipe, images), Batches(recipe, images)
    torch.manual_seed(5)  # whatever else is random
    for step in (7, 3, 7):
        assert same(first[step], again[step])
    assert not torch.equal(first[3][0], first[4][0])
    assert not torch.equal(first[3][0], Batches(recipe.replace(seed=1), images)[3][0])
    with pytest.raises(IndexError, match="step must be from 0 to 11, got 12"):
        first[12]


def test_the_seed_decides_all_that_is_random_in_a_batch(images):
    def noise(seed):
        inputs, labels, _ = Batches(BARE.replace(batch_size=48, noise=0.2, seed=seed), images)[0]
        return inputs - torch.from_numpy(images.pixels[labels]) / 255

    assert torch.equal(noise(0), noise(0))
    spread = torch.stack([noise(seed).flatten(1).std(dim=1) for seed in (0, 1)])
    assert abs(float(torch.corrcoef(spread)[0, 1])) < 0.6


def test_processes_share_a_batch_among_them(images):
    whole = Batches(EVERYTHING, images)[5]
    parts = [Batches(EVERYTHING, images, share=(rank, 3))[5] for rank in range(3)]
    assert {sparsity for _, _, sparsity in parts} == {whole[2]}
    assert torch.equal(torch.cat([part[0] for part in parts]), whole[0])
    assert torch.equal(torch.cat([part[1] for part in parts]), whole[1])
    with pytest.raises(
        ValueError, match="a batch of 8 images must reach for 3 processes and accumulate=3 parts"
    ):
        Batches(EVERYTHING.replace(accumulate=3), images, share=(0, 3))


def test_the_cache_changes_nothing_and_is_made_once(images, tmp_path, monkeypatch):
    on_the_fly, cached = Batches(EVERYTHING, images), Batches(EVERYTHING, images, cache=tmp_path)
    for step in range(12):
        assert same(on_the_fly[step], cached[step])
    assert len(list(tmp_path.glob("*.npy"))) == 3
    monkeypatch.setattr("virolbi.training.batches.smooth", lambda *a, **k: 1 / 0)
    assert same(Batches(EVERYTHING, images, cache=tmp_path)[4], cached[4])


def test_a_cache_that_was_left_unfinished_is_gone_on_with(images, tmp_path, monkeypatch):
    monkeypatch.setattr("virolbi._storage.caches.CHUNK", 10 * images.pixels[0].nbytes)
    made = []

    def interrupted(rows):
        if rows.start >= 30:
            raise KeyboardInterrupt
        made.append(rows)
        return images.pixels[rows]

    with pytest.raises(KeyboardInterrupt):
        cached_array(tmp_path / "a.npy", images.pixels.shape, interrupted)
    assert not (tmp_path / "a.npy").exists()
    found = cached_array(
        tmp_path / "a.npy",
        images.pixels.shape,
        lambda rows: made.append(rows) or images.pixels[rows],
    )
    np.testing.assert_array_equal(found, images.pixels)
    assert [rows.start for rows in made] == [0, 10, 20, 30, 40]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_processes_that_make_the_same_cache_leave_each_other_alone(images, tmp_path, monkeypatch):
    monkeypatch.setattr("virolbi._storage.caches.CHUNK", 10 * images.pixels[0].nbytes)
    path, shape = tmp_path / "a.npy", images.pixels.shape

    def make_beside(rows):
        if rows.start == 20:
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 1)
                np.testing.assert_array_equal(
                    cached_array(path, shape, lambda some: images.pixels[some]), images.pixels
                )
        return images.pixels[rows]

    np.testing.assert_array_equal(cached_array(path, shape, make_beside), images.pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_what_dead_processes_have_left_of_a_cache_is_taken_over(images, tmp_path, monkeypatch):
    monkeypatch.setattr("virolbi._storage.caches.CHUNK", 10 * images.pixels[0].nbytes)
    code = "import os, sys, virolbi._storage.caches as c; c.CHUNK = 10 * 3072; c.cached_array(c.Path(sys.argv[1]), (48, 3, 32, 32), "
    code += "lambda rows: c.np.full((10, 3, 32, 32), 7, 'u1') if rows.start < 20 else os._exit(0))"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, tmp_path / "a.npy"], check=True)
        assert len(list(tmp_path.iterdir())) == 1
    found = cached_array(tmp_path / "a.npy", images.pixels.shape, lambda rows: images.pixels[rows])
    assert (found[:20] == 7).all()
    np.testing.assert_array_equal(found[20:], images.pixels[20:])
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_smoothing_last_smooths_what_augmentation_has_made(images):
    recipe = BARE.replace(procedure="fixed", noise=0.2, crop=4)
    noisy = Batches(recipe.replace(procedure="plain"), images)[2]
    last = Batches(recipe.replace(order="last"), images)[2]
    assert torch.equal(noisy[1], last[1])
    np.testing.assert_array_equal(last[0].numpy(), smooth(noisy[0].numpy(), 0.8, channel_axis=1))


def test_augmentation_does_what_it_says(images):
    def shown(**settings):
        inputs, labels, _ = Batches(BARE.replace(batch_size=48, **settings), images)[0]
        return inputs.numpy(), images.pixels[labels] / np.float32(255)

    cropped, raw = shown(crop=4)
    padded = np.pad(raw, ((0, 0), (0, 0), (4, 4), (4, 4)))
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (32, 32), axis=(2, 3)
    )  # (N, C, 9, 9, 32, 32)
    hits = (windows == cropped[:, :, None, None]).all(axis=(1, 4, 5))
    assert (hits.sum(axis=(1, 2)) >= 1).all()
    assert hits.any(axis=0).sum() > 25  # of 81 places
    flipped, raw = shown(flip=True)
    straight, mirrored = (
        np.abs(flipped - other).max(axis=(1, 2, 3)) == 0 for other in (raw, raw[..., ::-1])
    )
    assert (straight | mirrored).all()
    assert 12 < mirrored.sum() < 36
    noisy, raw = shown(noise=0.2)
    inside = (raw > 0.3) & (raw < 0.7)
    sigma = np.array(
        [
            (b - a)[some].std()
            for a, b, some in zip(raw, noisy, inside, strict=True)
            if some.sum() > 300
        ]
    )
    assert len(sigma) > 20
    assert sigma.min() < 0.04
    assert 0.15 < sigma.max() < 0.2
    zoomed, raw = shown(zoom=0.25)
    assert (np.abs(zoomed.mean(axis=(2, 3)) - raw.mean(axis=(2, 3))) < 0.3).all()
    assert (
        np.abs(np.diff(zoomed)).mean(axis=(1, 2, 3)) < np.abs(np.diff(raw)).mean(axis=(1, 2, 3))
    ).mean() > 0.8
    mixed, raw = shown(augmix=True)
    changed = np.abs(mixed - raw).mean(axis=(1, 2, 3))
    assert (changed > 0).mean() > 0.9
    assert changed.max() < 0.5


@pytest.mark.parametrize("least", [0.08, 0.5, 0.9, 0.95])
def test_a_zoom_keeps_the_share_of_the_area_it_promises(least, monkeypatch):
    parts = []
    monkeypatch.setattr(
        "virolbi.training.batches.F.interpolate",
        lambda part, **_: parts.append(part.shape[-2:]) or part,
    )
    for numbers in np.random.default_rng(0).random((500, 4)):
        _zoom(torch.zeros(1, 80, 100), least, *numbers)
    areas = np.array([rows * columns for rows, columns in parts]) / (80 * 100)
    assert (areas >= least).all()
    assert areas.min() < least + 0.05
    assert areas.max() > 0.95
    wide, tall = np.quantile([rows / columns for rows, columns in parts], [0, 1])
    assert wide < 80 / 100 < tall


@pytest.mark.parametrize("order", ["first", "last"])
def test_auto_smooths_every_image_by_its_own_noise(images, order, tmp_path):
    recipe = BARE.replace(procedure="fixed", sparsity="auto", order=order)
    inputs, labels, sparsity = Batches(recipe, images)[0]
    expected = smooth(images.pixels, "auto", channel_axis=1)[labels]
    np.testing.assert_allclose(inputs * 255, expected, atol=0.51)
    assert np.isnan(sparsity)
    assert not np.array_equal(expected, images.pixels[labels])
    assert torch.equal(inputs, Batches(recipe, images, cache=tmp_path)[0][0])


def test_untouched_images_are_shown_as_they_are(images):
    plain = Batches(BARE.replace(batch_size=48), images)[0]
    for settings in ({"procedure": "mixed", "mix": (0.9,)}, {"noise": 0.2}, {"augmix": True}):
        for order in ("first", "last"):
            inputs = Batches(
                BARE.replace(batch_size=48, untouched=0.5, order=order, **settings), images
            )[0][0]
            same = (inputs == plain[0]).flatten(1).all(dim=1)
            assert 12 < same.sum() < 36
    all_of_them = EVERYTHING.replace(untouched=1.0)
    moved = Batches(all_of_them.replace(noise=0.0, augmix=False), images)[0][0]
    assert torch.equal(Batches(all_of_them, images)[0][0], moved)
    assert not torch.equal(Batches(EVERYTHING, images)[0][0], moved)
