"""The event log: codes of edges, room for more events, and moments read from it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virolbi._engine.events import (
    GROUP,
    Log,
    close_group,
    decode,
    encode,
    extend,
    gain,
    moment_of,
    reserve,
)
from virolbi._engine.memory import grid_of

SHAPES = [(1, 1), (1, 9), (9, 1), (7, 16), (17, 33), (40, 3)]


def all_events(grid):
    """Yield the axis, the index in flat arrays and the direction of every possible event."""
    for axis in (0, 1):
        for k in range(grid.first, grid.first + grid.size):
            for leaves in (False, True):
                yield axis, k, leaves


@pytest.mark.parametrize("shape", SHAPES)
def test_decode_returns_the_edge_that_was_encoded(shape):
    grid = grid_of(1, *shape)
    for axis, k, leaves in all_events(grid):
        code = encode(axis, k, leaves, grid)
        assert decode(code, grid) == (axis, k)
        assert gain(code) == (-1 if leaves else 1)
        assert np.int32(code) == code


@pytest.mark.parametrize("shape", SHAPES)
def test_every_event_has_a_code_of_its_own_and_none_is_that_of_a_group(shape):
    grid = grid_of(3, *shape)
    codes = [encode(*event, grid) for event in all_events(grid)]
    assert len(set(codes)) == len(codes)
    assert GROUP not in codes


def test_no_edge_of_the_largest_image_has_the_code_of_a_group():
    """Images have fewer than 2**30 pixels, see `Layout.of`."""
    grid = grid_of(1, 2**30 - 1, 1)
    last = grid.first + 2**30 - 2
    entering, leaving = encode(1, last, False, grid), encode(1, last, True, grid)
    assert GROUP < leaving < 0 <= entering <= np.iinfo(np.int32).max
    assert decode(entering, grid) == decode(leaving, grid) == (1, last)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("more", [0, 1, 3, 4, 1000])
def test_reserve_keeps_the_events_and_makes_room_for_more(dtype, more):
    times, events = np.arange(8, dtype=dtype) / 8, np.arange(8, dtype=np.int32) - 4
    log = reserve(Log(times, events, 5), more)
    assert log.length == 5
    assert len(log.times) == len(log.events) >= 5 + more
    assert (log.times.dtype, log.events.dtype) == (dtype, np.int32)
    np.testing.assert_array_equal(log.times[:5], times[:5])
    np.testing.assert_array_equal(log.events[:5], events[:5])
    if more <= 3:  # there was room already
        assert np.shares_memory(log.times, times)
        assert np.shares_memory(log.events, events)


def test_extend_and_close_group_add_events_behind_those_of_the_log():
    log = Log(np.empty(0, np.float32), np.empty(0, np.int32), 0)
    expected = []
    for group in range(1, 30):
        times = np.linspace(group - 1, group, group, dtype=np.float32)
        events = np.arange(group, dtype=np.int32) - group // 2
        log = close_group(extend(log, times, events), np.float32(group))
        expected += [*zip(times, events, strict=True), (group, GROUP)]
    assert log.length == len(expected)
    recorded = zip(log.times[: log.length], log.events[: log.length], strict=True)
    assert list(recorded) == expected


@st.composite
def event_logs(draw):
    """Times and events of steps of random length, with ties and with edges that leave again.

    They are returned step by step, and again in groups of several steps.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ticks = draw(st.sampled_from([1, 4, 1000]))  # few in a step: many events at one time
    leaving = draw(st.sampled_from([0.0, 0.3, 0.6]))  # fraction of the edges
    dtype, depth = draw(st.sampled_from([np.float32, np.float64])), draw(st.integers(1, 3))
    steps, early = [], 0.0
    for _ in range(depth * draw(st.integers(0, 3))):
        late, size = early + rng.choice([0.25, 1.0, 3.0]), rng.integers(0, 12)
        leaves, edges = rng.random(size) < leaving, rng.integers(0, 100, size)
        # edges leave soon after the start of a step
        tick = rng.integers(1, ticks + 1, size) - leaves / 2
        times = early + (late - early) * tick / ticks
        steps.append((times, np.where(leaves, ~edges, edges), late))
        early = late
    single = [(*times, late) for times, _, late in steps]
    codes = [(*events, GROUP) for _, events, _ in steps]
    grouped_times, grouped_codes = [], []
    for first in range(0, len(steps), depth):
        group = steps[first : first + depth]
        times, events, ends = (list(part) for part in zip(*group, strict=True))
        order = rng.permutation(sum(len(part) for part in times))
        grouped_times += [*np.concatenate(times)[order], *(-end for end in ends[:-1]), ends[-1]]
        grouped_codes += [*np.concatenate(events)[order], *[GROUP] * depth]
    step_by_step = np.array(sum(single, ()), dtype), np.array(sum(codes, ()), np.int32)
    return step_by_step, (np.array(grouped_times, dtype), np.array(grouped_codes, np.int32))


def search(times, events, inside, goal):
    """Return the times at which the support grows to `goal` edges, all of one step.

    It is the first step with that many edges at its end; infinity if there is none.
    """
    start = 0
    for stop in np.flatnonzero(events == GROUP):
        moments = np.unique(times[start:stop])
        gains = np.where(events[start:stop] >= 0, 1, -1)
        happened = times[start:stop] <= moments[:, None]
        counts = inside + np.concatenate([[0], (gains * happened).sum(axis=1)])
        if counts[-1] >= goal:
            return moments[(counts[:-1] < goal) & (counts[1:] >= goal)]
        inside, start = counts[-1], stop + 1
    return np.array([np.inf])


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(event_logs(), st.integers(0, 5), st.integers(1, 30))
def test_moment_of_agrees_with_a_search_through_all_times(logs, inside, missing):
    (times, events), grouped = logs
    moments = search(times, events, inside, inside + missing)
    moment = moment_of(times, events, inside, inside + missing)
    assert moment in moments
    assert moment_of(*grouped, inside, inside + missing) == moment
    if not ((events < 0) & (events != GROUP)).any():
        assert len(moments) == 1  # without edges that leave, the goal is reached once


def test_moment_of_does_not_change_the_log():
    times = np.array([0.75, 0.5, 0.25, 1.0], np.float32)
    events = np.array([3, 1, ~2, GROUP], np.int32)
    copies = times.copy(), events.copy()
    assert moment_of(times, events, 1, 2) == 0.75
    np.testing.assert_array_equal(times, copies[0])
    np.testing.assert_array_equal(events, copies[1])
