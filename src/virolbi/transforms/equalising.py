"""The scale equaliser of the recipes as a torchvision transform."""

import numpy as np
import torch
from torch import Tensor

from virolbi.scale_space import Form
from virolbi.training import equalise
from virolbi.transforms.base import ImageTransform, as_batch, as_given


class ScaleEqualizer(ImageTransform):
    """Transform that gives the scales of training images random strengths, and keeps their edges.

    The path of an image is cut into bands, from the coarsest to the finest. Each band gets a random
    gain, and the image a mean of the sum and of itself, as in the step "equalise" of the views of a
    recipe (`virolbi.recipes.Recipe`). An image that was blurred has weak fine bands, and a noisy
    one strong ones. Every image of a batch has its own random numbers, which come from the
    generator of torch. The transform comes after cropping and before the normalisation. Labels,
    masks and boxes are left as they are.

    Parameters
    ----------
    nu, delta : float, optional
        Form of the smoother, see `virolbi.scale_space.Form`.

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or is out of its range.

    Examples
    --------
    >>> image, label = ScaleEqualizer()(torch.rand(3, 32, 32), 7)
    >>> image.shape, label
    (torch.Size([3, 32, 32]), 7)
    """

    def __init__(self, *, nu: float = Form.nu, delta: float = Form.delta) -> None:
        super().__init__()
        self.form = Form(nu=nu, delta=delta)

    def change(self, images: Tensor) -> Tensor:
        """Equalise images.

        Parameters
        ----------
        images : Tensor of uint8 or float, shape (..., C, H, W)
            Images; floats are intensities in [0, 1].

        Returns
        -------
        Tensor
            Changed images of the same shape, dtype and device; uint8 are rounded.

        Raises
        ------
        ValueError
            If floats are far from [0, 1], as after a normalisation.
        """
        batch = as_batch(images)
        if batch.dtype == torch.uint8:
            batch = batch / 255
        seeds = torch.randint(2**62, (len(batch),), device="cpu")
        rngs = [np.random.default_rng(seed) for seed in seeds.numpy()]
        return as_given(torch.from_numpy(equalise(batch.numpy(), rngs, self.form)), images)

    def extra_repr(self) -> str:
        """Return the settings, for `print(transform)`.

        Returns
        -------
        str
            Names and values.
        """
        return f"nu={self.form.nu!r}, delta={self.form.delta!r}"
