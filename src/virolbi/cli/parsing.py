"""Parsing of the texts of options that several commands share."""

import tomllib
from fractions import Fraction
from typing import Any, Literal


def parse_channel_axis(text: str) -> int | Literal["auto"] | None:
    """Return the axis that --channel-axis states.

    Parameters
    ----------
    text : str
        A whole number, "auto" or "none".

    Returns
    -------
    int, "auto" or None
        The axis.

    Raises
    ------
    ValueError
        If the text is something else.
    """
    if text == "auto":
        return "auto"
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"--channel-axis must be a whole number, 'auto' or 'none', got {text!r}"
        ) from None


def parse_crop(text: str, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the part of an image that --crop states.

    Parameters
    ----------
    text : str
        X,Y,WIDTH,HEIGHT in pixels.
    size : tuple of int
        Width and height of the image.

    Returns
    -------
    tuple of slice
        Rows and columns.

    Raises
    ------
    ValueError
        If the text is something else, or if the part is not inside the image.
    """
    width, height = size
    try:
        x, y, columns, rows = (int(part) for part in text.split(","))
        if min(x, y) < 0 or min(columns, rows) < 1 or x + columns > width or y + rows > height:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"--crop must be X,Y,WIDTH,HEIGHT inside the {width}x{height} pixels of the image, "
            f"got {text!r}"
        ) from None
    return slice(y, y + rows), slice(x, x + columns)


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names in the text of an option.

    Parameters
    ----------
    text : str
        Names with commas between them.

    Returns
    -------
    tuple of str
        The names, which need not exist.
    """
    return tuple(name.strip() for name in text.split(","))


def parse_corruptions(text: str | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of corruptions in the text of --corruptions.

    Parameters
    ----------
    text : str or None
        Names with commas between them, or the name of a group.
    default : tuple of str
        Names for None.

    Returns
    -------
    tuple of str
        The names, which need not exist.
    """
    from virolbi.corruptions import COMMON, HELD_OUT

    if text is None:
        return default
    groups = {"common": COMMON, "held-out": HELD_OUT, "all": COMMON + HELD_OUT}
    return groups.get(text) or parse_names(text)


def parse_numbers(text: str, option: str) -> list[float]:
    """Return the numbers in the text of an option.

    Parameters
    ----------
    text : str
        Numbers with commas between them.
    option : str
        Name of the option, for the error.

    Returns
    -------
    list of float
        The numbers in the order of the text.

    Raises
    ------
    ValueError
        If a part of the text is not a number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{option} must be numbers with commas between them, got {text!r}"
        ) from None


def parse_recipe_changes(settings: list[str] | None, **options: Any) -> dict[str, Any]:
    """Return the settings of a recipe that --set and options of their own change.

    Parameters
    ----------
    settings : list of str or None
        Texts of --set: name=value. A value that is not valid TOML is a string.
    **options : Any
        Values of the other options by the names of the settings, which come before those of --set;
        None for those that are not used.

    Returns
    -------
    dict
        The new values by the names of the settings.

    Raises
    ------
    ValueError
        If a text of --set has no "=".
    """
    changes: dict[str, Any] = {}
    for setting in settings or []:
        name, separator, value = setting.partition("=")
        if not separator:
            raise ValueError(f"--set must be name=value, got {setting!r}")
        try:
            changes[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            changes[name.strip()] = value.strip()
    return changes | {name: value for name, value in options.items() if value is not None}


def parse_fraction(text: str) -> float:
    """Return the value of a text such as "2/255" or "0.01".

    Parameters
    ----------
    text : str
        A number or a fraction.

    Returns
    -------
    float
        The value.

    Raises
    ------
    ValueError
        If the text is neither.
    """
    try:
        return float(Fraction(text))
    except ArithmeticError:
        raise ValueError(text) from None  # typer turns a ValueError into its usage message
