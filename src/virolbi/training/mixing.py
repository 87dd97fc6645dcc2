"""Mixtures of an image with randomly changed copies of it, and the operations of AugMix."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

WIDTH, MAX_DEPTH = 3, 3  # changed copies, and operations in the longest chain
SEVERITY = 3  # of 10: the published severity of the operations

T = TypeVar("T")
Operation = Callable[[T, np.random.Generator], T]


def mix_chains(
    image: np.ndarray,
    rng: np.random.Generator,
    operations: Sequence[Operation[T]],
    start: Callable[[np.ndarray], T],
    finish: Callable[[T], np.ndarray],
) -> np.ndarray:
    """Mix an image with three copies, each changed by one to three random operations.

    Parameters
    ----------
    image : ndarray of float32, shape (C, H, W)
        Image in [0, 1].
    rng : numpy.random.Generator
        Source of random numbers.
    operations : sequence of callable
        Operations to draw from.
    start, finish : callable
        Change an image into what the operations take, and back.

    Returns
    -------
    ndarray of float32, shape (C, H, W)
        Mixed image, in [0, 1] if the copies are.

    References
    ----------
    .. [1] D. Hendrycks et al., "AugMix: A simple data processing method to improve robustness and
       uncertainty", ICLR 2020.
    """
    weights, share = rng.dirichlet(np.ones(WIDTH)), np.float32(rng.beta(1, 1))
    mixture = np.zeros_like(image)
    for weight in weights:
        copy = start(image)
        for _ in range(rng.integers(1, MAX_DEPTH + 1)):
            copy = operations[int(rng.integers(len(operations)))](copy, rng)
        mixture += np.float32(weight) * finish(copy)
    return (1 - share) * image + share * mixture


def augmix(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply AugMix, with the nine operations of its paper.

    Parameters
    ----------
    image : ndarray of float32, shape (C, H, W)
        Image in [0, 1], C is 1 or 3.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ndarray of float32, shape (C, H, W)
        Mixed image.
    """
    return mix_chains(image, rng, OPERATIONS, to_picture, from_picture)


def to_picture(image: np.ndarray) -> Image.Image:
    """Return an image as a picture of Pillow.

    Parameters
    ----------
    image : ndarray of float32, shape (C, H, W)
        Image in [0, 1], C is 1 or 3.

    Returns
    -------
    PIL.Image.Image
        The picture, of 8 bits.
    """
    pixels = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))


def from_picture(picture: Image.Image) -> np.ndarray:
    """Return a picture of Pillow as an image.

    Parameters
    ----------
    picture : PIL.Image.Image
        The picture, of 8 bits.

    Returns
    -------
    ndarray of float32, shape (C, H, W)
        Image in [0, 1].
    """
    pixels = np.asarray(picture, np.float32) / 255
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _level(rng: np.random.Generator, most: float) -> float:
    """Draw the strength of an operation, whose value at severity 10 is `most`."""
    return float(rng.uniform(0.1, SEVERITY)) * most / 10


def _signed(rng: np.random.Generator, value: float) -> float:
    """Return a value with a random sign."""
    return value if rng.random() < 0.5 else -value


def _affine(picture: Image.Image, *matrix: float) -> Image.Image:
    """Move the pixels of a picture; black enters from outside."""
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
    )


def _autocontrast(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.autocontrast(picture)


def _equalize(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.equalize(picture)


def _posterize(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.posterize(picture, 4 - int(_level(rng, 4)))


def _rotate(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    degrees = _signed(rng, int(_level(rng, 30)))
    return picture.rotate(degrees, resample=Image.Resampling.BILINEAR)


def _solarize(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(picture, 256 - int(_level(rng, 256)))


def _shear_x(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, 1, _signed(rng, _level(rng, 0.3)), 0, 0, 1, 0)


def _shear_y(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, 1, 0, 0, _signed(rng, _level(rng, 0.3)), 1, 0)


def _translate_x(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, 1, 0, _signed(rng, int(_level(rng, picture.width / 3))), 0, 1, 0)


def _translate_y(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _affine(picture, 1, 0, 0, 0, 1, _signed(rng, int(_level(rng, picture.height / 3))))


OPERATIONS: tuple[Operation[Image.Image], ...] = (
    *(_autocontrast, _equalize, _posterize, _rotate, _solarize),
    *(_shear_x, _shear_y, _translate_x, _translate_y),
)
