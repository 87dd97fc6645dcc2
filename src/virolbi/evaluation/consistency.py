"""Checks that new rows can be compared with those that a file already holds."""

from collections.abc import Sequence
from pathlib import Path

from virolbi.evaluation.subjects import Subject
from virolbi.results import MEASURE, Row


def check_same_source(path: Path, rows: Sequence[Row], subject: Subject, digest: str) -> None:
    """Check that rows have the same images, and the same weights for this name and seed.

    Parameters
    ----------
    path : Path
        File of the rows, for the errors.
    rows : sequence of dict
        Rows that the file holds.
    subject : Subject
        Subject whose rows are to be added.
    digest : str
        Digest of the images that it is judged on.

    Raises
    ------
    ValueError
        If a row is of other images, or of other weights or answers under the same name
        and seed.
    """
    for row in rows:
        if row["images"] != digest:
            raise ValueError(
                f"path must hold results on the same images; {path} holds results on other "
                f"images, {row['count']} of {row['data']}; choose another path"
            )
        same_name = (row["arm"], row["seed"]) == (subject.name, subject.seed)
        if same_name and row["weights"] != subject.weights:
            raise ValueError(
                f"path must hold results of the same weights for {subject.name!r}, seed "
                f"{row['seed']}; {path} holds results of other weights, or of "
                "other answers to these images; choose another name"
            )


def check_same_measure(path: Path, rows: Sequence[Row], planned: Sequence[Row]) -> None:
    """Check that rows of a condition were measured in the same way as the planned ones.

    Parameters
    ----------
    path : Path
        File of the rows, for the errors.
    rows : sequence of dict
        Rows that the file holds.
    planned : sequence of dict
        One row for each condition that is to be measured.

    Raises
    ------
    ValueError
        If a row of the same condition and severity differs in one of `virolbi.results.MEASURE`.
    """
    existing = {(row["condition"], row["severity"]): row for row in rows}
    for row in planned:
        other = existing.get((row["condition"], row["severity"]), row)
        for field in MEASURE:
            if other.get(field) != row.get(field):
                raise ValueError(
                    f"path must hold results that were measured alike; {path} holds "
                    f"{row['condition']} {row['severity']} with {field} {other.get(field)}, "
                    f"not {row.get(field)}; choose another path"
                )
