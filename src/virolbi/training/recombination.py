"""Amplitude-phase recombination: the amplitudes of an image replaced by those of another.

References
----------
.. [1] G. Chen et al., "Amplitude-phase recombination: Rethinking robustness of convolutional neural
   networks in frequency domain", ICCV 2021.
"""

import numpy as np

from virolbi.training.mixing import OPERATIONS, from_picture, to_picture

SINGLE, PAIRED = 0.5, 0.6  # probabilities of recombining with a copy, and with another image


def recombine(amplitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return the image with the amplitudes of one image and the phases of another.

    Parameters
    ----------
    amplitude, phase : ndarray of float32, shape (C, H, W)
        Images in [0, 1].

    Returns
    -------
    ndarray of float32, shape (C, H, W)
        Recombined image, clipped to [0, 1].
    """
    spectrum = np.fft.fftn(phase)
    size = np.abs(spectrum)
    direction = np.divide(spectrum, size, out=np.ones_like(spectrum), where=size > 0)
    recombined = np.fft.ifftn(np.abs(np.fft.fftn(amplitude)) * direction).real
    clipped: np.ndarray = recombined.clip(0, 1).astype(np.float32)
    return clipped


def recombine_single(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change an image by an operation, and half of the time recombine it with a changed copy.

    Parameters
    ----------
    image : ndarray of float32, shape (C, H, W)
        Image in [0, 1], C is 1 or 3.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray of float32, shape (C, H, W)
        Changed image.
    """
    picture = OPERATIONS[rng.integers(len(OPERATIONS))](to_picture(image), rng)
    changed = from_picture(picture)
    if rng.random() >= SINGLE:
        return changed
    copy = from_picture(OPERATIONS[rng.integers(len(OPERATIONS))](picture, rng))
    return recombine(changed, copy) if rng.random() < 0.5 else recombine(copy, changed)


def recombine_pair(image: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace, most of the time, the amplitudes of an image by those of another one.

    Parameters
    ----------
    image, other : ndarray of float32, shape (C, H, W)
        Images in [0, 1].
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray of float32, shape (C, H, W)
        The image, or its recombination.
    """
    return recombine(other, image) if rng.random() < PAIRED else image
