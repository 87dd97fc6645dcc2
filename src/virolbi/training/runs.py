"""The folder of a training run: what it is about from the start, a checkpoint on the way, the weights at the end."""

import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

import virolbi
from virolbi._storage import check_empty_folder, is_temporary, write_atomic
from virolbi.data import Images
from virolbi.nn import Smooth
from virolbi.recipes import Recipe
from virolbi.training.filters import build_filter
from virolbi.training.models import (
    Classifier,
    build_network,
    channel_statistics,
    load_weights,
    output_shape,
    pretrained_normalisation,
)

ABOUT, WEIGHTS, CHECKPOINT, HISTORY = (
    "recipe.json",
    "weights.safetensors",
    "checkpoint.safetensors",
    "history.json",
)
SAME = (
    "classes",
    "data",
    "network",
)  # what a run must share with a checkpoint to go on from it, beside its recipe


def choose_device(cpu: bool = False) -> torch.device:
    """The accelerator of this machine, or the CPU where there is none or it is asked for."""
    found = (
        torch.accelerator.current_accelerator()
        if torch.accelerator.is_available() and not cpu
        else None
    )
    return found or torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Run:
    """A trained classifier with all that made it. model: intensities in [0, 1], shape (N, C, H, W), to logits."""

    model: nn.Module
    recipe: Recipe
    classes: tuple[str, ...]
    data: dict[str, Any]  # see `Images.metadata`
    history: list[dict[str, float]]

    def smoother(self) -> Smooth:
        """The smoothing its recipe means for test images."""
        return Smooth(self.recipe.sparsity, **self.recipe.form.keywords())


@dataclass
class State:
    """Where training stands: everything it needs to go on, bit for bit."""

    step: int = 0
    loss: float = 0.0  # sums over the present epoch
    sparsity: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)


def build_classifier(
    recipe: Recipe, images: Images, network: nn.Module | None = None
) -> Classifier:
    """The network of a recipe, as it is before training, or one's own, with the normalisation that fits it and the images."""
    mean, std = channel_statistics(images.pixels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        shape, classes = images.pixels.shape[1:], len(images.classes)
        own = (
            _fitting(network, shape, classes)
            if network
            else _network(recipe, shape, classes, recipe.weights == "pretrained")
        )
    if recipe.weights == "pretrained" and (stated := pretrained_normalisation(own)) is not None:
        mean, std = (
            part if len(part) == len(mean) else part.mean().expand_as(mean) for part in stated
        )
    model = Classifier(own, mean, std, build_filter(recipe.filter))
    if recipe.weights not in ("", "pretrained"):
        load_weights(model, Path(recipe.weights))
    return model


def _fitting(network: nn.Module, shape: Any, classes: int) -> nn.Module:
    """A network of one's own, or an error where it cannot be trained on images of a shape (C, H, W)."""
    parameters = list(network.parameters()) if isinstance(network, nn.Module) else []
    if not parameters:
        raise TypeError(
            f"network must be an nn.Module with parameters to train, got {type(network).__name__}"
        )
    training = network.training
    found = output_shape(network.eval(), shape, parameters[0].device)
    network.train(training)
    if found != (2, classes):
        raise ValueError(
            f"network must give two images logits of shape {(2, classes)}, one for each class, got {found}"
        )
    return network


def _network(recipe: Recipe, shape: Any, classes: int, pretrained: bool) -> nn.Module:
    channels, *sides = shape
    return build_network(
        recipe.model, channels=channels, classes=classes, size=min(sides), pretrained=pretrained
    )


def prepare_run_folder(
    folder: Path, recipe: Recipe, images: Images, network: nn.Module | None
) -> None:
    """Say in a new or empty folder what is going to be trained there, or check that the run in it is the same one."""
    about: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json"),
        "classes": list(images.classes),
        "data": images.metadata,
        "network": None if network is None else str(network),  # one's own, in place of the recipe's
        "environment": {
            "virolbi": virolbi.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        },
    }
    check_run_folder(folder)
    if not (folder / ABOUT).exists():
        write_atomic(folder / ABOUT, (json.dumps(about, indent=1) + "\n").encode())
        return
    before = _read_about(folder)
    wrong = [name for name in SAME if before.get(name) != about[name]]
    wrong += [
        name for name, value in about["recipe"].items() if before["recipe"].get(name) != value
    ]
    if wrong:
        raise ValueError(
            f"{folder} must be new or hold the same run; it holds one that differs in {', '.join(wrong)}"
        )


def check_run_folder(folder: Path) -> None:
    """Refuse a place for a run that holds anything but a run."""
    if not (folder / ABOUT).exists():
        check_empty_folder(folder)


def write_checkpoint(folder: Path, state: State, tensors: dict[str, dict[str, Tensor]]) -> None:
    """Replace the checkpoint of a run, whole or not at all."""
    flat = {
        f"{kind}/{name}": tensor
        for kind, group in tensors.items()
        for name, tensor in group.items()
    }
    write_atomic(folder / CHECKPOINT, save(saveable(flat), {"state": json.dumps(vars(state))}))


def read_checkpoint(folder: Path) -> tuple[State, dict[str, dict[str, Tensor]]] | None:
    """The checkpoint of a run, or None where there is none yet."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    tensors: dict[str, dict[str, Tensor]] = {}
    with safe_open(path, "pt") as file:
        state = State(**json.loads(file.metadata()["state"]))
        for key in file.keys():  # noqa: SIM118 -- not a mapping
            kind, _, name = key.partition("/")
            tensors.setdefault(kind, {})[name] = file.get_tensor(key)
    return state, tensors


def save_run(folder: Path, run: Run) -> None:
    """Write the history and, last, the weights; then the checkpoint has done its service."""
    write_atomic(folder / HISTORY, (json.dumps(run.history, indent=1) + "\n").encode())
    write_atomic(folder / WEIGHTS, save(saveable(run.model.state_dict())))
    for path in folder.iterdir():
        if path.name == CHECKPOINT or is_temporary(path):
            path.unlink()


def check_weights(model: nn.Module) -> None:
    """Refuse, before it is trained, a network whose weights cannot be written."""
    for name, tensor in model.state_dict().items():
        try:
            save(saveable({name: tensor}))
        except Exception as error:  # whatever torch or safetensors has against it
            raise ValueError(
                f"network must have a state_dict of dense tensors, to be kept; {name} is not: {error}"
            ) from error


def saveable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors takes them: on the CPU, contiguous, and none in the memory of another, as tied weights are."""
    result, places = dict[str, Tensor](), set[int]()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return result


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a run that has come to its end."""
    return (folder / WEIGHTS).exists()


def load_run(
    folder: Path | str, *, device: str | torch.device = "cpu", network: nn.Module | None = None
) -> Run:
    """Read a finished run. network: one's own, where it was trained with one. Raises ValueError where there is none."""
    folder = Path(folder)
    try:
        about = _read_about(folder)
        recipe = Recipe(**about["recipe"])
        if not is_finished(folder):
            raise ValueError("this one is not finished; train with the same line to go on")
        if network is None and about.get("network") is not None:
            raise ValueError(
                "its network is one's own; load_run(folder, network=...) reads it, in a module:function too"
            )
        classes, data = tuple(about["classes"]), about["data"]
        history = json.loads((folder / HISTORY).read_text())
        zero = torch.zeros(data["shape"][0])
        own = network or _network(recipe, data["shape"], len(classes), pretrained=False)
        model = Classifier(own, zero, zero, build_filter(recipe.filter))
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"{folder} must be the folder of a finished training run: {error}"
        ) from error
    model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return Run(model, recipe, classes, data, history)


def _read_about(folder: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((folder / ABOUT).read_text())
    return about
