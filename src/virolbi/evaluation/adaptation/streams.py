"""Orders in which test images arrive."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from virolbi._checks import check_choice

StreamName = Literal["iid", "single", "correlated", "mixed"]
STREAMS: tuple[StreamName, ...] = get_args(StreamName)


class StreamBatch(NamedTuple):
    """Images that arrive together.

    Attributes
    ----------
    types : ndarray of int, shape (n,)
        Index of the corruption of each image.
    rows : ndarray of int, shape (n,)
        Index of each image.
    """

    types: np.ndarray
    rows: np.ndarray


class Stream(NamedTuple):
    """Batches that one network meets in order.

    Attributes
    ----------
    types : tuple of int
        Indices of the corruptions in it.
    batches : list of StreamBatch
        The batches.
    batch_size : int
        Images in a batch; the last one may have fewer.
    """

    types: tuple[int, ...]
    batches: list[StreamBatch]
    batch_size: int


def streams(
    name: StreamName, labels: np.ndarray, types: int, batch_size: int, seed: int
) -> Iterator[Stream]:
    """Yield the streams of a kind, each to be met by a network that is as it was trained.

    Parameters
    ----------
    name : {"iid", "single", "correlated", "mixed"}
        "iid": one stream for each type of corruption, in random order. "single": the same, one
        image at a time. "correlated": one stream for each type, class after class, the classes in
        random order. "mixed": one stream of all types, in random order.
    labels : ndarray of int, shape (N,)
        Class of each image.
    types : int
        Number of types of corruption.
    batch_size : int
        Images in a batch, but for "single".
    seed : int
        Seed of the order.

    Yields
    ------
    Stream
        Together the streams hold every image under every type once.

    Raises
    ------
    ValueError
        If there is no such stream.
    """
    check_choice("stream", name, STREAMS)
    rng = np.random.default_rng(seed)
    count, size = len(labels), 1 if name == "single" else batch_size
    if name == "mixed":
        order = rng.permutation(types * count)
        yield Stream(tuple(range(types)), _split(order // count, order % count, size), size)
        return
    for index in range(types):
        order = rng.permutation(count)
        if name == "correlated":
            ranks = rng.permutation(int(labels.max()) + 1)
            order = order[np.argsort(ranks[labels[order]], kind="stable")]
        yield Stream((index,), _split(np.full(count, index), order, size), size)


def _split(types: np.ndarray, rows: np.ndarray, size: int) -> list[StreamBatch]:
    parts: Sequence[slice] = [slice(first, first + size) for first in range(0, len(rows), size)]
    return [StreamBatch(types[part], rows[part]) for part in parts]
