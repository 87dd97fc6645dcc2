"""Evaluation of a classifier: clean, corrupted, at low resolution and attacked."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path

from virolbi.data import Images
from virolbi.evaluation.attacking import AttackedViews, Attacks, describe_attacks
from virolbi.evaluation.batching import choose_batch_size
from virolbi.evaluation.conditions import Condition, Conditions, list_conditions
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

DEFAULT_CONDITIONS, DEFAULT_ATTACKS = Conditions(), Attacks()


def evaluate(
    subject: Subject,
    images: Images,
    path: Path,
    *,
    conditions: Conditions = DEFAULT_CONDITIONS,
    attacks: Attacks = DEFAULT_ATTACKS,
    batch_size: int | None = None,
    progress: Callable[[Row], None] | None = None,
    stepped: Stepped | None = None,
    announced: Callable[[float], None] | None = None,
) -> list[Row]:
    """Judge every view of a subject, add its rows to a file, and return them.

    The file is complete after every row, and rows that it already holds are not computed again.
    Processes that do the same evaluation in the same folder, on one machine or several, share its
    conditions, and the views that are attacked: each returns all rows. Rows of attacks name the
    attack as their condition; "attacks" is the worst case over all of them, image by image.

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
    conditions : Conditions, optional
        Conditions without attacks. Default: those of the three noises.
    attacks : Attacks, optional
        Attacks, and the number of images that are attacked. Default: 500.
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
        If `batch_size` is not a whole number >= 1, if the images do not fit the subject or the
        conditions, if the logits of the subject for an image depend on the other images of the
        batch, if it is to be attacked and has no gradient, if the folder holds labels of other
        images, or if the file holds rows of other images, of other weights under the same name and
        seed, or of conditions that were measured differently.
    """
    conditions.check_images(images)
    subject = subject.aligned_with(images)
    shared_fields, rows = subject.row(images), read_rows(path)
    digest = shared_fields["images"]
    check_same_source(path, rows, subject, digest)
    listed = list_conditions(conditions, images)
    attack_fields = describe_attacks(attacks, images)
    planned = [condition.fields for condition in listed]
    check_same_measure(path, rows, [*planned, attack_fields] if attacks.attacked else planned)
    check_labels(path.parent, digest, is_measured=bool(rows))
    check_batch_independence(subject.name, subject.views, images)
    size = choose_batch_size(batch_size, images.pixels.shape[1:], subject.views[0].device)
    attacked_views = None
    if attacks.attacked:
        attacked_views = AttackedViews(subject, images, attacks, batch_size=size, stepped=stepped)
    results = ResultFile(path, rows, progress)
    judged = _judge_conditions(results, subject.views, listed, images, shared_fields, size, stepped)
    write_labels(path.parent, images.labels, images.classes, digest)  # before the pictures
    _write_examples(path, listed)
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
