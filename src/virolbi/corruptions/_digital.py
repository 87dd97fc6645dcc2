"""Digital: contrast, elastic transform, pixelate, JPEG; and saturate, which is held out."""

from collections.abc import Iterable
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.random import Generator
from PIL import Image

from virolbi._engine import compiled
from virolbi.corruptions._planes import apply_matrices, box_matrix, gaussian_matrix


def contrast(images: np.ndarray, share: float) -> np.ndarray:
    """Reduce the deviation of each channel from its mean.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    share : float
        Share of the deviation that stays, in [0, 1]. A smaller share is stronger.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Images of lower contrast.
    """
    means = images.mean(axis=(2, 3), keepdims=True)
    flatter: np.ndarray = (images - means) * np.float32(share) + means
    return flatter


def pixelate(images: np.ndarray, share: float) -> np.ndarray:
    """Shrink images with the box filter of Pillow, and enlarge them by repeating pixels.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    share : float
        Share of the sides that the small image has, in (0, 1]. A smaller share is stronger.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Pixelated images.
    """
    height, width = images.shape[-2:]
    rows, columns = (box_matrix(side, int(side * share)) for side in (height, width))
    return apply_matrices(
        images, box_matrix(len(rows), height) @ rows, box_matrix(len(columns), width) @ columns
    )


def jpeg_compression(images: np.ndarray, quality: int) -> np.ndarray:
    """Encode each image as JPEG, and decode it.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities in [0, 1], rounded to whole levels of 255 before.
    quality : int
        Quality of Pillow's encoder. A lower quality is stronger.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Decoded images.
    """
    pixels = np.rint(images.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    out = np.empty(pixels.shape, np.float32)
    for image, decoded in zip(pixels, out, strict=True):
        file = BytesIO()
        Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).save(
            file, "JPEG", quality=quality
        )
        decoded[...] = np.asarray(Image.open(file)).reshape(image.shape)
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2)) / np.float32(255)


def saturate(images: np.ndarray, level: tuple[float, float]) -> np.ndarray:
    """Multiply S of HSV by a factor, add a constant to it, and keep H and V.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities in [0, 1].
    level : tuple of float
        Factor and constant. A factor over 1 makes colours more vivid.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Images of another saturation. Grey images are unchanged; grey pixels of colour images
        become red if their new saturation is not 0.

    Notes
    -----
    With V the largest colour of a pixel, colour x becomes V - (V - x) S' / S. Where S is 0, the
    hue counts as 0, which is red.
    """
    if images.shape[1] == 1:
        return images
    factor, added = level
    value = images.max(axis=1, keepdims=True)
    spread = value - images.min(axis=1, keepdims=True)
    saturation = np.divide(spread, value, out=np.zeros_like(value), where=value > 0)
    target = (saturation * np.float32(factor) + np.float32(added)).clip(0, 1)
    ratio = np.divide(target * value, spread, out=np.zeros_like(value), where=spread > 0)
    red = value * np.where(np.arange(3)[:, None, None] == 0, np.float32(1), 1 - target)
    saturated: np.ndarray = np.where(spread > 0, value - (value - images) * ratio, red)
    return saturated


def elastic_transform(
    images: np.ndarray, level: tuple[float, float, float], rngs: Iterable[Generator]
) -> np.ndarray:
    """Apply a random affine map and then smooth random displacements.

    Parameters
    ----------
    images : ndarray of float32, shape (N, C, H, W)
        Intensities.
    level : tuple of float
        Amplitude and sigma of the displacements, and largest move of each of the three points
        around the middle that define the affine map, in pixels. A larger amplitude and larger
        moves are stronger; a larger sigma is smoother.
    rngs : iterable of Generator
        One random generator for each image.

    Returns
    -------
    ndarray of float32, shape (N, C, H, W)
        Deformed images.
    """
    amplitude, sigma, reach = level
    height, width = images.shape[-2:]
    moves, draws = [], []
    for rng in rngs:
        moves.append(rng.uniform(-reach, reach, (3, 2)))
        draws.append(rng.uniform(-1, 1, (2, height, width)).astype(np.float32))
    mapped = _interpolate(images, _affine_positions(height, width, np.stack(moves)), "reflect")
    if amplitude == 0:
        return mapped
    return _interpolate(mapped, _elastic_positions(np.stack(draws), amplitude, sigma), "symmetric")


def _affine_positions(height: int, width: int, moves: np.ndarray) -> np.ndarray:
    """Return the source of each pixel, as y and x, (N, 2, H, W), of an affine map.

    The map moves three points around the middle by `moves`, (N, 3, 2), in x and y.
    """
    middle, arm = np.array([width // 2, height // 2]), min(height, width) // 3
    points = middle + arm * np.array([[1, 1], [1, -1], [-1, -1]])
    targets = np.concatenate([points + moves, np.ones((len(moves), 3, 1))], axis=2)
    sources = np.broadcast_to(points.astype(float), moves.shape)
    inverse = np.linalg.solve(targets, sources)  # (N, 3, 2)
    y, x = np.indices((height, width))
    grid = np.stack([x, y, np.ones_like(x)], axis=-1)
    positions = grid.reshape(-1, 3) @ inverse  # (N, H W, 2), x and y
    return positions[..., ::-1].transpose(0, 2, 1).reshape(-1, 2, height, width)


def _elastic_positions(draws: np.ndarray, amplitude: float, sigma: float) -> np.ndarray:
    """Return the grid plus smoothed draws, (N, 2, H, W), times an amplitude.

    From P. Simard, D. Steinkraus and J. Platt, 2003.
    """
    height, width = draws.shape[-2:]
    rows, columns = (
        gaussian_matrix(side, sigma, truncate=3.0, border="symmetric") for side in (height, width)
    )
    smooth = apply_matrices(draws, rows, columns)
    positions: np.ndarray = np.indices((height, width)) + np.float32(amplitude) * smooth
    return positions


def _interpolate(
    images: np.ndarray, positions: np.ndarray, border: Literal["reflect", "symmetric"]
) -> np.ndarray:
    """Interpolate images (N, C, H, W) bilinearly at positions (N, 2, H, W), given as y and x.

    Beyond the borders, images continue as with this mode of `numpy.pad`.
    """
    out = np.empty_like(images)
    _interpolate_into(images, positions.astype(np.float64), border == "reflect", out)
    return out


@compiled
def _interpolate_into(
    images: np.ndarray, positions: np.ndarray, once: bool, out: np.ndarray
) -> None:
    """Write the values of `_interpolate` to `out`; `once` is as in `_mirror`."""
    count, channels, height, width = images.shape
    for n in range(count):
        for y in range(height):
            for x in range(width):
                v, u = positions[n, 0, y, x], positions[n, 1, y, x]
                top, left = np.floor(v), np.floor(u)
                down, right = np.float32(v - top), np.float32(u - left)
                first, last = _mirror(int(top), height, once), _mirror(int(top) + 1, height, once)
                near, far = _mirror(int(left), width, once), _mirror(int(left) + 1, width, once)
                for c in range(channels):
                    plane = images[n, c]
                    upper = (1 - right) * plane[first, near] + right * plane[first, far]
                    lower = (1 - right) * plane[last, near] + right * plane[last, far]
                    out[n, c, y, x] = (1 - down) * upper + down * lower


@compiled
def _mirror(index: int, size: int, once: bool) -> int:
    """Return the pixel that mirrors at the borders show; border pixels are seen once or twice."""
    if 0 <= index < size:
        return index
    period = 2 * (size - 1) if once else 2 * size
    index %= period
    return index if index < size else period - (0 if once else 1) - index
