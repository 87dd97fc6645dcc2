"""Form of the smoother and moment on its path, as options state them."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from virolbi._checks import check_choice
from virolbi.cli.parsing import parse_names
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
    check_choice("preset", preset, PRESETS)
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
        "--noise must be a fraction of white, > 0 and <= 1, or a multiple of the noise that is "
        f"seen, such as 2x, got {text!r}"
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
