"""How well the sparsity is chosen: python benchmarks/choosing.py folder-of-data [run] [parts ...]

Writes one file of rows for each part to results/choosing, from which tools/update_readme.py makes the tables and the figure of
docs/choosing.md. Every chooser is held against two oracles: the best of the path for each image by itself, and the best one
sparsity for all of them, in hindsight. `run` is the folder of a network trained on CIFAR-10.
"""

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from virolbi import ScaleSpace, smooth
from virolbi._storage import write_atomic
from virolbi.corruptions import corrupt, low_resolution
from virolbi.data import load
from virolbi.evaluation import TRIED_SPARSITIES, View, judge, select_sparsity, subject_from_run
from virolbi.nn import Smooth
from virolbi.scale_space import Online, noise_strength
from virolbi.training import load_run

OUT = Path(__file__).parent.parent / "results" / "choosing"
SPARSITIES = (0.98, 0.96, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
SIGMAS = (5, 10, 15, 25, 35, 50)  # of 255
Row = dict[str, Any]


def denoising(data: Path, run: Path | None) -> Iterator[Row]:
    """PSNR on the sets of the denoising literature: `auto`, the oracle of each image, and one sparsity for all images."""
    for name in ("Set12", "Kodak24"):
        clean = [
            np.asarray(Image.open(file)) / np.float32(255)
            for file in sorted((data / "denoise" / name).glob("*.png"))
        ]
        axis = -1 if clean[0].ndim == 3 else None
        for label, noisy in _noisy(clean):
            scores = np.empty((len(clean), len(SPARSITIES) + 1))
            for index, (image, before) in enumerate(zip(clean, noisy, strict=True)):
                space = ScaleSpace(before, channel_axis=axis)
                results = [
                    space.at("auto").beta,
                    *(space.at(sparsity).beta for sparsity in SPARSITIES),
                ]
                scores[index] = [_psnr(result, image) for result in results]
            raw = np.array(
                [_psnr(before, image) for before, image in zip(noisy, clean, strict=True)]
            )
            oracle, auto, fixed = scores.max(axis=1), scores[:, 0], scores[:, 1:].mean(axis=0)
            yield {
                "set": name, "noise": label, "noisy": _round(raw.mean()), "oracle": _round(oracle.mean()),
                "best one sparsity": SPARSITIES[int(fixed.argmax())], "its PSNR": _round(fixed.max()),
                "auto": _round(auto.mean()), "under the oracle": _round((oracle - auto).mean()),
                "at worst": _round((oracle - auto).max()), "under the noisy image at worst": _round((raw - auto).max()),
            }  # fmt: skip


def _noisy(clean: list[np.ndarray]) -> Iterator[tuple[str, list[np.ndarray]]]:
    rng = np.random.default_rng(0)
    for sigma in SIGMAS:
        yield (
            f"Gaussian {sigma}/255",
            [(x + rng.normal(0, sigma / 255, x.shape)).astype(np.float32) for x in clean],
        )
    yield (
        "impulse .03",
        [
            np.where(rng.random(x.shape) < 0.03, rng.random(x.shape) < 0.5, x).astype(np.float32)
            for x in clean
        ],
    )
    yield "shot 100", [(rng.poisson(100.0 * x) / 100).clip(0, 1).astype(np.float32) for x in clean]


def _psnr(image: np.ndarray, clean: np.ndarray) -> float:
    """In dB, of the image as it would be stored; 60 stands for all that is better."""
    return min(60.0, -10 * np.log10(max(float(np.mean((np.clip(image, 0, 1) - clean) ** 2)), 1e-9)))


def _round(value: Any) -> float:
    return round(float(value), 3)


def classifying(data: Path, run: Path | None) -> Iterator[Row]:
    """Accuracy of one network under every condition: raw, `auto`, every one sparsity, and the oracle of each image."""
    if run is None:
        return
    images, view = load(str(data / "cifar10"), "test", limit=2000), _view(run)
    yield from select_sparsity(view, images).rows()


def stream(data: Path, run: Path | None, length: int = 20_000, parts: int = 20) -> Iterator[Row]:
    """A stream whose noise drifts, jumps and changes its kind: cumulative accuracy of choosers and of every one sparsity."""
    if run is None:
        return
    images, view = load(str(data / "cifar10"), "test"), _view(run)
    rng, batch = np.random.default_rng(0), 100
    choosers: dict[str, Any] = {"auto": "auto", "online": Online()} | {
        f"{s:g}": s for s in TRIED_SPARSITIES
    }
    views = [View(name, view.network, Smooth(chooser)) for name, chooser in choosers.items()]
    right = {name: np.empty(length, bool) for name in choosers}
    shown = np.concatenate(
        [rng.permutation(len(images)) for _ in range(-(-length // len(images)))]
    )[:length]
    segments = []
    for first in range(0, length, batch):
        some = shown[first : first + batch]
        kind, change = _weather(first / length)
        segments.append(kind)
        judged = judge(views, images.pixels[some], images.labels[some], partial(change, seed=first))
        for name, (hits, _) in zip(choosers, judged, strict=True):
            right[name][first : first + batch] = hits
    kinds = np.repeat(segments, batch)
    fixed = [name for name in choosers if name not in ("auto", "online")]
    best = {
        kind: max(fixed, key=lambda name: right[name][kinds == kind].mean())
        for kind in dict.fromkeys(segments)
    }
    ideal = np.concatenate(
        [
            right[best[kind]][first : first + batch]
            for kind, first in zip(segments, range(0, length, batch), strict=True)
        ]
    )
    for end in np.linspace(0, length, parts + 1).astype(int)[1:]:
        yield {
            "images": int(end),
            "noise": segments[(end - 1) // batch],
            "best of each segment": _round(ideal[:end].mean()),
        } | {name: _round(hits[:end].mean()) for name, hits in right.items()}


def _view(run: Path) -> View:
    return subject_from_run(load_run(run), run.name, [0.8]).views[-1]


def _weather(done: float) -> tuple[str, Any]:
    """The noise when this share of the stream is over: its name, and what it does to images in [0, 1] with a seed."""

    def gaussian(sigma: float) -> Any:
        return lambda x, seed: (
            (x + np.random.default_rng(seed).normal(0, sigma, x.shape))
            .clip(0, 1)
            .astype(np.float32)
        )

    def named(name: str, severity: int) -> Any:
        return lambda x, seed: corrupt(x, name, severity, resolution=32, seed=seed)

    drift = (done - 0.1) / 0.3
    if done < 0.1:
        return "clean", lambda x, seed: x
    if done < 0.4:  # drifts up and down again
        return f"drift {int(drift * 6)}", gaussian(0.1 * np.sin(np.pi * drift))
    if done < 0.5:
        return "impulse 5", named("impulse_noise", 5)
    if done < 0.6:
        return "Gaussian .02", gaussian(0.02)
    if done < 0.7:
        return "shot 5", named("shot_noise", 5)
    if done < 0.8:
        return "half size", lambda x, seed: low_resolution(x, factor=2)
    if done < 0.9:
        return "impulse 1", named("impulse_noise", 1)
    return "clean again", lambda x, seed: x


def cost(data: Path, run: Path | None) -> Iterator[Row]:
    """Time of `auto` beside that of smoothing to the same sparsities, in one run, one core."""
    images = load(str(data / "cifar10"), "test", limit=600).pixels / np.float32(255)
    for label, x in (
        ("clean", images),
        *(
            (f"{name} {severity}", corrupt(images, name, severity))
            for name in ("gaussian_noise", "impulse_noise")
            for severity in (1, 5)
        ),
    ):
        reached = ScaleSpace(x, channel_axis=1).finish("auto").sparsity
        took = {"auto": [], "known": [], "estimate": []}
        for _ in range(9):
            for name, call in (
                ("auto", lambda: smooth(x, "auto", channel_axis=1)),
                ("known", lambda: smooth(x, reached, channel_axis=1)),
                ("estimate", lambda: noise_strength(x, channel_axis=1)),
            ):
                began = time.perf_counter()
                call()
                took[name].append(time.perf_counter() - began)
        auto, known, estimate = (
            1e6 * float(np.median(values)) / len(x) for values in took.values()
        )
        yield {
            "images": f"CIFAR-10, {label}", "mean sparsity": _round(reached.mean()), "microseconds": round(auto, 1),
            "to the same sparsity": round(known, 1), "more": _round(auto / known - 1), "of it the estimate": round(estimate, 1),
        }  # fmt: skip


PARTS = {part.__name__: part for part in (denoising, classifying, stream, cost)}


def main(data: Path, run: Path | None, names: list[str]) -> None:
    """Write the rows of some parts, or of all."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or PARTS:
        began = time.perf_counter()
        rows = list(PARTS[name](data, run))
        if rows:
            write_atomic(
                OUT / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()
            )
        sys.stderr.write(f"{name}: {len(rows)} rows in {time.perf_counter() - began:.0f} s\n")


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if argument not in PARTS]
    if not 1 <= len(folders) <= 2:
        raise SystemExit(__doc__)
    main(
        Path(folders[0]),
        Path(folders[1]) if len(folders) > 1 else None,
        [a for a in sys.argv[1:] if a in PARTS],
    )
