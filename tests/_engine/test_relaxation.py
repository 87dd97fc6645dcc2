import numpy as np
from numba import njit

from virolbi._engine import relaxation


def test_a_vector_rests_when_neither_it_nor_its_neighbours_have_moved():
    """Pixel k lies in vector k // 16; its neighbours are k - width, k - 1, k + 1 and k + width."""

    @njit
    def find_active_vectors(before, after, width, first, last):
        activity, vectors, vector = (
            relaxation.Activity(relaxation.pair((before, after)), width // 16, 0.0),
            [0] * 0,
            first,
        )
        while vector < last:
            resting = relaxation._resting(activity, 0, vector, last)
            if resting == 0:
                vectors.append(vector)
            vector += max(resting, 1)
        return vectors

    rng = np.random.default_rng(0)
    for width in (1, 15, 16, 33, 80):
        first, last = width // 16 + 2, width // 16 + 60
        for fraction in (0.003, 0.03, 0.3):
            before, after = np.zeros(2 * first + 66, np.uint8), np.ones(2 * first + 66, np.uint8)
            before[first:last] = rng.random(last - first) < fraction
            pixels = np.arange(16 * first, 16 * last)
            near = [before[(pixels + step) // 16] for step in (-width, -1, 0, 1, width)]
            expected = set(np.flatnonzero(np.any(near, axis=0).reshape(-1, 16).any(1)) + first)
            active = set(find_active_vectors(before, after, width, first, last))
            # the test for rest looks at whole vectors, so it may visit one more on each side
            one_more = {vector + step for vector in expected for step in (-1, 0, 1)}
            assert expected <= active <= one_more
            assert set(np.flatnonzero(after[first:last]) + first) == active
            assert after[:first].all()
            assert after[last:].all()
