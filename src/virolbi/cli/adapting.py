"""The command that adapts a classifier to the unlabelled images it is judged on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virolbi.cli.app import command, console
from virolbi.cli.options import (
    CORRUPTIONS_HELP,
    CpuOption,
    DataOption,
    ImagesRangeOption,
    ModelArgument,
    NameOption,
    SizeOption,
    SmoothingOption,
    SplitOption,
    TestLimitOption,
)
from virolbi.cli.parsing import parse_corruptions, parse_names
from virolbi.cli.subjects import load_images, load_subject
from virolbi.cli.texts import row_text

if TYPE_CHECKING:
    from virolbi.data import Images
    from virolbi.evaluation import Subject


@command("adapt")
def _adapt(
    model: ModelArgument,
    out: Annotated[
        Path, typer.Argument(help="Folder for adapted.jsonl; rows are added to those in it.")
    ],
    data: DataOption = None,
    split: SplitOption = "test",
    name: NameOption = None,
    smooth: SmoothingOption = None,
    size: SizeOption = None,
    data_range: ImagesRangeOption = None,
    limit: TestLimitOption = None,
    method: Annotated[
        str,
        typer.Option(
            help="source (none), bn, bn-alpha, tent, eata, note, memo, lame; several with commas "
            "between them."
        ),
    ] = "source,bn,bn-alpha,tent",
    stream: Annotated[
        str,
        typer.Option(
            help="Order of the images: iid, single (one at a time), correlated (class after "
            "class), mixed (all types in one); several with commas between them."
        ),
    ] = "iid,single,correlated,mixed",
    corruptions: Annotated[str, typer.Option(help=CORRUPTIONS_HELP)] = "common",
    severity: Annotated[int, typer.Option(help="Severity of the corruptions, 1 to 5.")] = 5,
    batch_size: Annotated[int, typer.Option(help="Images that arrive together.")] = 200,
    cpu: CpuOption = False,
) -> None:
    """Judge a classifier that adapts to unlabelled test images, in four orders of arrival.

    The smoothing of virolbi works image by image, so it cannot be misled by the order.
    """
    from virolbi import evaluation
    from virolbi.corruptions import COMMON
    from virolbi.results import ADAPTED, mean_by_order, plain_table

    methods, orders = parse_names(method), parse_names(stream)
    names = parse_corruptions(corruptions, default=COMMON)
    evaluation.check_adaptation(methods, orders, names)
    subject = load_subject(model, name, smooth, cpu)
    images = load_images(subject, data, split, size=size, data_range=data_range, limit=limit)
    source_images = None
    if "eata" in methods:
        source_images = _load_source_images(subject, data, size, data_range)
    with console.status("adapting") as status:
        rows = evaluation.adapt(
            subject,
            images,
            out / ADAPTED,
            methods=methods,
            orders=orders,  # type: ignore[arg-type]  # checked above
            corruptions=names,
            severity=severity,
            batch_size=batch_size,
            source_images=source_images,
            progress=lambda row: status.update(row_text(row)),
        )
    console.print(plain_table(mean_by_order(rows)))
    console.print(f"{len(rows)} rows of {len(images):,} {split} images in {out / ADAPTED}")


def _load_source_images(
    subject: "Subject", data: str | None, size: int | None, data_range: float | None
) -> "Images":
    """Return training images of the subject, or those of the data if it has none of its own."""
    from virolbi.evaluation import FISHER_IMAGES

    return load_images(
        subject,
        subject.data or data,
        "train",
        size=size,
        data_range=None if subject.data else data_range,
        limit=FISHER_IMAGES,
    )
