"""Checks of what a network returns for images."""

from typing import Any

from torch import Tensor

from virolbi._checks import warn_caller

NEGATIVE, SUM_ERROR = -1e-6, 1e-3  # rounding errors of probabilities, and of their sum


def check_logit_shape(
    name: str,
    logits: object,
    count: int,
    classes: int | None = None,
    *,
    least: int = 1,
    note: str = "",
) -> None:
    """Check that a network returned one row of logits for each image, and nothing else.

    Parameters
    ----------
    name : str
        Name of the argument that the network was, for the error.
    logits : object
        What it returned.
    count : int
        Number of images.
    classes : int, optional
        Number of classes. None allows any.
    least : int, optional
        Least number of classes.
    note : str, optional
        Words behind the rule in the error.

    Raises
    ------
    ValueError
        If it is no tensor of shape (`count`, `classes`).
    """
    got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if isinstance(got, tuple) and len(got) == 2:
        rows, columns = got
        if rows == count and columns >= least and classes in (None, columns):
            return
    wanted = "classes" if classes is None else classes
    raise ValueError(f"{name} must return logits of shape ({count}, {wanted}){note}, got {got}")


def check_logits(name: str, logits: Any, count: int, classes: int = 2) -> None:
    """Check the logits that a network returned for some images.

    Parameters
    ----------
    name : str
        Name of the argument that the network was, for the error.
    logits : Any
        What it returned.
    count : int
        Number of images.
    classes : int, optional
        Least number of classes. With one class every answer is sure.

    Raises
    ------
    ValueError
        If it is no tensor of shape (`count`, `classes` or more), or if the largest logit of an
        image is no finite number, as after an overflow in half precision.
    """
    note = f", for {classes} classes or more"
    check_logit_shape(name, logits, count, least=classes, note=note)
    largest = logits.amax(dim=1)
    if not largest.isfinite().all():
        wrong = largest[~largest.isfinite()][0].item()
        raise ValueError(
            f"{name} must return logits that are numbers, got {'NaN' if wrong != wrong else wrong}"
        )


def look_like_probabilities(outputs: Tensor) -> bool:
    """Return whether the outputs for all images are non-negative and sum to 1.

    Probabilities always do, and logits hardly ever.

    Parameters
    ----------
    outputs : Tensor, shape (N, classes)
        Outputs of a network.

    Returns
    -------
    bool
        True if every row is, up to rounding errors.

    Examples
    --------
    >>> import torch
    >>> outputs = torch.tensor([[2.0, -1.0], [0.5, 0.5]])
    >>> look_like_probabilities(outputs), look_like_probabilities(outputs.softmax(dim=1))
    (False, True)
    """
    sums = outputs.float().sum(dim=1)
    return bool((outputs >= NEGATIVE).all() and ((sums - 1).abs() < SUM_ERROR).all())


def warn_of_probabilities(outputs: Tensor) -> None:
    """Warn if outputs that are taken for logits look like probabilities.

    Parameters
    ----------
    outputs : Tensor, shape (N, classes)
        Outputs of a network.

    Warns
    -----
    UserWarning
        If `look_like_probabilities` is true of them.
    """
    if look_like_probabilities(outputs):
        warn_caller(
            "the network should return logits, and its outputs that were looked at are "
            "non-negative and sum to 1, as probabilities do; if they are, confidences and what is "
            "chosen by them are wrong: leave out the last softmax, or return logarithms"
        )
