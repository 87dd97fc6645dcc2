"""Subjects of an evaluation: a classifier with and without smoothing in front of it."""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from virolbi._checks import check_count
from virolbi.data import Images
from virolbi.recipes import Recipe
from virolbi.results import Row
from virolbi.robustness import check_logit_shape, isolated_random, warn_of_probabilities
from virolbi.training import output_for_zeros

ANSWERED = 16  # images whose answers identify a network
DIGITS = 12  # of a fingerprint


@dataclass(frozen=True, eq=False)
class View:
    """Network with an optional smoother in front of it.

    Parameters
    ----------
    name : str
        Name of the view in the rows, such as "raw" or "smoothed". Rows know a smoother by this name
        alone: another one needs another name.
    network : nn.Module
        Maps intensities in [0, 1], shape (N, C, H, W), to logits.
    smoother : nn.Module, optional
        `virolbi.nn.Smooth`, or a module with several, in front of the network, or None for none.

    Raises
    ------
    ValueError
        If a dropout or a batch normalisation of the network is in training mode.
    """

    name: str
    network: nn.Module
    smoother: nn.Module | None = None

    def __post_init__(self) -> None:
        """Check the network before any pass, which would change the statistics of its batch norms.

        Raises
        ------
        ValueError
            If the network is not ready to be judged.
        """
        for part, module in self.network.named_modules():
            keeps_statistics = isinstance(module, _NormBase) and module.track_running_stats
            drops = isinstance(module, _DropoutNd) and module.p > 0
            if module.training and (keeps_statistics or drops):
                raise ValueError(
                    f"network must be in evaluation mode, got the {type(module).__name__} "
                    f"{part!r} in training mode; call its eval()"
                )

    @property
    def device(self) -> torch.device:
        """Device of the network.

        Returns
        -------
        torch.device
            The device of its parameters; the CPU for a function without parameters.
        """
        return next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))

    def isolated(self) -> AbstractContextManager[None]:
        """Return a context that leaves no trace in the generators of random numbers.

        The results of networks that are random depend on them.

        Returns
        -------
        context manager
            For passes whose logits are no results.
        """
        return isolated_random(self.device)

    @property
    def model(self) -> nn.Module:
        """Smoother, if there is one, followed by the network, which gets images of its own.

        Returns
        -------
        nn.Module
            Maps intensities in [0, 1], shape (N, C, H, W), to logits.
        """
        parts = [] if self.smoother is None else [self.smoother]
        return nn.Sequential(*parts, _Copy(), self.network)


class _Copy(nn.Module):
    """Give a network images of its own, because it can normalise them in place."""

    def forward(self, images: Tensor) -> Tensor:
        return images.clone()


@dataclass(frozen=True, eq=False)
class Subject:
    """Classifier to evaluate, in one or more views.

    Parameters
    ----------
    name : str
        Name of the classifier in the rows ("arm").
    views : tuple of View
        Views to judge, with different names.
    fingerprint : str
        Digest of the weights, which tells rows of different weights apart.
    seed : int, optional
        Seed of the training run.
    classes : tuple of tuple of str, optional
        Class of each logit, with its synonyms, or None if they are unknown.
    shape : tuple of int, optional
        Shape (C, H, W) of the images, or None if any shape is accepted.
    size : int, optional
        Size to resize images to, in pixels, or None for their own.
    recipe : Recipe, optional
        Recipe of the training run, or None for networks that this package did not train.
    training_data : dict, optional
        Metadata of its training images; see `virolbi.data.Images.metadata`.
    passes : int, optional
        Forward and backward passes that each training image took, or None if they are unknown.
    calibration : str, optional
        Digest of the calibration in front of the network, or "" without one.

    Raises
    ------
    ValueError
        If two views have the same name.
    """

    name: str
    views: tuple[View, ...]
    fingerprint: str
    seed: int = 0
    classes: tuple[tuple[str, ...], ...] | None = None
    shape: tuple[int, ...] | None = None
    size: int | None = None
    recipe: Recipe | None = None
    training_data: dict[str, Any] | None = None
    passes: int | None = None
    calibration: str = ""

    def __post_init__(self) -> None:
        names = [view.name for view in self.views]
        if len(set(names)) < len(names):
            raise ValueError(f"sparsities must differ in their first six digits, got views {names}")

    @property
    def weights(self) -> str:
        """Digest of all that the answers depend on: the weights, and a calibration if there is one.

        Returns
        -------
        str
            The digest, which rows have.
        """
        return "-".join(filter(None, (self.fingerprint, self.calibration)))

    @property
    def data(self) -> str | None:
        """Source of the training data.

        Returns
        -------
        str or None
            The `data` of the recipe, or None without a recipe.
        """
        return self.recipe.data if self.recipe else None

    @property
    def channels(self) -> int | None:
        """Number of channels of the images.

        Returns
        -------
        int or None
            The number, or None if any is accepted.
        """
        return None if self.shape is None else self.shape[0]

    def load_options(self, size: int | None, data_range: float | None) -> dict[str, Any]:
        """Return the keywords with which `virolbi.data.load` reads images for this subject.

        Parameters
        ----------
        size : int or None
            Size to resize images to, in pixels, or None for that of the subject.
        data_range : float or None
            Value of the pixels that is white, or None for that of the recipe.

        Returns
        -------
        dict
            The size, the channels, the data range, and what to do with images that cannot be
            decoded.
        """
        own = (self.recipe or Recipe()).load_options
        own |= {"size": self.size, "channels": self.channels}
        stated = {"size": size, "data_range": data_range}
        return own | {name: value for name, value in stated.items() if value is not None}

    def row(self, images: Images) -> Row:
        """Return the fields that all rows of this subject on these images share.

        Parameters
        ----------
        images : Images
            Images it is judged on.

        Returns
        -------
        dict
            The fields "arm", "seed", "data", "classes", "images" (a digest), "weights" and, where
            they are known, "passes".
        """
        metadata = images.metadata
        passes = {} if self.passes is None else {"passes": self.passes}
        return passes | {
            "arm": self.name,
            "seed": self.seed,
            "data": metadata["name"],
            "classes": len(images.classes),
            "images": metadata["digest"],
            "weights": self.weights,
        }

    def aligned_with(self, images: Images) -> "Subject":
        """Return the subject with the logits of the images' classes, in their order.

        Parameters
        ----------
        images : Images
            Images to judge it on.

        Returns
        -------
        Subject
            A subject whose logits are those of `images.classes`. If it has no recipe, which would
            state what is done to images, its fingerprint is also that of its answers to a few of
            them.

        Raises
        ------
        ValueError
            If there are no images, if their shape or classes do not fit the network, or if it does
            not return a logit for each class.

        Warns
        -----
        UserWarning
            If it has no recipe, and its answers look like probabilities, see
            `virolbi.robustness.look_like_probabilities`.
        """
        check_count("the number of images", len(images))
        shape = images.pixels.shape[1:]
        if self.shape is not None and shape != self.shape:
            raise ValueError(f"images must have the shape of training, {self.shape}, got {shape}")
        if self.recipe is None:
            self._check_logits(images)
        aligned = self if self.classes is None else self._select_classes(images)
        if self.recipe is not None:
            return aligned
        outputs, again = (_outputs(aligned.views[0], images) for _ in range(2))
        warn_of_probabilities(outputs if aligned is self else _outputs(self.views[0], images))
        answers = _answers_digest(outputs)
        if answers != _answers_digest(again):
            answers = "random"
        if not self.views[0].network.state_dict():
            return replace(aligned, fingerprint=answers)
        digest = hashlib.sha256(f"{self.fingerprint}, {answers}".encode())
        return replace(aligned, fingerprint=digest.hexdigest()[:DIGITS])

    def _select_classes(self, images: Images) -> "Subject":
        """Return the subject with the logits of the images' classes, which are known."""
        assert self.classes is not None
        columns = [self._column(name) for name in images.classes]
        if len(set(columns)) < len(columns):
            duplicates = [
                name
                for name, column in zip(images.classes, columns, strict=True)
                if columns.count(column) > 1
            ]
            raise ValueError(
                "images must have classes that are different classes of the model, "
                f"got {duplicates}, which share one"
            )
        if columns == list(range(len(self.classes))):
            return self
        views = tuple(
            replace(view, network=nn.Sequential(view.network, _SelectLogits(columns)))
            for view in self.views
        )
        return replace(self, views=views)

    def _column(self, name: str) -> int:
        """Return the index of the logit of a class."""
        assert self.classes is not None
        columns = [index for index, names in enumerate(self.classes) if name in names]
        if not columns:
            examples = [names[0] for names in self.classes[:5]]
            raise ValueError(
                f"images must have classes of the model, such as {examples}, got {name!r}"
            )
        if len(columns) > 1:
            meanings = [self.classes[index][0] for index in columns]
            raise ValueError(
                "images must have class names with one meaning in the model, "
                f"got {name!r}, which is one of {meanings}"
            )
        return columns[0]

    def _check_logits(self, images: Images) -> None:
        """Check that the network returns a logit for every class, its own or of the images."""
        view = self.views[0]
        logits = output_for_zeros(view.network, images.pixels.shape[1:], view.device)
        classes = images.classes if self.classes is None else [name for name, *_ in self.classes]
        names = [*classes[:5], *["..."] * (len(classes) > 5)]
        note = f", for the classes {', '.join(names)} in this order, for two images"
        check_logit_shape(f"model {self.name}", logits, 2, len(classes), note=note)


def to_tensors(images: Images, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images as tensors.

    Parameters
    ----------
    images : Images
        The images.
    device : torch.device
        Device of the tensors.

    Returns
    -------
    intensities : Tensor of float32, shape (N, C, H, W)
        Intensities in [0, 1].
    labels : Tensor of int64, shape (N,)
        Labels.
    """
    tensors = torch.from_numpy(images.intensities()), torch.from_numpy(images.labels)
    return tensors[0].to(device), tensors[1].to(device)


class _SelectLogits(nn.Module):
    """Selection of columns of the logits."""

    _columns: list[int]

    def __init__(self, columns: list[int]) -> None:
        super().__init__()
        self._columns = columns

    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, self._columns]


def _outputs(view: View, images: Images) -> Tensor:
    """Return the outputs for a few images.

    Convolutions take no short cut (TF32), whose rounding errors other machines do not have.
    """
    intensities, _ = to_tensors(images.subset(np.s_[:ANSWERED]), view.device)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        outputs: Tensor = view.model(intensities)
    return outputs.float().cpu()


def _answers_digest(outputs: Tensor) -> str:
    """Return a digest of answers, with confidences in tenths, which other machines get too."""
    confidences, answers = outputs.softmax(dim=1).max(dim=1)
    tenths = (10 * confidences).round().long()
    return hashlib.sha256(torch.stack([answers, tenths]).numpy().tobytes()).hexdigest()[:DIGITS]
