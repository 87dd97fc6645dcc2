"""Means over pixels of like colour nearby, by which `denoise` goes beyond the path.

Contours and outliers are found on the path: it is followed as if the grain, the noise without its
outliers, had half its strength. What is left of the grain is then averaged over pixels nearby whose
surroundings differ by no more than the grain, as in non-local means. The more of the noise is
outliers, the more of the grain is left to the path: outliers that it lets in would be kept. Both
see the image after a transform that gives noise one strength at every brightness; means are those
of the image itself.
"""

from itertools import product

import numpy as np

from virolbi._engine import Progress, average_alike, no_progress, parallel
from virolbi.scale_space.form import check_rule
from virolbi.scale_space.noise_estimate import NoiseEstimate, acting_strength, share_of
from virolbi.scale_space.stopping import Chooser, chosen_strengths

# Chosen on 17 photographs of imagenet400 in colour and grey (results/denoising/averaging.jsonl).
GUIDE = 0.5  # share of the strength of the grain for which the path is followed
LIKE = 0.7  # difference in each channel at which a neighbour counts (4/5)^2, by the grain
AROUND = 2.0  # weight in it of the 3x3 pixels around both, by that of both in one channel
# Chosen by hand; no rows of other values were kept.
RADIUS, WIDTH = 5, 3.0  # of the neighbourhood, and its standard deviation, in pixels
TILE = 32, 1024  # rows and columns that a thread averages at once, from its cache


def split_noise(choice: str | Chooser, estimate: NoiseEstimate) -> tuple[np.ndarray, np.ndarray]:
    """Return the noise that the path is to stop, and the grain that averages are to remove.

    Parameters
    ----------
    choice : "auto" or callable
        The noise to remove: what is seen with caution, or a function from the strengths that are
        seen to those to remove. Its outliers have the share of those that are seen.
    estimate : NoiseEstimate
        Estimated noise of each image.

    Returns
    -------
    acting : ndarray of float64
        Strength of the noise that the path is to stop; 0 for images that stay as they are.
    averaged : ndarray of float64
        Standard deviation of the grain that averages are to remove.

    Raises
    ------
    ValueError
        If `choice` is another string, or does not return a noise >= 0 for each image.
    """
    if isinstance(choice, str):
        check_rule("noise", choice)
        grain, outliers = np.where(
            estimate.is_significant, [estimate.texture_free, estimate.kept_out], 0
        )
    else:
        variance = chosen_strengths(choice, estimate, "noise") ** 2
        outliers = variance * share_of(estimate.outliers, estimate.grain)
        grain = variance - outliers
    averaged = grain * share_of(grain, outliers) ** 2
    return acting_strength(grain - (1 - GUIDE**2) * averaged, outliers), np.sqrt(averaged)


def average_planes(
    planes: np.ndarray,
    guide: np.ndarray,
    averaged: np.ndarray,
    progress: Progress = no_progress,
) -> np.ndarray:
    """Return the means of pixels over those around them that are like them.

    Parameters
    ----------
    planes : ndarray of float, shape (N, C, H, W)
        Intensities.
    guide : ndarray of float, shape (N, C, H, W)
        Images in which pixels are compared.
    averaged : ndarray of float, shape (N,)
        Standard deviation of the grain in each guide before the path was followed. Images with 0
        are returned as they are.
    progress : callable, optional
        Called with the fraction that is done.

    Returns
    -------
    ndarray of float, shape (N, C, H, W)
        The means.
    """
    dtype = planes.dtype.type
    _, channels, height, width = planes.shape
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    square = x**2 + y**2
    taps = np.where(square <= RADIUS**2, np.exp(-square / (2 * WIDTH**2)), 0).astype(dtype)
    own = dtype(channels**2 / (channels**2 + AROUND))
    # over all channels; the dtype may have no number as small
    unlike = ((2 * LIKE * averaged) ** 2 * channels).astype(dtype)
    result = planes.copy()

    def work(item: tuple[int, int, int]) -> None:
        n, top, left = item
        tile = top, min(top + TILE[0], height), left, min(left + TILE[1], width)
        average_alike(planes[n], guide[n], taps, unlike[n], own, tile, result[n])

    corners = product(
        np.flatnonzero(unlike > 0), range(0, height, TILE[0]), range(0, width, TILE[1])
    )
    parallel(work, corners, apart=True, progress=progress)
    return result
