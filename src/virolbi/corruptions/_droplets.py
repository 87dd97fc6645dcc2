"""Light on drops of water: the rims of the drops are detected, embossed and blurred."""

import numpy as np

from virolbi._engine import compiled
from virolbi.corruptions._planes import apply_matrices, correlation_matrix, shifted_sum

WEAK, STRONG = 50, 150  # thresholds of the edge detector
FARTHEST = 20.0  # pixels
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
# Steps down and right and their lengths, from a pixel to those before it in a 5x5 neighbourhood
CHAMFER = (
    (0, -1, 1.0),
    (-1, 0, 1.0),
    (-1, -1, 1.4),
    (-1, 1, 1.4),
    (-1, -2, 2.1969),
    (-1, 2, 2.1969),
    (-2, -1, 2.1969),
    (-2, 1, 2.1969),
)


def droplets(liquid: np.ndarray) -> np.ndarray:
    """Return the light that drops of water add to images.

    It is the distance to the nearest edge [1]_, equalised and embossed, times the liquid. Steps and
    constants are those of the published script, with its roundings to 8 bits on the way, because
    the equalisation depends on them.

    Parameters
    ----------
    liquid : ndarray of uint8, shape (N, 1, H, W)
        Amount of liquid.

    Returns
    -------
    ndarray of float32, shape (N, 1, H, W)
        Light from 0 to 1, and 0 where there is no liquid.

    References
    ----------
    .. [1] J. Canny, "A computational approach to edge detection", 1986.
    """
    distances = np.empty(liquid.shape, np.float32)
    for plane, out in zip(liquid[:, 0], distances[:, 0], strict=True):
        edges = np.zeros(plane.shape, np.bool_)
        _canny(plane.astype(np.int32), edges)
        _distance(edges, out)
    levels = _box_blur(np.minimum(distances, FARTHEST)).astype(np.uint8)
    levels = np.stack([_equalize(plane) for plane in levels])
    rows, columns = np.indices((3, 3)).reshape(2, -1)
    shifts = np.stack([rows, columns], axis=1)[None] - 1
    embossed = shifted_sum(levels.astype(np.float32), shifts, EMBOSS.ravel(), "reflect")
    light: np.ndarray = liquid * np.rint(_box_blur(embossed.clip(0, 255)))
    brightest = light.max(axis=(1, 2, 3), keepdims=True)
    light /= np.where(brightest > 0, brightest, 1)
    return light


def _box_blur(planes: np.ndarray) -> np.ndarray:
    """Average planes over 3x3 pixels; borders are reflected."""
    thirds = np.full(3, 1 / 3)
    rows, columns = (correlation_matrix(side, thirds, "reflect") for side in planes.shape[-2:])
    return apply_matrices(planes, rows, columns)


def _equalize(plane: np.ndarray) -> np.ndarray:
    """Return levels such that all are equally frequent, the lowest 0 and the highest 255."""
    counts = np.bincount(plane.ravel(), minlength=256)
    lowest = counts[plane.min()]
    if lowest == plane.size:
        return plane
    shares = (np.cumsum(counts) - lowest) / (plane.size - lowest)
    equalized: np.ndarray = np.rint(255 * shares.clip(0, 1)).astype(np.uint8)[plane]
    return equalized


@compiled
def _canny(plane: np.ndarray, edges: np.ndarray) -> None:
    """Mark the edges of a plane, int32, in `edges`.

    Edges are the strong ridges of the gradient, and the weak ones that are connected to them.
    """
    height, width = plane.shape
    strength = np.zeros((height + 2, width + 2), np.int32)
    ridge = np.zeros((height, width), np.bool_)
    _ridges(plane, strength, ridge)
    stack, waiting = np.empty((height * width, 2), np.int64), 0
    for y in range(height):
        for x in range(width):
            if ridge[y, x] and strength[y + 1, x + 1] > STRONG:
                edges[y, x] = True
                stack[waiting] = y, x
                waiting += 1
    while waiting > 0:
        waiting -= 1
        y, x = stack[waiting]
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                if ridge[v, u] and not edges[v, u]:
                    edges[v, u] = True
                    stack[waiting] = v, u
                    waiting += 1


@compiled
def _ridges(plane: np.ndarray, strength: np.ndarray, ridge: np.ndarray) -> None:
    """Write the strength of the gradient and its ridges.

    The strength is |gx| + |gy| by Sobel, borders repeated, in a frame of zeros. Ridges are
    stronger than WEAK and than the pixels on both sides across the edge.
    """
    height, width = plane.shape
    across, down = np.empty((height, width), np.int32), np.empty((height, width), np.int32)
    for y in range(height):
        above, below = plane[max(y - 1, 0)], plane[min(y + 1, height - 1)]
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            gx = (
                above[right]
                - above[left]
                + 2 * (plane[y, right] - plane[y, left])
                + below[right]
                - below[left]
            )
            gy = below[left] - above[left] + 2 * (below[x] - above[x]) + below[right] - above[right]
            across[y, x], down[y, x] = gx, gy
            strength[y + 1, x + 1] = abs(gx) + abs(gy)
    for y in range(height):
        for x in range(width):
            centre = strength[y + 1, x + 1]
            gx, gy = across[y, x], down[y, x]
            if abs(gy) < 0.41421356 * abs(gx):  # tan 22.5 degrees
                v, u, ties = 0, 1, True
            elif abs(gy) > 2.41421356 * abs(gx):
                v, u, ties = 1, 0, True
            else:
                v, u, ties = 1, 1 if (gx < 0) == (gy < 0) else -1, False
            before, after = strength[y + 1 - v, x + 1 - u], strength[y + 1 + v, x + 1 + u]
            ridge[y, x] = (
                centre > WEAK and centre > before and (centre > after or (ties and centre == after))
            )


@compiled
def _distance(edges: np.ndarray, out: np.ndarray) -> None:
    """Write the distance to the nearest edge, at most FARTHEST.

    It is measured in steps of 1, 1.4 and 2.1969 over 5x5 pixels (Borgefors 1986).
    """
    height, width = edges.shape
    for y in range(height):
        for x in range(width):
            out[y, x] = 0 if edges[y, x] else FARTHEST
    for turn in (1, -1):  # from the top left, and back
        for i in range(height):
            y = i if turn == 1 else height - 1 - i
            for j in range(width):
                x = j if turn == 1 else width - 1 - j
                for dy, dx, length in CHAMFER:
                    v, u = y + turn * dy, x + turn * dx
                    if 0 <= v < height and 0 <= u < width:
                        out[y, x] = min(out[y, x], out[v, u] + length)
