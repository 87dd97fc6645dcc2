"""Arguments and options that several commands share, and the parsing of their texts."""

import math
import tomllib
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from virolbi.scale_space import PRESETS, Form, check_sparsity_choice, stopping_time


def _parse_fraction(text: str) -> float:
    """Return the value of a text such as "2/255" or "0.01"."""
    try:
        return float(Fraction(text))
    except ArithmeticError:
        raise ValueError(text) from None  # typer turns a ValueError into its usage message


SPARSITY = 0.8  # of `virolbi smooth`, where the command names no other moment
SPARSITY_HELP = (
    "Fraction of edges left out, in [0, 1]; a larger one is smoother. "
    "'auto' chooses it from the noise of each image."
)

# The smoother.
SparsityOption = Annotated[str, typer.Option(help=SPARSITY_HELP)]
MomentSparsityOption = Annotated[
    str | None, typer.Option("--sparsity", help=f"{SPARSITY_HELP} Default: {SPARSITY}.")
]
NoiseOption = Annotated[
    str | None,
    typer.Option(
        help="Instead of a sparsity: standard deviation of the noise, in intensity, over 0 up to "
        "1; or '2x' for twice the noise that is seen in each image. A larger one smooths more."
    ),
]
TimeOption = Annotated[
    float | None,
    typer.Option(
        help="Instead of a sparsity: time on the path in 1 / intensity, 0 or more, or inf; a "
        "smaller one smooths more."
    ),
]
NuOption = Annotated[
    float,
    typer.Option(
        help="Coupling of the image and its variations, .001 to 1000; a smaller one smooths more "
        "between the contours and takes longer."
    ),
]
PresetOption = Annotated[
    str,
    typer.Option(
        help="'robust', or 'paper' for the published form (delta inf, one support for each "
        "channel, regions)."
    ),
]
DeltaOption = Annotated[
    float | None,
    typer.Option(
        help="Intensity beyond which a pixel counts as an outlier, .001 or more, or inf. "
        "Default: the preset's."
    ),
]
JointOption = Annotated[
    bool | None,
    typer.Option(
        "--joint/--per-channel",
        help="One support for all channels, or one for each channel. Default: the preset's.",
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(help="'beta' (smooth) or 'regions' (piecewise constant). Default: the preset's."),
]

# Image files.
MinAreaOption = Annotated[
    int | None, typer.Option(help="Merge regions of fewer pixels; for --output regions.")
]
StepOption = Annotated[
    float | None,
    typer.Option(
        help="Length of a time step, as a fraction of the time, .001 to .5. A larger one is "
        f"faster and less exact. Default: {Form.step:g}."
    ),
]
DataRangeOption = Annotated[
    float | None,
    typer.Option(
        help="Pixel value that is white: 4095 for 12 bits in 16; of negative numbers, their span. "
        "Default: 255 or 65535 for integers, 1 for floats."
    ),
]
NodataOption = Annotated[
    float | None,
    typer.Option(
        help="Pixel value without data, in all bands, kept as it is and out of the smoothing, as "
        "NaN (in any band) and transparent pixels are. Default: the one that the file states."
    ),
]
ChannelAxisOption = Annotated[
    str,
    typer.Option(
        help="Axis of the channels in a .npy or TIFF array, smoothed together, or 'none': each "
        "slice by itself. 'auto': the samples of a TIFF, the last axis of a .npy if it is 3 or 4; "
        "a .npy whose height or width would be its shortest axis is refused."
    ),
]
MegapixelsOption = Annotated[
    float,
    typer.Option(
        "--max-megapixels",
        help="Refuse larger pictures: damaged files can claim any size. A picture of N megapixels "
        "in colour takes about N / 12 GB of memory.",
    ),
]
CropOption = Annotated[
    str | None,
    typer.Option(help="Cut out a part of the image first: X,Y,WIDTH,HEIGHT in pixels."),
]
ImageSizeOption = Annotated[
    int | None, typer.Option(help="Resize and crop the image to this many pixels first.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", "-f", help="Replace a file that exists already.")
]

# Recipes and data.
RecipeArgument = Annotated[
    str, typer.Argument(help="A name that `virolbi recipes` lists, or a .toml file of settings.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a setting of `virolbi.recipes.Recipe`: name=value. Can be used many times.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="'digits', a data set or image folder, or a name on the Hugging Face hub. "
        "Default: the recipe's."
    ),
]
ImagesRangeOption = Annotated[
    float | None,
    typer.Option(
        "--data-range",
        help="Pixel value of the images that is white: 4095 for 12 bits in 16. "
        "Default: the recipe's, or by the type of the pixels.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps decoded and smoothed images. "
        "Default: keep them in memory and smooth them on the fly."
    ),
]
CpuOption = Annotated[
    bool, typer.Option("--cpu", help="Use the CPU, even where there is an accelerator.")
]

# The classifier and its test images.
ModelArgument = Annotated[
    str,
    typer.Argument(
        help="Folder of a training run or of a calibration, timm:NAME, or module:function that "
        "returns a network."
    ),
]
NameOption = Annotated[
    str | None, typer.Option(help="Name of the model in the rows. Default: that of the model.")
]
SmoothingOption = Annotated[
    str | None,
    typer.Option(
        help="Sparsity of the smoothing in front of the network, or 'auto'; several with commas "
        "between them. Default: the run's, or none."
    ),
]
SizeOption = Annotated[
    int | None,
    typer.Option(help="Resize and crop images to this many pixels. Default: the model's."),
]
SplitOption = Annotated[
    str,
    typer.Option(
        help="Split of the data to use: 'test', 'train', or the name of another one that is "
        "stored, such as 'validation'."
    ),
]
SkipOption = Annotated[
    int, typer.Option(help="Leave out this many images, from the front of the split.")
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Images that the network sees at once; fewer take less memory, and the results are "
        "the same. Default: by the size of the images."
    ),
]
TestLimitOption = Annotated[
    int | None, typer.Option(help="Use only this many test images, from the front.")
]

# The evaluation.
CORRUPTIONS_HELP = "Names with commas between them, or 'common', 'held-out' or 'all'."
CorruptionsOption = Annotated[
    str | None, typer.Option(help=f"{CORRUPTIONS_HELP} Default: the three noises.")
]
ResolutionOption = Annotated[
    int | None,
    typer.Option(
        help="Resolution whose noise constants are used: 32, 64 or 224 pixels. "
        "Default: the nearest."
    ),
]
AttackedOption = Annotated[
    int, typer.Option(help="Number of test images that are attacked; 0 for none.")
]
EpsilonOption = Annotated[
    float,
    typer.Option(
        parser=_parse_fraction,
        metavar="FLOAT",
        show_default="2/255",
        help="Largest change under attack, in intensity; can be a fraction.",
    ),
]


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
        if (self.noise or self.multiple) is not None and form.output == "regions":
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
        together = channels if form.joint else 1
        return {"time": stopping_time(self.noise, nu=form.nu, delta=form.delta, channels=together)}


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
        return [_parse_choice(part.strip()) for part in text.split(",")]
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
