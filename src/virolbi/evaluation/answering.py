"""Answers of a classifier to single images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from virolbi._checks import check_count
from virolbi.data import decode_image
from virolbi.evaluation.subjects import Subject
from virolbi.robustness import check_logits, warn_of_probabilities
from virolbi.scale_space import check_data_range


@dataclass(frozen=True)
class Answers:
    """Best answers of a classifier to one image.

    Attributes
    ----------
    title : str
        How the image was shown to it.
    classes : tuple of str
        Names of the classes, the best first.
    probabilities : tuple of float
        Their probabilities, by the softmax of the logits.
    """

    title: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def best_answers(
    title: str, logits: Tensor, classes: Sequence[Sequence[str]] | None, most: int
) -> Answers:
    """Return the classes of the largest logits.

    Parameters
    ----------
    title : str
        How the image was shown to the classifier.
    logits : Tensor, shape (classes,)
        Its output.
    classes : sequence of sequence of str, or None
        Class of each logit, with its synonyms; None numbers them.
    most : int
        Largest number of classes.

    Returns
    -------
    Answers
        The classes, the best first.

    Warns
    -----
    UserWarning
        If the output looks like probabilities, see `virolbi.robustness.look_like_probabilities`.
    """
    warn_of_probabilities(logits[None])
    best = logits.float().softmax(dim=0).topk(min(most, len(logits)))
    names = [
        # timm: the WordNet number, then names
        f"class {index}" if classes is None else classes[index][:2][-1]
        for index in best.indices.tolist()
    ]
    return Answers(title, tuple(names), tuple(best.values.tolist()))


def classify_file(
    subject: Subject,
    path: Path,
    *,
    size: int | None = None,
    data_range: float | None = None,
    most: int = 3,
) -> list[Answers]:
    """Classify one image file by every view of a subject.

    Parameters
    ----------
    subject : Subject
        Classifier.
    path : Path
        Image file, read as for training: upright, transparent parts on white.
    size : int, optional
        Pixels to which the shorter side is resized, and the centre cropped. Default: as the subject
        was trained, and else the size of the image.
    data_range : float, optional
        Value of the pixels that is white. Default: that of the training, and else by the dtype.
    most : int, optional
        Number of classes to return, >= 1.

    Returns
    -------
    list of Answers
        The best classes, for each view.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, if its image does not fit the subject, or if a view returns
        NaN.

    Warns
    -----
    UserWarning
        If the output looks like probabilities, as in `best_answers`.
    """
    check_reading(size, data_range)
    check_count("most", most)
    intensities = read_image_for(subject, path, size=size, data_range=data_range)
    return classify_image(subject, intensities, most=most, name=str(path))


def check_reading(size: int | None, data_range: float | None) -> None:
    """Check how images are to be read, before the first of them.

    Parameters
    ----------
    size : int or None
        Must be None or a whole number >= 1.
    data_range : float or None
        Must be None or a positive finite number.

    Raises
    ------
    TypeError, ValueError
        If they are not.
    """
    if size is not None:
        check_count("size", size)
    check_data_range(data_range)


def read_image_for(
    subject: Subject, path: Path, *, size: int | None = None, data_range: float | None = None
) -> Tensor:
    """Read an image file as a subject needs it.

    Parameters
    ----------
    subject : Subject
        Classifier.
    path : Path
        Image file.
    size : int, optional
        Pixels to which the shorter side is resized, as in `classify_file`.
    data_range : float, optional
        Value of the pixels that is white, as in `classify_file`.

    Returns
    -------
    Tensor, shape (1, C, H, W)
        Intensities in [0, 1].

    Raises
    ------
    OSError, SyntaxError, TypeError, ValueError, PIL.Image.DecompressionBombError
        If the file cannot be read, or if its image does not fit the subject. These are the
        `virolbi.data.DECODING_ERRORS`.
    """
    options = subject.load_options(size, data_range)
    size = options["size"]
    if size is None and subject.shape is not None and subject.shape[1] == subject.shape[2]:
        size = subject.shape[1]
    pixels = decode_image(path, size, options["data_range"])
    planes = _with_channels(np.atleast_3d(pixels).transpose(2, 0, 1), subject.channels, path)
    if subject.shape is not None and planes.shape[1:] != subject.shape[1:]:
        raise ValueError(
            f"images must be of {subject.shape[2]}x{subject.shape[1]} pixels for {subject.name}, "
            f"got {planes.shape[2]}x{planes.shape[1]} in {path}"
        )
    return torch.from_numpy(planes[None] / np.float32(255))


def classify_image(
    subject: Subject, intensities: Tensor, *, most: int = 3, name: str = "the image"
) -> list[Answers]:
    """Classify one image by every view of a subject.

    Parameters
    ----------
    subject : Subject
        Classifier.
    intensities : Tensor, shape (1, C, H, W)
        The image, as `read_image_for` returns it.
    most : int, optional
        Number of classes to return, >= 1.
    name : str, optional
        Name of the image, for the errors.

    Returns
    -------
    list of Answers
        The best classes, for each view.

    Raises
    ------
    ValueError
        If `most` is out of its range, or if a view returns no logits or NaN.

    Warns
    -----
    UserWarning
        If the output looks like probabilities, as in `best_answers`.
    """
    check_count("most", most)
    answers = []
    for view in subject.views:
        with torch.inference_mode():
            logits = view.model(intensities.to(view.device))
        check_logits(f"view {view.name!r}, for {name},", logits, 1)
        answers.append(best_answers(view.name, logits[0].cpu(), subject.classes, most))
    return answers


def _with_channels(planes: np.ndarray, channels: int | None, path: Path) -> np.ndarray:
    """Return the planes of an image, (C, H, W), with the channels of a subject."""
    if channels is None or len(planes) == channels:
        return np.ascontiguousarray(planes)
    if channels == 1 and (planes == planes[:1]).all():
        return planes[:1].copy()
    if len(planes) > 1:
        raise ValueError(
            f"images must have {channels} channels for this network, got {len(planes)} in {path}"
        )
    return np.repeat(planes, channels, axis=0)
