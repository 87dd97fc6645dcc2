"""Train a classifier on images along their scale path: one loop, in which the procedures differ by a schedule of sparsities."""

import json
import math
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import virolbi
from virolbi._images import check_settings
from virolbi.data import Images
from virolbi.models import Classifier, Median, build, channel_statistics, depth_of
from virolbi.nn import Smooth
from virolbi.smoothing import PRESETS, smooth

PROCEDURES = ("plain", "fixed", "iterative", "mixed")
SMOOTHED_AT_ONCE = 2048  # images; bounds the memory of smoothing a training set


@dataclass(frozen=True)
class Recipe:
    """All that decides a training run, beside the images.

    procedure: "plain", on the images as they are; "fixed", on images at `sparsity`; "iterative", in rounds that advance every
        image's path from `start_sparsity` to `sparsity`, reached after the share `advance` of the epochs; "mixed", on every
        image at a sparsity drawn anew from `mix` each epoch.
    preset: "robust" or "paper", the form of the smoother; nu: its coupling.
    noise: Gaussian noise of a standard deviation drawn for each image from [0, noise] is added in training (a rival).
    median: size of a median filter in front of the network, in training and afterwards, or 0 (a rival).
    epochs, batch_size, learning_rate (peak of a one-cycle schedule), weight_decay, crop (pixels of padding before a random
        crop), flip (left to right): the usual.
    """

    procedure: str = "plain"
    sparsity: float = 0.8
    start_sparsity: float = 0.95
    advance: float = 0.5
    mix: tuple[float, ...] = (0.0, 0.65, 0.8, 0.9)
    preset: str = "robust"
    nu: float = 1.0
    noise: float = 0.0
    median: int = 0
    model: str = "resnet8"
    epochs: int = 8
    batch_size: int = 64
    learning_rate: float = 0.2
    weight_decay: float = 5e-4
    crop: int = 4
    flip: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        depth_of(self.model)
        for name, allowed in (("procedure", PROCEDURES), ("preset", tuple(PRESETS))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        for name in ("sparsity", "start_sparsity", "advance", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.procedure == "iterative" and self.start_sparsity < self.sparsity:
            raise ValueError(f"start_sparsity must be >= sparsity={self.sparsity}, got {self.start_sparsity}")
        if not self.mix or not all(0 <= sparsity <= 1 for sparsity in self.mix):
            raise ValueError(f"mix must hold sparsities in [0, 1], got {self.mix}")
        check_settings(self.nu, PRESETS[self.preset]["delta"])
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")
        for name in ("weight_decay", "crop", "median"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        if self.median and self.median % 2 == 0:
            raise ValueError(f"median must be odd, or 0 for none, got {self.median}")

    def sparsities(self, epoch: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """The sparsity of each of `count` training images in an epoch; 0 is the image as it is."""
        if self.procedure == "plain":
            return np.zeros(count)
        if self.procedure == "mixed":
            return rng.choice(np.array(self.mix), size=count)
        if self.procedure == "fixed":
            return np.full(count, self.sparsity)
        rounds = max(1, round(self.advance * (self.epochs - 1)))
        share = min(1.0, epoch / rounds)
        return np.full(count, self.start_sparsity + share * (self.sparsity - self.start_sparsity))

    def smoother(self) -> Smooth:
        """The smoothing this recipe means for test images, as a module."""
        return Smooth(self.sparsity, nu=self.nu, **PRESETS[self.preset])


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step."""

    epoch: int
    step: int
    steps: int
    loss: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True, eq=False)
class Run:
    """A trained classifier with all that made it. model: intensities in [0, 1], shape (N, C, H, W), to logits."""

    model: nn.Module
    recipe: Recipe
    classes: tuple[str, ...]
    data: dict[str, Any]  # see `Images.about`
    history: list[dict[str, float]]


def train(
    recipe: Recipe, images: Images, *, device: str | torch.device = "cpu", progress: Callable[[Progress], None] | None = None
) -> Run:
    """Train a network from scratch. The same recipe, images, software and thread count give the same weights on a CPU."""
    device = torch.device(device)
    rng = np.random.default_rng(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    pixels, labels = torch.from_numpy(images.pixels), torch.from_numpy(images.labels)
    model = _new_model(recipe, pixels.shape[1], len(images.classes), *channel_statistics(pixels)).to(device)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=0.9, weight_decay=recipe.weight_decay, nesterov=True
    )
    steps = recipe.epochs * math.ceil(len(images) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps + 1, div_factor=2)

    raw = images.pixels.astype(np.float32) / 255
    views, shown = raw.copy(), np.zeros(len(images))  # what each image looks like now, and at which sparsity
    history, step, began = [], 0, time.perf_counter()
    for epoch in range(recipe.epochs):
        _advance(views, shown, raw, recipe.sparsities(epoch, len(images), rng), recipe)
        model.train()
        losses = []
        for batch in torch.randperm(len(images), generator=generator).split(recipe.batch_size):
            inputs = _augment(torch.from_numpy(views)[batch], recipe, generator).to(device, memory_format=torch.channels_last)
            loss = F.cross_entropy(model(inputs), labels[batch].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            step += 1
            if progress is not None:
                seconds = time.perf_counter() - began
                seen = step * recipe.batch_size
                progress(Progress(epoch, step, steps, losses[-1], seconds, seen / seconds))
        if not math.isfinite(losses[-1]):
            raise RuntimeError(f"the loss became {losses[-1]} in epoch {epoch + 1}; lower learning_rate={recipe.learning_rate}")
        history.append({"epoch": epoch + 1, "loss": float(np.mean(losses)), "sparsity": float(shown.mean())})
    return Run(model.eval(), recipe, images.classes, images.about, history)


def _advance(views: np.ndarray, shown: np.ndarray, raw: np.ndarray, wanted: np.ndarray, recipe: Recipe) -> None:
    """Bring `views` from the sparsities `shown` to the `wanted` ones, in place; images that stay are not touched."""
    moving = np.flatnonzero(shown != wanted)
    for first in range(0, len(moving), SMOOTHED_AT_ONCE):
        rows = moving[first : first + SMOOTHED_AT_ONCE]
        views[rows] = smooth(raw[rows], wanted[rows], nu=recipe.nu, channel_axis=1, **PRESETS[recipe.preset])
    shown[:] = wanted


def _augment(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Random crop after padding, random flip, random noise: each image on its own."""
    count, _, height, width = images.shape
    if recipe.crop:
        padded = F.pad(images, (recipe.crop,) * 4)
        top, left = torch.randint(0, 2 * recipe.crop + 1, (2, count, 1), generator=generator)
        rows, columns = top + torch.arange(height), left + torch.arange(width)
        images = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if recipe.flip:
        flipped = torch.rand(count, generator=generator) < 0.5
        images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    if recipe.noise:
        sigma = recipe.noise * torch.rand(count, 1, 1, 1, generator=generator)
        images = (images + sigma * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    return images


def _new_model(recipe: Recipe, channels: int, classes: int, mean: Tensor, std: Tensor) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        classifier = Classifier(build(recipe.model, channels=channels, classes=classes), mean, std)
    return nn.Sequential(Median(recipe.median), classifier) if recipe.median else classifier


def check_place(folder: Path) -> None:
    """Refuse a place for a run that holds anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} must be a new or an empty folder; it holds something already")


def save(run: Run, folder: Path) -> None:
    """Write weights.safetensors and recipe.json into a new or empty folder, which appears whole or not at all."""
    check_place(folder)
    about = {
        "recipe": asdict(run.recipe),
        "classes": run.classes,
        "data": run.data,
        "history": run.history,
        "environment": {
            "virolbi": virolbi.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        },
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in run.model.state_dict().items()}, fresh / "weights.safetensors"
        )
        (fresh / "recipe.json").write_text(json.dumps(about, indent=1) + "\n")
        fresh.replace(folder)


def load_run(folder: Path, *, device: str | torch.device = "cpu") -> Run:
    """Read what `save` wrote. Raises ValueError when the folder does not hold a run."""
    try:
        about = json.loads((folder / "recipe.json").read_text())
        weights = load_file(folder / "weights.safetensors")
        recipe = Recipe(**(about["recipe"] | {"mix": tuple(about["recipe"]["mix"])}))
        classes, data, history = tuple(about["classes"]), about["data"], about["history"]
        channels = data["shape"][0]
        model = _new_model(recipe, channels, len(classes), torch.zeros(channels), torch.ones(channels))
        model.load_state_dict(weights)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder} must be the folder of a training run: {error}") from error
    model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return Run(model, recipe, classes, data, history)
