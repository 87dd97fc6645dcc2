"""Commands that use or judge a classifier: classify, evaluate, certify, select, calibrate."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from virolbi.cli.app import command, console, error_line, progress_bar
from virolbi.cli.options import (
    AttackedOption,
    BatchSizeOption,
    CacheOption,
    CorruptionsOption,
    CpuOption,
    DataOption,
    EpsilonOption,
    ImagesRangeOption,
    ModelArgument,
    NameOption,
    ResolutionOption,
    SizeOption,
    SkipOption,
    SmoothingOption,
    SplitOption,
    TestLimitOption,
    parse_numbers,
    parse_sparsities,
)
from virolbi.cli.training import printed_log
from virolbi.scale_space import Form

if TYPE_CHECKING:
    from virolbi.data import Images
    from virolbi.evaluation import Level, Selection, Subject
    from virolbi.results import Row

OfficialOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of CIFAR-10-C or CIFAR-100-C, whose images are read instead of made."
    ),
]
# The attacks of `evaluate`.
NormOption = Annotated[
    str,
    typer.Option(
        help="Norm of the change: 'linf', epsilon for each pixel, or 'l2', epsilon for its length."
    ),
]
StepsOption = Annotated[int, typer.Option(help="Steps of PGD; more are stronger.")]
RestartsOption = Annotated[int, typer.Option(help="Restarts of PGD; more are stronger.")]
QueriesOption = Annotated[
    int, typer.Option(help="Queries of the Square attack; more are stronger.")
]
PassesOption = Annotated[
    int, typer.Option(help="Passes to average over, for a network that is random.")
]
# The certificates of `certify`.
ProtocolOption = Annotated[
    str,
    typer.Option(
        help="'quick', or 'cohen' for the one of published figures: every 20th test image, "
        "10,000 samples, radii 0 to 1."
    ),
]
CertifiedLimitOption = Annotated[
    int | None,
    typer.Option(help="Certify only this many images, from the front. Default of quick: 500."),
]
SigmaOption = Annotated[
    float,
    typer.Option(
        help="Standard deviation of the noise; more gives larger radii and less accuracy."
    ),
]
RadiiOption = Annotated[
    str | None,
    typer.Option(
        help="L2 radii to certify at, with commas between them. Default of quick: 0 to .5."
    ),
]
NoisySamplesOption = Annotated[
    int | None,
    typer.Option(
        help="Noisy samples of each image; more give tighter bounds. Default of quick: 1,000."
    ),
]


@command("classify")
def _classify(
    model: ModelArgument,
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="{images}...")],
    smooth: SmoothingOption = None,
    size: SizeOption = None,
    data_range: ImagesRangeOption = None,
    best: Annotated[int, typer.Option(help="Number of classes to print.")] = 3,
    cpu: CpuOption = False,
) -> None:
    """Classify image files, and print the best classes with their probabilities.

    A training run of virolbi is used as its recipe says: behind the smoother, if it was trained
    with one. Images are resized as in its training. Classes of a network of your own have the
    numbers of its outputs.
    """
    from virolbi import evaluation
    from virolbi.data import DECODING_ERRORS

    subject = load_subject(model, None, smooth, cpu)
    if smooth is None:
        subject = dataclasses.replace(subject, views=subject.views[-1:])
    failures = 0
    for path in images:
        try:
            answers = evaluation.classify_file(
                subject, path, size=size, data_range=data_range, most=best
            )
        except DECODING_ERRORS as error:
            failures += 1
            sys.stderr.write(f"{error_line(error)}\n")
            continue
        for answer in answers:
            view = f" ({answer.title})" if len(answers) > 1 else ""
            found = zip(answer.classes, answer.probabilities, strict=True)
            text = ", ".join(f"{name} {probability:.3f}" for name, probability in found)
            console.print(f"{path}{view}: {text}", soft_wrap=True)
    if failures:
        raise ValueError(f"{failures} of {len(images)} images could not be classified")


@command("evaluate")
def _evaluate(
    model: ModelArgument,
    out: Annotated[
        Path, typer.Argument(help="Folder for rows.jsonl; rows are added to those in it.")
    ],
    data: DataOption = None,
    name: NameOption = None,
    smooth: SmoothingOption = None,
    size: SizeOption = None,
    data_range: ImagesRangeOption = None,
    split: SplitOption = "test",
    skip: SkipOption = 0,
    limit: TestLimitOption = None,
    corruptions: CorruptionsOption = None,
    official: OfficialOption = None,
    resolution: ResolutionOption = None,
    attacked: AttackedOption = 500,
    epsilon: EpsilonOption = 2 / 255,
    norm: NormOption = "linf",
    steps: StepsOption = 10,
    restarts: RestartsOption = 1,
    queries: QueriesOption = 200,
    samples: PassesOption = 1,
    autoattack: Annotated[
        bool, typer.Option("--autoattack", help="Attack with AutoAttack as well; takes long.")
    ] = False,
    batch_size: BatchSizeOption = None,
    cpu: CpuOption = False,
    cache: CacheOption = None,
) -> None:
    """Judge a classifier on the test split of its data, or on another one.

    Images are shown clean, corrupted at five severities, at low resolution and under attack.
    """
    from virolbi import evaluation, results
    from virolbi.corruptions import NOISES
    from virolbi.robustness import Budget

    names = parse_corruptions(corruptions, default=NOISES)
    evaluation.check_evaluation(resolution, attacked, names)
    # `Budget` checks the norm.
    budget = Budget(epsilon, norm, steps, restarts, samples, queries)  # type: ignore[arg-type]
    subject = load_subject(model, name, smooth, cpu)
    images = load_images(
        subject, data, split, size=size, data_range=data_range, limit=limit, skip=skip, cache=cache
    )
    with progress_bar(subject.name) as update:
        rows = evaluation.evaluate(
            subject,
            images,
            out / results.ROWS,
            corruptions=names,
            official=official,
            resolution=resolution,
            budget=budget,
            attacked=attacked,
            strongest=autoattack,
            batch_size=batch_size,
            progress=_print_row,
            stepped=lambda done, total: update(done, total, f"{done:,} of {total:,} passes"),
            announced=partial(_print_cost, min(attacked, len(images))),
        )
    _print_evaluation(rows, out, subject.name, split)


def _print_evaluation(rows: "list[Row]", out: Path, name: str, split: str) -> None:
    """Print the tables of an evaluation, and what to beware of."""
    from virolbi import results

    lines = results.summarise(rows)
    console.print(results.terminal_table(lines))
    if by_corruption := results.by_corruption(rows, lines):
        console.print("Mean over the five severities:", results.plain_table(by_corruption))
    for line in [
        *results.balance_lines(rows),
        *results.collapse_warnings(rows),
        *results.check_warnings(out, name),
    ]:
        console.print(line)
    count = rows[0]["count"]  # of the clean images
    console.print(f"{len(rows)} rows of {count:,} {split} images in {out / results.ROWS}")


@command("certify")
def _certify(
    model: ModelArgument,
    out: Annotated[
        Path, typer.Argument(help="Folder for certified.jsonl; rows are added to those in it.")
    ],
    data: DataOption = None,
    name: NameOption = None,
    smooth: SmoothingOption = None,
    size: SizeOption = None,
    data_range: ImagesRangeOption = None,
    split: SplitOption = "test",
    protocol: ProtocolOption = "quick",
    limit: CertifiedLimitOption = None,
    sigma: SigmaOption = 0.25,
    radii: RadiiOption = None,
    samples: NoisySamplesOption = None,
    cpu: CpuOption = False,
) -> None:
    """Certify a classifier by randomised smoothing.

    What is certified is not the network itself but the randomised classifier made from it: it
    adds Gaussian noise of standard deviation sigma to the image many times, and answers what the
    network says most often. Its accuracy at a radius is the share of images that it classifies
    correctly however they are changed, as long as the 2-norm of the change, in intensity, is less
    than the radius. For each image, that holds with a confidence of 99.9 %. A smoother in front
    of the network denoises the noisy images.
    """
    from virolbi import evaluation, results

    settings = evaluation.certification_protocol(protocol).changed(
        limit=limit,
        samples=samples,
        radii=None if radii is None else tuple(parse_numbers(radii, "--radii")),
    )
    subject = load_subject(model, name, smooth, cpu)
    last = None if settings.limit is None else settings.limit * settings.every
    images = load_images(subject, data, split, size=size, data_range=data_range, limit=last)
    images = images.subset(slice(None, None, settings.every))
    with progress_bar() as update:
        rows = evaluation.certify_views(
            subject,
            images,
            out / results.CERTIFIED,
            sigma=sigma,
            radii=settings.radii,
            samples=settings.samples,
            progress=lambda view, done: update(done, len(images), f"image {done}", view),
        )
    for row in rows:
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        console.print(f"{row['view']}, radius {row['level']:g}: {row['accuracy']:.3f} ({interval})")
    for warning in results.collapse_warnings(rows):
        console.print(warning)


@command("select")
def _select(
    model: ModelArgument,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set or image folder whose training images to select on. "
            "Default: that of the run."
        ),
    ] = None,
    smooth: Annotated[
        str | None,
        typer.Option(
            help="Sparsities to try, with commas between them; 'auto' is always tried. "
            "Default: from .95 to 0."
        ),
    ] = None,
    size: SizeOption = None,
    data_range: ImagesRangeOption = None,
    limit: Annotated[int, typer.Option(help="Use only this many images.")] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="File to write the rows to, as JSON lines.")
    ] = None,
    cpu: CpuOption = False,
) -> None:
    """Choose the sparsity for a classifier.

    Its accuracy is measured along the path and at 'auto', clean and under noise. A training run
    of virolbi is judged on the training images that it held out, if it held any out (the setting
    validation of its recipe).
    """
    from virolbi import evaluation
    from virolbi.results import write_rows

    sparsities = parse_sparsities(smooth, "--smooth") or evaluation.TRIED_SPARSITIES
    subject = load_subject(model, None, None, cpu)
    with printed_log():
        images, trained_on = evaluation.selection_images(
            subject, data, size=size, data_range=data_range, limit=limit
        )
    subject = subject.aligned_with(images)
    with progress_bar() as update:
        selection = evaluation.select_sparsity(
            subject.views[0].network,
            images,
            form=subject.recipe.form if subject.recipe else Form(),
            sparsities=sparsities,
            progress=update,
        )
    if out is not None:
        write_rows(out, selection.rows())
    _print_selection(selection, len(images), trained_on)


@command("calibrate")
def _calibrate(
    model: ModelArgument,
    out: Annotated[Path, typer.Argument(help="Folder for the calibrated model.")],
    data: Annotated[
        str | None, typer.Option(help="Data set or folder of clean images like those to come.")
    ] = None,
    size: SizeOption = None,
    data_range: ImagesRangeOption = None,
    split: SplitOption = "train",
    limit: Annotated[int, typer.Option(help="Use only this many images.")] = 128,
    labels: Annotated[
        bool, typer.Option("--labels", help="Use the labels, which must be the model's classes.")
    ] = False,
    batch_size: BatchSizeOption = None,
    cpu: CpuOption = False,
) -> None:
    """Find the smoothing that suits a network at each level of noise.

    It is found on clean images, with noise made for the purpose; labels are not needed. The
    folder is a model for evaluate, which judges it raw and calibrated: on other images, such as
    those that --skip leaves. The table shows what each level gains in confidence, on the images
    that it was chosen on, and the last line where nothing was gained.
    """
    from virolbi import evaluation
    from virolbi.results import plain_table

    subject = load_subject(model, None, None, cpu)
    images = load_images(subject, data, split, size=size, data_range=data_range, limit=limit)
    aligned = subject.aligned_with(images) if labels else subject
    start = time.perf_counter()
    with progress_bar(subject.name) as update:
        levels = evaluation.calibrate(
            aligned.views[0],
            images,
            labelled=labels,
            batch_size=batch_size,
            stepped=lambda done, total: update(done, total, f"{done:,} of {total:,} noisy images"),
        )
    source = str(Path(model).resolve()) if Path(model).exists() else model
    evaluation.write_calibration(out, source, subject.fingerprint, levels)
    console.print(plain_table([_level_row(level) for level in levels]))
    console.print(
        f"written to {out}, calibrated on {len(images):,} images "
        f"in {time.perf_counter() - start:.0f} seconds"
    )
    console.print(_gained_nothing(levels))


def _level_row(level: "Level") -> dict[str, str]:
    """Return a row of the table of levels."""
    treatment = level.treatment
    text = "as they are"
    if treatment.share:
        factor = treatment.factor
        extent = "by auto" if factor == "auto" else f"for {factor:g} times the noise"
        text = (
            f"{treatment.share:.0%} smoothed {extent}, "
            f"nu={treatment.nu:g}, delta={treatment.delta:g}"
        )
    return {
        "kind": _kind(level),
        "from": f"{level.least:g}",
        "treatment": text,
        "gain": f"{level.gain:+.3f} +- {level.error:.3f}",
        "over auto": f"{level.auto_gain:+.3f} +- {level.auto_error:.3f}",
    }


def _gained_nothing(levels: Sequence["Level"]) -> str:
    """Return a line that names the levels in which a calibration gained nothing."""
    if not levels:
        return "no noise was seen in the noisy images: all images are left alone"
    untreated = [level for level in levels if not level.treatment.share]
    like_auto = [level for level in levels if level.treatment.share and not level.beats_auto]
    parts = [
        f"nothing better than {than} for "
        + ", ".join(f"{_kind(level)} from {level.least:g}" for level in those)
        for than, those in (("leaving images alone", untreated), ("auto", like_auto))
        if those
    ]
    return "; ".join(parts) or "better than auto and than leaving images alone at all levels"


def _kind(level: "Level") -> str:
    """Return the name of the kind of noise of a level."""
    return "outliers" if level.outliers else "noise"


def _print_selection(selection: "Selection", count: int, trained_on: bool) -> None:
    """Print the rows of a selection on `count` images, and the best sparsity."""
    from virolbi.results import plain_table

    rows = selection.rows()
    columns = [
        "condition",
        *(f"{sparsity:g}" for sparsity in selection.sparsities),
        "auto",
        "regret",
    ]
    console.print(plain_table([{key: row[key] for key in columns if key in row} for row in rows]))
    if trained_on:
        console.print(
            "the network was trained on these images; "
            "validation=.1 in its recipe would hold some out"
        )
    mean, best = rows[-1], f"{selection.best:g}"
    auto = ""
    if "auto" in mean:
        auto = (
            f"; auto {mean['auto']:.3f}, {mean['regret']:.3f} below the best sparsity of each "
            "condition, chosen in hindsight"
        )
    console.print(
        f"best one sparsity for all: {best}, accuracy {mean[best]:.3f}{auto}; {count:,} images"
    )


def row_text(row: dict[str, Any]) -> str:
    """Return one line about a row of results.

    Parameters
    ----------
    row : dict
        The row.

    Returns
    -------
    str
        Its view, condition, severity and accuracy.
    """
    return f"{row['view']}, {row['condition']} {row['severity']}: {row['accuracy']:.3f}"


def duration_text(seconds: float) -> str:
    """Return a duration as text.

    Parameters
    ----------
    seconds : float
        The duration.

    Returns
    -------
    str
        Seconds, minutes or hours, with two digits.

    Examples
    --------
    >>> duration_text(8.04), duration_text(750), duration_text(40000)
    ('8 s', '12 min', '11 h')
    """
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"


def _print_cost(count: int, seconds: float) -> None:
    """Print how long the attacks on some images take."""
    console.print(
        f"attacks on {count:,} images take {duration_text(seconds)} at most "
        "(--attacked sets their number)"
    )


def _print_row(row: dict[str, Any]) -> None:
    """Print one line about a row of results."""
    console.print(row_text(row))


def load_subject(model: str, name: str | None, smooth: str | None, cpu: bool) -> "Subject":
    """Return the subject that the options name.

    Parameters
    ----------
    model, name, smooth, cpu
        Arguments and options of a command, see `virolbi.cli.options`.

    Returns
    -------
    Subject
        The subject.

    Raises
    ------
    ValueError
        If it cannot be loaded.
    """
    from virolbi import evaluation
    from virolbi.training import choose_device

    return evaluation.load_subject(
        model,
        name=name,
        sparsities=parse_sparsities(smooth, "--smooth"),
        device=choose_device(cpu),
    )


def load_images(
    subject: "Subject",
    data: str | None,
    split: str,
    *,
    size: int | None,
    limit: int | None,
    data_range: float | None = None,
    skip: int = 0,
    cache: Path | None = None,
) -> "Images":
    """Return images of a split for a subject, without the first ones.

    Parameters
    ----------
    subject : Subject
        Subject that is to be judged on them.
    data, split, size, limit, data_range, skip, cache
        Options of a command, see `virolbi.cli.options`.

    Returns
    -------
    Images
        Images in the size and with the channels of the subject.

    Raises
    ------
    ValueError
        If they cannot be loaded, or if none are left.
    """
    from virolbi.data import load

    source = data or subject.data
    if source is None:
        raise ValueError(f"--data must name the images to judge {subject.name} on")
    if skip < 0:
        raise ValueError(f"--skip must be >= 0, got {skip}")
    with printed_log():
        images = load(
            source,
            split,
            limit=None if limit is None else skip + limit,
            cache=cache,
            **subject.load_options(size, data_range),
        )
    if skip >= len(images):
        raise ValueError(
            f"--skip must be less than the number of images, {len(images)}, got {skip}"
        )
    return images.subset(slice(skip, None)) if skip else images


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
    return groups.get(text) or tuple(name.strip() for name in text.split(","))
