"""`smooth`, the one function to know, and `PAPER`, the published form as a preset."""

import math
import sys
from types import MappingProxyType
from typing import Any

from virolbi.scale_space import ScaleSpace, check_output

# what `smooth` does by default, and the published form
ROBUST: MappingProxyType[str, Any] = MappingProxyType(
    {"delta": 0.1, "joint": True, "output": "beta"}
)
PAPER: MappingProxyType[str, Any] = MappingProxyType(
    {"delta": math.inf, "joint": False, "output": "regions"}
)
PRESETS = MappingProxyType({"robust": ROBUST, "paper": PAPER})


def smooth(
    images: Any,
    sparsity: Any,
    *,
    nu: float = 1.0,
    delta: float = 0.1,
    channel_axis: int | None = None,
    joint: bool = True,
    output: str = "beta",
    min_area: int = 1,
) -> Any:
    """Let the strongest, largest variations of an image in until a chosen fraction of its edges is left out.

    images: NumPy array or torch tensor, uint8, uint16 or floating intensities in [0, 1]. The last two axes, or the two left
        beside `channel_axis`, are height and width; every other axis counts images.
    sparsity: fraction of edges (pairs of neighbouring pixels) left out, in [0, 1]; one number, or one for each image. A larger
        sparsity is smoother: 0 is the input, 1 lets nothing in (blank for `regions`, a plain blur for `beta`). "auto" goes as
        far as the noise of each image allows, which it tells from the image, for `beta`; more ways to choose are in
        `virolbi.scale_space`.
    nu: how loosely image and variations are coupled, from .001 to 1000. A smaller nu smooths more between the contours, and
        costs more time; under .1, with outliers cut off by `delta`, the path is followed less exactly (see benchmarks/).
    delta: intensity beyond which the data term is linear (Huber), .001 or more. A smaller delta shuts out weaker outliers and
        fades small details; infinity is the published form.
    channel_axis: the colour axis, or None when every plane is an image of its own.
    joint: one support for all channels of an image, or one for each channel.
    output: "beta", the image at equilibrium with what was let in, or "regions", its means over the regions that are left.
    min_area: of `regions`, those of fewer pixels are merged into their most similar neighbour. A larger area removes more.

    Returns images of the same kind, shape, dtype and device. Raises TypeError or ValueError, naming the argument, its rule and
    the value. A constant image, and one whose variations have all entered at this sparsity, comes back as it is, but for what
    `min_area` merges.

    The published form is `smooth(images, sparsity, **PAPER)`. Source: arXiv 2409.18419 in the limit kappa -> infinity, with
    a Huber data term and vectorial z of our own.

    >>> import numpy as np
    >>> image = np.zeros((8, 8)); image[:, 4:] = 0.8; image[2, 2] = 1.0          # a contour and an outlier
    >>> smoothed = smooth(image, 0.9)
    >>> bool(smoothed[2, 2] < 0.2), bool(smoothed[4, 4] - smoothed[4, 3] > 0.7)
    (True, True)
    """
    check_output(output, min_area, sparsity)
    settings: dict[str, Any] = {
        "nu": nu,
        "delta": delta,
        "channel_axis": channel_axis,
        "joint": joint,
    }
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(images, torch.Tensor):
        from virolbi.nn import smooth_tensor

        return smooth_tensor(images, sparsity, output=output, min_area=min_area, **settings)
    space = ScaleSpace(images, min_area=min_area, copy=False, **settings)
    return space.finish(sparsity, output=output).output(output)
