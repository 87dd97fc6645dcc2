"""Evaluation of a classifier: clean, corrupted, at low resolution and attacked."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from virolbi._checks import check_count
from virolbi.corruptions import COMMON, HELD_OUT, NOISES, RESOLUTIONS
from virolbi.data import Images
from virolbi.evaluation.conditions import BATCH_SIZE, Condition, Judged, list_conditions
from virolbi.evaluation.consistency import check_same_measure, check_same_source
from virolbi.evaluation.examples import write_tiles
from virolbi.evaluation.independence import check_batch_independence
from virolbi.evaluation.subjects import Subject, View, to_tensors
from virolbi.results import (
    Row,
    accuracy_interval,
    add_detail,
    add_rows,
    read_rows,
    rewrite_rows,
    row_key,
)
from virolbi.robustness import (
    RANDOM_SPREAD,
    Budget,
    Finding,
    attacks_for,
    autoattack,
    check_masking,
    logit_spread,
    worst_case,
)

# minutes on a CPU; more steps and queries make stronger attacks
DEFAULT_BUDGET = Budget(epsilon=2 / 255, steps=10, queries=200)

Attacks = dict[str, Callable[[Tensor, Tensor], Tensor]]


def evaluate(
    subject: Subject,
    images: Images,
    path: Path,
    *,
    corruptions: tuple[str, ...] = NOISES,
    official: Path | None = None,
    resolution: int | None = None,
    budget: Budget = DEFAULT_BUDGET,
    attacked: int = 500,
    strongest: bool = False,
    noise_seed: int = 0,
    progress: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Judge every view of a subject, add its rows to a file, and return them.

    The file is complete after every row, and rows that it already holds are not computed again.
    A view that smooths is attacked by the whole adaptive set (see `virolbi.robustness`), any
    other by FGSM, PGD and Square. The condition "attacks" is the worst case over them, image by
    image; other conditions name the attack.

    Files beside the rows: checks.jsonl says whether the results of the attacks can be believed,
    details.jsonl holds which images were classified correctly, as bits, and how long that took,
    and tiles.png shows the first images.

    Parameters
    ----------
    subject : Subject
        Classifier to judge.
    images : Images
        Clean test images.
    path : Path
        File of rows (JSON lines), which is made if it does not exist.
    corruptions : tuple of str, optional
        Names of `virolbi.corruptions`.
    official : Path, optional
        Folder of CIFAR-10-C or CIFAR-100-C, whose images are judged instead of corruptions made
        here. Their rows have a noise_seed of None.
    resolution : {32, 64, 224}, optional
        Resolution whose constants the corruptions have. Default: the nearest.
    budget : Budget, optional
        Budget of every attack. Its seed is replaced by `noise_seed`.
    attacked : int, optional
        Number of images, from the first on, that are attacked; 0 for no attacks.
    strongest : bool, optional
        Whether to attack by AutoAttack too: as "autoattack", or in its version for views that are
        random as "autoattack-rand".
    noise_seed : int, optional
        Seed of corruptions and attacks.
    progress : callable, optional
        Called with every row.

    Returns
    -------
    list of dict
        The rows of this subject, those that the file already held included.

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or is out of its range, if the images do not fit the
        subject, if its logits for an image depend on the other images of the batch, if it is to
        be attacked and has no gradient, or if the file holds rows of other images, of other
        weights under the same name and seed, or of conditions that were measured differently.
    """
    subject, budget = subject.aligned_with(images), replace(budget, seed=noise_seed)
    check_evaluation(resolution, attacked, corruptions)
    if official is not None and not official.is_dir():
        raise ValueError(
            f"official must be a folder of CIFAR-10-C or CIFAR-100-C, got {official}, "
            "which is not a folder"
        )
    shared_fields, rows = subject.row(images), read_rows(path)
    check_same_source(path, rows, subject, shared_fields["images"])
    conditions = list_conditions(
        images, corruptions, folder=official, resolution=resolution, noise_seed=noise_seed
    )
    attacked_images = images.subset(np.s_[:attacked])
    attack_fields = _attack_fields(budget, len(attacked_images), strongest)
    planned = [condition.fields for condition in conditions]
    if attacked:
        planned.append(attack_fields)
    check_same_measure(path, rows, planned)
    check_batch_independence(subject, images)
    attacks = _list_attacks(subject, attacked_images, budget, strongest) if attacked else {}
    results = _ResultFile(path, rows, progress)
    for condition in conditions:
        _judge_views(results, subject.views, condition, shared_fields)
    write_tiles(path.with_name("tiles.png"), images)
    for view in subject.views if attacked else ():
        _attack_view(
            results,
            view,
            attacked_images,
            attacks[view.name],
            budget,
            shared_fields | {"view": view.name} | attack_fields,
        )
    return results.rows


def check_evaluation(
    resolution: int | None, attacked: int, corruptions: tuple[str, ...] = ()
) -> None:
    """Check settings of an evaluation before any work is done.

    Parameters
    ----------
    resolution : int or None
        Must be 32, 64, 224 or None.
    attacked : int
        Must be >= 0.
    corruptions : tuple of str, optional
        Must be names of `virolbi.corruptions`.

    Raises
    ------
    TypeError, ValueError
        If one of them is not.
    """
    unknown = [name for name in corruptions if name not in COMMON + HELD_OUT]
    if unknown:
        raise ValueError(f"corruptions must be some of {COMMON + HELD_OUT}, got {unknown}")
    if resolution is not None and resolution not in RESOLUTIONS:
        raise ValueError(f"resolution must be one of {RESOLUTIONS}, got {resolution}")
    check_count("attacked", attacked, least=0)


class _ResultFile:
    """File of rows that an evaluation completes; `rows` are the rows of this evaluation."""

    def __init__(
        self, path: Path, existing: Sequence[Row], progress: Callable[[Row], None] | None
    ) -> None:
        self.path = path
        self.rows: list[Row] = []
        self._known = {row_key(row): row for row in existing}
        self._progress = progress

    def lacks(self, planned: Row) -> bool:
        """Return whether a row has not been measured yet."""
        return row_key(planned) not in self._known

    def add(self, planned: Mapping[str, Row], judged: Mapping[str, Judged]) -> None:
        """Write rows with their results and details, by name."""
        new = []
        for name, (correct, seconds) in judged.items():
            row = planned[name] | accuracy_interval(int(correct.sum()), len(correct))
            add_detail(self.path.with_name("details.jsonl"), row, correct, seconds)
            self._known[row_key(row)] = row
            new.append(row)
        add_rows(self.path, new)

    def report(self, planned: Mapping[str, Row]) -> None:
        """Append measured rows to `rows`, and call `progress` with each."""
        for row in planned.values():
            self.rows.append(self._known[row_key(row)])
            if self._progress is not None:
                self._progress(self.rows[-1])


def _judge_views(
    results: _ResultFile, views: Sequence[View], condition: Condition, shared_fields: Row
) -> None:
    """Judge the views whose rows under a condition are missing."""
    planned = {view.name: shared_fields | {"view": view.name} | condition.fields for view in views}
    missing = [view for view in views if results.lacks(planned[view.name])]
    if missing:
        names = [view.name for view in missing]
        results.add(planned, dict(zip(names, condition.judge(missing), strict=True)))
    results.report(planned)


def _list_attacks(
    subject: Subject, images: Images, budget: Budget, strongest: bool
) -> dict[str, Attacks]:
    """Return the attacks on each view, by the names of views and attacks.

    A model that is random needs a budget with more than one sample, and any model a gradient.
    """
    attacks = {view.name: attacks_for(view.model, budget) for view in subject.views}
    for view in subject.views:
        intensities, _ = to_tensors(images.subset(np.s_[:32]), view.device)
        with torch.random.fork_rng(devices=[]):  # random models must give the rows they would
            is_random = float(logit_spread(view.model, intensities).max()) > RANDOM_SPREAD
            if is_random and budget.samples == 1:
                raise ValueError(
                    f"samples must be > 1, such as 10, for {subject.name}, whose outputs are "
                    f"random, got {budget.samples}"
                )
            _check_gradient(subject, view, images, intensities[:2])
        if strongest:
            version: Literal["standard", "rand"] = "rand" if is_random else "standard"
            attacks[view.name]["autoattack" + "-rand" * is_random] = partial(
                autoattack,
                view.model,
                epsilon=budget.epsilon,
                norm=budget.norm,
                version=version,
                seed=budget.seed,
            )
    return attacks


def _check_gradient(subject: Subject, view: View, images: Images, intensities: Tensor) -> None:
    """Raise a ValueError if the logits of a view have no gradient that attacks could follow."""
    pixels, reason = intensities.clone().requires_grad_(), ""
    try:
        logits = view.model(pixels)
        gradient = None
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(logits.sum(), pixels, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # as of numpy(), which refuses tensors that need a gradient
        gradient, reason = None, f" ({error})"
    if gradient is None:
        raise ValueError(
            f"attacked must be 0 (--attacked 0) for {subject.name}, whose view {view.name!r} has "
            f"no gradient for attacks to follow{reason}, got {len(images)}"
        )


def _attack_fields(budget: Budget, count: int, strongest: bool) -> Row:
    """Return the fields of the row of all attacks, which those of single attacks share."""
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
        "count": count,
        "noise_seed": budget.seed,
        "budget": description + ", AutoAttack" * strongest,
    }


def _attack_view(
    results: _ResultFile,
    view: View,
    images: Images,
    attacks: Attacks,
    budget: Budget,
    fields: Row,
) -> None:
    """Attack a view, and check whether the results can be believed, unless its rows exist."""
    planned = {name: fields | {"condition": name} for name in attacks} | {"attacks": fields}
    if any(results.lacks(row) for row in planned.values()):
        start = time.perf_counter()
        tensors = to_tensors(images, view.device)
        case = worst_case(view.model, attacks, *tensors, batch_size=BATCH_SIZE)
        seconds = time.perf_counter() - start
        judged = {name: Judged(case.correct[name].cpu().numpy(), 0.0) for name in attacks}
        judged["attacks"] = Judged(case.robust.cpu().numpy(), seconds)
        if case.correct["clean"].any():  # otherwise no image was attacked
            findings = check_masking(view.model, *tensors, budget, case=case, batch_size=BATCH_SIZE)
            _write_checks(results.path.with_name("checks.jsonl"), planned["attacks"], findings)
        results.add(planned, judged)
    results.report(planned)


def _write_checks(path: Path, row: Row, findings: list[Finding]) -> None:
    """Replace the findings on one view, and keep those on others."""
    identity = {key: row[key] for key in ("arm", "seed", "view", "level", "count", "budget")}
    new = [identity | asdict(finding) for finding in findings]

    def replace_findings(entries: list[Row]) -> list[Row]:
        return [
            entry
            for entry in entries
            if any(entry.get(key) != value for key, value in identity.items())
        ] + new

    rewrite_rows(path, replace_findings)
