import numpy as np

from virolbi import ScaleSpace, smooth
from virolbi._engine import memory
from virolbi.scale_space import path, solver


def test_reused_scratch_memory_does_not_change_results(photographs, monkeypatch):
    """Scratch memory holds anything, and had any size before; a path that is kept has its own."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # each thread has its own scratch memory
    images, aligned = photographs[:6, :31, :31] / np.float32(255), memory.aligned
    alone = [smooth(image, 0.8, channel_axis=-1) for image in images]
    outliers = ScaleSpace(images, channel_axis=-1, delta=0.05).at(0.9)
    gradient = outliers.pullback(images)

    def aligned_and_filled(*arguments, **settings):
        numbers = aligned(*arguments, **settings)
        numbers[...] = np.resize([1e30, 2.0, -5.0, 1e-3, 7.0], numbers.shape)
        return numbers

    for module in (memory, path, solver):
        monkeypatch.setattr(module, "aligned", aligned_and_filled)
    kept = ScaleSpace(images, channel_axis=-1)
    first = kept.at(0.95).beta
    for image, expected in zip(images, alone, strict=True):
        np.testing.assert_array_equal(smooth(image, 0.8, channel_axis=-1), expected)
    smooth(np.tile(images[0], (4, 4, 1)), 0.9, channel_axis=-1)
    np.testing.assert_array_equal(kept.at(0.8).beta, alone)
    np.testing.assert_array_equal(kept.at(0.95).beta, first)
    np.testing.assert_array_equal(outliers.pullback(images), gradient)
