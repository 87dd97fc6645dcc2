"""Attacks on the views of a subject, their rows, and the time that they take."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from virolbi._checks import check_count, check_flag
from virolbi.data import Images
from virolbi.evaluation.batching import InBatches
from virolbi.evaluation.judging import Judged
from virolbi.evaluation.result_file import Counter, ResultFile, Stepped
from virolbi.evaluation.subjects import Subject, View, to_tensors
from virolbi.results import Row, write_checks
from virolbi.robustness import (
    BATCH_SIZE,
    RANDOM_IMAGES,
    Budget,
    attacks_for,
    autoattack,
    check_masking,
    input_gradient,
    is_random,
    worst_case,
)

# minutes on a CPU; more steps and queries make stronger attacks
DEFAULT_BUDGET = Budget(epsilon=2 / 255, steps=10, queries=200)
# Names of the rows of AutoAttack, by its version.
AUTOATTACKS: dict[Literal["standard", "rand"], str] = {
    "standard": "autoattack",
    "rand": "autoattack-rand",
}
# Passes of AutoAttack. Standard: 100 steps of APGD-CE, and of APGD-T and FAB-T for each of nine
# classes; then 5,000 queries of Square. For random models: 100 steps of APGD-CE and of APGD-DLR
# with 20 gradients each.
AUTOATTACK_GRADIENTS = {"autoattack": 100 + 2 * 9 * 100, "autoattack-rand": 2 * 100 * 20}
AUTOATTACK_QUERIES = {"autoattack": 5000, "autoattack-rand": 0}
TIMED_IMAGES = 8


@dataclass(frozen=True)
class Attacks:
    """Choice of the attacks of an evaluation.

    A view that smooths is attacked by the whole adaptive set (see `virolbi.robustness`), any
    other by FGSM, PGD and Square.

    Parameters
    ----------
    budget : Budget, optional
        Budget and seed of every attack.
    attacked : int, optional
        Number of images, from the first on, that are attacked; 0 for no attacks.
    autoattack : bool, optional
        Whether to attack by AutoAttack too: as "autoattack", or in its version for views that are
        random as "autoattack-rand".

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or is out of its range.

    See Also
    --------
    Conditions : Choice of the conditions of an evaluation without attacks.

    Examples
    --------
    >>> attacks = Attacks(Budget(epsilon=8 / 255, steps=20), attacked=50)
    >>> attacks.budget.steps, attacks.attacked, attacks.autoattack
    (20, 50, False)
    """

    budget: Budget = DEFAULT_BUDGET
    attacked: int = 500
    autoattack: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.budget, Budget):
            raise TypeError(f"budget must be a Budget, got {self.budget!r}")
        check_count("attacked", self.attacked, least=0)
        check_flag("autoattack", self.autoattack)


def describe_attacks(attacks: Attacks, images: Images) -> Row:
    """Return the fields of the row of all attacks, which those of single attacks share.

    Parameters
    ----------
    attacks : Attacks
        Choice of the attacks.
    images : Images
        Test images, the first of which are attacked.

    Returns
    -------
    dict
        The fields.
    """
    budget = attacks.budget
    counts = (
        (budget.steps, "steps"),
        (budget.restarts, "starts"),
        (budget.samples, "samples"),
        (budget.queries, "queries"),
    )
    description = f"{budget.norm}, " + ", ".join(f"{number} {name}" for number, name in counts)
    return {
        "condition": "attacks",
        "severity": 1,
        "level": round(budget.epsilon, 5),
        "count": min(attacks.attacked, len(images)),
        "noise_seed": budget.seed,
        "budget": description + ", AutoAttack" * attacks.autoattack,
    }


class AttackedViews:
    """Views of a subject that are to be attacked.

    Parameters
    ----------
    subject : Subject
        Subject to attack.
    images : Images
        Test images, the first of which are attacked.
    attacks : Attacks
        Choice of the attacks, on one image or more.
    batch_size : int
        Images that a network sees at once.
    stepped : callable or None
        Called with the progress, as `evaluate` describes.

    Raises
    ------
    ValueError
        If a model is random and the budget has one sample, or if a model has no gradient.
    """

    def __init__(
        self,
        subject: Subject,
        images: Images,
        attacks: Attacks,
        *,
        batch_size: int,
        stepped: Stepped | None,
    ) -> None:
        budget = attacks.budget
        for view in subject.views:
            attacks_for(view.model, budget)  # its errors name the model itself
        self._images = images.subset(np.s_[: attacks.attacked])
        self._budget, self._counter = budget, Counter(stepped)
        self._views = [
            replace(view, network=InBatches(view.network, batch_size, self._counter))
            for view in subject.views
        ]
        self._attacks = {view.name: attacks_for(view.model, budget) for view in self._views}
        for view in self._views:
            version = self._check_view(subject, view)
            if attacks.autoattack:
                self._attacks[view.name][AUTOATTACKS[version]] = partial(
                    autoattack,
                    view.model,
                    epsilon=budget.epsilon,
                    norm=budget.norm,
                    version=version,
                    seed=budget.seed,
                )

    def attack(
        self, results: ResultFile, fields: Row, announced: Callable[[float], None] | None
    ) -> list[Row]:
        """Attack the views whose rows are missing, and write these.

        Parameters
        ----------
        results : ResultFile
            File of rows.
        fields : dict
            Fields of the rows, but for the view and the attack.
        announced : callable or None
            Called before the first attack with the seconds that all take at most.

        Returns
        -------
        list of dict
            The rows of all views.
        """
        planned = {view.name: self._plan_rows(view, fields) for view in self._views}
        missing = [view for view in self._views if results.lacks(planned[view.name].values())]
        if missing and announced is not None:
            announced(sum(self._estimate_seconds(view) for view in missing))
        count = sum(sum(self._count_passes(view)) for view in missing)
        self._counter.expect(len(self._images) * count)
        rows = [row for view in self._views for row in planned[view.name].values()]
        for view in results.missing(self._views, lambda view: planned[view.name].values()):
            self._attack_view(results, view, planned[view.name])
        return results.measured(rows)

    def _check_view(self, subject: Subject, view: View) -> Literal["standard", "rand"]:
        """Check that a view can be attacked, and return the version of AutoAttack for it."""
        intensities, _ = to_tensors(self._images.subset(np.s_[:RANDOM_IMAGES]), view.device)
        with view.isolated():
            varies = is_random(view.model, intensities)
            if varies and self._budget.samples == 1:
                raise ValueError(
                    f"samples must be > 1, such as 10, for {subject.name}, whose outputs are "
                    f"random, got {self._budget.samples}"
                )
            _check_gradient(subject, view, self._images, intensities[:2])
        return "rand" if varies else "standard"

    def _plan_rows(self, view: View, fields: Row) -> dict[str, Row]:
        """Return the rows of a view without their results, by the name of the attack."""
        names = (*self._attacks[view.name], "attacks")
        return {name: fields | {"view": view.name, "condition": name} for name in names}

    def _count_passes(self, view: View) -> tuple[int, int]:
        """Return how many gradients and other passes the attacks on an image take at most."""
        budget = self._budget
        walk = budget.steps * budget.restarts
        gradients = {"fgsm": 1, "square": 0, "eot": walk * budget.samples} | AUTOATTACK_GRADIENTS
        others = {"square": budget.queries} | AUTOATTACK_QUERIES
        names = self._attacks[view.name]
        return (
            sum(gradients.get(name, walk) for name in names) + budget.steps,  # of the checks
            sum(others.get(name, budget.restarts) for name in names),
        )

    def _estimate_seconds(self, view: View) -> float:
        """Return the time that the attacks on a view take at most, from the time of two passes."""
        images, _ = to_tensors(self._images.subset(np.s_[:TIMED_IMAGES]), view.device)
        times = []
        for differentiable in (True, False):
            with view.isolated(), torch.set_grad_enabled(differentiable):
                view.model(images[:1])  # prepares what is prepared at the first use
                start = time.perf_counter()
                logits = view.model(images.requires_grad_(differentiable))
                gradient = input_gradient(logits, images)
                float((logits if gradient is None else gradient).sum())  # waits for the device
            times.append((time.perf_counter() - start) / len(images))
        return len(self._images) * float(np.dot(times, self._count_passes(view)))

    def _attack_view(self, results: ResultFile, view: View, planned: dict[str, Row]) -> None:
        """Attack a view, and check whether the results can be believed."""
        attacks, labels = self._attacks[view.name], self._images.labels
        tensors = to_tensors(self._images, view.device)
        start = time.perf_counter()
        # the random numbers of the attacks depend on this number, not on the size of `InBatches`
        case = worst_case(view.model, attacks, *tensors, batch_size=BATCH_SIZE)
        seconds = time.perf_counter() - start
        judged = {name: Judged(case.correct[name].cpu().numpy(), 0.0, labels) for name in attacks}
        judged["attacks"] = Judged(case.robust.cpu().numpy(), seconds, labels)
        if case.correct["clean"].any():  # otherwise no image was attacked
            findings = check_masking(
                view.model, *tensors, self._budget, case=case, batch_size=BATCH_SIZE
            )
            write_checks(results.path.parent, planned["attacks"], map(asdict, findings))
        results.add(planned, judged)


def _check_gradient(subject: Subject, view: View, images: Images, intensities: Tensor) -> None:
    """Raise a ValueError if the logits of a view have no gradient that attacks could follow."""
    pixels, reason = intensities.clone().requires_grad_(), ""
    try:
        gradient = input_gradient(view.model(pixels), pixels)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # numpy() refuses tensors that need a gradient
        gradient, reason = None, f" ({error})"
    if gradient is None:
        raise ValueError(
            f"attacked must be 0 (--attacked 0) for {subject.name}, whose view {view.name!r} has "
            f"no gradient for attacks to follow{reason}, got {len(images)}"
        )
