"""Large images: the same path as that of small ones, on any number of threads."""

import numpy as np
import pytest

from virolbi import PAPER, ScaleSpace
from virolbi._engine import bands, memory, threads
from virolbi._engine.memory import grid_of
from virolbi._engine.relaxation import count_segments, fronts_of, steps_in, visits

FORMS = pytest.mark.parametrize(
    "form",
    [{}, {"nu": 0.1}, {**PAPER, "channel_axis": -1}],
    ids=["robust", "nu = .1", "published"],
)


@pytest.fixture
def image(photographs):
    """A mosaic of 192x128 pixels, float64."""
    rows = photographs[:24].reshape(6, 4, 32, 32, 3) / 255
    return np.concatenate(np.concatenate(rows, axis=1), axis=1).transpose(1, 0, 2)


def follow(image, cores, monkeypatch, **form):
    """Return the support, the time and both outputs at two moments of one path."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    settings = {"channel_axis": -1} | {key: form[key] for key in form if key != "output"}
    space = ScaleSpace(image, **settings)
    scales = [space.at(sparsity) for sparsity in (0.9, 0.7)]
    return [array for scale in scales for array in (scale.support, scale.time, scale.beta)]


@FORMS
def test_the_size_of_an_image_does_not_change_its_path(image, form, monkeypatch):
    small = follow(image, 1, monkeypatch, **form)
    monkeypatch.setattr(memory, "CACHED", 0)  # now the image counts as large
    assert grid_of(3, *image.shape[:2]).depth > 1
    for before, now in zip(small, follow(image, 1, monkeypatch, **form), strict=True):
        np.testing.assert_allclose(now, before, atol=1e-9)


@FORMS
@pytest.mark.parametrize("cores", [2, 3, 5])
def test_the_number_of_threads_does_not_change_a_large_image(image, form, cores, monkeypatch):
    monkeypatch.setattr(memory, "CACHED", 0)
    parts = []
    original = bands._phases

    def phases(grid, sweeps):
        for phase in original(grid, sweeps):
            parts.append(len(phase))
            yield phase

    monkeypatch.setattr(bands, "_phases", phases)
    alone = follow(image, 1, monkeypatch, **form)
    assert set(parts) == {1}
    for before, now in zip(alone, follow(image, cores, monkeypatch, **form), strict=True):
        np.testing.assert_array_equal(now, before)
    assert max(parts) > 1


@pytest.mark.parametrize("cores", [1, 2, 3, 7])
@pytest.mark.parametrize("sweeps", [1, 3, 8])
def test_parts_visit_every_segment_once_and_never_before_its_neighbours(cores, sweeps, monkeypatch):
    """A sweep needs the one before it in the next segment, and the time step of the one before."""
    monkeypatch.setattr(bands, "allowed_threads", lambda: cores)
    monkeypatch.setattr(memory, "CACHED", 0)
    grid = grid_of(1, 300, 200)
    segments = count_segments(grid)
    swept, stepped = np.zeros(segments, int), np.zeros(segments, int)
    for phase in bands._phases(grid, sweeps):
        before = swept.copy(), stepped.copy()
        for part in phase:
            seen = before[0].copy(), before[1].copy()  # what this part knows of the others
            for front in range(*fronts_of(part, sweeps)):
                for sweep in range(sweeps):
                    segment = front - sweep
                    near = range(max(segment - 1, 0), min(segment + 2, segments))
                    if steps_in(part, sweep, segment):
                        assert seen[1][segment] == sweep
                        assert all(seen[0][other] >= sweep for other in near if other >= segment)
                        seen[1][segment] = stepped[segment] = sweep + 1
                    if visits(part, sweep, segment):
                        assert seen[0][segment] == sweep
                        assert all(sweep <= seen[0][other] <= sweep + 1 for other in near)
                        assert all(
                            seen[1][other] == sweep + 1 for other in near if other == segment
                        )
                        assert all(seen[1][other] > sweep for other in near if other < segment)
                        seen[0][segment] = swept[segment] = sweep + 1
    assert (swept == sweeps).all()
    assert (stepped == sweeps).all()


def test_progress_rises_to_the_end(image, monkeypatch):
    monkeypatch.setattr(memory, "CACHED", 0)
    fractions = []
    ScaleSpace(image, channel_axis=-1).finish(0.7, progress=fractions.append)
    assert len(fractions) > 3
    assert (np.diff(fractions) >= 0).all()
    assert fractions[-1] == 1


def test_an_exception_while_progress_is_reported_stops_a_large_image(image, monkeypatch):
    monkeypatch.setattr(memory, "CACHED", 0)
    monkeypatch.setattr(threads.WORKSPACE, "_blocks", {0: np.empty(1, np.uint8)})

    def stop(fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ScaleSpace(image, channel_axis=-1).finish(0.7, progress=stop)
    assert threads.WORKSPACE._blocks == {}
