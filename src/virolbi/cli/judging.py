"""Commands that judge a classifier: evaluate, certify and select."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from virolbi.cli.app import command, console, progress_bar
from virolbi.cli.options import (
    AttackedOption,
    CacheOption,
    CorruptionsOption,
    CpuOption,
    DataOption,
    EpsilonOption,
    ModelArgument,
    NameOption,
    ResolutionOption,
    SizeOption,
    SmoothingOption,
    TestLimitOption,
    parse_numbers,
    parse_sparsities,
)
from virolbi.cli.training import printed_log

if TYPE_CHECKING:
    from virolbi.data import Images
    from virolbi.evaluation import Selection, Subject
    from virolbi.results import Row

SplitOption = Annotated[
    str,
    typer.Option(
        help="Split of the data to judge on: 'test', or the name of another one that is stored, "
        "such as 'validation'."
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


@command("evaluate")
def _evaluate(
    model: ModelArgument,
    out: Annotated[
        Path, typer.Argument(help="Folder for rows.jsonl; rows are added to those in it.")
    ],
    data: DataOption = None,
    split: SplitOption = "test",
    name: NameOption = None,
    smooth: SmoothingOption = None,
    size: SizeOption = None,
    limit: TestLimitOption = None,
    corruptions: CorruptionsOption = None,
    official: Annotated[
        Path | None,
        typer.Option(
            help="Folder of CIFAR-10-C or CIFAR-100-C, whose images are read instead of made."
        ),
    ] = None,
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
    subject, images = load_subject_and_images(
        model, data, split, name, smooth, size, limit, cpu, cache
    )
    with console.status("evaluating") as status:
        rows = evaluation.evaluate(
            subject,
            images,
            out / "rows.jsonl",
            corruptions=names,
            official=official,
            resolution=resolution,
            budget=budget,
            attacked=attacked,
            strongest=autoattack,
            progress=lambda row: status.update(row_text(row)),
        )
    _print_rows(rows)
    for warning in results.check_warnings(out, subject.name):
        console.print(warning)
    console.print(f"{len(rows)} rows of {len(images):,} {split} images in {out / 'rows.jsonl'}")


def _print_rows(rows: "list[Row]") -> None:
    """Print the tables of the rows of an evaluation."""
    from virolbi import results

    lines = results.summarise(rows)
    console.print(results.terminal_table(lines))
    if by_corruption := results.by_corruption(rows, lines):
        console.print("Mean over the five severities:", results.plain_table(by_corruption))


@command("certify")
def _certify(
    model: ModelArgument,
    out: Annotated[
        Path, typer.Argument(help="Folder for certified.jsonl; rows are added to those in it.")
    ],
    data: DataOption = None,
    split: SplitOption = "test",
    name: NameOption = None,
    smooth: SmoothingOption = None,
    size: SizeOption = None,
    limit: Annotated[
        int, typer.Option(help="Certify only this many test images, from the front.")
    ] = 500,
    sigma: Annotated[
        float,
        typer.Option(
            help="Standard deviation of the noise; more gives larger radii and less accuracy."
        ),
    ] = 0.25,
    radii: Annotated[
        str, typer.Option(help="L2 radii to certify at, with commas between them.")
    ] = "0,.1,.2,.3,.4,.5",
    samples: Annotated[
        int, typer.Option(help="Noisy samples of each image; more give tighter bounds.")
    ] = 1000,
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
    from virolbi import evaluation

    subject, images = load_subject_and_images(
        model, data, split, name, smooth, size, limit, cpu, None
    )
    with progress_bar() as update:
        rows = evaluation.certify_views(
            subject,
            images,
            out / "certified.jsonl",
            sigma=sigma,
            radii=parse_numbers(radii, "--radii"),
            samples=samples,
            progress=lambda view, done: update(done, len(images), f"image {done}", view),
        )
    for row in rows:
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        console.print(f"{row['view']}, radius {row['level']:g}: {row['accuracy']:.3f} ({interval})")


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
    from virolbi.training import choose_device

    sparsities = parse_sparsities(smooth, "--smooth") or evaluation.TRIED_SPARSITIES
    subject = evaluation.load_subject(model, sparsities=(0.8,), device=choose_device(cpu))
    with printed_log():
        images, trained_on = evaluation.selection_images(subject, data, size=size, limit=limit)
    subject = subject.aligned_with(images)
    with progress_bar() as update:
        selection = evaluation.select_sparsity(
            subject.views[-1],
            images,
            sparsities=[float(sparsity) for sparsity in sparsities if sparsity != "auto"],
            progress=update,
        )
    if out is not None:
        write_rows(out, selection.rows())
    _print_selection(selection, len(images), trained_on)


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


def load_subject_and_images(
    model: str,
    data: str | None,
    split: str,
    name: str | None,
    smooth: str | None,
    size: int | None,
    limit: int | None,
    cpu: bool,
    cache: Path | None,
) -> "tuple[Subject, Images]":
    """Return the subject that the options name, and images of a split for it.

    Parameters
    ----------
    model, data, split, name, smooth, size, limit, cpu, cache
        Arguments and options of a command, see `virolbi.cli.options`.

    Returns
    -------
    subject : Subject
        The subject.
    images : Images
        Images in the size and with the channels of the subject.

    Raises
    ------
    ValueError
        If one of them cannot be loaded.
    """
    from virolbi.data import load
    from virolbi.evaluation import load_subject
    from virolbi.training import choose_device

    subject = load_subject(
        model,
        name=name,
        sparsities=parse_sparsities(smooth, "--smooth"),
        device=choose_device(cpu),
    )
    source = data or subject.data
    if source is None:
        raise ValueError(f"--data must name the images to judge {subject.name} on")
    with printed_log():
        images = load(
            source,
            split,
            limit=limit,
            size=size or subject.size,
            channels=subject.channels,
            corrupt=subject.recipe.corrupt if subject.recipe else "stop",
            cache=cache,
        )
    return subject, images


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
