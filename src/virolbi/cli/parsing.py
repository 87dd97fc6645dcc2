"""Parsing of the texts of options that several commands share."""

import math
import tomllib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from virolbi.scale_space import PRESETS, Form, check_sparsity_choice, time_for_noise

SPARSITY = 0.8  # of `virolbi smooth`, where the command names no other moment


def resolve_form(preset: str, **overrides: Any) -> Form:
    """Return the form of a preset with the options that were given.

    Parameters
    ----------
    preset : str
        "robust" or "paper".
    **overrides : Any
        Fields of the form by their names; None keeps the value of the preset.

    Returns
    -------
    Form
        The form, with checked fields.

    Raises
    ------
    TypeError, ValueError
        If the preset is not one of the two names, or a field is out of its range.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {tuple(PRESETS)}, got {preset!r}")
    changes = {name: value for name, value in overrides.items() if value is not None}
    return replace(PRESETS[preset], **changes)


@dataclass(frozen=True)
class Moment:
    """Moment on the scale path at which a command stops; exactly one field is not None.

    Parameters
    ----------
    sparsity : float or "auto", optional
        Sparsity as `virolbi.smooth` takes it.
    noise : float, optional
        Standard deviation of the noise, in intensity.
    multiple : float, optional
        Standard deviation of the noise as a multiple of the one that is seen.
    time : float, optional
        Time on the path, in 1 / intensity.
    """

    sparsity: float | Literal["auto"] | None = None
    noise: float | None = None
    multiple: float | None = None
    time: float | None = None

    @property
    def looks_for_noise(self) -> bool:
        """Whether the moment depends on the noise that is seen in the image."""
        return self.sparsity == "auto" or self.multiple is not None

    @property
    def noise_rule(self) -> Any:
        """The noise to remove, as `virolbi.denoise` takes it."""
        if self.multiple is not None:
            return lambda seen: self.multiple * seen
        return self.sparsity if self.noise is None else self.noise

    def check_form(self, form: Form) -> None:
        """Refuse a form that excludes this moment.

        Parameters
        ----------
        form : Form
            Form of the smoother.

        Raises
        ------
        ValueError
            If `min_area` is larger than 1 without regions, or if regions are left to the noise.
        """
        form.check_combination(self.sparsity)
        if (self.noise or self.multiple) is not None and not form.allows_auto:
            raise ValueError(
                "--noise needs --output beta, because regions merge long before noise enters, "
                f"got output={form.output!r}"
            )

    def keywords(self, form: Form, channels: int) -> dict[str, Any]:
        """Return the moment as keywords of `ScaleSpace.at`.

        Parameters
        ----------
        form : Form
            Form of the smoother.
        channels : int
            Number of channels of the image.

        Returns
        -------
        dict
            The sparsity or the time.
        """
        if self.multiple is not None:
            return {"sparsity": self.noise_rule}
        if self.noise is None:
            return {"sparsity": self.sparsity, "time": self.time}
        return {"time": time_for_noise(self.noise, form, channels)}


def parse_moment(sparsity: str | None, noise: str | None, time: float | None) -> Moment:
    """Return the moment that one of the options --sparsity, --noise and --time states.

    Parameters
    ----------
    sparsity : str or None
        Text of --sparsity: a number in [0, 1] or "auto".
    noise : str or None
        Text of --noise: a number in (0, 1], or one > 0 with an "x" behind it.
    time : float or None
        Value of --time, >= 0.

    Returns
    -------
    Moment
        The moment; a sparsity of 0.8 if none is stated.

    Raises
    ------
    ValueError
        If several are stated, or if one is out of its range.
    """
    options = {"--sparsity": sparsity, "--noise": noise, "--time": time}
    stated = [f"{name} {value}" for name, value in options.items() if value is not None]
    if len(stated) > 1:
        raise ValueError(f"give one of {', '.join(options)}, got {' and '.join(stated)}")
    if noise is not None:
        return parse_noise(noise)
    if time is not None:
        if not time >= 0:
            raise ValueError(f"--time must be >= 0, got {time:g}")
        return Moment(time=time)
    return Moment(SPARSITY if sparsity is None else parse_sparsity(sparsity, "--sparsity"))


def parse_noise(text: str) -> Moment:
    """Return the moment that the text of --noise states.

    Parameters
    ----------
    text : str
        A number in (0, 1], or one > 0 with an "x" behind it.

    Returns
    -------
    Moment
        The moment.

    Raises
    ------
    ValueError
        If the text is neither.
    """
    number, is_multiple = text.strip().removesuffix("x"), text.strip().endswith("x")
    try:
        value = float(number)
        if is_multiple and 0 < value < math.inf:
            return Moment(multiple=value)
        if not is_multiple and 0 < value <= 1:
            return Moment(noise=value)
    except ValueError:
        pass
    raise ValueError(
        "--noise must be an intensity > 0 and <= 1, or a multiple of the noise that is seen, such "
        f"as 2x, got {text!r}"
    )


def parse_sparsity(text: str, option: str) -> float | Literal["auto"]:
    """Return the one sparsity in the text of an option.

    Parameters
    ----------
    text : str
        A number in [0, 1] or "auto".
    option : str
        Name of the option, for the error.

    Returns
    -------
    float or "auto"
        The sparsity.

    Raises
    ------
    ValueError
        If the text is neither.
    """
    try:
        return _parse_choice(text.strip())
    except ValueError:
        raise ValueError(f"{option} must be a sparsity in [0, 1] or 'auto', got {text!r}") from None


def parse_sparsities(text: str | None, option: str) -> list[float | Literal["auto"]]:
    """Return the sparsities in the text of an option.

    Parameters
    ----------
    text : str or None
        Numbers in [0, 1] or "auto", with commas between them; None if the option is not used.
    option : str
        Name of the option, for the error.

    Returns
    -------
    list of float or "auto"
        The sparsities in the order of the text; none for None.

    Raises
    ------
    ValueError
        If a part of the text is neither.
    """
    if text is None:
        return []
    try:
        return [_parse_choice(part) for part in parse_names(text)]
    except ValueError:
        raise ValueError(
            f"{option} must be a sparsity in [0, 1] or 'auto', or several with commas between "
            f"them, got {text!r}"
        ) from None


def _parse_choice(text: str) -> float | Literal["auto"]:
    """Return the sparsity that a text stands for, or raise ValueError."""
    choice: float | Literal["auto"] = "auto" if text == "auto" else float(text)
    check_sparsity_choice(choice)
    return choice


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
