"""Choice of how far along the path to go; each way is used as `smooth(images, sparsity)`.

- a number, or one for each image
- `from_pairs(clean, noisy)`, the number of least squared error, if clean partners are at hand
- "auto", for each image the moment at which its own noise has not yet entered, see `noise_strength`
- `Online()`, the same for a stream of images whose noise is that of their neighbours in the stream
- any function from the noise strengths of some images to those to use, such as
  `lambda seen: np.full_like(seen, 0.002)` for a noise that is known
"""

from collections import deque

import numpy as np
from numpy.typing import ArrayLike

from virolbi._checks import check_count
from virolbi.scale_space.form import Form, Output, check_output
from virolbi.scale_space.input_checks import as_images
from virolbi.scale_space.noise import NEGLIGIBLE
from virolbi.scale_space.path import ScaleSpace

SPARSITIES = tuple(round(0.02 * step, 2) for step in range(51))


class Online:
    """A choice for images that arrive in order, with noise that drifts or jumps.

    It uses the median of the noise over the last images. The estimate for one image can be wrong,
    because the image has texture; a median of many is more reliable, and after a jump it takes
    half as many images to follow. An object remembers between calls: use one for each stream.

    Parameters
    ----------
    memory : int, optional
        Number of images, >= 1. 1 takes each image by itself, without the corrections for outliers
        and possible texture that "auto" makes.

    Raises
    ------
    TypeError, ValueError
        If `memory` is not a whole number >= 1.

    Examples
    --------
    >>> from virolbi import smooth
    >>> online, rng = Online(memory=9), np.random.default_rng(0)
    >>> for noise in (0.02, 0.1):                                               # a jump
    ...     for _ in range(3):
    ...         batch = (0.5 + rng.normal(0, noise, (4, 32, 32))).clip(0, 1)
    ...         smoothed = smooth(batch, online)
    >>> round(online.noise, 2)
    0.1
    """

    def __init__(self, memory: int = 25) -> None:
        self._recent: deque[float] = deque(maxlen=check_count("memory", memory))

    @property
    def noise(self) -> float:
        """Noise strength at present, in intensity; 0 before the first image."""
        return float(np.median(self._recent)) if self._recent else 0.0

    def __call__(self, strengths: np.ndarray) -> np.ndarray:
        """Return the noise strength to use for each image of a batch, in its order.

        Parameters
        ----------
        strengths : ndarray of float
            Noise seen in each image. Where channels are smoothed one by one, each counts as one.

        Returns
        -------
        ndarray of float
            Medians, with the same shape; 0, which leaves an image as it is, for a median below
            `NEGLIGIBLE`, which is not worth the smoothing.
        """
        chosen = np.empty_like(strengths)
        for index, strength in enumerate(strengths.flat):
            self._recent.append(float(strength))
            chosen.flat[index] = self.noise if self.noise >= NEGLIGIBLE else 0
        return chosen


def from_pairs(
    clean: ArrayLike,
    noisy: ArrayLike,
    *,
    nu: float = Form.nu,
    delta: float = Form.delta,
    channel_axis: int | None = None,
    joint: bool = Form.joint,
    output: Output = Form.output,
    step: float = Form.step,
    data_range: float | None = None,
) -> float:
    """Return the sparsity at which noisy images come closest to their clean partners.

    Parameters
    ----------
    clean, noisy : array_like
        Images of one shape and dtype, see `virolbi.smooth`.
    nu, delta : float, optional
        Form of the smoother, see `Form`.
    channel_axis : int, optional
        Axis of the colour channels, or None if every plane is an image of its own.
    joint : bool, optional
        Form of the smoother, see `Form`.
    output : {"beta", "regions"}, optional
        Output to compare.
    step : float, optional
        Length of a time step, see `Form`.
    data_range : float, optional
        Value of `clean` and `noisy` that is intensity 1, > 0: 4095 for 12 bits in uint16.
        None is 255 for uint8, 65535 for uint16 and 1 for floats.

    Returns
    -------
    float
        Sparsity of least mean squared error over all images, a multiple of 0.02.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, or if the arrays differ in shape or dtype.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = np.zeros((4, 32, 32))
    >>> clean[:, :, 16:] = 0.7
    >>> from_pairs(clean, (clean + rng.normal(0, 0.05, clean.shape)).clip(0, 1)) > 0.9
    True
    """
    check_output(output)

    def path_of(images: np.ndarray, top: float | None) -> ScaleSpace:
        return ScaleSpace(
            images,
            nu=nu,
            delta=delta,
            channel_axis=channel_axis,
            joint=joint,
            step=step,
            data_range=top,
        )

    noisy = as_images(noisy)
    space = path_of(noisy, data_range)
    try:
        clean = as_images(clean)
        alike = (clean.shape, clean.dtype) == (noisy.shape, noisy.dtype)
        if alike:  # for its checks; a missing data range has been warned about
            path_of(clean, space._layout.top)
    except (TypeError, ValueError) as error:
        raise type(error)(f"clean: {error}") from error
    if not alike:
        raise ValueError(
            "noisy must have the shape and dtype of clean, "
            f"{clean.shape} of {clean.dtype}, got {noisy.shape} of {noisy.dtype}"
        )
    target = clean.astype(np.float64)

    def error_at(sparsity: float) -> float:
        return float(np.mean((space.at(sparsity).output(output) - target) ** 2))

    return min(reversed(SPARSITIES), key=error_at)
