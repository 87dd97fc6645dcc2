"""Checks of arguments, warnings, and texts of numbers, that all packages share."""

import math
import sys
import warnings
from collections.abc import Collection, Iterable
from numbers import Real
from types import FrameType

import numpy as np


def check_number(
    name: str, value: object, least: float = -math.inf, most: float = math.inf
) -> float:
    """Check that a value is one real number in a range, and return it as a plain float.

    Parameters
    ----------
    name : str
        Name of the argument, for the errors.
    value : object
        Value to check. Booleans and NaN are not numbers.
    least, most : float, optional
        Smallest and largest value that is allowed.

    Returns
    -------
    float
        The value.

    Raises
    ------
    TypeError
        If the value is not a number.
    ValueError
        If it is NaN or outside the range.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not least <= number <= most:
        above = f">= {least:g}" if least > -math.inf else "a number"
        rule = f"in [{least:g}, {most:g}]" if most < math.inf else above
        raise ValueError(f"{name} must be {rule}, got {value}")
    return number


def check_whole(name: str, value: object) -> int:
    """Check that a value is a whole number, and return it as a plain integer.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : object
        Value to check. Booleans are not numbers.

    Returns
    -------
    int
        The value.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    return int(value)


def check_count(name: str, value: object, least: int = 1) -> int:
    """Check that a value is a whole number, and return it as a plain integer.

    Parameters
    ----------
    name : str
        Name of the argument, for the errors.
    value : object
        Value to check. Booleans are not numbers.
    least : int, optional
        Smallest value that is allowed.

    Returns
    -------
    int
        The value.

    Raises
    ------
    TypeError
        If the value is not a whole number.
    ValueError
        If it is less than `least`.
    """
    number = check_whole(name, value)
    if number < least:
        raise ValueError(f"{name} must be >= {least}, got {number}")
    return number


def check_choice(name: str, value: object, known: Iterable[object]) -> None:
    """Check that a value is one of a few.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : object
        Value to check.
    known : iterable
        Values that are allowed.

    Raises
    ------
    ValueError
        If it is another value.
    """
    choices = tuple(known)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


def check_choices(
    name: str, values: Collection[object], known: Iterable[object], least: int = 0
) -> None:
    """Check that all of some values are among a few, each of them once.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    values : collection
        Values to check.
    known : iterable
        Values that are allowed.
    least : int, optional
        Smallest number of values that is allowed.

    Raises
    ------
    ValueError
        If there is another value, or one twice, or if there are too few.
    """
    choices, given = tuple(known), list(values)
    wrong = [value for value in given if value not in choices or given.count(value) > 1]
    if wrong or len(given) < least:
        names = ", ".join(map(str, choices))
        raise ValueError(f"{name} must be some of {names}, each once, got {wrong}")


def check_flag(name: str, value: object) -> None:
    """Check that a value is true or false.

    Parameters
    ----------
    name : str
        Name of the argument, for the error.
    value : object
        Value to check.

    Raises
    ------
    TypeError
        If it is not a boolean.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be true or false, got {value!r}")


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called this package, directly or through PyTorch or torchvision.

    Parameters
    ----------
    message : str
        Text of the warning.
    category : type of Warning, optional
        Class of the warning.

    Warns
    -----
    Warning
        Of the class `category`.
    """

    def package(frame: FrameType) -> str:
        return str(frame.f_globals.get("__name__", "")).partition(".")[0]

    level, frame = 1, sys._getframe()
    while frame.f_back and package(frame) in ("virolbi", "torch", "torchvision"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def plain_number(value: object) -> object:
    """Return a number of NumPy, which arguments may be, as one of Python, for `json.dumps`.

    Parameters
    ----------
    value : object
        What JSON does not know.

    Returns
    -------
    object
        The number.

    Raises
    ------
    TypeError
        If it is anything else.
    """
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"values must be what JSON can hold, got {value!r}")


def range_text(values: np.ndarray, form: str = ".3g") -> str:
    """Return the least and the largest of some numbers as text, or one where they look alike.

    Parameters
    ----------
    values : ndarray
        Numbers, at least one.
    form : str, optional
        Format of each number.

    Returns
    -------
    str
        The text, such as "0.1 to 0.25".
    """
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"
