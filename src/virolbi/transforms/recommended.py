"""The augmentation of the recipes named "recommended" as a torchvision transform."""

from typing import Any

import torch
from torch import Tensor

from virolbi.recipes import Recipe, arms
from virolbi.training import show_images
from virolbi.transforms.base import ImageTransform, as_batch, as_given

# settings of a recipe that decide how an image of one size is shown
SETTINGS = ("views", "mix", "noise", "nu", "preset")


class Recommended(ImageTransform):
    """Transform that shows training images as the recipes named "recommended" do.

    Each image is shown in one of six ways, at random: as it is, after AugMix, with its scales
    equalised (see `ScaleEqualizer`), after one of these two with Gaussian noise of a random
    strength and smoothed to a random sparsity, or with such noise alone. Every image
    of a batch has its own random numbers, which come from the generator of torch. Cropping and
    flipping are left to other transforms, which come before this one; the normalisation comes after
    it. Labels, masks and boxes are left as they are.

    A recipe trains on floats: uint8 and PIL images are rounded.

    Parameters
    ----------
    **changes : Any
        Settings of the recipe to change: `views` (one of them), `mix`, `noise`, `nu` or `preset`;
        see `virolbi.recipes.Recipe`.

    Raises
    ------
    ValueError
        If a setting is wrong, or is one that does not concern this transform.

    Examples
    --------
    >>> from torchvision.transforms import v2
    >>> transform = v2.Compose([v2.RandomHorizontalFlip(), Recommended(noise=0.2)])
    >>> image, label = transform(torch.rand(3, 32, 32), 7)
    >>> image.shape, label
    (torch.Size([3, 32, 32]), 7)
    """

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        unknown = sorted(changes.keys() - set(SETTINGS))
        if unknown:
            raise ValueError(f"changes must be of the settings {SETTINGS}, got {unknown}")
        if len(changes.get("views", [""])) != 1:
            raise ValueError(f"views must be one view of each image, got {changes['views']}")
        # the sparsity is that of tests, and "auto" would not allow the preset "paper"
        alone = {"crop": 0, "zoom": 1.0, "flip": False, "epochs": 1, "sparsity": 0.8}
        self._recipe = Recipe(**(arms()["recommended"] | changes | alone))

    def change(self, images: Tensor) -> Tensor:
        """Augment and smooth images.

        Parameters
        ----------
        images : Tensor of uint8 or float, shape (..., C, H, W)
            Images; floats are intensities in [0, 1].

        Returns
        -------
        Tensor
            Changed images of the same shape, dtype and device.

        Raises
        ------
        ValueError
            If floats are far from [0, 1], as after a normalisation, or if there are not 1 or 3
            channels.
        """
        batch = as_batch(images)
        if batch.shape[1] not in (1, 3):
            raise ValueError(f"images must have 1 or 3 channels, got shape {tuple(images.shape)}")
        # the levels of grey that the recipe expects; floats stay between them
        pixels = batch if batch.dtype == torch.uint8 else batch * 255
        recipe = self._recipe.replace(seed=int(torch.randint(2**32, (), device="cpu")))
        (shown,) = show_images(pixels.numpy(), recipe)
        return as_given(torch.from_numpy(shown), images)

    def extra_repr(self) -> str:
        """Return the settings, for `print(transform)`.

        Returns
        -------
        str
            Names and values.
        """
        return ", ".join(f"{name}={getattr(self._recipe, name)!r}" for name in SETTINGS)
