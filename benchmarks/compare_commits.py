"""Compare the smoother of a commit with that of the working tree: every output bit, and the speed.

    python benchmarks/compare_commits.py REVISION

Both run on this machine, in turn, each in processes of its own, on the same images: grey and
colour, single and in batches, both forms, nu = 1 and 0.1, uint8, float32 and float64, "auto",
regions, paths that are asked several times, and gradients. Bits differ between processors, so
digests are compared and not kept. Only public names that both have are used.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
FORMS: dict[str, dict[str, Any]] = {
    "robust": {},
    "published": {"delta": np.inf, "joint": False, "output": "regions"},
    "robust, nu = .1": {"nu": 0.1},
    "published, nu = .1": {"delta": np.inf, "joint": False, "output": "regions", "nu": 0.1},
    "merged regions": {"output": "regions", "min_area": 3},
    "separate channels": {"joint": False},
}
ROUNDS = 7  # of timing, in turn


def images() -> np.ndarray:
    """Return 48 colour images of 32x32 pixels, uint8, (N, H, W, 3), from two photographs."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    tiles = []
    for name in ("china.jpg", "flower.jpg"):
        small = np.asarray(Image.fromarray(load_sample_image(name)).reduce(3))
        tiles += [
            small[i : i + 32, j : j + 32] for i in range(0, 128, 32) for j in range(0, 192, 32)
        ]
    return np.stack(tiles)


def outputs() -> Iterator[tuple[str, np.ndarray]]:
    """Yield outputs of the smoother with their names."""
    from virolbi import lbi, smooth

    tiles, rng = images(), np.random.default_rng(0)
    noise = rng.normal(0, 0.1, tiles.shape).astype(np.float32)
    batches = {
        "uint8": tiles,
        "float32": tiles / np.float32(255),
        "float64": tiles / 255.0,
        "noisy": np.clip(tiles / np.float32(255) + noise, 0, 1),
    }
    for kind, batch in batches.items():
        for name, form in FORMS.items():
            for sparsity in (0.95, 0.8, 0.4, 0.0, 1.0):
                label = f"{kind}, {name}, sparsity {sparsity}"
                yield label, smooth(batch[:16], sparsity, channel_axis=-1, **form)
            if form.get("output") != "regions":
                yield f"{kind}, {name}, auto", smooth(batch[:16], "auto", channel_axis=-1, **form)
            yield f"{kind}, {name}, grey", smooth(batch[:16, ..., 1], 0.7, **form)
    yield from path_outputs(batches["noisy"][:12], rng)
    yield from layer_outputs(batches["noisy"][:8])
    yield "iteration", lbi(batches["float64"][:3, ..., 0], kappa=10.0, sparsity=0.8).beta


def path_outputs(batch: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what paths answer that are asked several times."""
    from virolbi import ScaleSpace

    for name in ("robust", "published", "robust, nu = .1"):
        form = {key: value for key, value in FORMS[name].items() if key != "output"}
        space = ScaleSpace(batch, channel_axis=-1, **form)
        for sparsity in (0.9, 0.5, 0.8, 0.3):
            scale, label = space.at(sparsity), f"path, {name}, {sparsity}"
            for output in ("beta", "regions", "support", "time", "labels"):
                yield f"{label}, {output}", getattr(scale, output)
            gradient = rng.standard_normal(batch.shape).astype(batch.dtype)
            yield f"{label}, gradient", scale.pullback(gradient)
            yield f"{label}, gradient of regions", scale.pullback(gradient, "regions")
        yield f"path, {name}, time", space.at(time=7.5).beta


def layer_outputs(batch: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield outputs and gradients of the PyTorch layer."""
    import torch

    from virolbi.nn import Smooth

    layers = [Smooth(0.8), Smooth("auto"), Smooth(0.6, delta=np.inf, joint=False, output="regions")]
    for layer in layers:
        pixels = torch.from_numpy(batch.transpose(0, 3, 1, 2).copy()).requires_grad_()
        smoothed = layer(pixels)
        smoothed.square().sum().backward()
        yield f"layer, {layer}", smoothed.detach().numpy()
        yield f"layer, {layer}, gradient", pixels.grad.numpy()


def seconds() -> dict[str, float]:
    """Return the best of three times of some calls."""
    from virolbi import smooth

    batch = np.tile(images().transpose(0, 3, 1, 2) / np.float32(255), (6, 1, 1, 1))
    large = np.tile(batch[0], (1, 12, 12))
    calls = {
        "published form, 32 pixels": lambda: smooth(
            batch, 0.6, channel_axis=1, **FORMS["published"]
        ),
        "robust form, 32 pixels": lambda: smooth(batch, 0.8, channel_axis=1),
        "robust form, nu = .1": lambda: smooth(batch[:64], 0.8, channel_axis=1, nu=0.1),
        "robust form, 384 pixels": lambda: smooth(large, 0.8, channel_axis=0),
    }
    result = {}
    for name, call in calls.items():
        call()
        times = []
        for _ in range(3):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        result[name] = min(times)
    return result


def run(source: Path, what: str) -> dict[str, Any]:
    """Run this file for one source tree in a new process, on one core."""
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, what, "--child"]
    child = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(child.stdout)  # type: ignore[no-any-return]


def main(revision: str) -> None:
    """Print the outputs that differ, and the ratio of times."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", revision, "src"], cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "x"], cwd=folder, input=archive.stdout, check=True)
        sources = Path(folder) / "src", ROOT / "src"
        before, after = (run(source, "digests") for source in sources)
        differing = [name for name in before if before[name] != after.get(name)]
        print(
            f"{len(before)} outputs compared with {revision}, {len(differing)} differ", *differing
        )
        ratios: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            old, new = (run(source, "seconds") for source in sources)
            for name in old:
                ratios.setdefault(name, []).append(old[name] / new[name])
        for name, values in ratios.items():
            low, middle, high = min(values), statistics.median(values), max(values)
            print(f"{name}: {middle:.3f} times as fast as before ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.child:
        main(options.revision)
    elif options.revision == "seconds":
        json.dump(seconds(), sys.stdout)
    else:
        found = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in outputs()}
        json.dump(found, sys.stdout)
