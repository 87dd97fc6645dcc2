"""Check and time the smoother on a GPU, in less than eight minutes.

Usage: python benchmarks/device.py [--out FILE] [--minutes 7.5] [--dry-run]

It needs PyTorch, Triton and the package's sources, and downloads nothing. Rows go to
results/device/device.jsonl, one by one, so that those before an interruption are kept. Parts run in
the order of their importance: the tests of the kernels, determinism, times at five sizes, training
steps, shapes of programs. What no longer fits into the time is named at the end. With --dry-run,
everything runs on the CPU at tiny sizes, with the kernels in Triton's interpreter, to see that the
script works.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
DRY = "--dry-run" in sys.argv
os.environ["TRITON_INTERPRET"] = "1" if DRY else "0"  # read when Triton is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
import triton  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import virolbi  # noqa: E402
from virolbi import PAPER, ScaleSpace  # noqa: E402
from virolbi.nn import Smooth, layer, path  # noqa: E402
from virolbi.nn.kernels import launch  # noqa: E402

DEVICE = torch.device("cpu" if DRY else "cuda")
FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "robust form, sparsity .8": (0.8, {}),
    "robust form, auto": ("auto", {}),
    "published form, sparsity .6": (0.6, dict(PAPER)),
}
# pixels: images in a batch
SIZES = {8: 2} if DRY else {32: 1024, 64: 512, 112: 256, 224: 128, 512: 32}
REPETITIONS = 1 if DRY else 5
STEPS = {"resnet18": (8, 2), "resnet50": (32, 2)} if DRY else {
    "resnet18": (32, 512), "resnet50": (224, 128)
}  # fmt: skip


class Rows:
    """Rows of results, written as they come, until the time is over."""

    def __init__(self, file: Path, seconds: float) -> None:
        self._file, self._end = file, time.perf_counter() + seconds
        self.left_out: list[str] = []
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        device = "CPU (interpreter)" if DRY else torch.cuda.get_device_name()
        self._common = {
            "device": device,
            "torch": torch.__version__,
            "triton": triton.__version__,
            "virolbi": virolbi.__version__,
            "commit": _commit(),
        }

    def add(self, **row: Any) -> None:
        """Add a row, and print it."""
        print(json.dumps(row), flush=True)
        with self._file.open("a") as file:
            file.write(json.dumps(row | self._common) + "\n")

    def measure(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Add the row that a function makes, or one with its error, unless the time is over."""
        if time.perf_counter() > self._end:
            self.left_out.append(name)
            return
        try:
            self.add(**make())
        except Exception as error:  # the rows behind it are worth having all the same
            self.add(part=name, error=f"{type(error).__name__}: {error}"[:500])


def _commit() -> str:
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    return "unknown"


@contextmanager
def using(operations: str) -> Iterator[None]:
    """Let the layer use the "kernels", or "torch" operations, on tensors of this device."""
    chosen = path.kernels() if operations == "kernels" else path.TORCH
    before = path.operations_for, layer._on_accelerator
    path.operations_for, layer._on_accelerator = lambda images: chosen, lambda images: True
    try:
        yield
    finally:
        path.operations_for, layer._on_accelerator = before


def pictures(number: int, size: int, noise: float = 0.05) -> Tensor:
    """Return colour gradients with discs and noise, on the CPU."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size].astype(np.float32) / size
    images = np.empty((number, 3, size, size), np.float32)
    for image in images:
        slopes = rng.uniform(-0.2, 0.2, (2, 3, 1, 1))
        image[:] = 0.5 + slopes[0] * rows + slopes[1] * columns
        for row, column, radius in rng.random((12, 3)) * [1, 1, 0.25]:
            disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
            image[:, disc] = rng.random((3, 1))
        image += rng.normal(0, noise, image.shape)
    return torch.from_numpy(images.clip(0, 1))


def seconds_of(work: Callable[[], object]) -> float:
    """Return the median time of some work on the device, after a first run that compiles."""
    times = []
    for _ in range(1 + REPETITIONS):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def synchronize() -> None:
    """Wait for the device."""
    if not DRY:
        torch.cuda.synchronize()


def run_tests(rows: Rows) -> None:
    """Run the tests of the kernels, which compare them with the compiled engine, on the device."""
    file = ROOT / "tests" / "nn" / "test_kernels.py"
    command = [sys.executable, "-m", "pytest", "--noconftest", "-p", "no:cacheprovider"]
    chosen = ["-k", "regions_agree"] if DRY else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path])}

    def make() -> dict[str, Any]:
        result = subprocess.run(
            [*command, str(file), *chosen],
            env=environment,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=240,
        )
        print(result.stdout[-3000:], result.stderr[-2000:], flush=True)
        summary = result.stdout.strip().splitlines()[-1:]
        return {"part": "tests", "passed": result.returncode == 0, "summary": "".join(summary)}

    rows.measure("tests", make)


def check_results(rows: Rows) -> None:
    """Compare with the compiled engine on many images, and runs and batches with each other."""
    size, number = (8, 2) if DRY else (32, 512)
    images = pictures(number, size)
    on_device = images.to(DEVICE)
    for form, (sparsity, settings) in FORMS.items():

        def make() -> dict[str, Any]:
            smooth = Smooth(sparsity, **settings)
            with using("kernels"):
                first = smooth(on_device)
                runs = range(1 if DRY else 9)
                repeated = all(torch.equal(smooth(on_device), first) for _ in runs)
                half = torch.cat([smooth(part) for part in on_device.split(number // 2)])
                scale = path.TensorScale.of(
                    on_device,
                    sparsity,
                    nu=smooth.form.nu,
                    delta=smooth.form.delta,
                    channel_axis=1,
                    joint=smooth.form.joint,
                )
            space = ScaleSpace(
                images.numpy(), delta=smooth.form.delta, channel_axis=1, joint=smooth.form.joint
            )
            expected = space.at(sparsity)
            lead = len(expected._support)
            support = scale.support.cpu().numpy().reshape(expected._support.shape)
            same = (support == expected._support).all(1)
            error = np.abs(scale.beta.cpu().numpy() - expected.beta).reshape(lead, -1).max(1)
            return {
                "part": "agreement with the compiled engine",
                "form": form,
                "images": number,
                "edges_that_differ": float((support != expected._support).mean()),
                "images_with_equal_supports": float(same.mean()),
                "largest_error_of_beta_there": float(error[same].max(initial=0)),
                "same_bits_in_ten_runs": repeated,
                "same_bits_in_half_the_batch": torch.equal(half, first),
            }

        rows.measure(f"agreement, {form}", make)


def time_smoothing(rows: Rows, operations: str) -> None:
    """Time all forms at every size, forward and backward, in kernels or torch operations."""
    for size, number in SIZES.items():
        images = pictures(min(number, 64), size).repeat(-(-number // 64), 1, 1, 1)[:number]
        images = images.to(DEVICE)
        for form, (sparsity, settings) in FORMS.items():
            smooth = Smooth(sparsity, **settings)
            leaf = images.clone().requires_grad_()

            def backward() -> None:
                leaf.grad = None
                smooth(leaf).sum().backward()

            for direction, work in (
                ("forward", lambda: smooth(images)),
                ("forward and backward", backward),
            ):

                def make() -> dict[str, Any]:
                    with using(operations):
                        seconds = seconds_of(work)
                    return {
                        "part": "throughput",
                        "operations": operations,
                        "form": form,
                        "size": size,
                        "batch": number,
                        "direction": direction,
                        "seconds": seconds,
                        "images_per_second": number / seconds,
                    }

                rows.measure(f"{operations}, {size} px, {form}, {direction}", make)


def time_peers(rows: Rows) -> None:
    """Time other smoothers on the device, as far as they are installed."""
    peers: dict[str, Callable[[Tensor], Tensor]] = {}
    with suppress(ImportError):
        from deepinv.models import TVDenoiser

        denoiser = TVDenoiser().to(DEVICE)
        peers["TV (deepinv)"] = lambda images: denoiser(images, 0.1)
    with suppress(ImportError):
        from kornia.filters import median_blur

        peers["3x3 median (kornia)"] = lambda images: median_blur(images, 3)
    for name, peer in peers.items():
        for size, number in SIZES.items():
            images = pictures(min(number, 32), size).to(DEVICE)

            def make() -> dict[str, Any]:
                seconds = seconds_of(lambda: peer(images))
                return {
                    "part": "peers",
                    "peer": name,
                    "size": size,
                    "batch": len(images),
                    "seconds": seconds,
                    "images_per_second": len(images) / seconds,
                }

            rows.measure(f"{name}, {size} px", make)
    if not peers:
        rows.add(part="peers", note="neither deepinv nor kornia is installed here")


def time_training(rows: Rows) -> None:
    """Time a training step in bfloat16, with and without the smoother in front."""
    try:
        from torchvision import models
    except ImportError:
        rows.add(part="training step", note="torchvision is not installed here")
        return
    for name, (size, number) in STEPS.items():
        network = getattr(models, name)(num_classes=10)
        if size <= 32:  # the usual stem for small images
            network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            network.maxpool = nn.Identity()
        network = network.to(DEVICE, memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
        images = pictures(min(number, 64), size).repeat(-(-number // 64), 1, 1, 1)[:number]
        images = images.to(DEVICE)
        labels = torch.arange(number, device=DEVICE) % 10

        def step(inputs: Tensor) -> None:
            with torch.autocast(DEVICE.type, torch.bfloat16):
                logits = network(inputs.contiguous(memory_format=torch.channels_last))
                loss = nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def make() -> dict[str, Any]:
            smooth = Smooth(0.8)
            with using("kernels"):
                bare, whole = (
                    seconds_of(lambda: step(images)),
                    seconds_of(lambda: step(smooth(images))),
                )
            return {
                "part": "training step",
                "network": name,
                "size": size,
                "batch": number,
                "seconds": bare,
                "seconds_with_smoothing": whole,
                "smoothing_over_step": whole / bare - 1,
            }

        rows.measure(f"training step, {name}", make)


def time_shapes(rows: Rows) -> None:
    """Time other shapes of programs than the usual one."""
    size, number = next(iter(SIZES.items()))
    images = pictures(min(number, 64), size).repeat(-(-number // 64), 1, 1, 1)[:number].to(DEVICE)
    usual = launch.BLOCK, launch.WARPS
    for block, warps in ((256, 8), (512, 8), (1024, 4), (1024, 16), usual):
        launch.BLOCK, launch.WARPS = block, warps

        def make() -> dict[str, Any]:
            with using("kernels"):
                seconds = seconds_of(lambda: Smooth(0.8)(images))
            return {
                "part": "shapes of programs",
                "size": size,
                "batch": number,
                "block": block,
                "warps": warps,
                "images_per_second": number / seconds,
            }

        rows.measure(f"block {block}, {warps} warps", make)
    launch.BLOCK, launch.WARPS = usual


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = ROOT / "results" / "device" / "device.jsonl"
    parser.add_argument("--out", type=Path, default=usual, help="file of rows")
    parser.add_argument("--minutes", type=float, default=7.5, help="no row is begun after them")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, at tiny sizes")
    arguments = parser.parse_args()
    if not DRY and not torch.cuda.is_available():
        parser.error("there is no GPU; --dry-run checks the script without one")
    rows = Rows(arguments.out, 60 * arguments.minutes)
    run_tests(rows)
    check_results(rows)
    time_smoothing(rows, "kernels")
    time_training(rows)
    time_smoothing(rows, "torch")
    time_peers(rows)
    time_shapes(rows)
    if rows.left_out:
        print("left out for want of time:", *rows.left_out, sep="\n  ")


if __name__ == "__main__":
    main()
