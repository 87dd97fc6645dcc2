import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from virolbi import smooth
from virolbi._storage.caches import cached_array
from virolbi.data import Images
from virolbi.recipes import Recipe
from virolbi.training import Batches
from virolbi.training.augmentations import _zoom

BARE = Recipe(batch_size=8, epochs=2, crop=0, flip=False)


@pytest.fixture
def images(photographs):
    pixels = photographs.transpose(0, 3, 1, 2).copy()
    return Images("photographs", pixels, np.arange(48), tuple(map(str, range(48))))


def equal_batches(one, other):
    return one.sparsity == other.sparsity and all(
        torch.equal(a, b) for a, b in zip(one[:2], other[:2], strict=True)
    )


def test_an_epoch_shows_every_image_once_as_the_procedure_says(images):
    batches = Batches(BARE.replace(procedure="fixed"), images)
    assert (len(batches), batches.per_epoch) == (12, 6)
    expected = smooth(images.pixels, 0.8, channel_axis=1)
    for epoch in range(2):
        inputs, labels, *_ = (
            list(part) for part in zip(*(batches[6 * epoch + k] for k in range(6)), strict=True)
        )
        inputs, labels = [views[0] for views in inputs], torch.cat(labels)
        np.testing.assert_array_equal(labels.sort().values, images.labels)
        np.testing.assert_array_equal((torch.cat(inputs) * 255).round().numpy(), expected[labels])
    assert not torch.equal(batches[0][1], batches[6][1])


def test_images_that_are_held_out_have_no_influence(images):
    recipe, rows = BARE.replace(views=("apr-pair",)), np.arange(0, 48, 2)
    others = images.pixels.copy()
    others[1::2] = 255 - others[1::2]
    first, second = (
        Batches(recipe, replace(images, pixels=pixels), rows=rows)
        for pixels in (images.pixels, others)
    )
    assert all(equal_batches(first[step], second[step]) for step in range(len(first)))


EVERYTHING = BARE.replace(procedure="mixed", noise=0.1, augmix=True, crop=4, flip=True, zoom=0.5)


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_batch_depends_on_its_number_alone(images, order):
    recipe = EVERYTHING.replace(order=order)
    first, again = Batches(recipe, images), Batches(recipe, images)
    torch.manual_seed(5)  # the global generator has no influence
    for step in (7, 3, 7):
        assert equal_batches(first[step], again[step])
    assert not torch.equal(first[3][0], first[4][0])
    assert not torch.equal(first[3][0], Batches(recipe.replace(seed=1), images)[3][0])
    with pytest.raises(IndexError, match="step .* 12"):
        first[12]


def test_the_seed_decides_all_that_is_random_in_a_batch(images):
    def noise(seed):
        recipe = BARE.replace(batch_size=48, noise=0.2, seed=seed)
        (inputs,), labels, *_ = Batches(recipe, images)[0]
        return inputs - torch.from_numpy(images.pixels[labels]) / 255

    assert torch.equal(noise(0), noise(0))
    spread = torch.stack([noise(seed).flatten(1).std(dim=1) for seed in (0, 1)])
    assert abs(float(torch.corrcoef(spread)[0, 1])) < 0.6


def test_processes_share_a_batch_among_them(images):
    inputs, labels, mean, _ = Batches(EVERYTHING, images)[5]
    shares = [Batches(EVERYTHING, images, share=(rank, 3))[5] for rank in range(3)]
    assert {sparsity for _, _, sparsity, _ in shares} == {mean}
    assert torch.equal(torch.cat([share[0] for share in shares], dim=1), inputs)
    assert torch.equal(torch.cat([share[1] for share in shares]), labels)
    with pytest.raises(ValueError, match="batch .* 3 processes .*accumulate=3 .* got 8"):
        Batches(EVERYTHING.replace(accumulate=3), images, share=(0, 3))


@pytest.mark.slow
def test_the_cache_changes_nothing_and_is_made_once(images, tmp_path, monkeypatch):
    on_the_fly, cached = Batches(EVERYTHING, images), Batches(EVERYTHING, images, cache=tmp_path)
    for step in range(12):
        assert equal_batches(on_the_fly[step], cached[step])
    assert len(list(tmp_path.glob("*.npy"))) == 3
    monkeypatch.setattr("virolbi.training.views.smooth", lambda *a, **k: 1 / 0)
    assert equal_batches(Batches(EVERYTHING, images, cache=tmp_path)[4], cached[4])


def test_a_cache_is_of_one_shape_and_one_form(images, tmp_path):
    recipe = BARE.replace(procedure="fixed")
    column = replace(images, pixels=images.pixels.reshape(48, 3, 64, 16))
    for other in (recipe.replace(sparsity=0.8000001), recipe.replace(nu=recipe.nu + 1e-9)):
        Batches(recipe, images, cache=tmp_path)
        Batches(other, images, cache=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 3
    cached = Batches(recipe, column, cache=tmp_path)
    assert equal_batches(cached[0], Batches(recipe, column)[0])


def test_a_cache_is_of_one_source_of_the_smoother(images, tmp_path, monkeypatch):
    recipe = BARE.replace(procedure="fixed")
    Batches(recipe, images, cache=tmp_path)
    monkeypatch.setattr("virolbi.training.batches.SMOOTHER_DIGEST", "of another", raising=False)
    Batches(recipe, images, cache=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_a_cache_that_was_left_unfinished_is_resumed(images, tmp_path, monkeypatch):
    monkeypatch.setattr("virolbi._storage.caches.CHUNK", 10 * images.pixels[0].nbytes)
    computed = []

    def interrupted(rows):
        if rows.start >= 30:
            raise KeyboardInterrupt
        computed.append(rows)
        return images.pixels[rows]

    with pytest.raises(KeyboardInterrupt):
        cached_array(tmp_path / "a.npy", images.pixels.shape, interrupted)
    assert not (tmp_path / "a.npy").exists()
    array = cached_array(
        tmp_path / "a.npy",
        images.pixels.shape,
        lambda rows: computed.append(rows) or images.pixels[rows],
    )
    np.testing.assert_array_equal(array, images.pixels)
    assert [rows.start for rows in computed] == [0, 10, 20, 30, 40]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_processes_that_make_the_same_cache_do_not_disturb_each_other(
    images, tmp_path, monkeypatch
):
    monkeypatch.setattr("virolbi._storage.caches.CHUNK", 10 * images.pixels[0].nbytes)
    path, shape = tmp_path / "a.npy", images.pixels.shape

    def make_beside(rows):
        if rows.start == 20:
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: 1)
                array = cached_array(path, shape, lambda chunk: images.pixels[chunk])
                np.testing.assert_array_equal(array, images.pixels)
        return images.pixels[rows]

    np.testing.assert_array_equal(cached_array(path, shape, make_beside), images.pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.slow
def test_the_unfinished_cache_of_a_dead_process_is_taken_over(images, tmp_path, monkeypatch):
    monkeypatch.setattr("virolbi._storage.caches.CHUNK", 10 * images.pixels[0].nbytes)
    code = (
        "import os, sys, virolbi._storage.caches as c; c.CHUNK = 10 * 3072; "
        "c.cached_array(c.Path(sys.argv[1]), (48, 3, 32, 32), "
        "lambda rows: c.np.full((10, 3, 32, 32), 7, 'u1') if rows.start < 20 else os._exit(0))"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, tmp_path / "a.npy"], check=True)
        assert len(list(tmp_path.iterdir())) == 1
    array = cached_array(tmp_path / "a.npy", images.pixels.shape, lambda rows: images.pixels[rows])
    assert (array[:20] == 7).all()
    np.testing.assert_array_equal(array[20:], images.pixels[20:])
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_smoothing_last_smooths_the_augmented_images(images):
    recipe = BARE.replace(procedure="fixed", noise=0.2, crop=4)
    noisy = Batches(recipe.replace(procedure="plain"), images)[2]
    last = Batches(recipe.replace(order="last"), images)[2]
    assert torch.equal(noisy[1], last[1])
    np.testing.assert_array_equal(last[0][0], smooth(noisy[0][0].numpy(), 0.8, channel_axis=1))


def test_augmentations_do_what_their_settings_say(images):
    def shown(**settings):
        (inputs,), labels, *_ = Batches(BARE.replace(batch_size=48, **settings), images)[0]
        return inputs.numpy(), images.pixels[labels] / np.float32(255)

    cropped, raw = shown(crop=4)
    padded = np.pad(raw, ((0, 0), (0, 0), (4, 4), (4, 4)))
    # (N, C, 9, 9, 32, 32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (32, 32), axis=(2, 3))
    hits = (windows == cropped[:, :, None, None]).all(axis=(1, 4, 5))
    assert (hits.sum(axis=(1, 2)) >= 1).all()
    assert hits.any(axis=0).sum() > 25  # of 81 positions
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
            (after - before)[mask].std()
            for before, after, mask in zip(raw, noisy, inside, strict=True)
            if mask.sum() > 300
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


def test_the_mean_sparsity_of_a_batch_is_none_if_that_of_an_image_is_auto(images):
    fixed = BARE.replace(procedure="fixed", sparsity=0.5, untouched=0.9)
    auto = fixed.replace(sparsity="auto")
    means = [Batches(fixed, images)[step][2] for step in range(12)]
    assert 0 in means
    assert any(means)
    for step, mean in enumerate(means):
        assert Batches(auto, images)[step][2] == (None if mean else 0)


@pytest.mark.parametrize("least", [0.08, 0.5, 0.9, 0.95])
def test_a_zoom_keeps_the_share_of_the_area_it_promises(least, monkeypatch):
    parts = []
    monkeypatch.setattr(
        "virolbi.training.augmentations.F.interpolate",
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
    (inputs,), labels, sparsity, _ = Batches(recipe, images)[0]
    expected = smooth(images.pixels, "auto", channel_axis=1)[labels]
    np.testing.assert_allclose(inputs * 255, expected, atol=0.51)
    assert sparsity is None
    assert not np.array_equal(expected, images.pixels[labels])
    assert torch.equal(inputs, Batches(recipe, images, cache=tmp_path)[0][0][0])


def test_untouched_images_are_shown_as_they_are(images):
    plain = Batches(BARE.replace(batch_size=48), images)[0][0]
    for settings in ({"procedure": "mixed", "mix": (0.9,)}, {"noise": 0.2}, {"augmix": True}):
        for order in ("first", "last"):
            inputs = Batches(
                BARE.replace(batch_size=48, untouched=0.5, order=order, **settings), images
            )[0][0]
            unchanged = (inputs == plain)[0].flatten(1).all(dim=1)
            assert 12 < unchanged.sum() < 36
    untouched = EVERYTHING.replace(untouched=1.0)
    moved = Batches(untouched.replace(noise=0.0, augmix=False), images)[0][0]
    assert torch.equal(Batches(untouched, images)[0][0], moved)
    assert not torch.equal(Batches(EVERYTHING, images)[0][0], moved)


def test_a_transform_changes_each_image_by_random_numbers_of_its_own(images):
    transform = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
    batches = Batches(BARE, images, transform=transform)
    torch.manual_seed(5)  # the global generator has no influence, and is left as it is
    before = torch.get_rng_state()
    (inputs,), labels, *_ = batches[3]
    assert torch.equal(torch.get_rng_state(), before)
    (plain,), same, *_ = Batches(BARE, images)[3]
    assert torch.equal(labels, same)
    assert inputs.dtype == torch.float32
    assert not any(torch.equal(*pair) for pair in zip(inputs, plain, strict=True))
    shares = [Batches(BARE, images, share=(rank, 3), transform=transform)[3] for rank in range(3)]
    assert torch.equal(torch.cat([share[0][0] for share in shares]), inputs)
    # all images alike: what differs afterwards is the random numbers
    alike = Images("alike", images.pixels[:1].repeat(48, axis=0), images.labels, images.classes)
    (inputs,), *_ = Batches(BARE, alike, transform=transform)[0]
    assert len(torch.unique(inputs, dim=0)) > 4
    (floats,), *_ = Batches(BARE, images, transform=lambda image: image / 255)[3]
    assert torch.equal(floats, plain)


@pytest.mark.parametrize(
    ("transform", "changes", "error", "message"),
    [
        ("flip", {}, TypeError, "transform must be callable, got str"),
        (v2.ToPILImage(), {}, TypeError, "transform must return a torch tensor, got Image"),
        (v2.Resize(16), {}, ValueError, r"transform must .* \(3, 32, 32\), got \(3, 16, 16\)"),
        (lambda image: image.float(), {}, ValueError, r"transform must .* \[0, 1\].* got torch"),
        (lambda image: image.long() // 255, {}, ValueError, "transform must .* got torch.int64"),
        (lambda image: image / 255 - 0.5, {}, ValueError, "transform must .* from -0"),
        (lambda image: image * float("nan"), {}, ValueError, "transform must .* from nan"),
        (torch.clone, {"flip": True}, ValueError, "flip must be False with a transform"),
        (torch.clone, {"crop": 4}, ValueError, "crop must be 0 with a transform.* got 4"),
        (torch.clone, {"noise": 0.1}, ValueError, "noise must be 0 with a transform"),
        (torch.clone, {"procedure": "fixed"}, ValueError, "procedure must be 'plain'"),
        (torch.clone, {"views": ("augmix",)}, ValueError, r"views must be \(\) with a transform"),
    ],
)
def test_a_transform_that_does_not_fit_is_refused(images, transform, changes, error, message):
    with pytest.raises(error, match=message):
        Batches(BARE.replace(**changes), images, transform=transform)[0]


@pytest.mark.parametrize("step", ["augmix", "equalise", "noise", "blur", "smooth", "apr-pair"])
def test_batches_can_be_sent_to_processes_that_are_not_forked(images, step):
    recipe = BARE.replace(
        views=(step,),
        **({"noise": 0.1} if step == "noise" else {}),
        **({"procedure": "fixed"} if step == "smooth" else {}),
    )
    batches = Batches(recipe, images)
    assert equal_batches(pickle.loads(pickle.dumps(batches))[0], batches[0])
