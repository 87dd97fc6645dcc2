"""A network in training: the steps of its optimizer, the ends of its epochs, its checkpoints."""

import math
from collections.abc import Iterable
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from virolbi.data import Images
from virolbi.recipes import Recipe
from virolbi.robustness import BATCH_SIZE, check_logit_shape, pgd
from virolbi.training.batches import TrainingBatch
from virolbi.training.checkpoints import State, read_checkpoint, write_checkpoint
from virolbi.training.losses import Loss, batch_loss
from virolbi.training.models import Classifier, channels_last, frozen_parts
from virolbi.training.runs import best_epoch
from virolbi.training.views import smooth_each


class Trainer:
    """A network in training, with its optimizer and its state.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    model : Classifier
        Classifier to train.
    accelerator : accelerate.Accelerator
        Device and processes.
    batch_size : int
        Number of images in a batch, over all processes.
    class_weights : torch.Tensor, shape (classes,), optional
        Weights of the classes in the loss; None for equal ones.
    loss : callable, optional
        Loss in place of the cross entropy, see `batch_loss`.

    Attributes
    ----------
    state : State
        State of the training run.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Classifier,
        accelerator: Accelerator,
        batch_size: int,
        class_weights: Tensor | None = None,
        loss: Loss | None = None,
    ) -> None:
        self._recipe, self._accelerator, self._batch_size = recipe, accelerator, batch_size
        if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
            # not that of torch, which loses the activations that timm has in its batch norms
            from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]

            model = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        self._model = channels_last(model)
        self._frozen = frozen_parts(model.network, recipe.frozen)
        optimizer = _create_optimizer(model, recipe)
        self._wrapped, self._optimizer = accelerator.prepare(self._model, optimizer)
        on_device = None if class_weights is None else class_weights.to(accelerator.device)
        self._class_weights = on_device
        # a copy, because the next run with the same one is not to begin where this one ends
        self._loss = deepcopy(loss).to(accelerator.device) if isinstance(loss, nn.Module) else loss
        self._best: dict[str, Tensor] = {}
        self.state = State()

    def save_checkpoint(self, folder: Path) -> None:
        """Write a checkpoint.

        Parameters
        ----------
        folder : Path
            Folder of the run.
        """
        if not self._accelerator.is_main_process:
            return
        scaler = self._accelerator.scaler
        self.state.scaler = {} if scaler is None else scaler.state_dict()
        moments = {
            f"{index}/{name}": value
            for index, values in self._optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        tensors = {"model": self._model.state_dict(), "optimizer": moments, "best": self._best}
        write_checkpoint(folder, self.state, tensors | {"loss": self._loss_buffers()})

    def resume(self, folder: Path) -> bool:
        """Return to the checkpoint of a run, if there is one.

        Parameters
        ----------
        folder : Path
            Folder of the run.

        Returns
        -------
        bool
            Whether there is one.
        """
        checkpoint = read_checkpoint(folder)
        if checkpoint is None:
            return False
        self.state, tensors = checkpoint
        self._model.load_state_dict(tensors["model"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.get("optimizer", {}).items():
            index, name = key.split("/")
            moments.setdefault(int(index), {})[name] = value
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._best = tensors.get("best", {})
        for name, buffer in self._loss_buffers().items():
            buffer.data = tensors["loss"][name].to(buffer.device)
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(self.state.scaler)
        return True

    def step(self, batch: TrainingBatch, rate: float) -> float:
        """Take one step of the optimizer.

        Parameters
        ----------
        batch : TrainingBatch
            Share of this process in the batch. What is still to be smoothed is smoothed on the
            device.
        rate : float
            Learning rate.

        Returns
        -------
        float
            Mean loss of the whole batch.
        """
        recipe, accelerator = self._recipe, self._accelerator
        rank = accelerator.process_index
        torch.manual_seed(self._seed(rank))  # for what is random in the network
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        total = torch.zeros((), device=accelerator.device)
        parts = zip(
            batch.inputs.tensor_split(recipe.accumulate, dim=1),
            batch.labels.tensor_split(recipe.accumulate),
            batch.unsmoothed.split(recipe.accumulate),
            strict=True,
        )
        for part, (views, truth, unsmoothed) in enumerate(parts, start=1):
            count = len(truth)
            images = views.flatten(0, 1).to(  # (views * n / accumulate, C, H, W)
                accelerator.device, memory_format=torch.channels_last, non_blocking=True
            )
            truth = truth.to(accelerator.device, non_blocking=True)
            smooth_each(images, unsmoothed, recipe)
            if recipe.adversarial:
                images[-count:] = self._attack(images[-count:], truth, self._seed(rank, part))
            self._model.train()
            for module in self._frozen:
                module.eval()
            last = part == recipe.accumulate
            with nullcontext() if last else accelerator.no_sync(self._wrapped):
                logits = self._wrapped(images)
                check_logit_shape("network", logits, len(images), note=" in training mode too")
                logits = logits.unflatten(0, (-1, count))  # (views, n, classes)
                loss = batch_loss(logits, truth, recipe, self._class_weights, self._loss)
                loss = loss / self._batch_size
                # times the number of processes, because their gradients are averaged
                accelerator.backward(loss * accelerator.num_processes)
            total += loss.detach()
        self._optimizer.step()
        return float(accelerator.reduce(total))

    def end_epoch(self, steps: int, watched: Images | None) -> None:
        """Add the epoch to the history, and remember the network if it is the best so far.

        Parameters
        ----------
        steps : int
            Number of steps in an epoch.
        watched : Images or None
            Held-out images, whose accuracy goes into the history.

        Raises
        ------
        RuntimeError
            If the loss is no longer finite.
        """
        state, epoch = self.state, len(self.state.history) + 1
        if not math.isfinite(state.loss):
            raise RuntimeError(
                f"the loss became {state.loss} in epoch {epoch}; lower "
                f"learning_rate={self._recipe.learning_rate}"
            )
        passes = epoch * self._recipe.passes
        entry = {"epoch": epoch, "passes": passes, "loss": state.loss / steps}
        if state.sparsity is not None:
            entry["sparsity"] = state.sparsity / steps
        if watched is not None:
            entry["accuracy"] = self._accuracy(watched)
        state.history.append(entry)
        if self._recipe.patience and best_epoch(state.history) is entry:
            weights = self._model.state_dict()
            self._best = {name: tensor.detach().clone() for name, tensor in weights.items()}
        state.loss = state.sparsity = 0.0

    def result(self) -> nn.Module:
        """Return the network: of its best epoch if `patience` asks for that, else of the last step.

        Returns
        -------
        torch.nn.Module
            The network in evaluation mode and full precision, as it is saved.
        """
        if self._best:
            self._model.load_state_dict(self._best)
        model: nn.Module = self._accelerator.unwrap_model(self._wrapped, keep_fp32_wrapper=False)
        return model.eval()

    def _loss_buffers(self) -> dict[str, Tensor]:
        """Return the buffers of the loss, in which it can keep what it has seen."""
        return dict(self._loss.named_buffers()) if isinstance(self._loss, nn.Module) else {}

    def _seed(self, rank: int, part: int = 0) -> int:
        """Return a seed for this step in a process.

        Part 0 is what is random in the network; parts 1, 2, ... are the attacks on these parts of
        the batch.
        """
        sequence = np.random.SeedSequence([self._recipe.seed, self.state.step, rank, part])
        return int(sequence.generate_state(1, np.uint64)[0])

    def _attack(self, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """Return images of PGD on the present network (Madry et al. 2018), from a random start."""
        generator = torch.Generator().manual_seed(seed)
        self._model.eval()
        epsilon, steps = self._recipe.adversarial, self._recipe.adversarial_steps
        return pgd(self._model, images, labels, epsilon=epsilon, steps=steps, generator=generator)

    def _accuracy(self, images: Images) -> float:
        """Return the accuracy on images as they are; every process judges its share of them."""
        accelerator = self._accelerator
        rows = np.arange(accelerator.process_index, len(images), accelerator.num_processes)
        correct = torch.zeros((), device=accelerator.device)
        self._model.eval()
        for chunk in np.array_split(rows, -(-len(rows) // BATCH_SIZE) or 1):
            inputs = torch.from_numpy(images.intensities(chunk)).to(accelerator.device)
            labels = torch.from_numpy(images.labels[chunk]).to(accelerator.device)
            with torch.inference_mode():
                correct += (self._model(inputs).argmax(dim=1) == labels).sum()
        return float(accelerator.reduce(correct)) / len(images)


def _create_optimizer(model: Classifier, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe.

    AdamW does not decay norms, biases and the parameters that a network of timm excludes, such as
    its position embeddings.
    """
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=decay
        )
    from timm.optim import param_groups_weight_decay  # type: ignore[attr-defined]

    spared: Iterable[str] = getattr(model.network, "no_weight_decay", tuple)()
    names = [f"network.{name}" for name in spared]
    groups = param_groups_weight_decay(model, decay, no_weight_decay_list=names)
    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay)
