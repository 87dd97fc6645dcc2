"""Run the smoother and its peers side by side.

Usage: python benchmarks/run.py [DATA] [PART ...]

Each part writes one file of rows to results/engine; the tables in benchmarks/README.md are made
from them. DATA is a folder with the data sets of the README (CIFAR-10, 112-pixel photographs, Set12
and Kodak). Without it, tiles of two photographs that scikit-learn ships replace them, and the parts
that need the real ones are skipped. Everything runs on one core unless a row says two. Run it on a
quiet machine.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import peers
from exact_path import ExactPath
from scores import psnr
from virolbi import PAPER, ScaleSpace, denoise, lbi, smooth
from virolbi._engine import Settings, edge_count, split_edges
from virolbi._storage import write_atomic
from virolbi.data import load
from virolbi.nn.path import TensorScale
from virolbi.scale_space import Form, Solver, label_regions, region_means

OUT = Path(__file__).parent.parent / "results" / "engine"
CORES = sorted(os.sched_getaffinity(0))
FORMS = {
    "published form, sparsity .6": (0.6, dict(PAPER)),
    "robust form, sparsity .8": (0.8, {}),
    "published form, sparsity .6, nu = .1": (0.6, dict(PAPER, nu=0.1)),
    "robust form, sparsity .8, nu = .1": (0.8, {"nu": 0.1}),
}
SEARCHED = {  # values of the one knob of each peer
    "Chambolle TV (scikit-image)": np.linspace(0.05, 0.14, 10),
    "split Bregman TV (scikit-image)": np.linspace(3, 12, 10),
    "non-local means (OpenCV)": np.linspace(14, 32, 10),
    "bilateral, radius 4 (OpenCV)": np.linspace(0.1, 0.6, 11),
    "TV (deepinv)": np.linspace(0.05, 0.14, 10),
}
Row = dict[str, Any]


def seconds(function: Callable[[], Any], repeats: int = 7) -> float:
    """Return the median time of a call, in seconds, after one call to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def small_images(data: Path | None) -> tuple[str, np.ndarray]:
    """Return the name of a set, and 600 colour images of it, float32, (N, 3, 32, 32)."""
    if data:
        return "CIFAR-10", load(str(data / "cifar10"), "test", limit=600).intensities()
    return "tiles of photographs", np.tile(tiles(32), (13, 1, 1, 1))[:600]


def photographs(data: Path | None, limit: int) -> np.ndarray:
    """Return photographs of 112 pixels, float32, (N, 3, 112, 112)."""
    if data:
        images = load(str(data / "imagenette112"), "test", limit=limit, size=112)
        return images.intensities()
    return tiles(112)


def tiles(side: int) -> np.ndarray:
    """Return tiles (N, 3, side, side) of the photographs that scikit-learn ships.

    For tiles under 64 pixels, the photographs are reduced by 3.
    """
    from sklearn.datasets import load_sample_image

    result = []
    for name in ("china.jpg", "flower.jpg"):
        picture = Image.fromarray(load_sample_image(name)).reduce(3 if side < 64 else 1)
        pixels = np.asarray(picture) / np.float32(255)
        result += [
            pixels[i : i + side, j : j + side].transpose(2, 0, 1)
            for i in range(0, len(pixels) - side + 1, side)
            for j in range(0, pixels.shape[1] - side + 1, side)
        ]
    return np.stack(result)


def pictures(data: Path, name: str) -> list[np.ndarray]:
    """Return the images of a set of the denoising literature, float32 in [0, 1]."""
    return [
        np.asarray(Image.open(file)) / np.float32(255)
        for file in sorted((data / "denoise" / name).glob("*.png"))
    ]


def path_settings(form: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `ScaleSpace` for a form and colour images."""
    return {key: value for key, value in form.items() if key != "output"} | {"channel_axis": 1}


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process, and return its output."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, **environment),
        capture_output=True,
        text=True,
        check=True,
    )


def throughput(data: Path | None) -> Iterator[Row]:
    """Measure images per second, for 3x32x32 float32 images.

    The ratio is to Chambolle's TV, timed in the same minute.
    """
    name, images = small_images(data)
    others = peers.installed()
    channels_last = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images[:150]]
    chambolle = others["Chambolle TV (scikit-image)"]

    def rate(smoother: Callable[[np.ndarray], Any]) -> float:
        return len(channels_last) / seconds(lambda: [smoother(x) for x in channels_last], 3)

    def row(method: str, per_second: float, base: float, cores: int = 1) -> Row:
        return {
            "images": name,
            "method": method,
            "cores": cores,
            "per_second": round(per_second, 2),
            "ratio": round(per_second / base, 4),
        }

    yield from _forms_throughput(images, partial(rate, chambolle), row)
    for method, peer in others.items():
        base = rate(chambolle)
        yield row(method + ", defaults", rate(peer), base)
    planes = images[:32].reshape(-1, 32, 32)
    rough = planes[[len(np.unique(plane)) > 100 for plane in planes]]
    base = rate(chambolle)
    for method, per_second in _iteration_throughput(rough):
        yield row(method, per_second, base)


def _forms_throughput(
    images: np.ndarray, reference: Callable[[], float], row: Callable[..., Row]
) -> Iterator[Row]:
    """Yield the rows of the smoother: every form on one core, then two of them on two cores."""

    def rate(sparsity: float, form: dict[str, Any]) -> float:
        return len(images) / seconds(lambda: smooth(images, sparsity, channel_axis=1, **form))

    one_core = {}
    for method, (sparsity, form) in FORMS.items():
        base = reference()
        one_core[method] = rate(sparsity, form)
        yield row(method, one_core[method], base)
    os.sched_setaffinity(0, CORES[:2])
    for method, (sparsity, form) in list(FORMS.items())[:2]:
        two_cores = rate(sparsity, form)
        speedup = round(two_cores / one_core[method], 3)
        yield row(method, two_cores, base, 2) | {"speedup": speedup}
    os.sched_setaffinity(0, CORES[:1])


def _iteration_throughput(planes: np.ndarray) -> Iterator[tuple[str, float]]:
    """Yield implementations of the published iteration, and their colour images per second."""
    yield (
        "the iteration, kappa = 10, NumPy",
        2
        / 3
        / seconds(
            lambda: (
                peers.plain_iteration(planes[:1], 0.6) + peers.plain_iteration(planes[1:2], 0.6)
            ),
            1,
        ),
    )
    yield (
        "the iteration, kappa = 10, compiled",
        16 / 3 / seconds(lambda: lbi(planes[:16], kappa=10.0, sparsity=0.6), 1),
    )
    torch.set_num_threads(1)
    batch = torch.from_numpy(planes[:32])
    yield (
        "the iteration, kappa = 10, batched in torch",
        32 / 3 / seconds(lambda: peers.plain_iteration(batch, 0.6), 1),
    )


class Fine(Solver):
    """Solver of the same path, at time steps of 0.05 % and with many relaxations."""

    def settings(self, dtype: type) -> Settings:
        """Return the usual settings, but finer."""
        usual = super().settings(dtype)
        more = 3 if self.nu >= 1 else 7 * usual.relaxations
        return usual._replace(growth=0.0005, relaxations=more, begin=3 * usual.begin)


def agreement(data: Path | None) -> Iterator[Row]:
    """Measure the share of edges on which the support agrees with that of a much finer path.

    Images whose path has ended are left out.
    """
    name, images = small_images(data)
    sets = {
        name: images[:150],
        "photographs, 112 px": photographs(data, 20),
        "digits": load("digits", "test", limit=150).intensities(),
    }
    low_nu = {
        "published form, nu = .01": (0.6, dict(PAPER, nu=0.01)),
        "robust form, nu = .01": (0.8, {"nu": 0.01}),
    }
    for images_name, pixels in sets.items():
        for method, (sparsity, form) in (FORMS | low_nu).items():
            # Most digits have no more variations than sparsity .9 lets in
            target = 0.9 if images_name == "digits" else sparsity
            nu = form.get("nu", 1.0)
            subset = pixels[: max(4, len(pixels) // {1.0: 1, 0.1: 3, 0.01: 10}[nu])]
            settings = path_settings(form)
            coarse, fine = ScaleSpace(subset, **settings), ScaleSpace(subset, **settings)
            fine._solver = Fine(*astuple(fine._solver))
            ours, finer = coarse.finish(target), fine.finish(target)
            unfinished = np.isfinite(finer.time)
            agree = (ours.support == finer.support).mean(axis=-1)[unfinished]
            yield {
                "images": images_name,
                "method": method.split(",")[0],
                "nu": nu,
                "sparsity": target,
                "count": int(unfinished.sum()),
                "mean": round(float(agree.mean()), 5),
                "worst": round(float(agree.min()), 5),
                "beta_rms": round(float(np.sqrt(((ours.beta - finer.beta) ** 2).mean())), 5),
            }


def accuracy(data: Path | None) -> Iterator[Row]:
    """Measure how far outputs are from those of an exact path, by the length of a time step.

    The planes are six tiles of 24x24 pixels, clean and with Gaussian noise of .08, at sparsities
    .6 and .8. Regions of the published form are compared with those of the exact path, and beta of
    the robust form with that of a much finer path, both at nu = 1.
    """
    side, sparsities = 24, (0.8, 0.6)
    clean = tiles(side)[[5, 17, 29, 45, 57, 69], 1].astype(np.float64)
    noise = np.random.default_rng(0).normal(0, 0.08, clean.shape)
    planes = np.concatenate([clean, np.clip(clean + noise, 0, 1)])
    paths = [ExactPath(plane, nu=1.0) for plane in planes]
    exact, finer = [], []
    space = ScaleSpace(planes)
    space._solver = Fine(*astuple(space._solver))
    for sparsity in sparsities:
        goal = round((1 - sparsity) * edge_count(side, side))
        labels = label_regions(np.stack([path.follow(goal) for path in paths]), side, side)
        exact.append(region_means(planes[:, None], labels)[:, 0])
        finer.append(space.finish(sparsity).beta)
    for output, references, bound, form in (
        ("regions", exact, 0.02, dict(PAPER)),
        ("beta", finer, 0.005, {}),
    ):
        for step in (0.2, 0.1, 0.07, 0.05, 0.025, 0.01, 0.005, 0.002, 0.001):
            errors = [
                np.abs(smooth(planes, sparsity, step=step, **form) - reference)
                for sparsity, reference in zip(sparsities, references, strict=True)
            ]
            agree = np.mean(np.stack(errors) <= bound, axis=(-2, -1))
            yield {
                "output": output,
                "step": step,
                "within": bound,
                "mean": round(float(agree.mean()), 4),
                "worst": round(float(agree.min()), 4),
            }


def steps(data: Path | None) -> Iterator[Row]:
    """Measure the time of 3x32x32 images by the length of a time step, relative to the default."""
    name, images = small_images(data)
    for method in ("published form, sparsity .6", "robust form, sparsity .8"):
        sparsity, form = FORMS[method]
        work = partial(smooth, images[:256], sparsity, channel_axis=1, **form)
        for step in (0.2, 0.1, 0.05, 0.025, 0.01):
            # one after the other, so that both have the machine in the same state
            pairs = [
                (seconds(partial(work, step=step), 1), seconds(partial(work, step=Form.step), 1))
                for _ in range(5)
            ]
            ratio = statistics.median(first / second for first, second in pairs)
            yield {"images": name, "method": method, "step": step, "time": round(ratio, 2)}


def size(data: Path | None) -> Iterator[Row]:
    """Measure time and memory by the size of the image.

    Time is for each number of a colour image, memory the most beyond input and output. Every image
    is a mosaic of the same small ones, so that every pixel needs the same work.
    """
    name, images = small_images(data)
    for side in (32, 64, 128, 256, 512, 1024, 2048, 4096):
        across, repeats = side // 32, 3 if side < 2048 else 2
        small = images[np.arange(max(across**2, 256)) % len(images)]
        mosaic = (
            small[: across**2]
            .reshape(across, across, 3, 32, 32)
            .transpose(2, 0, 3, 1, 4)
            .reshape(1, 3, side, side)
        )
        mosaics = np.repeat(mosaic, max(1, 256 // across**2), axis=0)
        joined = seconds(lambda: smooth(mosaics, 0.8, channel_axis=1), repeats) / mosaics.size
        apart = seconds(lambda: smooth(small, 0.8, channel_axis=1), repeats) / small.size
        yield {
            "images": name,
            "side": side,
            "ns_per_number": round(1e9 * joined, 2),
            "ratio": round(joined / apart, 3),
            "bytes_per_number": memory(side),
        }


def memory(side: int) -> float | None:
    """Return the most resident memory while smoothing noise, in bytes per number.

    Memory in use before, and that of the output, are subtracted. Each call has a fresh process;
    sides under 1024 give None.
    """
    if side < 1024:
        return None
    code = f"""
import numpy as np
from virolbi import smooth
def peak():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return 1024 * int(status["VmHWM"].split()[0])
rng = np.random.default_rng(0)
smooth(rng.random((3, 256, 256), dtype=np.float32), .8, channel_axis=0)
image = rng.random((3, {side}, {side}), dtype=np.float32)
before = peak()
smooth(image, .8, channel_axis=0)
print((peak() - before) / image.size - image.itemsize)
"""
    return round(float(run_python(code).stdout), 1)


def whole(data: Path | None) -> Iterator[Row]:
    """Measure how the support of a large image differs in torch operations and in smaller crops.

    The image is four photographs of Kodak24 side by side, 1024x1024 pixels; a crop is one of its
    corners of 288x288 pixels, followed to the time of the whole image. Edges nearer than 32 pixels
    to a border that the whole image does not have are left out.
    """
    if data is None:
        return
    side, margin = 288, 32
    parts = [picture[:512, :512] for picture in pictures(data, "Kodak24")[:4]]
    image = np.ascontiguousarray(np.block([[[parts[0]], [parts[1]]], [[parts[2]], [parts[3]]]]))
    for method in ("published form, sparsity .6", "robust form, sparsity .8"):
        sparsity, form = FORMS[method]
        usual = {"nu": Form.nu, "delta": Form.delta, "joint": Form.joint}
        settings = usual | path_settings(form) | {"channel_axis": -1}
        scale = ScaleSpace(image, **settings).finish(sparsity)
        edges = _edge_planes(scale.support, image.shape)
        in_torch = TensorScale.of(torch.from_numpy(image), sparsity, **settings)
        theirs = _edge_planes(in_torch.support.numpy(), image.shape)
        torch_differs = [(mine != their).mean() for mine, their in zip(edges, theirs, strict=True)]
        crop_differs = []
        for top, left in product((0, len(image) - side), repeat=2):
            corner = image[top : top + side, left : left + side]
            crop = ScaleSpace(corner, **settings).finish(time=scale.time)
            # vertical edges have one row less, horizontal ones one column less
            rows, columns = (
                slice(margin, -1) if start else slice(-margin) for start in (top, left)
            )
            for mine, their in zip(edges, _edge_planes(crop.support, (side, side)), strict=True):
                height, width = their.shape[-2:]
                ours = mine[..., top : top + height, left : left + width]
                crop_differs.append((ours != their)[..., rows, columns].mean())
        yield {
            "method": method,
            "in torch": round(float(np.mean(torch_differs)), 6),
            "in crops": round(float(np.mean(crop_differs)), 6),
        }


def _edge_planes(support: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return supports (..., E) as planes of horizontal and of vertical edges."""
    height, width = shape[:2]
    return list(split_edges(support.reshape(-1, support.shape[-1]), height, width))


def cores(data: Path | None) -> Iterator[Row]:
    """Measure what a second core brings for one image of 4000x3000 pixels.

    The part of the time that no further core shortens is what two cores leave of it; the speedup
    by more cores follows from that part alone.
    """
    name, images = small_images(data)
    tiles_of_image = images[np.arange(94 * 125) % len(images)].reshape(94, 125, 3, 32, 32)
    image = tiles_of_image.transpose(2, 0, 3, 1, 4).reshape(3, 94 * 32, 125 * 32)
    for method in ("published form, sparsity .6", "robust form, sparsity .8"):
        sparsity, form = FORMS[method]
        work = partial(smooth, image, sparsity, channel_axis=0, **form)
        alone, one = work(), seconds(work, 3)
        os.sched_setaffinity(0, CORES[:2])
        together, two = work(), seconds(work, 3)
        os.sched_setaffinity(0, CORES[:1])
        serial = max(0.0, 2 * two / one - 1)
        yield {
            "images": name,
            "method": method,
            "ns_per_number": round(1e9 * one / image.size, 2),
            "two cores": round(one / two, 3),
            "8 cores, extrapolated": round(1 / (serial + (1 - serial) / 8), 1),
            "16 cores, extrapolated": round(1 / (serial + (1 - serial) / 16), 1),
            "numbers that differ": int((alone != together).sum()),
        }


def further(data: Path | None) -> Iterator[Row]:
    """Measure what more questions cost, once a path has been followed to sparsity .6.

    Costs are shares of the time that following it takes.
    """
    name, images = small_images(data)
    for method in ("published form, sparsity .6", "robust form, sparsity .8"):
        sparsity, form = FORMS[method]
        settings, output = path_settings(form), form.get("output", "beta")
        solve = seconds(lambda: smooth(images, sparsity, output=output, **settings))
        space = ScaleSpace(images, **settings)
        followed = space.at(sparsity)
        higher = sparsity + 0.05
        scale = space.at(higher)
        gradient = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
        fresh = ScaleSpace(images, **settings).finish(higher)
        yield {
            "images": name,
            "method": method,
            "support": round(seconds(lambda: space.at(higher)) / solve, 4),
            "regions": round(seconds(lambda: space.at(higher)._project(space._data)) / solve, 4),
            "beta": round(seconds(lambda: space.at(higher).beta) / solve, 4),
            "backward": round(seconds(lambda: followed.pullback(gradient, output)) / solve, 4),
            "support_differs": int((scale.support != fresh.support).sum()),
            "beta_differs": float(np.abs(scale.beta - fresh.beta).max()),
        }


def denoising(data: Path | None) -> Iterator[Row]:
    """Measure the best PSNR at sigma 25 with one setting for a set, and the time of one image.

    The settings of all methods are searched alike.
    """
    if data is None:
        return
    for name in ("Set12", "Kodak24"):
        rng = np.random.default_rng(0)
        clean = pictures(data, name)
        noisy = [
            (image + rng.normal(0, 25 / 255, image.shape)).astype(np.float32) for image in clean
        ]
        largest = max(noisy, key=lambda image: image.size)
        others = peers.installed()
        first = next(iter(others.values()), None)  # Chambolle's TV, at its defaults
        base = seconds(lambda: first(largest), 5) if first else None
        for method, knob, scores, run in chain(
            _searched_peers(others, clean, noisy),
            _searched_paths(clean, noisy),
            _searched_denoise(clean, noisy),
        ):
            best = max(scores, key=lambda value: scores[value])
            duration = seconds(lambda: run(largest, best), 5)
            yield {
                "set": name,
                "method": method,
                "knob": f"{knob} {best:.3g}",
                "psnr": round(scores[best], 3),
                "milliseconds": round(1e3 * duration, 2),
                "ratio": round((base or duration) / duration, 3),
            }


# Method, its knob, the mean PSNR by the value of the knob, and a function of an image and a value
Searched = tuple[str, str, dict[float, float], Callable[[np.ndarray, float], Any]]


def _searched_peers(
    others: dict[str, peers.Smoother], clean: list[np.ndarray], noisy: list[np.ndarray]
) -> Iterator[Searched]:
    """Yield the scores of every peer."""
    for method, peer in others.items():
        scores = {
            float(value): _mean_psnr((peer(image, value) for image in noisy), clean)
            for value in SEARCHED[method]
        }
        yield method, "", scores, peer


def _searched_paths(clean: list[np.ndarray], noisy: list[np.ndarray]) -> Iterator[Searched]:
    """Yield the scores of the smoother, by sparsity and by time."""
    axis = -1 if clean[0].ndim == 3 else None
    for nu in (1.0, 0.5, 0.3, 0.1):
        form = {"nu": nu, "delta": np.inf, "channel_axis": axis}
        spaces = [ScaleSpace(np.clip(image, -1, 2), **form) for image in noisy]
        for knob, values in (
            ("sparsity", np.linspace(0.98, 0.8, 10)),
            ("time", np.linspace(5, 10, 11)),
        ):
            scores = {
                float(value): _mean_psnr(
                    (space.at(**{knob: value}).beta for space in spaces), clean
                )
                for value in values
            }

            def run(image: np.ndarray, value: float, form: Any = form, knob: str = knob) -> Any:
                return ScaleSpace(np.clip(image, -1, 2), **form).finish(**{knob: value}).beta

            yield f"virolbi, nu = {nu:g}", knob, scores, run


def _searched_denoise(clean: list[np.ndarray], noisy: list[np.ndarray]) -> Iterator[Searched]:
    """Yield the scores of `denoise`, by the noise that it removes."""
    axis = -1 if clean[0].ndim == 3 else None

    def run(image: np.ndarray, noise: float) -> np.ndarray:
        return denoise(np.clip(image, 0, 1), noise, channel_axis=axis)

    scores = {
        float(value): _mean_psnr((run(image, value) for image in noisy), clean)
        for value in np.linspace(0.07, 0.13, 10)
    }
    yield "virolbi, denoise", "noise", scores, run


def _mean_psnr(results: Iterable[np.ndarray], clean: list[np.ndarray]) -> float:
    """Return the mean PSNR of images in dB."""
    return float(np.mean([psnr(*pair) for pair in zip(results, clean, strict=True)]))


def defaults(data: Path | None) -> Iterator[Row]:
    """Measure the best PSNR over sparsity, and where it is, for the robust form.

    It depends on nu, delta, the size of the image, and on one of three noises.
    """
    if data is None:
        return
    name, small = small_images(data)
    sets = {
        name: small[:100],
        "photographs, 112 px": photographs(data, 12),
        "Kodak, 500 px": np.stack(pictures(data, "Kodak24")[:6]).transpose(0, 3, 1, 2),
    }
    grid = np.array([0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6])
    cases = [(nu, delta) for nu in (1.0, 0.3, 0.1) for delta in (0.05, 0.1, 0.2, np.inf)]
    for set_name, clean in sets.items():
        for noise, noisy in _three_noises(clean).items():
            images = np.clip(noisy, 0, 1).astype(np.float32)
            for nu, delta in cases:
                space = ScaleSpace(images, nu=nu, delta=delta, channel_axis=1)
                scores = []
                for sparsity in grid:
                    errors = ((space.at(sparsity).beta - clean) ** 2).mean((1, 2, 3))
                    scores.append(float(-10 * np.log10(errors).mean()))
                best = int(np.argmax(scores))
                yield {
                    "images": set_name,
                    "noise": noise,
                    "nu": nu,
                    "delta": str(delta),
                    "sparsity": float(grid[best]),
                    "psnr": round(scores[best], 2),
                    "psnr_at_.8": round(scores[4], 2),
                }


def _three_noises(clean: np.ndarray) -> dict[str, np.ndarray]:
    """Return images with weak and strong Gaussian noise, and with impulses."""
    rng = np.random.default_rng(0)
    draw = rng.random(clean.shape)
    impulses = np.where(draw < 0.025, 0, np.where(draw > 0.975, 1, clean))
    return {
        f"Gaussian {sigma}": clean + rng.normal(0, sigma, clean.shape) for sigma in (0.04, 0.1)
    } | {"impulse .05": impulses}


def start(data: Path | None) -> Iterator[Row]:
    """Measure the first call in a fresh process, on a cold and then on a warm compile cache."""
    code = (
        "import time, numpy as np; from virolbi import smooth; "
        "images = np.random.rand(4, 3, 32, 32).astype('f'); "
        "t = time.perf_counter(); smooth(images, .8, channel_axis=1); "
        "print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "warm"):
            process = run_python(code, NUMBA_CACHE_DIR=cache)
            yield {
                "cache": state,
                "seconds": round(float(process.stdout), 2),
                "announced": "compiling" in process.stderr,
            }


def training(data: Path | None) -> Iterator[Row]:
    """Measure what smoothing on the fly adds to a training step of ResNet-20, on two cores.

    It is a share of the step on plain images.
    """
    from virolbi.data import Images
    from virolbi.recipes import load_recipe
    from virolbi.training import Batches, build_network

    name, images = small_images(data)
    os.sched_setaffinity(0, CORES[:2])
    torch.set_num_threads(len(CORES[:2]))
    labelled = Images(
        name, np.rint(images * 255).astype(np.uint8), np.zeros(len(images), np.int64), ("a", "b")
    )
    network = build_network("resnet20", channels=3, classes=10, size=32).to(
        memory_format=torch.channels_last
    )

    def batch_time(arm: str) -> float:
        batches = Batches(load_recipe(f"cifar10-resnet20-{arm}"), labelled)
        return seconds(lambda: [batches[step] for step in range(4)], 5) / 4

    (inputs,), labels, *_ = Batches(load_recipe("cifar10-resnet20-plain"), labelled)[0]

    def step() -> None:
        outputs = network(inputs.to(memory_format=torch.channels_last))
        torch.nn.functional.cross_entropy(outputs, labels).backward()

    for _ in range(3):  # side by side, because the speed of the machine changes
        plain, step_time = batch_time("plain"), seconds(step, 5)
        for arm in ("fixed", "mixed", "iterative", "paper-fixed"):
            added = batch_time(arm) - plain
            yield {
                "images": name,
                "arm": arm,
                "step ms": round(1e3 * (plain + step_time), 1),
                "share": round(added / (plain + step_time), 4),
            }
    os.sched_setaffinity(0, CORES[:1])


def consistency(data: Path | None) -> Iterator[Row]:
    """Measure what consistency adds to the forward and backward passes of its views, on one core.

    The passes are those of a ResNet-20 with the cross entropy alone. "loss" is the share that the
    consistency loss adds to them, and "views" that of making the views.
    """
    from virolbi.data import Images
    from virolbi.recipes import Recipe, load_recipe
    from virolbi.training import Batches, batch_loss, build_network

    torch.set_num_threads(1)
    name, images = small_images(data)
    labelled = Images(
        name, np.rint(images * 255).astype(np.uint8), np.arange(len(images)) % 2, ("a", "b")
    )
    network = build_network("resnet20", channels=3, classes=10, size=32).to(
        memory_format=torch.channels_last
    )
    plain = Batches(load_recipe("cifar10-resnet20-plain"), labelled)
    for _ in range(2):  # side by side, because the speed of the machine changes
        for arm in ("consistent", "consistent-augmix", "rival-augmix-jsd", "rival-prime-jsd"):
            recipe = load_recipe(f"cifar10-resnet20-{arm}")
            batches = Batches(recipe, labelled)
            views, labels, *_ = batches[0]
            shown = views.flatten(0, 1).to(memory_format=torch.channels_last)
            logits = network(shown).unflatten(0, (len(views), -1)).detach().requires_grad_()

            def step(settings: Recipe) -> None:
                outputs = network(shown).unflatten(0, (len(views), -1))
                batch_loss(outputs, labels, settings).backward()

            def loss(settings: Recipe) -> None:
                batch_loss(logits, labels, settings).backward()

            alone = recipe.replace(consistency=0)
            passes = seconds(lambda: step(alone), 3)
            adding = seconds(lambda: loss(recipe)) - seconds(lambda: loss(alone))
            making = seconds(lambda: batches[0], 3) - seconds(lambda: plain[0], 3)
            yield {
                "images": name,
                "arm": arm,
                "passes ms": round(1e3 * passes, 1),
                "loss": round(adding / passes, 4),
                "views": round(making / passes, 4),
            }


class Launches(TorchDispatchMode):
    """Count the operations that an accelerator would launch, and the waits of the host for it.

    Views and empty tensors launch nothing. The host waits to read a number, to compare tensors and
    to select by a mask; copies between host and device are not seen on a CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.waits = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        name, results = function._schema.name.split("::")[1], function._schema.returns
        lists = [argument for argument in arguments if isinstance(argument, list)]
        indices = chain.from_iterable(lists) if name.startswith("index") else ()
        masked = any(index is not None and index.dtype == torch.bool for index in indices)
        reads = name in ("_local_scalar_dense", "equal", "nonzero")
        view = any(each.alias_info and not each.alias_info.is_write for each in results)
        self.waits += reads or masked
        self.operations += not (view or name == "_local_scalar_dense" or "empty" in name)
        return function(*arguments, **(keywords or {}))


def launches(data: Path | None) -> Iterator[Row]:
    """Count what the torch operations of an accelerator without kernels do for 128 images."""
    name, images = small_images(data)
    batch = torch.from_numpy(images[:128])
    forms = FORMS | {"robust form, auto": ("auto", {})}
    for form, (sparsity, settings) in forms.items():
        settings = {"nu": Form.nu, "delta": Form.delta, "joint": Form.joint} | settings
        output = settings.pop("output", "beta")
        with Launches() as count:
            scale = TensorScale.of(batch, sparsity, channel_axis=1, **settings)
            getattr(scale, output)
        yield {
            "images": name,
            "form": form,
            "batch": len(batch),
            "operations": count.operations,
            "waits": count.waits,
        }


PARTS = {
    part.__name__: part
    for part in (
        *(
            throughput,
            agreement,
            accuracy,
            steps,
            size,
            whole,
            cores,
            further,
            denoising,
            defaults,
            start,
            training,
        ),
        consistency,
        launches,
    )
}


def main(arguments: list[str]) -> None:
    """Run the named parts, or all, and write the rows of each when it is done."""
    names = [argument for argument in arguments if argument in PARTS] or list(PARTS)
    folders = [Path(argument) for argument in arguments if argument not in PARTS]
    os.sched_setaffinity(0, CORES[:1])
    for name in names:
        rows = []
        for row in PARTS[name](folders[0] if folders else None):
            print(name, row, flush=True)
            rows.append(row)
        if rows:
            write_atomic(
                OUT / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()
            )


if __name__ == "__main__":
    main(sys.argv[1:])
