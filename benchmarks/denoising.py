"""Measure `auto` and `denoise` on photographs and textures, noise by noise.

Usage: python benchmarks/denoising.py DATA [--images N] [--weights FILE] [--only NAME] [--tables]

DATA is a folder of data sets with the folders `denoise`, `imagenette112` and `imagenet400`. Seven
files of rows are written to results/denoising: `rows.jsonl`, one for each image and noise (N images
of each of Set12, BSD34, Kodak24 and CBSD34, without and with black bars, and ten textures);
`dark.jsonl`, the same for pictures that are mostly dark;
`pictures.jsonl`, one for each of 200 JPEG photographs, the pictures of RealNoise, some drawings,
pages of print and screens, as they are; `small.jsonl`, one for each of 100 photographs of 112
pixels and each page of print under Gaussian noise; `compared.jsonl`, one for each image of the four
sets and each texture under ten noises, by `auto`, by `denoise` and by filters of other libraries;
`stronger.jsonl`, some of these (N of each set) by BM3D (the package bm3d, for non-commercial use)
and, in colour, by the small network that trained_denoiser.py wrote to FILE;
and `averaging.jsonl`, the settings that were tried for `denoise`, on photographs of imagenet400.
Rows that are there already are kept, so a run that was stopped resumes; --only adds to one of the
seven files. The other files of the folder, which are the tables of docs/denoising.md, are made from
the rows at the end; --tables does only that.

Photographs are squares of 256 pixels from the middle. None of the images was used to fit `auto` or
`denoise`, but for the choice that docs/denoising.md names: that was done on photographs among the
first 200 of imagenet400 and on 120 CIFAR training images. Textures and JPEG photographs come from
its other 200.
"""

import io
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pyarrow.parquet
import skimage.data
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from skimage.restoration import denoise_nl_means

from scores import psnr
from trained_denoiser import read_denoiser
from virolbi import ScaleSpace, denoise, noise_strength, smooth
from virolbi.data import load
from virolbi.results import add_lines, read_lines, write_lines
from virolbi.scale_space import averaging

OUT = Path(__file__).parent.parent / "results" / "denoising"
SETS = ("Set12", "BSD34", "Kodak24", "CBSD34")
SIDE = 256
STRENGTHS = (3.0, 2.2, 1.7, 1.4, 1.2, 1.05, 0.95, 0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25, 0.15)
BARS = (0.0, 0.5)  # shares of the picture that are black bars
FIRST_JUDGED = 200  # photograph of imagenet400
TEXTURE_CROPS = 6  # of photographs
SMALL = 100  # photographs of 112 pixels
GAUSSIAN = ("Gaussian 2", "Gaussian 5", "Gaussian 10", "Gaussian 25")
Row = dict[str, Any]
Noise = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def gaussian(sigma: float) -> Noise:
    """Return Gaussian noise with a standard deviation in grey levels."""
    return lambda x, rng: x + rng.normal(0, sigma / 255, x.shape)


def shot(rate: float) -> Noise:
    """Return shot noise with so many events at intensity 1."""
    return lambda x, rng: rng.poisson(rate * x) / rate


def speckle(sigma: float) -> Noise:
    """Return noise whose standard deviation is a share of the intensity."""
    return lambda x, rng: x + x * rng.normal(0, sigma, x.shape)


def impulses(share: float) -> Noise:
    """Return a change of a share of all numbers to 0 or 1."""
    return lambda x, rng: np.where(rng.random(x.shape) < share, rng.random(x.shape) < 0.5, x)


def random_values(share: float) -> Noise:
    """Return a change of a share of all numbers to random ones."""
    return lambda x, rng: np.where(rng.random(x.shape) < share, rng.random(x.shape), x)


def both(first: Noise, then: Noise) -> Noise:
    """Return two noises, the second on what a file of 8 bits holds of the first."""
    return lambda x, rng: then(stored(first(x, rng)), rng)


def jpeg(quality: int) -> Noise:
    """Return the compression of images as JPEG."""
    return lambda x, rng: compressed(np.rint(255 * x).astype(np.uint8), quality) / 255


def compressed(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Return a picture, uint8, as a JPEG file holds it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


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
    **{f"random-valued {share}": random_values(share) for share in (0.01, 0.05, 0.1)},
}


def stored(x: np.ndarray) -> np.ndarray:
    """Return an image as a file of 8 bits holds it."""
    return np.rint(255 * np.clip(x, 0, 1)) / 255


def half_size(x: np.ndarray) -> np.ndarray:
    """Return an image at half its size, as Pillow makes it."""
    image = Image.fromarray(np.rint(255 * x).astype(np.uint8))
    return np.asarray(image.resize((image.width // 2, image.height // 2))) / 255


def judge(clean: np.ndarray, noise: str, bars: float, seed: int) -> Row:
    """Return the noise of one image, true and seen, and the PSNR of what comes out.

    The oracle is the best of `auto`, the noisy image, and the times for fifteen multiples of the
    true noise. The bilateral filter is set by the same estimate.
    """
    noisy = stored(NOISES[noise](clean, np.random.default_rng(seed)))
    if noise.endswith("half size"):
        clean, noisy = half_size(clean), half_size(noisy)
    true = float(np.sqrt(np.mean((noisy - clean) ** 2)))
    clean, noisy = clean.copy(), noisy.astype(np.float32)
    for image in (clean, noisy):
        edge = round(bars / 2 * len(image))
        image[:edge] = 0
        image[len(image) - edge :] = 0
    axis = -1 if clean.ndim == 3 else None
    seen = float(noise_strength(noisy, channel_axis=axis))
    auto = psnr(smooth(noisy, "auto", channel_axis=axis), clean)
    row: Row = {"true": round(true, 5), "seen": round(seen, 5), "auto": round(auto, 3)}
    if true == 0:
        return row
    space, raw = ScaleSpace(noisy, channel_axis=axis), psnr(noisy, clean)
    tried = [psnr(space.at(lambda _, s=s: s * true).beta, clean) for s in STRENGTHS]
    bilateral = psnr(cv2.bilateralFilter(noisy, 9, 3.2 * seen, 3), clean)
    scores = {"noisy": raw, "oracle": max(auto, raw, *tried), "bilateral": bilateral}
    return row | {name: round(score, 3) for name, score in scores.items()}


def photographs(folder: Path, number: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of so many images, evenly spread, and their middle squares in [0, 1]."""
    files = sorted(folder.glob("*.png"))
    for file in files[:: max(1, len(files) // number)][:number]:
        x = np.asarray(Image.open(file)) / 255
        top, left = ((size - min(size, SIDE)) // 2 for size in x.shape[:2])
        yield file.stem, x[top : top + SIDE, left : left + SIDE]


def jpeg_photographs(data: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of the judged photographs of imagenet400, and their pixels, uint8."""
    (file,) = (data / "imagenet400" / "data").glob("*.parquet")
    images = pyarrow.parquet.read_table(file)["image"].to_pylist()
    for index in range(FIRST_JUDGED, len(images)):
        yield f"{index}", np.asarray(Image.open(io.BytesIO(images[index]["bytes"])).convert("RGB"))


def textures(data: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of ten textures, in [0, 1].

    Four are pictures of scikit-image; the others the photographs with the most fine variation in
    the quietest quarter of the blocks of their middle, which is shown.
    """
    for name in ("brick", "grass", "gravel", "page"):
        x = getattr(skimage.data, name)() / 255
        yield name, x[:SIDE, :SIDE]
    middles = []
    for name, pixels in jpeg_photographs(data):
        top, left = ((size - 128) // 2 for size in pixels.shape[:2])
        x = pixels[top : top + 128, left : left + 128] / 255
        fine = np.diff(np.diff(x.mean(-1), axis=0), axis=1)[:120, :120] ** 2
        blocks = fine.reshape(15, 8, 15, 8).mean((1, 3))
        middles.append((float(np.quantile(blocks, 0.25)), f"photograph {name}", x))
    for _, name, x in sorted(middles, key=lambda middle: -middle[0])[:TEXTURE_CROPS]:
        yield name, x


def drawings() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of pictures that are drawn, not photographed, and their pixels, uint8."""
    for size, mode in ((8, "L"), (12, "L"), (18, "L"), (12, "1")):
        levels = "grey levels" if mode == "L" else "black and white"
        yield f"print of {size} pixels, {levels}", printed(size, mode)
    yield "light print on dark", 255 - printed(12, "L") // 2
    rows, columns = np.mgrid[:SIDE, :SIDE]
    lines = {"grid": (rows % 8 > 0) & (columns % 8 > 0), "hatching": (rows + columns) % 5 > 0}
    for name, is_white in lines.items():
        yield name, np.where(is_white, 255, 0).astype(np.uint8)
    rng = np.random.default_rng(0)
    curves = Image.new("L", (4 * SIDE, 4 * SIDE), 255)
    for _ in range(60):
        points = np.cumsum([rng.uniform(0, 4 * SIDE, 2), *rng.normal(0, 48, (40, 2))], axis=0)
        ImageDraw.Draw(curves).line([tuple(point) for point in points], fill=0, width=4)
    yield "thin curves", np.asarray(curves.reduce(4))
    dots = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for row, column in rng.integers(2, SIDE - 2, (300, 2)):
        dots[row - 1 : row + 2, column - 1 : column + 2] = rng.integers(0, 255, 3)
    yield "dots of 3 pixels in colour", dots
    palette = rng.integers(0, 255, (8, 3), np.uint8)
    yield "pixel art of 8 colours", palette[rng.integers(0, 8, (SIDE, SIDE // 4)).repeat(4, axis=1)]
    stars = np.zeros((SIDE, SIDE), np.uint8)
    stars[rng.integers(0, SIDE, 200), rng.integers(0, SIDE, 200)] = rng.integers(80, 255, 200)
    yield "stars of one pixel", stars
    scene = Image.fromarray(skimage.data.astronaut()[:SIDE, :SIDE])
    yield "dither of 16 colours", np.asarray(dithered(scene, 16))
    yield "black and white dither", np.asarray(scene.convert("1").convert("L"))
    screen = 0.5 + (np.cos(rows + columns / 2) + np.cos(rows / 2 - columns)) / 4
    grey = np.asarray(scene.convert("L")) / 255
    yield "halftone", (255 * np.clip((grey - screen) * 4 + 0.5, 0, 1)).astype(np.uint8)


def pages() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of pages of print in five fonts and nine sizes, and their pixels, uint8."""
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    words = "Noise comes late: -3.5 dB, i.e. y - x = z; the quick, brown fox jumps over it. " * 40
    for name in ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cmr10"):
        for size in (8, 9, 10, 11, 12, 13, 14, 16, 18):
            font = ImageFont.truetype(str(fonts / f"{name}.ttf"), size)
            page = Image.new("L", (SIDE, SIDE), 255)
            step = 2 * SIDE // size
            for line in range(SIDE // round(1.3 * size)):
                text = words[step * line : step * (line + 1)]
                ImageDraw.Draw(page).text((4, line * round(1.3 * size)), text, fill=0, font=font)
            yield f"{name} {size}", np.asarray(page)


# Colours of letters and of what is behind them
INKS = {
    "black": "white",
    "khaki": "#1e1e1e",
    "#5a5a5a": "white",
    "navy": "oldlace",
    "#ff5050": "#14143c",
    "green": "#c8ffc8",
}


def screens() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of screens full of coloured print, and of plots, and their pixels, uint8."""
    words = "def smooth(images, sparsity): return beta  # the quick brown fox 0123456789 " * 40
    fonts = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
    for number, (ink, paper) in enumerate(INKS.items()):
        for size in (9, 12, 15):
            font = ImageFont.truetype(str(fonts[(number * 3 + size) % len(fonts)]), size)
            screen = Image.new("RGB", (SIDE, SIDE), paper)
            for top in range(0, SIDE, round(1.25 * size)):
                text = words[3 * top : 3 * top + 90]
                ImageDraw.Draw(screen).text((3, top), text, fill=ink, font=font)
            yield f"print of {size} pixels, {ink} on {paper}", np.asarray(screen)
    rng = np.random.default_rng(3)
    plots: dict[str, Callable[[Axes], Any]] = {
        "lines": lambda axes: axes.plot(rng.normal(size=(100, 6)).cumsum(axis=0)),
        "scatter": lambda axes: axes.scatter(*rng.normal(size=(2, 400)), s=5, c=rng.random(400)),
        "histogram": lambda axes: axes.hist(rng.normal(size=500), 40),
        "contours": lambda axes: axes.contour(rng.random((12, 12)), 20),
        "thin lines": lambda axes: axes.plot(rng.random((60, 10)), linewidth=0.4, color="black"),
        "table": lambda axes: axes.table(rng.random((12, 6)).round(2).tolist(), loc="center"),
    }
    for name, draw in plots.items():
        for dots in (60, 100):
            figure = Figure(figsize=(4, 3), dpi=dots)
            canvas = FigureCanvasAgg(figure)
            draw(figure.add_subplot())
            canvas.draw()
            yield f"{name}, {dots} dots per inch", np.array(canvas.buffer_rgba())[..., :3]


def dithered(picture: Image.Image, colors: int) -> Image.Image:
    """Return a picture of so many colours, with its errors spread over neighbours."""
    return picture.quantize(palette=picture.quantize(colors)).convert("RGB")


def printed(size: int, mode: str) -> np.ndarray:
    """Return a page of text with letters of so many pixels, uint8."""
    page, font = Image.new(mode, (SIDE, SIDE), 255), ImageFont.load_default(size)
    words = "Noise comes late; the quick brown fox (0123456789) jumps: over, the lazy dog. " * 9
    for line in range(SIDE // (size + 4)):
        text = words[7 * line :][: 2 * SIDE // size]
        ImageDraw.Draw(page).text((4, line * (size + 4)), text, fill=0, font=font)
    return np.asarray(page.convert("L"))


COMPARED = (
    *("Gaussian 5", "Gaussian 10", "Gaussian 25", "Gaussian 50", "shot 50", "speckle 0.2"),
    *("impulses 0.01", "impulses 0.05", "Gaussian 10, impulses .02", "Gaussian 15, JPEG 90"),
)
FILTERS = ("noisy", "auto", "denoise", "bilateral", "non-local means")


def compare_filters(clean: np.ndarray, noise: str, seed: int) -> Row:
    """Return the PSNR of the noisy image, and of what filters that see it alone make of it.

    The rivals are set by the same estimate of the noise: non-local means as scikit-image's example
    does (patches of 5 pixels within 6, h = .8 sigma), and the bilateral filter with the factor that
    was best for it on photographs.
    """
    noisy = stored(NOISES[noise](clean, np.random.default_rng(seed))).astype(np.float32)
    axis = -1 if clean.ndim == 3 else None
    seen = float(noise_strength(noisy, channel_axis=axis))
    outputs = {
        "noisy": noisy,
        "auto": smooth(noisy, "auto", channel_axis=axis),
        "denoise": denoise(noisy, channel_axis=axis),
        "bilateral": cv2.bilateralFilter(noisy, 9, 3.2 * seen, 3) if seen else noisy,
        "non-local means": denoise_nl_means(
            noisy, 5, 6, 0.8 * seen, sigma=seen, fast_mode=True, channel_axis=axis
        )
        if seen
        else noisy,
    }
    return {name: _round(psnr(outputs[name], clean)) for name in FILTERS}


def compare_stronger(
    block_matching: Any, trained: Any, clean: np.ndarray, noise: str, seed: int
) -> Row:
    """Return the same of denoisers that take longer or were trained; the latter in colour only."""
    noisy = stored(NOISES[noise](clean, np.random.default_rng(seed))).astype(np.float32)
    is_colour = clean.ndim == 3
    axis = -1 if is_colour else None
    seen = max(float(noise_strength(noisy, channel_axis=axis)), 1e-3)
    bm3d = block_matching.bm3d_rgb if is_colour else block_matching.bm3d
    outputs = {"denoise": denoise(noisy, channel_axis=axis), "BM3D": bm3d(noisy, seen)}
    if is_colour:
        planes = torch.from_numpy(noisy.transpose(2, 0, 1))[None]
        with torch.inference_mode():
            outputs["trained denoiser"] = trained(planes)[0].numpy().transpose(1, 2, 0)
    return {name: _round(psnr(output, clean)) for name, output in outputs.items()}


def compared(
    data: Path, score: Callable[[np.ndarray, str, int], Row], number: int = 1000
) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Yield the keys of the rows that compare filters, and what measures them."""
    pictures = {name: list(photographs(data / "denoise" / name, number)) for name in SETS}
    pictures["textures"] = list(textures(data))
    for kind, noise in enumerate(COMPARED):
        for name, images in pictures.items():
            for index, (image, clean) in enumerate(images[:number]):
                keys = {"set": name, "image": image, "noise": noise}
                yield keys, partial(score, clean, noise, 1000 * index + kind)


def by_filter(rows: list[Row]) -> Iterator[Row]:
    """Yield the means over the images of each set."""
    for name, noise, group in _by_set(rows):
        scores = {filter: np.array([row[filter] for row in group]) for filter in FILTERS}
        gain = scores["denoise"] - scores["noisy"]
        yield (
            {"set": name, "noise": noise, "images": len(group)}
            | {filter: _round(values.mean()) for filter, values in scores.items()}
            | {"least gain": _round(gain.min())}
        )


def by_stronger(rows: list[Row]) -> Iterator[Row]:
    """Yield the means over the images of each set for denoisers that are slower or trained."""
    for name, noise, group in _by_set(rows):
        means: Row = {"set": name, "noise": noise, "images": len(group)}
        for denoiser in ("denoise", "BM3D", "trained denoiser"):
            scores = [row[denoiser] for row in group if denoiser in row]
            means[denoiser] = _round(np.mean(scores)) if len(scores) == len(group) else None
        yield means


def _by_set(rows: list[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """Yield the rows of each set and noise."""
    groups = dict(grouped(rows, itemgetter("set", "noise")))
    for key in product((*SETS, "textures"), COMPARED):
        if key in groups:
            yield *key, groups[key]


def stronger(
    data: Path, number: int, weights: Path | None
) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Yield the same for denoisers that are slower or trained, if there are weights."""
    if weights is None:
        return iter(())
    import bm3d

    score = partial(compare_stronger, bm3d, read_denoiser(weights))
    return compared(data, score, number)


TRIED = [
    *((guide, like, 2.0) for guide in (0.4, 0.5, 0.6) for like in (0.6, 0.7, 0.8)),
    *((0.5, like, around) for around in (0.0, 1.0, 4.0) for like in (0.7, 0.9)),
]


def chosen(data: Path) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Yield the keys of the rows about the settings of `denoise`, and what measures them."""
    (file,) = (data / "imagenet400" / "data").glob("*.parquet")
    images = pyarrow.parquet.read_table(file)["image"].to_pylist()[:FIRST_JUDGED:12]
    crops = []
    for image in images:
        x = np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) / 255
        if min(x.shape[:2]) >= SIDE:
            top, left = ((size - SIDE) // 2 for size in x.shape[:2])
            crops.append(x[top : top + SIDE, left : left + SIDE])
    for noise in COMPARED[1:]:
        for name, views in (("colour", crops), ("grey", [x @ GREY for x in crops])):
            for settings in TRIED:
                keys = {"set": name, "image": ", ".join(map(str, settings)), "noise": noise}
                yield keys, partial(_score_settings, views, noise, settings)


GREY = np.array([0.299, 0.587, 0.114])


def _score_settings(crops: list[np.ndarray], noise: str, settings: tuple[float, ...]) -> Row:
    """Return the mean PSNR of `denoise` with settings."""
    before = averaging.GUIDE, averaging.LIKE, averaging.AROUND
    averaging.GUIDE, averaging.LIKE, averaging.AROUND = settings
    try:
        scores = []
        for index, clean in enumerate(crops):
            noisy = stored(NOISES[noise](clean, np.random.default_rng(index))).astype(np.float32)
            result = denoise(noisy, channel_axis=-1 if clean.ndim == 3 else None)
            scores.append(psnr(result, clean))
    finally:
        averaging.GUIDE, averaging.LIKE, averaging.AROUND = before
    return {"images": len(crops), "PSNR": _round(np.mean(scores))}


def by_setting(rows: list[Row]) -> Iterator[Row]:
    """Yield the mean over all noises for each choice of settings."""
    for settings in TRIED:
        group = [row for row in rows if row["image"] == ", ".join(map(str, settings))]
        if group:
            means = {
                name: _round(np.mean([row["PSNR"] for row in group if row["set"] == name]))
                for name in ("colour", "grey")
            }
            yield dict(zip(("guide", "like", "around"), settings, strict=True)) | means


DARK = ("clean", *GAUSSIAN, "shot 200", "shot 50", "shot 10", "speckle 0.2", "impulses 0.01")


def dark_pictures(data: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the kinds and names of pictures that are mostly dark, in [0, 1]."""
    for name, clean in photographs(data / "denoise" / "Kodak24", 4):
        yield "a tenth of the light", name, 0.1 * clean
    for name, clean in photographs(data / "denoise" / "BSD34", 4):
        yield "high contrast", name, clean**3
    for name, top, left in (
        ("hubble_deep_field", 308, 372),
        ("retina", 100, 100),
        ("rocket", 85, 192),
        ("moon", 128, 128),
    ):
        picture = getattr(skimage.data, name)()[top : top + SIDE, left : left + SIDE]
        yield "sky and retina", name, picture / 255
    rng = np.random.default_rng(0)
    for name, number, narrow, wide, power in (
        ("cells", 25, 8, 16, 2),
        ("spots", 60, 2, 6, 2),
        ("stars", 150, 1.2, 1.3, 1),
    ):
        yield "drawn on black", name, bright_spots(rng, number, narrow, wide, power)


def bright_spots(
    rng: np.random.Generator, number: int, narrow: float, wide: float, power: int
) -> np.ndarray:
    """Return a black picture with spots; the higher the power, the sharper their contours."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    picture = np.zeros((SIDE, SIDE))
    for row, column in rng.uniform(10, SIDE - 10, (number, 2)):
        distance = ((rows - row) ** 2 + (columns - column) ** 2) / rng.uniform(narrow, wide) ** 2
        spot = rng.uniform(0.2, 1) * np.exp(-((distance / 2) ** power))
        picture = np.maximum(picture, spot)
    return picture


def dark(data: Path) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Yield the keys of the rows of dark pictures, and what measures them."""
    for index, (name, image, clean) in enumerate(dark_pictures(data)):
        for kind, noise in enumerate(DARK):
            keys = dict(zip(KEYS, (name, image, noise, 0.0), strict=True))
            yield keys, partial(judge_dark, clean, noise, 1000 * index + kind)


def judge_dark(clean: np.ndarray, noise: str, seed: int) -> Row:
    """Return what `judge` does, and the PSNR of `denoise` on intensities and on their roots."""
    noisy = stored(NOISES[noise](clean, np.random.default_rng(seed))).astype(np.float32)
    axis = -1 if clean.ndim == 3 else None
    outputs = {
        "denoise": denoise(noisy, channel_axis=axis),
        "of roots": denoise(np.sqrt(noisy), channel_axis=axis) ** 2,
    }
    scores = {name: _round(psnr(image, clean)) for name, image in outputs.items()}
    return judge(clean, noise, 0.0, seed) | scores


def by_darkness(rows: list[Row]) -> Iterator[Row]:
    """Yield the gains over the noisy image for each kind of dark pictures and each noise."""
    noisy = [row for row in rows if row["noise"] != "clean"]
    for (name, noise), group in grouped(noisy, itemgetter("set", "noise")):
        line: Row = {"pictures": name, "noise": noise, "number": len(group)}
        ratios = [row["seen"] / row["true"] for row in group]
        line |= {"seen / true": f"{min(ratios):.2f} to {max(ratios):.2f}"}
        for method in ("oracle", "auto", "denoise", "of roots"):
            gains = [row[method] - row["noisy"] for row in group]
            line |= {method: round(float(np.mean(gains)), 2)}
            if method != "oracle":
                line |= {f"{method}, worst": round(min(gains), 2)}
        yield line


def grouped(
    rows: list[Row], key: Callable[[Row], tuple[Any, ...]]
) -> Iterator[tuple[tuple[Any, ...], list[Row]]]:
    """Yield the rows of each key, in the order in which the keys first appear."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    yield from groups.items()


KEYS = ("set", "image", "noise", "bars")


def cases(data: Path, number: int) -> Iterator[tuple[Row, np.ndarray, int]]:
    """Yield the keys of rows, the clean image, and a seed."""
    pictures = {name: list(photographs(data / "denoise" / name, number)) for name in SETS}
    pictures["textures"] = list(textures(data))
    for name, images in pictures.items():
        for index, (image, clean) in enumerate(images):
            for bars in BARS if name in SETS else BARS[:1]:
                for kind, noise in enumerate(NOISES):
                    keys = dict(zip(KEYS, (name, image, noise, bars), strict=True))
                    yield keys, clean, 1000 * index + kind


def clean_rows(data: Path) -> Iterator[tuple[Row, Callable[[], np.ndarray]]]:
    """Yield the keys of photographs without clean partners, and their pixels."""
    for name, pixels in jpeg_photographs(data):
        yield {"set": "imagenet400", "image": name}, pixels
    for file in sorted((data / "denoise" / "RealNoise").glob("*.png")):
        yield {"set": "RealNoise", "image": file.stem}, np.asarray(Image.open(file))
    for name, pixels in drawings():
        yield {"set": "drawings", "image": name}, pixels
    for kind, pictures in (("print", pages), ("screens", screens)):
        for name, pixels in pictures():
            for form, changed in FORMS.items():
                yield {"set": kind + form, "image": name}, changed(pixels)


def resized(pixels: np.ndarray) -> np.ndarray:
    """Return a picture at two thirds of its size."""
    height, width = pixels.shape[:2]
    size = (2 * width // 3, 2 * height // 3)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


# What happens to pictures that are drawn, without noise
FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda pixels: pixels,
    **{f", JPEG {q}": partial(compressed, quality=q) for q in (95, 75, 50)},
    ", at two thirds of the size": resized,
}


def change(pixels: np.ndarray) -> Row:
    """Return the noise that is seen in a picture, and how much `auto` changes it."""
    axis = -1 if pixels.ndim == 3 else None
    smoothed = smooth(pixels, "auto", channel_axis=axis)
    return {
        "seen": round(float(noise_strength(pixels, channel_axis=axis)), 4),
        "to itself": round(psnr(smoothed / 255, pixels / 255), 2),
    }


def small_pictures(data: Path) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Yield the keys of small pictures under Gaussian noise, and what measures their rows."""
    colour = load(str(data / "imagenette112"), "test", limit=SMALL).pixels.transpose(0, 2, 3, 1)
    grey = [np.asarray(Image.fromarray(pixels).convert("L")) for pixels in colour]
    pale = [51 + 0.6 * pixels for _, pixels in pages()]  # so that hardly any noise is clipped
    for name, images in (("grey", grey), ("colour", colour), ("print", pale)):
        for index, pixels in enumerate(images):
            for noise in GAUSSIAN:
                keys = dict(zip(KEYS, (name, str(index), noise, 0.0), strict=True))
                yield keys, partial(gain, pixels / 255, noise, index)


def gain(clean: np.ndarray, noise: str, seed: int) -> Row:
    """Return the PSNR of a noisy picture, and of what `auto` and `denoise` make of it."""
    noisy = stored(NOISES[noise](clean, np.random.default_rng(seed)))
    axis = -1 if clean.ndim == 3 else None
    outputs = {"noisy": noisy, "auto": smooth(noisy, "auto", channel_axis=axis)}
    outputs["denoise"] = denoise(noisy, channel_axis=axis)
    return {name: round(psnr(image, clean), 2) for name, image in outputs.items()}


def by_gain(rows: list[Row]) -> Iterator[Row]:
    """Yield the gain on small pictures for each kind and noise."""
    for (name, noise), group in grouped(rows, itemgetter("set", "noise")):
        line: Row = {"images": name, "noise": noise, "number": len(group)}
        for method in ("auto", "denoise"):
            gains = np.array([row[method] - row["noisy"] for row in group])
            line |= {f"{method}, dB": round(float(gains.mean()), 2)}
            line |= {f"{method}, over .5 dB lost": int((gains < -0.5).sum())}
            line |= {f"{method}, worst": round(float(gains.min()), 2)}
        yield line


def kind(noise: str) -> str:
    """Return the kind of a noise, without its strength."""
    if "JPEG" in noise or "half" in noise:
        return noise
    return noise.split(" ")[0] if "," not in noise else "mixtures"


def by_kind(rows: list[Row]) -> Iterator[Row]:
    """Yield a summary for each kind of noise and share of bars, on photographs and textures."""

    def key(row: Row) -> tuple[str, str, float]:
        images = "textures" if row["set"] == "textures" else "photographs"
        return images, kind(row["noise"]), row["bars"]

    noisy = [row for row in rows if row["true"] > 0]
    for (images, name, bars), group in grouped(noisy, key):
        value = {key: np.array([row[key] for row in group]) for key in SCORES}
        ratio, below = value["seen"] / value["true"], value["noisy"] - value["auto"]
        yield {
            "images": images,
            "noise": name,
            "bars": bars,
            "rows": len(group),
            "seen / true": _round(np.median(ratio)),
            "middle half": f"{np.quantile(ratio, 0.25):.2f} to {np.quantile(ratio, 0.75):.2f}",
            "gain": _round(-below.mean()),
            "under the oracle": _round((value["oracle"] - value["auto"]).mean()),
            "at worst": _round((value["oracle"] - value["auto"]).max()),
            "under the noisy image at worst": _round(below.max()),
            "more than .5 dB": int((below > 0.5).sum()),
        }


SCORES = ("true", "seen", "noisy", "auto", "oracle", "bilateral")


def by_strength(rows: list[Row]) -> Iterator[Row]:
    """Yield the bias of the estimate for each noise, in grey and in colour, without bars."""
    for noise in NOISES:
        for images, sets in (("grey", SETS[:2]), ("colour", SETS[2:])):
            group = [
                row
                for row in rows
                if row["noise"] == noise and row["set"] in sets and not row["bars"]
            ]
            true = np.array([row["true"] for row in group])
            if len(group) and true.min() > 0:
                ratio = np.array([row["seen"] for row in group]) / true
                yield {
                    "noise": noise,
                    "images": images,
                    "true": _round(np.median(true)),
                    "seen / true": _round(np.median(ratio)),
                    "least": _round(ratio.min()),
                    "largest": _round(ratio.max()),
                }


def unchanged(rows: list[Row], pictures: list[Row]) -> Iterator[Row]:
    """Yield how many pictures without added noise are changed."""
    groups = {
        "the four sets, without bars": [
            r["auto"] for r in rows if r["noise"] == "clean" and r["set"] in SETS and not r["bars"]
        ],
        "the four sets, half black": [
            r["auto"] for r in rows if r["noise"] == "clean" and r["set"] in SETS and r["bars"]
        ],
        "textures": [r["auto"] for r in rows if r["noise"] == "clean" and r["set"] == "textures"],
        "JPEG photographs": [r["to itself"] for r in pictures if r["set"] == "imagenet400"],
        **{
            title + form: [r["to itself"] for r in pictures if r["set"] == name + form]
            for name, title in (("print", "pages of print"), ("screens", "screens and plots"))
            for form in FORMS
        },
    }
    for name, scores in groups.items():
        scores = np.array(scores)
        yield {
            "pictures": name,
            "number": len(scores),
            "identical": int((scores == 60).sum()),
            "under 45 dB": int((scores < 45).sum()),
            "under 40 dB": int((scores < 40).sum()),
        }


def _round(value: Any) -> float:
    """Round a number for a row."""
    return round(float(value), 3)


def _extend(file: Path, cases: Iterator[tuple[Row, Callable[[], Row]]]) -> list[Row]:
    """Return the rows of a file, after appending those of the cases that it lacks."""
    rows = read_lines(file)
    done = {tuple(row.get(key) for key in KEYS) for row in rows}
    for keys, measure in cases:
        if tuple(keys.get(key) for key in KEYS) not in done:
            rows.append(keys | measure())
            add_lines(file, rows[-1:])
    return rows


PARTS = ("rows", "pictures", "dark", "small", "compared", "stronger", "averaging")


def main(data: Path, number: int, weights: Path | None, only: str | None, tables: bool) -> None:
    """Append the missing rows, and write the tables."""
    OUT.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], Iterator[tuple[Row, Callable[[], Row]]]]] = {
        "rows": lambda: (
            (keys, partial(judge, clean, keys["noise"], keys["bars"], seed))
            for keys, clean, seed in cases(data, number)
        ),
        "pictures": lambda: ((keys, partial(change, pixels)) for keys, pixels in clean_rows(data)),
        "dark": partial(dark, data),
        "small": partial(small_pictures, data),
        "compared": partial(compared, data, compare_filters),
        "stronger": partial(stronger, data, number, weights),
        "averaging": partial(chosen, data),
    }
    kept = {
        name: _extend(
            OUT / f"{name}.jsonl", iter(()) if tables or only not in (None, name) else part()
        )
        for name, part in parts.items()
    }
    rows, pictures = kept["rows"], kept["pictures"]
    for name, table in (
        ("filters", by_filter(kept["compared"])),
        ("slower", by_stronger(kept["stronger"])),
        ("settings", by_setting(kept["averaging"])),
        ("kinds", by_kind(rows)),
        ("bias", by_strength(rows)),
        ("unchanged", unchanged(rows, pictures)),
        ("real", (row for row in pictures if row["set"] == "RealNoise")),
        ("darkness", by_darkness(kept["dark"])),
        ("gains", by_gain(kept["small"])),
        ("drawings", (row for row in pictures if row["set"] == "drawings")),
    ):
        if lines := list(table):
            write_lines(OUT / f"{name}.jsonl", lines)
    sys.stderr.write(", ".join(f"{len(rows)} {name}" for name, rows in kept.items()) + "\n")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=4, help="images of each set")
    parser.add_argument("--weights", type=Path, help="of trained_denoiser.py, for `stronger`")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--tables", action="store_true", help="only write the tables")
    given = parser.parse_args()
    main(given.data, given.images, given.weights, given.only, given.tables)
