"""Measure how much the settings of the smoother matter.

Usage: python benchmarks/sensitivity.py DATA [RUN ...] [--parts NAME,...]

DATA is a folder with the data sets cifar10 and denoise; each RUN is the folder of a network trained
on CIFAR-10. Each part writes one file of rows to results/sensitivity, from which
tools/update_readme.py makes the tables and the heat maps of docs/sensitivity.md:

- denoising: PSNR over sparsity, for pairs of nu, delta and step. The images are crops of 96 pixels
  of Set12 and Kodak24, which no default was chosen on, under three noises with three seeds.
- accuracy: accuracy of the networks over sparsity, for pairs of nu and delta, on 500 test images of
  CIFAR-10, clean and under Gaussian noise of severity 3. Nothing is trained or chosen here.
- kappa: the published iteration at a finite kappa beside the limit path, on planes of 32 pixels,
  at one sparsity and at the best of each.
- stable: from the rows of the first two, the range of each setting that costs little.
"""

import math
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from denoising import NOISES, photographs, stored
from scores import psnr
from virolbi import ScaleSpace, lbi
from virolbi.corruptions import corrupt
from virolbi.data import load
from virolbi.results import read_lines, wilson_interval, write_lines
from virolbi.scale_space import Form
from virolbi.training import load_run

OUT = Path(__file__).parent.parent / "results" / "sensitivity"
SETS = {"Set12": 4, "Kodak24": 5}  # images of each
SIDE, SEEDS = 96, 3
KINDS = ("Gaussian 25", "shot 50", "impulses 0.05")
SPARSITIES = (0.98, 0.96, 0.94, 0.92, 0.9, 0.87, 0.84, 0.8, 0.75, 0.7, 0.6, 0.5)
NUS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
DELTAS = (0.03, 0.05, 0.1, 0.2, math.inf)
STEPS = (0.02, 0.05, 0.1, 0.2)
TESTED = 500
TEST_SPARSITIES = (0.95, 0.9, 0.85, 0.75, 0.6)
TEST_NUS = (0.3, 1.0, 3.0)
TEST_DELTAS = (0.05, 0.1, math.inf)
KAPPAS = (0.5, 1, 2, 5, 10, 20, 50, 200)
AT = 0.9  # sparsity at which the iteration is compared with its limit
TOLERANCE = {"denoising": 0.3, "accuracy": 0.02}  # dB, share of the images
Row = dict[str, Any]


def settings() -> list[tuple[float, float, float]]:
    """Return nu, delta and step of every path: each pair with the third at its default."""
    pairs = {
        *product(NUS, DELTAS, (Form.step,)),
        *product(NUS, (Form.delta,), STEPS),
        *product((Form.nu,), DELTAS, STEPS),
    }
    return sorted(pairs)


def denoising(data: Path, runs: Sequence[Path]) -> Iterator[Row]:
    """Measure the PSNR for every noise and path, over the sparsities and for `auto`."""
    images = [
        clean[(len(clean) - SIDE) // 2 :, (clean.shape[1] - SIDE) // 2 :][:SIDE, :SIDE]
        for name, number in SETS.items()
        for _, clean in photographs(data / "denoise" / name, number)
    ]
    for noise in KINDS:
        noisy = [
            np.stack([stored(NOISES[noise](clean, np.random.default_rng(seed))) for seed in seeds])
            for seeds, clean in (
                (range(100 * n, 100 * n + SEEDS), clean) for n, clean in enumerate(images)
            )
        ]
        for nu, delta, step in settings():
            scores = np.array(
                [
                    _scores(np.float32(before), clean, nu=nu, delta=delta, step=step)
                    for before, clean in zip(noisy, images, strict=True)
                ]
            )
            yield {
                "noise": noise,
                "nu": nu,
                "delta": None if delta == math.inf else delta,
                "step": step,
                "seeds": SEEDS,
                "count": len(images) * SEEDS,
                "auto": _round(scores[:, 0].mean()),
                "sparsity": SPARSITIES,
                "psnr": _round(scores[:, 1:].mean(axis=0)),
                # half the 95 % interval of the difference from the best sparsity, over images
                "half": _round(_half_interval(scores[:, 1:])),
            }


def _scores(noisy: np.ndarray, clean: np.ndarray, **form: float) -> list[float]:
    """Return the PSNR, the mean over seeds: first for `auto`, then at each sparsity."""
    space = ScaleSpace(noisy, channel_axis=-1 if clean.ndim == 3 else None, **form)
    return [
        float(np.mean([psnr(image, clean) for image in space.at(sparsity).beta]))
        for sparsity in ("auto", *SPARSITIES)
    ]


def _half_interval(scores: np.ndarray) -> np.ndarray:
    """Return half the 95 % interval of each column's difference from the best column."""
    below = scores - scores[:, [scores.mean(axis=0).argmax()]]
    return 1.96 * below.std(axis=0, ddof=1) / math.sqrt(len(scores))


def _round(values: Any) -> Any:
    """Round a number, or those of an array, for a row."""
    return np.round(values, 3).tolist()


def accuracy(data: Path, runs: Sequence[Path]) -> Iterator[Row]:
    """Measure the accuracy of networks behind the smoother in every form."""
    images = load(str(data / "cifar10"), "test", limit=TESTED)
    clean = images.intensities()
    conditions = {"clean": clean, "Gaussian 3": corrupt(clean, "gaussian_noise", 3, resolution=32)}
    networks = {folder.name: load_run(folder).model.eval() for folder in runs}

    def judge(shown: np.ndarray, model: torch.nn.Module) -> float:
        with torch.inference_mode():
            answers = model(torch.tensor(shown)).argmax(dim=1).numpy()
        return float((answers == images.labels).mean())

    for condition, shown in conditions.items():
        raw = {name: judge(shown, model) for name, model in networks.items()}
        for nu, delta in product(TEST_NUS, TEST_DELTAS):
            space = ScaleSpace(shown, nu=nu, delta=delta, channel_axis=1)
            smoothed = [space.at(sparsity).beta for sparsity in ("auto", *TEST_SPARSITIES)]
            for name, model in networks.items():
                auto, *shares = (judge(x, model) for x in smoothed)
                low, high = wilson_interval(round(max(shares) * TESTED), TESTED)
                yield {
                    "network": name,
                    "seed": 0,
                    "noise": condition,
                    "nu": nu,
                    "delta": None if delta == math.inf else delta,
                    "count": TESTED,
                    "raw": raw[name],
                    "auto": auto,
                    "sparsity": TEST_SPARSITIES,
                    "accuracy": shares,
                    "interval of the best": [_round(low), _round(high)],
                }


def kappa(data: Path, runs: Sequence[Path]) -> Iterator[Row]:
    """Compare the published iteration with its limit, at one sparsity and at the best of each."""
    clean = np.stack([x[112:144, 112:144] for _, x in photographs(data / "denoise" / "Set12", 6)])
    noisy = stored(NOISES["Gaussian 25"](clean, np.random.default_rng(0)))
    space = ScaleSpace(noisy, nu=1, delta=math.inf, step=0.005)
    limits = {sparsity: space.at(sparsity) for sparsity in SPARSITIES}
    best = max(_mean_psnr(scale.beta, clean) for scale in limits.values())
    for value in KAPPAS:
        reached, reached_by = None, {}
        for sparsity in SPARSITIES:  # falling, as along the path
            reached = lbi(noisy, kappa=value, nu=1, sparsity=sparsity, resume=reached)
            reached_by[sparsity] = reached
        here, limit = reached_by[AT], limits[AT]
        gains = [
            psnr(a, c) - psnr(b, c) for a, b, c in zip(here.beta, limit.beta, clean, strict=True)
        ]
        scores = {s: _mean_psnr(moment.beta, clean) for s, moment in reached_by.items()}
        highest = max(scores, key=lambda sparsity: scores[sparsity])
        yield {
            "kappa": value,
            "planes": len(clean),
            "iterations": round(float(here.iterations.mean())),
            "edges that agree": _round(np.mean(here.support == limit.support)),
            "rms of the difference": round(
                float(np.sqrt(np.mean((here.beta - limit.beta) ** 2))), 4
            ),
            "PSNR": _round(scores[AT]),
            "over the limit": _round(np.mean(gains)),
            "plus or minus": _round(1.96 * np.std(gains, ddof=1) / math.sqrt(len(gains))),
            "best sparsity": highest,
            "best over the best of the limit": _round(scores[highest] - best),
        }


def _mean_psnr(images: np.ndarray, clean: np.ndarray) -> float:
    """Return the mean PSNR of images."""
    return float(np.mean([psnr(a, c) for a, c in zip(images, clean, strict=True)]))


def stable(data: Path, runs: Sequence[Path]) -> Iterator[Row]:
    """Yield the range of each setting that costs little, with the others at their defaults."""
    for part, score in (("denoising", "psnr"), ("accuracy", "accuracy")):
        rows = read_lines(OUT / f"{part}.jsonl", must_exist=True)
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            groups.setdefault((row.get("network", "PSNR"), row["noise"]), []).append(row)
        for (name, noise), group in groups.items():
            for chosen in (score, "auto"):
                title = {"judged by": name, "noise": noise}
                title["moment"] = "auto" if chosen == "auto" else "best sparsity"
                for knob, profile in _profiles(group, chosen):
                    yield title | _range(knob, profile, TOLERANCE[part])


def _profiles(rows: list[Row], score: str) -> Iterator[tuple[str, dict[float, float]]]:
    """Yield the name of each setting and the score for its values, the best one over sparsities.

    The other settings are at their defaults. For the sparsity itself, the score is that of the
    defaults.
    """
    defaults = {"nu": Form.nu, "delta": Form.delta, "step": Form.step}
    (at_default,) = (row for row in rows if all(row.get(k, v) == v for k, v in defaults.items()))
    if score != "auto":
        yield "sparsity", dict(zip(at_default["sparsity"], at_default[score], strict=True))
    for knob in (name for name in defaults if name in rows[0]):
        others = {k: v for k, v in defaults.items() if k != knob}
        profile = {
            math.inf if row[knob] is None else row[knob]: float(np.max(row[score]))
            for row in rows
            if all(row.get(k, v) == v for k, v in others.items())
        }
        yield knob, dict(sorted(profile.items()))


def _range(knob: str, profile: dict[float, float], tolerance: float) -> Row:
    """Return the values around the best one whose score is at most `tolerance` below it."""
    values = sorted(profile)
    best = max(values, key=lambda value: profile[value])
    good = [profile[value] >= profile[best] - tolerance for value in values]
    first = last = values.index(best)
    while first > 0 and good[first - 1]:
        first -= 1
    while last < len(values) - 1 and good[last + 1]:
        last += 1
    default = getattr(Form, knob, None)
    return {
        "setting": knob,
        "tried": f"{values[0]:g} to {values[-1]:g}",
        "best": f"{best:g}",
        "score": _round(profile[best]),
        f"within {TOLERANCE['denoising']} dB, or {TOLERANCE['accuracy']:.0%}": (
            f"{values[first]:g} to {values[last]:g}"
        ),
        "default loses": "" if default is None else _round(profile[best] - profile[default]),
    }


PARTS = {part.__name__: part for part in (denoising, accuracy, kappa, stable)}


def main(data: Path, runs: Sequence[Path], names: Sequence[str]) -> None:
    """Write the rows of the named parts."""
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in names:
        start = time.perf_counter()
        rows = list(PARTS[name](data, runs))
        write_lines(OUT / f"{name}.jsonl", rows)
        sys.stderr.write(f"{name}: {len(rows)} rows in {time.perf_counter() - start:.0f} s\n")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    main(options.data, options.runs, options.parts.split(","))
