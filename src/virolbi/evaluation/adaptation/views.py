"""Random views of test images, for methods of adaptation that average over some."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2


def view_maker(shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Return the random change of MEMO: a crop, a mirror image in half of the cases, and AugMix.

    Parameters
    ----------
    shape : tuple of int
        Height and width of an image.

    Returns
    -------
    callable
        Function of an image (C, H, W) in [0, 1].
    """
    borders = [side // 8 for side in reversed(shape)]  # to the left and right, above and below
    change: Callable[[Tensor], Tensor] = v2.Compose(
        [
            v2.RandomCrop(shape, padding=borders, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.uint8, scale=True),
            v2.AugMix(all_ops=False),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    return lambda image: change(image.clamp(0, 1))
