import numpy as np
from numba import njit
from virolbi._engine import relaxation


def test_sixteen_pixels_rest_where_nothing_next_to_them_has_moved():
    """Pixel k lies in vector k // 16; its neighbours are k - width, k - 1, k + 1 and k + width."""

    @njit
    def awake(before, after, width, first, last):
        activity, flags, vector = (
            relaxation.Activity(relaxation.pair((before, after)), width // 16, 0.0),
            [0] * 0,
            first,
        )
        while vector < last:
            resting = relaxation._resting(activity, 0, vector, last)
            if resting == 0:
                flags.append(vector)
            vector += max(resting, 1)
        return flags

    rng = np.random.default_rng(0)
    for width in (1, 15, 16, 33, 80):
        first, last = width // 16 + 2, width // 16 + 60
        for share in (0.003, 0.03, 0.3):
            before, after = np.zeros(2 * first + 66, np.uint8), np.ones(2 * first + 66, np.uint8)
            before[first:last] = rng.random(last - first) < share
            pixels = np.arange(16 * first, 16 * last)
            near = [before[(pixels + step) // 16] for step in (-width, -1, 0, 1, width)]
            expected = np.flatnonzero(np.any(near, axis=0).reshape(-1, 16).any(1)) + first
            found = awake(before, after, width, first, last)
            assert (
                set(expected) <= set(found) <= set(expected) | set(expected + 1) | set(expected - 1)
            )  # by whole vectors
            assert set(np.flatnonzero(after[first:last]) + first) == set(found)
            assert after[:first].all()
            assert after[last:].all()
