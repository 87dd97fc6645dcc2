import numpy as np
import pytest

from virolbi import PAPER, ScaleSpace, smooth
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


@pytest.mark.parametrize("preset", [{}, PAPER], ids=["robust", "paper"])
def test_sweeping_in_segments_gives_the_same_result_as_sweeping_whole_images(
    photographs, preset, monkeypatch
):
    """Large images are swept in segments, eight steps in one go, with equal results bit by bit."""
    images = photographs[:4] / np.float32(255)
    results, original = [], memory.grid_of
    for cached, segment in ((0, None), (0, 10**6), (10**6, None)):

        def grid_of(*shape, cached=cached, segment=segment):
            monkeypatch.setattr(memory, "CACHED", cached)
            grid = original(*shape)
            return grid if segment is None else grid._replace(segment=segment)

        monkeypatch.setattr(path, "grid_of", grid_of)
        monkeypatch.setattr(solver, "grid_of", grid_of)
        results.append(smooth(images, 0.8, nu=0.1, channel_axis=-1, **preset))
    in_segments, whole, step_by_step = results
    np.testing.assert_array_equal(in_segments, whole)
    # the moment is searched among eight steps instead of within one
    assert np.abs(in_segments - step_by_step).mean() < 2e-3
