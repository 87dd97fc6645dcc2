"""Run the smoother and its peers side by side: python benchmarks/run.py [folder of data] [parts ...]

Writes one file of rows for each part to results/engine; the tables in benchmarks/README.md are made from them. The data are
those of the README (CIFAR-10, 112-pixel photographs, Set12 and Kodak); without them, tiles of two photographs that scikit-learn
ships stand in, and the parts that need the real ones are left alone. Everything runs on one core unless a row says two; run it
on a quiet machine.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import peers
from virolbi import PAPER, ScaleSpace, lbi, smooth
from virolbi._engine import Settings
from virolbi._storage import write_atomic
from virolbi.data import load
from virolbi.scale_space import Solver

OUT = Path(__file__).parent.parent / "results" / "engine"
CORES = sorted(os.sched_getaffinity(0))
FORMS = {
    "published form, sparsity .6": (0.6, dict(PAPER)),
    "robust form, sparsity .8": (0.8, {}),
    "published form, sparsity .6, nu = .1": (0.6, dict(PAPER, nu=0.1)),
    "robust form, sparsity .8, nu = .1": (0.8, {"nu": 0.1}),
}
SEARCHED = {  # the one knob of each peer
    "Chambolle TV (scikit-image)": np.linspace(0.05, 0.14, 10),
    "split Bregman TV (scikit-image)": np.linspace(3, 12, 10),
    "non-local means (OpenCV)": np.linspace(14, 32, 10),
    "bilateral, radius 4 (OpenCV)": np.linspace(0.1, 0.6, 11),
    "TV (deepinv)": np.linspace(0.05, 0.14, 10),
}
Row = dict[str, Any]


def seconds(function: Callable[[], Any], repeats: int = 7) -> float:
    """Median time of a call, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def small_images(data: Path | None) -> tuple[str, np.ndarray]:
    """600 colour images (N, 3, 32, 32), float32."""
    if data:
        return "CIFAR-10", load(str(data / "cifar10"), "test", limit=600).pixels / np.float32(255)
    return "tiles of photographs", np.tile(tiles(32), (13, 1, 1, 1))[:600]


def tiles(side: int) -> np.ndarray:
    """Tiles (N, 3, side, side) of the photographs that scikit-learn ships, reduced by 3 for small ones."""
    from sklearn.datasets import load_sample_image

    result = []
    for name in ("china.jpg", "flower.jpg"):
        pixels = np.asarray(
            Image.fromarray(load_sample_image(name)).reduce(3 if side < 64 else 1)
        ) / np.float32(255)
        result += [
            pixels[i : i + side, j : j + side].transpose(2, 0, 1)
            for i in range(0, len(pixels) - side + 1, side)
            for j in range(0, pixels.shape[1] - side + 1, side)
        ]
    return np.stack(result)


def throughput(data: Path | None) -> Iterator[Row]:
    """Images a second, 3x32x32, float32, and the ratio to Chambolle's TV timed in the same minute."""
    name, images = small_images(data)
    others = peers.installed()
    last = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images[:150]]
    chambolle = others["Chambolle TV (scikit-image)"]

    def reference() -> float:
        return len(last) / seconds(lambda: [chambolle(image) for image in last], 3)

    def row(method: str, rate: float, base: float, cores: int = 1) -> Row:
        return {
            "images": name,
            "method": method,
            "cores": cores,
            "per_second": round(rate, 2),
            "ratio": round(rate / base, 4),
        }

    one = {}
    for method, (sparsity, form) in FORMS.items():
        base = reference()
        one[method] = len(images) / seconds(
            lambda s=sparsity, f=form: smooth(images, s, channel_axis=1, **f)
        )
        yield row(method, one[method], base)
    os.sched_setaffinity(0, CORES[:2])
    for method, (sparsity, form) in list(FORMS.items())[:2]:
        rate = len(images) / seconds(
            lambda s=sparsity, f=form: smooth(images, s, channel_axis=1, **f)
        )
        yield row(method, rate, base, 2) | {"speedup": round(rate / one[method], 3)}
    os.sched_setaffinity(0, CORES[:1])
    for method, peer in others.items():
        base = reference()
        yield row(
            method + ", defaults",
            len(last) / seconds(lambda p=peer: [p(image) for image in last], 3),
            base,
        )
    planes = images[:32].reshape(-1, 32, 32)
    rough = planes[[len(np.unique(plane)) > 100 for plane in planes]]
    base = reference()
    for method, count, run in (
        (
            "the iteration, kappa = 10, NumPy",
            2,
            lambda p: peers.plain_iteration(p[:1], 0.6) + peers.plain_iteration(p[1:], 0.6),
        ),
        ("the iteration, kappa = 10, compiled", 16, lambda p: lbi(p, kappa=10.0, sparsity=0.6)),
    ):
        yield row(method, count / 3 / seconds(lambda r=run, c=count: r(rough[:c]), 1), base)
    try:
        import torch

        torch.set_num_threads(1)
        batch = torch.from_numpy(rough[:32])
        yield row(
            "the iteration, kappa = 10, batched in torch",
            32 / 3 / seconds(lambda: peers.plain_iteration(batch, 0.6), 1),
            base,
        )
    except ImportError:
        pass


class Fine(Solver):
    """The same path at time steps of .05 % with many relaxations."""

    def settings(self, kind: type) -> Settings:
        """As usual, but finer."""
        usual = super().settings(kind)
        more = 3 if self.nu >= 1 else 7 * usual.relaxations
        return usual._replace(growth=kind(0.0005), relaxations=more, begin=3 * usual.begin)


def agreement(data: Path | None) -> Iterator[Row]:
    """Share of edges on which the support agrees with that of a much finer path, over the images whose path has not ended."""
    name, images = small_images(data)
    sets = {name: images[:150]}
    if data:
        photographs = load(str(data / "imagenette112"), "test", limit=20, size=112)
        sets["photographs, 112 px"] = photographs.pixels / np.float32(255)
    else:
        sets["photographs, 112 px"] = tiles(112)
    sets["digits"] = load("digits", "test", limit=150).pixels / np.float32(255)
    for images_name, pixels in sets.items():
        loose = {
            "published form, nu = .01": (0.6, dict(PAPER, nu=0.01)),
            "robust form, nu = .01": (0.8, {"nu": 0.01}),
        }
        for method, (sparsity, form) in (FORMS | loose).items():
            wanted = (
                0.9 if images_name == "digits" else sparsity
            )  # most digits have no more than that
            few = pixels[: max(4, len(pixels) // {1.0: 1, 0.1: 3, 0.01: 10}[form.get("nu", 1.0)])]
            settings = {key: value for key, value in form.items() if key != "output"} | {
                "channel_axis": 1
            }
            coarse, fine = ScaleSpace(few, **settings), ScaleSpace(few, **settings)
            fine._solver = Fine(fine._solver.nu, fine._solver.delta)
            ours, exact = coarse.finish(wanted), fine.finish(wanted)
            going = np.isfinite(exact.time)
            agree = (ours.support == exact.support).mean(axis=-1)[going]
            yield {
                "images": images_name, "method": method.split(",")[0], "nu": form.get("nu", 1.0), "sparsity": wanted,
                "count": int(going.sum()), "mean": round(float(agree.mean()), 5), "worst": round(float(agree.min()), 5),
                "beta_rms": round(float(np.sqrt(((ours.beta - exact.beta) ** 2).mean())), 5),
            }  # fmt: skip


def size(data: Path | None) -> Iterator[Row]:
    """Time for each number of a colour image, and the most memory beyond input and output, by the size of the image.

    Every image is a mosaic of the same small ones, so that there is the same to do for every pixel.
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
        whole = np.repeat(mosaic, max(1, 256 // across**2), axis=0)
        took = seconds(lambda: smooth(whole, 0.8, channel_axis=1), repeats) / whole.size
        cut = seconds(lambda: smooth(small, 0.8, channel_axis=1), repeats) / small.size
        yield {
            "images": name, "side": side, "ns_per_number": round(1e9 * took, 2), "ratio": round(took / cut, 3),
            "bytes_per_number": memory(side),
        }  # fmt: skip


def memory(side: int) -> float | None:
    """Most resident memory while smoothing noise, beyond what there was before and the output; a fresh process each."""
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
    return round(
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        ),
        1,
    )


def further(data: Path | None) -> Iterator[Row]:
    """What more questions cost once a path has been followed to sparsity .6, as shares of following it."""
    name, images = small_images(data)
    for method in ("published form, sparsity .6", "robust form, sparsity .8"):
        sparsity, form = FORMS[method]
        settings = {key: value for key, value in form.items() if key != "output"} | {
            "channel_axis": 1
        }
        output = form.get("output", "beta")
        solve = seconds(lambda: smooth(images, sparsity, output=output, **settings))
        space = ScaleSpace(images, **settings)
        followed = space.at(sparsity)
        higher = sparsity + 0.05
        scale = space.at(higher)
        gradient = np.random.default_rng(0).normal(size=images.shape).astype(np.float32)
        fresh = ScaleSpace(images, **settings).finish(higher)
        yield {
            "images": name, "method": method,
            "support": round(seconds(lambda: space.at(higher)) / solve, 4),
            "regions": round(seconds(lambda: space.at(higher)._project(space._data)) / solve, 4),
            "beta": round(seconds(lambda: space.at(higher).beta) / solve, 4),
            "backward": round(seconds(lambda: followed.pullback(gradient, output)) / solve, 4),
            "support_differs": int((scale.support != fresh.support).sum()),
            "beta_differs": float(np.abs(scale.beta - fresh.beta).max()),
        }  # fmt: skip


def denoising(data: Path | None) -> Iterator[Row]:
    """Best PSNR at sigma 25 with one setting for a whole set, every method searched alike, and the time of one image."""
    if data is None:
        return
    for name in ("Set12", "Kodak24"):
        rng = np.random.default_rng(0)
        clean = [
            np.asarray(Image.open(file)) / np.float32(255)
            for file in sorted((data / "denoise" / name).glob("*.png"))
        ]
        noisy = [
            (image + rng.normal(0, 25 / 255, image.shape)).astype(np.float32) for image in clean
        ]
        one = max(noisy, key=lambda image: image.size)
        axis = -1 if one.ndim == 3 else None
        base = None

        def score(results: Any) -> float:
            return float(
                np.mean(
                    [
                        -10 * np.log10(np.mean((np.clip(r, 0, 1) - c) ** 2))
                        for r, c in zip(results, clean, strict=True)
                    ]
                )
            )

        def row(
            method: str, knob: str, scores: dict[float, float], run: Callable[[float], Any]
        ) -> Row:
            best = max(scores, key=lambda value: scores[value])
            took = seconds(lambda: run(best), 5)
            return {
                "set": name, "method": method, "knob": f"{knob} {best:.3g}", "psnr": round(scores[best], 3),
                "milliseconds": round(1e3 * took, 2), "ratio": round((base or took) / took, 3),
            }  # fmt: skip

        for method, peer in peers.installed().items():
            base = base or seconds(lambda: peer(one), 5)  # Chambolle comes first, at its defaults
            scores = {
                float(value): score(peer(y, value) for y in noisy) for value in SEARCHED[method]
            }
            yield row(method, "", scores, lambda value: peer(one, value))
        for nu in (1.0, 0.5, 0.3, 0.1):
            form = {"nu": nu, "delta": np.inf, "channel_axis": axis}
            spaces = [ScaleSpace(np.clip(y, -1, 2), **form) for y in noisy]
            for knob, values in (
                ("sparsity", np.linspace(0.98, 0.8, 10)),
                ("time", np.linspace(5, 10, 11)),
            ):
                scores = {
                    float(value): score(space.at(**{knob: value}).beta for space in spaces)
                    for value in values
                }
                run = lambda value: (
                    ScaleSpace(np.clip(one, -1, 2), **form).finish(**{knob: value}).beta
                )  # noqa: E731
                yield row(f"virolbi, nu = {nu:g}", knob, scores, run)


def defaults(data: Path | None) -> Iterator[Row]:
    """Best PSNR over sparsity, and where it is, by nu, delta and size of image, for the robust form under three noises."""
    if data is None:
        return
    name, small = small_images(data)
    photographs = load(str(data / "imagenette112"), "test", limit=12, size=112).pixels / np.float32(
        255
    )
    kodak = [
        np.asarray(Image.open(file)) / np.float32(255)
        for file in sorted((data / "denoise" / "Kodak24").glob("*.png"))[:6]
    ]
    sets = {
        name: small[:100],
        "photographs, 112 px": photographs,
        "Kodak, 500 px": np.stack(kodak).transpose(0, 3, 1, 2),
    }
    grid = np.array([0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6])
    for set_name, clean in sets.items():
        rng = np.random.default_rng(0)
        draw = rng.random(clean.shape)
        impulses = np.where(draw < 0.025, 0, np.where(draw > 0.975, 1, clean))
        noises = {
            f"Gaussian {sigma}": clean + rng.normal(0, sigma, clean.shape) for sigma in (0.04, 0.1)
        } | {"impulse .05": impulses}
        for noise, noisy in noises.items():
            for nu in (1.0, 0.3, 0.1):
                for delta in (0.05, 0.1, 0.2, np.inf):
                    space = ScaleSpace(
                        np.clip(noisy, 0, 1).astype(np.float32), nu=nu, delta=delta, channel_axis=1
                    )
                    scores = [
                        float(
                            -10 * np.log10(((space.at(s).beta - clean) ** 2).mean((1, 2, 3))).mean()
                        )
                        for s in grid
                    ]
                    best = int(np.argmax(scores))
                    yield {
                        "images": set_name, "noise": noise, "nu": nu, "delta": str(delta), "sparsity": float(grid[best]),
                        "psnr": round(scores[best], 2), "psnr_at_.8": round(scores[4], 2),
                    }  # fmt: skip


def start(data: Path | None) -> Iterator[Row]:
    """Seconds of the first call in a fresh process, on a cold and then on a warm compile cache."""
    code = (
        "import time, numpy as np; from virolbi import smooth; images = np.random.rand(4, 3, 32, 32).astype('f'); "
        "t = time.perf_counter(); smooth(images, .8, channel_axis=1); print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as cache:
        for state in ("cold", "warm"):
            run = subprocess.run(
                [sys.executable, "-c", code],
                env=dict(os.environ, NUMBA_CACHE_DIR=cache),
                capture_output=True,
                text=True,
                check=True,
            )
            yield {
                "cache": state,
                "seconds": round(float(run.stdout), 2),
                "announced": "compiling" in run.stderr,
            }


def training(data: Path | None) -> Iterator[Row]:
    """What smoothing on the fly adds to a training step of ResNet-20, as a share of the step on plain images; two cores."""
    import torch

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

    def made(arm: str) -> float:
        batches = Batches(load_recipe(f"cifar10-resnet20-{arm}"), labelled)
        return seconds(lambda: [batches[step] for step in range(4)], 5) / 4

    inputs, truth, _ = Batches(load_recipe("cifar10-resnet20-plain"), labelled)[0]

    def step() -> None:
        shown = inputs.to(memory_format=torch.channels_last)
        torch.nn.functional.cross_entropy(network(shown), truth).backward()

    for _ in range(3):  # side by side, for the machine changes
        plain, taken = made("plain"), seconds(step, 5)
        for arm in ("fixed", "mixed", "iterative", "paper-fixed"):
            more = made(arm) - plain
            yield {
                "images": name,
                "arm": arm,
                "step ms": round(1e3 * (plain + taken), 1),
                "share": round(more / (plain + taken), 4),
            }
    os.sched_setaffinity(0, CORES[:1])


PARTS = {
    part.__name__: part
    for part in (throughput, agreement, size, further, denoising, defaults, start, training)
}


def main(arguments: list[str]) -> None:
    """Run some parts, or all, and write the rows of each when it is done."""
    wanted = [argument for argument in arguments if argument in PARTS] or list(PARTS)
    folders = [Path(argument) for argument in arguments if argument not in PARTS]
    os.sched_setaffinity(0, CORES[:1])
    for part in wanted:
        rows = []
        for row in PARTS[part](folders[0] if folders else None):
            print(part, row, flush=True)
            rows.append(row)
        if rows:
            write_atomic(
                OUT / f"{part}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()
            )


if __name__ == "__main__":
    main(sys.argv[1:])
