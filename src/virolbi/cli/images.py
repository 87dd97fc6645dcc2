"""Commands for image files: smooth, denoise, path and corrupt."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from virolbi._checks import range_text
from virolbi._storage import write_atomic
from virolbi.cli.app import command, console
from virolbi.cli.batches import Changed, FileBatch, check_replacement, pixel_limit
from virolbi.cli.intensities import Intensities, check_nodata
from virolbi.cli.moments import (
    Moment,
    parse_moment,
    parse_noise,
    parse_sparsities,
    resolve_form,
)
from virolbi.cli.options import (
    ChannelAxisOption,
    CropOption,
    DataRangeOption,
    DeltaOption,
    ForceOption,
    ImageSizeOption,
    JointOption,
    MegapixelsOption,
    MinAreaOption,
    MomentSparsityOption,
    NodataOption,
    NoiseOption,
    NuOption,
    OutputOption,
    PresetOption,
    StepOption,
    TimeOption,
)
from virolbi.cli.parsing import parse_channel_axis, parse_crop, parse_numbers
from virolbi.data import (
    Picture,
    contact_sheet,
    decode_image,
    label_picture,
    picture_format,
    read_plain_picture,
    resize_picture,
    write_picture,
)
from virolbi.scale_space import Form, Scale, ScaleSpace

MEGAPIXELS = 179.0  # the limit of Pillow

ImagesArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Image files with 8 or 16 bits, TIFF files with slices or bands, .npy arrays."
    ),
]
OutArgument = Annotated[
    str,
    typer.Argument(
        help="File for the result; its suffix sets the format. For several images, a folder/."
    ),
]
RecursiveOption = Annotated[
    bool,
    typer.Option("--recursive", "-r", help="Take all images in folders, into folders like them."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print what was done to each image.")
]


@command("smooth")
def _smooth(
    images: ImagesArgument,
    out: OutArgument,
    sparsity: MomentSparsityOption = None,
    noise: NoiseOption = None,
    time: TimeOption = None,
    nu: NuOption = Form.nu,
    preset: PresetOption = "robust",
    delta: DeltaOption = None,
    joint: JointOption = None,
    output: OutputOption = None,
    min_area: MinAreaOption = None,
    step: StepOption = None,
    labels: Annotated[
        bool,
        typer.Option(
            "--labels",
            help="Write the number of the region of each pixel instead: from 1, and 0 where "
            "nothing is visible. To PNG or TIFF with 16 bits, or .npy.",
        ),
    ] = False,
    data_range: DataRangeOption = None,
    nodata: NodataOption = None,
    channel_axis: ChannelAxisOption = "auto",
    max_megapixels: MegapixelsOption = MEGAPIXELS,
    recursive: RecursiveOption = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Smooth images to a sparsity, to a time, or for noise of a stated strength.

    Strong contours, transparency, colour profile, EXIF data, resolution and texts are kept, and
    JPEG files keep their quality. Slices of a stack are smoothed one by one, bands together. An
    existing file is replaced only with --force. An image that does not change is copied if its
    format stays the same. Of several images, those that cannot be read or written are named and
    left out, and those that exist already are counted: the same command again resumes a batch.
    """
    form = resolve_form(
        preset, nu=nu, delta=delta, joint=joint, output=output, min_area=min_area, step=step
    )
    moment = parse_moment(sparsity, noise, time)
    moment.check_form(form)
    batch = FileBatch(
        change=partial(_smooth_picture, form, moment, labels),
        outcome="smoothed",
        channel_axis=parse_channel_axis(channel_axis),
        data_range=data_range,
        nodata=nodata,
        force=force,
        quiet=quiet,
        verbose=verbose,
    )
    batch.run(images, out, recursive, max_megapixels)


def _smooth_picture(
    form: Form,
    moment: Moment,
    labels: bool,
    intensities: Intensities,
    progress: Callable[[float], object],
) -> Changed:
    """Return a picture smoothed to a moment, or the numbers of its regions."""
    picture, output = intensities.picture, form.output
    space = intensities.space(form)
    scale = space.finish(
        **moment.keywords(form, picture.channels), output=output, progress=progress
    )
    notes = []
    if labels:
        changed = _label_regions(scale, picture, intensities.hidden, form)
        notes.append(_count_regions(changed))
    else:
        changed = picture.with_pixels(intensities.restore(scale.output(output)))
    if moment.looks_for_noise:
        acted = np.isfinite(scale.time)
        notes.append(_describe_noise(space.noise.strength, acted, moment.multiple))
    times = f"sparsity {range_text(scale.sparsity)}, time {range_text(scale.time)}, "
    return Changed(changed, notes, times)


@command("denoise")
def _denoise(
    images: ImagesArgument,
    out: OutArgument,
    noise: Annotated[
        str | None,
        typer.Option(
            help="Standard deviation of the noise to remove, in intensity, over 0 up to 1; or "
            "'2x' for twice the noise that is seen in each image. A larger one smooths more. "
            "Default: what is seen."
        ),
    ] = None,
    step: StepOption = None,
    data_range: DataRangeOption = None,
    nodata: NodataOption = None,
    channel_axis: ChannelAxisOption = "auto",
    max_megapixels: MegapixelsOption = MEGAPIXELS,
    recursive: RecursiveOption = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Remove noise from images, as pictures to look at or to measure in.

    Smooths less than 'virolbi smooth --sparsity auto', and averages what is left of the grain over
    like pixels nearby, which comes closer to the clean picture under grain. For networks use
    'virolbi smooth', which they were trained and measured with. Files, stacks, bands and batches
    are treated as there.
    """
    moment = Moment("auto") if noise is None else parse_noise(noise)
    batch = FileBatch(
        change=partial(_denoise_picture, resolve_form("robust", step=step), moment),
        outcome="denoised",
        channel_axis=parse_channel_axis(channel_axis),
        data_range=data_range,
        nodata=nodata,
        force=force,
        quiet=quiet,
        verbose=verbose,
    )
    batch.run(images, out, recursive, max_megapixels)


def _denoise_picture(
    form: Form, moment: Moment, intensities: Intensities, progress: Callable[[float], object]
) -> Changed:
    """Return a picture without its noise."""
    picture = intensities.picture
    space = intensities.space(form)
    pixels = space.denoise(moment.noise_rule, progress=progress)
    slices = picture.pixels.shape[: picture.slice_axes]
    acted = np.asarray(intensities.changes(pixels).reshape(*slices, -1).any(axis=-1))
    notes = []
    if moment.looks_for_noise:
        notes.append(_describe_noise(space.noise.strength, acted, moment.multiple))
    return Changed(picture.with_pixels(intensities.restore(pixels)), notes, "")


def _count_regions(labels: Picture) -> str:
    """Return a note about the number of regions in each slice."""
    planes = labels.pixels.reshape(-1, np.prod(labels.size))
    counts = [np.count_nonzero(np.unique(plane)) for plane in planes]
    low, high = min(counts), max(counts)
    return f"regions: {low}" if low == high else f"regions of the slices: {low} to {high}"


def _label_regions(
    scale: Scale, picture: Picture, hidden: np.ndarray | None, form: Form
) -> Picture:
    """Return the numbers of the regions of a picture, from 1, as a picture."""
    if not form.joint and picture.channels > 1:
        raise ValueError("--labels needs --joint: channels of their own have regions of their own")
    labels = scale.labels + 1
    if hidden is not None:
        labels = np.where(hidden, 0, labels)
    if labels.max() < 2**16:
        labels = labels.astype(np.uint16)
    return label_picture(picture, labels)


def _describe_noise(strengths: np.ndarray, acted: np.ndarray, multiple: float | None) -> str:
    """Return a note about the noise that was found, and whether it was acted on."""
    smoothed = acted & (strengths > 0)
    if smoothed.any():
        numbers = ", ".join(
            _strength(strength) for strength in np.where(smoothed, strengths, 0).flat
        )
        if smoothed.size > 8:
            acted = strengths[smoothed]
            numbers = (
                f"{_strength(acted.min())} to {_strength(acted.max())} in {acted.size} "
                f"of {smoothed.size} planes"
            )
        times_seen = "" if multiple is None else f"{multiple:g} times the "
        return f"smoothed for {times_seen}noise of {numbers} (intensities in [0, 1])"
    if strengths.max() == 0:
        return "no independent noise seen, not smoothed (--noise .02 states one)"
    return (
        f"noise of {_strength(strengths.max())} seen, weak or not told from texture, not smoothed "
        "(--noise 1x smooths for all of it, --noise .02 for a stated one)"
    )


def _strength(noise: float) -> str:
    """Return the strength of noise as text: three decimals, or two digits if it is faint."""
    return f"{noise:.3f}" if noise >= 0.01 or noise == 0 else f"{noise:.2g}"


@command("path")
def _path(
    image: Annotated[Path, typer.Argument(help="An image file with 8 or 16 bits.")],
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
    step: StepOption = None,
    crop: CropOption = None,
    size: ImageSizeOption = None,
    data_range: DataRangeOption = None,
    nodata: NodataOption = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="SVG file for curves as well: sparsity, edges and regions on the path."),
    ] = None,
    max_megapixels: MegapixelsOption = MEGAPIXELS,
    force: ForceOption = False,
) -> None:
    """Show one image along its scale path.

    The result is a strip of pictures, each as `virolbi smooth` makes it, labelled with sparsity
    and time. It starts with a blur for 'beta' and with a blank for 'regions'. A transparent image
    is shown on white.
    """
    form = resolve_form(
        preset, nu=nu, delta=delta, joint=joint, output=output, min_area=min_area, step=step
    )
    sparsities = parse_sparsities(at, "--at")
    if columns < 1:
        raise ValueError(f"--columns must be >= 1, got {columns}")
    picture_format(out)
    check_replacement(out, force)
    if plot is not None:
        _check_plot(plot, force)
    for sparsity in sparsities:
        form.check_combination(sparsity)
    with pixel_limit(max_megapixels):
        picture = _read_part(image, crop, size, data_range)
    for note in check_nodata(picture, nodata):
        console.print(f"{image}: {note}", soft_wrap=True)
    intensities = Intensities.of(picture, data_range, nodata)
    space = intensities.space(form)
    scales = [space.at(sparsity) for sparsity in sparsities]
    pictures = np.stack([scale.output(form.output) for scale in scales])
    pictures -= min(pictures.min(), 0)  # negative numbers are shown from black on
    labels = [
        _label(sparsity, scale, space) for sparsity, scale in zip(sparsities, scales, strict=True)
    ]
    write_picture(out, contact_sheet(pictures, labels, columns, intensities.data_range))
    if plot is not None:
        from virolbi.results import path_svg

        stopped = float(np.mean(space.at("auto").time))
        write_atomic(plot, path_svg(space, stopped).encode())


def _check_plot(path: Path, force: bool) -> None:
    """Refuse a file that is no SVG file, or that exists already."""
    if path.suffix.lower() != ".svg":
        raise ValueError(f"--plot must end in .svg, got {path}")
    check_replacement(path, force)


def _read_part(
    image: Path, crop: str | None, size: int | None, data_range: float | None
) -> Picture:
    """Return one picture in grey or colour, cropped and then resized."""
    picture = read_plain_picture(image, data_range=data_range)
    if crop is not None:
        rows, columns = parse_crop(crop, picture.size)
        picture = replace(picture, pixels=picture.pixels[rows, columns])
    return picture if size is None else resize_picture(picture, size)


def _label(sparsity: float | Literal["auto"], scale: Scale, space: ScaleSpace) -> str:
    """Return the label of a moment: its sparsity, its time, and for "auto" the noise seen."""
    time = f"time {range_text(scale.time)}"
    if sparsity != "auto":
        return f"sparsity {sparsity:g}, {time}"
    seen = f"noise seen {range_text(space.noise.strength)}"
    if np.isinf(scale.time).all():
        return f"auto: not smoothed, {seen}"
    return f"auto: {seen}, sparsity {range_text(scale.sparsity)}, {time}"


@command("corrupt")
def _corrupt(
    image: Annotated[Path, typer.Argument(help="An image file, shown with 8 bits.")],
    out: Annotated[Path, typer.Argument(help="File for the sheet; its suffix sets the format.")],
    severities: Annotated[
        str, typer.Option(help="Severities from 1 to 5, with commas between them.")
    ] = "1,3,5",
    size: ImageSizeOption = None,
    data_range: DataRangeOption = None,
    seed: Annotated[int, typer.Option(help="Seed of all random corruptions.")] = 0,
    force: ForceOption = False,
) -> None:
    """Show an image under every corruption.

    The result is a labelled sheet with one row for each corruption of an evaluation.
    """
    from virolbi.corruptions import SEVERITIES, sheet

    numbers = parse_numbers(severities, "--severities")
    if not set(numbers) <= set(SEVERITIES):
        raise ValueError(f"--severities must be whole numbers from 1 to 5, got {severities!r}")
    picture_format(out)
    check_replacement(out, force)
    pictures, labels = sheet(
        decode_image(image, size, data_range),
        severities=tuple(int(number) for number in numbers),
        seed=seed,
    )
    write_picture(out, contact_sheet(pictures, labels, len(numbers)))
