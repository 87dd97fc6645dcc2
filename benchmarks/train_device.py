"""Train the leading arms with a ResNet-18 on CIFAR images on a GPU, and test them.

Usage: python benchmarks/train_device.py pack FOLDER [--train 12000] [--test 2000]
       python benchmarks/train_device.py train [--passes 24] [--seeds 1] [--minutes 7] [--dry-run]

`pack` makes build/cifar.npz of as many images as are asked for, from a data set that the command
line reads (CIFAR-10), so that a machine without it can train: 12,000 and 2,000 images are 41 MB.
`train` needs that file, a GPU with Triton, and the package with what it requires for training. It
trains by `virolbi.training.train`, in bfloat16, with workers that make the views; what smooths last
in them is smoothed on the GPU. Every arm has the same forward and backward passes. At 6,000 images
a second, which is cautious for an H100, 24 passes of five arms take 4 minutes, and the tests 2.
Rows go to results/device/training.jsonl in the format of results/cifar10/rows.jsonl, for the views
"raw" and "smoothed by auto".
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
os.environ["TRITON_INTERPRET"] = "0"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from virolbi.corruptions import COMMON, corrupt  # noqa: E402
from virolbi.data import Images, load  # noqa: E402
from virolbi.nn import Smooth  # noqa: E402
from virolbi.recipes import Recipe, arms  # noqa: E402
from virolbi.results import wilson_interval  # noqa: E402
from virolbi.training import choose_device, train  # noqa: E402

PACKED = ROOT / "build" / "cifar.npz"
OUT = ROOT / "results" / "device" / "training.jsonl"
# in the order of their importance, because the time may not be enough for all
ARMS = (
    "recommended",
    "rival-augmix-jsd-gaussian",
    "consistent-augmix",
    "rival-gaussian",
    "plain",
)
COMMON_SETTINGS = {
    "model": "resnet18_cifar",
    "batch_size": 256,
    "learning_rate": 0.1,
    "schedule": "cosine",
    "label_smoothing": 0.1,
    "precision": "bf16",
}
DRY_SETTINGS = {"model": "resnet8", "batch_size": 8}
SEVERITIES = (3, 5)
DEVICE = choose_device()


def pack(folder: str, train_count: int, test_count: int) -> None:
    """Write the first images of a data set to one file."""
    arrays = {}
    for split, count in (("train", train_count), ("test", test_count)):
        images = load(folder, split, limit=count)
        arrays[f"{split}_pixels"] = images.pixels
        arrays[f"{split}_labels"] = images.labels.astype(np.uint8)
        print(f"{split}: {len(images.labels)} images")
    PACKED.parent.mkdir(exist_ok=True)
    np.savez_compressed(PACKED, **arrays)
    print(f"{PACKED}: {PACKED.stat().st_size / 1e6:.1f} MB")


def unpack(dry: bool) -> tuple[Images, Images]:
    """Return the packed training and test images, or random ones."""
    if dry:
        random = np.random.default_rng(0)
        data = {
            f"{split}_{name}": random.integers(0, top, shape, dtype=np.uint8)
            for split in ("train", "test")
            for name, top, shape in (("pixels", 256, (16, 3, 32, 32)), ("labels", 10, (16,)))
        }
    else:
        data = dict(np.load(PACKED))
    train_images, test_images = (
        Images(
            "cifar10",
            data[f"{split}_pixels"],
            data[f"{split}_labels"].astype(np.int64),
            tuple("0123456789"),
        )
        for split in ("train", "test")
    )
    return train_images, test_images


@torch.no_grad()
def correct(model: nn.Module, images: Tensor, labels: Tensor, smoother: nn.Module) -> int:
    """Return the number of images that a network recognises behind a smoother."""
    total = 0
    for part, truth in zip(images.split(1000), labels.split(1000), strict=True):
        with torch.autocast(DEVICE.type, torch.bfloat16):
            total += int((model(smoother(part)).argmax(1) == truth).sum())
    return total


def conditions(pixels: np.ndarray) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield the test images as they are, and under every common corruption."""
    images = pixels.astype(np.float32) / 255
    yield "clean", 0, images
    for name in COMMON:
        for severity in SEVERITIES:
            yield name, severity, corrupt(images, name, severity)


def run(passes: int, seeds: int, minutes: float, dry: bool) -> None:
    """Train and test every arm for which there is time, and write rows."""
    end = time.perf_counter() + 60 * minutes
    images, test_images = unpack(dry)
    labels = torch.from_numpy(test_images.labels).to(DEVICE)
    tests = [
        (name, severity, torch.from_numpy(pixels).to(DEVICE))
        for name, severity, pixels in list(conditions(test_images.pixels))[: 2 if dry else None]
    ]
    out = ROOT / "build" / "dry-run.jsonl" if dry else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    views = {"raw": nn.Identity(), "smoothed by auto": Smooth("auto")}
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else DEVICE.type
    workers = 0 if dry else max(1, (os.cpu_count() or 2) - 2)
    settings = COMMON_SETTINGS | (DRY_SETTINGS if dry else {})
    with out.open("w") as file:
        for seed, arm in ((seed, arm) for seed in range(seeds) for arm in ARMS):
            if time.perf_counter() > end:
                print(f"{arm}, seed {seed}: left out for want of time", flush=True)
                continue
            recipe = Recipe(**(arms()[arm] | settings), seed=seed).with_passes(passes)
            start = time.perf_counter()
            model = train(recipe, images, workers=workers).model
            seconds = time.perf_counter() - start
            print(f"{arm}, seed {seed}: trained in {seconds:.1f} s on {device}", flush=True)
            for view, smoother in views.items():
                for name, severity, shown in tests:
                    right = correct(model, shown, labels, smoother)
                    low, high = wilson_interval(right, len(labels))
                    row = {"arm": arm, "seed": seed, "data": "cifar10", "view": view}
                    row |= {"condition": name, "severity": severity, "count": len(labels)}
                    row |= {"accuracy": right / len(labels), "low": low, "high": high}
                    row |= {"train_images": len(images), "epochs": recipe.epochs}
                    row |= {"passes": recipe.epochs * recipe.passes, "device": device}
                    row |= {"train_seconds": round(seconds, 1)}
                    file.write(json.dumps(row) + "\n")
                    file.flush()
    print(out)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="make the file of images")
    packing.add_argument("folder", help="CIFAR-10, as `virolbi train` reads it")
    packing.add_argument("--train", type=int, default=12_000)
    packing.add_argument("--test", type=int, default=2_000)
    training = commands.add_parser("train", help="train and test every arm")
    training.add_argument("--passes", type=int, default=24, help="of each image, in every arm")
    training.add_argument("--seeds", type=int, default=1)
    training.add_argument("--minutes", type=float, default=7, help="no arm is begun after them")
    training.add_argument("--dry-run", action="store_true", help="16 random images, anywhere")
    arguments = parser.parse_args()
    if arguments.command == "pack":
        pack(arguments.folder, arguments.train, arguments.test)
    else:
        passes = 3 if arguments.dry_run else arguments.passes
        run(passes, arguments.seeds, arguments.minutes, arguments.dry_run)


if __name__ == "__main__":
    main()
