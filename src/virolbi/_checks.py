"""Checks of arguments that every package makes."""

from numbers import Real

import numpy as np


def check_number(name: str, value: object) -> None:
    """Refuse what is not one real number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")


def check_count(name: str, value: object, least: int = 1) -> int:
    """The number as a plain one. Refuse what is not whole, or less."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be >= {least}, got {value}")
    return int(value)
