"""Discrete-event simulation of a cluster that smooths a data set shard by shard."""

import heapq
import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Job:
    """Images to smooth, in shards that one core takes whole.

    Parameters
    ----------
    images : int
        Number of images.
    per_shard : int
        Images in a shard; the last one can have fewer.
    seconds : float
        Time of a core for an image: decode, smooth, write.
    bytes : float, optional
        Bytes that an image reads from and writes to the storage.
    """

    images: int
    per_shard: int
    seconds: float
    bytes: float = 0.0

    @property
    def shards(self) -> int:
        """Number of shards.

        Returns
        -------
        int
            The number.
        """
        return math.ceil(self.images / self.per_shard)


@dataclass(frozen=True)
class Cluster:
    """Machines that take the next shard whenever a core is free.

    Parameters
    ----------
    cores : int
        Number of cores.
    cores_per_node : int, optional
        Cores that are lost together.
    start : float, optional
        Seconds before the first shard: listing of the images, start of the workers.
    dispatch : float, optional
        Seconds that the head takes for a shard, one shard after the other.
    bandwidth : float, optional
        Bytes that the storage moves in a second, for one shard after the other.
    slow_share : float, optional
        Share of the cores that are slow.
    slowdown : float, optional
        Time of a slow core relative to another one, >= 1.
    lifetime : float, optional
        Mean of the exponential lifetime of a node, in seconds.
    replacement : float, optional
        Seconds until a lost node is replaced.
    """

    cores: int
    cores_per_node: int = 16
    start: float = 0.0
    dispatch: float = 0.0
    bandwidth: float = math.inf
    slow_share: float = 0.0
    slowdown: float = 1.0
    lifetime: float = math.inf
    replacement: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """Result of a simulation. The core-seconds add up to `cores * seconds`.

    Parameters
    ----------
    seconds : float
        Time from the start to the last image.
    images : int
        Images in the shards that were finished.
    losses : int
        Shards that were lost with their node and made again.
    uses : dict of str to float
        Core-seconds by their use: "start"; "useful", the work at normal speed; "slow", what slow
        cores took beyond that; "waiting" for the head or the storage; "redone", on shards that were
        lost; "down", until nodes were replaced; and "idle", without a shard to take.
    busy : dict of str to float
        Share of the time in which "start", "head", "storage" and "cores" worked; the largest is
        the bottleneck.
    """

    seconds: float
    images: int
    losses: int
    uses: dict[str, float]
    busy: dict[str, float]


def simulate(job: Job, cluster: Cluster, seed: int = 0) -> Outcome:
    """Return how a cluster does a job.

    Parameters
    ----------
    job : Job
        Images to smooth.
    cluster : Cluster
        Machines to smooth them on.
    seed : int, optional
        Seed of the slow cores and of the lifetimes.

    Returns
    -------
    Outcome
        Time, core-seconds by their use, and what was busy.
    """
    rng = np.random.default_rng(seed)
    slowness = np.ones(cluster.cores)
    slowness[: round(cluster.slow_share * cluster.cores)] = cluster.slowdown
    slowness = rng.permutation(slowness).tolist()
    nodes = math.ceil(cluster.cores / cluster.cores_per_node)
    lost_at = (cluster.start + rng.exponential(cluster.lifetime, nodes)).tolist()
    up_at = [cluster.start] * nodes
    full, rest = divmod(job.images, job.per_shard)
    pending = [rest] * bool(rest) + [job.per_shard] * full  # taken from the end
    events = [(cluster.start, core, 0) for core in range(cluster.cores)]  # time, core, lost images
    idle: list[int] = []
    down: list[tuple[float, float]] = []
    head_free = storage_free = end = cluster.start
    waiting = slow = redone = 0.0
    finished = losses = 0
    while events:
        time, core, lost = heapq.heappop(events)
        node = core // cluster.cores_per_node
        while lost_at[node] <= time:
            up_at[node] = lost_at[node] + cluster.replacement
            lost_at[node] = up_at[node] + rng.exponential(cluster.lifetime)
        if lost:
            pending.append(lost)
            if idle:
                heapq.heappush(events, (time, idle.pop(), 0))
        if time < up_at[node]:
            down.append((time, up_at[node]))
            heapq.heappush(events, (up_at[node], core, 0))
        elif not pending:
            idle.append(core)
        else:
            images = pending.pop()
            sent = max(time, head_free) + cluster.dispatch
            stored = max(sent, storage_free) + images * job.bytes / cluster.bandwidth
            done = stored + images * job.seconds * slowness[core]
            # a core that is lost while it waits leaves the queue
            head_free = max(head_free, min(sent, lost_at[node]))
            storage_free = max(storage_free, min(stored, lost_at[node]))
            if lost_at[node] < done:
                losses += 1
                redone += lost_at[node] - time
                heapq.heappush(events, (lost_at[node], core, images))
            else:
                finished += images
                waiting += stored - time
                slow += images * job.seconds * (slowness[core] - 1)
                end = max(end, done)
                heapq.heappush(events, (done, core, 0))
    uses = {
        "start": cluster.cores * cluster.start,
        "useful": finished * job.seconds,
        "slow": slow,
        "waiting": waiting,
        "redone": redone,
        "down": sum(min(until, end) - min(since, end) for since, until in down),
    }
    uses["idle"] = cluster.cores * end - sum(uses.values())
    busy = {
        "start": cluster.start / end,
        "head": job.shards * cluster.dispatch / end,
        "storage": job.images * job.bytes / cluster.bandwidth / end,
        "cores": (uses["useful"] + slow) / (cluster.cores * end),
    }
    return Outcome(end, finished, losses, uses, busy)
