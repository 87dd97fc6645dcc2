"""The log of a path: edges that enter the support and edges that leave it, with their times."""

from typing import Any, NamedTuple

import numpy as np

from virolbi._engine.compile import compiled

# A mark, a code of its own, is behind the events of each group of steps. It has the time of the
# group's end. Where a group has several steps, marks of the ends of the others are before it; their
# times are negative.
GROUP = np.int32(-(2**31))


class Log(NamedTuple):
    """Events in order of their groups of steps; within a group they are in no order."""

    times: Any  # time / nu of each event
    events: Any  # int32 codes
    length: Any  # number of events written


@compiled
def encode(axis, k, leaves, grid):
    """Return the code of an event: the number of the edge, or its complement where the edge leaves.

    Horizontal edges (axis 0) have the number of their left pixel; vertical ones (axis 1) that of
    their upper pixel, plus `grid.size`.
    """
    number = k - grid.first + axis * grid.size
    return ~number if leaves else number


@compiled
def decode(event, grid):
    """Return the axis of the edge of an event and its index k in flat arrays."""
    number = event if event >= 0 else ~event
    axis = number // grid.size
    return axis, grid.first + number - axis * grid.size


@compiled
def gain(event):
    """Return 1 for an edge that enters the support and -1 for one that leaves it."""
    return 1 if event >= 0 else -1


@compiled
def copy_array(target, source):
    """Copy the numbers of one array to the start of another."""
    for i in range(len(source)):
        target[i] = source[i]


@compiled
def reserve(log, more):
    """Return the log, moved to larger arrays where it could not hold `more` further events."""
    if log.length + more <= len(log.times):
        return log
    room = log.length + more + len(log.times) // 2
    larger = Log(np.empty(room, log.times.dtype), np.empty(room, np.int32), log.length)
    copy_array(larger.times, log.times[: log.length])
    copy_array(larger.events, log.events[: log.length])
    return larger


@compiled
def extend(log, times, events):
    """Return the log with further events behind those that it holds."""
    log = reserve(log, len(times))
    copy_array(log.times[log.length :], times)
    copy_array(log.events[log.length :], events)
    return Log(log.times, log.events, log.length + len(times))


@compiled
def close_group(log, clock):
    """Return the log with the mark of a group of one step, which ended at `clock`."""
    log = reserve(log, 1)
    log.times[log.length], log.events[log.length] = clock, GROUP
    return Log(log.times, log.events, log.length + 1)


@compiled
def moment_of(times, events, inside, goal):
    """Return a time at which `goal` edges have entered and not left again, counted from `inside`.

    It is in the first step at the end of which there are so many, and infinite if there is none.
    Events are in order of time group by group, but not within a group, where the time is bisected.
    """
    start, early = 0, times.dtype.type(0)
    for stop in range(len(events)):
        if events[stop] != GROUP or times[stop] < 0:
            continue
        mark = stop
        while mark > start and events[mark - 1] == GROUP:
            mark -= 1
        group = slice(start, mark)
        for step in range(mark, stop + 1):
            late = abs(times[step])
            after = inside + _gain_between(times[group], events[group], early, late)
            if after >= goal:
                return _bisect_step(times[group], events[group], inside, goal, early, late)
            inside, early = after, late
        start = stop + 1
    return times.dtype.type(np.inf)


@compiled
def _gain_between(times, events, early, late):
    """Return by how many edges the support grows after `early` and up to `late`."""
    grown = 0
    for e in range(len(events)):
        grown += (early < times[e]) * (times[e] <= late) * gain(events[e])
    return grown


@compiled
def _bisect_step(times, events, inside, goal, early, late):
    """Return a time between the ends of a step by which `goal` edges have entered."""
    chosen = np.empty(len(times), np.bool_)
    for e in range(len(times)):
        chosen[e] = (early < times[e]) & (times[e] <= late)
    return _bisect(times[chosen], events[chosen], inside, goal, early, late)


@compiled
def _bisect(times, events, inside, goal, early, late):
    """Return a time between `early` and `late` by which `goal` edges have entered.

    At `early` they have not. The events are reordered.
    """
    remaining = len(times)
    while True:
        middle = early + (late - early) / 2
        if not early < middle < late:
            return late
        reached, before = inside, 0
        for e in range(remaining):
            # those up to the middle go to the front; the others may move too: no branch to predict
            time, event = times[e], events[e]
            times[e], events[e] = times[before], events[before]
            times[before], events[before] = time, event
            before += time <= middle
            reached += (time <= middle) * gain(event)
        if reached >= goal:
            late, remaining = middle, before
        else:
            early, inside = middle, reached
            times, events, remaining = times[before:], events[before:], remaining - before
