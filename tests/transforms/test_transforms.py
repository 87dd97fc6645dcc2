import numpy as np
import PIL.Image
import pytest
import torch
from timm.data import create_transform
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

import virolbi
from virolbi import nn
from virolbi.data import Images
from virolbi.recipes import Recipe, arms
from virolbi.scale_space import Form
from virolbi.training import Batches, build_classifier, equalise
from virolbi.transforms import Recommended, ScaleEqualizer, Smooth

ALL_CHANGED = {"views": ["equalise noise smooth"], "noise": 0.1, "mix": (0.9,)}


@pytest.fixture
def colour(photographs):
    """12 colour images, uint8, (N, 3, 32, 32)."""
    return torch.from_numpy(photographs[:12].transpose(0, 3, 1, 2).copy())


def kinds_of(colour):
    """Return one image in every type that torchvision transforms take."""
    return {
        "uint8": colour[0],
        "float": colour[0] / 255,
        "batch": colour[:3],
        "Image": tv_tensors.Image(colour[0]),
        "Video": tv_tensors.Video(colour[:3]),
        "RGB": v2.functional.to_pil_image(colour[0]),
        "L": v2.functional.to_pil_image(colour[0, :1]),
    }


@pytest.mark.parametrize("name", ["uint8", "float", "batch", "Image", "Video", "RGB", "L"])
def test_images_keep_their_type_and_are_smoothed_as_arrays_are(colour, name):
    image = kinds_of(colour)[name]
    smoothed = Smooth(0.9)(image)
    assert type(smoothed) is type(image)
    if isinstance(image, PIL.Image.Image):
        assert smoothed.mode == image.mode
        pixels, axis = np.asarray(image), -1 if image.mode == "RGB" else None
    else:
        assert smoothed.dtype == image.dtype
        pixels, axis = image.numpy(), -3
    expected = virolbi.smooth(pixels, 0.9, channel_axis=axis)
    assert not np.array_equal(expected, pixels)
    np.testing.assert_array_equal(np.asarray(smoothed), expected)


@pytest.mark.parametrize("transform", [Smooth(0.9), Recommended(**ALL_CHANGED), ScaleEqualizer()])
def test_labels_masks_and_boxes_are_left_as_they_are(colour, transform):
    boxes = tv_tensors.BoundingBoxes(
        torch.tensor([[1.0, 2, 3, 4]]), format="XYXY", canvas_size=(32, 32)
    )
    mask = tv_tensors.Mask(colour[0, :1])
    sample = {"image": tv_tensors.Image(colour[0]), "boxes": boxes, "mask": mask, "label": 1}
    changed = v2.Compose([transform])(sample)
    assert type(changed["image"]) is tv_tensors.Image
    assert not torch.equal(changed["image"], sample["image"])
    assert all(changed[name] is sample[name] for name in ("boxes", "mask", "label"))
    label = torch.rand(10)
    image, same = v2.Compose([transform])(colour[0] / 255, label)
    assert image.dtype == torch.float32
    assert same is label
    assert sample["image"].equal(tv_tensors.Image(colour[0]))  # the input is not written to


@pytest.mark.parametrize("transform", [Smooth(), Recommended(), ScaleEqualizer()])
def test_samples_without_an_image_are_refused(colour, transform):
    with pytest.raises(TypeError, match="sample must .*ndarray"):
        transform(colour[0].numpy())
    with pytest.raises(ValueError, match=r"must be the image.*\(10,\)"):
        transform(torch.rand(10), colour[0])
    with pytest.raises(TypeError, match="image must .*int64"):
        transform(colour[0].long())
    with pytest.raises(ValueError, match="image must .*RGBA"):
        transform(PIL.Image.new("RGBA", (8, 8)))


@pytest.mark.parametrize("transform", [Smooth("auto"), Recommended(), ScaleEqualizer()])
def test_a_batch_of_no_images_is_left_as_it_is(colour, transform):
    for images in (colour[:0], colour[:0] / 255):
        assert transform(images).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("transform", [Smooth(), ScaleEqualizer(), nn.Smooth()])
def test_colours_on_the_last_axis_are_warned_about_at_the_line_of_the_caller(colour, transform):
    for images in (colour[:2] / 255, colour[0]):
        with pytest.warns(UserWarning, match=r"of width 3; .* \(\.\.\., C, H, W\)") as caught:
            transform(images.movedim(-3, -1))
        assert [one.filename for one in caught] == [__file__]


def test_the_layer_does_not_take_a_label_for_its_sparsity(colour):
    for label in (1, torch.tensor(1), {"label": 1}):
        with pytest.raises(TypeError, match=r"images must .*virolbi\.transforms\.Smooth"):
            v2.Compose([nn.Smooth()])(colour[0] / 255, label)


@pytest.mark.parametrize("floating", [False, True])
def test_images_are_shown_as_the_recipe_shows_them(colour, monkeypatch, floating):
    seed = 12345
    recipe = Recipe(**arms()["recommended"], crop=0, flip=False, seed=seed, batch_size=12, epochs=1)
    images = Images("", colour.numpy(), np.arange(12), tuple(map(str, range(12))))
    (expected,), labels, *_ = Batches(recipe, images)[0]
    monkeypatch.setattr("torch.randint", lambda *_, **__: torch.tensor(seed))
    shown = Recommended()(colour / 255 if floating else colour)[labels]
    if floating:
        torch.testing.assert_close(shown, expected, atol=2e-6, rtol=0)
    else:
        assert torch.equal(shown, (expected * 255).round().to(torch.uint8))


@pytest.mark.parametrize("floating", [False, True])
def test_scales_are_equalised_as_the_step_of_recipes_does(colour, floating):
    torch.manual_seed(3)
    equalised = ScaleEqualizer(nu=0.5)(colour / 255 if floating else colour)
    torch.manual_seed(3)
    rngs = [np.random.default_rng(seed) for seed in torch.randint(2**62, (12,)).numpy()]
    expected = torch.from_numpy(equalise((colour / 255).numpy(), rngs, Form(nu=0.5)))
    assert torch.equal(equalised, expected if floating else (expected * 255).round().byte())


def test_the_share_of_changed_images_is_that_of_the_recipe(colour):
    torch.manual_seed(0)
    images = (colour[:1] / 255).expand(600, -1, -1, -1)
    shown = Recommended(noise=0.2)(images)
    changed = ((shown - images).abs().amax((1, 2, 3)) > 1e-3).double()
    assert abs(changed.mean() - 0.8) < 4 * (0.8 * 0.2 / 600) ** 0.5
    assert len(torch.unique(shown[changed.bool()], dim=0)) == changed.sum()


def test_the_generator_of_torch_decides(colour):
    for transform in (Recommended(**ALL_CHANGED), ScaleEqualizer()):
        torch.manual_seed(1)
        first, second = transform(colour), transform(colour)
        torch.manual_seed(1)
        assert torch.equal(transform(colour), first)
        assert not torch.equal(first, second)


def test_settings_that_do_not_concern_the_transform_are_refused():
    with pytest.raises(ValueError, match=r"changes must .*\['crop'\]"):
        Recommended(crop=4)
    with pytest.raises(ValueError, match="noise must"):
        Recommended(noise=2)
    assert Recommended(preset="paper")(torch.rand(3, 16, 16)).shape == (3, 16, 16)
    with pytest.raises(ValueError, match="views must be one view"):
        Recommended(views=["clean", "noise smooth"])
    assert "noise=0.3" in repr(Recommended(noise=0.3))


@pytest.mark.parametrize("settings", [{"use_prefetcher": True}, {"re_prob": 1.0}, {}])
def test_timm_s_transforms_take_it_before_the_conversion(colour, settings):
    image = v2.functional.to_pil_image(colour[0])
    results = []
    for more in (False, True):
        transform = create_transform(32, is_training=True, **{"use_prefetcher": False} | settings)
        steps = transform.transforms
        if more:  # as in docs/pretrained.md
            conversion = next(
                i for i, step in enumerate(steps) if "ToTensor" in type(step).__name__
            )
            steps.insert(conversion, Recommended(**ALL_CHANGED))
        torch.manual_seed(0)
        results.append(torch.as_tensor(transform(image)))
    plain, changed = results
    assert plain.shape == changed.shape
    assert plain.dtype == changed.dtype
    assert not torch.equal(plain, changed)


@pytest.mark.parametrize("change", [lambda x: 255 * x, lambda x: (x - 0.45) / 0.225])
@pytest.mark.parametrize("transform", [Recommended(), ScaleEqualizer()])
def test_normalised_images_are_refused(colour, change, transform):
    with pytest.raises(ValueError, match=r"image must have intensities in \[0, 1\].* got values"):
        transform(change(colour[0].float() / 255))


def test_floats_in_another_range_are_smoothed_where_it_is_stated_as_the_error_says(colour):
    with pytest.raises(ValueError, match="pass their largest possible value as data_range"):
        Smooth()(colour.float())
    torch.testing.assert_close(Smooth(data_range=255)(colour.float()) / 255, Smooth()(colour / 255))
    assert torch.equal(Smooth(data_range=255)(colour), Smooth()(colour))
    assert "data_range=255" in repr(Smooth(data_range=255))


class Dataset(torch.utils.data.Dataset):
    """Images with labels, through a transform."""

    def __init__(self, images):
        self._images, self._transform = images, v2.Compose([Recommended(**ALL_CHANGED)])

    def __len__(self):
        return len(self._images)

    def __getitem__(self, index):
        return self._transform(self._images[index], index)


@pytest.mark.slow
def test_it_works_in_the_workers_of_a_loader(colour):
    (images, labels) = next(iter(DataLoader(Dataset(colour), batch_size=12, num_workers=1)))
    assert labels.tolist() == list(range(12))
    assert not any(torch.equal(shown, image) for shown, image in zip(images, colour, strict=True))


@pytest.mark.parametrize("channels", [2, 4])
def test_recommended_refuses_images_that_are_neither_grey_nor_rgb_each_time(channels):
    for _ in range(8):
        with pytest.raises(ValueError, match="images must have 1 or 3 channels"):
            Recommended()(torch.rand(channels, 16, 16))


@pytest.mark.parametrize("transform", [Smooth(), ScaleEqualizer(), Recommended()])
def test_images_on_the_cpu_stay_there_whatever_the_default_device_is(colour, transform):
    results = []
    for default in ("cpu", "meta"):
        torch.manual_seed(0)
        with torch.device(default):
            results.append(transform(colour[:3]))
    assert torch.equal(*results)


def test_the_first_weights_do_not_depend_on_the_default_device(colour):
    images = Images("", colour.numpy(), np.arange(12) % 2, ("a", "b"))
    one = build_classifier(Recipe(), images).state_dict()
    with torch.device("meta"):
        other = build_classifier(Recipe(), images).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
