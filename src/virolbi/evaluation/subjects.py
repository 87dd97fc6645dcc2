"""What is judged: a run of ours, a network of timm, or any callable, with and without smoothing in front."""

import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from virolbi.data import Images
from virolbi.nn import Smooth
from virolbi.recipes import Recipe
from virolbi.results import Row
from virolbi.training import Classifier, Run, load_run, output_shape, pretrained_normalisation

TIMM = "timm:"


@dataclass(frozen=True, eq=False)
class View:
    """A network as it is shown images: intensities in [0, 1], shape (N, C, H, W), to logits, perhaps with a smoother before."""

    name: str
    network: nn.Module
    smoother: Smooth | None = None

    @property
    def device(self) -> torch.device:
        """Where its network is; the CPU for a function without parameters."""
        return next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))

    @property
    def model(self) -> nn.Module:
        """The smoother, where there is one, and the network."""
        return self.network if self.smoother is None else nn.Sequential(self.smoother, self.network)


@dataclass(frozen=True, eq=False)
class Subject:
    """Something to judge.

    classes: of its logits, each with its synonyms, or None where it does not say. shape: (C, H, W) of its images, or None where
    it takes any. size: to resize images to. recipe: that it was trained by, where it was by ours.
    """

    name: str
    views: tuple[View, ...]
    fingerprint: str
    seed: int = 0
    classes: tuple[tuple[str, ...], ...] | None = None
    shape: tuple[int, ...] | None = None
    size: int | None = None
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        names = [view.name for view in self.views]
        if len(set(names)) < len(names):
            raise ValueError(f"sparsities must differ in their first six digits, got views {names}")

    @property
    def data(self) -> str | None:
        """What it was trained on, where it says."""
        return self.recipe.data if self.recipe else None

    @property
    def channels(self) -> int | None:
        """Of its images, or None where it takes any."""
        return None if self.shape is None else self.shape[0]

    def row(self, images: Images) -> Row:
        """What all rows say of it and the images it is judged on."""
        about = images.metadata
        return {
            "arm": self.name,
            "seed": self.seed,
            "data": about["name"],
            "classes": len(images.classes),
            "images": about["digest"],
            "weights": self.fingerprint,
        }

    def aligned_with(self, images: Images) -> "Subject":
        """The same for these images: with logits of their classes, in their order. Raises ValueError where that cannot be."""
        shape = images.pixels.shape[1:]
        if self.shape is not None and shape != self.shape:
            raise ValueError(f"images must have the shape of training, {self.shape}, got {shape}")
        if self.classes is None:
            self._check_logits(images)
            return (
                self
                if self.views[0].network.state_dict()
                else replace(self, fingerprint=_answers(self.views[0], images))
            )
        wanted = [self._column(name) for name in images.classes]
        if len(set(wanted)) < len(wanted):
            twice = [
                name
                for name, column in zip(images.classes, wanted, strict=True)
                if wanted.count(column) > 1
            ]
            raise ValueError(
                f"classes of images must be different ones of the model, got {twice}, two names of one"
            )
        if wanted == list(range(len(self.classes))):
            return self
        views = tuple(
            replace(view, network=nn.Sequential(view.network, _Columns(wanted)))
            for view in self.views
        )
        return replace(self, views=views)

    def _column(self, name: str) -> int:
        """Where the logit of a class is."""
        assert self.classes is not None
        found = [index for index, names in enumerate(self.classes) if name in names]
        if len(found) != 1:
            known = [self.classes[index][0] for index in found] or [
                names[0] for names in self.classes[:5]
            ]
            rule = "one of" if found else "classes of the model, such as"
            raise ValueError(f"images must have {rule} {known}, got {name!r}")
        return found[0]

    def _check_logits(self, images: Images) -> None:
        view = self.views[0]
        found = output_shape(view.network, images.pixels.shape[1:], view.device)
        if found != (2, len(images.classes)):
            wanted = f"(N, {len(images.classes)}), for classes {images.classes[:5]} in this order"
            raise ValueError(
                f"model {self.name} must return logits of shape {wanted}, got {found} for N = 2"
            )


def subject_from_run(run: Run, name: str, sparsities: Sequence[float | str] = ()) -> Subject:
    """A run of ours: "raw", or with the filter it trained with, and smoothed, for one that trained on smoothed images.

    sparsities: of the smoothings in front, also for a run that trained without; none for that of its recipe.
    """
    recipe = run.recipe
    if not sparsities and recipe.procedure != "plain":
        sparsities = [recipe.sparsity]
    plain = View("raw" if recipe.filter == "none" else recipe.filter, run.model)
    views = (plain, *_smoothed(run.model, sparsities, recipe))
    classes = tuple((label,) for label in run.classes)
    shape = tuple(run.data["shape"])
    return Subject(
        name, views, _fingerprint(run.model), recipe.seed, classes, shape, recipe.size, recipe
    )


def subject_from_network(
    network: Callable[[Tensor], Tensor],
    name: str,
    sparsities: Sequence[float | str] = (),
    **about: Any,
) -> Subject:
    """A network of one's own, or any callable, for intensities in [0, 1], which does its own preprocessing.

    sparsities: of smoothings in front, each judged as a view of its own. Rows know a network by its name and weights: one that
    differs otherwise, as by preprocessing of its own, needs another name.
    """
    module = network if isinstance(network, nn.Module) else _Callable(network)
    views = (View("raw", module.eval()), *_smoothed(module, sparsities, Recipe()))
    return Subject(name, views, _fingerprint(module), **about)


def _smoothed(
    network: nn.Module, sparsities: Sequence[float | str], recipe: Recipe
) -> Iterator[View]:
    """A view for each sparsity: "auto", "smoothed" for that of the recipe, or "smoothed" and a number."""
    for sparsity in sparsities:
        name = (
            "auto"
            if sparsity == "auto"
            else "smoothed"
            if sparsity == recipe.sparsity
            else f"smoothed {sparsity:g}"
        )
        yield View(name, network, Smooth(sparsity, **recipe.form.keywords()))


def load_subject(
    source: str,
    *,
    name: str | None = None,
    sparsities: Sequence[float | str] = (),
    device: torch.device | None = None,
) -> Subject:
    """What a text stands for: the folder of a run, "timm:NAME" with its pretrained weights, or "module:function".

    The function takes nothing and returns a module, or a callable, for intensities in [0, 1]. A network of timm gets its own
    normalisation and the size of images it was made for; one that was trained on ImageNet knows its classes by name.
    """
    device = device or torch.device("cpu")
    if source.startswith(TIMM):
        return _timm(source.removeprefix(TIMM), name or source, sparsities, device)
    if ":" in source and not Path(source).exists():
        module, _, function = source.partition(":")
        sys.path.insert(0, str(Path.cwd()))
        try:
            network = _maker(module, function)()
        finally:
            sys.path.pop(0)
        if not callable(network):
            raise ValueError(
                f"model must return a callable for images, {source!r} returns {type(network).__name__}"
            )
        return subject_from_network(
            network.to(device) if isinstance(network, nn.Module) else network,
            name or source,
            sparsities,
        )
    folder = Path(source)
    return subject_from_run(
        load_run(folder, device=device), name or folder.resolve().name, sparsities
    )


def _maker(module: str, function: str) -> Callable[[], Any]:
    try:
        maker: Callable[[], Any] = getattr(importlib.import_module(module), function)
        signature(maker).bind()
    except (ImportError, AttributeError, TypeError) as error:
        name = f"{module}:{function}"
        raise ValueError(
            f"model must be a function without arguments by 'module:function', got {name!r}: {error}"
        ) from error
    return maker


def _timm(
    model: str, name: str, sparsities: Sequence[float | str], device: torch.device
) -> Subject:
    import timm
    from timm.data.config import resolve_data_config
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    if not timm.is_model(model):
        raise ValueError(f"model must be one that timm has weights for, got {model!r}")
    try:
        network = timm.create_model(model, pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(
            f"model {model!r} could not be had from timm with its weights: {error}"
        ) from error
    normalisation = pretrained_normalisation(network)
    assert normalisation is not None
    subset = infer_imagenet_subset(network)
    info = ImageNetInfo(subset) if subset else None
    classes = None
    if info is not None:  # WordNet's number of each class, and its names
        every = range(info.num_classes())
        classes = tuple(
            (info.index_to_label_name(k), *info.index_to_description(k).split(", ")) for k in every
        )
    size = resolve_data_config(model=network)["input_size"][-1]
    classifier = Classifier(network, *normalisation).to(device)
    return subject_from_network(classifier, name, sparsities, classes=classes, size=size)


class _Callable(nn.Module):
    """Any function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, images: Tensor) -> Tensor:
        return self._function(images)


class _Columns(nn.Module):
    """Some of the logits."""

    _columns: list[int]

    def __init__(self, columns: list[int]) -> None:
        super().__init__()
        self._columns = columns

    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, self._columns]


def _answers(view: View, images: Images) -> str:
    """What a function without weights is known by: its answers to a few images, unless they are random."""
    pixels = torch.from_numpy(images.pixels[:8].astype(np.float32) / 255).to(view.device)
    with torch.no_grad():
        first, again = (view.network(pixels).float().cpu().numpy() for _ in range(2))
    return (
        hashlib.sha256(np.round(first, 3).tobytes()).hexdigest()[:12]
        if np.array_equal(first, again)
        else "random"
    )


def _fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(
            name.encode()
            + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()[:12]
