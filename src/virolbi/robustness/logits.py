"""Checks of what a network returns for images."""

from typing import Any

from torch import Tensor


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
