"""The function `denoise`, for pictures that people look at."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from virolbi.scale_space.form import Form
from virolbi.scale_space.path import ScaleSpace


def denoise(
    images: ArrayLike,
    noise: Any = "auto",
    *,
    channel_axis: int | None = None,
    joint: bool = Form.joint,
    step: float = Form.step,
    data_range: float | None = None,
) -> np.ndarray:
    """Remove noise from images, as pictures to look at or to measure in.

    The scale path finds contours, and shuts out single wrong pixels. It is followed further than
    `smooth` with "auto" does, so that more detail enters, and with it some of the grain, which is
    then averaged over pixels nearby of like colour. On photographs the result is on average up to
    1.8 dB closer to the clean picture than that of `smooth` (docs/denoising.md). For networks
    use `smooth`, which they were trained and measured with, and which has a derivative.

    Parameters
    ----------
    images : array_like
        Images as in `virolbi.smooth`, but no tensors.
    noise : "auto", float, array_like of float, or callable, optional
        Standard deviation of the noise to remove, as a fraction of `data_range`: one number in
        [0, 1], or one for each image. A larger one smooths more; 0 leaves an image as it is.
        "auto" is what is seen in each image; images whose noise is below 0.004 of the range that
        they fill, or may be texture, are left as they are. A callable receives the noise that is
        seen and returns the noise to remove: ``lambda seen: 2 * seen``.
    channel_axis : int, optional
        Axis of the colour channels, or None if every plane is an image of its own.
        All channels are smoothed, an alpha channel too: split it off before, and join it after.
    joint : bool, optional
        Whether the channels of an image are compared together, or each is an image of its own.
    step : float, optional
        Length of a time step as a fraction of the time, in [0.001, 0.5], see `Form`.
    data_range : float, optional
        Value of `images` that is intensity 1, > 0: 4095 for 12 bits in uint16. None is 255 for
        uint8, 65535 for uint16 and 1 for floats.

    Returns
    -------
    ndarray
        Array of the same shape, dtype and range; integers are rounded, and clipped to what their
        dtype holds.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value. The message names the argument, the rule and
        the value.

    Warns
    -----
    UserWarning
        As `virolbi.smooth` does.

    See Also
    --------
    virolbi.smooth : One moment of the path by itself, for networks.
    virolbi.noise_strength : The noise that is seen.

    Notes
    -----
    Noise often grows with brightness. Contours and like colours are therefore looked for after a
    transform of the intensities that gives noise one strength: its slope is 1 / sqrt(v), where v is
    the noise level function that `virolbi.scale_space.fit_noise_level` finds in the image [2]_, by
    its mean, at least 0.05, and the same beyond the darkest and the brightest blocks. Means are
    those of the image itself, which no transform biases.

    Which share s of the variance of the noise is grain, and which is single pixels, is seen in the
    image. The path is followed for all of the noise but 3/4 of s^2 of the grain. The weight of a
    neighbour at a distance of r <= 5 pixels is exp(-r^2 / 18) / (1 + d^2 / (4 h^2))^2, with
    h = 0.7 * s * grain. Here d^2 is the squared difference of transformed intensities in the mean
    over the C channels: the part C^2 / (C^2 + 2) of it is that of the two pixels, and the rest that
    of the 3x3 pixels around them. This lies between a bilateral filter [1]_ and non-local means
    [4]_. See docs/denoising.md for how these numbers were chosen.

    Noise that would go below black or above white lies at black or white, and such means are too
    bright or too dark, by 0.4 times the noise at most. How much of it was clipped is seen in how
    many pixels are the least or the largest of their channel, and is undone [3]_, where other
    values are seen close to these: few photons are left as they are.

    References
    ----------
    .. [1] C. Tomasi and R. Manduchi, "Bilateral filtering for gray and color images", ICCV 1998.
    .. [2] A. Foi, M. Trimeche, V. Katkovnik and K. Egiazarian, "Practical Poissonian-Gaussian noise
       modeling and fitting for single-image raw-data", IEEE Transactions on Image Processing, 2008.
    .. [3] A. Foi, "Clipped noisy images: heteroskedastic modeling and practical denoising", Signal
       Processing, 2009.
    .. [4] A. Buades, B. Coll and J.-M. Morel, "A non-local algorithm for image denoising", CVPR
       2005.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = np.zeros((64, 64, 3)) + np.linspace(0.2, 0.8, 64)[:, None]
    >>> noisy = (clean + rng.normal(0, 0.1, clean.shape)).clip(0, 1)
    >>> denoised = denoise(noisy, channel_axis=-1)
    >>> bool(np.std(denoised - clean) < 0.25 * np.std(noisy - clean))
    True
    """
    space = ScaleSpace(
        images,
        channel_axis=channel_axis,
        joint=joint,
        step=step,
        copy=False,
        data_range=data_range,
    )
    return space.denoise(noise)
