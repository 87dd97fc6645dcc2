"""The sparsity that keeps the labels: how a classifier fares along the path under a family of noises, and what to choose."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from virolbi.corruptions import NOISES, corrupt, low_resolution
from virolbi.data import Images, held_out_mask, load
from virolbi.evaluation.evaluate import judge
from virolbi.evaluation.subjects import Subject, View
from virolbi.nn import Smooth
from virolbi.results import Row
from virolbi.scale_space import from_pairs

PAIRS = 250  # images, enough for the sparsity of least squared error
TRIED_SPARSITIES = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.3, 0.0)


def select_sparsity(
    view: View,
    images: Images,
    *,
    sparsities: Sequence[float | str] = TRIED_SPARSITIES,
    progress: Callable[[int, int, str], None] | None = None,
) -> "Selection":
    """Judge a view that smooths at every sparsity, and at "auto" unless it shows regions, which have none.

    On clean images, under the noises and at half size.

    images: such as the network was not trained on, nor will be judged on. progress: told how many conditions of how many are
    done, and which comes next. Raises ValueError for a view without a smoother.
    """
    if view.smoother is None:
        raise ValueError(f"view must smooth, {view.name!r} does not")
    sparsities = [
        sparsity for sparsity in sparsities if sparsity != "auto"
    ]  # which comes anyway, at the end
    if not sparsities:
        raise ValueError("sparsities must be one or more, got none")
    clean = images.pixels[:PAIRS] / np.float32(255)
    form = {
        name: value for name, value in view.smoother.form.keywords().items() if name != "min_area"
    }
    choices: tuple[Any, ...] = (*sparsities, *(["auto"] if form["output"] == "beta" else []))
    conditions = _conditions()
    views = [View(str(choice), view.network, Smooth(choice, **form)) for choice in choices]
    right, nearest = np.empty((len(conditions), len(choices), len(images)), bool), []
    for index, (name, change) in enumerate(conditions.items()):
        if progress is not None:
            progress(index, len(conditions), name)
        right[index] = [hits for hits, _ in judge(views, images.pixels, images.labels, change)]
        nearest.append(from_pairs(clean, change(clean), channel_axis=1, **form))
    return Selection(tuple(conditions), choices, right, tuple(nearest))


def selection_images(
    subject: Subject, source: str | None, *, size: int | None, limit: int
) -> Images:
    """Training images to choose on, from a source or the run's own data; of these only such as it held out, where it did.

    Raises ValueError where there is no source.
    """
    recipe, source = subject.recipe, source or subject.data
    if source is None:
        raise ValueError(f"--data must name the images to choose on for {subject.name}")
    if recipe is None or source != recipe.data:
        return load(
            source, "train", limit=limit, size=size or subject.size, channels=subject.channels
        )
    settings: dict[str, Any] = {
        "size": size or subject.size,
        "channels": subject.channels,
        "corrupt": recipe.corrupt,
    }
    images = load(source, "train", limit=recipe.limit if recipe.validation else limit, **settings)
    if not recipe.validation:
        return images
    return images.subset(np.flatnonzero(held_out_mask(images.labels, recipe.validation))[:limit])


def _conditions() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    noises = {f"{name} {severity}": (name, severity) for name in NOISES for severity in range(1, 6)}
    return {
        "clean": lambda x: x,
        **{
            label: partial(corrupt, name=name, severity=severity)
            for label, (name, severity) in noises.items()
        },
        "low_resolution 2": partial(low_resolution, factor=2),
    }


@dataclass(frozen=True, eq=False)
class Selection:
    """Which images a classifier gets right under each condition at each choice.

    conditions: names, such as "clean" or "shot_noise 3". choices: sparsities, and "auto" last, if it is one. right: bool, shape
    (conditions, choices, images). nearest: of each condition, the sparsity of least squared error.
    """

    conditions: tuple[str, ...]
    choices: tuple[Any, ...]
    right: np.ndarray
    nearest: tuple[float, ...]

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The choices but "auto"."""
        return tuple(choice for choice in self.choices if choice != "auto")

    @property
    def best(self) -> float:
        """The one sparsity of the best mean accuracy over all conditions."""
        return self.sparsities[int(self.accuracy[:, : len(self.sparsities)].mean(axis=0).argmax())]

    @property
    def accuracy(self) -> np.ndarray:
        """Shape (conditions, choices)."""
        accuracy: np.ndarray = self.right.mean(axis=2)
        return accuracy

    def rows(self) -> list[Row]:
        """One row for each condition, and one for their mean.

        In each, the accuracy of every choice, the best one sparsity in hindsight and its accuracy, "regret", how far "auto", if
        it is a choice, is behind that, and "oracle", the accuracy if every image had a sparsity of its own that gets it right
        where there is one.
        """
        found = [
            {
                "condition": name,
                **self._line(accuracy),
                "oracle": round(float(right[: len(self.sparsities)].any(axis=0).mean()), 4),
                "nearest": near,
            }
            for name, accuracy, right, near in zip(
                self.conditions, self.accuracy, self.right, self.nearest, strict=True
            )
        ]
        numbers = [
            key
            for key, value in found[0].items()
            if isinstance(value, float) and key not in ("best sparsity", "nearest")
        ]
        return [
            *found,
            {"condition": "mean"}
            | {key: round(float(np.mean([row[key] for row in found])), 4) for key in numbers},
        ]

    def _line(self, accuracy: np.ndarray) -> Row:
        best = int(accuracy[: len(self.sparsities)].argmax())
        named = {
            "auto" if choice == "auto" else f"{choice:g}": float(a)
            for choice, a in zip(self.choices, accuracy, strict=True)
        }
        line = named | {"best sparsity": self.choices[best], "best": accuracy[best]}
        if "auto" in named:
            line["regret"] = line["best"] - named["auto"]
        return {key: round(float(value), 4) for key, value in line.items()}
