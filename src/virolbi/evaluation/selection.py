"""Selection of the sparsity: accuracy of a classifier at several sparsities, under noises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from virolbi._checks import check_count
from virolbi.corruptions import NOISES, SEVERITIES, corrupt, low_resolution
from virolbi.data import Images, held_out_mask, load, load_labels
from virolbi.evaluation.judging import identity, judge
from virolbi.evaluation.subjects import Subject, View
from virolbi.nn import Smooth
from virolbi.results import Row
from virolbi.robustness import check_logit_shape
from virolbi.scale_space import Form, from_pairs
from virolbi.training import output_for_zeros

PAIR_COUNT = 250  # images, enough for the sparsity of least squared error
TRIED_SPARSITIES = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.3, 0.0)
DEFAULT_FORM = Form()


@dataclass(frozen=True, eq=False)
class Selection:
    """Record of correct images under each condition at each choice of the sparsity.

    Parameters
    ----------
    conditions : tuple of str
        Names, such as "clean" or "shot_noise 3".
    choices : tuple of float or "auto"
        Sparsities, and "auto" last, if it is a choice.
    right : ndarray of bool, shape (conditions, choices, images)
        Whether each image is classified correctly.
    nearest : tuple of float
        Sparsity of least squared error for each condition, before regions are merged by area.
    """

    conditions: tuple[str, ...]
    choices: tuple[float | str, ...]
    right: np.ndarray
    nearest: tuple[float, ...]

    @property
    def sparsities(self) -> tuple[float, ...]:
        """Numerical choices.

        Returns
        -------
        tuple of float
            All choices but "auto".
        """
        return tuple(choice for choice in self.choices if not isinstance(choice, str))

    @property
    def best(self) -> float:
        """Single sparsity with the best mean accuracy over all conditions.

        Returns
        -------
        float
            One of `sparsities`; the first of those that are equally good.
        """
        return self.sparsities[int(self.accuracy[:, : len(self.sparsities)].mean(axis=0).argmax())]

    @property
    def accuracy(self) -> np.ndarray:
        """Accuracy under each condition at each choice.

        Returns
        -------
        ndarray of float, shape (conditions, choices)
            Shares of images in [0, 1].
        """
        accuracy: np.ndarray = self.right.mean(axis=2)
        return accuracy

    def rows(self) -> list[Row]:
        """Return a row for each condition, and one for their mean.

        Returns
        -------
        list of dict
            The name of the "condition"; the accuracy of every choice, under its name; in
            hindsight, the "best sparsity" that is the same for all images and its accuracy
            "best"; "regret", how far "auto" is behind that, if it is a choice; "oracle", the
            accuracy if every image had its own sparsity, one that gets it right where there is
            one; and "nearest", the sparsity of least squared error. The row of the mean has no
            "best sparsity" and no "nearest".
        """
        rows: list[Row] = []
        for name, accuracy, right, nearest in zip(
            self.conditions, self.accuracy, self.right, self.nearest, strict=True
        ):
            oracle = float(right[: len(self.sparsities)].any(axis=0).mean())
            fields = {"oracle": round(oracle, 4), "nearest": nearest}
            rows.append({"condition": name} | self._accuracy_fields(accuracy) | fields)
        averaged = [
            key
            for key, value in rows[0].items()
            if isinstance(value, float) and key not in ("best sparsity", "nearest")
        ]
        means = {key: round(float(np.mean([row[key] for row in rows])), 4) for key in averaged}
        return [*rows, {"condition": "mean"} | means]

    def _accuracy_fields(self, accuracy: np.ndarray) -> Row:
        """Return the fields of a row that follow from its accuracies, shape (choices,)."""
        best = int(accuracy[: len(self.sparsities)].argmax())
        by_choice = {
            choice if isinstance(choice, str) else f"{choice:g}": float(share)
            for choice, share in zip(self.choices, accuracy, strict=True)
        }
        fields = by_choice | {"best sparsity": self.sparsities[best], "best": accuracy[best]}
        if "auto" in by_choice:
            fields["regret"] = fields["best"] - by_choice["auto"]
        return {key: round(float(value), 4) for key, value in fields.items()}


def select_sparsity(
    network: nn.Module,
    images: Images,
    *,
    form: Form = DEFAULT_FORM,
    sparsities: Sequence[float | str] = TRIED_SPARSITIES,
    progress: Callable[[int, int, str], None] | None = None,
) -> Selection:
    """Judge a network behind smoothers of several sparsities: clean, noisy and at half size.

    Parameters
    ----------
    network : nn.Module
        Maps intensities in [0, 1], shape (N, C, H, W), to logits, one for each class of the images.
    images : Images
        Images that the network was not trained on and will not be judged on.
    form : Form, optional
        Form of the smoothers.
    sparsities : sequence of float or "auto", optional
        Sparsities to try. "auto" is always a choice, unless the smoother returns regions, which
        do not have it.
    progress : callable, optional
        Called before each condition with the number of those that are done, the number of all,
        and its name.

    Returns
    -------
    Selection
        The results, from which to choose.

    Raises
    ------
    ValueError
        If there is no sparsity to try, or no image, or if the network does not return a logit for
        each class of the images.
    """
    numbers = [sparsity for sparsity in sparsities if sparsity != "auto"]
    if not numbers:
        raise ValueError("sparsities must have one number or more, got none")
    _check_network(network, images)
    clean = images.intensities(np.s_[:PAIR_COUNT])
    keywords = form.keywords()
    matched = {name: value for name, value in keywords.items() if name != "min_area"}
    choices = (*numbers, *(["auto"] if form.allows_auto else []))
    views = [View(str(choice), network, Smooth(choice, **keywords)) for choice in choices]
    changes = _changes()
    right, nearest = np.empty((len(changes), len(choices), len(images)), bool), []
    for index, (name, change) in enumerate(changes.items()):
        if progress is not None:
            progress(index, len(changes), name)
        judged = judge(views, images.pixels, images.labels, change)
        right[index] = [result.correct for result in judged]
        nearest.append(from_pairs(clean, change(clean), channel_axis=1, **matched))
    return Selection(tuple(changes), choices, right, tuple(nearest))


def _check_network(network: nn.Module, images: Images) -> None:
    """Check that there are images, and that a network returns a logit for each of their classes."""
    check_count("the number of images", len(images))
    device = View("raw", network).device
    logits = output_for_zeros(network, images.pixels.shape[1:], device)
    check_logit_shape("network", logits, 2, len(images.classes))


class SelectionImages(NamedTuple):
    """Images to choose a sparsity on.

    Attributes
    ----------
    images : Images
        The images.
    trained_on : bool
        Whether the network was trained on them.
    """

    images: Images
    trained_on: bool


def selection_images(
    subject: Subject,
    source: str | None,
    *,
    size: int | None,
    data_range: float | None = None,
    limit: int,
) -> SelectionImages:
    """Load images to choose a sparsity on.

    Parameters
    ----------
    subject : Subject
        Subject to choose for.
    source : str or None
        Data set or folder whose training split to load, or None for the training data of the
        subject. Of its own training images, only those that it held out are used, if it held out
        any. They are known by their digest, wherever they are and however `source` is spelled.
    size : int or None
        Size to resize images to, in pixels, or None for that of the subject.
    data_range : float, optional
        Value of the pixels of image files that is white, or None for that of the subject.
    limit : int
        Number of images, at most, >= 1.

    Returns
    -------
    SelectionImages
        The images, and whether the subject was trained on them.

    Raises
    ------
    TypeError, ValueError
        If `limit` is no whole number >= 1, if there is no source, or if the source of the training
        data of the subject holds other images than those that it was trained on.
    """
    check_count("limit", limit)
    recipe, chosen = subject.recipe, source or subject.data
    if chosen is None:
        raise ValueError(
            f"source (--data) must name the images to choose on for {subject.name}, got None"
        )
    options = subject.load_options(size, data_range)
    if recipe is None or subject.training_data is None:
        return SelectionImages(load(chosen, "train", limit=limit, **options), trained_on=False)
    images = _load_training_images(chosen, subject.training_data, options)
    if images is None and not source:
        raise ValueError(
            f"source (--data) must name the images to choose on for {subject.name}, because "
            f"{chosen!r} does not hold the images that it was trained on, at their size"
        )
    if images is None:
        return SelectionImages(load(chosen, "train", limit=limit, **options), trained_on=False)
    if not recipe.validation:
        return SelectionImages(images.subset(np.s_[:limit]), trained_on=True)
    held_out = np.flatnonzero(held_out_mask(images.labels, recipe.validation))
    return SelectionImages(images.subset(held_out[:limit]), trained_on=False)


def _load_training_images(
    source: str, metadata: dict[str, Any], options: dict[str, Any]
) -> Images | None:
    """Return the training images that metadata describe, or None if the source holds others."""
    count = metadata["count"] + len(metadata.get("skipped", ()))
    if len(load_labels(source, "train", limit=count)) < count:
        return None
    # an image that cannot be decoded, in any place, must not stop the search for others
    images = load(source, "train", limit=count, **options | {"corrupt": "skip"})
    return images if images.matches(metadata) else None


def _changes() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return what is done to clean images under each condition, by its name."""
    noises = {
        f"{name} {severity}": partial(corrupt, name=name, severity=severity)
        for name in NOISES
        for severity in SEVERITIES
    }
    return {"clean": identity, **noises, "low_resolution 2": partial(low_resolution, factor=2)}
