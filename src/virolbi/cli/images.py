"""Commands for image files: smooth, path and corrupt."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from PIL import Image

from virolbi._storage import write_atomic
from virolbi.cli.app import command, console, error_line
from virolbi.cli.options import (
    DeltaOption,
    ForceOption,
    ImageSizeOption,
    JointOption,
    MinAreaOption,
    Moment,
    MomentSparsityOption,
    NoiseOption,
    NuOption,
    OutputOption,
    PresetOption,
    TimeOption,
    parse_moment,
    parse_numbers,
    parse_sparsities,
    resolve_form,
)
from virolbi.data import contact_sheet, picture_format, read_picture, write_picture
from virolbi.scale_space import NEGLIGIBLE, Form, Scale, ScaleSpace, noise_strength

SEVERITIES = {1, 2, 3, 4, 5}


@command("smooth")
def _smooth(
    images: Annotated[
        list[Path], typer.Argument(help="Image files: colour, or grey with 8 or 16 bits.")
    ],
    out: Annotated[
        str,
        typer.Argument(
            help="File for the result; its suffix sets the format. For several images, a folder/."
        ),
    ],
    sparsity: MomentSparsityOption = None,
    noise: NoiseOption = None,
    time: TimeOption = None,
    nu: NuOption = Form.nu,
    preset: PresetOption = "robust",
    delta: DeltaOption = None,
    joint: JointOption = None,
    output: OutputOption = None,
    min_area: MinAreaOption = None,
    force: ForceOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Smooth images to a sparsity, to a time, or for noise of a stated strength.

    Strong contours, transparency, colour profile and EXIF data are kept. An existing file is
    replaced only with --force. An image that does not change is copied if its format stays the
    same. Of several images, those that cannot be read or written are named and left out.
    """
    form = resolve_form(preset, nu=nu, delta=delta, joint=joint, output=output, min_area=min_area)
    moment = parse_moment(sparsity, noise, time)
    moment.check_form(form)
    targets = _resolve_targets(images, out)
    failures = 0
    for image, target in zip(images, targets, strict=True):
        try:
            _check_replacement(target, force)
            note = _smooth_file(image, target, moment, form)
        except (ValueError, OSError) as error:
            if len(images) == 1:
                raise
            sys.stderr.write(f"{error_line(error)}\n")
            failures += 1
        else:
            if note and not quiet:
                console.print(f"{image}: {note}", soft_wrap=True)
    if failures:
        raise ValueError(f"{failures} of {len(images)} images were left out")


def _resolve_targets(images: list[Path], out: str) -> list[Path]:
    """Return the file for the result of each image; refuse two results in one file."""
    for image in images:
        if image.is_dir():
            raise ValueError(
                f"images must be files, got the folder {image}; "
                f"name the files in it, such as {image}/*.jpg"
            )
        if not image.exists():
            raise ValueError(f"images must exist, there is no file {image}")
    path = Path(out)
    if len(images) == 1 and not out.endswith("/") and not path.is_dir():
        targets = [path]
    else:
        targets = _resolve_targets_in_folder(images, path)
    for target in targets:
        picture_format(target)
    return targets


def _resolve_targets_in_folder(images: list[Path], folder: Path) -> list[Path]:
    """Return a file with the name of each image in a folder that need not exist yet."""
    rule = f"out must be a folder for {len(images)} images"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{rule}, got the file {folder}")
    looks_like_image = folder.suffix.lower() in Image.registered_extensions()
    if len(images) > 1 and not folder.exists() and looks_like_image:
        raise ValueError(f"{rule}, got {folder}, which has the suffix of an image")
    targets = [folder / image.name for image in images]
    for image, target in zip(images, targets, strict=True):
        if targets.count(target) > 1:
            raise ValueError(
                f"images must have different names to go into one folder, got several {image.name}"
            )
        if target.resolve() == image.resolve():
            raise ValueError(f"out must not be the folder of the images, {target} is one of them")
    return targets


def _check_replacement(target: Path, force: bool) -> None:
    """Refuse to replace a file without --force."""
    if target.exists() and not force:
        raise ValueError(f"out must be a new file, {target} exists; --force replaces it")


def _smooth_file(image: Path, target: Path, moment: Moment, form: Form) -> str:
    """Smooth one file into another, and return a note about its noise for "auto", else ""."""
    picture = read_picture(image)
    settings = form.keywords()
    output = settings.pop("output")
    space = ScaleSpace(picture.pixels, channel_axis=picture.channel_axis, copy=False, **settings)
    channels = 1 if picture.channel_axis is None else picture.pixels.shape[-1]
    smoothed = space.finish(**moment.keywords(form, channels), output=output).output(output)
    formats = Image.registered_extensions()
    same_format = formats.get(image.suffix.lower()) == formats.get(target.suffix.lower())
    if same_format and np.array_equal(smoothed, picture.pixels):
        write_atomic(target, image.read_bytes())
    else:
        write_picture(target, picture.with_pixels(smoothed))
    if moment.sparsity != "auto":
        return ""
    strengths = np.atleast_1d(
        noise_strength(picture.pixels, joint=form.joint, channel_axis=picture.channel_axis)
    )
    if strengths.max() < NEGLIGIBLE:
        return "no independent noise seen, not smoothed (--noise states one)"
    numbers = ", ".join(f"{strength:.3f}" for strength in strengths)
    return f"smoothed for noise of {numbers} (intensities in [0, 1])"


@command("path")
def _path(
    image: Annotated[
        Path, typer.Argument(help="An image file: colour, or grey with 8 or 16 bits.")
    ],
    out: Annotated[Path, typer.Argument(help="File for the strip; its suffix sets the format.")],
    at: Annotated[
        str, typer.Option(help="Sparsities to show, from smooth to detailed, or 'auto'.")
    ] = "1,.97,.94,.9,.8,.6,.3,0",
    columns: Annotated[int, typer.Option(help="Number of pictures in a row.")] = 4,
    nu: NuOption = Form.nu,
    preset: PresetOption = "robust",
    delta: DeltaOption = None,
    joint: JointOption = None,
    output: OutputOption = None,
    min_area: MinAreaOption = None,
    size: ImageSizeOption = None,
    force: ForceOption = False,
) -> None:
    """Show one image along its scale path.

    The result is a strip of pictures, each as `virolbi smooth` makes it, labelled with sparsity
    and time. It starts with a blur for 'beta' and with a blank for 'regions'.
    """
    form = resolve_form(preset, nu=nu, delta=delta, joint=joint, output=output, min_area=min_area)
    sparsities = parse_sparsities(at, "--at")
    if columns < 1:
        raise ValueError(f"--columns must be >= 1, got {columns}")
    picture_format(out)
    _check_replacement(out, force)
    for sparsity in sparsities:
        form.check_combination(sparsity)
    picture = read_picture(image, size)
    settings: dict[str, Any] = form.keywords()
    shown = settings.pop("output")
    space = ScaleSpace(picture.pixels, channel_axis=picture.channel_axis, **settings)
    scales = [space.at(sparsity) for sparsity in sparsities]
    pictures = np.stack([scale.output(shown) for scale in scales])
    strengths = noise_strength(picture.pixels, joint=form.joint, channel_axis=picture.channel_axis)
    labels = [
        _label(sparsity, scale, strengths)
        for sparsity, scale in zip(sparsities, scales, strict=True)
    ]
    write_picture(out, contact_sheet(pictures, labels, columns))


def _label(sparsity: float | Literal["auto"], scale: Scale, strengths: np.ndarray) -> str:
    """Return the label of a moment: its sparsity, its time, and for "auto" the noise seen."""
    time = f"time {_range_text(scale.time)}"
    if sparsity == "auto":
        return (
            f"auto: noise seen {_range_text(strengths)}, "
            f"sparsity {_range_text(scale.sparsity)}, {time}"
        )
    return f"sparsity {sparsity:g}, {time}"


def _range_text(values: np.ndarray) -> str:
    """Return the least and the largest of some numbers, or the one where they look alike."""
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low} to {high}"


@command("corrupt")
def _corrupt(
    image: Annotated[Path, typer.Argument(help="An image file: colour, or grey with 8 bits.")],
    out: Annotated[Path, typer.Argument(help="File for the sheet; its suffix sets the format.")],
    severities: Annotated[
        str, typer.Option(help="Severities from 1 to 5, with commas between them.")
    ] = "1,3,5",
    size: ImageSizeOption = None,
    seed: Annotated[int, typer.Option(help="Seed of all random corruptions.")] = 0,
    force: ForceOption = False,
) -> None:
    """Show an image under every corruption.

    The result is a labelled sheet with one row for each corruption of an evaluation.
    """
    from virolbi.corruptions import sheet

    numbers = parse_numbers(severities, "--severities")
    if not set(numbers) <= SEVERITIES:
        raise ValueError(f"--severities must be whole numbers from 1 to 5, got {severities!r}")
    picture_format(out)
    _check_replacement(out, force)
    picture = read_picture(image, size)
    pictures, labels = sheet(
        picture.pixels, severities=tuple(int(number) for number in numbers), seed=seed
    )
    write_picture(out, contact_sheet(pictures, labels, len(numbers)))
