"""Details of rows: which images were classified correctly, as what, and the time this took."""

import base64
from pathlib import Path
from typing import NamedTuple

import numpy as np

from virolbi.results.files import DETAILS
from virolbi.results.json_lines import add_lines, read_lines
from virolbi.results.rows import IDENTITY, Row, RowKey, row_key


class Detail(NamedTuple):
    """Images that a row counts as correct, and the time this took.

    Attributes
    ----------
    correct : ndarray of bool, shape (count,)
        Whether each image was classified correctly.
    seconds : float
        Time for all of the images.
    predicted : ndarray of int64, shape (count,) or None
        Predicted classes; None if they were not kept.
    confidence : ndarray of float64, shape (count,) or None
        Probability that the network gives its answer, in steps of 1/255; None if it was not kept.
    """

    correct: np.ndarray
    seconds: float
    predicted: np.ndarray | None = None
    confidence: np.ndarray | None = None


def add_detail(
    folder: Path,
    row: Row,
    correct: np.ndarray,
    seconds: float,
    predicted: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
) -> None:
    """Append the details of a row to the details.jsonl of a folder of results.

    Details are added before their row. If a process ends between the two, the row is measured
    again, and its details are in the file twice, of which `read_details` takes the last. No line is
    ever removed: it may be of another process.

    Parameters
    ----------
    folder : Path
        Folder of results, created if it does not exist. Other processes may append to its file at
        the same time.
    row : dict
        Row that the details belong to.
    correct : ndarray of bool, shape (count,)
        Whether each image was classified correctly.
    seconds : float
        Time for all of the images; kept to the millisecond.
    predicted : ndarray of int, shape (count,), optional
        Predicted classes, below 65,536.
    confidence : ndarray of float, shape (count,), optional
        Probability that the network gives its answer, in [0, 1]; kept in steps of 1/255. Not kept
        if one does not exist, NaN, as that of infinite logits.
    """
    identity = {key: row.get(key) for key in IDENTITY}
    bits = base64.b64encode(np.packbits(correct).tobytes()).decode()
    entry = identity | {"correct": bits, "seconds": round(seconds, 3)}
    if predicted is not None:
        entry["predicted"] = base64.b64encode(predicted.astype("<u2").tobytes()).decode()
    if confidence is not None and not np.isnan(confidence).any():
        entry["confidence"] = base64.b64encode(
            np.rint(255 * confidence).astype("u1").tobytes()
        ).decode()
    add_lines(folder / DETAILS, [entry])


def read_details(folder: Path) -> dict[RowKey, Detail]:
    """Return the details that `add_detail` wrote to a folder of results.

    Parameters
    ----------
    folder : Path
        Folder of results.

    Returns
    -------
    dict
        The details by the identity of their row (`row_key`), of several for one row the last; empty
        if there is no file. Each is a tuple of the images that are correct, an ndarray of bool of
        shape (count,), the time in seconds, and the predicted classes and the confidences, or None.
        A last line that a killed process left incomplete is left out.

    Raises
    ------
    ValueError
        If another line is not a JSON object.
    """
    details = {}
    for entry in read_lines(folder / DETAILS):
        bits = np.frombuffer(base64.b64decode(entry["correct"]), np.uint8)
        correct = np.unpackbits(bits, count=entry["count"]).astype(bool)
        predicted = None
        if "predicted" in entry:
            predicted = np.frombuffer(base64.b64decode(entry["predicted"]), "<u2").astype(np.int64)
        confidence = None
        if "confidence" in entry:
            confidence = np.frombuffer(base64.b64decode(entry["confidence"]), np.uint8) / 255
        details[row_key(entry)] = Detail(correct, float(entry["seconds"]), predicted, confidence)
    return details
