"""Measure what smoothing a data set costs, and simulate data sets and clusters of any size.

Usage: python benchmarks/scale.py DATA [PART ...]

DATA is a folder with the data sets cifar10, imagenet400 and denoise. Each part writes one file of
rows to results/scale, from which tools/update_readme.py makes the tables of docs/scale.md:

- cost: decode, smooth, encode and write an image on one core, at three sizes.
- listing: what the head does for every image before the first shard: time and memory.
- alone: 400 photographs in one process without Ray; the start of Ray, and its time for a shard.
- cluster: the same photographs by `virolbi smooth-dataset` with Ray on two cores.
- killed: the same with a worker that is killed in the middle, and with the command itself killed
  and called again. Runs with the same digest wrote the same shards, byte for byte.
- validation: the simulation of these runs, with the costs of the run without Ray.
- simulation, shards, storage: what the costs come to for 1.3 million to a billion images on 16 to
  1,024 cores, with slow cores and lost nodes; by the size of the shards; by the storage.

The first five are measured, with OMP_NUM_THREADS=1: two in core-seconds, three in seconds, on a
quiet machine. The last four only read their rows.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet
from PIL import Image

from cluster_simulation import Cluster, Job, Outcome, simulate
from virolbi import smooth
from virolbi._storage import write_atomic
from virolbi.data import decode_picture

# The parts of `smooth_dataset` that run in the head and in a worker; Ray only carries them.
from virolbi.deploy.cluster import _checked_settings, _plan_shards, _write_shard
from virolbi.results import read_lines, write_lines

OUT = Path(__file__).parent.parent / "results" / "scale"
SPARSITY = 0.9
COSTS = ("decode", "smooth", "encode", "write")
SIDE = 224
SHARD = 20  # images
Row = dict[str, Any]
Disturb = Callable[[subprocess.Popen], bool]  # returns whether to call the command again

# What the simulation assumes. Prices and lifetimes are not measured.
PRICE = 0.04  # dollars for a core-hour
NODE = Cluster(
    cores=16,
    cores_per_node=16,
    bandwidth=2e9,
    slow_share=0.05,
    slowdown=3,
    lifetime=24 * 3600,  # such as nodes that the provider may take back
    replacement=300,
)
SIZES = {"1.3 million": 1_300_000, "14 million": 14_000_000, "1 billion": 1_000_000_000}
CORES = (16, 64, 256, 1024)
PER_SHARD = (100, 1_000, 10_000)
LARGEST = 1_000_000  # shards that are simulated
BANDWIDTHS = (0.2e9, 0.5e9, 2e9, 10e9)


def photographs(data: Path) -> list[bytes]:
    """Return the files of the photographs of imagenet400, JPEG."""
    (file,) = (data / "imagenet400" / "data").glob("*.parquet")
    return [entry["bytes"] for entry in pyarrow.parquet.read_table(file)["image"].to_pylist()]


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    """Return the file of an image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, quality=90)
    return file.getvalue()


def cost(data: Path) -> Iterator[Row]:
    """Measure the parts of an image's cost on one core."""
    (small,) = (data / "cifar10" / "data").glob("test-*.parquet")
    table = pyarrow.parquet.read_table(small).slice(0, 200)
    thumbnails = [
        encoded(np.asarray(Image.open(io.BytesIO(entry["bytes"]))), "PNG")
        for entry in table[table.column_names[0]].to_pylist()
    ]
    crops = [np.asarray(Image.open(f)) for f in sorted((data / "denoise/Kodak24").glob("*.png"))]
    wall = np.concatenate(
        [np.concatenate((crops * 2)[8 * row : 8 * row + 8], axis=1) for row in range(6)]
    )
    _one_image(thumbnails[0], None)  # compiles
    for title, files, size in (
        ("32x32, PNG", thumbnails, None),
        (f"{SIDE}x{SIDE}, from JPEG of 256 and more", photographs(data)[:60], SIDE),
        ("4000x3000, JPEG", [encoded(wall, "JPEG")], None),
    ):
        parts, made = zip(*(_one_image(file, size) for file in files), strict=True)
        seconds = [*np.mean(parts, axis=0), _writing(list(made)) / len(made)]
        yield {
            "image": title,
            "images": len(files),
            **{name: round(1000 * value, 3) for name, value in zip(COSTS, seconds, strict=True)},
            "milliseconds": round(1000 * sum(seconds), 3),
            "images per core-hour": round(3600 / sum(seconds)),
            "bytes read": round(float(np.mean([len(file) for file in files]))),
            "bytes written": round(float(np.mean([len(image) for image in made]))),
        }


def _one_image(file: bytes, size: int | None) -> tuple[list[float], bytes]:
    """Return the core-seconds to decode, smooth and encode an image, and the encoded one."""
    stamps = [time.process_time()]
    pixels = decode_picture(io.BytesIO(file), size, None).picture.pixels
    stamps.append(time.process_time())
    smoothed = smooth(pixels, SPARSITY, channel_axis=-1)
    stamps.append(time.process_time())
    made = encoded(smoothed, "PNG")
    stamps.append(time.process_time())
    return np.diff(stamps).tolist(), made


def _writing(images: list[bytes]) -> float:
    """Return the seconds to write images as one shard, to disk."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table({"image": images}), buffer)
        write_atomic(Path(folder) / "shard.parquet", buffer.getvalue())
        return time.perf_counter() - start


def listing(data: Path, files: int = 20_000) -> Iterator[Row]:
    """Measure the time and the memory of the head for each image that it lists."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        for index in range(files):
            path = source / f"n{index % 10:08}" / f"n{index % 10:08}_{index:08}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        settings = _checked_settings(SPARSITY, 1.0, "robust", SIDE, None, "stop")
        plan: Callable[[], Any] = lambda: [  # noqa: E731  # as `smooth_dataset` and Ray take it
            json.dumps(shard) for shard in list(_plan_shards(source, source.parent, 1000, settings))
        ]
        start = time.process_time()
        plan()
        seconds = time.process_time() - start
        tracemalloc.start()
        plan()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    yield {
        "files": files,
        "microseconds a file": round(1e6 * seconds / files, 1),
        "bytes a file": round(peak / files),
    }


def alone(data: Path) -> Iterator[Row]:
    """Measure one process without Ray, and what Ray takes to start and for a shard."""
    with tempfile.TemporaryDirectory() as name:
        folder = _fill(Path(name), data)
        seconds = _in_this_process(folder / "in", folder / "out", SHARD)
        yield _row("one process, without Ray", SHARD, seconds, folder / "out")
        for title, source in (
            ("2 images in 2 shards", "two"),
            ("200 images of 8x8 in 200 shards", "tiny"),
        ):
            seconds = _command(folder, source, 1)
            yield _row(title, 1, seconds, folder / f"{source}-out")


def cluster(data: Path) -> Iterator[Row]:
    """Measure two workers, with small and with large shards; and small shards without Ray."""
    with tempfile.TemporaryDirectory() as name:
        folder = _fill(Path(name), data)
        seconds = _in_this_process(folder / "tiny", folder / "tiny-out", 1)
        yield _row("200 images of 8x8, without Ray", 1, seconds, folder / "tiny-out")
        yield from _disturbed(
            folder, (("two workers", SHARD, None), ("two workers", 5 * SHARD, None))
        )


def killed(data: Path) -> Iterator[Row]:
    """Kill one of two workers in the middle, and the command with all its processes."""
    with tempfile.TemporaryDirectory() as name:
        yield from _disturbed(
            _fill(Path(name), data),
            (
                ("two workers, one killed", SHARD, _kill_worker),
                ("two workers, command killed and called again", SHARD, _kill_command),
            ),
        )


def _disturbed(folder: Path, runs: Iterable[tuple[str, int, Disturb | None]]) -> Iterator[Row]:
    """Yield one row for each run on the photographs, which may be disturbed."""
    for title, size, disturb in runs:
        shutil.rmtree(folder / "out", ignore_errors=True)
        seconds = _command(folder, "in", size, disturb)
        yield _row(title, size, seconds, folder / "out")


def _in_this_process(source: Path, out: Path, size: int) -> float:
    """Return the seconds to make all shards without Ray."""
    settings = _checked_settings(SPARSITY, 1.0, "robust", SIDE, None, "stop")
    start = time.perf_counter()
    for shard in _plan_shards(source, out, size, settings):
        _write_shard(shard)
    return time.perf_counter() - start


def _fill(folder: Path, data: Path) -> Path:
    """Write photographs to the folder "in", and very small images to "two" and "tiny"."""
    dot = encoded(np.zeros((8, 8, 3), np.uint8), "PNG")
    for part, files in (("in", photographs(data)), ("two", 2 * [dot]), ("tiny", 200 * [dot])):
        for index, file in enumerate(files):
            path = (
                folder
                / part
                / f"class{index % 2}"
                / f"{index:04}.{'jpg' if part == 'in' else 'png'}"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file)
    return folder


def _row(title: str, size: int, seconds: float, out: Path) -> Row:
    """Return the row of a run: its images, each once, and the digest of its shards."""
    paths = [
        entry["path"]
        for shard in sorted(out.rglob("*.parquet"))
        for entry in pyarrow.parquet.read_table(shard)["image"].to_pylist()
    ]
    digests = _digests(out)
    return {
        "run": title,
        "seconds": round(seconds, 2),
        "per shard": size,
        "shards": len(digests),
        "images": len(paths),
        "different images": len(set(paths)),
        "digest": hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:12],
    }


def _command(folder: Path, source: str, size: int, disturb: Disturb | None = None) -> float:
    """Return the seconds of `virolbi smooth-dataset` on two cores, which may be disturbed."""
    out = folder / ("out" if source == "in" else f"{source}-out")
    command = [sys.executable, "-m", "virolbi", "smooth-dataset", folder / source, out]
    command += ["--sparsity", str(SPARSITY), "--size", str(SIDE), "--rows-per-shard", str(size)]
    start = time.perf_counter()
    while True:
        process = subprocess.Popen(
            [str(part) for part in command],
            env=os.environ | {"RAY_worker_niceness": "0"},  # others run on the machine, too
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if disturb is not None:
            while process.poll() is None and len(list(out.rglob("*.parquet"))) < 400 // size // 3:
                time.sleep(0.05)
            again = disturb(process)
            disturb = None
            if again:
                process.communicate()
                continue
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(errors.decode())
        return time.perf_counter() - start


def _kill_worker(process: subprocess.Popen) -> bool:
    """Kill a worker that makes a shard; return that the command need not be called again."""
    while True:
        for child in psutil.Process(process.pid).children(recursive=True):
            if child.name().startswith("ray::") and "_make_shard" in " ".join(child.cmdline()):
                child.kill()
                return False


def _kill_command(process: subprocess.Popen) -> bool:
    """Kill the command and all processes that it started; return that it must be called again."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    for child in children:
        if child.is_running():
            child.kill()
    return True


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every shard of a folder by its name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


def _read(name: str) -> list[Row]:
    """Return the rows of a part that has been measured."""
    return read_lines(OUT / f"{name}.jsonl", must_exist=True)


def _measured() -> tuple[float, float, float]:
    """Return the seconds of an image without Ray, of the start, and of the head for a shard."""
    plain, two, tiny = _read("alone")
    start = two["seconds"]
    # two workers share the work that a shard takes without Ray
    work = _read("cluster")[0]["seconds"] / 2
    dispatch = max(tiny["seconds"] - start - work, 0) / tiny["shards"]
    return plain["seconds"] / plain["images"], start, dispatch


def validation(data: Path) -> Iterator[Row]:
    """Simulate the undisturbed runs with two workers."""
    seconds, start, dispatch = _measured()
    for row in _read("cluster"):
        if row["run"] == "two workers":
            job = Job(row["images"], row["per shard"], seconds)
            simulated = simulate(job, Cluster(2, start=start, dispatch=dispatch)).seconds
            yield {
                "shards": row["shards"],
                "measured": row["seconds"],
                "simulated": round(simulated, 2),
                "deviation": f"{simulated / row['seconds'] - 1:+.1%}",
            }


def _scenario(images: int, cores: int, per_shard: int, **changes: Any) -> Outcome:
    """Return the simulation of a data set on a cluster, from what was measured."""
    _, start, dispatch = _measured()
    middle, (listed,) = _read("cost")[1], _read("listing")
    moved = middle["bytes read"] + middle["bytes written"]
    job = Job(images, per_shard, middle["milliseconds"] / 1000, moved)
    start += 1e-6 * listed["microseconds a file"] * images
    return simulate(job, replace(NODE, cores=cores, start=start, dispatch=dispatch, **changes))


def _summary(outcome: Outcome, cores: int) -> Row:
    """Return the columns that all tables share."""
    total = cores * outcome.seconds

    def share(*uses: str) -> str:
        return f"{sum(outcome.uses[use] for use in uses) / total:.1%}"

    # what most core-hours go to
    queue = max(("head", "storage"), key=lambda name: outcome.busy[name])
    parts = {
        "cores": outcome.uses["useful"] + outcome.uses["slow"],
        "start": outcome.uses["start"],
        queue: outcome.uses["waiting"],
        "size of shards": outcome.uses["idle"],
        "nodes": outcome.uses["redone"] + outcome.uses["down"],
    }
    return {
        "hours": float(f"{outcome.seconds / 3600:.3g}"),
        "core-hours": round(total / 3600),
        "dollars": round(PRICE * total / 3600),
        "useful": share("useful"),
        "slow cores": share("slow"),
        "lost nodes": share("redone", "down"),
        "waiting": share("waiting"),
        "start": share("start"),
        "idle": share("idle"),
        "bottleneck": max(parts, key=lambda name: parts[name]),
    }


def simulation(data: Path) -> Iterator[Row]:
    """Simulate every size of data set and cluster at the default shard."""
    (listed,) = _read("listing")
    for title, images in SIZES.items():
        for cores in CORES:
            summary = _summary(_scenario(images, cores, 1000), cores)
            memory = round(listed["bytes a file"] * images / 1e9, 1)
            yield {"images": title, "cores": cores} | summary | {"head, GB": memory}


def shards(data: Path) -> Iterator[Row]:
    """Simulate shards of several sizes on the largest cluster."""
    for title, images in SIZES.items():
        for per_shard in PER_SHARD:
            if images / per_shard <= LARGEST:
                summary = _summary(_scenario(images, CORES[-1], per_shard), CORES[-1])
                yield {"images": title, "cores": CORES[-1], "per shard": per_shard} | summary


def storage(data: Path) -> Iterator[Row]:
    """Simulate storages of several speeds, for 14 million images."""
    for cores in CORES[-2:]:
        for bandwidth in BANDWIDTHS:
            outcome = _scenario(SIZES["14 million"], cores, 1000, bandwidth=bandwidth)
            yield {"GB/s": bandwidth / 1e9, "cores": cores} | _summary(outcome, cores)


PARTS = {
    part.__name__: part
    for part in (cost, listing, alone, cluster, killed, validation, simulation, shards, storage)
}


def main(data: Path, names: list[str]) -> None:
    """Write the rows of the named parts, or of all parts if there are no names."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or PARTS:
        start = time.perf_counter()
        rows = list(PARTS[name](data))
        write_lines(OUT / f"{name}.jsonl", rows)
        sys.stderr.write(f"{name}: {len(rows)} rows in {time.perf_counter() - start:.0f} s\n")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= PARTS.keys():
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
