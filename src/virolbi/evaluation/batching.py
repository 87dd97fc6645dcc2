"""Sizes of the batches that a network sees during an evaluation."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from virolbi._checks import check_count
from virolbi.robustness import BATCH_SIZE

# Pixels at once on a CPU: 8 images of 224 pixels a side. For these, 250 at once take 3.3 GB and
# three times as long as 8 at once, because the activations leave the caches.
CPU_PIXELS = 8 * 224 * 224


def choose_batch_size(batch_size: int | None, shape: Sequence[int], device: torch.device) -> int:
    """Return the number of images that a network sees at once.

    Parameters
    ----------
    batch_size : int or None
        Number that the caller asks for, >= 1, or None for one that suits the size of the images.
    shape : sequence of int
        Shape of an image, (C, H, W).
    device : torch.device
        Device of the network.

    Returns
    -------
    int
        `batch_size` if it is a number; else `BATCH_SIZE`, and less for large images on a CPU.

    Raises
    ------
    TypeError, ValueError
        If `batch_size` is not a whole number >= 1.
    """
    if batch_size is not None:
        return check_count("batch_size", batch_size)
    if device.type != "cpu":
        return BATCH_SIZE
    return max(1, min(BATCH_SIZE, CPU_PIXELS // prod(shape[1:])))


class InBatches(nn.Module):
    """Network that gets its images in batches of a limited size.

    The outputs are those of the network for all images at once, up to rounding, if it classifies
    each image independently. For a gradient, the activations of one batch at a time are kept in
    memory: each batch is computed again in the backward pass.

    Parameters
    ----------
    network : nn.Module
        Network from images, (N, C, H, W), to logits, (N, classes).
    size : int
        Images at once, >= 1.
    passed : callable, optional
        Called with the number of images after each batch.
    """

    def __init__(
        self, network: nn.Module, size: int, passed: Callable[[int], None] | None = None
    ) -> None:
        super().__init__()
        self.network, self._size, self._passed = network, size, passed

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images.

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
            Images.

        Returns
        -------
        Tensor, shape (N, classes)
            Logits.
        """
        batches = torch.split(images, self._size) if len(images) > self._size else (images,)
        outputs = []
        for batch in batches:
            if len(batches) > 1 and torch.is_grad_enabled() and images.requires_grad:
                outputs.append(checkpoint(self.network, batch, use_reentrant=False))
            else:
                outputs.append(self.network(batch))
            if self._passed is not None:
                self._passed(len(batch))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]
