"""Subjects from training runs, networks, timm, and functions of a user's module."""

import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from virolbi.evaluation.calibration import is_calibration, read_calibration
from virolbi.evaluation.subjects import Subject, View
from virolbi.nn import Smooth
from virolbi.recipes import Recipe
from virolbi.scale_space import Form
from virolbi.training import Classifier, Run, load_run, pretrained_normalisation

TIMM_PREFIX = "timm:"
OWN_WEIGHTS = "weights of your own are loaded by a function of yours, module:function"


def load_subject(
    source: str,
    *,
    name: str | None = None,
    sparsities: Sequence[float | str] = (),
    device: torch.device | None = None,
) -> Subject:
    """Load a subject by the name of its source.

    Parameters
    ----------
    source : str
        The folder of a training run, or of a calibration, which adds the view "calibrated" to its
        network; "timm:NAME" for a network of timm with its pretrained
        weights; or "module:function" for a function without arguments, which returns a module or
        a callable for intensities in [0, 1]. The module is searched in the current folder first.
        A network of timm gets its own normalisation and the size of images it was made for; one
        that was trained on ImageNet knows its classes by name.
    name : str, optional
        Name of the subject in the rows. Default: the name of the folder, or else the source.
    sparsities : sequence of float or "auto", optional
        Sparsities of smoothers in front of the network, each judged as a view.
    device : torch.device, optional
        Device of the network. Default: the CPU.

    Returns
    -------
    Subject
        The subject.

    Raises
    ------
    ValueError
        If the source cannot be loaded.
    """
    device = device or torch.device("cpu")
    if source.startswith(TIMM_PREFIX):
        return _load_timm(source, name or source, sparsities, device)
    if ":" in source and not Path(source).exists():
        return _load_function(source, name or source, sparsities, device)
    folder = Path(source)
    if folder.is_file():
        raise ValueError(
            f"source must be the folder of a run, got the file {source}; {OWN_WEIGHTS}"
        )
    if is_calibration(folder):
        return _load_calibrated(folder, name, sparsities, device)
    run = load_run(folder, device=device)
    return subject_from_run(run, name or folder.resolve().name, sparsities)


def _load_calibrated(
    folder: Path, name: str | None, sparsities: Sequence[float | str], device: torch.device
) -> Subject:
    """Load the network of a calibration, with the calibrated front as its last view."""
    calibration = read_calibration(folder)
    name = name or folder.resolve().name
    subject = load_subject(calibration.source, name=name, sparsities=sparsities, device=device)
    if subject.fingerprint != calibration.fingerprint:
        raise ValueError(
            f"source must be the calibration of the present weights of {calibration.source}; "
            f"{folder} is of other weights; calibrate again"
        )
    view = View("calibrated", subject.views[0].network, calibration.front)
    return replace(
        subject,
        views=(*subject.views, view),
        calibration=calibration.front.digest,
        size=calibration.size or subject.size,
    )


def subject_from_run(run: Run, name: str, sparsities: Sequence[float | str] = ()) -> Subject:
    """Return a training run as a subject.

    Parameters
    ----------
    run : Run
        The run.
    name : str
        Name of the subject in the rows.
    sparsities : sequence of float or "auto", optional
        Sparsities of smoothers in front of the network, each judged as a view; also for a run
        that was trained without smoothing. Empty for the sparsity of the recipe, if it trains on
        smoothed images. The view of that sparsity is "smoothed"; others are called "auto" or
        "smoothed 0.9", followed by the settings of the recipe that are not the defaults, as in
        "auto, nu 0.1".

    Returns
    -------
    Subject
        The network as "raw", or with the filter it was trained with under the name of that
        filter, and one more view for each sparsity.
    """
    recipe = run.recipe
    if not sparsities and recipe.procedure != "plain":
        sparsities = [recipe.sparsity]
    unsmoothed = View("raw" if recipe.filter == "none" else recipe.filter, run.model)
    return Subject(
        name,
        views=(unsmoothed, *_smoothed_views(run.model, sparsities, recipe)),
        fingerprint=_weight_fingerprint(run.model),
        seed=recipe.seed,
        classes=tuple((label,) for label in run.classes),
        shape=tuple(run.data["shape"]),
        size=recipe.size,
        recipe=recipe,
        training_data=run.data,
        passes=run.passes,
    )


def subject_from_network(
    network: Callable[[Tensor], Tensor],
    name: str,
    sparsities: Sequence[float | str] = (),
    **fields: Any,
) -> Subject:
    """Return any network or function as a subject.

    Parameters
    ----------
    network : nn.Module or callable
        Maps intensities in [0, 1], shape (N, C, H, W), to logits, with its own preprocessing. A
        module is set to evaluation mode.
    name : str
        Name of the subject in the rows. Rows identify a network by its name, its weights, and its
        answers to a few of the images: one with another preprocessing needs another name.
    sparsities : sequence of float or "auto", optional
        Sparsities of smoothers in front of the network, each judged as a view.
    **fields : Any
        Other fields of `Subject`: `seed`, `classes`, `shape`, `size`, `recipe` and
        `training_data`.

    Returns
    -------
    Subject
        The network as "raw", and one more view for each sparsity.
    """
    module = network if isinstance(network, nn.Module) else _FunctionModule(network)
    views = (View("raw", module.eval()), *_smoothed_views(module, sparsities, None))
    return Subject(name, views, _weight_fingerprint(module), **fields)


def _load_function(
    source: str, name: str, sparsities: Sequence[float | str], device: torch.device
) -> Subject:
    """Load the network that a function of a module returns."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        network = _import_function(source)()
    finally:
        sys.path.remove(folder)
    if not callable(network):
        raise ValueError(
            "source must name a function that returns a callable for images, "
            f"but {source!r} returns {type(network).__name__}"
        )
    if isinstance(network, nn.Module):
        network = network.to(device)
    return subject_from_network(network, name, sparsities)


def _import_function(source: str) -> Callable[[], Any]:
    """Import a function without arguments from "module:function"."""
    module, _, function = source.partition(":")
    try:
        imported: Callable[[], Any] = getattr(importlib.import_module(module), function)
        signature(imported).bind()
    except (ImportError, AttributeError, TypeError) as error:
        name = _module_of_file(module)
        reason = f"write '{name}:{function}'" if name else str(error)
        raise ValueError(
            "source must name a function without arguments as 'module:function', "
            f"got {source!r}: {reason}"
        ) from error
    return imported


def _module_of_file(path: str) -> str | None:
    """Return the name of the module in a file of this folder, or None if it is named by that."""
    parts = Path(path.removesuffix(".py")).parts
    name = ".".join(parts)
    is_file = all(map(str.isidentifier, parts)) and Path(*parts).with_suffix(".py").is_file()
    return name if is_file and name != path else None


def _load_timm(
    source: str, name: str, sparsities: Sequence[float | str], device: torch.device
) -> Subject:
    """Load a network of timm with its pretrained weights, normalisation, size and classes."""
    import timm
    from timm.data.config import resolve_data_config

    model = source.removeprefix(TIMM_PREFIX)
    if not timm.is_model(model):
        raise ValueError(
            f"source must be 'timm:' and the name of a timm model, got {source!r}; {OWN_WEIGHTS}"
        )
    try:
        network = timm.create_model(model, pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(
            f"source must be a timm model with pretrained weights, got {source!r}: {error}"
        ) from error
    normalisation = pretrained_normalisation(network)
    assert normalisation is not None
    size = resolve_data_config(model=network)["input_size"][-1]  # type: ignore[no-untyped-call]
    classes = _imagenet_classes(network)
    classifier = Classifier(network, *normalisation).to(device)
    return subject_from_network(classifier, name, sparsities, classes=classes, size=size)


def _imagenet_classes(network: nn.Module) -> tuple[tuple[str, ...], ...] | None:
    """Return the WordNet number and the names of each class, or None if timm does not know them."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(network)
    if not subset:
        return None
    info = ImageNetInfo(subset)
    return tuple(
        (info.index_to_label_name(index), *info.index_to_description(index).split(", "))
        for index in range(info.num_classes())  # type: ignore[no-untyped-call]
    )


def _smoothed_views(
    network: nn.Module, sparsities: Sequence[float | str], recipe: Recipe | None
) -> Iterator[View]:
    """Yield a view with a smoother for each sparsity, in the form of the recipe or the default."""
    form = Form() if recipe is None else recipe.form
    for sparsity in sparsities:
        name = _smoothed_name(sparsity, recipe)
        yield View(name, network, Smooth(sparsity, **form.keywords()))


def _smoothed_name(sparsity: float | str, recipe: Recipe | None) -> str:
    """Return "smoothed" for what a recipe trained on, else a name that tells the smoother.

    That is "auto", or "smoothed" and the sparsity; the settings of the recipe's form that are not
    the defaults follow, as in "auto, nu 0.1".
    """
    name = "auto" if sparsity == "auto" else f"smoothed {sparsity:g}"
    if recipe is None:
        return name
    if recipe.procedure != "plain" and sparsity == recipe.sparsity != "auto":
        return "smoothed"
    preset = "" if recipe.preset == "robust" else f", {recipe.preset}"
    nu = "" if recipe.nu == Form.nu else f", nu {recipe.nu:g}"
    return name + preset + nu


class _FunctionModule(nn.Module):
    """Function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, images: Tensor) -> Tensor:
        return self._function(images)


def _weight_fingerprint(model: nn.Module) -> str:
    """Return a digest of the names and the bytes of all tensors of a model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        digest.update(name.encode() + content)
    return digest.hexdigest()[:12]
