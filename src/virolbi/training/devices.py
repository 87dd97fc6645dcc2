"""Devices and processes of a training run."""

import atexit
import os
import time
from datetime import timedelta
from functools import cache
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    broadcast_object_list,
)
from torch import nn

from virolbi.recipes import Recipe
from virolbi.robustness import batch_norms
from virolbi.training.checkpoints import CHECKPOINT
from virolbi.training.models import DESCRIPTION, WEIGHTS

# longest wait of processes for the one that downloads, decodes and smooths images for them
WAIT = timedelta(hours=12)
LATE = 60  # seconds after which a network file system must show a file


def choose_device(cpu: bool = False) -> torch.device:
    """Return the accelerator of this machine, or the CPU if there is none.

    Of several processes on this machine that were started together, as by `accelerate launch`,
    each gets an accelerator of its own as long as there are enough.

    Parameters
    ----------
    cpu : bool, optional
        Whether to return the CPU in any case.

    Returns
    -------
    torch.device
        The device.
    """
    if cpu or not torch.accelerator.is_available():
        return torch.device("cpu")
    kind = torch.accelerator.current_accelerator() or torch.device("cpu")
    if "LOCAL_RANK" in os.environ:
        return torch.device(
            kind.type, int(os.environ["LOCAL_RANK"]) % torch.accelerator.device_count()
        )
    return kind


def create_accelerator(
    recipe: Recipe, cpu: bool, *, unused_parameters: bool = False
) -> Accelerator:
    """Return an `Accelerator` with the precision of a recipe.

    The network is not compiled, whatever the configuration of accelerate says: its weights would
    be saved under other names. Gradients are not divided by a number of accumulated steps in that
    configuration either: the recipe alone states it, and the training divides by it.

    Parameters
    ----------
    recipe : Recipe
        Settings of the training run.
    cpu : bool
        Whether to train on the CPU where there is an accelerator.
    unused_parameters : bool, optional
        Whether the loss may not depend on all parameters. Several processes then look for them in
        every step.

    Returns
    -------
    accelerate.Accelerator
        The accelerator. It replaces that of an earlier training in this process with another
        precision or device.

    Raises
    ------
    ValueError
        If the configuration of accelerate splits the network among processes.
    """
    earlier = AcceleratorState() if AcceleratorState._shared_state else None
    if earlier is not None and (earlier.mixed_precision, earlier._cpu) != (recipe.precision, cpu):
        AcceleratorState._reset_state(reset_partial_state=earlier.num_processes == 1)
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=recipe.precision,
        dynamo_backend="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=WAIT),
            DistributedDataParallelKwargs(find_unused_parameters=unused_parameters),
        ],
    )
    kind = str(accelerator.distributed_type.value)
    if kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        raise ValueError(
            "the configuration of accelerate must leave the whole network to each process, "
            f"got {kind}"
        )
    if accelerator.num_processes > 1:
        _leave_group_at_exit()
    return accelerator


@cache
def _leave_group_at_exit() -> None:
    """Let this process leave its group before it ends: a thread of the group can abort it then."""
    atexit.register(_leave_group)


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def check_shared(folder: Path, accelerator: Accelerator) -> None:
    """Check that all processes see the same state of a run in its folder.

    Parameters
    ----------
    folder : Path
        Folder of the run, which need not exist.
    accelerator : accelerate.Accelerator
        Accelerator of the training run.

    Raises
    ------
    ValueError
        If this process sees other files than the first one, after a minute too: network file
        systems may show them late.
    """
    if accelerator.num_processes == 1:
        return
    (expected,) = broadcast_object_list([_files_of_run(folder)])
    for _ in range(LATE):
        if _files_of_run(folder) == expected:
            return
        time.sleep(1)
    raise ValueError(
        f"folder must be one that all processes and machines share, but in {folder} process "
        f"{accelerator.process_index} sees {_files_of_run(folder)}, the first one {expected}"
    )


def _files_of_run(folder: Path) -> list[str]:
    """Return which files of a run are in its folder."""
    return [name for name in (DESCRIPTION, CHECKPOINT, WEIGHTS) if (folder / name).exists()]


def check_batch_norm(model: nn.Module, accelerator: Accelerator) -> None:
    """Check that no process would normalise by the statistics of its own share of a batch.

    Parameters
    ----------
    model : torch.nn.Module
        Model to train.
    accelerator : accelerate.Accelerator
        Accelerator of the training run.

    Raises
    ------
    ValueError
        If the model has batch normalisation and trains in several processes on CPUs.
    """
    # on CUDA the processes share the statistics
    shared = accelerator.num_processes == 1 or accelerator.device.type == "cuda"
    if not shared and any(True for _ in batch_norms(model)):
        raise ValueError(
            "network must have no batch normalisation to train in "
            f"{accelerator.num_processes} processes on CPUs, where torch cannot share its "
            f"statistics, got {type(model).__name__}"
        )


def use_one_thread(worker: int) -> None:
    """Make a worker of a `DataLoader` smooth on one thread.

    The other cores are for the other workers.

    Parameters
    ----------
    worker : int
        Number of the worker, as a `DataLoader` passes it to `worker_init_fn`.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
