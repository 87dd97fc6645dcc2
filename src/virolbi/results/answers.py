"""Sections of the HTML page about the answers to single images and to single classes."""

import html
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from virolbi.results.classes import Labels, confusion_matrix
from virolbi.results.details import Detail
from virolbi.results.files import tiles_name
from virolbi.results.rows import Row, RowKey, row_key
from virolbi.results.sections import data_url, heat_cell, html_table
from virolbi.results.summary import Line, lines_with_baseline
from virolbi.results.tables import format_accuracy

MOST_CLASSES = 20  # of which a confusion matrix is shown


def answers_section(
    rows: Sequence[Row],
    lines: Sequence[Line],
    details: Mapping[RowKey, Detail],
    labels: Labels | None,
    folder: Path,
) -> str:
    """Return the first test images for each arm, framed by whether its answers are correct.

    Parameters
    ----------
    rows : sequence of dict
        Rows of results, of which the first seed of each arm and view is shown.
    lines : sequence of Line
        Lines from `summarise`. Each arm is shown in the view that it is intended to be tested in
        and without a smoother, for clean images and under its worst noise.
    details : mapping
        Which images each row counts as correct.
    labels : Labels or None
        Correct classes of the images.
    folder : Path
        Folder with pictures of the first test images (`tiles_name`), which are embedded in the
        page.

    Returns
    -------
    str
        HTML, empty if there are no details or no pictures.
    """
    keys = _keys_of_first_seeds(rows)
    body, pictures = "", dict[str, bytes]()  # the PNG file of each picture
    for line in lines_with_baseline(lines):
        for name, severity in dict.fromkeys(
            [("clean", 0), line.worst_noise_condition or ("clean", 0)]
        ):
            detail = details.get(keys.get((line.arm, line.view, name, severity), ()))
            picture, note = tiles_name(name, severity), ""
            if not (folder / picture).exists():
                picture, note = tiles_name("clean", 0), ", shown without it"
            if detail is None or not (folder / picture).exists():
                continue
            if picture not in pictures:
                pictures[picture] = (folder / picture).read_bytes()
            width, size = _size_of_png(pictures[picture])
            number = list(pictures).index(picture)
            title = f"{line.label}, {name.replace('_', ' ')} {severity or ''}{note}"
            body += _tiles(title, detail, labels, number, size, width // size)
    if not body:
        return ""
    style = "".join(
        f".tiles .t{number}{{width:{_size_of_png(png)[1]}px;height:{_size_of_png(png)[1]}px;"
        f"background-image:url({data_url(png)})}}"
        for number, png in enumerate(pictures.values())
    )
    text = (
        "The first test images, as the network saw them before any smoothing, and the answers of "
        "its first seed. A red frame marks a wrong answer: below it are the right class and the "
        "answer."
    )
    return f"<h2>Correct and wrong answers</h2><p>{text}</p><style>{style}</style>{body}"


def classes_section(
    rows: Sequence[Row],
    lines: Sequence[Line],
    details: Mapping[RowKey, Detail],
    labels: Labels | None,
) -> str:
    """Return the confusion matrix of each arm on clean images.

    Parameters
    ----------
    rows : sequence of dict
        Rows of results, of which the first seed of each arm and view is shown.
    lines : sequence of Line
        Lines from `summarise`, shown as in `answers_section`.
    details : mapping
        Predictions of each row.
    labels : Labels or None
        Correct classes of the images.

    Returns
    -------
    str
        HTML, empty without labels or predictions, or if there are more than 20 classes.
    """
    if labels is None or len(labels.classes) > MOST_CLASSES:
        return ""
    keys, truth, classes = _keys_of_first_seeds(rows), labels.numbers, labels.classes
    body = ""
    for line in lines_with_baseline(lines):
        detail = details.get(keys.get((line.arm, line.view, "clean", 0), ()))
        if detail is None or detail.predicted is None or len(detail.predicted) != len(truth):
            continue
        matrix = confusion_matrix(truth, detail.predicted, len(classes))
        cells = [
            f"<td>{html.escape(name)}</td><td>{counts.sum()}</td>"
            f"<td>{format_accuracy(float(counts[index] / max(counts.sum(), 1)))}</td>"
            + "".join(heat_cell(count / max(counts.sum(), 1), str(count)) for count in counts)
            for index, (name, counts) in enumerate(zip(classes, matrix, strict=True))
        ]
        headings = ["class", "images", "correct", *(f"as {name}" for name in classes)]
        body += f"<h3>{html.escape(line.label)}</h3><div class='wide first'>"
        body += f"{html_table(headings, cells)}</div>"
    text = (
        "Answers to clean images of each class; a stronger colour is a larger share of it. Of "
        "several seeds of a network, the first is shown."
    )
    return f"<h2>Classes</h2><p>{text}</p>{body}" if body else ""


def _keys_of_first_seeds(rows: Sequence[Row]) -> dict[tuple[str, str, str, int], RowKey]:
    """Return the keys of the rows of the least seed of each arm and view, by their conditions."""
    seeds: dict[tuple[str, str], int] = {}
    for row in rows:
        line = row["arm"], row["view"]
        seeds[line] = min(row["seed"], seeds.get(line, row["seed"]))
    return {
        (row["arm"], row["view"], row["condition"], row["severity"]): row_key(row)
        for row in rows
        if row["seed"] == seeds[row["arm"], row["view"]]
    }


def _size_of_png(png: bytes) -> tuple[int, int]:
    """Return the width and the height of a PNG file, from its header."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def _tiles(
    title: str, detail: Detail, labels: Labels | None, number: int, size: int, count: int
) -> str:
    """Return one line of images from picture `number`, framed by whether the answer is correct."""
    tiles = ""
    for index, correct in enumerate(detail.correct[:count]):
        caption = ""
        if labels is not None and index < len(labels.numbers):
            names = labels.classes
            caption = names[labels.numbers[index]]
            if not correct and detail.predicted is not None:
                caption += f" → {names[detail.predicted[index]]}"
        tiles += (
            f"<figure style='width:{size + 6}px'><i class='t{number} "
            f"{'right' if correct else 'wrong'}' style='background-position:-{index * size}px 0'>"
            f"</i><figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    return f"<div class=tiles><p>{html.escape(title)}</p>{tiles}</div>"
