"""Images kept from a stream, for methods of adaptation that learn from a memory."""

import torch
from torch import Tensor


class BalancedMemory:
    """Images kept from a stream, with as many of each predicted class as can be had.

    Within a class every image of the stream so far is kept with the same probability
    (prediction-balanced reservoir sampling of NOTE).

    Parameters
    ----------
    capacity : int
        Largest number of images.
    classes : int
        Number of classes.
    """

    def __init__(self, capacity: int, classes: int) -> None:
        self._capacity = capacity
        self._kept: list[list[Tensor]] = [[] for _ in range(classes)]
        self._seen = [0] * classes
        self._generator = torch.Generator().manual_seed(0)

    def add(self, image: Tensor, label: int) -> None:
        """Keep an image in place of another, or not.

        Parameters
        ----------
        image : torch.Tensor, shape (C, H, W)
            Image.
        label : int
            Its predicted class.
        """
        self._seen[label] += 1
        sizes = [len(images) for images in self._kept]
        if sum(sizes) == self._capacity:
            largest = [index for index, size in enumerate(sizes) if size == max(sizes)]
            if label in largest:
                if self._draw(self._seen[label]) >= sizes[label]:
                    return
                crowded = label
            else:
                crowded = largest[self._draw(len(largest))]
            self._kept[crowded].pop(self._draw(sizes[crowded]))
        self._kept[label].append(image)

    def images(self) -> Tensor:
        """Return the images that are kept.

        Returns
        -------
        torch.Tensor, shape (n, C, H, W)
            Images, class by class.
        """
        return torch.stack([image for images in self._kept for image in images])

    def _draw(self, count: int) -> int:
        return int(torch.randint(count, (), generator=self._generator, device="cpu"))
