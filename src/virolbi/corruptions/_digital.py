"""Digital: contrast, elastic transform, pixelate, JPEG; and saturate, which is held out."""

from collections.abc import Iterable
from io import BytesIO

import numpy as np
from numpy.random import Generator
from PIL import Image

from virolbi._engine import compiled
from virolbi.corruptions._planes import along_axes, box_matrix, gaussian_matrix


def contrast(images: np.ndarray, kept: float) -> np.ndarray:
    """Each channel keeps this share of its deviation from its mean."""
    means = images.mean(axis=(2, 3), keepdims=True)
    return (images - means) * np.float32(kept) + means


def pixelate(images: np.ndarray, share: float) -> np.ndarray:
    """Down to this share of the sides, by the box filter of Pillow, and up again by repeating pixels."""
    height, width = images.shape[-2:]
    rows, columns = (box_matrix(side, int(side * share)) for side in (height, width))
    return along_axes(
        images, box_matrix(len(rows), height) @ rows, box_matrix(len(columns), width) @ columns
    )


def jpeg_compression(images: np.ndarray, quality: int) -> np.ndarray:
    """To JPEG and back, image by image."""
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
    """S of HSV times a factor plus a constant, H and V as they are. Grey images stay; grey pixels of colour images go red.

    With V the largest colour of a pixel, colour x is V - (V - x) S' / S; where S is 0, the hue counts as 0, which is red.
    """
    if images.shape[1] == 1:
        return images
    factor, added = level
    value = images.max(axis=1, keepdims=True)
    spread = value - images.min(axis=1, keepdims=True)
    saturation = np.divide(spread, value, out=np.zeros_like(value), where=value > 0)
    wanted = (saturation * np.float32(factor) + np.float32(added)).clip(0, 1)
    ratio = np.divide(wanted * value, spread, out=np.zeros_like(value), where=spread > 0)
    red = value * np.where(np.arange(3)[:, None, None] == 0, np.float32(1), 1 - wanted)
    return np.where(spread > 0, value - (value - images) * ratio, red)


def elastic_transform(
    images: np.ndarray, level: tuple[float, float, float], rngs: Iterable[Generator]
) -> np.ndarray:
    """An affine map that moves three points around the middle at random, then smooth random displacements."""
    amplitude, sigma, reach = level
    height, width = images.shape[-2:]
    moves, draws = [], []
    for rng in rngs:
        moves.append(rng.uniform(-reach, reach, (3, 2)))
        draws.append(rng.uniform(-1, 1, (2, height, width)).astype(np.float32))
    turned = _sampled(images, _affine_places(height, width, np.stack(moves)), "reflect")
    if amplitude == 0:
        return turned
    return _sampled(turned, _elastic_places(np.stack(draws), amplitude, sigma), "symmetric")


def _affine_places(height: int, width: int, moves: np.ndarray) -> np.ndarray:
    """Where each pixel comes from, as y and x, (N, 2, H, W), if three points move by `moves`, (N, 3, 2), in x and y."""
    middle, arm = np.array([width // 2, height // 2]), min(height, width) // 3
    points = middle + arm * np.array([[1, 1], [1, -1], [-1, -1]])
    corners = np.concatenate([points + moves, np.ones((len(moves), 3, 1))], axis=2)
    back = np.linalg.solve(corners, np.broadcast_to(points.astype(float), moves.shape))  # (N, 3, 2)
    y, x = np.indices((height, width))
    grid = np.stack([x, y, np.ones_like(x)], axis=-1)
    places = grid.reshape(-1, 3) @ back  # (N, H W, 2), x and y
    return places[..., ::-1].transpose(0, 2, 1).reshape(-1, 2, height, width)


def _elastic_places(draws: np.ndarray, amplitude: float, sigma: float) -> np.ndarray:
    """The grid plus smoothed draws, (N, 2, H, W), times an amplitude (Simard, Steinkraus, Platt 2003)."""
    height, width = draws.shape[-2:]
    rows, columns = (
        gaussian_matrix(side, sigma, truncate=3.0, border="symmetric") for side in (height, width)
    )
    return np.indices((height, width)) + np.float32(amplitude) * along_axes(draws, rows, columns)


def _sampled(images: np.ndarray, places: np.ndarray, border: str) -> np.ndarray:
    """Images, (N, C, H, W), between their pixels, bilinear, at places, (N, 2, H, W); beyond them as `numpy.pad` goes on."""
    out = np.empty_like(images)
    _sample(images, places.astype(np.float64), border == "reflect", out)
    return out


@compiled
def _sample(images: np.ndarray, places: np.ndarray, once: bool, out: np.ndarray) -> None:
    count, channels, height, width = images.shape
    for n in range(count):
        for y in range(height):
            for x in range(width):
                v, u = places[n, 0, y, x], places[n, 1, y, x]
                top, left = np.floor(v), np.floor(u)
                down, right = np.float32(v - top), np.float32(u - left)
                first, last = _inside(int(top), height, once), _inside(int(top) + 1, height, once)
                near, far = _inside(int(left), width, once), _inside(int(left) + 1, width, once)
                for c in range(channels):
                    plane = images[n, c]
                    upper = (1 - right) * plane[first, near] + right * plane[first, far]
                    lower = (1 - right) * plane[last, near] + right * plane[last, far]
                    out[n, c, y, x] = (1 - down) * upper + down * lower


@compiled
def _inside(place: int, size: int, once: bool) -> int:
    """The pixel that a mirror at the borders shows; the border pixels are seen once or twice."""
    if 0 <= place < size:
        return place
    period = 2 * (size - 1) if once else 2 * size
    place %= period
    return place if place < size else period - (0 if once else 1) - place
