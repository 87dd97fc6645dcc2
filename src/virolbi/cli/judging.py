"""Commands that use or judge a classifier: classify, evaluate and certify."""

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from virolbi._checks import check_count
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
)
from virolbi.cli.parsing import parse_corruptions, parse_numbers
from virolbi.cli.subjects import load_images, load_subject
from virolbi.cli.texts import duration_text, row_text

if TYPE_CHECKING:
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

    evaluation.check_reading(size, data_range)
    check_count("best", best)
    subject = load_subject(model, None, smooth, cpu)
    if smooth is None:
        subject = dataclasses.replace(subject, views=subject.views[-1:])
    failures = 0
    for path in images:
        try:
            intensities = evaluation.read_image_for(subject, path, size=size, data_range=data_range)
        except DECODING_ERRORS as error:
            failures += 1
            sys.stderr.write(f"{error_line(error)}\n")
            continue
        answers = evaluation.classify_image(subject, intensities, most=best, name=str(path))
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
    conditions = evaluation.Conditions(names, official, resolution)
    counts = {"steps": steps, "restarts": restarts, "samples": samples, "queries": queries}
    budget = Budget(epsilon, norm, **counts)  # type: ignore[arg-type]  # it checks the norm
    attacks = evaluation.Attacks(budget, attacked, autoattack)
    subject = load_subject(model, name, smooth, cpu)
    images = load_images(
        subject, data, split, size=size, data_range=data_range, limit=limit, skip=skip, cache=cache
    )
    with progress_bar(subject.name) as update:
        rows = evaluation.evaluate(
            subject,
            images,
            out / results.ROWS,
            conditions=conditions,
            attacks=attacks,
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
        *results.masking_warnings(out, name),
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


def _print_cost(count: int, seconds: float) -> None:
    """Print how long the attacks on some images take."""
    console.print(
        f"attacks on {count:,} images take {duration_text(seconds)} at most "
        "(--attacked sets their number)"
    )


def _print_row(row: dict[str, Any]) -> None:
    """Print one line about a row of results."""
    console.print(row_text(row))
