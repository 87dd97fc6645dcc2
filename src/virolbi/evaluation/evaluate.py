"""Evaluation of a classifier: clean, corrupted, at low resolution and attacked."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from pathlib import Path

import numpy as np

from virolbi._checks import check_count
from virolbi.corruptions import COMMON, HELD_OUT, MIN_SIDE, NOISES, RESOLUTIONS
from virolbi.data import Images
from virolbi.evaluation.attacking import AttackedViews, describe_attacks
from virolbi.evaluation.batching import choose_batch_size
from virolbi.evaluation.conditions import LOW_RESOLUTION_FACTORS, Condition, list_conditions
from virolbi.evaluation.consistency import check_same_measure, check_same_source
from virolbi.evaluation.examples import write_tiles
from virolbi.evaluation.independence import check_batch_independence
from virolbi.evaluation.judging import Shown, judge_view
from virolbi.evaluation.result_file import Counter, ResultFile, Stepped
from virolbi.evaluation.subjects import Subject, View
from virolbi.results import (
    STRONGEST_NOISES,
    Row,
    check_labels,
    read_rows,
    tiles_name,
    write_labels,
)
from virolbi.robustness import Budget

# minutes on a CPU; more steps and queries make stronger attacks
DEFAULT_BUDGET = Budget(epsilon=2 / 255, steps=10, queries=200)


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
    autoattack: bool = False,
    noise_seed: int = 0,
    batch_size: int | None = None,
    progress: Callable[[Row], None] | None = None,
    stepped: Stepped | None = None,
    announced: Callable[[float], None] | None = None,
) -> list[Row]:
    """Judge every view of a subject, add its rows to a file, and return them.

    The file is complete after every row, and rows that it already holds are not computed again.
    Processes that do the same evaluation in the same folder, on one machine or several, share its
    conditions, and the views that are attacked: each returns all rows.
    A view that smooths is attacked by the whole adaptive set (see `virolbi.robustness`), any
    other by FGSM, PGD and Square. The condition "attacks" is the worst case over them, image by
    image; other conditions name the attack.

    Files beside the rows: checks.jsonl says whether the results of the attacks can be believed,
    details.jsonl holds which images were classified correctly, as bits, the predicted classes, and
    how long that took; labels.json holds the true classes and their names; and tiles*.png show the
    first images.

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
    autoattack : bool, optional
        Whether to attack by AutoAttack too: as "autoattack", or in its version for views that are
        random as "autoattack-rand".
    noise_seed : int, optional
        Seed of corruptions and attacks.
    batch_size : int, optional
        Images that a network sees at once, >= 1; fewer take less memory. The rows do not depend on
        it. Default: by the size of the images.
    progress : callable, optional
        Called with every row, as soon as it is written.
    stepped : callable, optional
        Called after each batch with the number of images that the network has seen, and the number
        it is expected to see: first for all rows without attacks, then again for all attacks, which
        need fewer where they succeed early.
    announced : callable, optional
        Called before the first attack with an estimate of the seconds that all attacks take at
        most.

    Returns
    -------
    list of dict
        The rows of this subject, those that the file already held included: those of all
        conditions, then those of the attacks on each view.

    Raises
    ------
    TypeError, ValueError
        If a setting has the wrong type or is out of its range, if the images do not fit the
        subject, if its logits for an image depend on the other images of the batch, if it is to
        be attacked and has no gradient, if the folder holds labels of other images, or if the file
        holds rows of other images, of other weights under the same name and seed, or of conditions
        that were measured differently.
    """
    check_evaluation(resolution, attacked, corruptions)
    check_sides(images, corruptions)
    subject, budget = subject.aligned_with(images), replace(budget, seed=noise_seed)
    if official is not None and not official.is_dir():
        raise ValueError(
            f"official must be a folder of CIFAR-10-C or CIFAR-100-C, got {official}, "
            "which is not a folder"
        )
    shared_fields, rows = subject.row(images), read_rows(path)
    digest = shared_fields["images"]
    check_same_source(path, rows, subject, digest)
    conditions = list_conditions(
        images, corruptions, folder=official, resolution=resolution, noise_seed=noise_seed
    )
    attacked_images = images.subset(np.s_[:attacked])
    attack_fields = describe_attacks(budget, len(attacked_images), autoattack)
    planned = [condition.fields for condition in conditions]
    if attacked:
        planned.append(attack_fields)
    check_same_measure(path, rows, planned)
    check_labels(path.parent, digest, is_measured=bool(rows))
    check_batch_independence(subject.name, subject.views, images)
    size = choose_batch_size(batch_size, images.pixels.shape[1:], subject.views[0].device)
    attacked_views = None
    if attacked:
        attacked_views = AttackedViews(
            subject,
            attacked_images,
            budget,
            with_autoattack=autoattack,
            batch_size=size,
            stepped=stepped,
        )
    results = ResultFile(path, rows, progress)
    judged = _judge_conditions(
        results, subject.views, conditions, images, shared_fields, size, stepped
    )
    write_labels(path.parent, images.labels, images.classes, digest)  # before the pictures
    _write_examples(path, conditions)
    if attacked_views is not None:
        judged += attacked_views.attack(results, shared_fields | attack_fields, announced)
    return judged


def _write_examples(path: Path, conditions: Iterable[Condition]) -> None:
    """Write pictures of clean images and of the strongest noises, unless they exist."""
    for condition in conditions:
        key = condition.fields["condition"], condition.fields["severity"]
        tiles = path.with_name(tiles_name(*key))
        if key in (("clean", 0), *STRONGEST_NOISES) and not tiles.exists():
            write_tiles(tiles, next(condition.show())[0])


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


def check_sides(images: Images, corruptions: tuple[str, ...]) -> None:
    """Check that images are large enough for every condition of an evaluation.

    Parameters
    ----------
    images : Images
        Test images.
    corruptions : tuple of str
        Names of the corruptions.

    Raises
    ------
    ValueError
        If a side has too few pixels for them, or for a low resolution.
    """
    least = MIN_SIDE if corruptions else max(LOW_RESOLUTION_FACTORS)
    height, width = images.pixels.shape[2:]
    if min(height, width) < least:
        purpose = "to be corrupted" if corruptions else "to be reduced in resolution"
        raise ValueError(
            f"images must have {least} pixels a side or more {purpose}, got {width}x{height}"
        )


def _judge_conditions(
    results: ResultFile,
    views: Sequence[View],
    conditions: Sequence[Condition],
    images: Images,
    shared_fields: Row,
    batch_size: int,
    stepped: Stepped | None,
) -> list[Row]:
    """Judge the views under all conditions without attacks, and write each missing row at once.

    Returns all of these rows.
    """
    planned = [
        [shared_fields | {"view": view.name} | condition.fields for view in views]
        for condition in conditions
    ]
    parts = list(zip(conditions, planned, strict=True))
    count = Counter(stepped)
    count.expect(sum(row["count"] for rows in planned for row in rows if results.lacks([row])))
    for condition, rows in results.missing(parts, itemgetter(1)):
        shown = Shown(condition.show, rows[0]["count"], images.pixels.shape[1:])
        for view, row in zip(views, rows, strict=True):
            if results.lacks([row]):
                judged = judge_view(view, shown, batch_size=batch_size, passed=count)
                results.add({view.name: row}, {view.name: judged})
                results.report([row])
    return results.measured(chain(*planned))
