"""How images and edges lie in memory for `_kernels`: planes as aligned lines with room around them, edges as bits."""

import math
import threading
from functools import cache

import numpy as np

from virolbi._engine.graph import edge_count, split_edges
from virolbi._engine.kernels import WORD, Grid
from virolbi._engine.simd import LANES

CACHED = 2**18  # numbers; larger images are swept in segments
# A load waits for a store shortly before it whose address has the same last 12 bits, for up to three times as long as all the
# rest takes. So channels lie PHASE bytes apart modulo PAGE, for multiples of it up to six come nowhere near each other, and
# data, beta and z each begin at a place of their own.
PAGE, PHASE = 4096, 640
DATA, BETA, Z = 128, 0, 1024  # bytes modulo PAGE
KEPT = 2**23  # bytes, for each place and thread


class _Lent(threading.local):
    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray] = {}  # by its place


_LENT = _Lent()


def grid_of(channels: int, height: int, width: int) -> Grid:
    """Images that fit into the cache are swept whole, step by step; larger ones in segments, several steps in one go."""
    first = (width // LANES + 2) * LANES
    size = -(-height * width // LANES) * LANES
    whole = channels * size <= CACHED
    stride = 2 * first + size
    stride += (PHASE // 4 - stride) % (PAGE // 4)  # in single precision
    return Grid(width, first, size, stride, size if whole else first, 1 if whole else 8)


def aligned(shape: tuple[int, ...], kind: type, place: int, lent: bool = False) -> np.ndarray:
    """Numbers that begin at a place, in bytes modulo PAGE and where a line of the cache begins: no vector lies in two lines.

    lent: whether the same thread may get this memory again when it next asks for that place. New pages cost as much as a
    third of the path on them.
    """
    count = math.prod(shape)
    size = count * np.dtype(kind).itemsize
    raw = _LENT.memory.get(place) if lent else None
    if raw is None or len(raw) < size + PAGE:
        raw = np.empty(size + PAGE, np.uint8)
        if lent and size <= KEPT:
            _LENT.memory[place] = raw
    start = (place - raw.ctypes.data) % PAGE
    return raw[start : start + size].view(kind).reshape(shape)


def flatten(
    planes: np.ndarray, grid: Grid, blank: float = 0, place: int = DATA, lent: bool = True
) -> np.ndarray:
    """(N, C, H, W) to (N, C stride), with zeros around the pixels, or what is `blank`; the memory is that of `aligned`."""
    number, channels, height, width = planes.shape
    flat = aligned((number, channels, grid.stride), planes.dtype.type, place, lent)
    flat.fill(blank)
    flat[:, :, grid.first : grid.first + height * width] = planes.reshape(number, channels, -1)
    return flat.reshape(number, -1)


def unflatten(flat: np.ndarray, shape: tuple[int, ...], grid: Grid) -> np.ndarray:
    """(N, C stride) to (N, C, H, W)."""
    number, channels, height, width = shape
    return flat.reshape(number, channels, -1)[
        :, :, grid.first : grid.first + height * width
    ].reshape(shape)


@cache
def edge_words(height: int, width: int) -> np.ndarray:
    """(2, words): 1 where there is an edge, horizontal ones first, at the bit of its left or upper pixel."""
    words = pack(np.ones((1, edge_count(height, width)), bool), height, width)[0]
    words.setflags(write=False)
    return words


def pack(edges: np.ndarray, height: int, width: int) -> np.ndarray:
    """Booleans over edges, (N, E), as (N, 2, words)."""
    grid, number = grid_of(1, height, width), len(edges)
    places = np.zeros((number, 2, -(-(grid.stride + 1) // WORD) * WORD), bool)
    planes = np.zeros((number, 2, height, width), bool)
    planes[:, 0, :, :-1], planes[:, 1, :-1] = split_edges(edges, height, width)
    places[..., grid.first : grid.first + height * width] = planes.reshape(number, 2, -1)
    return np.packbits(places, axis=-1, bitorder="little").view(np.uint64)


def unpack(words: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, 2, words) as booleans over edges, (N, E)."""
    grid, number = grid_of(1, height, width), len(words)
    places = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")[
        ..., grid.first : grid.first + height * width
    ]
    planes = places.reshape(number, 2, height, width).view(bool)
    return np.concatenate(
        [planes[:, 0, :, :-1].reshape(number, -1), planes[:, 1, :-1].reshape(number, -1)], axis=1
    )
