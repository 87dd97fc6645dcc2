"""Layout of images and edges in memory for the kernels: planes as aligned lines, edges as bits."""

import math
import threading
from functools import cache

import numpy as np

from virolbi._engine.graph import edge_count, split_edges
from virolbi._engine.records import WORD, Grid
from virolbi._engine.simd import LANES

CACHED = 2**18  # numbers; larger images are swept in segments, by several threads
ALIGNED = 2**14  # pixels; threads of larger images write whole words of edges, none of them shared
# A load waits for an earlier store whose address has the same last 12 bits, for up to three times
# as long as all the rest takes. So channels lie PHASE bytes apart modulo PAGE, for multiples of it
# up to six come nowhere near each other, and data, beta and z each begin at an offset of their own.
PAGE, PHASE = 4096, 640
DATA, BETA, Z = 128, 0, 1024  # offsets: bytes modulo PAGE
KEPT = 2**23  # bytes that a workspace keeps, at most, for each offset
COMPILED = 3  # channels up to which kernels are compiled for each number; more share one kernel


class Workspace(threading.local):
    """Scratch memory of each thread, handed out again at every call.

    New pages of memory cost as much as a third of the path that is computed on them. An array of
    a workspace is valid until the same thread asks for its offset again.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, np.ndarray] = {}  # by their offset

    def block(self, size: int, offset: int) -> np.ndarray:
        """Return `size` bytes or more of scratch memory for an offset."""
        block = self._blocks.get(offset)
        if block is None or len(block) < size:
            block = np.empty(size, np.uint8)
            if size <= KEPT + PAGE:
                self._blocks[offset] = block
        return block

    def clear(self) -> None:
        """Forget the memory of this thread, to which other threads may still be writing."""
        self._blocks = {}


WORKSPACE = Workspace()


def grid_of(channels: int, height: int, width: int) -> Grid:
    """Return the grid of images of a shape.

    Images that fit into the cache are swept whole, step by step; larger ones in segments, several
    steps in one go. Results are the same.
    """
    unit = LANES if height * width < ALIGNED else WORD
    first = (width // unit + 2) * unit
    size = -(-height * width // LANES) * LANES
    fits = channels * size <= CACHED
    stride = 2 * first + size
    stride += (PHASE // 4 - stride) % (PAGE // 4)  # in single precision
    segment, depth = (size, 1) if fits else (first, 8)
    counted = (0,) * channels if channels <= COMPILED else np.zeros(channels, np.uint8)
    return Grid(width, first, size, stride, segment, depth, counted)


def aligned(
    shape: tuple[int, ...], dtype: type, offset: int, workspace: Workspace | None = None
) -> np.ndarray:
    """Return an array, not initialised, whose address is `offset` bytes modulo PAGE.

    Offsets are multiples of a line of the cache, so that no vector crosses two lines. Without a
    workspace the memory is new.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if workspace is None:
        block = np.empty(size + PAGE, np.uint8)
    else:
        block = workspace.block(size + PAGE, offset)
    start = (offset - block.ctypes.data) % PAGE
    return block[start : start + size].view(dtype).reshape(shape)


def flatten(
    planes: np.ndarray,
    grid: Grid,
    *,
    blank: float = 0,
    offset: int = DATA,
    workspace: Workspace | None = WORKSPACE,
) -> np.ndarray:
    """Copy planes (N, C, H, W) to flat arrays (N, C stride), with `blank` around the pixels."""
    number, channels, height, width = planes.shape
    shape = (number, channels, grid.stride)
    flat = aligned(shape, planes.dtype.type, offset, workspace)
    flat.fill(blank)
    pixels = slice(grid.first, grid.first + height * width)
    flat[:, :, pixels] = planes.reshape(number, channels, -1)
    return flat.reshape(number, -1)


def unflatten(flat: np.ndarray, shape: tuple[int, ...], grid: Grid) -> np.ndarray:
    """Return the pixels of flat arrays (N, C stride) as planes (N, C, H, W)."""
    number, channels, height, width = shape
    pixels = slice(grid.first, grid.first + height * width)
    return flat.reshape(number, channels, -1)[:, :, pixels].reshape(shape)


@cache
def edge_words(height: int, width: int) -> np.ndarray:
    """Return words (2, words) with a 1 for every edge, at the bit of its left or upper pixel."""
    words: np.ndarray = pack(np.ones((1, edge_count(height, width)), bool), height, width)[0]
    words.setflags(write=False)
    return words


def pack(edges: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pack booleans over edges, (N, E), into words, (N, 2, words)."""
    grid, number = grid_of(1, height, width), len(edges)
    bits = np.zeros((number, 2, -(-(grid.stride + 1) // WORD) * WORD), bool)
    planes = np.zeros((number, 2, height, width), bool)
    planes[:, 0, :, :-1], planes[:, 1, :-1] = split_edges(edges, height, width)
    bits[..., grid.first : grid.first + height * width] = planes.reshape(number, 2, -1)
    return np.asarray(np.packbits(bits, axis=-1, bitorder="little").view(np.uint64))


def unpack(words: np.ndarray, height: int, width: int) -> np.ndarray:
    """Unpack words, (N, 2, words), to booleans over edges, (N, E)."""
    grid, number = grid_of(1, height, width), len(words)
    bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
    pixels = bits[..., grid.first : grid.first + height * width]
    planes = pixels.reshape(number, 2, height, width).view(bool)
    horizontal, vertical = planes[:, 0, :, :-1], planes[:, 1, :-1]
    across, down = height * (width - 1), (height - 1) * width
    parts = horizontal.reshape(number, across), vertical.reshape(number, down)
    return np.concatenate(parts, axis=1)
