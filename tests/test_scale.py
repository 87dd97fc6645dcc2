"""The simulation of a cluster, in the limits where its time is known."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

from cluster_simulation import Cluster, Job, simulate

JOB = Job(images=10_000, per_shard=100, seconds=0.03, bytes=1e5)


@pytest.mark.parametrize("cores", [1, 7, 16, 100, 1000])
def test_without_slow_cores_and_losses_cores_take_their_rounds_of_shards(cores):
    outcome = simulate(JOB, Cluster(cores, start=20))
    assert outcome.seconds == pytest.approx(20 + math.ceil(100 / cores) * 100 * 0.03)
    assert outcome.uses["useful"] == pytest.approx(10_000 * 0.03)
    assert outcome.busy["cores"] == pytest.approx(300 / cores / outcome.seconds)
    assert outcome.uses["slow"] == outcome.uses["redone"] == outcome.uses["down"] == 0


def test_the_last_shard_can_be_smaller():
    job = Job(images=201, per_shard=100, seconds=1)
    assert job.shards == 3
    assert simulate(job, Cluster(2)).seconds == pytest.approx(101)


def test_one_core_does_one_thing_after_the_other():
    outcome = simulate(JOB, Cluster(1, start=20, dispatch=0.5, bandwidth=1e8))
    assert outcome.seconds == pytest.approx(20 + 10_000 * (0.03 + 1e-3) + 100 * 0.5)
    assert outcome.uses["idle"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("changes", "slowest", "most"),
    [
        ({"bandwidth": 1e6}, "storage", 10_000 * 1e5 / 1e6),
        ({"dispatch": 2.0}, "head", 100 * 2.0),
        ({"start": 500.0}, "start", 500.0),
    ],
)
def test_with_many_cores_the_slowest_of_the_others_sets_the_time(changes, slowest, most):
    outcome = simulate(JOB, Cluster(1000, **changes))
    assert most < outcome.seconds <= most + 100 * 0.03 + 1e-9
    assert max(outcome.busy, key=outcome.busy.get) == slowest


@pytest.mark.parametrize("slowdown", [2, 5])
def test_slow_cores_do_their_part_of_small_shards_and_delay_large_ones(slowdown):
    cluster = Cluster(16, slow_share=0.25, slowdown=slowdown)
    speed = 12 + 4 / slowdown
    small = simulate(replace(JOB, per_shard=1), cluster)
    assert small.seconds == pytest.approx(10_000 * 0.03 / speed, rel=0.01)
    large = simulate(replace(JOB, per_shard=625), cluster)  # one for each core
    assert large.seconds == pytest.approx(625 * 0.03 * slowdown)


@pytest.mark.parametrize("lifetime", [30, 100, 1000])
def test_a_shard_that_can_be_lost_takes_the_expected_time_of_restarts(lifetime):
    job = Job(images=20_000, per_shard=1, seconds=20)
    outcome = simulate(job, Cluster(1, lifetime=lifetime, replacement=7))
    expected = (lifetime + 7) * (math.exp(20 / lifetime) - 1)
    assert outcome.seconds / 20_000 == pytest.approx(expected, rel=0.03)
    assert outcome.losses / 20_000 == pytest.approx(math.exp(20 / lifetime) - 1, rel=0.1)
    assert outcome.uses["idle"] == pytest.approx(0, abs=1e-3 * outcome.seconds)


def test_the_cores_of_a_node_are_lost_together():
    cluster = Cluster(64, lifetime=50, replacement=10)
    lumps, singles = (
        [simulate(JOB, replace(cluster, cores_per_node=size), seed).losses for seed in range(40)]
        for size in (16, 1)
    )
    # as many losses on average, in lumps of sixteen: their number spreads four times as much
    assert np.mean(lumps) == pytest.approx(np.mean(singles), rel=0.35)
    assert np.std(lumps) > 2 * np.std(singles)


@given(
    images=st.integers(1, 500),
    per_shard=st.integers(1, 60),
    cores=st.integers(1, 40),
    dispatch=st.floats(0, 1),
    slow_share=st.floats(0, 1),
    lifetime=st.sampled_from([15.0, 60.0, math.inf]),
    replacement=st.floats(0, 30),
    seed=st.integers(0, 100),
)
def test_every_image_is_made_once_and_every_core_second_has_a_use(
    images, per_shard, cores, dispatch, slow_share, lifetime, replacement, seed
):
    job = Job(images, per_shard, seconds=0.1, bytes=10)
    cluster = Cluster(
        cores,
        cores_per_node=4,
        start=3,
        dispatch=dispatch,
        bandwidth=1e3,
        slow_share=slow_share,
        slowdown=2,
        lifetime=lifetime,
        replacement=replacement,
    )
    outcome = simulate(job, cluster, seed)
    assert outcome.images == images
    assert all(seconds >= -1e-6 for seconds in outcome.uses.values())
    assert sum(outcome.uses.values()) == pytest.approx(cores * outcome.seconds)
    assert all(share <= 1 + 1e-9 for share in outcome.busy.values())
    ideal = simulate(job, Cluster(cores))
    assert outcome.seconds >= 3 + ideal.uses["useful"] / cores - 1e-6
    assert simulate(job, cluster, seed) == outcome
