"""Commands for image files: smooth, path and corrupt."""

import sys
import time as clock
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from PIL import Image

from virolbi._storage import write_atomic
from virolbi.cli.app import UpdateProgress, command, console, error_line, progress_bar
from virolbi.cli.intensities import Intensities, check_nodata
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
    Moment,
    MomentSparsityOption,
    NodataOption,
    NoiseOption,
    NuOption,
    OutputOption,
    PresetOption,
    StepOption,
    TimeOption,
    parse_channel_axis,
    parse_crop,
    parse_moment,
    parse_numbers,
    parse_sparsities,
    resolve_form,
)
from virolbi.data import (
    Picture,
    contact_sheet,
    decode_image,
    is_picture_name,
    is_unread_photograph,
    iter_files,
    picture_format,
    read_picture,
    read_plain_picture,
    resize_picture,
    write_picture,
)
from virolbi.scale_space import NEGLIGIBLE, Form, Scale

SEVERITIES = {1, 2, 3, 4, 5}
OUTCOMES = SMOOTHED, UNCHANGED, LEFT_OUT, EXISTING = (
    "smoothed",
    "unchanged",
    "left out",
    "exist already and stay as they are (--force replaces them)",
)
MEGAPIXELS = 179.0  # the limit of Pillow


@dataclass(frozen=True)
class Job:
    """Settings of `virolbi smooth` that all files share.

    Parameters
    ----------
    moment : Moment
        Where to stop.
    form : Form
        Form of the smoother.
    labels : bool
        Whether to write the numbers of the regions.
    channel_axis : int, "auto" or None
        Axis of the channels in arrays.
    data_range : float or None
        Pixel value that is white.
    nodata : float or None
        Pixel value without data.
    """

    moment: Moment
    form: Form
    labels: bool
    channel_axis: int | Literal["auto"] | None
    data_range: float | None
    nodata: float | None


@command("smooth")
def _smooth(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image files with 8 or 16 bits, TIFF files with slices or bands, .npy arrays."
        ),
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
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive", "-r", help="Smooth all images in folders, into folders like them."
        ),
    ] = False,
    force: ForceOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print what was done to each image.")
    ] = False,
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
    job = Job(moment, form, labels, parse_channel_axis(channel_axis), data_range, nodata)
    if quiet and verbose:
        raise ValueError("give --quiet or --verbose, not both")
    pairs = _resolve_targets(images, out, recursive)
    with _pixel_limit(max_megapixels):
        _smooth_files(pairs, job, force=force, quiet=quiet, verbose=verbose)


def _smooth_files(
    pairs: list[tuple[Path, Path]], job: Job, *, force: bool, quiet: bool, verbose: bool
) -> None:
    """Smooth files into others; of several, name those that cannot be, and count what was done."""
    counts = Counter[str]()
    with progress_bar() as update:
        for index, (image, target) in enumerate(pairs):
            progress = partial(_move, update, index, len(pairs), image.name)
            progress(0)
            if len(pairs) > 1 and target.exists() and not force:
                counts[EXISTING] += 1
                continue
            try:
                _check_replacement(target, force)
                outcome, note = _smooth_file(image, target, job, verbose, progress)
            except (ValueError, TypeError, OSError) as error:
                if len(pairs) == 1:
                    raise
                sys.stderr.write(f"{error_line(error)}\n")
                counts[LEFT_OUT] += 1
            else:
                counts[outcome] += 1
                if note and not quiet:
                    console.print(f"{image}: {note}", soft_wrap=True)
    if len(pairs) > 1 and not quiet:
        parts = [f"{counts[name]} {name}" for name in OUTCOMES if counts[name]]
        console.print(", ".join(parts), soft_wrap=True)
    if counts[LEFT_OUT]:
        raise ValueError(f"{counts[LEFT_OUT]} of {len(pairs)} images were left out")


def _move(update: UpdateProgress, index: int, count: int, name: str, done: float) -> None:
    """Move a bar to a fraction of one of several images."""
    update(index + done, count, name)


@contextmanager
def _pixel_limit(megapixels: float) -> Iterator[None]:
    """Set the size from which Pillow refuses pictures, for a while."""
    if not megapixels > 0:
        raise ValueError(f"--max-megapixels must be > 0, got {megapixels:g}")
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = int(megapixels * 1e6 / 2)  # Pillow refuses twice this number
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # at half the limit
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _resolve_targets(images: list[Path], out: str, recursive: bool) -> list[tuple[Path, Path]]:
    """Return each image with the file for its result; refuse two results in one file."""
    for image in images:
        if image.is_dir() and not recursive:
            raise ValueError(
                f"images must be files, got the folder {image}; "
                f"name the files in it, such as {image}/*.jpg, or use --recursive"
            )
        if not image.exists():
            raise ValueError(f"images must exist, there is no file {image}")
    path = Path(out)
    if any(image.is_dir() for image in images):
        pairs = _resolve_targets_of_folders(images, path)
    elif len(images) == 1 and not out.endswith("/") and not path.is_dir():
        return [(images[0], path)]
    else:
        pairs = [(image, path / image.name) for image in images]
    _check_targets(pairs, path)
    return pairs


def _resolve_targets_of_folders(images: list[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Return the images in folders at any depth, with files at the same places in a folder."""
    pairs, others = [], Counter[str]()
    for image in images:
        if image.is_dir() and image.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"out must not be the folder of the images or around it, got {folder} for {image}"
            )
        root = image if image.is_dir() else image.parent
        for file in sorted(iter_files(image, str(image))) if image.is_dir() else [image]:
            if file != image and file.resolve().is_relative_to(folder.resolve()):
                continue  # a result
            if file == image or is_picture_name(file) or is_unread_photograph(file):
                pairs.append((file, folder / file.relative_to(root)))
            elif file.exists():
                others[file.suffix.lower() or "no suffix"] += 1
            else:
                others[f"broken link {file}"] += 1
    if not pairs:
        raise ValueError(
            f"images must be in the folders, got none in {', '.join(map(str, images))}"
        )
    if others:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
        warnings.warn(f"files that are no images are left out: {counts}", stacklevel=2)
    return pairs


def _check_targets(pairs: list[tuple[Path, Path]], folder: Path) -> None:
    """Refuse a file as the folder, two results in one file, and a result in place of its image."""
    rule = f"out must be a folder for {len(pairs)} images"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{rule}, got the file {folder}")
    if not folder.exists() and folder.suffix.lower() in (*Image.registered_extensions(), ".npy"):
        raise ValueError(f"{rule}, got {folder}, which has the suffix of an image")
    seen = set[Path]()
    for image, target in pairs:
        if target in seen:
            raise ValueError(
                f"images must have different names to go into one folder, got several {image.name}"
            )
        seen.add(target)
        if target.resolve() == image.resolve():
            raise ValueError(f"out must not be the folder of the images, {target} is one of them")


def _check_replacement(target: Path, force: bool) -> None:
    """Refuse to replace a file without --force."""
    if target.exists() and not force:
        raise ValueError(f"out must be a new file, {target} exists; --force replaces it")


def _smooth_file(
    image: Path, target: Path, job: Job, verbose: bool, progress: Callable[[float], object]
) -> tuple[str, str]:
    """Smooth one file into another, and return its outcome and a note about it, or "".

    progress: is told the fraction of the work that is done.
    """
    start = clock.perf_counter()
    picture = read_picture(image, channel_axis=job.channel_axis)
    picture_format(target)
    intensities = Intensities.of(picture, job.data_range, job.nodata)
    settings = job.form.keywords()
    output = settings.pop("output")
    space = intensities.space(settings)
    moment = job.moment.keywords(job.form, picture.channels)
    scale = space.finish(**moment, output=output, progress=progress)
    outcome, notes = SMOOTHED, _describe_reading(image, picture, job)
    if job.labels:
        labels = _label_regions(scale, picture, intensities.hidden, job.form)
        write_picture(target, labels)
        notes.append(_count_regions(labels))
    else:
        smoothed = picture.with_pixels(intensities.restore(scale.output(output)))
        if np.array_equal(smoothed.pixels, picture.pixels, equal_nan=True):
            outcome = UNCHANGED
        formats = Image.registered_extensions()
        same_format = formats.get(image.suffix.lower()) == formats.get(target.suffix.lower())
        if outcome == UNCHANGED and same_format:
            write_atomic(target, image.read_bytes())
        else:
            write_picture(target, smoothed)
            if mode := picture.metadata.get("converted"):
                notes.append(f"{mode} became RGB; its colour profile and its quality are not kept")
    if job.moment.looks_for_noise:
        notes.append(_describe_noise(intensities.noise(job.form), scale.time, job.moment.multiple))
    if verbose:
        seconds = clock.perf_counter() - start
        notes.append(
            f"{picture.pixels.dtype} of shape {picture.pixels.shape}, sparsity "
            f"{_range_text(scale.sparsity)}, time {_range_text(scale.time)}, in {seconds:.2g} s"
        )
    return outcome, "; ".join(notes)


def _describe_reading(image: Path, picture: Picture, job: Job) -> list[str]:
    """Return notes about what a file does not say, or was said about it in vain."""
    notes = check_nodata(picture, job.nodata)
    count = np.prod(picture.pixels.shape[: picture.slice_axes])
    if image.suffix.lower() == ".npy" and job.channel_axis == "auto" and count > 1:
        notes.append(f"{count} images, each by itself (--channel-axis names an axis of bands)")
    return notes


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
    return Picture(labels, slice_axes=picture.slice_axes)


def _describe_noise(strengths: np.ndarray, times: np.ndarray, multiple: float | None) -> str:
    """Return a note about the noise that was found, and whether it was acted on."""
    smoothed = np.isfinite(times) & (strengths > 0)
    if smoothed.any():
        numbers = ", ".join(f"{strength:.3f}" for strength in np.where(smoothed, strengths, 0).flat)
        if smoothed.size > 8:
            acted = strengths[smoothed]
            numbers = (
                f"{acted.min():.3f} to {acted.max():.3f} in {acted.size} of {smoothed.size} planes"
            )
        times_seen = "" if multiple is None else f"{multiple:g} times the "
        return f"smoothed for {times_seen}noise of {numbers} (intensities in [0, 1])"
    if strengths.max() < NEGLIGIBLE / 2:
        return "no independent noise seen, not smoothed (--noise .1 states one)"
    return (
        f"noise of {strengths.max():.3f} seen, weak or not told from texture, not smoothed "
        "(--noise 2x smooths for twice of it, --noise .1 for a stated one)"
    )


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
    _check_replacement(out, force)
    if plot is not None:
        _check_plot(plot, force)
    for sparsity in sparsities:
        form.check_combination(sparsity)
    with _pixel_limit(max_megapixels):
        picture = _read_part(image, crop, size)
    for note in check_nodata(picture, nodata):
        console.print(f"{image}: {note}", soft_wrap=True)
    intensities = Intensities.of(picture, data_range, nodata)
    settings: dict[str, Any] = form.keywords()
    shown = settings.pop("output")
    space = intensities.space(settings)
    scales = [space.at(sparsity) for sparsity in sparsities]
    pictures = np.stack([scale.output(shown) for scale in scales])
    pictures -= min(pictures.min(), 0)  # negative numbers are shown from black on
    strengths = intensities.noise(form)
    labels = [
        _label(sparsity, scale, strengths)
        for sparsity, scale in zip(sparsities, scales, strict=True)
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
    _check_replacement(path, force)


def _read_part(image: Path, crop: str | None, size: int | None) -> Picture:
    """Return one picture in grey or colour, cropped and then resized."""
    picture = read_plain_picture(image)
    if crop is not None:
        rows, columns = parse_crop(crop, picture.size)
        picture = replace(picture, pixels=picture.pixels[rows, columns])
    return picture if size is None else resize_picture(picture, size)


def _label(sparsity: float | Literal["auto"], scale: Scale, strengths: np.ndarray) -> str:
    """Return the label of a moment: its sparsity, its time, and for "auto" the noise seen."""
    time = f"time {_range_text(scale.time)}"
    if sparsity == "auto" and np.isinf(scale.time).all():
        return f"auto: not smoothed, noise seen {_range_text(strengths)}"
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
    from virolbi.corruptions import sheet

    numbers = parse_numbers(severities, "--severities")
    if not set(numbers) <= SEVERITIES:
        raise ValueError(f"--severities must be whole numbers from 1 to 5, got {severities!r}")
    picture_format(out)
    _check_replacement(out, force)
    pictures, labels = sheet(
        decode_image(image, size, data_range),
        severities=tuple(int(number) for number in numbers),
        seed=seed,
    )
    write_picture(out, contact_sheet(pictures, labels, len(numbers)))
