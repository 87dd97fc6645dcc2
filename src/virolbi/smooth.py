"""The function `smooth`: arrays go to `virolbi.scale_space`, tensors to `virolbi.nn`.

The command of this name is in `virolbi.cli.images`.
"""

import sys
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike

from virolbi.scale_space import PAPER, Form, Output, ScaleSpace

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PAPER", "smooth"]


@overload
def smooth(
    images: "Tensor",
    sparsity: Any,
    *,
    nu: float = ...,
    delta: float = ...,
    channel_axis: int | None = ...,
    joint: bool = ...,
    output: Output = ...,
    min_area: int = ...,
    step: float = ...,
    data_range: float | None = ...,
) -> "Tensor": ...
@overload
def smooth(
    images: ArrayLike,
    sparsity: Any,
    *,
    nu: float = ...,
    delta: float = ...,
    channel_axis: int | None = ...,
    joint: bool = ...,
    output: Output = ...,
    min_area: int = ...,
    step: float = ...,
    data_range: float | None = ...,
) -> np.ndarray: ...


def smooth(
    images: Any,
    sparsity: Any,
    *,
    nu: float = Form.nu,
    delta: float = Form.delta,
    channel_axis: int | None = None,
    joint: bool = Form.joint,
    output: Output = Form.output,
    min_area: int = Form.min_area,
    step: float = Form.step,
    data_range: float | None = None,
) -> Any:
    """Smooth images by letting in their strongest and largest variations first.

    The scale path of an image starts almost blank and ends at the image. Variations enter it in
    order of strength and scale until a chosen fraction of the edges (pairs of neighbouring
    pixels) is left out. Noise, which has small scales, stays out; contours stay sharp.

    Parameters
    ----------
    images : array_like or torch.Tensor
        Intensities, as a tensor, an array, or what `numpy.asarray` makes an array of: PIL images,
        nested lists, xarray and dask arrays. They are uint8, uint16, or floating in [0, 1], or in
        [0, `data_range`]. The last two axes, or the two that remain without `channel_axis`, are
        height and width; every other axis counts images.
    sparsity : float, array_like of float, "auto" or callable
        Fraction of edges left out, in [0, 1]: one number, or one for each image. A larger
        sparsity is smoother: 0 is the input, 1 lets nothing in (a constant image for "regions",
        a plain blur for "beta"). "auto" estimates the noise of each image and chooses the
        smoothing from it, for output "beta"; images whose noise is below 0.004 of the range that
        they fill, or may be texture, are left as they are. A callable receives the estimates and
        returns the noise strengths to use, which count however small they are; 0 leaves an image
        as it is. `virolbi.scale_space` has more ways to choose.
    nu : float, optional
        Coupling of the image and its variations, in [0.001, 1000]. A smaller `nu` smooths more
        between the contours and takes more time.
    delta : float, optional
        Intensity, as a fraction of `data_range`, beyond which a pixel counts as an outlier,
        >= 0.001. A smaller `delta` shuts out weaker outliers and fades small details. Infinity is
        the published form.
    channel_axis : int, optional
        Axis of the colour channels, or None if every plane is an image of its own.
        All channels are smoothed, an alpha channel too: split it off before, and join it after.
    joint : bool, optional
        Whether all channels of an image share one support, or each has its own.
    output : {"beta", "regions"}, optional
        "beta" is the image at equilibrium with the variations that were let in; "regions" holds
        its means over the regions that the support separates.
    min_area : int, optional
        For output "regions": regions of fewer pixels are merged into their most similar
        neighbour. A larger area removes more.
    step : float, optional
        Length of a time step as a fraction of the time, in [0.001, 0.5]. A larger step takes less
        time and follows the path less exactly, see `virolbi.scale_space.Form`.
    data_range : float, optional
        Value of `images` that is intensity 1, > 0: 4095 for 12 bits in uint16. None is 255 for
        uint8, 65535 for uint16 and 1 for floats.

    Returns
    -------
    ndarray or torch.Tensor
        A tensor for a tensor, else an array, of the same shape, dtype, range and device; integers
        are rounded, and clipped to what their dtype holds. A constant image, and an image whose
        variations have all entered at this sparsity, is returned unchanged, except for regions
        merged by `min_area`, and for rounding where floats have a `data_range`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value. The message names the argument, the rule and
        the value.

    Warns
    -----
    UserWarning
        If images seem to have another range than they are said to have: integers of 16 bits that
        leave the three highest bits unused, without a `data_range`; floats in [0, 1], with one of
        more than 8; floats that span less than 0.001, without one: differences of 1e-6 of it count
        as none; or intensities outside [-0.2, 1.2], as in images that were normalised for a
        network. If the last axis seems to hold colours, and is read as the width.

    See Also
    --------
    ScaleSpace : The whole path of images, which can be asked many times.
    virolbi.scale_space.Form : All settings of the smoother in one record.

    Notes
    -----
    `smooth(images, sparsity, **PAPER)` is the published form.

    References
    ----------
    .. [1] "Robust Network Learning via Inverse Scale Variational Sparsification",
       arXiv:2409.18419, in the limit of infinite kappa. The Huber data term and the vectorial
       dual variable are additions of this package.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((8, 8))
    >>> image[:, 4:] = 0.8                                        # a contour
    >>> image[2, 2] = 1.0                                         # an outlier
    >>> smoothed = smooth(image, 0.9)
    >>> bool(smoothed[2, 2] < 0.2), bool(smoothed[4, 4] - smoothed[4, 3] > 0.7)
    (True, True)
    """
    form = Form(nu=nu, delta=delta, joint=joint, output=output, min_area=min_area, step=step)
    form.check_combination(sparsity)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(images, torch.Tensor):
        from virolbi.nn import smooth_tensor

        return smooth_tensor(
            images, sparsity, form, channel_axis=channel_axis, data_range=data_range
        )
    space = ScaleSpace(
        images,
        channel_axis=channel_axis,
        copy=False,
        data_range=data_range,
        **form.path_keywords(),
    )
    return space.finish(sparsity, output=form.output).output(form.output)
