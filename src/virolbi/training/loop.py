"""Train a classifier on images along their scale path: one loop, which takes a break at any step and goes on."""

import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from virolbi.data import Images, held_out_mask, load
from virolbi.recipes import Recipe
from virolbi.robustness import pgd
from virolbi.smooth import smooth
from virolbi.training.batches import Batches
from virolbi.training.models import Classifier
from virolbi.training.runs import (
    Run,
    State,
    build_classifier,
    check_run_folder,
    check_weights,
    is_finished,
    load_run,
    prepare_run_folder,
    read_checkpoint,
    save_run,
    write_checkpoint,
)

WARM_UP = {
    "one-cycle": 0.3,
    "cosine": 0.05,
}  # share of the steps in which the learning rate rises to its peak
WATCHED_AT_ONCE = 250  # images
WAIT = timedelta(
    hours=12
)  # of processes, at most, for the one that downloads, decodes and smooths for them


@dataclass(frozen=True)
class Progress:
    """Where training stands after a step. seconds: since it began or went on; accuracy: on held-out images, at epochs' ends."""

    epoch: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    images_per_second: float
    accuracy: float | None = None


def train(
    recipe: Recipe,
    images: Images | None = None,
    folder: Path | str | None = None,
    *,
    network: nn.Module | None = None,
    cpu: bool = False,
    cache: Path | None = None,
    workers: int = 0,
    checkpoint_every: float = 300.0,
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a network as a recipe says. The same recipe, images, software and thread count give the same weights on a CPU.

    It seeds torch's global generator by the recipe: networks made after it, one for each seed, want a seed of their own.

    images: the training images; None loads those of the recipe. network: a module of your own in place of `recipe.model`, from
        normalised images, (N, C, H, W), to logits.
    folder: a new or empty one for the run, or that of the same run: left unfinished it goes on from its last checkpoint and
        ends with the same weights as one that was never disturbed, and finished it comes back as it is. None keeps nothing.
    checkpoint_every: seconds, the most that a kill at any moment can lose.
    cpu: do not use an accelerator where there is one. Started by `accelerate launch` or `torchrun`, it trains on all processes.
    cache: a folder for decoded and smoothed images, made once by each machine; None keeps and smooths them in memory.
    workers: processes that prepare batches beside the training; worth it with an accelerator.
    progress: called after every step.

    Raises ValueError for a folder that holds anything else, and RuntimeError when the loss is no longer finite.
    """
    folder = None if folder is None else Path(folder)
    if folder is not None:
        check_run_folder(folder)
    accelerator = _accelerator(recipe, cpu)
    with (
        accelerator.local_main_process_first()
    ):  # the others of its machine find what it puts into the cache
        if images is None:
            images = load(
                recipe.data,
                "train",
                limit=recipe.limit,
                size=recipe.size,
                corrupt=recipe.corrupt,
                cache=cache,
            )
        if folder is not None and is_finished(folder):
            prepare_run_folder(folder, recipe, images, network)
            return load_run(folder, device=accelerator.device, network=network)
        rows, watched = _hold_out(recipe, images)
        share = accelerator.process_index, accelerator.num_processes
        batches = Batches(recipe, images, rows=rows, share=share, cache=cache)
        model = build_classifier(recipe, images, network)
        _check_processes(model, accelerator)
    if folder is not None:
        check_weights(model)
        with accelerator.main_process_first():
            prepare_run_folder(folder, recipe, images, network)
    training = _Training(recipe, model, accelerator, batches.size)
    if folder is not None:
        training.go_on(folder)
    state = training.state

    loader = DataLoader(
        batches, batch_size=None, sampler=range(state.step, len(batches)), num_workers=workers, worker_init_fn=use_one_thread,
        pin_memory=accelerator.device.type == "cuda",
    )  # fmt: skip
    first, began, kept = state.step, time.perf_counter(), time.perf_counter()
    for inputs, labels, sparsity in loader:
        rate = learning_rate(recipe, state.step / len(batches))
        loss = training.step(inputs, labels, rate)
        state.step, state.loss, state.sparsity = (
            state.step + 1,
            state.loss + loss,
            state.sparsity + sparsity,
        )
        over = state.step % batches.per_epoch == 0
        if over:
            training.end_epoch(batches.per_epoch, watched)
        now = time.perf_counter()
        if progress is not None:
            speed = (state.step - first) * batches.size / (now - began)
            accuracy = state.history[-1].get("accuracy") if over else None
            epoch = (state.step - 1) // batches.per_epoch
            progress(
                Progress(epoch, state.step, len(batches), loss, rate, now - began, speed, accuracy)
            )
        if over and _has_stalled(recipe, state.history):
            break
        if folder is not None and now - kept >= checkpoint_every:
            training.keep(folder)
            kept = now
    run = Run(training.result(), recipe, images.classes, images.metadata, state.history)
    if folder is not None and accelerator.is_main_process:
        save_run(folder, run)
    accelerator.wait_for_everyone()
    return run


def use_one_thread(worker: int) -> None:
    """Make a worker of a `DataLoader` smooth on one thread: the other cores are for the other workers."""
    os.environ["OMP_NUM_THREADS"] = "1"


class _Training:
    """A network on its way: its optimiser, where it stands, and how to leave and find that again."""

    def __init__(
        self, recipe: Recipe, model: Classifier, accelerator: Accelerator, batch_size: int
    ) -> None:
        self._recipe, self._accelerator, self._batch_size = recipe, accelerator, batch_size
        if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
            from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]

            model = convert_sync_batchnorm(
                model
            )  # torch's own loses the activations that timm has in its batch norms
        self._model = model.to(memory_format=torch.channels_last)
        kind = (
            torch.optim.AdamW
            if recipe.optimizer == "adamw"
            else partial(torch.optim.SGD, momentum=0.9, nesterov=True)
        )
        optimizer = kind(
            _parameters(model, recipe), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._wrapped, self._optimizer = accelerator.prepare(self._model, optimizer)
        self._best: dict[str, Tensor] = {}
        self.state = State()

    def keep(self, folder: Path) -> None:
        """Write a checkpoint."""
        if not self._accelerator.is_main_process:
            return
        scaler, moments = self._accelerator.scaler, self._optimizer.state_dict()["state"]
        self.state.scaler = {} if scaler is None else scaler.state_dict()
        flat = {
            f"{index}/{name}": value
            for index, values in moments.items()
            for name, value in values.items()
        }
        tensors = {"model": self._model.state_dict(), "optimizer": flat, "best": self._best}
        write_checkpoint(folder, self.state, tensors)

    def go_on(self, folder: Path) -> None:
        """Return to the checkpoint of a folder, if it has one."""
        found = read_checkpoint(folder)
        if found is None:
            return
        self.state, tensors = found
        self._model.load_state_dict(tensors["model"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.get("optimizer", {}).items():
            index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._best = tensors.get("best", {})
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(self.state.scaler)

    def step(self, inputs: Tensor, labels: Tensor, rate: float) -> float:
        """One step of the optimiser on a batch, of which this process has its share; returns the loss of the whole batch."""
        recipe, accelerator = self._recipe, self._accelerator
        rank = accelerator.process_index
        torch.manual_seed(
            self._seed(rank) if rank else (recipe.seed << 32) + self.state.step
        )  # what is random in the network
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        total = torch.zeros((), device=accelerator.device)
        parts = list(
            zip(
                inputs.tensor_split(recipe.accumulate),
                labels.tensor_split(recipe.accumulate),
                strict=True,
            )
        )
        for part, (some, truth) in enumerate(parts, start=1):
            some = some.to(accelerator.device, memory_format=torch.channels_last, non_blocking=True)
            truth = truth.to(accelerator.device, non_blocking=True)
            if recipe.adversarial:
                some = self._attacked(some, truth, self._seed(rank, part))
            self._model.train()
            with accelerator.no_sync(self._wrapped) if part < len(parts) else nullcontext():
                loss = F.cross_entropy(
                    self._wrapped(some),
                    truth,
                    reduction="sum",
                    label_smoothing=recipe.label_smoothing,
                )
                loss = loss / self._batch_size
                accelerator.backward(
                    loss * accelerator.num_processes
                )  # their gradients are averaged
            total += loss.detach()
        self._optimizer.step()
        return float(accelerator.reduce(total))

    def _seed(self, rank: int, part: int = 0) -> int:
        """Of what is random at this step in a process: in the network, part 0, and in the attacks on parts 1, 2, ..."""
        return int(
            np.random.SeedSequence([self._recipe.seed, self.state.step, rank, part]).generate_state(
                1, np.uint64
            )[0]
        )

    def _attacked(self, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """PGD on the network as it stands (Madry et al. 2018), from a random start."""
        generator = torch.Generator().manual_seed(seed)
        self._model.eval()
        epsilon, steps = self._recipe.adversarial, self._recipe.adversarial_steps
        return pgd(self._model, images, labels, epsilon=epsilon, steps=steps, generator=generator)

    def end_epoch(self, steps: int, watched: Images | None) -> None:
        """Write the epoch into the history, with the accuracy on the held-out images where there are any."""
        state = self.state
        if not math.isfinite(state.loss):
            lower = f"lower learning_rate={self._recipe.learning_rate}"
            raise RuntimeError(
                f"the loss became {state.loss} in epoch {len(state.history) + 1}; {lower}"
            )
        entry = {"epoch": len(state.history) + 1, "loss": state.loss / steps}
        if not math.isnan(state.sparsity):
            entry["sparsity"] = state.sparsity / steps
        if watched is not None:
            entry["accuracy"] = self._accuracy(watched)
            if self._recipe.patience and entry["accuracy"] > max(
                (past["accuracy"] for past in state.history), default=-1
            ):
                self._best = {
                    name: tensor.detach().clone()
                    for name, tensor in self._model.state_dict().items()
                }
        state.history.append(entry)
        state.loss = state.sparsity = 0.0

    def _accuracy(self, images: Images) -> float:
        """On the images as they are; every process judges its share of them."""
        accelerator = self._accelerator
        rows = np.arange(accelerator.process_index, len(images), accelerator.num_processes)
        hits = torch.zeros((), device=accelerator.device)
        self._model.eval()
        for some in np.array_split(rows, max(1, len(rows) // WATCHED_AT_ONCE)):
            inputs = (torch.from_numpy(images.pixels[some]).float() / 255).to(accelerator.device)
            with torch.inference_mode():
                hits += (
                    self._model(inputs).argmax(dim=1).cpu() == torch.from_numpy(images.labels[some])
                ).sum()
        return float(accelerator.reduce(hits)) / len(images)

    def result(self) -> nn.Module:
        """The network at its best epoch where it was watched for that, else as it stands; in full precision, as it is saved."""
        if self._best:
            self._model.load_state_dict(self._best)
        model: nn.Module = self._accelerator.unwrap_model(self._wrapped, keep_fp32_wrapper=False)
        return model.eval()


def _parameters(model: Classifier, recipe: Recipe) -> Any:
    """What the optimiser is given: AdamW is not to decay norms, biases and what a network of timm spares, as its positions."""
    if recipe.optimizer == "sgd":
        return model.parameters()
    from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]

    spared = [f"network.{name}" for name in getattr(model.network, "no_weight_decay", tuple)()]
    return param_groups_weight_decay(model, recipe.weight_decay, no_weight_decay_list=spared)


@dataclass(frozen=True)
class Plan:
    """What a training run takes. memory: bytes for weights, gradients, the optimiser, and what a batch keeps to go backward."""

    parameters: int
    steps: int
    batch_size: int
    memory: int


def plan_training(recipe: Recipe, images: Images, count: int) -> Plan:
    """What training on `count` images takes, seen from a few of them; memory is measured on one forward pass."""
    model = build_classifier(recipe, images).train()
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.from_numpy(images.pixels).float() / 255).sum()
    batch = min(recipe.batch_size, count)
    activations = (
        sum(size for place, size in kept.items() if place not in weights)
        / len(images)
        * batch
        / recipe.accumulate
    )
    parameters = sum(tensor.numel() for tensor in model.parameters())
    state = 4 * parameters * (4 if recipe.optimizer == "adamw" else 3)
    half = 1 if recipe.precision == "no" else 2
    return Plan(parameters, count // batch * recipe.epochs, batch, int(state + activations / half))


def learning_rate(recipe: Recipe, done: float) -> float:
    """The learning rate when the share `done` of all steps is over: up to the peak, and down to nothing by a half cosine.

    "one-cycle" rises from half the peak over 30 % of the steps, by a half cosine too; "cosine" from nothing over 5 %, linearly.
    """
    warm_up = WARM_UP[recipe.schedule]
    if done >= warm_up:
        share = (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) / 2
    elif recipe.schedule == "one-cycle":
        share = 0.75 - 0.25 * math.cos(math.pi * done / warm_up)
    else:
        share = done / warm_up
    return recipe.learning_rate * share


def _has_stalled(recipe: Recipe, history: list[dict[str, float]]) -> bool:
    """Whether the last `patience` epochs have brought no better accuracy on the held-out images."""
    accuracies = [entry.get("accuracy", 0.0) for entry in history]
    return (
        bool(recipe.patience) and len(history) - 1 - int(np.argmax(accuracies)) >= recipe.patience
    )


def _check_processes(model: nn.Module, accelerator: Accelerator) -> None:
    """Refuse batch normalisation where each process would go by the statistics of its own share."""
    alone = (
        accelerator.num_processes == 1 or accelerator.device.type == "cuda"
    )  # there they are shared
    if not alone and any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()
    ):
        raise ValueError(
            f"network must have no batch normalisation to train in {accelerator.num_processes} processes on CPUs, "
            f"where torch cannot share its statistics, got {type(model).__name__}"
        )


def _hold_out(recipe: Recipe, images: Images) -> tuple[np.ndarray, Images | None]:
    """Which images to train on, and those to watch, as smoothed as test images are to be."""
    if not recipe.validation:
        return np.arange(len(images)), None
    aside = held_out_mask(images.labels, recipe.validation)
    if not aside.any():
        raise ValueError(
            f"validation must hold out an image or more of {len(images)}, got {recipe.validation}"
        )
    watched = images.subset(np.flatnonzero(aside))
    if recipe.procedure != "plain":
        watched = replace(
            watched,
            pixels=smooth(
                watched.pixels, recipe.sparsity, channel_axis=1, **recipe.form.keywords()
            ),
        )
    return np.flatnonzero(~aside), watched


def _accelerator(recipe: Recipe, cpu: bool) -> Accelerator:
    before = (
        AcceleratorState() if AcceleratorState._shared_state else None
    )  # of an earlier training in this process
    if before is not None and (before.mixed_precision, before._cpu) != (recipe.precision, cpu):
        AcceleratorState._reset_state(reset_partial_state=before.num_processes == 1)
    return Accelerator(
        cpu=cpu,
        mixed_precision=recipe.precision,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=WAIT)],
    )
