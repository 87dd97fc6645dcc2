"""The scale equaliser: random gains for the bands of the scale path."""

import numpy as np

from virolbi.scale_space import Form, ScaleSpace

# Sparsities at which the path is cut into bands; the last band ends at the image itself.
CUTS = (0.98, 0.93, 0.85, 0.7, 0.45)
BAND_SPREAD = 0.7  # of the logarithm of the gain of a band
COMMON_GAIN, COMMON_SPREAD = -0.1, 0.3  # mean and spread of the logarithm of the gain of all bands
SILENCED = 0.15  # probability that a band above the coarsest is left out
SHIFT = 0.12  # spread of the shift of the mean


def equalise(images: np.ndarray, rngs: list[np.random.Generator], form: Form) -> np.ndarray:
    """Give the bands of the path of each image random gains, and mix the sum with the image.

    A band is the difference of two moments of the path, so that the coarsest moment and the bands
    add up to the image. This changes contrast and detail scale by scale, and keeps edges: a blurred
    image has weak fine bands, a noisy one strong ones.

    Parameters
    ----------
    images : ndarray of float32, shape (n, C, H, W)
        Images in [0, 1].
    rngs : list of numpy.random.Generator
        Source of random numbers of each image.
    form : Form
        Form of the smoother.

    Returns
    -------
    ndarray of float32, shape (n, C, H, W)
        Changed images, clipped to [0, 1].
    """
    space = ScaleSpace(images, channel_axis=1, copy=False, **form.path_keywords())
    moments = [images.mean(axis=(1, 2, 3), keepdims=True)]
    moments += [space.at(cut).beta for cut in CUTS]
    ends = [*moments[1:], images]
    bands = np.stack([end - start for start, end in zip(moments, ends, strict=True)])
    gains, shifts, shares = (
        np.array(numbers, np.float32)
        for numbers in zip(*(_draw(rng, len(bands)) for rng in rngs), strict=True)
    )
    shape = (-1, 1, 1, 1)
    changed = np.einsum("nb,bnchw->nchw", gains, bands) + moments[0] + shifts.reshape(shape)
    share = shares.reshape(shape)
    mixed: np.ndarray = (share * changed + (1 - share) * images).clip(0, 1)
    return mixed


def _draw(rng: np.random.Generator, bands: int) -> tuple[np.ndarray, float, float]:
    """Draw the gain of each band, the shift of the mean, and the share of the changed image."""
    gains = np.exp(rng.normal(0, BAND_SPREAD, bands) + rng.normal(COMMON_GAIN, COMMON_SPREAD))
    gains[1:] *= rng.random(bands - 1) >= SILENCED
    return gains, rng.normal(0, SHIFT), rng.random()
