import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from virolbi._engine.graph import edge_count, split_edges, variation, variation_adjoint

sides = st.integers(1, 9)


@given(sides, sides, st.integers(0, 2**32 - 1))
def test_variation_and_its_adjoint_satisfy_the_adjoint_identity(height, width, seed):
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(2, height, width)), rng.normal(size=(2, edge_count(height, width)))
    np.testing.assert_allclose(
        (variation(u) * v).sum(), (u * variation_adjoint(v, height, width)).sum(), atol=1e-12
    )


def test_split_edges_are_the_horizontal_and_vertical_differences():
    u = np.random.default_rng(0).normal(size=(3, 4, 5))
    horizontal, vertical = split_edges(variation(u), 4, 5)
    np.testing.assert_array_equal(horizontal, np.diff(u, axis=-1))
    np.testing.assert_array_equal(vertical, np.diff(u, axis=-2))
