"""Noise of an image, estimated from the image alone, and the time on its path that it allows.

Blocks of 8 pixels are described by two filters that see white noise equally well, and structure
very differently: a fine one, of 3x3 pixels, and a coarse one, of 4x4. The noise is the fine
variation of those blocks that have the least coarse variation among blocks of like brightness; what
the coarse variation says about structure in them is subtracted (`block_noise.noise_of_blocks`).
Flat blocks do not count, and single pixels that stand out of all their neighbours are counted by
themselves. Drawings are told from noise by how close most pixels are to the next one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from virolbi._checks import check_count
from virolbi._engine import (
    FLAT,
    MEAN,
    OUTLIERS,
    STATISTICS,
    STEP,
    batch_slices,
    block_edges,
    block_statistics,
    parallel,
)
from virolbi.scale_space.block_noise import (
    BINARY,
    FLAT_BLOCK,
    GRAIN,
    GROUPS,
    IMPULSES,
    OUTLIER,
    TEXTURE_FREE,
    noise_of_blocks,
)
from virolbi.scale_space.form import Form, check_delta, check_nu, check_rule
from virolbi.scale_space.input_checks import as_images, check_intensities
from virolbi.scale_space.layout import Layout
from virolbi.scale_space.noise_level import fit_noise_level

Chooser = Callable[[np.ndarray], Any]  # noise strengths of images to the strengths to use

BLOCK = 8  # side of the blocks that are compared, in pixels; chosen by hand
DIGITS = 10  # decimals of the statistics of blocks that count
NEGLIGIBLE = 0.004  # noise not worth the smoothing: 1/256 of the range that an image fills
ROUNDING = 0.41  # nor is noise up to this multiple of the least step of intensity: rounding is .29
FEWEST = 0.02  # share of the blocks that may be darker, or brighter, than that range
FACTOR = 1.05  # strength at which "auto" stops, by that of the grain without texture
# Outliers act like grain of a variance that is a power of theirs: the Huber weight holds back many
# of them, and few need nearly as much. A path that is stopped at less than KEPT_OUT lets all in,
# and smooths the rest for nothing. Fitted on photographs of imagenet400, the finest textures in
# them, and CIFAR training images, under 0.03 to 10 % of impulses: black and white, or random.
OUTLIER_SHARE, OUTLIER_POWER, KEPT_OUT = 0.076, 0.6, 0.027
# Rounded values of least squared error over photographs and CIFAR training images, see
# docs/denoising.md and results/choosing/denoising.jsonl.
PER_NOISE, PER_DELTA = 1.0, 0.4


class NoiseEstimate(NamedTuple):
    """Estimated noise of images, in intensity; arrays over images.

    Attributes
    ----------
    grain : ndarray of float64
        Variance of the noise without its outliers.
    texture_free : ndarray of float64
        The part of it that is no texture: what channels share, and what is stronger at a coarse
        scale, counts less.
    outliers : ndarray of float64
        Variance of single pixels that stand out of all their neighbours.
    threshold : ndarray of float64
        Strength from which noise is worth the smoothing by "auto".
    groups : ndarray of float64
        Brightness, variance and weight of groups of blocks of like brightness, in two more axes,
        see `fit_noise_level`.
    """

    grain: np.ndarray
    texture_free: np.ndarray
    outliers: np.ndarray
    threshold: np.ndarray
    groups: np.ndarray

    def reshape(self, shape: tuple[int, ...]) -> "NoiseEstimate":
        """Return the same noise in arrays of another shape.

        Parameters
        ----------
        shape : tuple of int
            Shape of the image axes.

        Returns
        -------
        NoiseEstimate
            The noise.
        """
        axes = self.grain.ndim
        return NoiseEstimate(*(values.reshape(shape + values.shape[axes:]) for values in self))

    @property
    def strength(self) -> np.ndarray:
        """Standard deviation of the noise."""
        return np.asarray(np.sqrt(self.grain + self.outliers))

    @property
    def acting(self) -> np.ndarray:
        """Strength at which "auto" stops: outliers and what may be texture count less."""
        return acting_strength(self.texture_free, self.kept_out)

    @property
    def kept_out(self) -> np.ndarray:
        """Variance of the outliers, or 0 where they are too few to be kept out by "auto"."""
        strength = np.sqrt(self.texture_free + _like_grain(self.outliers))
        return np.where(strength >= KEPT_OUT, self.outliers, 0)

    @property
    def level(self) -> np.ndarray:
        """Noise level function of all noise, see `fit_noise_level`: outliers do not grow."""
        shape = self.groups.shape
        level = fit_noise_level(self.groups.reshape(-1, *shape[-2:])).reshape(*shape[:-2], 5)
        share = share_of(self.grain, self.outliers)[..., None]
        level[..., :3] *= share
        level[..., :1] += 1 - share
        return level

    @property
    def is_significant(self) -> np.ndarray:
        """Whether the noise of each image is worth the smoothing by "auto", booleans."""
        significant: np.ndarray = np.minimum(self.strength, self.acting) >= self.threshold
        return significant


def noise_strength(
    images: ArrayLike,
    *,
    channel_axis: int | None = None,
    joint: bool = Form.joint,
    data_range: float | None = None,
    hidden: ArrayLike | None = None,
) -> np.ndarray:
    """Estimate the standard deviation of the noise in each image from the image alone.

    On photographs of 256 pixels the median is within 7 % for Gaussian noise of 0.02 to 0.2, shot
    noise, impulses of black and white, and their mixtures, 1 to 9 % too low for speckle, and 9 to
    17 % too low for impulses of random value. In fine texture, 0.06 has been seen without any
    noise, and stars, thin curves and dithers pass for noise. See docs/denoising.md.

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
    hidden : array_like of bool, optional
        Pixels that were filled in, in the shape of `images` without the colour axis, see
        `virolbi.data.fill_hidden`. They do not count, but beside pixels that do, what they were
        filled with is seen: it must be smooth.

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
        If images seem to have another range than they are said to have: integers of 16 bits that
        leave the three highest bits unused, without a `data_range`; floats in [0, 1], with one of
        more than 8; floats that span less than 0.001, without one: differences of 1e-6 of it count
        as none; or intensities outside [-0.2, 1.2], as in images that were normalised for a
        network.

    Notes
    -----
    Black bars, cut-outs and other flat areas do not count. Noise that neighbouring pixels share, as
    after JPEG or resizing, is seen in part, and no noise is seen in images less than four pixels
    high or wide.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> flat = np.full((64, 64), 0.5)
    >>> noisy = flat + rng.normal(0, 0.1, flat.shape)
    >>> float(noise_strength(flat)), round(float(noise_strength(noisy)), 2)
    (0.0, 0.1)
    """
    return estimate_noise(
        images, channel_axis=channel_axis, joint=joint, data_range=data_range, hidden=hidden
    ).strength


def estimate_noise(
    images: ArrayLike,
    *,
    channel_axis: int | None = None,
    joint: bool = Form.joint,
    data_range: float | None = None,
    hidden: ArrayLike | None = None,
) -> NoiseEstimate:
    """Estimate the noise in each image with its parts, as `noise_strength` does.

    Parameters
    ----------
    images : array_like
        Images as in `virolbi.smooth`, but no tensors.
    channel_axis : int, optional
        Axis of the colour channels, or None if every plane is an image of its own.
    joint : bool, optional
        Whether the channels of an image are pooled, or estimated one by one.
    data_range : float, optional
        Value of `images` that is intensity 1, see `noise_strength`.
    hidden : array_like of bool, optional
        Pixels that were filled in, in the shape of `images` without the colour axis, see
        `virolbi.data.fill_hidden`. They do not count.

    Returns
    -------
    NoiseEstimate
        Arrays with the axes of the result of `noise_strength`.

    Raises
    ------
    TypeError, ValueError
        If `images` is not an image array, or an argument is out of range.
    """
    images = as_images(images)
    layout = Layout.of(images, channel_axis, joint, data_range)
    planes = layout.planes(images)
    check_intensities(planes, layout)
    masks = None if hidden is None else layout.masks(hidden)
    return planes_noise(planes, masks).reshape(layout.groups)


def stopping_time(
    noise: Any, *, nu: float = Form.nu, delta: float = Form.delta, channels: int = 1
) -> np.ndarray:
    """Return the time on the path at which noise of a strength has not yet entered.

    Parameters
    ----------
    noise : float or array_like of float
        Standard deviation of the noise in intensity, >= 0. More noise means an earlier time and
        more smoothing.
    nu, delta : float, optional
        Form of the path, see `Form`.
    channels : int, optional
        Number of channels that share a support, >= 1.

    Returns
    -------
    ndarray of float64
        Time as in `ScaleSpace.at`, in 1 / intensity, with the shape of `noise`; infinite, at the
        input, for a noise of 0.

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
    check_nu(nu)
    check_delta(delta)
    check_count("channels", channels)
    noise = np.asarray(noise, dtype=np.float64)
    if not (noise >= 0).all():
        raise ValueError(f"noise must be >= 0, got {noise[~(noise >= 0)].flat[0]:g}")
    with np.errstate(divide="ignore"):
        return np.asarray(PER_NOISE / (noise * math.cbrt(channels)) + PER_DELTA / delta)


def time_for_noise(noise: float, form: Form, channels: int) -> float:
    """Return the `stopping_time` for stated noise on the path of one image.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise in intensity, >= 0.
    form : Form
        Form of the path.
    channels : int
        Number of channels of the image, which act together if the form is joint.

    Returns
    -------
    float
        Time as in `ScaleSpace.at`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    together = channels if form.joint else 1
    return float(stopping_time(noise, nu=form.nu, delta=form.delta, channels=together))


def strengths_to_stop(choice: str | Chooser, estimate: NoiseEstimate) -> np.ndarray:
    """Return the strength of the noise at which to stop the path of each image.

    Parameters
    ----------
    choice : "auto" or callable
        Rule for the noise to use, see `ScaleSpace.at`.
    estimate : NoiseEstimate
        Estimated noise of each image.

    Returns
    -------
    ndarray of float64
        Arguments of `stopping_time`, with the shape of the noise; 0 where a callable chooses it,
        and for "auto" where the noise that is seen, or that acts, is negligible: less than 0.004 of
        the range that the image fills, or not much more than its rounding.

    Raises
    ------
    ValueError
        If `choice` is another string, or does not return a noise >= 0 for each image.
    """
    if isinstance(choice, str):
        check_rule("sparsity", choice)
        return np.where(estimate.is_significant, estimate.acting, 0)
    return chosen_strengths(choice, estimate)


def acting_strength(grain: np.ndarray, outliers: np.ndarray) -> np.ndarray:
    """Return the strength that noise has on the path.

    Parameters
    ----------
    grain, outliers : ndarray of float
        Variances of many small changes, and of few large ones, which the Huber weight holds back.

    Returns
    -------
    ndarray of float
        Standard deviation of Gaussian noise that is to be stopped at the same time.
    """
    strength: np.ndarray = FACTOR * np.sqrt(grain + _like_grain(outliers))
    return strength


def _like_grain(outliers: np.ndarray) -> np.ndarray:
    """Return the variance of the grain that outliers of a variance act like."""
    variance: np.ndarray = OUTLIER_SHARE * outliers**OUTLIER_POWER
    return variance


def share_of(part: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return the share of one part of noise in its sum with the rest.

    Parameters
    ----------
    part, rest : ndarray of float64
        Variances of the parts.

    Returns
    -------
    ndarray of float64
        Shares, 0 where there is neither.
    """
    whole = part + rest
    share: np.ndarray = part / np.where(whole > 0, whole, 1)
    return share


def chosen_strengths(
    chooser: Chooser, estimate: NoiseEstimate, argument: str = "sparsity"
) -> np.ndarray:
    """Return the noise that a function chooses for each image.

    Parameters
    ----------
    chooser : callable
        Function from the strengths that are seen to those to use.
    estimate : NoiseEstimate
        Estimated noise of each image.
    argument : str, optional
        Name of the argument that the function was, for the error.

    Returns
    -------
    ndarray of float64
        Strengths, with the shape of those that are seen; more than 1 counts as 1.

    Raises
    ------
    ValueError
        If `chooser` does not return a noise >= 0 for each image.
    """
    strength = estimate.strength
    try:
        chosen = np.broadcast_to(np.asarray(chooser(strength), dtype=np.float64), strength.shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{argument} must choose a number for each of {strength.shape} images, "
            f"{chooser!r}: {error}"
        ) from error
    if not (np.isfinite(chosen) & (chosen >= 0)).all():
        raise ValueError(
            f"{argument} must choose a noise >= 0 for each of {strength.shape} images, "
            f"{chooser!r} chose {chosen}"
        )
    return np.minimum(chosen, 1.0)


def planes_noise(planes: np.ndarray, hidden: np.ndarray | None = None) -> NoiseEstimate:
    """Estimate the noise of planes, pooled over channels, see `noise_strength`.

    Parameters
    ----------
    planes : ndarray of float, shape (N, C, H, W)
        Intensities.
    hidden : ndarray of bool, shape (N, H, W), optional
        Pixels that were filled in. They count as flat ones do: not at all.

    Returns
    -------
    NoiseEstimate
        Noise of each image.
    """
    number, _, height, width = planes.shape
    statistics = np.zeros((number, *block_grid(height, width), STATISTICS))
    if height > 3 and width > 3:
        masks = np.empty((0, 0, 0), np.bool_) if hidden is None else hidden
        parallel(
            lambda rows: block_statistics(planes[rows], masks[rows], statistics[rows], OUTLIER),
            batch_slices(planes),
        )
        if hidden is not None:
            _leave_out(hidden, statistics)
    return blocks_noise(statistics, planes.shape[1])


def _leave_out(hidden: np.ndarray, statistics: np.ndarray) -> None:
    """Change the statistics of blocks so that hidden pixels, (N, H, W), do not count in them."""
    shares = _block_shares(hidden)
    statistics[..., FLAT] = np.maximum(statistics[..., FLAT], shares)
    statistics[..., OUTLIERS] /= np.maximum(1 - shares, 1e-9)
    statistics[..., STEP] = np.where(shares < 1, statistics[..., STEP], np.inf)


def _block_shares(masks: np.ndarray) -> np.ndarray:
    """Return the share of each block of masks, (N, H, W), that is set: (N, rows, columns)."""
    height, width = masks.shape[1:]
    rows, columns = block_grid(height, width)
    tops, lefts = block_edges(height, rows), block_edges(width, columns)
    inside = masks[:, : tops[-1], : lefts[-1]]
    sums = np.add.reduceat(inside, tops[:-1], axis=1, dtype=np.float64)
    sums = np.add.reduceat(sums, lefts[:-1], axis=2)
    return np.asarray(sums / np.outer(np.diff(tops), np.diff(lefts)))


def blocks_noise(statistics: np.ndarray, channels: int) -> NoiseEstimate:
    """Estimate the noise of images from the statistics of their blocks.

    Parameters
    ----------
    statistics : ndarray of float64, shape (N, rows, columns, STATISTICS)
        Statistics of blocks, as `virolbi._engine.block_statistics` computes them.
    channels : int
        Number of channels of the images.

    Returns
    -------
    NoiseEstimate
        Noise of each image.
    """
    number = len(statistics)
    noise, groups = np.empty((number, 3)), np.empty((number, GROUPS, 3))
    # rounded, so that blocks that are equal but for rounding have one order everywhere
    blocks = statistics.reshape(number, math.prod(statistics.shape[1:3]), STATISTICS)
    noise_of_blocks(blocks.round(DIGITS), channels, noise, groups)
    grain, texture_free, outliers = noise[:, GRAIN], noise[:, TEXTURE_FREE], noise[:, IMPULSES]
    filled = _filled_range(blocks)
    steps = blocks[..., STEP].min(axis=1)
    # rounding makes no outliers, but black and white alone are a drawing
    rounds = np.isfinite(steps) & ((outliers == 0) | (steps > BINARY))
    threshold = np.maximum(NEGLIGIBLE * filled, ROUNDING * np.where(rounds, steps, 0))
    return NoiseEstimate(grain, texture_free, outliers, threshold, groups)


def _filled_range(blocks: np.ndarray) -> np.ndarray:
    """Return the range of brightness of nearly all blocks of images that are not flat, up to 1.

    A few bright stars, or black around a picture, say nothing about how faint its noise is.
    """
    is_flat = blocks[..., FLAT] > FLAT_BLOCK
    last = np.maximum((~is_flat).sum(axis=1, keepdims=True) - 1, 0)
    means = np.sort(np.where(is_flat, np.inf, blocks[..., MEAN]), axis=1)
    ends = np.rint(last * np.array([FEWEST, 1 - FEWEST])).astype(int)
    dark, bright = np.take_along_axis(means, ends, axis=1).T
    return np.where(is_flat.all(axis=1), 0, bright - np.where(np.isfinite(dark), dark, 0)).clip(
        max=1
    )


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
