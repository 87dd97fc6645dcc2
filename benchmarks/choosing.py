"""Measure how well the sparsity is chosen.

Usage: python benchmarks/choosing.py DATA [RUN] [PART ...]

DATA is a folder of data sets, RUN the folder of a network trained on CIFAR-10. Each part writes one
file of rows to results/choosing, from which tools/update_readme.py makes the tables and the figure
of docs/denoising.md. Every chooser is compared with two oracles, both in hindsight: the best point
of the path for each image separately, and the best single sparsity for all images.
"""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scores import psnr
from virolbi import ScaleSpace, smooth
from virolbi.corruptions import corrupt, low_resolution
from virolbi.data import load
from virolbi.evaluation import TRIED_SPARSITIES, View, judge, select_sparsity
from virolbi.nn import Smooth
from virolbi.results import write_lines
from virolbi.scale_space import Online, noise_strength
from virolbi.training import load_run

OUT = Path(__file__).parent.parent / "results" / "choosing"
SPARSITIES = (0.98, 0.96, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
SIGMAS = (5, 10, 15, 25, 35, 50)  # of 255
BATCH = 100  # images of the stream that share a noise
Row = dict[str, Any]
Change = Callable[[np.ndarray, int], np.ndarray]  # of images in [0, 1], with a seed


def denoising(data: Path, run: Path | None) -> Iterator[Row]:
    """Measure the PSNR on the sets of the denoising literature.

    Compared are `auto`, the oracle of each image, and one sparsity for all images.
    """
    for name in ("Set12", "Kodak24"):
        clean = [
            np.asarray(Image.open(file)) / np.float32(255)
            for file in sorted((data / "denoise" / name).glob("*.png"))
        ]
        for label, noisy in _noisy(clean):
            scores = np.stack(
                [_scores(before, image) for before, image in zip(noisy, clean, strict=True)]
            )
            raw = np.array(
                [psnr(before, image) for before, image in zip(noisy, clean, strict=True)]
            )
            oracle, auto, fixed = scores.max(axis=1), scores[:, 0], scores[:, 1:].mean(axis=0)
            yield {
                "set": name,
                "noise": label,
                "noisy": _round(raw.mean()),
                "oracle": _round(oracle.mean()),
                "best one sparsity": SPARSITIES[int(fixed.argmax())],
                "its PSNR": _round(fixed.max()),
                "auto": _round(auto.mean()),
                "under the oracle": _round((oracle - auto).mean()),
                "at worst": _round((oracle - auto).max()),
                "under the noisy image at worst": _round((raw - auto).max()),
            }


def _scores(noisy: np.ndarray, clean: np.ndarray) -> list[float]:
    """Return the PSNR of a smoothed image: first for `auto`, then for each of SPARSITIES."""
    space = ScaleSpace(noisy, channel_axis=-1 if clean.ndim == 3 else None)
    return [psnr(space.at(sparsity).beta, clean) for sparsity in ("auto", *SPARSITIES)]


def _noisy(clean: list[np.ndarray]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield names of noises, and the images with each of them."""
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


def _round(value: Any) -> float:
    """Round a number for a row."""
    return round(float(value), 3)


def classifying(data: Path, run: Path | None) -> Iterator[Row]:
    """Measure the accuracy of one network under every condition.

    Compared are raw images, `auto`, one sparsity for all images, and the oracle of each image.
    """
    if run is None:
        return
    images, trained = load(str(data / "cifar10"), "test", limit=2000), load_run(run)
    yield from select_sparsity(trained.model, images, form=trained.recipe.form).rows()


def stream(data: Path, run: Path | None, length: int = 20_000, parts: int = 20) -> Iterator[Row]:
    """Measure cumulative accuracy on a stream whose noise drifts, jumps and changes its type.

    Compared are the choosers, and each single sparsity.
    """
    if run is None:
        return
    images, network = load(str(data / "cifar10"), "test"), load_run(run).model
    rng = np.random.default_rng(0)
    choosers: dict[str, Any] = {"auto": "auto", "online": Online()} | {
        f"{sparsity:g}": sparsity for sparsity in TRIED_SPARSITIES
    }
    views = [View(name, network, Smooth(chooser)) for name, chooser in choosers.items()]
    correct = {name: np.empty(length, bool) for name in choosers}
    rounds = -(-length // len(images))
    order = np.concatenate([rng.permutation(len(images)) for _ in range(rounds)])[:length]
    noises = []  # of each batch
    for first in range(0, length, BATCH):
        indices = order[first : first + BATCH]
        noise, change = _noise_at(first / length)
        noises.append(noise)
        judged = judge(
            views, images.pixels[indices], images.labels[indices], partial(change, seed=first)
        )
        for name, result in zip(choosers, judged, strict=True):
            correct[name][first : first + BATCH] = result.correct
    fixed = {name: hits for name, hits in correct.items() if name not in ("auto", "online")}
    ideal = _best_of_each_noise(fixed, noises)
    for end in np.linspace(0, length, parts + 1).astype(int)[1:]:
        yield {
            "images": int(end),
            "noise": noises[(end - 1) // BATCH],
            "best of each segment": _round(ideal[:end].mean()),
        } | {name: _round(hits[:end].mean()) for name, hits in correct.items()}


def _best_of_each_noise(correct: dict[str, np.ndarray], noises: list[str]) -> np.ndarray:
    """Return which images are correct with the most accurate chooser of each noise."""
    noise_of_image = np.repeat(noises, BATCH)
    best = {
        noise: max(correct, key=lambda name: correct[name][noise_of_image == noise].mean())
        for noise in dict.fromkeys(noises)
    }
    return np.concatenate(
        [
            correct[best[noise]][index * BATCH : (index + 1) * BATCH]
            for index, noise in enumerate(noises)
        ]
    )


def _noise_at(share: float) -> tuple[str, Change]:
    """Return the noise when a share of the stream is over: its name, and the function."""

    def clean(images: np.ndarray, seed: int) -> np.ndarray:
        return images

    def gaussian(sigma: float) -> Change:
        return lambda images, seed: (
            (images + np.random.default_rng(seed).normal(0, sigma, images.shape))
            .clip(0, 1)
            .astype(np.float32)
        )

    def corruption(name: str, severity: int) -> Change:
        return lambda images, seed: corrupt(images, name, severity, resolution=32, seed=seed)

    drift = (share - 0.1) / 0.3
    if share < 0.1:
        return "clean", clean
    if share < 0.4:  # drifts up and down again
        return f"drift {int(drift * 6)}", gaussian(0.1 * np.sin(np.pi * drift))
    if share < 0.5:
        return "impulse 5", corruption("impulse_noise", 5)
    if share < 0.6:
        return "Gaussian .02", gaussian(0.02)
    if share < 0.7:
        return "shot 5", corruption("shot_noise", 5)
    if share < 0.8:
        return "half size", lambda images, seed: low_resolution(images, factor=2)
    if share < 0.9:
        return "impulse 1", corruption("impulse_noise", 1)
    return "clean again", clean


def cost(data: Path, run: Path | None) -> Iterator[Row]:
    """Measure the time of `auto`, and that of smoothing to the same sparsities, on one core."""
    images = load(str(data / "cifar10"), "test", limit=600).intensities()
    conditions = {"clean": images} | {
        f"{name} {severity}": corrupt(images, name, severity)
        for name in ("gaussian_noise", "impulse_noise")
        for severity in (1, 5)
    }
    for label, x in conditions.items():
        reached = ScaleSpace(x, channel_axis=1).finish("auto").sparsity
        calls: dict[str, Callable[[], Any]] = {
            "auto": lambda: smooth(x, "auto", channel_axis=1),
            "known": lambda: smooth(x, reached, channel_axis=1),
            "estimate": lambda: noise_strength(x, channel_axis=1),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(9):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
        auto, known, estimate = (
            1e6 * float(np.median(values)) / len(x) for values in times.values()
        )
        yield {
            "images": f"CIFAR-10, {label}",
            "mean sparsity": _round(reached.mean()),
            "microseconds": round(auto, 1),
            "to the same sparsity": round(known, 1),
            "more": _round(auto / known - 1),
            "of it the estimate": round(estimate, 1),
        }


PARTS = {part.__name__: part for part in (denoising, classifying, stream, cost)}


def main(data: Path, run: Path | None, names: list[str]) -> None:
    """Write the rows of the named parts, or of all parts if there are no names."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in names or PARTS:
        start = time.perf_counter()
        rows = list(PARTS[name](data, run))
        if rows:
            write_lines(OUT / f"{name}.jsonl", rows)
        sys.stderr.write(f"{name}: {len(rows)} rows in {time.perf_counter() - start:.0f} s\n")


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if argument not in PARTS]
    if not 1 <= len(folders) <= 2:
        raise SystemExit(__doc__)
    main(
        Path(folders[0]),
        Path(folders[1]) if len(folders) > 1 else None,
        [argument for argument in sys.argv[1:] if argument in PARTS],
    )
