"""How noisy images are, seen from the images alone, and how far along their path that lets one go.

A pixel that tops all four of its neighbours, or lies below them all, stands out by the gap to the nearest of them. Contours,
lines and shading leave few such pixels and small gaps; noise of every independent kind leaves them everywhere: where
five numbers are independent and normal, the mean square of the gap is .302 of their variance. Gaps are cut at `CUT`, which
makes strong single outliers, such as impulses, count about as much as their mean square change does. Texture fills a part of an
image and noise all of it, so what counts is the quieter parts: the lower quartile over blocks, less what photographs without
noise have there.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from virolbi._engine import batch_slices, gap_energy, parallel
from virolbi.scale_space.form import Form, check_coupling, check_sparsity_choice
from virolbi.scale_space.layout import Layout, check_intensities

Chooser = Callable[
    [np.ndarray], Any
]  # from the strengths of noise in some images to those to go by, as in `virolbi.scale_space`

CUT = 0.28  # of a gap, in intensity
GAP = 0.5499  # root mean square gap of five independent standard normal numbers, 0 where the middle one is not extreme
BLOCK = 16  # pixels, the side of the blocks that are compared
TEXTURE = 0.01  # of photographs without noise, in intensity, between .005 and .02
NEGLIGIBLE = 0.004  # a noise not worth the smoothing: one grey level of 256


def noise_strength(
    images: Any, *, channel_axis: int | None = None, joint: bool = Form.joint
) -> np.ndarray:
    """The standard deviation of the noise in each image, in intensity, by the image alone. float64, 0 where none is seen.

    images, channel_axis, joint: as in `virolbi.smooth`; the result has the images' own axes, and a last one for channels when
    there is a colour axis and `joint` is false.

    On photographs it is within about 20 % for independent noise of .02 to .2, be it Gaussian, shot, speckle or impulse noise;
    up to 40 % below where much of it was clipped at 0 or 1, as strong noise is in dark and bright pictures.
    Noise under .01 cannot be told from texture and is not counted; an image all over fine texture is taken for a noisy one.
    Noise that is alike in neighbouring pixels, as after JPEG or resizing, is not seen, nor is any in images less than three
    pixels high or wide.

    >>> rng = np.random.default_rng(0)
    >>> flat = np.full((64, 64), 0.5, np.float32)
    >>> float(noise_strength(flat)), round(float(noise_strength(flat + rng.normal(0, 0.1, flat.shape).astype(np.float32))), 2)
    (0.0, 0.1)
    """
    layout = Layout.of(images, channel_axis, joint)
    planes = layout.planes(images)
    check_intensities(planes)
    return planes_noise(planes).reshape(layout.groups)


def stopping_time(
    noise: Any, *, nu: float = Form.nu, delta: float = Form.delta, channels: int = 1
) -> np.ndarray:
    """The time on the path, as in `ScaleSpace.at`, at which noise of this standard deviation has not yet come in.

    noise: > 0, in intensity, a number or an array. More noise, an earlier time, more smoothing. nu, delta: of the path.
    channels: how many share a support.

        time = 1 / (noise cbrt(channels)) + .4 / delta

    The dual variable of an edge grows by D beta / nu, so it takes 1 / noise for noise to enter, and less where several channels
    push together; the Huber weight limits what outliers can push, and so how early they enter. The numbers are of least squared
    error, rounded, on photographs and CIFAR training images, in colour and grey, under Gaussian, shot and impulse noise. The
    best time depends so little on nu, from .1 to 1, that one rule serves.
    """
    check_coupling(nu, delta)
    if channels < 1:
        raise ValueError(f"channels must be >= 1, got {channels}")
    noise = np.asarray(noise, dtype=np.float64)
    if not (noise > 0).all():
        raise ValueError(f"noise must be > 0, got {noise[~(noise > 0)].flat[0]:g}")
    return 1 / (noise * math.cbrt(channels)) + 0.4 / delta


def stopping_times(
    chooser: str | Chooser, seen: np.ndarray, *, nu: float, delta: float, channels: int
) -> np.ndarray:
    """The times to stop at, (N,), where noise of these strengths was seen; inf, at the input, where it is as good as none."""
    if isinstance(chooser, str):
        check_sparsity_choice(chooser)
        chosen = seen
    else:
        try:
            chosen = np.broadcast_to(np.asarray(chooser(seen), dtype=np.float64), seen.shape)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"sparsity must choose a number for each of {seen.shape} images, {chooser!r}: {error}"
            ) from error
        if not (np.isfinite(chosen) & (chosen >= 0)).all():
            raise ValueError(
                f"sparsity must choose a noise >= 0 for each of {seen.shape} images, {chooser!r} chose {chosen}"
            )
    chosen = chosen.reshape(-1)
    times, loud = np.full(len(chosen), np.inf), chosen >= NEGLIGIBLE
    times[loud] = stopping_time(chosen[loud], nu=nu, delta=delta, channels=channels)
    return times


def planes_noise(planes: np.ndarray) -> np.ndarray:
    """`noise_strength` of (N, C, H, W) planes, pooled over channels: (N,)."""
    number, _, height, width = planes.shape
    energy = np.zeros((number, *blocks(height, width)))
    if height > 2 and width > 2:
        parallel(
            lambda rows: gap_energy(planes[rows], energy[rows], planes.dtype.type(CUT)),
            batch_slices(planes),
        )
    return np.sqrt(
        np.maximum(np.quantile(energy.reshape(number, -1), 0.25, axis=1) / GAP**2 - TEXTURE**2, 0)
    )


def blocks(height: int, width: int) -> tuple[int, int]:
    """How many blocks there are along each axis."""
    return max(1, height // BLOCK), max(1, width // BLOCK)
