"""The training loop, which can be interrupted at any step and resumes from its checkpoint."""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from virolbi._checks import check_count, check_number
from virolbi.data import Images, load
from virolbi.nn import has_kernels
from virolbi.recipes import Recipe
from virolbi.training.batches import Batches, TrainingBatch, Transform
from virolbi.training.building import build_classifier, check_smallest_part
from virolbi.training.checkpoints import State, check_weights
from virolbi.training.devices import (
    check_batch_norm,
    check_shared,
    create_accelerator,
    use_one_thread,
)
from virolbi.training.interruption import interruption_between_steps
from virolbi.training.losses import Loss, check_loss
from virolbi.training.models import Classifier
from virolbi.training.runs import (
    Run,
    best_epoch,
    check_run_folder,
    is_finished,
    load_run,
    prepare_run_folder,
    save_run,
)
from virolbi.training.schedule import learning_rate
from virolbi.training.trainer import Trainer
from virolbi.training.validation import hold_out

LOG = logging.getLogger("virolbi")


@dataclass(frozen=True)
class Progress:
    """Progress of training after a step.

    Parameters
    ----------
    epoch : int
        Number of the epoch, from 0.
    step : int
        Number of steps that are done.
    steps : int
        Number of all steps.
    loss : float
        Loss of the batch.
    learning_rate : float
        Learning rate of the step.
    seconds : float
        Time since training started or resumed.
    images_per_second : float
        Speed since training started or resumed.
    accuracy : float or None, optional
        Accuracy on the held-out images, at the end of an epoch.
    """

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
    loss: Loss | None = None,
    transform: Transform | None = None,
    cpu: bool = False,
    cache: Path | None = None,
    workers: int = 0,
    checkpoint_every: float = 300.0,
    progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a network by a recipe.

    The same recipe, images, software and thread count give the same weights on a CPU. If it is
    started by `accelerate launch` or `torchrun`, it trains on all processes.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    images : Images, optional
        Training images, such as `virolbi.data.from_dataset` makes of a data set of pairs, of the
        size of the recipe if it has one, and no more than its limit from the front. None loads
        those of the recipe.
    folder : Path or str, optional
        A new or empty folder for the run, or that of the same run; several machines must share it.
        Interrupted training resumes from its checkpoint, and ends on a CPU with the same weights
        as uninterrupted training. A finished run is returned as it is. None saves nothing.
    network : torch.nn.Module, optional
        Network in place of `recipe.model`, from normalised images, (N, C, H, W), to logits. A copy
        is trained, from its weights; it stays as it is.
    loss : callable, optional
        Loss in place of the cross entropy, from logits, (n, classes), and labels, (n,), to the mean
        over the images, a tensor of shape (). A consistency of the recipe is added to it; attacks
        of the recipe maximise the cross entropy. Of a module a copy is used, whose buffers are
        part of the checkpoints; other objects should not remember earlier batches.
    transform : callable, optional
        Change of each training image, in place of those of the recipe, from uint8, (C, H, W), to
        uint8 or floats in [0, 1] of the same shape, such as a torchvision transform without a
        normalisation. Held-out images are not changed. Its random numbers are decided by the recipe
        if they come from the generator of torch.
    cpu : bool, optional
        Whether to train on the CPU where there is an accelerator.
    cache : Path, optional
        Folder for decoded and smoothed images, which each machine computes once. None keeps the
        images in memory and smooths them for every batch.
    workers : int, optional
        Number of processes that prepare batches during the training, worthwhile with an
        accelerator.
    checkpoint_every : float, optional
        Seconds between checkpoints, >= 0, the most that a kill at any moment can lose. 0 saves one
        after every step, `math.inf` none. Ctrl-C saves one too, at the end of the step; a second
        Ctrl-C stops at once. In several processes it stops at once.
    progress : callable, optional
        Function that is called with a `Progress` after every step.

    Returns
    -------
    Run
        The trained classifier, its recipe and its history.

    Raises
    ------
    TypeError, ValueError
        If a setting has a wrong type or value, if `network` cannot be trained or saved, if `loss`
        or `transform` is not used with such a recipe or returns something else, if the images
        cannot be loaded or are too few for the recipe, or if `folder` holds anything else than this
        run.
    RuntimeError
        If the loss is no longer finite.

    Notes
    -----
    Training seeds the global generator of torch by the recipe. Networks that are created after it,
    one for each seed, need a seed of their own.

    A run in a folder is resumed only with the same `network`, `loss` and `transform`, as far as
    they print and their attributes tell: two functions of one name are taken for the same.
    """
    folder = _check_folder(folder)
    _check_settings(recipe, loss, workers, checkpoint_every, progress)
    code = {"network": network, "loss": loss, "transform": transform}
    accelerator = create_accelerator(recipe, cpu, unused_parameters=network is not None)
    if folder is not None:
        check_shared(folder, accelerator)
    with accelerator.local_main_process_first():  # the others of its machine find its cache
        images = _load_images(recipe, cache) if images is None else _check_images(images, recipe)
        if folder is not None and is_finished(folder):
            prepare_run_folder(folder, recipe, images, code)
            LOG.info("%s holds this run already, finished; nothing is trained", folder)
            return load_run(folder, device=accelerator.device, network=network)
        rows, watched = hold_out(recipe, images)
        batches = _plan_batches(recipe, images, rows, accelerator, cache, transform)
        model = build_classifier(recipe, images, network)
        _check_batch_norms(recipe, model, images, batches, accelerator)
    if folder is not None:
        check_weights(model)
        if accelerator.is_main_process:
            prepare_run_folder(folder, recipe, images, code)
        check_shared(folder, accelerator)  # waits for the first process
    weights = _class_weights(recipe, images.labels[rows], len(images.classes))
    trainer = Trainer(recipe, model, accelerator, batches.size, weights, loss)
    if folder is not None and trainer.resume(folder):
        done = trainer.state.step
        LOG.info("%s: training resumes after %d of %d steps", folder, done, len(batches))
    loader = _load_batches(batches, trainer.state.step, workers, accelerator.device)
    _log_smoothing(recipe, cache, workers, accelerator.device)
    steps = _steps(trainer, recipe, batches, loader, watched, progress)
    _take_and_save(steps, trainer, folder, checkpoint_every, accelerator.num_processes == 1)
    run = Run(trainer.result(), recipe, images.classes, images.metadata, trainer.state.history)
    if folder is not None and accelerator.is_main_process:
        save_run(folder, run)
    accelerator.wait_for_everyone()
    return run


def _plan_batches(
    recipe: Recipe,
    images: Images,
    rows: np.ndarray,
    accelerator: Accelerator,
    cache: Path | None,
    transform: Transform | None,
) -> Batches:
    """Return the batches of this process, which leave to its device what that smooths."""
    return Batches(
        recipe,
        images,
        rows=rows,
        share=(accelerator.process_index, accelerator.num_processes),
        cache=cache,
        transform=transform,
        finish=not _smooths_on(accelerator.device, recipe),
    )


def _check_batch_norms(
    recipe: Recipe, model: Classifier, images: Images, batches: Batches, accelerator: Accelerator
) -> None:
    """Check that batch normalisation gets whole batches, and never a single number."""
    check_batch_norm(model, accelerator)
    check_smallest_part(model, images.pixels.shape[1:], batches.smallest_part, recipe.frozen)


def _take_and_save(
    steps: Iterator[None],
    trainer: Trainer,
    folder: Path | None,
    checkpoint_every: float,
    alone: bool,
) -> None:
    """Take steps with checkpoints between them; the only process saves one after Ctrl-C too."""
    saves = folder is not None and checkpoint_every < math.inf
    with interruption_between_steps(saves and alone) as interrupted:
        saved = time.perf_counter()
        for _ in steps:
            stop, now = interrupted(), time.perf_counter()
            if folder is not None and (stop or now - saved >= checkpoint_every):
                trainer.save_checkpoint(folder)
                saved = now
            if stop:
                raise KeyboardInterrupt


def _steps(
    trainer: Trainer,
    recipe: Recipe,
    batches: Batches,
    loader: DataLoader[TrainingBatch],
    watched: Images | None,
    progress: Callable[[Progress], None] | None,
) -> Iterator[None]:
    """Take the steps of a training run, and yield after each one but that which ends it."""
    state, first, start = trainer.state, trainer.state.step, time.perf_counter()
    for batch in loader:
        rate = learning_rate(recipe, state.step / len(batches))
        batch_loss = trainer.step(batch, rate)
        state.add_step(batch_loss, batch.sparsity)
        epoch_ends = state.step % batches.per_epoch == 0
        if epoch_ends:
            trainer.end_epoch(batches.per_epoch, watched)
        if progress is not None:
            steps, seconds = state.step - first, time.perf_counter() - start
            progress(_report(state, batches, batch_loss, rate, steps, seconds))
        if state.step == len(batches) or (epoch_ends and _has_stalled(recipe, state.history)):
            return
        yield


def _check_folder(folder: Path | str | None) -> Path | None:
    """Return the path of a folder that holds a run, or nothing."""
    if folder is None:
        return None
    check_run_folder(Path(folder))
    return Path(folder)


def _check_settings(
    recipe: object, loss: object, workers: object, checkpoint_every: float, progress: object
) -> None:
    """Check the settings of a training run that are used only after its images are loaded."""
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe must be a virolbi.recipes.Recipe, got {type(recipe).__name__}")
    check_loss(loss, recipe)
    check_count("workers", workers, least=0)
    check_number("checkpoint_every", checkpoint_every, least=0)
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable, got {type(progress).__name__}")


def _load_images(recipe: Recipe, cache: Path | None) -> Images:
    """Return the training images of a recipe."""
    return load(recipe.data, "train", limit=recipe.limit, cache=cache, **recipe.load_options)


def _check_images(images: object, recipe: Recipe) -> Images:
    """Return those of given training images that a recipe trains on."""
    if not isinstance(images, Images):
        raise TypeError(
            "images must be virolbi.data.Images, which virolbi.data.from_dataset makes of a data "
            f"set of pairs (image, label), got {type(images).__name__}"
        )
    if len(images.classes) < 2:
        raise ValueError(f"images must have two classes or more, got {images.classes}")
    height, width = images.pixels.shape[2:]
    if recipe.size not in (None, height) or recipe.size not in (None, width):
        raise ValueError(
            f"images must have the size of the recipe, {recipe.size} pixels a side, got "
            f"{width}x{height}; leave out its size, or load them with it"
        )
    few = recipe.limit is None or len(images) <= recipe.limit
    return images if few else images.subset(np.s_[: recipe.limit])


def _class_weights(recipe: Recipe, labels: np.ndarray, classes: int) -> torch.Tensor | None:
    """Return the weights of classes in the loss, whose mean over the images is 1, or None."""
    if recipe.class_weights == "none":
        return None
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return torch.from_numpy(len(labels) / (present * np.maximum(counts, 1))).float()


def _smooths_on(device: torch.device, recipe: Recipe) -> bool:
    """Return whether the smoothing at the end of views is left to the device of the training."""
    return recipe.smooths_last and has_kernels(device)


def _load_batches(
    batches: Batches, first: int, workers: int, device: torch.device
) -> DataLoader[TrainingBatch]:
    """Return a loader of the batches from the step `first` on."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, len(batches)),
        num_workers=workers,
        worker_init_fn=_set_up_worker,
        pin_memory=device.type == "cuda",
    )


def _set_up_worker(worker: int) -> None:
    """Make a worker smooth on one thread, and leave Ctrl-C to the main process, which ends it."""
    use_one_thread(worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _log_smoothing(recipe: Recipe, cache: Path | None, workers: int, device: torch.device) -> None:
    """Log where the training images are smoothed, if they are, and why there."""
    if set(recipe.all_sparsities) <= {0.0}:
        return
    if _smooths_on(device, recipe):
        LOG.info(
            "training images are smoothed on %s, which has kernels for it, where it is the last "
            "step of a view",
            device,
        )
        return
    if cache is not None and recipe.smooths_first:
        when = "before the training, into the cache"
    elif workers:
        when = f"during the steps, by {workers} workers"
    else:
        when = "between the steps (workers would do it during them)"
    if device.type == "cpu":
        why = "the network trains there"
    elif recipe.smooths_last:
        why = f"{device} has no kernels for it"
    else:
        why = "other steps, such as the crop, come after it"
    LOG.info("training images are smoothed on the CPU %s, because %s", when, why)


def _report(
    state: State, batches: Batches, loss: float, rate: float, steps: int, seconds: float
) -> Progress:
    """Return the progress after a step, the last of `steps` since training started or resumed."""
    epoch_ends = state.step % batches.per_epoch == 0
    return Progress(
        epoch=(state.step - 1) // batches.per_epoch,
        step=state.step,
        steps=len(batches),
        loss=loss,
        learning_rate=rate,
        seconds=seconds,
        images_per_second=steps * batches.size / seconds,
        accuracy=state.history[-1].get("accuracy") if epoch_ends else None,
    )


def _has_stalled(recipe: Recipe, history: list[dict[str, float]]) -> bool:
    """Return whether the last `patience` epochs have had no better accuracy on held-out images."""
    if not recipe.patience:
        return False
    return history[-1]["epoch"] - best_epoch(history)["epoch"] >= recipe.patience
