"""A torchvision transform that changes the images of a sample and nothing else."""

from typing import Any

import PIL.Image
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from virolbi.scale_space import OVERSHOOT

IMAGE_TYPES = (tv_tensors.Image, tv_tensors.Video, PIL.Image.Image)


def _is_plain_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of no special type, such as a mask."""
    return isinstance(value, Tensor) and not isinstance(value, tv_tensors.TVTensor)


class ImageTransform(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Transform of images, which keeps their type and leaves labels, masks and boxes as they are.

    As in all transforms of torchvision, a plain tensor is an image if it is the first tensor of a
    sample that has no explicit image.
    """

    _transformed_types = (*IMAGE_TYPES, _is_plain_tensor)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Check that a sample has an image, before torchvision calls `transform` for it.

        Parameters
        ----------
        flat_inputs : list
            All values of the sample.

        Raises
        ------
        TypeError
            If none of them is an image.
        """
        if not any(
            isinstance(value, IMAGE_TYPES) or _is_plain_tensor(value) for value in flat_inputs
        ):
            raise TypeError(
                "sample must hold a PIL image, a tensor or a torchvision image, got "
                f"{[type(value).__name__ for value in flat_inputs]}"
            )

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Change one image, or a batch of images.

        Parameters
        ----------
        inpt : Tensor, PIL.Image.Image, tv_tensors.Image or tv_tensors.Video
            Images.
        params : dict
            Not used.

        Returns
        -------
        Tensor, PIL.Image.Image, tv_tensors.Image or tv_tensors.Video
            New images of the same type, mode and dtype.

        Raises
        ------
        TypeError, ValueError
            If the image is no grey or RGB image, or if a tensor does not have the shape
            (..., C, H, W) and intensities in uint8 or in floats.
        """
        if isinstance(inpt, PIL.Image.Image):
            if inpt.mode not in ("L", "RGB"):
                raise ValueError(f"image must have the mode L or RGB, got {inpt.mode}")
            pixels = v2.functional.pil_to_tensor(inpt)
            return v2.functional.to_pil_image(self.change(pixels), mode=inpt.mode)
        plain = inpt.as_subclass(Tensor)
        if plain.ndim < 3:
            raise ValueError(
                "the first tensor of a sample without an image type must be the image, of shape "
                f"(..., C, H, W), got the shape {tuple(plain.shape)}"
            )
        if plain.dtype != torch.uint8 and not plain.is_floating_point():
            raise TypeError(f"image must be uint8 or floating, got {plain.dtype}")
        changed = self.change(plain) if plain.numel() else plain
        return tv_tensors.wrap(changed, like=inpt)

    def change(self, images: Tensor) -> Tensor:
        """Return changed images.

        Parameters
        ----------
        images : Tensor of uint8 or float, shape (..., C, H, W)
            Images; floats are intensities in [0, 1].

        Returns
        -------
        Tensor
            New images of the same shape, dtype and device.
        """
        raise NotImplementedError


def as_batch(images: Tensor) -> Tensor:
    """Return images as one batch on the CPU, without gradients.

    Parameters
    ----------
    images : Tensor of uint8 or float, shape (..., C, H, W)
        Images; floats are intensities in [0, 1].

    Returns
    -------
    Tensor
        The images, shape (N, C, H, W); floats have single precision.

    Raises
    ------
    ValueError
        If floats are far from [0, 1], as after a normalisation.
    """
    batch = images.detach().reshape(-1, *images.shape[-3:]).cpu()
    if batch.dtype == torch.uint8:
        return batch
    if batch.numel():
        low, high = (bound.item() for bound in batch.aminmax())
        if not (-OVERSHOOT <= low <= high <= 1 + OVERSHOOT):
            raise ValueError(
                "image must have intensities in [0, 1], which this transform gets if it comes "
                f"before the normalisation, got values from {low:g} to {high:g}"
            )
    return batch.float()


def as_given(intensities: Tensor, images: Tensor) -> Tensor:
    """Return changed images in the form of those that a transform was called with.

    Parameters
    ----------
    intensities : Tensor of float, shape (N, C, H, W)
        Changed images, in [0, 1].
    images : Tensor of uint8 or float, shape (..., C, H, W)
        Images that the transform was called with.

    Returns
    -------
    Tensor
        The changed images with the shape, dtype and device of the others; uint8 are rounded.
    """
    if not images.is_floating_point():
        intensities = (intensities * 255).round()
    return intensities.reshape(images.shape).to(images)
