"""Train a ResNet-18 on CIFAR images with everything on a GPU, and test it under corruptions.

Usage: python benchmarks/train_device.py pack FOLDER [--train 12000] [--test 2000]
       python benchmarks/train_device.py train [--epochs 40] [--seeds 1] [--dry-run]

`pack` makes build/cifar.npz of as many images as are asked for, from a data set that the command
line reads (CIFAR-10), so that a machine without it can train: 12,000 and 2,000 images are 41 MB.
`train` needs that file, PyTorch, torchvision, Triton and the package's sources. Images stay on the
device, where they are cropped, flipped, made noisy and smoothed; the network is a ResNet-18 for
small images, in bfloat16. Every arm has the same steps. Rows go to results/device/training.jsonl in
the format of results/cifar10/rows.jsonl, for the views "raw" and "smoothed by auto".
"""

import argparse
import json
import math
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

from virolbi.corruptions import COMMON, corrupt, noise_level  # noqa: E402
from virolbi.nn import Smooth  # noqa: E402

PACKED = ROOT / "build" / "cifar.npz"
OUT = ROOT / "results" / "device" / "training.jsonl"
NOISE = noise_level("gaussian_noise", 5, 32)
MIX = (0.7, 0.85, 0.95, 1.0)  # sparsities of the arm `recommended`, see recipes/arms.toml
UNTOUCHED = 0.65  # its share of images that are shown as they are
SEVERITIES = (3, 5)
BATCH = 256
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pack(folder: str, train: int, test: int) -> None:
    """Write the first images of a data set to one file."""
    from virolbi.data import load

    arrays = {}
    for split, count in (("train", train), ("test", test)):
        images = load(folder, split, limit=count)
        arrays[f"{split}_pixels"] = np.rint(images.pixels * 255).astype(np.uint8)
        arrays[f"{split}_labels"] = images.labels.astype(np.uint8)
        print(f"{split}: {len(images.labels)} images")
    PACKED.parent.mkdir(exist_ok=True)
    np.savez_compressed(PACKED, **arrays)
    print(f"{PACKED}: {PACKED.stat().st_size / 1e6:.1f} MB")


def plain(images: Tensor, random: torch.Generator) -> Tensor:
    """Return images as they are."""
    return images


def half_gaussian(images: Tensor, random: torch.Generator) -> Tensor:
    """Add noise of one strength to half of the images."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=random, device=images.device) < 0.5
    noise = torch.randn(images.shape, generator=random, device=images.device)
    return (images + NOISE * chosen * noise).clamp(0, 1)


def recommended(images: Tensor, random: torch.Generator) -> Tensor:
    """Add noise of any strength to a third of the images, and then smooth these to any scale."""
    touched = torch.rand(len(images), generator=random, device=images.device) >= UNTOUCHED
    count = int(touched.sum())
    if count == 0:
        return images
    some = images[touched]
    strength = NOISE * torch.rand(count, 1, 1, 1, generator=random, device=images.device)
    noise = torch.randn(some.shape, generator=random, device=images.device)
    index = torch.randint(len(MIX), (count,), generator=random, device=images.device)
    images = images.clone()
    images[touched] = Smooth()(
        (some + strength * noise).clamp(0, 1), sparsity=np.take(MIX, index.cpu())
    )
    return images


ARMS = {"plain": plain, "rival-gaussian": half_gaussian, "recommended": recommended}


def network(classes: int) -> nn.Module:
    """Return a ResNet-18 whose stem is that for small images."""
    from torchvision.models import resnet18

    model = resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model.to(DEVICE, memory_format=torch.channels_last)


def crop_and_flip(images: Tensor, random: torch.Generator) -> Tensor:
    """Shift each image by up to 4 pixels, with reflected borders, and mirror half of them."""
    count, _, height, width = images.shape
    padded = nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
    top, left = torch.randint(9, (2, count, 1), generator=random, device=images.device)
    flip = torch.rand(count, 1, generator=random, device=images.device) < 0.5
    rows = top + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, -1)
    columns = left + torch.where(flip, width - 1 - columns, columns)
    one = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(3, device=images.device)[None, :, None, None]
    return padded[one, channel, rows[:, None, :, None], columns[:, None, None, :]]


def train(arm: str, seed: int, pixels: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    """Return a network that was trained by an arm."""
    torch.manual_seed(seed)
    random = torch.Generator(DEVICE).manual_seed(seed)
    model = network(int(labels.max()) + 1).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    batch = min(BATCH, len(pixels))
    steps = epochs * (len(pixels) // batch)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warm, (1 + math.cos(math.pi * step / steps)) / 2),
    )
    for rows in batches(len(pixels), batch, epochs, random):
        images = crop_and_flip(pixels[rows].float() / 255, random)
        images = ARMS[arm](images, random)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            logits = model(normalise(images))
            loss = nn.functional.cross_entropy(logits, labels[rows], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def batches(count: int, batch: int, epochs: int, random: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of every batch; an epoch leaves out the images that fill none."""
    for _ in range(epochs):
        order = torch.randperm(count, generator=random, device=DEVICE)
        yield from order.split(batch)[: count // batch]


def normalise(images: Tensor) -> Tensor:
    """Return images in the range and layout of the network."""
    return ((images - 0.47) / 0.25).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def correct(model: nn.Module, images: Tensor, labels: Tensor, smoother: nn.Module) -> int:
    """Return the number of images that a network recognises behind a smoother."""
    total = 0
    for part, truth in zip(images.split(1000), labels.split(1000), strict=True):
        with torch.autocast(DEVICE.type, torch.bfloat16):
            total += int((model(normalise(smoother(part))).argmax(1) == truth).sum())
    return total


def conditions(pixels: np.ndarray) -> Iterator[tuple[str, int, np.ndarray]]:
    """Yield the test images as they are, and under every common corruption."""
    images = pixels.astype(np.float32) / 255
    yield "clean", 0, images
    for name in COMMON:
        for severity in SEVERITIES:
            yield name, severity, corrupt(images, name, severity)


def interval(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, by Wilson."""
    z, share = 1.96, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    half /= 1 + z * z / count
    return max(0.0, middle - half), min(1.0, middle + half)


def run(epochs: int, seeds: int, dry: bool) -> None:
    """Train and test every arm, and write rows."""
    if dry:
        random = np.random.default_rng(0)
        data = {
            f"{split}_{name}": random.integers(0, top, shape, dtype=np.uint8)
            for split in ("train", "test")
            for name, top, shape in (("pixels", 256, (16, 3, 32, 32)), ("labels", 10, (16,)))
        }
        epochs, seeds = 1, 1
    else:
        data = dict(np.load(PACKED))
    tests = [
        (name, severity, torch.from_numpy(images).to(DEVICE))
        for name, severity, images in conditions(data["test_pixels"])
    ]
    labels = torch.from_numpy(data["test_labels"].astype(np.int64)).to(DEVICE)
    pixels = torch.from_numpy(data["train_pixels"]).to(DEVICE)
    truth = torch.from_numpy(data["train_labels"].astype(np.int64)).to(DEVICE)
    out = ROOT / "build" / "dry-run.jsonl" if dry else OUT
    out.parent.mkdir(parents=True, exist_ok=True)
    views = {"raw": nn.Identity(), "smoothed by auto": Smooth("auto")}
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    with out.open("w") as file:
        for seed in range(seeds):
            for arm in ARMS:
                start = time.perf_counter()
                model = train(arm, seed, pixels, truth, epochs)
                seconds = time.perf_counter() - start
                print(f"{arm}, seed {seed}: trained in {seconds:.1f} s on {device}", flush=True)
                for view, smoother in views.items():
                    for name, severity, images in tests[:2] if dry else tests:
                        right = correct(model, images, labels, smoother)
                        low, high = interval(right, len(labels))
                        row = {"arm": arm, "seed": seed, "data": "cifar10", "view": view}
                        row |= {"condition": name, "severity": severity, "count": len(labels)}
                        row |= {"accuracy": right / len(labels), "low": low, "high": high}
                        row |= {"train_images": len(truth), "epochs": epochs, "device": device}
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
    training.add_argument("--epochs", type=int, default=40)
    training.add_argument("--seeds", type=int, default=1)
    training.add_argument("--dry-run", action="store_true", help="16 random images, one step")
    arguments = parser.parse_args()
    if arguments.command == "pack":
        pack(arguments.folder, arguments.train, arguments.test)
    else:
        run(arguments.epochs, arguments.seeds, arguments.dry_run)


if __name__ == "__main__":
    main()
