"""Measure `auto` on photographs, noise by noise: its estimate, and what comes out.

Usage: python benchmarks/denoising.py DATA [ROWS] [--every N]

DATA is a folder of data sets with a folder `denoise`. One row for each image and noise is appended
to ROWS (results/choosing/noise-rows.jsonl by default); images that have their rows are skipped, so
a run that was stopped goes on where it was. The table, one row for each set and noise, is written
to results/choosing/noise.jsonl. --every N measures only every Nth image, of which a square of 256
pixels in the middle is used. The constants of `auto` were fitted on other images (imagenet400).
"""

import io
import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from virolbi import ScaleSpace, noise_strength
from virolbi._storage import write_atomic

OUT = Path(__file__).parent.parent / "results" / "choosing"
SETS = ("Set12", "Kodak24", "BSD34", "CBSD34")
SIDE = 256
STRENGTHS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 2.0, 3.0)  # of the oracle
BARS = (0.0, 0.3, 0.5)  # shares of the picture that are black bars
Row = dict[str, Any]
Noise = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def gaussian(sigma: float) -> Noise:
    """Return Gaussian noise of a standard deviation of 255."""
    return lambda x, rng: x + rng.normal(0, sigma / 255, x.shape)


def shot(rate: float) -> Noise:
    """Return shot noise of so many events at intensity 1."""
    return lambda x, rng: rng.poisson(rate * x) / rate


def speckle(sigma: float) -> Noise:
    """Return noise whose standard deviation is a share of the intensity."""
    return lambda x, rng: x + x * rng.normal(0, sigma, x.shape)


def impulses(share: float) -> Noise:
    """Return a change of a share of all numbers to 0 or 1."""
    return lambda x, rng: np.where(rng.random(x.shape) < share, rng.random(x.shape) < 0.5, x)


def both(first: Noise, then: Noise) -> Noise:
    """Return two noises, the second on what a file of 8 bits holds of the first."""
    return lambda x, rng: then(stored(first(x, rng)), rng)


def jpeg(quality: int) -> Noise:
    """Return the compression of images as JPEG."""

    def change(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(np.rint(255 * x).astype(np.uint8)).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file)) / 255

    return change


NOISES: dict[str, Noise] = {
    "clean": lambda x, rng: x,
    **{f"Gaussian {sigma}": gaussian(sigma) for sigma in (2, 5, 10, 15, 25, 35, 50)},
    **{f"shot {rate}": shot(rate) for rate in (200, 100, 50, 20, 10)},
    **{f"speckle {sigma}": speckle(sigma) for sigma in (0.1, 0.2, 0.4)},
    **{f"impulses {share}": impulses(share) for share in (0.01, 0.03, 0.05, 0.1)},
    "Gaussian 10, impulses .02": both(gaussian(10), impulses(0.02)),
    "shot 100, Gaussian 5": both(shot(100), gaussian(5)),
    **{f"Gaussian 15, JPEG {q}": both(gaussian(15), jpeg(q)) for q in (90, 70, 50, 30, 10)},
    "Gaussian 25, half size": gaussian(25),
}


def stored(x: np.ndarray) -> np.ndarray:
    """Return an image as a file of 8 bits holds it."""
    return np.rint(255 * np.clip(x, 0, 1)) / 255


def half_size(x: np.ndarray) -> np.ndarray:
    """Return an image at half its size, as Pillow makes it."""
    image = Image.fromarray(np.rint(255 * x).astype(np.uint8))
    return np.asarray(image.resize((image.width // 2, image.height // 2))) / 255


def measured(clean: np.ndarray, noise: str, bars: float, seed: int) -> Row:
    """Return what `auto` and its peers do with one noisy image."""
    noisy = stored(NOISES[noise](clean, np.random.default_rng(seed)))
    if noise.endswith("half size"):
        clean, noisy = half_size(clean), half_size(noisy)
    true = np.sqrt(np.mean((noisy - clean) ** 2))
    clean, noisy = clean.copy(), noisy.astype(np.float32)
    for image in (clean, noisy):
        edge = round(bars / 2 * len(image))
        image[:edge] = 0
        image[len(image) - edge :] = 0
    axis = -1 if clean.ndim == 3 else None
    seen = float(noise_strength(noisy, channel_axis=axis))
    space = ScaleSpace(noisy, channel_axis=axis)
    scores = {"noisy": psnr(noisy, clean), "auto": psnr(space.at("auto").beta, clean)}
    if true > 0:
        tried = [lambda _, s=s: s * true for s in STRENGTHS]
        scores["oracle"] = max(*scores.values(), *(psnr(space.at(t).beta, clean) for t in tried))
        scores["bilateral"] = psnr(cv2.bilateralFilter(noisy, 9, 3.2 * seen, 3), clean)
    return {"true": round(float(true), 5), "seen": round(seen, 5)} | {
        name: round(score, 3) for name, score in scores.items()
    }


def psnr(image: np.ndarray, clean: np.ndarray) -> float:
    """Return the PSNR in dB of the image as it would be stored, at most 60."""
    return min(60.0, -10 * np.log10(max(float(np.mean((np.clip(image, 0, 1) - clean) ** 2)), 1e-9)))


def images(folder: Path, every: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of images and their middle squares, in [0, 1]."""
    for file in sorted(folder.glob("*.png"))[::every]:
        x = np.asarray(Image.open(file)) / 255
        top, left = ((size - min(size, SIDE)) // 2 for size in x.shape[:2])
        yield file.stem, x[top : top + SIDE, left : left + SIDE]


def table(rows: list[Row]) -> Iterator[Row]:
    """Yield one row for each set, noise and share of bars."""
    keys = dict.fromkeys((row["set"], row["noise"], row["bars"]) for row in rows)
    for key in keys:
        of = [row for row in rows if (row["set"], row["noise"], row["bars"]) == key]
        value = {name: np.array([row[name] for row in of]) for name in of[0] if name not in KEYS}
        line: Row = dict(zip(("set", "noise", "bars"), key, strict=True)) | {"images": len(of)}
        if "oracle" not in value:
            line["auto"] = value["auto"].mean()
            line["under 45 dB"] = (value["auto"] < 45).mean()
        else:
            line["seen / true"] = np.median(value["seen"] / value["true"])
            line |= {name: value[name].mean() for name in ("noisy", "bilateral", "oracle", "auto")}
            line["under the oracle"] = (value["oracle"] - value["auto"]).mean()
            line["at worst"] = (value["oracle"] - value["auto"]).max()
            line["under the noisy image at worst"] = (value["noisy"] - value["auto"]).max()
        yield {k: round(float(v), 3) if isinstance(v, np.floating) else v for k, v in line.items()}


KEYS = ("set", "image", "noise", "bars")


def main(data: Path, rows_file: Path, every: int) -> None:
    """Append the missing rows, and write the table."""
    rows = [json.loads(r) for r in rows_file.read_text().splitlines()] if rows_file.exists() else []
    done = {tuple(row[key] for key in KEYS) for row in rows}
    with rows_file.open("a") as file:
        for bars in BARS:
            for name in SETS:
                for index, (image, clean) in enumerate(images(data / "denoise" / name, every)):
                    for seed, noise in enumerate(NOISES):
                        key = (name, image, noise, bars)
                        if key in done or (bars and seed % 3 != 2):  # bars: every third noise
                            continue
                        row = dict(zip(KEYS, key, strict=True))
                        rows.append(row | measured(clean, noise, bars, 1000 * index + seed))
                        file.write(json.dumps(rows[-1]) + "\n")
                        file.flush()
    lines = "".join(json.dumps(line) + "\n" for line in table(rows))
    write_atomic(OUT / "noise.jsonl", lines.encode())
    sys.stderr.write(f"{len(rows)} rows\n")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("rows", type=Path, nargs="?", default=OUT / "noise-rows.jsonl")
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    main(given.data, given.rows, given.every)
