"""The folder of a training run.

It holds a description of the run from the start, a checkpoint while it trains, and its history and
weights at the end.
"""

import json
import platform
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

import virolbi
from virolbi._checks import warn_caller
from virolbi._storage import check_empty_folder, is_temporary, write_atomic, write_json
from virolbi.data import Images
from virolbi.nn import Smooth
from virolbi.recipes import Recipe
from virolbi.results import HISTORY
from virolbi.scale_space import SMOOTHER_DIGEST
from virolbi.training.building import build_recipe_network
from virolbi.training.checkpoints import CHECKPOINT, saveable
from virolbi.training.filters import build_filter
from virolbi.training.models import DESCRIPTION, WEIGHTS, Classifier, channels_last

# What a run must share with a checkpoint to resume it, beside the images and the recipe.
SHARED_KEYS = ("classes", "network", "loss", "transform")


@dataclass(frozen=True, eq=False)
class Run:
    """A trained classifier with everything that made it.

    Parameters
    ----------
    model : torch.nn.Module
        Classifier from intensities in [0, 1], shape (N, C, H, W), to logits.
    recipe : Recipe
        Settings of the training run.
    classes : tuple of str
        Names of the classes.
    data : dict
        Metadata of the training images; see `virolbi.data.Images.metadata`.
    history : list of dict
        One entry for each epoch: its number ("epoch"), the forward and backward passes that each
        image has taken until its end ("passes"), the mean "loss", the mean "sparsity" of its images
        unless it was left to the noise, and the "accuracy" on the held-out images if there were
        any.
    """

    model: nn.Module
    recipe: Recipe
    classes: tuple[str, ...]
    data: dict[str, Any]
    history: list[dict[str, float]]

    @property
    def kept_epoch(self) -> dict[str, float]:
        """Entry of the history for the epoch whose weights the model has.

        Returns
        -------
        dict
            The first entry with the best accuracy on the held-out images, if `recipe.patience`
            keeps the best epoch; else the last entry.
        """
        if self.recipe.patience:
            return best_epoch(self.history)
        return self.history[-1]

    @property
    def passes(self) -> int:
        """Number of forward and backward passes that each image took in the training.

        Returns
        -------
        int
            Those of all epochs, also of those after the one that was kept.
        """
        return len(self.history) * self.recipe.passes

    def smoother(self) -> nn.Module:
        """Return the smoothing of test images that the recipe asks for.

        Returns
        -------
        nn.Module
            A `virolbi.nn.Smooth`; the identity after training without smoothing.
        """
        if self.recipe.procedure == "plain":
            return nn.Identity()
        return Smooth(self.recipe.sparsity, **self.recipe.form.keywords())


def best_epoch(history: list[dict[str, float]]) -> dict[str, float]:
    """Return the first entry of a history with the best accuracy on the held-out images.

    Parameters
    ----------
    history : list of dict
        One entry or more, as in `Run.history`, with an accuracy.

    Returns
    -------
    dict
        The entry.
    """
    return max(history, key=lambda entry: entry["accuracy"])


def prepare_run_folder(
    folder: Path, recipe: Recipe, images: Images, code: Mapping[str, Any]
) -> None:
    """Write the description of a run into an empty folder, or check that the folder is of this run.

    The images may have another name or place than when the run started, not another content. The
    code of the user is told apart by how it prints and by its settings.

    Parameters
    ----------
    folder : Path
        A new or empty folder, or that of the same run.
    recipe : Recipe
        Settings of the training run.
    images : Images
        Training images.
    code : mapping of str to Any
        The "network", "loss" and "transform" of the user, or None for those of the recipe.

    Raises
    ------
    ValueError
        If the folder holds another run, an unfinished run of another version of this package, or
        anything that is not a run.

    Warns
    -----
    UserWarning
        If an unfinished run that smooths was started with other sources of the smoother.
    """
    description: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "classes": list(images.classes),
        "data": images.metadata,
        **{name: _printed_form(name, value) for name, value in code.items()},
        "environment": {
            "virolbi": virolbi.__version__,
            "smoother": SMOOTHER_DIGEST,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        },
    }
    check_run_folder(folder)
    if not (folder / DESCRIPTION).exists():
        write_json(folder / DESCRIPTION, description, indent=1)
        return
    existing = _read_description(folder)
    different = [key for key in SHARED_KEYS if existing.get(key) != description[key]]
    if not images.matches(existing.get("data")):
        different.append("data")
    different += recipe.differences(existing["recipe"])
    if different:
        raise ValueError(
            f"{folder} must be new or hold the same run; it holds one that differs in "
            f"{', '.join(different)}"
        )
    if not is_finished(folder):
        _check_sources(folder, existing.get("environment", {}), recipe)


def _check_sources(folder: Path, environment: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse an unfinished run of another version; warn of one that smooths in another way."""
    version, smoother = environment.get("virolbi"), environment.get("smoother")
    if version != virolbi.__version__:
        raise ValueError(
            f"{folder} must be new, or hold a finished run or one of this version, "
            f"{virolbi.__version__}; it holds an unfinished run of version {version}: finish it "
            "with that version, or delete it"
        )
    if recipe.procedure != "plain" and smoother != SMOOTHER_DIGEST:
        warn_caller(
            f"{folder} should be resumed with the sources of the smoother that it was started "
            f"with, {smoother or 'unknown'}, got {SMOOTHER_DIGEST}: its images may be smoothed in "
            "two ways"
        )


def check_run_folder(folder: Path) -> None:
    """Check that a folder holds a run, or nothing.

    Parameters
    ----------
    folder : Path
        Folder, which need not exist.

    Raises
    ------
    ValueError
        If it holds anything else, or is a file.
    """
    if not (folder / DESCRIPTION).exists():
        check_empty_folder(folder)


def save_run(folder: Path, run: Run) -> None:
    """Write the history and the weights of a finished run, and remove its checkpoint.

    The weights come last, because they mark the run as finished.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    run : Run
        The run.
    """
    write_json(folder / HISTORY, run.history, indent=1)
    write_atomic(folder / WEIGHTS, save(saveable(run.model.state_dict())))
    for path in folder.iterdir():
        if path.name == CHECKPOINT or is_temporary(path):
            path.unlink()


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds a finished run.

    Parameters
    ----------
    folder : Path
        Folder, which need not exist.

    Returns
    -------
    bool
        True if the weights are there.
    """
    return (folder / WEIGHTS).exists()


def load_run(
    folder: Path | str, *, device: str | torch.device = "cpu", network: nn.Module | None = None
) -> Run:
    """Read a finished run.

    Parameters
    ----------
    folder : Path or str
        Folder of the run.
    device : str or torch.device, optional
        Device for the model.
    network : torch.nn.Module, optional
        Network of the same architecture, if the run was trained with `train(network=...)`. A copy
        gets the weights; it stays as it is.

    Returns
    -------
    Run
        The run, with the model in evaluation mode.

    Raises
    ------
    ValueError
        If the folder holds no finished run, or if its weights do not fit `network`.
    """
    folder, own = Path(folder), deepcopy(network)
    rule = f"{folder} must be the folder of a finished training run"
    try:
        description = _read_description(folder)
        recipe = Recipe(**description["recipe"])
        if not is_finished(folder):
            raise ValueError("this run is not finished; the same training command resumes it")
        if own is None and description.get("network") is not None:
            raise ValueError(
                "it was trained with train(network=...); pass the network to load_run(folder, "
                "network=...), also in the function of a module:function"
            )
        classes, data = tuple(description["classes"]), description["data"]
        history = json.loads((folder / HISTORY).read_text())
        zero = torch.zeros(data["shape"][0])  # the weights have the mean and the deviation
        weights = _read_weights(folder / WEIGHTS)
        if own is None:
            own = build_recipe_network(recipe, data["shape"], len(classes), pretrained=False)
        model = Classifier(own, zero, zero, build_filter(recipe.filter, recipe.standardise))
    except KeyError as error:
        raise ValueError(f"{rule}: {DESCRIPTION} has no entry {error}") from error
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{rule}: {error}") from error
    if network is not None:
        rule = f"network must have the architecture of the run in {folder}"
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{rule}: {error}") from error
    return Run(channels_last(model.to(device)).eval(), recipe, classes, data, history)


def _printed_form(name: str, value: Any) -> str | None:
    """Return how code of the user prints, with its settings, and without addresses in memory.

    Settings are attributes that are numbers, texts, sequences or arrays.

    Losses of torch do not print settings such as their margin or, in a buffer, the weights of the
    classes. A network is told apart by its layers, as in earlier versions.
    """
    if value is None:
        return None
    attributes = {} if name == "network" else dict(getattr(value, "__dict__", {}))
    if name != "network" and isinstance(value, nn.Module):
        attributes |= dict(value.named_buffers())
    settings = {
        key: _setting(key, x)
        for key, x in attributes.items()
        if isinstance(x, int | float | str | tuple | list | np.ndarray | Tensor)
    }
    return _without_addresses(f"{value!r} {settings}" if settings else repr(value))


def _setting(key: str, value: Any) -> Any:
    """Return a setting that prints in full: the digest of an array, alone or in a sequence."""
    if isinstance(value, tuple | list):
        return [_setting(key, part) for part in value]
    if isinstance(value, Tensor):
        dense = value.detach().cpu().to_dense()
        real = torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense
        content = save({key: real.contiguous()})
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:  # its memory holds addresses
        content = _without_addresses(repr(value.tolist())).encode()
    elif isinstance(value, np.ndarray):
        content = f"{value.dtype} {value.shape} ".encode() + value.tobytes()
    else:
        return value
    return sha256(content).hexdigest()[:12]


def _without_addresses(text: str) -> str:
    """Return what objects print without their addresses in memory, which differ each time."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of a finished run."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged; delete it, and the same training command trains it again: {error}"
        ) from error


def _read_description(folder: Path) -> dict[str, Any]:
    """Return the description of the run in a folder."""
    if not (folder / DESCRIPTION).exists():
        raise ValueError(f"there is no file {folder / DESCRIPTION}")
    description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
    return description
