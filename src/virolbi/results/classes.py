"""Figures for each class: balanced accuracy, area under the curve, counts, confusion matrix."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from virolbi._storage import write_json
from virolbi.results.files import LABELS
from virolbi.results.rows import Row
from virolbi.results.statistics import accuracy_interval

# A network is called collapsed if its balanced accuracy has made less than this share of the way
# from chance to 1.
COLLAPSED_SHARE = 0.1
DIFFERENT = 0.005  # between accuracies that are told apart in texts


def accuracy_fields(
    correct: np.ndarray, labels: np.ndarray, scores: np.ndarray | None = None
) -> Row:
    """Return the accuracies of a model on images, as the fields of a row.

    Parameters
    ----------
    correct : ndarray of bool, shape (N,)
        Whether each image is classified correctly.
    labels : ndarray of int, shape (N,)
        Correct classes.
    scores : ndarray of float, shape (N,), optional
        For two classes: how strongly the model prefers class 1; NaN for an image of which this
        cannot be said, whose logits are equal infinities.

    Returns
    -------
    dict
        The fields "accuracy", "low" and "high" (its 95 % interval); "balanced", the mean over the
        classes of the share of their images that is correct; "present", the number of these
        classes; and, with scores of images of both classes and none that is NaN, "auc", the area
        under the receiver operating characteristic [1]_.

    References
    ----------
    .. [1] Hanley & McNeil, 1982: the probability that an image of class 1 has the larger score.

    Examples
    --------
    >>> labels = np.array([0, 0, 0, 1])
    >>> fields = accuracy_fields(labels == 0, labels, np.array([0.1, 0.2, 0.3, 0.25]))
    >>> fields["accuracy"], fields["balanced"], fields["auc"]
    (0.75, 0.5, 0.6667)
    """
    fields = accuracy_interval(int(correct.sum()), len(correct))
    totals = np.bincount(labels)
    recalls = np.bincount(labels, correct)[totals > 0] / totals[totals > 0]
    fields |= {"balanced": round(float(recalls.mean()), 4), "present": len(recalls)}
    if scores is not None and len(recalls) == 2 and not np.isnan(scores).any():
        negative, positive = (int(total) for total in totals)
        ranks = float(rankdata(scores)[labels == 1].sum())
        area = (ranks - positive * (positive + 1) / 2) / (positive * negative)
        fields["auc"] = round(area, 4)
    return fields


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return how many images of each class were given each class.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        Correct classes.
    predicted : ndarray of int, shape (N,)
        Predicted classes.
    classes : int
        Number of classes.

    Returns
    -------
    ndarray of int64, shape (classes, classes)
        Counts; rows are the correct classes.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def collapse_warnings(rows: Iterable[Row]) -> list[str]:
    """Return warnings about models that hardly tell the classes apart.

    Parameters
    ----------
    rows : iterable of dict
        Rows of results; those on clean images, and certified ones at radius 0, are looked at.

    Returns
    -------
    list of str
        One sentence for each row whose balanced accuracy is at chance, or little above it. Chance
        is that of the classes that have images; rows of older versions, which do not state their
        number, are taken to have images of all classes. Empty for rows without a balanced accuracy
        and for images of one class.
    """
    warnings = []
    for row in rows:
        plain = row["condition"] == "clean" or (row["condition"], row["level"]) == ("certified", 0)
        if not plain or "balanced" not in row:
            continue
        present = row["present" if "present" in row else "classes"]
        chance = 1 / present
        if present > 1 and row["balanced"] < chance + COLLAPSED_SHARE * (1 - chance):
            warnings.append(
                f"{row['arm']} ({row['view']}, seed {row['seed']}) hardly tells the classes apart: "
                f"accuracy {row['accuracy']:.3f}, but balanced accuracy {row['balanced']:.3f}, "
                f"where chance is {chance:.3f}; it may have collapsed to one class"
            )
    return warnings


def balance_lines(rows: Iterable[Row]) -> list[str]:
    """Return the balanced accuracy and the area under the curve on clean images, as text.

    Parameters
    ----------
    rows : iterable of dict
        Rows of results.

    Returns
    -------
    list of str
        One line for each model and view whose balanced accuracy is not its accuracy.
    """
    lines = []
    for row in rows:
        if row["condition"] != "clean" or "balanced" not in row:
            continue
        if abs(row["balanced"] - row["accuracy"]) >= DIFFERENT:
            text = f"{row['arm']} ({row['view']}), clean: balanced accuracy {row['balanced']:.3f}"
            lines.append(text + (f", AUC {row['auc']:.3f}" if "auc" in row else ""))
    return lines


def check_labels(folder: Path, images: str, is_measured: bool) -> None:
    """Check that a folder holds no labels of other images, whose pictures would be there too.

    Parameters
    ----------
    folder : Path
        Folder of results.
    images : str
        Digest of the images, as in their rows.
    is_measured : bool
        Whether there are rows of these images already. Then labels without a digest, by an older
        version, are taken for theirs.

    Raises
    ------
    ValueError
        If there is a file of labels that is of other images, or damaged.
    """
    labels = read_labels(folder)
    if labels is None or (labels.images is None and is_measured):
        return
    if labels.images != images:
        raise ValueError(
            f"path must be in a folder of results on the same images; {folder} holds {LABELS}, "
            f"details and pictures of other images (digest {labels.images}, not {images}); choose "
            "another folder, or delete all files of the earlier results"
        )


def write_labels(folder: Path, labels: np.ndarray, classes: Sequence[str], images: str) -> None:
    """Write the correct classes of the images that rows are of to labels.json.

    Parameters
    ----------
    folder : Path
        Folder of results. An existing file is kept, see `check_labels`.
    labels : ndarray of int, shape (N,)
        Correct classes.
    classes : sequence of str
        Names of the classes.
    images : str
        Digest of the images, as in their rows.
    """
    path = folder / LABELS
    if not path.exists():
        content = {"images": images, "classes": list(classes), "labels": labels.tolist()}
        write_json(path, content)


class Labels(NamedTuple):
    """Correct classes of the images of an evaluation.

    Attributes
    ----------
    numbers : ndarray of int64, shape (N,)
        Class of each image, as an index into `classes`.
    classes : tuple of str
        Names of the classes.
    images : str, optional
        Digest of the images, as in their rows; None in files of older versions.
    """

    numbers: np.ndarray
    classes: tuple[str, ...]
    images: str | None = None


def read_labels(folder: Path) -> Labels | None:
    """Return what `write_labels` wrote.

    Parameters
    ----------
    folder : Path
        Folder of results.

    Returns
    -------
    Labels or None
        The correct classes; None if there is no file.

    Raises
    ------
    ValueError
        If it is not such a file.
    """
    path = folder / LABELS
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        numbers = np.array(content["labels"], np.int64)
        return Labels(numbers, tuple(content["classes"]), content.get("images"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must hold the labels of an evaluation: {error!r}") from error
