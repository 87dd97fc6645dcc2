"""Checkpoints: the state of an unfinished training run, in one file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from virolbi._storage import write_atomic

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class State:
    """State of a training run which, with its tensors, is enough to resume it bit for bit.

    Parameters
    ----------
    step : int
        Number of steps that are done.
    loss : float
        Sum of the losses of the steps of this epoch.
    sparsity : float or None
        Sum of the mean sparsities of the steps of this epoch. None if that of a step is left to
        the noise.
    history : list of dict
        One entry for each epoch that is over.
    scaler : dict
        State of the gradient scaler of mixed precision; empty if there is none.
    """

    step: int = 0
    loss: float = 0.0
    sparsity: float | None = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)

    def add_step(self, loss: float, sparsity: float | None) -> None:
        """Count a step.

        Parameters
        ----------
        loss : float
            Loss of its batch.
        sparsity : float or None
            Mean sparsity of its batch, None if it is left to the noise.
        """
        self.step += 1
        self.loss += loss
        if self.sparsity is None or sparsity is None:
            self.sparsity = None
        else:
            self.sparsity += sparsity


class Checkpoint(NamedTuple):
    """Checkpoint of a training run.

    Attributes
    ----------
    state : State
        State of the run.
    tensors : dict of dict of torch.Tensor
        Groups of tensors, such as "model", each with tensors by name.
    """

    state: State
    tensors: dict[str, dict[str, Tensor]]


def write_checkpoint(folder: Path, state: State, tensors: dict[str, dict[str, Tensor]]) -> None:
    """Replace the checkpoint of a run, completely or not at all.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    state : State
        State of the run.
    tensors : dict of dict of torch.Tensor
        Groups of tensors, such as "model", each with tensors by name.
    """
    flat = {
        f"{group}/{name}": tensor
        for group, members in tensors.items()
        for name, tensor in members.items()
    }
    content = save(saveable(flat), {"state": json.dumps(vars(state))})
    write_atomic(folder / CHECKPOINT, content)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the checkpoint of a run.

    Parameters
    ----------
    folder : Path
        Folder of the run.

    Returns
    -------
    Checkpoint or None
        State and tensors of the run, or None if there is no checkpoint.

    Raises
    ------
    ValueError
        If the checkpoint is damaged.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    tensors: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, "pt") as file:
            state = State(**json.loads(file.metadata()["state"]))
            for key in file.keys():  # noqa: SIM118 -- not a mapping
                group, _, name = key.partition("/")
                tensors.setdefault(group, {})[name] = file.get_tensor(key)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must be a complete checkpoint of this run; it is damaged, delete it to start "
            f"the training again: {error}"
        ) from error
    return Checkpoint(state, tensors)


def check_weights(model: nn.Module) -> None:
    """Check, before a model is trained, that its weights can be written.

    Parameters
    ----------
    model : torch.nn.Module
        Model to train.

    Raises
    ------
    ValueError
        If its `state_dict` holds anything else than dense tensors.
    """
    for name, tensor in model.state_dict().items():
        try:
            save(saveable({name: tensor}))
        except Exception as error:  # any error of torch or safetensors
            raise ValueError(
                "network must have a state_dict of dense tensors, which can be saved; "
                f"{name} is not: {error}"
            ) from error


def saveable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as safetensors takes them.

    Parameters
    ----------
    tensors : dict of torch.Tensor
        Tensors by name.

    Returns
    -------
    dict of torch.Tensor
        The same tensors on the CPU, contiguous, and none in the memory of another, as tied weights
        are.
    """
    result, addresses = dict[str, Tensor](), set[int]()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        address = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if address in addresses else tensor
        addresses.add(address)
    return result
