"""Noise of an image, estimated from the image alone, and the time on its path that it allows.

A pixel above all four of its neighbours, or below all of them, has a gap to the nearest of them.
Contours, lines and shading leave few such pixels and small gaps; independent noise of every kind
leaves them everywhere. Where five numbers are independent and normal, the mean square of the gap
is 0.302 of their variance. Gaps are cut at `CUT`, which makes strong single outliers, such as
impulses, count about as much as their mean square change does. Texture fills a part of an image
and noise all of it, so the estimate is made from the quieter parts: the lower quartile over
blocks, less the texture that photographs without noise have there.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from virolbi._engine import batch_slices, gap_energy, parallel
from virolbi.scale_space.form import Form, check_coupling, check_sparsity_choice
from virolbi.scale_space.layout import Layout, as_images, check_intensities

Chooser = Callable[[np.ndarray], Any]  # noise strengths of images to the strengths to use

CUT = 0.28  # largest gap that counts, in intensity
# root mean square gap of five independent standard normal numbers, 0 without an extreme
GAP = 0.5499
BLOCK = 16  # side of the blocks that are compared, in pixels
TEXTURE = 0.01  # of photographs without noise, in intensity, between 0.005 and 0.02
NEGLIGIBLE = 0.004  # estimated noise not worth the smoothing: one grey level of 256
# Rounded values of least squared error over photographs and CIFAR training images, see
# docs/choosing.md and results/choosing/denoising.jsonl.
PER_NOISE, PER_DELTA = 1.0, 0.4


def noise_strength(
    images: ArrayLike,
    *,
    channel_axis: int | None = None,
    joint: bool = Form.joint,
    data_range: float | None = None,
) -> np.ndarray:
    """Estimate the standard deviation of the noise in each image from the image alone.

    On photographs the estimate is within about 20 % for independent noise of 0.02 to 0.2
    (Gaussian, shot, speckle or impulse noise), and up to 40 % too low where much of the noise was
    clipped at 0 or 1, as strong noise is in dark and bright pictures.

    Parameters
    ----------
    images : array_like
        Images as in `virolbi.smooth`, but no tensors.
    channel_axis : int, optional
        Axis of the colour channels, or None if every plane is an image of its own.
    joint : bool, optional
        Whether the channels of an image are pooled, or estimated one by one.
    data_range : float, optional
        Value of `images` that is intensity 1, > 0: 4095 for 12 bits in uint16. None is 255 for
        uint8, 65535 for uint16 and 1 for floats.

    Returns
    -------
    ndarray of float64
        Noise in intensity, a fraction of `data_range`, and 0 where none is seen. It has the image
        axes, and a last one for the channels if there is a colour axis and `joint` is False.

    Raises
    ------
    TypeError, ValueError
        If `images` is not an image array, or an argument is out of range.

    Warns
    -----
    UserWarning
        If uint16 images without a `data_range` leave the three highest bits unused, or if
        intensities are outside [-0.2, 1.2], as in images that were normalised for a network.

    Notes
    -----
    Noise under 0.01 cannot be told from texture and is not counted. An image with fine texture all
    over is taken for a noisy one. Noise that neighbouring pixels share, as after JPEG or resizing,
    is not seen, and no noise is seen in images less than three pixels high or wide.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> flat = np.full((64, 64), 0.5)
    >>> noisy = flat + rng.normal(0, 0.1, flat.shape)
    >>> float(noise_strength(flat)), round(float(noise_strength(noisy)), 2)
    (0.0, 0.1)
    """
    images = as_images(images)
    layout = Layout.of(images, channel_axis, joint, data_range)
    planes = layout.planes(images)
    check_intensities(planes, layout)
    return planes_noise(planes).reshape(layout.groups)


def stopping_time(
    noise: Any, *, nu: float = Form.nu, delta: float = Form.delta, channels: int = 1
) -> np.ndarray:
    """Return the time on the path at which noise of a strength has not yet entered.

    Parameters
    ----------
    noise : float or array_like of float
        Standard deviation of the noise in intensity, > 0. More noise means an earlier time and
        more smoothing.
    nu, delta : float, optional
        Form of the path, see `Form`.
    channels : int, optional
        Number of channels that share a support, >= 1.

    Returns
    -------
    ndarray of float64
        Time as in `ScaleSpace.at`, in 1 / intensity, with the shape of `noise`.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    The rule is ``time = 1 / (noise * cbrt(channels)) + 0.4 / delta``.

    The dual variable of an edge grows by D beta / nu, so noise takes a time of 1 / noise to enter,
    and less where several channels act together. The Huber weight limits the force of outliers,
    and so how early they enter. The numbers have the least squared error, rounded, on photographs
    and CIFAR training images, in colour and grey, under Gaussian, shot and impulse noise. The best
    time depends so little on `nu`, from 0.1 to 1, that one rule is enough.
    """
    check_coupling(nu, delta)
    if channels < 1:
        raise ValueError(f"channels must be >= 1, got {channels}")
    noise = np.asarray(noise, dtype=np.float64)
    if not (noise > 0).all():
        raise ValueError(f"noise must be > 0, got {noise[~(noise > 0)].flat[0]:g}")
    return np.asarray(PER_NOISE / (noise * math.cbrt(channels)) + PER_DELTA / delta)


def stopping_times(
    chooser: str | Chooser, noise: np.ndarray, *, nu: float, delta: float, channels: int
) -> np.ndarray:
    """Return the times at which to stop the paths of images.

    Parameters
    ----------
    chooser : "auto" or callable
        Rule for the noise to use, see `ScaleSpace.at`.
    noise : ndarray of float
        Noise seen in each image.
    nu, delta : float
        Form of the path.
    channels : int
        Number of channels that share a support.

    Returns
    -------
    ndarray of float64, shape (N,)
        Times; infinite, at the input, where a callable chooses exactly 0, and where "auto" sees
        less than `NEGLIGIBLE`.

    Raises
    ------
    ValueError
        If `chooser` is another string, or does not return a noise >= 0 for each image.
    """
    if isinstance(chooser, str):
        check_sparsity_choice(chooser)
        chosen = np.where(noise < NEGLIGIBLE, 0, noise)
    else:
        try:
            chosen = np.broadcast_to(np.asarray(chooser(noise), dtype=np.float64), noise.shape)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"sparsity must choose a number for each of {noise.shape} images, "
                f"{chooser!r}: {error}"
            ) from error
        if not (np.isfinite(chosen) & (chosen >= 0)).all():
            raise ValueError(
                f"sparsity must choose a noise >= 0 for each of {noise.shape} images, "
                f"{chooser!r} chose {chosen}"
            )
    chosen = chosen.reshape(-1)
    times, noisy = np.full(len(chosen), np.inf), chosen > 0
    times[noisy] = stopping_time(chosen[noisy], nu=nu, delta=delta, channels=channels)
    return times


def planes_noise(planes: np.ndarray) -> np.ndarray:
    """Estimate the noise of planes, pooled over channels, see `noise_strength`.

    Parameters
    ----------
    planes : ndarray of float, shape (N, C, H, W)
        Intensities.

    Returns
    -------
    ndarray of float64, shape (N,)
        Noise in intensity.
    """
    number, _, height, width = planes.shape
    if number == 0:
        return np.empty(0)
    energy = np.zeros((number, *block_grid(height, width)))
    if height > 2 and width > 2:
        cut = planes.dtype.type(CUT)
        parallel(lambda rows: gap_energy(planes[rows], energy[rows], cut), batch_slices(planes))
    quiet = np.quantile(energy.reshape(number, -1), 0.25, axis=1)
    return np.asarray(np.sqrt(np.maximum(quiet / GAP**2 - TEXTURE**2, 0)))


def block_grid(height: int, width: int) -> tuple[int, int]:
    """Return the number of blocks along each axis.

    Parameters
    ----------
    height, width : int
        Size of a plane in pixels.

    Returns
    -------
    rows, columns : int
        Numbers of blocks, at least 1.
    """
    return max(1, height // BLOCK), max(1, width // BLOCK)
