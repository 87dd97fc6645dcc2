"""Noise of an image, estimated from the image alone.

Blocks of 8 pixels are described by two filters that see white noise equally well, and structure
very differently: a fine one, of 3x3 pixels, and a coarse one, of 4x4. The noise is the fine
variation of those blocks that have the least coarse variation among blocks of like brightness; what
the coarse variation says about structure in them is subtracted (`block_noise.noise_of_blocks`).
Flat blocks do not count, and single pixels that stand out of all their neighbours are counted by
themselves. Drawings are told from noise by how close most pixels are to the next one.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

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
from virolbi.scale_space.form import Form
from virolbi.scale_space.input_checks import as_images, check_intensities
from virolbi.scale_space.layout import Layout
from virolbi.scale_space.noise_estimate import NoiseEstimate

BLOCK = 8  # side of the blocks that are compared, in pixels; chosen by hand
DIGITS = 10  # decimals of the statistics of blocks that count
NEGLIGIBLE = 0.004  # noise not worth the smoothing: 1/256 of the range that an image fills
ROUNDING = 0.41  # nor is noise up to this multiple of the least step of intensity: rounding is .29
FEWEST = 0.02  # share of the blocks that may be darker, or brighter, than that range


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
