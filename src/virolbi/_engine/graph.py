"""The pixel graph: 4-neighbour edges of a plane, the variation across them, and its adjoint."""

import numpy as np


def edge_count(height: int, width: int) -> int:
    """Return the number of edges of a plane: H (W - 1) horizontal and (H - 1) W vertical ones.

    >>> edge_count(32, 32)
    1984
    """
    return height * (width - 1) + (height - 1) * width


def split_edges(edges: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """View an array over edges, (..., E), as (..., H, W - 1) horizontal and (..., H - 1, W) ones.

    Every array over edges in this package has this order: the horizontal edges row by row, then
    the vertical ones.
    """
    lead, horizontal = edges.shape[:-1], height * (width - 1)
    return (
        edges[..., :horizontal].reshape(*lead, height, width - 1),
        edges[..., horizontal:].reshape(*lead, height - 1, width),
    )


def variation(planes: np.ndarray) -> np.ndarray:
    """Return the difference across every edge, D u: shape (..., H, W) to (..., E).

    >>> variation(np.array([[0.0, 1.0], [3.0, 5.0]]))
    array([1., 2., 3., 4.])
    """
    *lead, height, width = planes.shape
    horizontal = planes[..., :, 1:] - planes[..., :, :-1]
    vertical = planes[..., 1:, :] - planes[..., :-1, :]
    edges = (
        horizontal.reshape(*lead, height * (width - 1)),
        vertical.reshape(*lead, (height - 1) * width),
    )
    return np.concatenate(edges, axis=-1)


def variation_adjoint(edges: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return D^T v, the adjoint of `variation`: shape (..., E) to (..., H, W).

    For all u and v, <D u, v> = <u, D^T v>.

    >>> variation_adjoint(np.array([1.0, 2.0, 3.0, 4.0]), 2, 2)
    array([[-4., -3.],
           [ 1.,  6.]])
    """
    horizontal, vertical = split_edges(edges, height, width)
    planes = np.zeros((*edges.shape[:-1], height, width), dtype=edges.dtype)
    planes[..., :, 1:] += horizontal
    planes[..., :, :-1] -= horizontal
    planes[..., 1:, :] += vertical
    planes[..., :-1, :] -= vertical
    return planes
